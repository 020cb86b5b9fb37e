//! What the embedded CA knows, as it lies on disk: everything but the keys themselves.

use super::{
    AuthorityKind, Slot,
    schedule::{Entry, Ring},
};
use crate::canonical::{self, CanonicalError};
use serde::{Deserialize, Serialize};

/// The file's format. Another one is refused.
const VERSION: u32 = 1;

/// Why the state was refused.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Not the JSON that was written.
    #[error("not a state of the authorities: {0}")]
    Json(#[from] serde_json::Error),
    /// Written by another version of Symbolon.
    #[error("format {0} is not supported")]
    Version(u32),
    /// The entries contradict each other.
    #[error("the generations are not in order")]
    Order,
    /// Bug: it cannot be written.
    #[error("{0}")]
    Canonical(#[from] CanonicalError),
}

/// The state of all authorities.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    version: u32,
    pub(super) trust_domain: String,
    /// `spiffe_sequence` of what was published last.
    pub(super) sequence: u64,
    /// SHA-256 of what was published last, but for the sequence.
    pub(super) published: String,
    x509: Ring,
    jwt: Ring,
    wit: Ring,
}

impl State {
    /// No authorities yet.
    pub(super) fn new(trust_domain: String) -> Self {
        Self {
            version: VERSION,
            trust_domain,
            sequence: 0,
            published: String::new(),
            x509: Ring::default(),
            jwt: Ring::default(),
            wit: Ring::default(),
        }
    }

    /// Reads what [`Self::to_vec`] wrote.
    pub(super) fn from_slice(json: &[u8]) -> Result<Self, StateError> {
        let state: Self = serde_json::from_slice(json)?;
        if state.version != VERSION {
            return Err(StateError::Version(state.version));
        }
        for ring in [&state.x509, &state.jwt, &state.wit] {
            let generations = || ring.entries.iter().map(|entry| entry.generation);
            if !generations().is_sorted_by(|a, b| a < b) {
                return Err(StateError::Order);
            }
        }
        Ok(state)
    }

    /// Canonical JSON.
    pub(super) fn to_vec(&self) -> Result<Vec<u8>, StateError> {
        Ok(canonical::to_vec(self)?)
    }

    /// The authorities of a kind.
    pub(super) const fn ring(&self, kind: AuthorityKind) -> &Ring {
        match kind {
            AuthorityKind::X509 => &self.x509,
            AuthorityKind::Jwt => &self.jwt,
            AuthorityKind::Wit => &self.wit,
        }
    }

    /// The authorities of a kind, to change.
    pub(super) const fn ring_mut(&mut self, kind: AuthorityKind) -> &mut Ring {
        match kind {
            AuthorityKind::X509 => &mut self.x509,
            AuthorityKind::Jwt => &mut self.jwt,
            AuthorityKind::Wit => &mut self.wit,
        }
    }

    /// All authorities.
    pub(super) fn entries(&self) -> impl Iterator<Item = (AuthorityKind, &Entry)> {
        AuthorityKind::ALL.into_iter().flat_map(|kind| {
            self.ring(kind)
                .entries
                .iter()
                .map(move |entry| (kind, entry))
        })
    }

    /// Where an authority stands, if it is there.
    pub(super) fn slot(&self, kind: AuthorityKind, generation: u64) -> Option<Slot> {
        let ring = self.ring(kind);
        ring.entry(generation)
            .map(|entry| match entry.generation.cmp(&ring.active) {
                std::cmp::Ordering::Less => Slot::Retired,
                std::cmp::Ordering::Equal => Slot::Active,
                std::cmp::Ordering::Greater => Slot::Prepared,
            })
    }
}
