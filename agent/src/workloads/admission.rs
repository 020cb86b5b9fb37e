//! From an accepted connection to a known process, within the caps.

use super::{
    Process, Workloads, audit_peer,
    binding::Binding,
    quota::{ConnectionPlace, Payer, Quota, QuotaLimits},
};
use crate::{
    audit::{Cause, Event, Kind, Origin, Process as AuditProcess},
    server::{self, Admit, Refused, Whose},
    transport::{Course, Question},
};
use std::{
    future::pending,
    os::fd::{AsFd as _, BorrowedFd},
    sync::{Arc, atomic::Ordering},
};
use symbolon_attestors::{Changed, Image, PinnedPeer, ROOT_CGROUP};
use symbolon_syscalls::{peer_credentials, peer_pidfd, pidfd_info};
use tokio::{net::UnixStream, sync::watch};

/// The word for a caller whose process is gone, or cannot be told from others.
const UNPINNED: &str = "unpinned";

/// Who calls: a connection of a pinned process. Cheap to clone; the connection
/// counts until the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Caller(Arc<Connection>);

#[derive(Debug)]
struct Connection {
    process: Arc<Process>,
    binding: Arc<Binding>,
    place: ConnectionPlace,
    gate: Arc<GateState>,
}

impl Caller {
    /// The process.
    #[must_use]
    pub fn process(&self) -> &Arc<Process> {
        &self.0.process
    }

    /// Counts a call that is served elsewhere, until [`end_call`](Self::end_call).
    ///
    /// # Errors
    /// Which cap is reached.
    pub(crate) fn begin_call(&self) -> Result<(), Refused> {
        self.0.place.begin_call()
    }

    /// Takes such a call off the account.
    pub(crate) fn end_call(&self) {
        self.0.place.end_call();
    }

    /// What binds the connection to the process's image.
    pub(super) fn binding(&self) -> &Binding {
        &self.0.binding
    }
}

/// Admits connections to the workload socket.
#[derive(Debug)]
pub struct WorkloadGate(Arc<GateState>);

#[derive(Debug)]
struct GateState {
    workloads: Arc<Workloads>,
    quota: Arc<Quota>,
}

/// The place of an open call, until dropped.
#[derive(Debug)]
pub struct CallPlace(Caller);

impl server::Caller for Caller {
    type Place = CallPlace;

    fn enter(&self) -> Result<CallPlace, Refused> {
        self.0.place.begin_call()?;
        let workloads = &self.0.gate.workloads;
        workloads.open_calls.fetch_add(1, Ordering::Relaxed);
        workloads.services.metrics.workload.streams.inc();
        Ok(CallPlace(self.clone()))
    }

    fn question(&self) -> Option<Question> {
        self.0.binding.question(self.0.process.peer())
    }

    fn course(&self) -> Option<watch::Sender<Course>> {
        Some(self.0.binding.course())
    }

    fn whose(&self) -> Whose {
        self.0.place.whose
    }

    async fn ended(&self) {
        let attestor = &self.0.gate.workloads.services.attestor;
        let proved = async {
            self.0.binding.heard().await;
            self.0.place.end_handshake();
            pending::<()>().await;
        };
        tokio::select! {
            () = self.0.process.ended() => {}
            () = self.0.binding.ended(attestor) => {}
            () = proved => {}
        }
    }

    async fn left(&self) {
        self.0.gate.workloads.note_left(self).await;
    }
}

impl Drop for CallPlace {
    fn drop(&mut self) {
        let workloads = &self.0.0.gate.workloads;
        workloads.open_calls.fetch_sub(1, Ordering::Relaxed);
        workloads.services.metrics.workload.streams.dec();
        self.0.0.place.end_call();
    }
}

impl WorkloadGate {
    /// A gate that is open.
    #[must_use]
    pub fn new(workloads: Arc<Workloads>, limits: QuotaLimits) -> Self {
        Self(Arc::new(GateState {
            workloads,
            quota: Quota::new(limits),
        }))
    }

    /// A connection of this process, within the caps, with what `bind` finds out
    /// about it.
    pub(super) fn admit_peer(
        &self,
        peer: PinnedPeer,
        bind: impl FnOnce(&Workloads, &PinnedPeer) -> Result<Binding, Refused>,
    ) -> Result<Caller, Refused> {
        let workloads = &self.0.workloads;
        let uid = workloads.services.attestor.accountable_uid(&peer);
        let cgroup = peer.cgroup_id().filter(|id| *id != ROOT_CGROUP);
        let place = self.0.quota.connect(uid, cgroup)?;
        let binding = match bind(workloads, &peer) {
            Ok(binding) => Arc::new(binding),
            Err(why) => {
                if matches!(why, Refused::Unseen(_)) {
                    self.note_unpinned(Some(audit_peer(&peer)), &why);
                }
                return Err(why);
            }
        };
        let process = workloads.connect(peer, &binding, &place)?;
        workloads.services.metrics.workload.connections.inc();
        Ok(Caller(Arc::new(Connection {
            process,
            binding,
            place,
            gate: Arc::clone(&self.0),
        })))
    }
}

