//! Whether the agent is ready to serve, as a set of reasons why not.
//!
//! Whatever must happen first, or must not go on, holds a [`Block`]; the agent
//! is ready while there is none. Dropping a block lifts it, so that a part
//! that ends in any way cannot leave one behind. What should be known of an agent
//! that is ready all the same is a [`Note`], which works alike.

use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::watch;

/// Tells whether the agent is ready, and gives out reasons why not.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    blocks: Mutex<Blocks>,
    ready: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Blocks {
    next: u64,
    held: Vec<(u64, &'static str)>,
    notes: Vec<(u64, &'static str)>,
}

impl Blocks {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// A reason why the agent is not ready, until dropped.
#[derive(Debug)]
#[must_use = "dropping a block lifts it"]
pub struct Block {
    shared: Arc<Shared>,
    number: u64,
}

/// Something that an operator should look at, until dropped.
#[derive(Debug)]
#[must_use = "dropping a note takes it away"]
pub struct Note {
    shared: Arc<Shared>,
    number: u64,
}

impl Readiness {
    /// An agent that is not ready because of `reason`; the block lifts that.
    pub fn blocked_by(reason: &'static str) -> (Self, Block) {
        let readiness = Self(Arc::new(Shared {
            blocks: Mutex::default(),
            ready: watch::Sender::new(false),
        }));
        let block = readiness.block(reason);
        (readiness, block)
    }

    /// Makes the agent not ready until the block is dropped.
    pub fn block(&self, reason: &'static str) -> Block {
        let mut blocks = self.0.blocks.lock();
        let number = blocks.number();
        blocks.held.push((number, reason));
        self.0.publish(&blocks);
        drop(blocks);
        Block {
            shared: Arc::clone(&self.0),
            number,
        }
    }

    /// Tells of something that does not keep the agent from serving, until the note is dropped.
    pub fn note(&self, text: &'static str) -> Note {
        let mut blocks = self.0.blocks.lock();
        let number = blocks.number();
        blocks.notes.push((number, text));
        Note {
            shared: Arc::clone(&self.0),
            number,
        }
    }

    /// What should be looked at, the oldest note first.
    #[must_use]
    pub fn notes(&self) -> Vec<&'static str> {
        let blocks = self.0.blocks.lock();
        blocks.notes.iter().map(|(_, text)| *text).collect()
    }

    /// Whether nothing blocks.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.0.ready.borrow()
    }

    /// Why the agent is not ready, the oldest reason first; empty where it is.
    #[must_use]
    pub fn reasons(&self) -> Vec<&'static str> {
        let blocks = self.0.blocks.lock();
        blocks.held.iter().map(|(_, reason)| *reason).collect()
    }

    /// Whether the agent is ready, and each change of that.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<bool> {
        self.0.ready.subscribe()
    }
}

impl Shared {
    fn publish(&self, blocks: &Blocks) {
        let now = blocks.held.is_empty();
        self.ready
            .send_if_modified(|ready| std::mem::replace(ready, now) != now);
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let mut blocks = self.shared.blocks.lock();
        blocks.held.retain(|(number, _)| *number != self.number);
        self.shared.publish(&blocks);
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        let mut blocks = self.shared.blocks.lock();
        blocks.notes.retain(|(number, _)| *number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::Readiness;

    #[test]
    fn a_note_blocks_nothing() {
        let (readiness, starting) = Readiness::blocked_by("starting");
        let note = readiness.note("look here");
        drop(starting);
        assert!(readiness.is_ready());
        assert_eq!(readiness.notes(), ["look here"]);
        drop(note);
        assert!(readiness.notes().is_empty());
    }

    #[test]
    fn the_agent_is_ready_when_the_last_block_is_lifted() {
        let (readiness, starting) = Readiness::blocked_by("starting");
        let audit = readiness.block("audit");
        assert_eq!(readiness.reasons(), ["starting", "audit"]);
        drop(starting);
        assert!(!readiness.is_ready());
        assert_eq!(readiness.reasons(), ["audit"]);
        drop(audit);
        assert!(readiness.is_ready());
    }

    #[test]
    fn two_blocks_for_the_same_reason_are_two() {
        let (readiness, first) = Readiness::blocked_by("audit");
        let second = readiness.block("audit");
        drop(first);
        assert_eq!(readiness.reasons(), ["audit"]);
        drop(second);
        assert!(readiness.is_ready());
    }

    #[tokio::test]
    async fn only_changes_are_told() {
        let (readiness, starting) = Readiness::blocked_by("starting");
        let mut changes = readiness.changes();
        let other = readiness.block("other");
        drop(starting);
        assert!(!changes.has_changed().unwrap());
        drop(other);
        changes.changed().await.unwrap();
        assert!(*changes.borrow_and_update());
        let _stopping = readiness.block("stopping");
        changes.changed().await.unwrap();
        assert!(!*changes.borrow());
    }
}
