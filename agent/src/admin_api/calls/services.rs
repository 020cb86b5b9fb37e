//! What the admin service serves from.

use crate::{
    audit::Trail,
    authority::AuthorityInfo,
    clock::SharedClock,
    drift::Looks,
    federation::Federation,
    lint::Linter,
    operators::Roster,
    registry::Registry,
    supervisor::Supervisor,
    telemetry::{AdminMetrics, Readiness, RegistryMetrics},
    workloads::Workloads,
};
use std::{
    fmt::{self, Debug, Formatter},
    sync::Arc,
    time::SystemTime,
};
use symbolon_attestors::Attestor;
use tokio::sync::watch;

/// What does not change while the agent runs.
#[derive(Clone, Debug)]
pub struct AgentFacts {
    /// The agent's version.
    pub version: &'static str,
    /// The data directory.
    pub data_dir: String,
    /// The workload socket.
    pub workload_socket: String,
    /// The admin socket.
    pub admin_socket: String,
    /// When the agent started.
    pub started_at: SystemTime,
    /// What it can only do in a weaker way.
    pub limitations: Vec<String>,
}

/// The services behind the admin socket.
#[derive(Debug)]
pub struct AdminServices {
    /// Fixed facts.
    pub facts: AgentFacts,
    /// The clients.
    pub registry: Arc<Registry>,
    /// The processes.
    pub workloads: Arc<Workloads>,
    /// The foreign trust domains.
    pub federation: Arc<Federation>,
    /// Explains processes.
    pub attestor: Arc<Attestor>,
    /// Judges registrations.
    pub linter: Arc<Linter>,
    /// The audit trail.
    pub trail: Trail,
    /// Counts changes.
    pub metrics: RegistryMetrics,
    /// Shows what is under way.
    pub admin_metrics: AdminMetrics,
    /// Carries changes to their end.
    pub supervisor: Supervisor,
    /// The wall clock.
    pub clock: SharedClock,
    /// Whether the agent is ready.
    pub readiness: Readiness,
    /// True once the agent stops.
    pub stopped: watch::Receiver<bool>,
    /// Lists the authority's keys.
    pub authorities: Authorities,
    /// Who is an operator now.
    pub roster: watch::Receiver<Arc<Roster>>,
    /// What was seen last of documents that others host.
    pub looks: Looks,
}

/// Lists the authority's keys.
pub struct Authorities(pub Box<dyn Fn() -> Vec<AuthorityInfo> + Send + Sync>);

impl Debug for Authorities {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_list().entries((self.0)()).finish()
    }
}
