//! How long segments are kept.
//!
//! Knows the segments that are full, and names those that have to go: the
//! oldest first, once they are too old or all together are too large. The
//! writer records that they go before they do.

use super::{
    AuditError,
    chain::{Chain, Digest, Link},
    folder::Folder,
    segment::{MAX_LINE_BYTES, last_line, line_before, time_of},
    trail::Limits,
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    os::unix::fs::FileExt as _,
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

/// How long after one segment the next may go by its age.
const PAUSE: Duration = Duration::from_secs(60);

/// The segments of a chain that are not written any more.
#[derive(Debug)]
pub(super) struct Shelf {
    chain: Chain,
    segments: BTreeMap<u32, Closed>,
    /// When the next one may go by its age.
    next_by_age: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Closed {
    bytes: u64,
    /// When its last line was recorded, once that is known.
    ended: Option<SystemTime>,
}

/// Segments that have to go, and what the trail tells of them.
#[derive(Debug, Serialize)]
pub(super) struct Doomed {
    /// How many bytes they had.
    bytes: u64,
    /// The number of the first line that goes.
    first_seq: u64,
    /// The digest of the last line that goes: what the line after it holds as `prev`.
    last_digest: Digest,
    /// The number of the last line that goes.
    last_seq: u64,
    /// How many segments they are.
    segments: usize,
    #[serde(skip)]
    pub(super) numbers: Vec<u32>,
    #[serde(skip)]
    pub(super) reason: &'static str,
}

impl Shelf {
    pub(super) fn new(chain: Chain, found: BTreeMap<u32, u64>) -> Self {
        let closed = |(number, bytes)| (number, Closed { bytes, ended: None });
        Self {
            chain,
            next_by_age: Instant::now(),
            segments: found.into_iter().map(closed).collect(),
        }
    }

    /// A segment is full.
    pub(super) fn put(&mut self, number: u32, bytes: u64, ended: SystemTime) {
        let ended = Some(ended);
        self.segments.insert(number, Closed { bytes, ended });
    }

    /// Segments were removed.
    pub(super) fn forget(&mut self, numbers: &[u32]) {
        for number in numbers {
            self.segments.remove(number);
        }
    }

    /// What has to go now, with `open` bytes in the segment that is being written.
    ///
    /// By its age one segment goes in a while: a clock that is set wrong must not
    /// cost the whole trail before somebody notices.
    pub(super) fn doomed(
        &mut self,
        folder: &Folder,
        limits: &Limits,
        (open, now): (u64, SystemTime),
    ) -> Result<Option<Doomed>, AuditError> {
        let mut left = self.segments.values().map(|s| s.bytes).sum::<u64>() + open;
        let mut numbers = Vec::new();
        for (number, closed) in &self.segments {
            if left <= limits.max_bytes {
                break;
            }
            left -= closed.bytes;
            numbers.push(*number);
        }
        if !numbers.is_empty() {
            let reason = "the segments had more bytes than are kept";
            return self.describe(folder, numbers, reason).map(Some);
        }
        if Instant::now() < self.next_by_age {
            return Ok(None);
        }
        let Some((number, ended)) = self.oldest(folder)? else {
            return Ok(None);
        };
        let age = now.duration_since(ended).unwrap_or_default();
        if age <= limits.retention {
            return Ok(None);
        }
        self.next_by_age = Instant::now() + PAUSE;
        let reason = "the segment was older than segments are kept";
        self.describe(folder, vec![number], reason).map(Some)
    }

    fn oldest(&mut self, folder: &Folder) -> Result<Option<(u32, SystemTime)>, AuditError> {
        let Some(mut oldest) = self.segments.first_entry() else {
            return Ok(None);
        };
        let number = *oldest.key();
        if let Some(ended) = oldest.get().ended {
            return Ok(Some((number, ended)));
        }
        let path = folder.segment_path(self.chain, number);
        let file = folder.read_segment(self.chain, number)?;
        let length = oldest.get().bytes;
        let line = line_before(&file, length, &path)?.map(|(_, line)| line);
        let ended = time_of(&line.unwrap_or_default());
        oldest.get_mut().ended = Some(ended);
        Ok(Some((number, ended)))
    }

    fn describe(
        &self,
        folder: &Folder,
        numbers: Vec<u32>,
        reason: &'static str,
    ) -> Result<Doomed, AuditError> {
        let bytes_of = |number: &u32| self.segments.get(number).map_or(0, |closed| closed.bytes);
        let (first, last) = (
            numbers.first().copied().unwrap_or_default(),
            numbers.last().copied().unwrap_or_default(),
        );
        let path = folder.segment_path(self.chain, last);
        let file = folder.read_segment(self.chain, last)?;
        let end = last_line(&file, bytes_of(&last), &path)?;
        Ok(Doomed {
            bytes: numbers.iter().map(bytes_of).sum(),
            first_seq: self.first_seq(folder, first)?,
            last_digest: end.digest,
            last_seq: end.seq,
            segments: numbers.len(),
            numbers,
            reason,
        })
    }

    fn first_seq(&self, folder: &Folder, number: u32) -> Result<u64, AuditError> {
        let path = folder.segment_path(self.chain, number);
        let file = folder.read_segment(self.chain, number)?;
        let mut bytes = vec![0; MAX_LINE_BYTES + 1];
        let read = file
            .read_at(&mut bytes, 0)
            .map_err(AuditError::io("read", &*path))?;
        bytes.truncate(read);
        let line = bytes.split(|byte| *byte == b'\n').next();
        line.and_then(Link::of)
            .map(|link| link.seq)
            .ok_or_else(|| AuditError::Damaged {
                path: path.to_path_buf(),
                offset: 0,
                problem: "it is no audit record",
            })
    }
}

#[cfg(test)]
mod tests;
