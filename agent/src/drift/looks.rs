//! What was seen last, for whoever asks.

use super::Look;
use crate::registry::ClientName;
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

/// What was seen last, of each client that is watched; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Looks(Arc<Mutex<BTreeMap<ClientName, Seen>>>);

/// What was seen last.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When.
    pub at: SystemTime,
    /// What.
    pub look: Look,
}

impl Looks {
    /// What was seen last of this client's document.
    #[must_use]
    pub fn last(&self, name: &ClientName) -> Option<Seen> {
        self.0.lock().get(name).cloned()
    }

    /// Forgets the others.
    pub(super) fn retain(&self, is_watched: impl Fn(&ClientName) -> bool) {
        self.0.lock().retain(|name, _| is_watched(name));
    }

    pub(super) fn note(&self, name: &ClientName, seen: Seen) {
        self.0.lock().insert(name.clone(), seen);
    }
}
