//! What readers see: the whole registry at one revision.
//!
//! A snapshot never changes, costs nothing to hold, and shares with the one
//! before it whatever did not change. Whether a client has expired is asked of
//! the clock at the moment of the question, so that no identity outlives its
//! `expires_at` by the time that a new snapshot takes to be published.

mod by_name;
mod gates;
mod index;
mod shards;

pub(super) use by_name::ByName;
pub use gates::Gates;
pub(super) use index::Index;
pub(super) use shards::Shards;

use super::{Client, ClientName, ClientState, Relationship, book::Book};
use crate::clock::SharedClock;
use spiffe::{SpiffeId, TrustDomain};
use std::sync::Arc;
use symbolon_attestors::{Kinds, Selector};

/// All clients at one revision.
#[derive(Debug)]
pub struct Snapshot {
    book: Book,
    clock: SharedClock,
    generation: u64,
}

impl Snapshot {
    pub(super) const fn new(book: Book, clock: SharedClock, generation: u64) -> Self {
        Self {
            book,
            clock,
            generation,
        }
    }

    /// Which publication this is; the value that `Registry::changes` sent for it.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// The revision of the store that this shows.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.book.revision()
    }

    /// The active clients that a workload with `present` fits, oldest registration first.
    ///
    /// `present` must be sorted, as an attestation's selectors are. A later
    /// registration never takes the first place, which is the default identity
    /// (SPIFFE Workload API, section 8).
    #[must_use]
    pub fn matching(&self, present: &[Selector]) -> Vec<Arc<Client>> {
        let mut clients = self.book.matching(present);
        if clients
            .iter()
            .any(|client| client.spec().expires_at().is_some())
        {
            let now = self.clock.now();
            clients.retain(|client| client.is_active_at(now));
        }
        clients
    }

    /// The attestors that have to be asked about a workload with `present`, which must be sorted:
    /// those that a client wants to hear which it could still fit, by what is known until now.
    #[must_use]
    pub fn wanted(&self, present: &[Selector]) -> Kinds {
        self.book.wanted(present)
    }

    /// The client of this name.
    #[must_use]
    pub fn client(&self, name: &ClientName) -> Option<&Arc<Client>> {
        self.book.client(name)
    }

    /// The client that this SPIFFE ID belongs to, also if a later version names another.
    #[must_use]
    pub fn by_spiffe_id(&self, id: &SpiffeId) -> Option<&Arc<Client>> {
        self.book.owner(id).and_then(|name| self.book.client(name))
    }

    /// The state of a client now.
    #[must_use]
    pub fn state_of(&self, client: &Client) -> ClientState {
        client.state_at(self.clock.now())
    }

    /// Up to `limit` clients by name, from the one after `after` on.
    #[must_use]
    pub fn page(&self, after: Option<&ClientName>, limit: usize) -> Vec<Arc<Client>> {
        self.book.after(after).take(limit).cloned().collect()
    }

    /// The clients whose names come after this one, by name.
    pub fn after(&self, name: Option<&ClientName>) -> impl Iterator<Item = &Arc<Client>> {
        self.book.after(name)
    }

    /// All clients by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Client>> {
        self.book.after(None)
    }

    /// What is decided about a foreign trust domain, if anything ever was.
    #[must_use]
    pub fn relationship(&self, domain: &TrustDomain) -> Option<&Arc<Relationship>> {
        self.book.relationship(domain)
    }

    /// What is decided about foreign trust domains, by name.
    pub fn relationships(&self) -> impl Iterator<Item = &Arc<Relationship>> {
        self.book.relationships()
    }

    /// How many clients were ever registered.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.book.len()
    }

    /// Whether none ever was.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
