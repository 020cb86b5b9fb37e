//! The decision that an attested process may hold a client's identity.

use crate::registry::{Client, ClientSpec, Snapshot};
use std::sync::Arc;
use symbolon_attestors::{AnsweredWord, Attestation, HeldWord};

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

/// The active clients whose selectors fit a process, and whose demanded attestors
/// found something out: who it may be on a connection that proves what they demand.
#[derive(Debug)]
pub struct Candidates(Vec<Arc<Client>>);

impl Candidates {
    /// By what was learned of the process, in the registry's stable order.
    #[must_use]
    pub fn find(attestation: &Attestation, snapshot: &Snapshot) -> Self {
        let mut clients = snapshot.matching(attestation.selectors());
        clients.retain(|client| {
            let required = client.spec().required_attestors();
            required.iter().all(|kind| attestation.has_facts_of(*kind))
        });
        Self(clients)
    }

    /// The clients.
    #[must_use]
    pub fn clients(&self) -> &[Arc<Client>] {
        &self.0
    }

    /// Why each candidate that the connection's proofs do not satisfy is not entitled.
    pub fn objections(&self, presence: &Presence) -> impl Iterator<Item = Objection> {
        let objections = |client: &Arc<Client>| objection(presence, client.spec());
        self.0.iter().filter_map(objections)
    }
}

/// Why a fitting registration is not satisfied with a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Objection {
    /// The peer's end may have been inherited.
    Inheritable,
    /// The stamp on the answer can be forged.
    Forgeable,
    /// Nothing was proved of any connection.
    Unproven,
}

fn objection(presence: &Presence, spec: &ClientSpec) -> Option<Objection> {
    let Some(proofs) = presence.attestation.evidence().proofs else {
        return Some(Objection::Unproven);
    };
    if proofs.answered == AnsweredWord::Forgeable && !spec.allows_foreign_user_namespaces() {
        return Some(Objection::Forgeable);
    }
    if proofs.held != HeldWord::CloseOnExec && !spec.accepts_inheritable() {
        return Some(Objection::Inheritable);
    }
    None
}

/// One client's identity, to which a process is entitled.
///
/// Made by [`Entitlement::decide`] alone: every selector of one of the
/// client's sets is among the process's, the client is active, and satisfied
/// with what was proved of the connection.
#[derive(Clone, Debug)]
pub struct Entitlement {
    client: Arc<Client>,
    presence: Presence,
}

impl Entitlement {
    /// The entitlements of a process on a connection with the proofs that its
    /// presence names, in the registry's stable order.
    #[must_use]
    pub fn decide(presence: &Presence, candidates: &Candidates) -> Vec<Self> {
        let accepts = |client: &&Arc<Client>| objection(presence, client.spec()).is_none();
        let accepted = candidates.0.iter().filter(accepts);
        accepted
            .map(|client| Self {
                client: Arc::clone(client),
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
