//! The clients in the order of their names, cheap to copy on write.
//!
//! A list of chunks: a copy shares them all, and a change copies the one that
//! it touches. Clients are never taken out.

use crate::registry::{Client, ClientName};
use std::sync::Arc;

/// Clients of a chunk before it is split in two.
const CHUNK: usize = 512;

/// All clients, sorted by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct ByName {
    chunks: Vec<Arc<Vec<Arc<Client>>>>,
    len: usize,
}

impl ByName {
    /// How many clients there are.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// The client of this name.
    pub(crate) fn find(&self, name: &str) -> Option<&Arc<Client>> {
        let chunk = self.chunks.get(self.chunk_of(name))?;
        let at = chunk
            .binary_search_by(|client| client.name.as_str().cmp(name))
            .ok()?;
        chunk.get(at)
    }

    /// Puts `client` in its place, or in the place of what it was before.
    pub(crate) fn insert(&mut self, client: Arc<Client>) {
        let at = self
            .chunk_of(client.name.as_str())
            .min(self.chunks.len().saturating_sub(1));
        let Some(chunk) = self.chunks.get_mut(at) else {
            self.chunks.push(Arc::new(vec![client]));
            self.len = 1;
            return;
        };
        let chunk = Arc::make_mut(chunk);
        match chunk.binary_search_by(|other| other.name.cmp(&client.name)) {
            Ok(place) => {
                if let Some(old) = chunk.get_mut(place) {
                    *old = client;
                }
                return;
            }
            Err(place) => chunk.insert(place, client),
        }
        self.len += 1;
        if chunk.len() > CHUNK {
            let upper = chunk.split_off(CHUNK / 2);
            self.chunks.insert(at + 1, Arc::new(upper));
        }
    }

    /// The clients whose names come after `name`; all of them without one.
    pub(crate) fn after(&self, name: Option<&ClientName>) -> impl Iterator<Item = &Arc<Client>> {
        let first = name.map_or(0, |name| self.chunk_of(name.as_str()));
        let rest = self
            .chunks
            .iter()
            .skip(first)
            .flat_map(|chunk| chunk.iter());
        rest.skip_while(move |client| name.is_some_and(|name| client.name <= *name))
    }

    /// The first chunk that does not end before `name`.
    fn chunk_of(&self, name: &str) -> usize {
        let ends_before = |client: &Arc<Client>| client.name.as_str() < name;
        self.chunks
            .partition_point(|chunk| chunk.last().is_some_and(ends_before))
    }
}
