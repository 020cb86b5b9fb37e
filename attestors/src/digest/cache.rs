//! Known digests and running jobs.
//!
//! Bounded: where the cache is full, the entry that was not asked for longest
//! makes room. Whoever brings many files pushes others out and pays for each
//! with hashing on his own share.

use super::{Content, Digest};
use crate::executable::FileIdentity;
use std::collections::HashMap;
use tokio::sync::watch;

/// Tells those who joined how a job ended.
pub(super) type Flight = watch::Sender<Option<Digest>>;

/// What is known about a file.
pub(super) enum Entry {
    /// All that was read of it.
    Known(Content),
    /// Another job is at it.
    Running(watch::Receiver<Option<Digest>>),
    /// Nothing: the caller is to hash it, and to say so here.
    Ours(Flight),
}

/// Digests by file, and the jobs at files.
#[derive(Debug)]
pub(super) struct Cache {
    known: HashMap<FileIdentity, Known>,
    running: HashMap<FileIdentity, watch::Receiver<Option<Digest>>>,
    capacity: usize,
    uses: u64,
}

#[derive(Debug)]
struct Known {
    content: Content,
    last_use: u64,
}

impl Cache {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            known: HashMap::new(),
            running: HashMap::new(),
            capacity: capacity.max(1),
            uses: 0,
        }
    }

    /// The digest of a file.
    pub(super) fn known(&mut self, identity: &FileIdentity) -> Option<Content> {
        let known = self.known.get_mut(identity)?;
        self.uses += 1;
        known.last_use = self.uses;
        Some(known.content.clone())
    }

    /// What is known about a file; where nothing is, the caller's job is at it from now on.
    pub(super) fn enter(&mut self, identity: FileIdentity) -> Entry {
        if let Some(content) = self.known(&identity) {
            return Entry::Known(content);
        }
        if let Some(flight) = self.running.get(&identity) {
            return Entry::Running(flight.clone());
        }
        let (flight, joined) = watch::channel(None);
        self.running.insert(identity, joined);
        Entry::Ours(flight)
    }

    /// Remembers what was read of a file.
    pub(super) fn keep(&mut self, identity: FileIdentity, content: Content) {
        if self.known.len() >= self.capacity {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.last_use);
            if let Some(oldest) = oldest.map(|(identity, _)| *identity) {
                self.known.remove(&oldest);
            }
        }
        self.uses += 1;
        let known = Known {
            content,
            last_use: self.uses,
        };
        self.known.insert(identity, known);
    }

    /// The caller's job at a file is over.
    pub(super) fn leave(&mut self, identity: &FileIdentity) {
        self.running.remove(identity);
    }
}
