//! Attested processes: what each holds, and what wakes its streams.
//!
//! Owns one [`Process`] for each image of a pinned process that is connected or
//! holds an SVID: its attestation, its kept SVIDs, and a pulse on which its streams
//! wait; and beside it, for each connection, what binds its socket to that image
//! (`binding`) and what was proved of it (`proof`). The endpoints ask here for what a caller may have; the answer is
//! always made anew from the process as it is now, the registry's snapshot and
//! what is still fresh on the shelf, so a first answer and a push are the same
//! code.
//!
//! Invariants: no SVID leaves unless the process is alive and unchanged, the
//! connection proved to be its own, and the client active and content with the
//! proofs, by a look after which nothing was waited for; all streams of one process see the same
//! SVIDs until they are renewed; a process whose image changed is over, with its
//! connections, and starts from nothing on new ones; withdrawal comes before its
//! record.
//!
//! Wakes: a change of the registry or of a bundle, ours or foreign (one task for all), exit
//! and renewal time (one small task for each process), and where the kernel tells,
//! every exec (one task for all). What fails is denied,
//! with the reason in log and audit trail; where only a renewal fails, the SVID
//! that is still valid stays.

mod admission;
mod answer;
mod binding;
mod brokered;
mod decision;
mod denial;
mod federated;
mod keeper;
mod kept;
mod known;
mod live;
mod process;
mod proof;
mod proof_keys;
mod quota;
mod rate;
mod requirements;
mod shelf;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod validation;

pub use admission::{CallPlace, Caller, WorkloadGate};
pub use answer::{Asked, Identities};
pub use binding::Unproven;
pub use denial::Denial;
pub use federated::Federated;
pub use live::{Followed, HeldCredential, Holder, KeyHolders, LiveCount};
pub use process::{Process, Pulse};
pub use quota::QuotaLimits;
pub(crate) use quota::{ConnectionPlace, Quota};
pub use requirements::{HeldRequirement, Requirements};
pub use validation::{Validated, ValidationError};

use crate::{
    audit::{Event, Kind, Process as AuditProcess, Trail},
    authority::{Authority, TrustBundle},
    clock::SharedClock,
    federation::ForeignBundles,
    issuance::{Broker, Candidates, Issuer, Presence},
    registry::{Client, Gates, Registry, Snapshot},
    supervisor::Supervisor,
    telemetry::Metrics,
};
use arc_swap::ArcSwap;
use futures_util::{StreamExt as _, stream};
use known::Known;
use parking_lot::Mutex;
use shelf::Lost;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use symbolon_attestors::{Attestation, Attestor, Changed, Kinds, PinnedPeer, Proofs, Selector};
use tokio::sync::watch;

/// Processes whose streams are woken before these get their turn: all at once
/// would all be answered before the first answer is sent.
const WOKEN_AT_ONCE: usize = 32;

/// The services that the workloads are served from.
#[derive(Debug)]
pub struct Services {
    /// Reads facts about processes.
    pub attestor: Arc<Attestor>,
    /// Who may be whom.
    pub registry: Arc<Registry>,
    /// Publishes the bundle.
    pub authority: Arc<dyn Authority>,
    /// The bundles of foreign trust domains.
    pub federation: watch::Receiver<Arc<ForeignBundles>>,
    /// Issues.
    pub issuer: Issuer,
    /// Makes what clients show to OAuth servers.
    pub broker: Broker,
    /// Records.
    pub trail: Trail,
    /// The wall clock.
    pub clock: SharedClock,
    /// Starts the watch over each process.
    pub supervisor: Supervisor,
    /// Counts.
    pub metrics: Metrics,
}

/// Settings of the workload socket.
#[derive(Clone, Debug)]
pub struct WorkloadSettings {
    /// How long a call waits for a registration that fits before it is denied.
    pub wait_for_registration: Duration,
    /// Whether processes without an identity get bundles.
    pub bundles_for_any: bool,
    /// Processes watched at the same time.
    pub max_processes: usize,
    /// What has to be proved of a connection.
    pub require: Requirements,
    /// How long after it was opened a connection has to be answered on.
    pub answer_timeout: Duration,
    /// What has to be known of processes that may be operators, besides what the registry wants.
    pub operators: Arc<Gates>,
}

/// The attested processes of this node.
#[derive(Debug)]
pub struct Workloads {
    services: Services,
    settings: ArcSwap<WorkloadSettings>,
    bundle: watch::Receiver<Arc<TrustBundle>>,
    processes: Mutex<Known>,
    open_calls: AtomicUsize,
    /// Held by each answer that is being made.
    making: Arc<()>,
    closed: watch::Sender<bool>,
}

