//! How far the audit trail tells of the registry's records.
//!
//! A change is durable in the store, and then told in the trail: an agent that is killed in
//! between leaves a record that the trail lacks, and so does a trail that cannot be written. So
//! whoever has told of a record, or could not, says it here, in any order, and what is known is
//! the revision up to which all of them are told. What lies beyond it is looked at when the agent
//! starts again, and what could not be told when the trail can be written again
//! (`governance::recovery`).
//!
//! Begins with everything told. The numbers after one that is not are held in memory.

use parking_lot::Mutex;
use std::{collections::BTreeSet, mem};
use tokio::sync::watch;

/// Which records are told.
#[derive(Debug)]
pub(super) struct Told {
    /// Those that do not follow `through` yet.
    beyond: Mutex<BTreeSet<u64>>,
    through: watch::Sender<u64>,
    /// Those that could not be told.
    untold: watch::Sender<BTreeSet<u64>>,
}

impl Told {
    /// All up to this revision are told.
    pub(super) fn new(through: u64) -> Self {
        Self {
            beyond: Mutex::default(),
            through: watch::Sender::new(through),
            untold: watch::Sender::default(),
        }
    }

    /// The record with this revision is told.
    pub(super) fn note(&self, revision: u64) {
        self.untold
            .send_if_modified(|untold| untold.remove(&revision));
        let mut beyond = self.beyond.lock();
        let mut through = *self.through.borrow();
        if revision > through {
            beyond.insert(revision);
        }
        while beyond.remove(&(through + 1)) {
            through += 1;
        }
        self.through
            .send_if_modified(|known| mem::replace(known, through) != through);
    }

    /// The record with this revision could not be told, or not all of it.
    pub(super) fn note_untold(&self, revision: u64) {
        self.untold
            .send_if_modified(|untold| untold.insert(revision));
    }

    /// The revision up to which all records are told.
    pub(super) fn through(&self) -> watch::Receiver<u64> {
        self.through.subscribe()
    }

    /// Those that could not be told.
    pub(super) fn untold(&self) -> watch::Receiver<BTreeSet<u64>> {
        self.untold.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::Told;

    #[test]
    fn nothing_is_told_through_a_gap() {
        let told = Told::new(7);
        let through = told.through();
        told.note_untold(8);
        for (revision, expected) in [(9, 7), (10, 7), (7, 7), (8, 10), (8, 10), (12, 10)] {
            told.note(revision);
            assert_eq!(*through.borrow(), expected, "{revision}");
            assert_eq!(told.untold().borrow().contains(&8), expected == 7);
        }
    }
}
