//! Reading the durable end of the trail while it grows.
//!
//! Reads the segments, up to where their writer says that they are durable, so
//! that a slow reader costs no memory, misses nothing and never sees what may
//! still be cut away. Files are read on blocking threads. Lines of both chains
//! come in the order of their times.

use super::{
    AuditError,
    chain::{Chain, Link, Position},
    segment::{MAX_LINE_BYTES, line_feed_before},
    writer::Durable,
};
use futures_util::{Stream, StreamExt as _, stream};
use std::{collections::VecDeque, fs::File, io, os::unix::fs::FileExt as _, path::Path, sync::Arc};
use tokio::{sync::watch, task};

/// How many past lines can be asked for: some 10 MB.
pub const MAX_TAIL_LINES: usize = 10_000;

/// Bytes read at once: at least one whole line.
const CHUNK: usize = MAX_LINE_BYTES + 1;

/// A chain that can be read while it grows.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) dir: Arc<Path>,
    pub(super) chain: Chain,
    pub(super) durable: watch::Receiver<Durable>,
}

/// The last `last` lines of all `sources` together and, with `follow`, those that
/// come until all their writers are gone.
pub(super) fn lines(
    sources: impl IntoIterator<Item = Source>,
    last: usize,
    follow: bool,
) -> impl Stream<Item = Result<String, AuditError>> + Send {
    let last = last.min(MAX_TAIL_LINES);
    let (mut past, mut live) = (Vec::new(), Vec::new());
    for source in sources {
        let start = source.durable.borrow().end;
        if follow {
            let side = Side::new(source.clone(), start, 0, true);
            live.push(stream::try_unfold(side, Side::step).boxed());
        }
        past.push(Side::new(source, start, last, false));
    }
    let merged = Merged {
        sides: past,
        last,
        surplus: None,
    };
    stream::try_unfold(merged, Merged::step).chain(stream::select_all(live))
}

/// The last lines of some chains.
struct Merged {
    sides: Vec<Side>,
    last: usize,
    /// How many of the oldest are too many, once that is known.
    surplus: Option<usize>,
}

impl Merged {
    async fn step(mut self) -> Result<Option<(String, Self)>, AuditError> {
        let mut surplus = match self.surplus {
            Some(surplus) => surplus,
            None => self.count().await?.saturating_sub(self.last),
        };
        loop {
            let line = self.oldest().await?;
            self.surplus = Some(surplus);
            match surplus.checked_sub(1) {
                Some(less) if line.is_some() => surplus = less,
                _ => return Ok(line.map(|line| (line, self))),
            }
        }
    }

    async fn count(&mut self) -> Result<usize, AuditError> {
        let mut count = 0;
        for side in &mut self.sides {
            count += side.count().await?;
        }
        Ok(count)
    }

    async fn oldest(&mut self) -> Result<Option<String>, AuditError> {
        let mut oldest: Option<(String, usize)> = None;
        for (index, side) in self.sides.iter_mut().enumerate() {
            let Some(line) = side.peek().await? else {
                continue;
            };
            let time = Link::of(line.as_bytes()).map_or("", |link| link.time);
            if oldest
                .as_ref()
                .is_none_or(|(known, _)| time < known.as_str())
            {
                oldest = Some((time.to_owned(), index));
            }
        }
        let side = oldest.and_then(|(_, index)| self.sides.get_mut(index));
        Ok(side.and_then(|side| side.lines.pop_front()))
    }
}

/// A reader of one chain's end.
struct Side {
    source: Source,
    /// Where the chain ended when it was asked for.
    start: Position,
    /// How many lines before that are wanted.
    last: usize,
    /// Whether lines after that are wanted.
    follow: bool,
    cursor: Option<Cursor>,
    lines: VecDeque<String>,
}

#[derive(Debug)]
struct Cursor {
    file: File,
    path: Arc<Path>,
    at: Position,
    /// How many lines stood between it and the start.
    count: usize,
}

impl Side {
    const fn new(source: Source, start: Position, last: usize, follow: bool) -> Self {
        Self {
            source,
            start,
            last,
            follow,
            cursor: None,
            lines: VecDeque::new(),
        }
    }

    async fn step(mut self) -> Result<Option<(String, Self)>, AuditError> {
        self.peek().await?;
        let line = self.lines.pop_front();
        Ok(line.map(|line| (line, self)))
    }

    /// The next line, which stays.
    async fn peek(&mut self) -> Result<Option<&String>, AuditError> {
        while self.lines.is_empty() {
            let durable = self.source.durable.borrow_and_update().end;
            let end = if self.follow { durable } else { self.start };
            if self.cursor.as_ref().is_none_or(|cursor| cursor.at < end) {
                self.read(end).await?;
            } else if !self.follow || self.source.durable.changed().await.is_err() {
                break;
            }
        }
        Ok(self.lines.front())
    }