impl WorkloadGate {
    /// Records that a connection is refused because its process is gone, or cannot be
    /// told from others. Never waits.
    fn note_unpinned(&self, process: Option<AuditProcess>, why: &Refused) {
        let services = &self.0.workloads.services;
        let denied = &services.metrics.issuance.denied;
        denied.get_or_create(&UNPINNED.into()).inc();
        let cause = Cause {
            origin: Origin {
                uid: process.map(|process| process.uid),
                cgroup: None,
            },
            kind: Kind::Denied,
            word: UNPINNED,
            process,
        };
        let event = || {
            let event = Event::new(Kind::Denied).reason(format!("{UNPINNED}: {why}"));
            match process {
                Some(process) => event.process(process),
                None => event,
            }
        };
        drop(services.trail.of_caller(cause, event));
    }
}

/// Who connected, by the kernel's word at that time; none where it is not in the
/// agent's PID namespace, or its number cannot be told.
fn connected(socket: &UnixStream) -> Option<AuditProcess> {
    let credentials = socket.peer_cred().ok()?;
    let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok());
    Some(AuditProcess {
        gid: credentials.gid(),
        pid: pid.filter(|pid| *pid > 0)?,
        uid: credentials.uid(),
    })
}

impl Admit for WorkloadGate {
    type Caller = Caller;

    /// By its user ID and its cgroup, as the kernel has them at hand: a process in a user namespace
    /// is charged to who made that, and is refused also while the user is whose ID it has there.
    fn knock(&self, socket: BorrowedFd<'_>) -> Result<u32, Refused> {
        let Ok(peer) = peer_credentials(socket) else {
            return Ok(u32::MAX);
        };
        let quota = &self.0.quota;
        quota.knock(Payer::User(peer.uid))?;
        // Whoever has many users has them in one cgroup.
        let cgroup = peer_pidfd(socket).and_then(|pidfd| pidfd_info(pidfd.as_fd()));
        let cgroup = cgroup.ok().and_then(|info| info.cgroup_id);
        if let Some(id) = cgroup.filter(|id| *id != ROOT_CGROUP) {
            quota.knock(Payer::Cgroup(id))?;
        }
        Ok(peer.uid)
    }

    fn admit(&self, socket: &UnixStream) -> Result<Caller, Refused> {
        if *self.0.workloads.closed.borrow() {
            return Err(Refused::NotServing);
        }
        let pinned = self.0.workloads.services.attestor.pin(socket.as_fd());
        let peer = pinned.map_err(|error| {
            let why = Refused::Pin(error);
            self.note_unpinned(connected(socket), &why);
            why
        })?;
        self.admit_peer(peer, |workloads, peer| workloads.bind(peer, socket.as_fd()))
    }

    fn refused(&self, why: &Refused) {
        let reason = match why {
            Refused::Pin(_) => "pin",
            Refused::Forbidden(_) => "forbidden",
            Refused::Overloaded(_) => "overloaded",
            Refused::Unseen(_) => "unseen",
            Refused::NoRandomness => "no randomness",
            Refused::NotServing => "not serving",
        };
        let metrics = &self.0.workloads.services.metrics.workload;
        metrics
            .connections_refused
            .get_or_create(&reason.into())
            .inc();
        tracing::debug!(%why, "connection to the workload socket refused");
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.process.disconnected(&self.binding);
        let workloads = &self.gate.workloads;
        workloads.services.metrics.workload.connections.dec();
        workloads.release_if_idle(&self.process);
    }
}

impl Workloads {
    /// The process of a new connection: the known one while it is what it was,
    /// or a new entry.
    fn connect(
        &self,
        peer: PinnedPeer,
        binding: &Arc<Binding>,
        place: &ConnectionPlace,
    ) -> Result<Arc<Process>, Refused> {
        let (key, image) = (peer.key(), binding.image());
        let known = self.processes.lock().get(&key).cloned();
        if let Some(known) = known {
            self.end_if_other(&known, &peer, image);
        }
        let mut processes = self.processes.lock();
        if let Some(process) = processes.get(&key) {
            process.connected(binding);
            return Ok(Arc::clone(process));
        }
        if processes.len() >= self.settings.load().max_processes {
            return Err(Refused::Overloaded("processes"));
        }
        let process = Process::new(peer, image.clone(), place.process()?);
        let process = Arc::new(process);
        process.connected(binding);
        processes.insert(key, Arc::clone(&process));
        self.services.metrics.workload.processes.inc();
        Ok(process)
    }

    /// Ends a known process that is not what it was when it connected.
    fn end_if_other(&self, known: &Process, peer: &PinnedPeer, image: &Image) {
        if known.image() != image {
            self.end(known, Changed::Executable);
        } else if known.peer().credentials() != peer.credentials() {
            self.end(known, Changed::Credentials);
        }
    }

    /// Forgets the process if nobody is connected and it holds nothing;
    /// whether it is forgotten.
    pub(super) fn release_if_idle(&self, process: &Process) -> bool {
        let mut processes = self.processes.lock();
        if !process.is_idle() {
            return false;
        }
        self.remove(&mut processes, process);
        process.rescheduled.notify_one();
        true
    }
}

#[cfg(test)]
mod tests;
