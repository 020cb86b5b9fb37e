//! Reading the durable end of the trail while it grows.
//!
//! Reads the file, up to where the writer says that it is durable, so that a
//! slow reader costs no memory, misses nothing and never sees what may still be
//! cut away. Files are read on blocking threads.

use super::{
    AuditError,
    segment::{MAX_LINE_BYTES, line_feed_before},
};
use futures_util::{Stream, stream};
use std::{collections::VecDeque, fs::File, os::unix::fs::FileExt as _, path::Path, sync::Arc};
use tokio::{sync::watch, task};

/// How many past lines can be asked for: some 10 MB.
pub const MAX_TAIL_LINES: usize = 10_000;

/// Bytes read at once: at least one whole line.
const CHUNK: usize = MAX_LINE_BYTES + 1;

/// A reader of the trail's end.
pub(super) struct Tail {
    path: Arc<Path>,
    durable: watch::Receiver<u64>,
    /// Where the trail ended when it was asked for.
    start: u64,
    /// How many lines before that are wanted.
    last: usize,
    /// Whether lines after that are wanted.
    follow: bool,
    reader: Option<Reader>,
    lines: VecDeque<String>,
}

#[derive(Debug)]
struct Reader {
    file: File,
    at: u64,
}

impl Tail {
    pub(super) fn new(
        path: Arc<Path>,
        durable: watch::Receiver<u64>,
        last: usize,
        follow: bool,
    ) -> Self {
        let start = *durable.borrow();
        Self {
            path,
            durable,
            start,
            last: last.min(MAX_TAIL_LINES),
            follow,
            reader: None,
            lines: VecDeque::new(),
        }
    }

    pub(super) fn lines(self) -> impl Stream<Item = Result<String, AuditError>> + Send {
        stream::try_unfold(self, Self::next)
    }

    async fn next(mut self) -> Result<Option<(String, Self)>, AuditError> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Ok(Some((line, self)));
            }
            let durable = *self.durable.borrow_and_update();
            let end = if self.follow { durable } else { self.start };
            if self.reader.as_ref().is_none_or(|reader| reader.at < end) {
                self = self.read(end).await?;
            } else if !self.follow || self.durable.changed().await.is_err() {
                return Ok(None);
            }
        }
    }

    /// Reads whole lines up to `end`.
    async fn read(mut self, end: u64) -> Result<Self, AuditError> {
        let path = Arc::clone(&self.path);
        let (start, last, reader) = (self.start, self.last, self.reader.take());
        let (reader, lines) = task::spawn_blocking(move || {
            let mut reader = match reader {
                Some(reader) => reader,
                None => Reader::open(&path, start, last)?,
            };
            let lines = reader.chunk(&path, end)?;
            Ok::<_, AuditError>((reader, lines))
        })
        .await
        .map_err(|_stopping| AuditError::Closed)??;
        self.reader = Some(reader);
        self.lines = lines;
        Ok(self)
    }
}

impl Reader {
    /// Stands `last` lines before `start`.
    fn open(path: &Path, start: u64, last: usize) -> Result<Self, AuditError> {
        let file = File::open(path).map_err(AuditError::io("open", path))?;
        let mut at = start;
        for _ in 0..last {
            let Some(feed) = at.checked_sub(1) else { break };
            at = line_feed_before(&file, feed)
                .map_err(AuditError::io("read", path))?
                .map_or(0, |feed| feed + 1);
        }
        Ok(Self { file, at })
    }

    /// The next lines, as many as a chunk holds.
    fn chunk(&mut self, path: &Path, end: u64) -> Result<VecDeque<String>, AuditError> {
        let length = usize::try_from(end - self.at).map_or(CHUNK, |left| left.min(CHUNK));
        let mut chunk = vec![0; length];
        self.file
            .read_exact_at(&mut chunk, self.at)
            .map_err(AuditError::io("read", path))?;
        let whole = chunk
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |feed| feed + 1);
        chunk.truncate(whole);
        let damaged = |problem| AuditError::Damaged {
            path: path.into(),
            offset: self.at,
            problem,
        };
        if whole == 0 && length > 0 {
            return Err(damaged("it is longer than any audit record"));
        }
        let text = String::from_utf8(chunk).map_err(|_text| damaged("it is not UTF-8"))?;
        self.at += whole as u64;
        Ok(text.lines().map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests;
