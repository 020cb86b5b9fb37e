//! Reading the lines of both chains from a folder, without an agent.
//!
//! For queries and for verification: the folder may be that of a running agent,
//! of one that crashed, or a copy. Lines come as they stand, one by one and in
//! the order of the segments; whether they fit together is for the caller to
//! judge. Memory is bounded by the longest line. What lies behind the last line
//! feed is told, not hidden: see [`Line::is_whole`].

use super::{
    AuditError,
    chain::{Chain, Digest, Link, Position},
    segment::MAX_LINE_BYTES,
};
use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Bytes read at once.
const BUFFER: usize = 256 * 1024;

/// A folder of segments, as it was when it was listed.
#[derive(Clone, Debug)]
pub struct Reader {
    dir: PathBuf,
    segments: Vec<SegmentFile>,
}

/// A segment in the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentFile {
    /// Whose it is.
    pub chain: Chain,
    /// Its number.
    pub number: u32,
    /// Where it lies.
    pub path: Arc<Path>,
    /// How long it was, or up to where it may be read.
    pub bytes: u64,
}

/// A line as it stands in its segment.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// The segment.
    pub segment: &'a SegmentFile,
    /// Where in the segment it starts.
    pub offset: u64,
    /// Its bytes without the line feed.
    pub bytes: &'a [u8],
    /// Whether a line feed ends it. Only the newest segment of an agent that runs or
    /// crashed ends without one.
    pub is_whole: bool,
}

impl<'a> Line<'a> {
    /// What the next line has to hold in `prev`.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.bytes)
    }

    /// Its number, link and time, if it is a record.
    #[must_use]
    pub fn link(&self) -> Option<Link<'a>> {
        Link::of(self.bytes)
    }
}

/// The lines of a chain, oldest first.
#[derive(Debug)]
pub struct Lines {
    segments: std::vec::IntoIter<SegmentFile>,
    open: Option<Open>,
    line: Vec<u8>,
}

#[derive(Debug)]
struct Open {
    segment: SegmentFile,
    file: BufReader<io::Take<File>>,
    offset: u64,
}

impl Reader {
    /// The segments that lie in `dir` now.
    ///
    /// # Errors
    /// Where the folder cannot be listed.
    pub fn open(dir: &Path) -> Result<Self, AuditError> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(dir).map_err(AuditError::io("list", dir))? {
            let entry = entry.map_err(AuditError::io("list", dir))?;
            let name = entry.file_name();
            let known = |chain: &Chain| chain.number_of(name.to_str()?);
            let found = Chain::ALL
                .into_iter()
                .find_map(|chain| known(&chain).map(|number| (chain, number)));
            let Some((chain, number)) = found else {
                continue;
            };
            let path: Arc<Path> = entry.path().into();
            // It may have been removed by its age meanwhile.
            let Ok(metadata) = fs::metadata(&path) else {
                continue;
            };
            segments.push(SegmentFile {
                chain,
                number,
                path,
                bytes: metadata.len(),
            });
        }
        segments.sort_unstable_by_key(|segment| (segment.chain, segment.number));
        Ok(Self {
            dir: dir.to_owned(),
            segments,
        })
    }

    /// The same without what lies behind `end` in `chain`: of a running agent, that
    /// may yet be cut away.
    #[must_use]
    pub fn up_to(mut self, chain: Chain, end: Position) -> Self {
        self.segments
            .retain(|segment| segment.chain != chain || segment.number <= end.segment);
        for segment in &mut self.segments {
            if segment.chain == chain && segment.number == end.segment {
                segment.bytes = end.offset;
            }
        }
        self
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The segments of a chain, oldest first.
    pub fn segments(&self, chain: Chain) -> impl DoubleEndedIterator<Item = &SegmentFile> {
        self.segments
            .iter()
            .filter(move |segment| segment.chain == chain)
    }

    /// All lines of a chain.
    #[must_use]
    pub fn lines(&self, chain: Chain) -> Lines {
        self.lines_from(chain, 0)
    }

    /// The lines of a chain from the segment `number` on.
    #[must_use]
    pub fn lines_from(&self, chain: Chain, number: u32) -> Lines {
        let segments = self.segments(chain).filter(|s| s.number >= number);
        Lines {
            segments: segments.cloned().collect::<Vec<_>>().into_iter(),
            open: None,
            line: Vec::new(),
        }
    }
}

impl Lines {
    /// The next line; none at the end.
    ///
    /// # Errors
    /// Where a segment cannot be read, or has a line that is longer than any that an
    /// agent writes. No line of that segment comes after an error.
    pub fn next_line(&mut self) -> Result<Option<Line<'_>>, AuditError> {
        let offset = loop {
            let Some(open) = &mut self.open else {
                let Some(segment) = self.segments.next() else {
                    return Ok(None);
                };
                self.open = Open::new(segment)?;
                continue;
            };
            let offset = open.offset;
            match open.read(&mut self.line) {
                Ok(true) => break offset,
                Ok(false) => self.open = None,
                Err(error) => {
                    self.open = None;
                    return Err(error);
                }
            }
        };
        let Some(open) = &self.open else {
            return Ok(None);
        };
        let whole = self.line.strip_suffix(b"\n");
        Ok(Some(Line {
            segment: &open.segment,
            offset,
            bytes: whole.unwrap_or(&self.line),
            is_whole: whole.is_some(),
        }))
    }
}

impl Open {
    /// None where the segment was removed by its age since it was listed.
    fn new(segment: SegmentFile) -> Result<Option<Self>, AuditError> {
        let file = match File::open(&segment.path) {
            Ok(file) => file.take(segment.bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(AuditError::io("open", &*segment.path)(error)),
        };
        Ok(Some(Self {
            file: BufReader::with_capacity(BUFFER, file),
            segment,
            offset: 0,
        }))
    }

    /// Reads a line into `line`; false at the end.
    fn read(&mut self, line: &mut Vec<u8>) -> Result<bool, AuditError> {
        line.clear();
        let most = (MAX_LINE_BYTES + 1) as u64;
        let read = self
            .file
            .by_ref()
            .take(most)
            .read_until(b'\n', line)
            .map_err(AuditError::io("read", &*self.segment.path))?;
        if read > MAX_LINE_BYTES && line.last() != Some(&b'\n') {
            return Err(AuditError::Damaged {
                path: self.segment.path.to_path_buf(),
                offset: self.offset,
                problem: "it is longer than any audit record",
            });
        }
        self.offset += read as u64;
        Ok(read > 0)
    }
}

#[cfg(test)]
mod tests;
