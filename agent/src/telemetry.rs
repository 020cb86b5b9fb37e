//! Metrics, readiness, logging and word to the service manager.
//!
//! Owns what operators watch from outside: the [`Metrics`] with all their names,
//! whether the agent is ready ([`Readiness`]), the log ([`log`]) and `sd_notify`
//! ([`Notifier`]). Every part of the agent counts and logs through it; it calls
//! none of them and trusts nobody's text as a label.
//!
//! Invariants: label values come from fixed sets, never from a workload, so the
//! number of time series is bounded; nothing here waits for a reader, and no
//! failure here ever fails a request. The log never holds a secret, because
//! secrets cannot be formatted; decisions go to the audit trail, not only here.
//!
//! Left out on purpose: traces, and pushing metrics anywhere. The telemetry
//! port that serves all this is `http`.

pub mod log;
mod metrics;
mod notify;
mod readiness;

pub use metrics::{
    AdminMetrics, ApplyMetrics, AuditMetrics, AuthorityMetrics, Call, CallMetrics, ChainLabel,
    ChangeLabel, DriftMetrics, EventLabel, FederationMetrics, IdentityMetrics, IssuanceMetrics,
    KeySlot, KindLabel, LiveMetrics, MethodLabel, Metrics, OperationLabel, OutcomeLabel, PageLabel,
    ProofLabel, ReasonLabel, RegistryMetrics, StateLabel, StoreMetrics, WorkloadMetrics,
};
pub use notify::Notifier;
pub use readiness::{Block, Note, Readiness};
