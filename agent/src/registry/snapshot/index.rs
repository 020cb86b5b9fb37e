//! From a workload's selectors to the selector sets that hold.
//!
//! Every set of every active client is found under one of its selectors, the
//! one with the fewest sets under it when it was added. A workload's selectors
//! lead to the sets found under them, and only those are compared in full. So
//! the work depends on how many sets share their rarest selector with the
//! workload, not on how many clients there are.

use super::{gates::Gates, shards::Shards};
use crate::registry::Client;
use std::sync::Arc;
use symbolon_attestors::{Kinds, Selector};

/// One selector set of one client.
#[derive(Clone, Debug)]
struct Posting {
    client: Arc<Client>,
    set: usize,
}

/// The selector sets of all clients that may hold identities.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    postings: Shards<Selector, Arc<[Posting]>>,
    gates: Gates,
}

impl Index {
    /// An empty index.
    pub(crate) fn new() -> Self {
        Self {
            postings: Shards::new(),
            gates: Gates::new(),
        }
    }

    /// Adds the sets of `client`, which must not be there.
    pub(crate) fn add(&mut self, client: &Arc<Client>) {
        self.gates.add(client.spec());
        for (set, selectors) in client.spec().selector_sets().iter().enumerate() {
            let Some(rarest) = selectors
                .selectors()
                .iter()
                .min_by_key(|s| self.under(s).len())
            else {
                continue;
            };
            let posting = Posting {
                client: Arc::clone(client),
                set,
            };
            let postings = self
                .under(rarest)
                .iter()
                .cloned()
                .chain([posting])
                .collect();
            self.postings.insert(rarest.clone(), postings);
        }
    }

    /// Takes the sets of `client` out, as it was added.
    pub(crate) fn remove(&mut self, client: &Client) {
        self.gates.remove(client.spec());
        let sets = client.spec().selector_sets();
        for selector in sets.iter().flat_map(|set| set.selectors()) {
            let is_other = |posting: &&Posting| posting.client.ordinal != client.ordinal;
            let postings = self.under(selector);
            let others: Arc<[_]> = postings.iter().filter(is_other).cloned().collect();
            if others.is_empty() {
                self.postings.remove(selector);
            } else if others.len() < postings.len() {
                self.postings.insert(selector.clone(), others);
            }
        }
    }

    /// The attestors that have to be asked for any of the clients; `present` must be sorted.
    pub(crate) fn wanted(&self, present: &[Selector]) -> Kinds {
        self.gates.wanted(present)
    }

    /// The clients with a set that holds, oldest first; `present` must be sorted.
    pub(crate) fn matching(&self, present: &[Selector]) -> Vec<Arc<Client>> {
        let mut clients: Vec<_> = present
            .iter()
            .flat_map(|selector| self.under(selector))
            .filter(|posting| posting.holds(present))
            .map(|posting| Arc::clone(&posting.client))
            .collect();
        clients.sort_unstable_by_key(|client| client.ordinal);
        clients.dedup_by_key(|client| client.ordinal);
        clients
    }

    fn under(&self, selector: &Selector) -> &[Posting] {
        self.postings
            .find(selector)
            .map_or(&[], |postings| postings)
    }
}

impl Posting {
    fn holds(&self, present: &[Selector]) -> bool {
        let set = self.client.spec().selector_sets().get(self.set);
        set.is_some_and(|set| set.holds(present))
    }
}
