//! Every metric of the agent, with its name, labels and meaning.
//!
//! Names begin with `symbolon_`; `prometheus-client` adds `_total` to counters
//! and the unit to histograms. Whoever owns a fact holds the group of metrics
//! that tells it, and counts there. `Default` gives a group that counts but is
//! not published, for tests and for commands other than the daemon.

mod apply;
mod audit;
mod drift;
mod federation;
mod identity;
mod live;
mod store;

pub use apply::ApplyMetrics;
pub use audit::AuditMetrics;
pub use drift::DriftMetrics;
pub use federation::FederationMetrics;
pub use identity::IdentityMetrics;
pub use live::LiveMetrics;
pub use store::StoreMetrics;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::{Registry, Unit},
};
use std::{fmt, sync::Arc};

/// A histogram for each set of labels.
type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// All metrics of the agent.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// The workload socket and what comes in on it.
    pub workload: WorkloadMetrics,
    /// What is issued, refused and withdrawn.
    pub issuance: IssuanceMetrics,
    /// The registered clients.
    pub registry: RegistryMetrics,
    /// The signing keys.
    pub authority: AuthorityMetrics,
    /// The audit trail.
    pub audit: AuditMetrics,
    /// The admin socket.
    pub admin: AdminMetrics,
    /// The folder of registrations.
    pub apply: ApplyMetrics,
    /// The bundles of foreign trust domains.
    pub federation: FederationMetrics,
    /// Documents that others host.
    pub drift: DriftMetrics,
    /// What processes hold.
    pub live: LiveMetrics,
    /// The registry's store.
    pub store: StoreMetrics,
    /// The identity port and the published documents.
    pub identity: IdentityMetrics,
    ready: Gauge,
    published: Arc<Registry>,
}

/// The workload socket and what comes in on it.
#[derive(Clone, Debug)]
pub struct WorkloadMetrics {
    /// Open connections.
    pub connections: Gauge,
    /// Connections that were closed before a call, by reason.
    pub connections_refused: Family<ReasonLabel, Counter>,
    /// Its calls.
    pub calls: CallMetrics,
    /// Open streams.
    pub streams: Gauge,
    /// Processes that are watched.
    pub processes: Gauge,
    /// Attestations, by outcome.
    pub attestations: Family<OutcomeLabel, Counter>,
    /// Attestors that were asked and could find out nothing, by name.
    pub attestor_failures: Family<KindLabel, Counter>,
    /// Time for one attestation.
    pub attestation_duration: Histogram,
    /// Whether a proof is required of each connection, by the words of the configuration: 1 or 0.
    pub proofs_required: Family<ProofLabel, Gauge>,
}

/// What is issued, refused and withdrawn.
#[derive(Clone, Debug)]
pub struct IssuanceMetrics {
    /// SVIDs issued, renewals among them, by kind.
    pub issued: Family<KindLabel, Counter>,
    /// SVIDs renewed, by kind.
    pub renewed: Family<KindLabel, Counter>,
    /// Client assertions and proofs of possession, by kind.
    pub shown: Family<KindLabel, Counter>,
    /// Time to make and record one SVID, by kind.
    pub duration: Histograms<KindLabel>,
    /// Requests without an identity, by reason.
    pub denied: Family<ReasonLabel, Counter>,
    /// Identities taken from a running process, by reason.
    pub withdrawn: Family<ReasonLabel, Counter>,
    /// Validations of SVIDs, by outcome.
    pub validations: Family<OutcomeLabel, Counter>,
}

/// The registered clients.
#[derive(Clone, Debug, Default)]
pub struct RegistryMetrics {
    /// Clients, by state.
    pub clients: Family<StateLabel, Gauge>,
    /// Accepted changes.
    pub changes: Family<ChangeLabel, Counter>,
    /// Clients of which something awaits approval.
    pub pending: Gauge,
    /// Active clients that end soon.
    pub expiring: Gauge,
    /// Clients whose review date has passed.
    pub overdue: Gauge,
}

/// The signing keys.
#[derive(Clone, Debug, Default)]
pub struct AuthorityMetrics {
    /// When each key ends, in Unix seconds.
    pub not_after: Family<KeySlot, Gauge>,
    /// Sequence number of the trust bundle.
    pub bundle_sequence: Gauge,
}

/// The admin socket.
#[derive(Clone, Debug, Default)]
pub struct AdminMetrics {
    /// Its calls.
    pub calls: CallMetrics,
    /// Places that are taken of what takes long, by what that is.
    pub places: Family<KindLabel, Gauge>,
    /// Calls that found none.
    pub places_refused: Family<KindLabel, Counter>,
}