impl Workloads {
    /// Nobody yet.
    #[must_use]
    pub fn new(services: Services, settings: WorkloadSettings) -> Self {
        Self {
            bundle: services.authority.bundle(),
            services,
            settings: ArcSwap::from_pointee(settings),
            processes: Mutex::default(),
            open_calls: AtomicUsize::new(0),
            making: Arc::default(),
            closed: watch::Sender::new(false),
        }
    }

    /// Takes new settings for the calls that come.
    pub fn set_settings(&self, settings: WorkloadSettings) {
        self.settings.store(Arc::new(settings));
    }

    /// The service that issues.
    #[must_use]
    pub const fn issuer(&self) -> &Issuer {
        &self.services.issuer
    }

    /// The service that makes what clients show to OAuth servers.
    #[must_use]
    pub const fn broker(&self) -> &Broker {
        &self.services.broker
    }

    /// The trust bundle now.
    #[must_use]
    pub fn bundle(&self) -> Arc<TrustBundle> {
        Arc::clone(&self.bundle.borrow())
    }

    /// What has to be known of a process with these selectors: what the registry wants, and what
    /// operators are recognised by.
    fn wanted(&self, snapshot: &Snapshot, known: &[Selector]) -> Kinds {
        let operators = &self.settings.load().operators;
        snapshot.wanted(known).and(operators.wanted(known))
    }