    async fn count(&mut self) -> Result<usize, AuditError> {
        self.peek().await?;
        Ok(self.cursor.as_ref().map_or(0, |cursor| cursor.count))
    }

    /// Reads whole lines up to `end`.
    async fn read(&mut self, end: Position) -> Result<(), AuditError> {
        let (dir, chain) = (Arc::clone(&self.source.dir), self.source.chain);
        let (start, last, cursor) = (self.start, self.last, self.cursor.take());
        let (cursor, lines) = task::spawn_blocking(move || {
            let mut cursor = match cursor {
                Some(cursor) => cursor,
                None => Cursor::before(&dir, chain, start, last)?,
            };
            let lines = cursor.chunk(&dir, chain, end)?;
            Ok::<_, AuditError>((cursor, lines))
        })
        .await
        .map_err(|_stopping| AuditError::Closed)??;
        self.cursor = Some(cursor);
        self.lines = lines;
        Ok(())
    }
}

impl Cursor {
    /// Stands at `offset` of a segment, or at its end.
    fn open(
        dir: &Path,
        chain: Chain,
        segment: u32,
        offset: Option<u64>,
    ) -> Result<Self, AuditError> {
        let path: Arc<Path> = dir.join(chain.file_name(segment)).into();
        let file = File::open(&path).map_err(AuditError::io("open", &*path))?;
        let offset = match offset {
            Some(offset) => offset,
            None => file
                .metadata()
                .map_err(AuditError::io("look at", &*path))?
                .len(),
        };
        Ok(Self {
            file,
            path,
            at: Position { segment, offset },
            count: 0,
        })
    }

    /// Stands `last` lines before `start`, or where the oldest segment begins that is left.
    fn before(dir: &Path, chain: Chain, start: Position, last: usize) -> Result<Self, AuditError> {
        let mut cursor = Self::open(dir, chain, start.segment, Some(start.offset))?;
        let mut count = 0;
        while count < last {
            if let Some(feed) = cursor.at.offset.checked_sub(1) {
                cursor.at.offset = line_feed_before(&cursor.file, feed)
                    .map_err(AuditError::io("read", &*cursor.path))?
                    .map_or(0, |feed| feed + 1);
                count += 1;
                continue;
            }
            let Some(segment) = cursor.at.segment.checked_sub(1) else {
                break;
            };
            match Self::open(dir, chain, segment, None) {
                Ok(earlier) => cursor = earlier,
                Err(error) if is_gone(&error) => break,
                Err(error) => return Err(error),
            }
        }
        cursor.count = count;
        Ok(cursor)
    }

    /// The next lines, as many as a chunk holds; none where a segment ended.
    fn chunk(
        &mut self,
        dir: &Path,
        chain: Chain,
        end: Position,
    ) -> Result<VecDeque<String>, AuditError> {
        let limit = if self.at.segment == end.segment {
            end.offset
        } else {
            self.file
                .metadata()
                .map_err(AuditError::io("look at", &*self.path))?
                .len()
        };
        if self.at.offset >= limit && self.at.segment < end.segment {
            self.go_on(dir, chain, end)?;
            return Ok(VecDeque::new());
        }
        let left = limit.saturating_sub(self.at.offset);
        let length = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
        let mut chunk = vec![0; length];
        self.file
            .read_exact_at(&mut chunk, self.at.offset)
            .map_err(AuditError::io("read", &*self.path))?;
        let whole = chunk
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |feed| feed + 1);
        chunk.truncate(whole);
        let damaged = |problem| AuditError::Damaged {
            path: self.path.to_path_buf(),
            offset: self.at.offset,
            problem,
        };
        if whole == 0 && length > 0 {
            return Err(damaged("it is longer than any audit record"));
        }
        let text = String::from_utf8(chunk).map_err(|_text| damaged("it is not UTF-8"))?;
        self.at.offset += whole as u64;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Goes to the next segment that is left: a slow reader may find that those
    /// between were removed by their age.
    fn go_on(&mut self, dir: &Path, chain: Chain, end: Position) -> Result<(), AuditError> {
        for segment in self.at.segment.saturating_add(1)..=end.segment {
            match Self::open(dir, chain, segment, Some(0)) {
                Err(error) if is_gone(&error) && segment < end.segment => {}
                opened => {
                    let count = self.count;
                    *self = opened?;
                    self.count = count;
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

fn is_gone(error: &AuditError) -> bool {
    matches!(error, AuditError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests;
