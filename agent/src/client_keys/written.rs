//! What whoever writes the clients' keys to a directory has written of them.

use super::ClientKeySet;
use crate::{authority::Slot, registry::ClientName};
use bytes::Bytes;
use std::collections::HashMap;

/// The JWKS of each client as others can read it now; none where nobody writes them, and nobody
/// is to be waited for.
#[derive(Debug, Default)]
pub(super) struct Written(Option<HashMap<ClientName, Bytes>>);

impl Written {
    /// Somebody writes them from now on.
    pub(super) fn expect(&mut self) {
        self.0.get_or_insert_default();
    }

    pub(super) fn note(&mut self, client: &ClientName, jwks: Option<&Bytes>) {
        let Some(sets) = &mut self.0 else {
            return;
        };
        match jwks {
            Some(jwks) => drop(sets.insert(client.clone(), jwks.clone())),
            None => drop(sets.remove(client)),
        }
    }

    /// Whether others can read the key of `set` that signs. What is new beside it may come later.
    pub(super) fn has_active(&self, client: &ClientName, set: &ClientKeySet) -> bool {
        let Some(sets) = &self.0 else {
            return true;
        };
        let active = set.keys().iter().find(|key| key.slot == Slot::Active);
        let jwks = sets.get(client).map(|jwks| std::str::from_utf8(jwks));
        match (active, jwks) {
            (Some(key), Some(Ok(jwks))) => jwks.contains(&format!(r#""kid":"{}""#, key.key_id)),
            _ => false,
        }
    }
}
