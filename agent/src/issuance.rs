//! From an entitlement to an issued SVID: lifetime, key, signature, record.
//!
//! An [`Entitlement`] exists only where a snapshot of the registry matched an
//! attestation, so nothing here signs without a decision. [`Issuer`] makes the
//! workload's key, has the authority sign, and writes the audit line; the SVID
//! is returned only once that line is on disk. What fails after the signature
//! throws the key away with the SVID.
//!
//! Lifetimes: the client's cap or the configured default, never beyond what is
//! left of the authority (the authority cuts). Renewal is due at half life,
//! moved by up to a tenth of the lifetime either way, drawn once at issue, so
//! that SVIDs issued in a burst are not renewed in one.
//!
//! [`Broker`] makes what an entitled client shows to OAuth servers, by the same rules.
//!
//! Left out on purpose: who keeps an SVID and when it is pushed (`workloads`).

mod broker;
mod entitlement;
mod issuer;

pub use broker::{
    BoundWit, Broker, BrokerSettings, ClientAssertion, ClientCredential, DpopProof, DpopRequest,
    WorkloadProof, WorkloadRequest,
};
pub use entitlement::{Candidates, Entitlement, Objection, Presence};
pub(crate) use issuer::describe;
pub use issuer::{IssueError, Issuer, JwtSvid, Lifetimes, Terms, WitSvid, X509Svid};
