//! The file that holds a chain's newest lines.
//!
//! Knows bytes and lines, not events. Appends whole batches; what an append
//! that failed has left behind is cut away before anything else is written. A
//! segment that is full is followed by the next one, and never written again.

use super::{
    AuditError,
    chain::{Chain, Digest, Head, Link, Position},
    folder::Folder,
    trail::Durability,
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::Arc,
    time::SystemTime,
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Bytes of a line without its line feed. Most have fewer than 1,000; the
/// evidence of a process with thousands of groups is the longest.
pub(super) const MAX_LINE_BYTES: usize = 256 * 1024;

/// Bytes written at once, and so the most that a crash can leave half-written.
pub(super) const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Bytes read at once while lines are looked for from the end.
const STEP: usize = 4096;

/// What a segment does with its file; tests put failures in between.
pub(super) trait Medium: Send {
    /// Appends all of `bytes`, or fails with some of them written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes everything written so far survive a loss of power.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file to `length` bytes.
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

impl Medium for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// A segment that is open for appending.
pub(super) struct Segment {
    pub(super) medium: Box<dyn Medium>,
    path: Arc<Path>,
    number: u32,
    length: u64,
    /// When its first line was recorded; none while it has none.
    begun: Option<SystemTime>,
    /// Whether bytes of a failed append may lie behind `length`.
    torn: bool,
}

/// A chain as it was found.
pub(super) struct Opened {
    pub(super) segment: Segment,
    pub(super) head: Head,
    /// What was cut away, if anything.
    pub(super) cut: Option<Cut>,
    /// The segments before that, by number, with their lengths.
    pub(super) closed: BTreeMap<u32, u64>,
}

/// A half-written end that was cut away.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Cut {
    /// How long it was.
    pub(super) cut_bytes: u64,
    /// Where it began.
    pub(super) offset: u64,
    /// What it was.
    pub(super) sha256: Digest,
}

impl Segment {
    /// Opens the last segment of a chain, creating the first if need be, and makes
    /// sure that it ends with a line that fits the one before.
    pub(super) fn open(folder: &Folder, chain: Chain) -> Result<Opened, AuditError> {
        let mut closed = folder.segments(chain)?;
        let number = closed.pop_last().map_or(1, |(number, _)| number);
        let path = folder.segment_path(chain, number);
        let file = folder.open_segment(chain, number)?;
        let found = file
            .metadata()
            .map_err(AuditError::io("look at", &*path))?
            .len();
        let end = line_feed_before(&file, found)
            .map_err(AuditError::io("read", &*path))?
            .map_or(0, |feed| feed + 1);
        let before = || before(folder, chain, &closed);
        let head = head(&file, end, (&path, number), before)?;
        let begun = begun(&file, end, &path)?;
        let cut = cut(&file, end, found, &path)?;
        let segment = Self {
            medium: Box::new(file),
            path,
            number,
            length: end,
            begun,
            torn: false,
        };
        Ok(Opened {
            segment,
            head,
            cut,
            closed,
        })
    }

    /// The segment that follows this one, empty, once this one is durable.
    pub(super) fn next(&mut self, folder: &Folder, chain: Chain) -> io::Result<Self> {
        if self.torn {
            return Err(io::Error::other("a half-written record is at its end"));
        }
        self.medium.sync()?;
        let number = self.number.checked_add(1);
        let number = number.ok_or_else(|| io::Error::other("there are no more numbers"))?;
        Ok(Self {
            medium: Box::new(folder.create_segment(chain, number)?),
            path: folder.segment_path(chain, number),
            number,
            length: 0,
            begun: None,
            torn: false,
        })
    }

    /// Where the file lies.
    pub(super) const fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// Its number.
    pub(super) const fn number(&self) -> u32 {
        self.number
    }

    /// Bytes that are durable.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// When its first line was recorded.
    pub(super) const fn begun(&self) -> Option<SystemTime> {
        self.begun
    }

    /// Up to where the chain is durable.
    pub(super) const fn end(&self) -> Position {
        Position {
            segment: self.number,
            offset: self.length,
        }
    }

    /// Appends `lines`: all of them are there afterwards or, after an error,
    /// nothing that anybody will read.
    pub(super) fn append(
        &mut self,
        lines: &[u8],
        now: SystemTime,
        durability: Durability,
    ) -> io::Result<()> {
        if self.torn {
            self.restore(durability)?;
        }
        self.torn = true;
        let written = self.medium.append(lines).and_then(|()| match durability {
            Durability::Sync => self.medium.sync(),
            Durability::Write => Ok(()),
        });
        match written {
            Ok(()) => {
                self.torn = false;
                self.length += lines.len() as u64;
                self.begun.get_or_insert(now);
            }
            Err(_) => {
                if let Err(error) = self.restore(durability) {
                    tracing::error!(%error, path = %self.path.display(),
                        "a half-written audit record cannot be cut away yet");
                }
            }
        }
        written
    }

    /// Cuts away what a failed append has left. After a failed sync the kernel
    /// may have dropped those bytes while it still shows them, so they cannot be
    /// kept even where they look whole.
    fn restore(&mut self, durability: Durability) -> io::Result<()> {
        self.medium.cut(self.length)?;
        if durability == Durability::Sync {
            self.medium.sync()?;
        }
        self.torn = false;
        Ok(())
    }
}

/// The end of the chain before its last segment; none where nothing of that is left.
fn before(
    folder: &Folder,
    chain: Chain,
    closed: &BTreeMap<u32, u64>,
) -> Result<Option<Head>, AuditError> {
    let Some((number, length)) = closed.iter().rfind(|(_, length)| **length > 0) else {
        return Ok(None);
    };
    let path = folder.segment_path(chain, *number);
    let file = folder.read_segment(chain, *number)?;
    last_line(&file, *length, &path).map(Some)
}

/// What the line after the last one of a whole segment has to refer to.
pub(super) fn last_line(file: &File, length: u64, path: &Path) -> Result<Head, AuditError> {
    let damaged = |offset, problem| AuditError::Damaged {
        path: path.into(),
        offset,
        problem,
    };
    let end = line_feed_before(file, length).map_err(AuditError::io("read", path))?;
    let end = end.map_or(0, |feed| feed + 1);
    if end != length {
        return Err(damaged(end, "it is half-written, and others follow"));
    }
    let Some((start, line)) = line_before(file, end, path)? else {
        return Err(damaged(0, "it is no audit record"));
    };
    let link = Link::of(&line).ok_or_else(|| damaged(start, "it is no audit record"))?;
    Ok(Head {
        seq: link.seq,
        digest: Digest::of(&line),
    })
}

/// The chain's end, from the last line before `end`, once that line is known to
/// fit the one before it, which may stand in the segment before.
fn head(
    file: &File,
    end: u64,
    (path, number): (&Path, u32),
    before: impl FnOnce() -> Result<Option<Head>, AuditError>,
) -> Result<Head, AuditError> {
    let Some((start, last)) = line_before(file, end, path)? else {
        return match before()? {
            Some(head) => Ok(head),
            None if number == 1 => Ok(Head::GENESIS),
            None => Err(AuditError::Damaged {
                path: path.into(),
                offset: 0,
                problem: "the segment before it is missing",
            }),
        };
    };
    let damaged = |problem| AuditError::Damaged {
        path: path.into(),
        offset: start,
        problem,
    };
    let Some(Link { seq, prev, .. }) = Link::of(&last) else {
        return Err(damaged("it is no audit record"));
    };
    let before = match line_before(file, start, path)? {
        Some((_, line)) => Some(Head {
            seq: Link::of(&line)
                .ok_or_else(|| damaged("what stands before it is no audit record"))?
                .seq,
            digest: Digest::of(&line),
        }),
        None => before()?.or_else(|| (number == 1).then_some(Head::GENESIS)),
    };
    // What stood before the oldest segment that is left was removed by its age.
    if let Some(before) = before {
        if seq.checked_sub(1) != Some(before.seq) {
            return Err(damaged("its number does not follow on the line before"));
        }
        if !before.digest.is_hex(prev) {
            return Err(damaged("it does not hold the digest of the line before"));
        }
    }
    Ok(Head {
        seq,
        digest: Digest::of(&last),
    })
}

/// When the first line before `end` was recorded; where that cannot be read, long ago.
fn begun(file: &File, end: u64, path: &Path) -> Result<Option<SystemTime>, AuditError> {
    if end == 0 {
        return Ok(None);
    }
    let length = usize::try_from(end).map_or(MAX_LINE_BYTES, |end| end.min(MAX_LINE_BYTES));
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)
        .map_err(AuditError::io("read", path))?;
    let line = bytes.split(|byte| *byte == b'\n').next();
    Ok(Some(time_of(line.unwrap_or_default())))
}