/// The calls on one socket.
#[derive(Clone, Debug)]
pub struct CallMetrics {
    /// Finished calls, by method and gRPC status.
    pub calls: Family<Call, Counter>,
    /// Time to the answer, or to the first one on a stream.
    pub duration: Histograms<MethodLabel>,
}

/// A method and the gRPC status that it ended with.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Call {
    /// Such as `FetchX509SVID`.
    pub method: &'static str,
    /// Such as `PermissionDenied`.
    pub code: &'static str,
}

/// A key's place.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KeySlot {
    /// "x509", "jwt" or "wit".
    pub kind: &'static str,
    /// "prepared", "active" or "retired".
    pub slot: &'static str,
}

/// A page of the identity port and how it was answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PageLabel {
    /// Such as `client-jwks`; `none` where there is no such page.
    pub page: &'static str,
    /// The HTTP status.
    pub code: &'static str,
}

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident: $label:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub struct $name {
            /// One of a fixed set of words.
            pub $label: &'static str,
        }

        impl From<&'static str> for $name {
            fn from($label: &'static str) -> Self {
                Self { $label }
            }
        }
    )*};
}

labels! {
    /// A gRPC method.
    MethodLabel: method;
    /// Why something was refused or taken away.
    ReasonLabel: reason;
    /// What can be proved of a connection: `pidfd`, `held`, `held-or-inheritable` or `answered`.
    ProofLabel: proof;
    /// How something ended.
    OutcomeLabel: outcome;
    /// A kind of credential: `x509-svid`, `jwt-svid`, `wit-svid`, `client-assertion` ...
    KindLabel: kind;
    /// A client's state.
    StateLabel: state;
    /// What was changed: `registered`, `updated` ...
    ChangeLabel: change;
    /// An audit event's name.
    EventLabel: event;
    /// A chain of the audit trail: `trail` or `callers`.
    ChainLabel: chain;
    /// What is asked of the registry's store: `append`, `get` or `read`.
    OperationLabel: operation;
}

impl Default for WorkloadMetrics {
    fn default() -> Self {
        Self {
            connections: Gauge::default(),
            connections_refused: Family::default(),
            calls: CallMetrics::default(),
            streams: Gauge::default(),
            processes: Gauge::default(),
            attestations: Family::default(),
            attestor_failures: Family::default(),
            attestation_duration: durations(),
            proofs_required: Family::default(),
        }
    }
}

impl Default for IssuanceMetrics {
    fn default() -> Self {
        Self {
            issued: Family::default(),
            renewed: Family::default(),
            shown: Family::default(),
            duration: Family::new_with_constructor(durations),
            denied: Family::default(),
            withdrawn: Family::default(),
            validations: Family::default(),
        }
    }
}

impl Default for CallMetrics {
    fn default() -> Self {
        Self {
            calls: Family::default(),
            duration: Family::new_with_constructor(durations),
        }
    }
}

/// From 25 us, the least that any call takes, to 3.3 s.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(25e-6, 2.0, 18))
}

impl Metrics {
    /// Metrics that [`Self::text`] publishes.
    #[must_use]
    pub fn new(version: &'static str) -> Self {
        let mut to = Registry::with_prefix("symbolon");
        to.register(
            "build",
            "The running build",
            Info::new([("version", version)]),
        );
        let ready = Gauge::<i64>::default();
        to.register(
            "ready",
            "Whether the agent is ready to serve: 1 or 0",
            ready.clone(),
        );
        let (workload, issuance) = (WorkloadMetrics::default(), IssuanceMetrics::default());
        let (registry, authority) = (RegistryMetrics::default(), AuthorityMetrics::default());
        let (audit, admin) = (AuditMetrics::default(), AdminMetrics::default());
        workload.publish(&mut to);
        issuance.publish(&mut to);
        registry.publish(&mut to);
        authority.publish(&mut to);
        audit.publish(&mut to);
        admin.publish(&mut to);
        let apply = ApplyMetrics::default();
        apply.publish(&mut to);
        let drift = DriftMetrics::default();
        drift.publish(&mut to);
        let (live, store) = (LiveMetrics::default(), StoreMetrics::default());
        live.publish(&mut to);
        let federation = FederationMetrics::default();
        federation.publish(&mut to);
        store.publish(&mut to);
        let identity = IdentityMetrics::default();
        identity.publish(&mut to);
        Self {
            workload,
            issuance,
            registry,
            authority,
            audit,
            admin,
            apply,
            federation,
            drift,
            live,
            store,
            identity,
            ready,
            published: Arc::new(to),
        }
    }

