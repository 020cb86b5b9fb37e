//! What goes wrong with authorities, sorted by whose fault it is.

use super::{AuthorityKind, KeyDirectoryError, OperatorCaError, StateError};
use crate::svid::{
    KeyError,
    jws::JwsError,
    x509::{X509Error, leaf::LeafError},
};
use spiffe::{SpiffeId, TrustDomain};
use std::{path::PathBuf, time::Duration};

/// Why nothing was signed, or why the authority cannot start or rotate.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Caller: an identity of another trust domain.
    #[error("{0} is not of this trust domain")]
    ForeignTrustDomain(SpiffeId),
    /// Caller: a SPIFFE ID without a path names the trust domain, not a workload.
    #[error("{0} has no path")]
    NoPath(SpiffeId),
    /// Caller: a JWT-SVID needs an audience.
    #[error("no audience")]
    NoAudience,
    /// Caller, where the token would be too long for validators.
    #[error("the token cannot be signed: {0}")]
    Token(#[from] JwsError),
    /// Caller, where a name cannot stand in a certificate.
    #[error("the certificate cannot be signed: {0}")]
    Leaf(#[from] LeafError),

    /// Operator: a lifetime in the configuration leaves no time for a rotation.
    #[error("the life of the {kind} authority has to be at least {least:?}")]
    Lifetime {
        /// Which authority.
        kind: AuthorityKind,
        /// Twice the overlap of two authorities.
        least: Duration,
    },
    /// Operator: the data directory belongs to another trust domain.
    #[error(
        "the keys are those of trust domain {kept}, and {configured} is configured; a trust domain cannot be renamed"
    )]
    TrustDomainChanged {
        /// The trust domain of the keys.
        kept: String,
        /// The trust domain in the configuration.
        configured: TrustDomain,
    },
    /// Operator: there are keys, and no state that says what they are.
    #[error(
        "{0} is missing, and there are keys beside it; restore it, or remove the keys to start anew"
    )]
    StateMissing(PathBuf),
    /// Operator: a key is missing, or is not the one that the state names.
    #[error("{0} is missing, or not the key that belongs there")]
    OtherKey(PathBuf),
    /// Operator: the CA that was supplied.
    #[error("{0}")]
    Operator(#[from] OperatorCaError),
    /// Operator or disk: the key directory.
    #[error("{0}")]
    Directory(#[from] KeyDirectoryError),
    /// Operator or disk: the state that was written before.
    #[error("{path}: {source}")]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: StateError,
    },
    /// Operator or clock: no authority of this kind is valid now.
    #[error("no {0} authority is valid at this time")]
    NoneValid(AuthorityKind),

    /// Bug: the cryptographic library refused a key of ours.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// Bug: a certificate of ours does not hold up.
    #[error("the authority's own certificate is not usable: {0}")]
    Certificate(#[from] X509Error),
    /// Bug: the bundle cannot be written as JSON.
    #[error("the trust bundle cannot be rendered: {0}")]
    Bundle(#[from] serde_json::Error),
    /// Bug: the rotation did not come back.
    #[error("the rotation was cut short: {0}")]
    Rotation(#[from] tokio::task::JoinError),
}
