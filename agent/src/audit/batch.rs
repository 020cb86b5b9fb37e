//! Lines that are written together.

use super::{
    AuditError, Event, Kind,
    chain::{Chain, Digest, Head},
    segment::{MAX_BATCH_BYTES, MAX_LINE_BYTES},
    writer::Reply,
};
use crate::clock::SharedClock;
use std::time::SystemTime;
use tokio::sync::oneshot;

/// Lines that are to be written, and those who wait for them.
pub(super) struct Batch {
    chain: Chain,
    pub(super) lines: Vec<u8>,
    /// Where the chain ends with them.
    pub(super) head: Head,
    pub(super) kinds: Vec<Kind>,
    pub(super) waiting: Vec<oneshot::Sender<Reply>>,
}

impl Batch {
    pub(super) const fn after(chain: Chain, head: Head) -> Self {
        Self {
            chain,
            lines: Vec::new(),
            head,
            kinds: Vec::new(),
            waiting: Vec::new(),
        }
    }

    /// Whether more should be added.
    pub(super) const fn has_room(&self) -> bool {
        self.lines.len() < MAX_BATCH_BYTES / 2
    }

    /// Adds the lines of all `events` or, after an error, none of them.
    pub(super) fn add(
        &mut self,
        events: Vec<Event>,
        clock: &SharedClock,
    ) -> Result<(), AuditError> {
        let (start, kinds, mut head) = (self.lines.len(), self.kinds.len(), self.head);
        let added = events.into_iter().try_for_each(|event| {
            self.kinds.push(event.kind());
            head = self.add_line(event, head, clock.now())?;
            if self.lines.len() - start > MAX_BATCH_BYTES / 2 {
                return Err(AuditError::TooLong(self.lines.len() - start));
            }
            Ok(())
        });
        if added.is_ok() {
            self.head = head;
        } else {
            self.lines.truncate(start);
            self.kinds.truncate(kinds);
        }
        added
    }

    fn add_line(&mut self, event: Event, head: Head, now: SystemTime) -> Result<Head, AuditError> {
        let start = self.lines.len();
        event.write_line(self.chain, head, now, &mut self.lines)?;
        let line = self.lines.get(start..).unwrap_or_default();
        if line.len() > MAX_LINE_BYTES {
            return Err(AuditError::TooLong(line.len()));
        }
        let digest = Digest::of(line);
        self.lines.push(b'\n');
        Ok(Head {
            seq: head.seq + 1,
            digest,
        })
    }
}
