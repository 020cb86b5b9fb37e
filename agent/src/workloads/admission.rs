//! From an accepted connection to a known process, within the caps.

use super::{Process, Workloads};
use crate::server::{self, Admit, Refused};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    os::fd::AsFd as _,
    sync::{Arc, atomic::Ordering},
};
use symbolon_attestors::{Changed, PinnedPeer};
use tokio::net::UnixStream;

/// Calls that a user may have open for each connection that he may have, on
/// average: most hold one or two streams, a stream takes some kilobytes, and one
/// connection may have hundreds.
const CALLS_A_CONNECTION: usize = 2;

/// How many connections the workload socket holds.
#[derive(Clone, Copy, Debug)]
pub struct AdmissionLimits {
    /// Of all users together.
    pub max_connections: usize,
    /// Of one user, so that nobody can take all.
    pub max_connections_per_uid: usize,
}

/// Who calls: a connection of a pinned process. Cheap to clone; the connection
/// counts until the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Caller(Arc<Connection>);

#[derive(Debug)]
struct Connection {
    process: Arc<Process>,
    gate: Arc<GateState>,
}

impl Caller {
    /// The process.
    #[must_use]
    pub fn process(&self) -> &Arc<Process> {
        &self.0.process
    }

    fn uid(&self) -> u32 {
        self.0.process.peer().credentials().uid
    }
}

/// Admits connections to the workload socket.
#[derive(Debug)]
pub struct WorkloadGate(Arc<GateState>);

#[derive(Debug)]
struct GateState {
    workloads: Arc<Workloads>,
    limits: AdmissionLimits,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_uid: HashMap<u32, OfUser>,
}

/// What one user has open.
#[derive(Debug, Default)]
struct OfUser {
    connections: usize,
    calls: usize,
}

/// The place of an open call, until dropped.
#[derive(Debug)]
pub struct CallPlace(Caller);

impl server::Caller for Caller {
    type Place = CallPlace;

    fn enter(&self) -> Result<CallPlace, Refused> {
        self.0.gate.take_call(self.uid())?;
        Ok(CallPlace(self.clone()))
    }

    fn ended(&self) -> impl Future<Output = ()> + Send {
        self.0.process.ended()
    }
}

impl Drop for CallPlace {
    fn drop(&mut self) {
        self.0.0.gate.give_call_back(self.0.uid());
    }
}

impl WorkloadGate {
    /// A gate that is open.
    #[must_use]
    pub fn new(workloads: Arc<Workloads>, limits: AdmissionLimits) -> Self {
        Self(Arc::new(GateState {
            workloads,
            limits,
            open: Mutex::default(),
        }))
    }

    /// A connection of this process, within the caps.
    pub(crate) fn admit_peer(&self, peer: PinnedPeer) -> Result<Caller, Refused> {
        let uid = peer.credentials().uid;
        self.0.take(uid)?;
        match self.0.workloads.connect(peer) {
            Ok(process) => Ok(Caller(Arc::new(Connection {
                process,
                gate: Arc::clone(&self.0),
            }))),
            Err(refused) => {
                self.0.give_back(uid);
                Err(refused)
            }
        }
    }
}

impl GateState {
    fn take(&self, uid: u32) -> Result<(), Refused> {
        let mut open = self.open.lock();
        if open.all >= self.limits.max_connections {
            return Err(Refused::Overloaded("connections"));
        }
        let of_user = open.by_uid.entry(uid).or_default();
        if of_user.connections >= self.limits.max_connections_per_uid {
            return Err(Refused::Overloaded("connections of one user"));
        }
        of_user.connections += 1;
        open.all += 1;
        self.workloads.services.metrics.workload.connections.inc();
        Ok(())
    }

    fn give_back(&self, uid: u32) {
        let mut open = self.open.lock();
        open.all -= 1;
        self.workloads.services.metrics.workload.connections.dec();
        open.change(uid, |of_user| of_user.connections -= 1);
    }

    fn take_call(&self, uid: u32) -> Result<(), Refused> {
        let cap = self
            .limits
            .max_connections_per_uid
            .saturating_mul(CALLS_A_CONNECTION);
        let mut open = self.open.lock();
        let of_user = open.by_uid.entry(uid).or_default();
        if of_user.calls >= cap {
            return Err(Refused::Overloaded("open calls of one user"));
        }
        of_user.calls += 1;
        self.workloads.open_calls.fetch_add(1, Ordering::Relaxed);
        self.workloads.services.metrics.workload.streams.inc();
        Ok(())
    }

    fn give_call_back(&self, uid: u32) {
        self.open.lock().change(uid, |of_user| of_user.calls -= 1);
        self.workloads.open_calls.fetch_sub(1, Ordering::Relaxed);
        self.workloads.services.metrics.workload.streams.dec();
    }
}

impl Open {
    /// Changes what a user has open, and forgets who has nothing.
    fn change(&mut self, uid: u32, change: impl FnOnce(&mut OfUser)) {
        if let Some(of_user) = self.by_uid.get_mut(&uid) {
            change(of_user);
            if of_user.connections == 0 && of_user.calls == 0 {
                self.by_uid.remove(&uid);
            }
        }
    }
}

impl Admit for WorkloadGate {
    type Caller = Caller;

    fn admit(&self, socket: &UnixStream) -> Result<Caller, Refused> {
        if *self.0.workloads.closed.borrow() {
            return Err(Refused::NotServing);
        }
        let peer = self.0.workloads.services.attestor.pin(socket.as_fd())?;
        self.admit_peer(peer)
    }

    async fn refused(&self, why: &Refused) {
        let reason = match why {
            Refused::Pin(_) => "pin",
            Refused::Forbidden(_) => "forbidden",
            Refused::Overloaded(_) => "overloaded",
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
        self.process.disconnected();
        self.gate.give_back(self.process.peer().credentials().uid);
        self.gate.workloads.release_if_idle(&self.process);
    }
}

impl Workloads {
    /// The process of a new connection: the known one while it is what it was,
    /// or a new entry.
    fn connect(&self, peer: PinnedPeer) -> Result<Arc<Process>, Refused> {
        let key = peer.key();
        let known = self.processes.lock().get(&key).cloned();
        if let Some(known) = known {
            self.end_if_other(&known, &peer);
        }
        let mut processes = self.processes.lock();
        if let Some(process) = processes.get(&key) {
            process.connected();
            return Ok(Arc::clone(process));
        }
        if processes.len() >= self.settings.load().max_processes {
            return Err(Refused::Overloaded("processes"));
        }
        let process = Arc::new(Process::new(peer));
        process.connected();
        processes.insert(key, Arc::clone(&process));
        self.services.metrics.workload.processes.inc();
        Ok(process)
    }

    /// Ends a known process that is not what it was when it connected.
    fn end_if_other(&self, known: &Process, peer: &PinnedPeer) {
        let attested = known.attestation();
        let unchanged = attested.map_or(Ok(()), |attested| self.unchanged(known, &attested));
        if let Err(why) = unchanged {
            self.end(known, why);
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
