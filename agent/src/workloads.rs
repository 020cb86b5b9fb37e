//! Attested processes: what each holds, and what wakes its streams.
//!
//! Owns one [`Process`] for each image of a pinned process that is connected or
//! holds an SVID: its attestation, its kept SVIDs, and a pulse on which its streams
//! wait. The endpoints ask here for what a caller may have; the answer is
//! always made anew from the process as it is now, the registry's snapshot and
//! what is still fresh on the shelf, so a first answer and a push are the same
//! code.
//!
//! Invariants: no SVID leaves unless the process is alive and unchanged and the
//! client active after the last step; all streams of one process see the same
//! SVIDs until they are renewed; a process whose image changed is over, with its
//! connections, and starts from nothing on new ones; withdrawal comes before its
//! record.
//!
//! Wakes: a change of the registry or of the bundle (one task for all), exit
//! and renewal time (one small task for each process). What fails is denied,
//! with the reason in log and audit trail; where only a renewal fails, the SVID
//! that is still valid stays.

mod admission;
mod answer;
mod denial;
mod keeper;
mod process;
mod rate;
mod shelf;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod validation;

pub use admission::{AdmissionLimits, CallPlace, Caller, WorkloadGate};
pub use answer::{Asked, Identities};
pub use denial::Denial;
pub use process::{Process, Pulse};
pub use validation::{Validated, ValidationError};

use crate::{
    audit::{Event, Kind, Process as AuditProcess, Trail},
    authority::{Authority, TrustBundle},
    clock::SharedClock,
    issuance::{Entitlement, Issuer, Presence},
    registry::{Client, Registry, Snapshot},
    supervisor::Supervisor,
    telemetry::Metrics,
};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rate::RateLimiter;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use symbolon_attestors::{Attestor, Changed, ProcessKey};
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
    /// Issues.
    pub issuer: Issuer,
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
#[derive(Clone, Copy, Debug)]
pub struct WorkloadSettings {
    /// How long a call waits for a registration that fits before it is denied.
    pub wait_for_registration: Duration,
    /// Whether processes without an identity get bundles.
    pub bundles_for_any: bool,
    /// Processes watched at the same time.
    pub max_processes: usize,
}

/// The attested processes of this node.
#[derive(Debug)]
pub struct Workloads {
    services: Services,
    settings: ArcSwap<WorkloadSettings>,
    bundle: watch::Receiver<Arc<TrustBundle>>,
    processes: Mutex<HashMap<ProcessKey, Arc<Process>>>,
    open_calls: AtomicUsize,
    closed: watch::Sender<bool>,
    validations: RateLimiter,
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
            closed: watch::Sender::new(false),
            validations: RateLimiter::new(validation::PER_SECOND, validation::BURST),
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

    /// The trust bundle now.
    #[must_use]
    pub fn bundle(&self) -> Arc<TrustBundle> {
        Arc::clone(&self.bundle.borrow())
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

    /// Wakes streams when the registry or the bundle changes. Never returns
    /// while those live.
    pub async fn run(self: Arc<Self>) {
        let mut registry = self.services.registry.changes();
        let mut bundle = self.bundle.clone();
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
    async fn reconcile(&self) {
        for processes in self.all().chunks(WOKEN_AT_ONCE) {
            // Each time anew: by an old one, what others granted meanwhile by a
            // newer one would be withdrawn.
            let snapshot = self.services.registry.snapshot();
            for process in processes {
                let Some(attestation) = process.attestation() else {
                    process.wake();
                    continue;
                };
                self.grant(process, &process.presence(attestation), &snapshot);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Who the process may be by this snapshot.
    ///
    /// Whoever asks first after a change withdraws what is no longer granted and
    /// wakes the streams; later ones find nothing to do.
    fn grant(
        &self,
        process: &Process,
        presence: &Presence,
        snapshot: &Snapshot,
    ) -> Vec<Entitlement> {
        let entitled = Entitlement::decide(presence, snapshot);
        if process.note_entitled(&entitled) {
            self.withdraw(process, &entitled, "the registration changed");
            process.wake();
        }
        entitled
    }

    async fn wake_all(&self) {
        for processes in self.all().chunks(WOKEN_AT_ONCE) {
            processes.iter().for_each(|process| process.wake());
            tokio::task::yield_now().await;
        }
    }

    /// Drops the SVIDs of clients that are not among `entitled`.
    fn withdraw(&self, process: &Process, entitled: &[Entitlement], reason: &'static str) {
        self.record_withdrawn(process, process.drop_except(entitled), reason);
    }

    /// Records that a process lost the identities of `clients`.
    fn record_withdrawn(&self, process: &Process, clients: Vec<Arc<Client>>, reason: &'static str) {
        for client in clients {
            let event = Event::new(Kind::Withdrawn)
                .client(client.name().as_str(), client.version().number)
                .spiffe_id(client.spec().spiffe_id().to_string())
                .process(audit_process(process))
                .reason(reason);
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
    fn remove(&self, processes: &mut HashMap<ProcessKey, Arc<Process>>, process: &Process) {
        if let Some(known) = processes.get(&process.key())
            && std::ptr::eq(Arc::as_ptr(known), process)
        {
            processes.remove(&process.key());
            self.services.metrics.workload.processes.dec();
        }
    }

    fn all(&self) -> Vec<Arc<Process>> {
        self.processes.lock().values().cloned().collect()
    }
}

fn audit_process(process: &Process) -> AuditProcess {
    let credentials = process.peer().credentials();
    AuditProcess {
        gid: credentials.gid,
        pid: credentials.pid,
        uid: credentials.uid,
    }
}

impl Process {
    fn presence(&self, attestation: Arc<symbolon_attestors::Attestation>) -> Presence {
        let credentials = self.peer().credentials();
        Presence {
            attestation,
            pid: credentials.pid,
            uid: credentials.uid,
            gid: credentials.gid,
        }
    }
}
