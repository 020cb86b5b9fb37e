//! The decision that an attested process may hold a client's identity.

use crate::registry::{Client, Snapshot};
use std::sync::Arc;
use symbolon_attestors::Attestation;

/// A process as it was attested: who it is for the audit trail.
#[derive(Clone, Debug)]
pub struct Presence {
    /// What was learned of it.
    pub attestation: Arc<Attestation>,
    /// Its process ID, for people; never used to look anything up.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// One client's identity, to which a process is entitled.
///
/// Made by [`Entitlement::decide`] alone: every selector of one of the
/// client's sets is among the process's, and the client is active.
#[derive(Clone, Debug)]
pub struct Entitlement {
    client: Arc<Client>,
    presence: Presence,
}

impl Entitlement {
    /// The entitlements of a process, in the registry's stable order.
    #[must_use]
    pub fn decide(presence: &Presence, snapshot: &Snapshot) -> Vec<Self> {
        snapshot
            .matching(presence.attestation.selectors())
            .into_iter()
            .map(|client| Self {
                client,
                presence: presence.clone(),
            })
            .collect()
    }

    /// The client.
    #[must_use]
    pub const fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// The process.
    #[must_use]
    pub const fn presence(&self) -> &Presence {
        &self.presence
    }
}