/// When a line was recorded; where that cannot be read, long ago.
pub(super) fn time_of(line: &[u8]) -> SystemTime {
    Link::of(line)
        .and_then(|link| OffsetDateTime::parse(link.time, &Rfc3339).ok())
        .map_or(SystemTime::UNIX_EPOCH, SystemTime::from)
}

/// The line whose line feed is the byte before `end`, and where it starts.
pub(super) fn line_before(
    file: &File,
    end: u64,
    path: &Path,
) -> Result<Option<(u64, Vec<u8>)>, AuditError> {
    let Some(feed) = end.checked_sub(1) else {
        return Ok(None);
    };
    let start = line_feed_before(file, feed)
        .map_err(AuditError::io("read", path))?
        .map_or(0, |feed| feed + 1);
    let length = usize::try_from(feed - start).unwrap_or(usize::MAX);
    if length > MAX_LINE_BYTES {
        return Err(AuditError::Damaged {
            path: path.into(),
            offset: start,
            problem: "it is longer than any audit record",
        });
    }
    let mut line = vec![0; length];
    file.read_exact_at(&mut line, start)
        .map_err(AuditError::io("read", path))?;
    Ok(Some((start, line)))
}

/// Cuts away what stands between `end` and `found`: the half-written end of a
/// batch that nobody was told is recorded.
fn cut(file: &File, end: u64, found: u64, path: &Path) -> Result<Option<Cut>, AuditError> {
    if found == end {
        return Ok(None);
    }
    let length = usize::try_from(found - end).unwrap_or(usize::MAX);
    if length > MAX_BATCH_BYTES {
        return Err(AuditError::Damaged {
            path: path.into(),
            offset: end,
            problem: "it is longer than any audit record",
        });
    }
    let mut torn = vec![0; length];
    file.read_exact_at(&mut torn, end)
        .map_err(AuditError::io("read", path))?;
    file.set_len(end)
        .and_then(|()| file.sync_data())
        .map_err(AuditError::io("repair", path))?;
    Ok(Some(Cut {
        cut_bytes: found - end,
        offset: end,
        sha256: Digest::of(&torn),
    }))
}

/// Where the last line feed before `end` stands.
pub(super) fn line_feed_before(file: &File, end: u64) -> io::Result<Option<u64>> {
    let mut buffer = [0; STEP];
    let mut end = end;
    while end > 0 {
        let start = end.saturating_sub(STEP as u64);
        let length = usize::try_from(end - start).unwrap_or(STEP);
        let Some(bytes) = buffer.get_mut(..length) else {
            break;
        };
        file.read_exact_at(bytes, start)?;
        if let Some(index) = bytes.iter().rposition(|byte| *byte == b'\n') {
            return Ok(Some(start + index as u64));
        }
        end = start;
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
