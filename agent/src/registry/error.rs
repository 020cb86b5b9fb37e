//! Why the registry refused a change, by whose fault.

use super::{
    Bar, ClientName, ClientState, Digest, RecordError, RelationshipFault, SpecError, StoreError,
    Subject,
};
use crate::canonical::CanonicalError;
use spiffe::{SpiffeId, TrustDomain};
use std::sync::Arc;

/// Why a change was not made.
///
/// The variants up to [`Self::Full`] are the caller's fault; the others are the
/// store's, the operator's of a shared store, or ours.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RegistryError {
    /// What is asked for breaks a rule of registrations.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// No such client.
    #[error("there is no client {0}")]
    NotFound(ClientName),
    /// Names are given once, also after revocation.
    #[error("the name {0} is taken; names are given once, also after revocation")]
    NameTaken(ClientName),
    /// SPIFFE IDs are given once, also after revocation.
    #[error("{id} belongs to client {owner} for ever")]
    IdTaken {
        /// What was asked for.
        id: SpiffeId,
        /// Whose it is.
        owner: ClientName,
    },
    /// Somebody else has changed the client in the meantime.
    #[error("client {name} has version {in_force} in force, not {expected}")]
    VersionMismatch {
        /// Which client.
        name: ClientName,
        /// What the caller has seen.
        expected: u64,
        /// What there is.
        in_force: u64,
    },
    /// Somebody else has made or proposed a version in the meantime.
    #[error("the last version of client {name} is {last}, not {expected}")]
    NotTheLast {
        /// Which client.
        name: ClientName,
        /// What the caller has seen.
        expected: u64,
        /// What there is.
        last: u64,
    },
    /// The client's state does not allow it.
    #[error("client {name} cannot be {verb}: it is {state}")]
    WrongState {
        /// Which client.
        name: ClientName,
        /// What was to be done to it.
        verb: &'static str,
        /// Its state, by operators' decisions.
        state: ClientState,
    },
    /// No such version.
    #[error("client {0} has no version {1}")]
    NoVersion(ClientName, u64),
    /// The version was declined, or awaits approval.
    #[error("version {1} of client {0} was never in force")]
    NeverInForce(ClientName, u64),
    /// Nothing of this kind awaits approval.
    #[error("{about} of client {name} does not await approval")]
    NotPending {
        /// Which client.
        name: ClientName,
        /// What was decided about.
        about: Subject,
    },
    /// Something else awaits approval than what was shown to the operator.
    #[error("{pending} of client {name} awaits approval, with digest {digest}")]
    OtherPending {
        /// Which client.
        name: ClientName,
        /// What awaits approval.
        pending: Subject,
        /// Its digest.
        digest: Digest,
    },
    /// The decision is not this person's.
    #[error("client {0}: {1}")]
    Barred(ClientName, Bar),
    /// The relationship with a foreign trust domain does not allow it.
    #[error("the federation with {0}: {1}")]
    Relationship(TrustDomain, RelationshipFault),
    /// Relationships with as many trust domains as there may be are in force or proposed.
    #[error("federations with as many trust domains as there may be are in force or proposed")]
    FullOfRelationships,
    /// Suspensions and revocations have a reason.
    #[error("a reason is needed")]
    ReasonMissing,
    /// The registry has as many clients as it may.
    #[error("the registry is full: {limit} clients were registered")]
    Full {
        /// How many are allowed.
        limit: usize,
    },
    /// The store failed; where the change was kept all the same, it is served.
    #[error(transparent)]
    Store(Arc<StoreError>),
    /// The store holds a record that cannot be believed.
    #[error(transparent)]
    Record(Arc<RecordError>),
    /// The change has no canonical form: a bug.
    #[error(transparent)]
    Canonical(Arc<CanonicalError>),
    /// The writer has ended; the agent is stopping.
    #[error("the registry is closed")]
    Closed,
}

impl From<StoreError> for RegistryError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<RecordError> for RegistryError {
    fn from(error: RecordError) -> Self {
        Self::Record(Arc::new(error))
    }
}