    /// All metrics as `OpenMetrics` text, version 1.0.
    ///
    /// # Errors
    /// Where a metric cannot be formatted.
    pub fn text(&self, ready: bool) -> Result<String, fmt::Error> {
        self.ready.set(ready.into());
        let mut out = String::new();
        prometheus_client::encoding::text::encode(&mut out, &self.published)?;
        Ok(out)
    }
}

impl WorkloadMetrics {
    fn publish(&self, to: &mut Registry) {
        to.register(
            "workload_connections",
            "Open connections on the workload socket",
            self.connections.clone(),
        );
        to.register(
            "workload_connections_refused",
            "Connections on the workload socket that were closed before a call",
            self.connections_refused.clone(),
        );
        to.register(
            "workload_calls",
            "Finished calls on the workload socket",
            self.calls.calls.clone(),
        );
        to.register_with_unit(
            "workload_call_duration",
            "Time to the answer, or to the first one on a stream",
            Unit::Seconds,
            self.calls.duration.clone(),
        );
        to.register(
            "workload_streams",
            "Open streams on the workload socket",
            self.streams.clone(),
        );
        to.register(
            "workload_processes",
            "Processes that are watched",
            self.processes.clone(),
        );
        to.register(
            "workload_attestations",
            "Attestations of processes",
            self.attestations.clone(),
        );
        to.register(
            "workload_attestor_failures",
            "Attestors that were asked about a process and could find out nothing",
            self.attestor_failures.clone(),
        );
        to.register_with_unit(
            "workload_attestation_duration",
            "Time for one attestation",
            Unit::Seconds,
            self.attestation_duration.clone(),
        );
        to.register(
            "workload_proofs_required",
            "Whether each proof is required of connections: 1 or 0",
            self.proofs_required.clone(),
        );
    }
}

impl IssuanceMetrics {
    fn publish(&self, to: &mut Registry) {
        to.register(
            "svids_issued",
            "SVIDs issued, renewals among them",
            self.issued.clone(),
        );
        to.register(
            "svids_renewed",
            "SVIDs renewed before their expiry",
            self.renewed.clone(),
        );
        to.register(
            "client_credentials_made",
            "Client assertions and proofs of possession made for OAuth servers",
            self.shown.clone(),
        );
        to.register_with_unit(
            "svid_issue_duration",
            "Time to make and record one SVID",
            Unit::Seconds,
            self.duration.clone(),
        );
        to.register(
            "identities_denied",
            "Requests that got no identity",
            self.denied.clone(),
        );
        to.register(
            "identities_withdrawn",
            "Identities taken from a running process",
            self.withdrawn.clone(),
        );
        to.register(
            "svid_validations",
            "SVIDs shown for validation",
            self.validations.clone(),
        );
    }
}

impl RegistryMetrics {
    fn publish(&self, to: &mut Registry) {
        to.register("clients", "Registered clients", self.clients.clone());
        to.register(
            "client_changes",
            "Accepted changes of clients",
            self.changes.clone(),
        );
        to.register(
            "clients_pending",
            "Clients of which a version or a resumption awaits approval",
            self.pending.clone(),
        );
        to.register(
            "clients_expiring",
            "Active clients that end within seven days",
            self.expiring.clone(),
        );
        to.register(
            "clients_review_overdue",
            "Clients whose review date has passed",
            self.overdue.clone(),
        );
    }
}

impl AuthorityMetrics {
    fn publish(&self, to: &mut Registry) {
        to.register_with_unit(
            "authority_not_after_timestamp",
            "When a signing key ends, in Unix time",
            Unit::Seconds,
            self.not_after.clone(),
        );
        to.register(
            "bundle_sequence",
            "Sequence number of the trust bundle",
            self.bundle_sequence.clone(),
        );
    }
}

impl AdminMetrics {
    fn publish(&self, to: &mut Registry) {
        to.register(
            "admin_calls",
            "Finished calls on the admin socket",
            self.calls.calls.clone(),
        );
        to.register_with_unit(
            "admin_call_duration",
            "Time to the answer, or to the first one on a stream",
            Unit::Seconds,
            self.calls.duration.clone(),
        );
        to.register(
            "admin_places_taken",
            "Calls under way of those that take long",
            self.places.clone(),
        );
        to.register(
            "admin_places_refused",
            "Calls that were refused because as many of them are under way as may",
            self.places_refused.clone(),
        );
    }
}

#[cfg(test)]
mod tests;