    /// How many processes are known and how many calls are open, streams above all.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let calls = self.open_calls.load(Ordering::Relaxed);
        (self.processes.lock().len(), calls)
    }

    /// How many processes hold an SVID of each of these clients.
    #[must_use]
    pub fn holders(&self, clients: &[&Client]) -> Vec<usize> {
        let processes = self.all();
        let holders = |client: &&Client| {
            let holds = |process: &&Arc<Process>| process.holds(client.name().as_str());
            processes.iter().filter(holds).count()
        };
        clients.iter().map(holders).collect()
    }

    /// What was proved last of the connections that the living process `peer` has open,
    /// and of how many.
    #[must_use]
    pub fn proven(&self, peer: &PinnedPeer) -> Vec<(Proofs, usize)> {
        // Not by the key: a process that is pinned by another method has another one.
        let known = self.processes.lock().with_pid(peer.credentials().pid);
        let known = known.filter(|known| self.unchanged(known).is_ok() && peer.is_alive());
        known.map_or_else(Vec::new, |known| known.proven())
    }

    /// Whether callers have to answer.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.settings.load().require.answered
    }

    /// Wakes streams when the registry or the bundle changes. Never returns
    /// while those live.
    pub async fn run(self: Arc<Self>) {
        let mut registry = self.services.registry.changes();
        let mut bundle = self.bundle.clone();
        let mut foreign = self.services.federation.clone();
        loop {
            let alive = tokio::select! {
                changed = registry.changed() => {
                    self.reconcile().await;
                    changed.is_ok()
                }
                changed = bundle.changed() => {
                    self.wake_all().await;
                    changed.is_ok()
                }
                // Its sender lives as long as the agent wants; without one nothing changes.
                Ok(()) = foreign.changed() => {
                    self.wake_all().await;
                    true
                }
            };
            if !alive {
                return;
            }
        }
    }

    /// Refuses new connections and ends the wait of calls for a registration.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }

    /// Withdraws what the registry no longer grants and wakes whom it concerns.
    async fn reconcile(self: &Arc<Self>) {
        let mut behind = Vec::new();
        for processes in self.all().chunks(WOKEN_AT_ONCE) {
            // Each time anew: by an old one, what others granted meanwhile by a
            // newer one would be withdrawn.
            let snapshot = self.services.registry.snapshot();
            for process in processes {
                let Some(attestation) = process.attestation() else {
                    process.wake();
                    continue;
                };
                if self.settle(process, &attestation, &snapshot).is_none() {
                    behind.push(Arc::clone(process));
                }
            }
            tokio::task::yield_now().await;
        }
        if !behind.is_empty() {
            // Attestors may have to wait for others; the registry does not wait for them.
            let refresh = Arc::clone(self).refresh_all(behind);
            self.services.supervisor.spawn(refresh);
        }
    }

    /// As a change of the registry has it done.
    #[cfg(test)]
    pub(crate) async fn reconcile_now(self: &Arc<Self>) {
        self.reconcile().await;
    }

    async fn refresh_all(self: Arc<Self>, processes: Vec<Arc<Process>>) {
        let refresh = |process: Arc<Process>| {
            let workloads = Arc::clone(&self);
            async move { workloads.refresh(&process).await }
        };
        let refreshed = stream::iter(processes).for_each_concurrent(WOKEN_AT_ONCE, refresh);
        refreshed.await;
    }

    /// Who the process may be by this snapshot, on a connection that proves all
    /// that is demanded; none where the attestation is behind: the registry wants
    /// to know more, or other facts were found since. The proofs of single
    /// connections make no difference here, else the streams of two would wake
    /// each other for ever.
    ///
    /// Whoever asks first after a change withdraws what is no longer granted and
    /// wakes the streams; later ones find nothing to do.
    fn settle(
        &self,
        process: &Process,
        attestation: &Attestation,
        snapshot: &Snapshot,
    ) -> Option<Candidates> {
        let wanted = self.wanted(snapshot, attestation.selectors());
        if !attestation.kinds().covers(wanted) || !process.is_latest(attestation) {
            return None;
        }
        let candidates = Candidates::find(attestation, snapshot);
        if process.note_entitled(candidates.clients()) {
            self.withdraw(process, candidates.clients(), "the registration changed");
            process.wake();
        }
        Some(candidates)
    }

    async fn wake_all(&self) {
        for processes in self.all().chunks(WOKEN_AT_ONCE) {
            processes.iter().for_each(|process| process.wake());
            tokio::task::yield_now().await;
        }
    }

    /// Drops the SVIDs of clients that are not among `entitled`.
    fn withdraw(&self, process: &Process, entitled: &[Arc<Client>], reason: &'static str) {
        self.record_withdrawn(process, process.drop_except(entitled), reason);
    }

    /// Records that a process lost identities.
    fn record_withdrawn(&self, process: &Process, all: Vec<Lost>, reason: &'static str) {
        for Lost {
            client,
            attestation,
        } in all
        {
            let event = Event::new(Kind::Withdrawn);
            let event = match attestation {
                Some(id) => event.attestation(id),
                None => event,
            };
            let event = event
                .client(client.name().as_str(), client.version().number)
                .spiffe_id(client.spec().spiffe_id().to_string())
                .process(audit_process(process))
                .reason(reason);
            // A suspension may have to end thousands of streams at once.
            tracing::debug!(
                pid = process.peer().credentials().pid,
                client = client.name().as_str(),
                spiffe_id = %client.spec().spiffe_id(),
                reason,
                "withdrawn"
            );
            self.services
                .metrics
                .issuance
                .withdrawn
                .get_or_create(&reason.into())
                .inc();
            self.record_later(event);
        }
    }

    /// Records what has happened already: the answer does not depend on it. Its
    /// place is before all that comes later, unless the trail's queue is full.
    fn record_later(&self, event: Event) {
        let Err(event) = self.services.trail.offer(event) else {
            return;
        };
        let trail = self.services.trail.clone();
        self.services.supervisor.spawn(async move {
            if let Err(error) = trail.record(*event).await {
                tracing::error!(%error, "an event could not be recorded");
            }
        });
    }

    /// Ends a process that is no longer what it was, with all that it holds.
    fn end(&self, process: &Process, why: Changed) {
        self.remove(&mut self.processes.lock(), process);
        let reason = match why {
            Changed::Exited => "the process exited",
            _ => "the process changed",
        };
        self.record_withdrawn(process, process.end(), reason);
    }

    /// Takes the process out, unless another has taken its place.
    fn remove(&self, processes: &mut Known, process: &Process) {
        if processes.remove(process) {
            self.services.metrics.workload.processes.dec();
        }
    }

    fn all(&self) -> Vec<Arc<Process>> {
        self.processes.lock().all()
    }
}

fn audit_process(process: &Process) -> AuditProcess {
    audit_peer(process.peer())
}

fn audit_peer(peer: &PinnedPeer) -> AuditProcess {
    let credentials = peer.credentials();
    AuditProcess {
        gid: credentials.gid,
        pid: credentials.pid,
        uid: credentials.uid,
    }
}

impl Process {
    fn presence(&self, attestation: Arc<Attestation>) -> Presence {
        let credentials = self.peer().credentials();
        Presence {
            attestation,
            pid: credentials.pid,
            uid: credentials.uid,
            gid: credentials.gid,
        }
    }
}
