//! Who may use the admin socket.
//!
//! Two doors. A connection is let in or closed by who its peer is: [`OperatorGate`]
//! knows that from the kernel, and the roster says whether that is anybody. On it
//! each call passes [`Visitor::authorize`], the only way to an [`Operator`], which
//! looks the roster up again: a role that was taken away is gone at once, and the
//! connection ends. What is refused at either door is recorded.

use super::roles;
use crate::{
    audit::{self, Cause, Event, Kind, Origin, Trail},
    operators::{Identified, Roles, Roster},
    server::{self, Admit, Caller as _, Refused},
    supervisor::Supervisor,
    transport::Question,
    workloads::{Caller, ConnectionPlace, Quota, QuotaLimits, WorkloadGate, Workloads},
};
use parking_lot::Mutex;
use refusals::{REFUSED_PAUSE, Refusals};
use std::{
    collections::HashMap,
    fs,
    future::pending,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    sync::Arc,
};
use symbolon_attestors::PinnedPeer;
use symbolon_proto::admin::admin_server::SERVICE_NAME;
use symbolon_syscalls::peer_groups;
use tokio::{
    net::UnixStream,
    sync::{oneshot, watch},
    time::sleep,
};
use tonic::Status;

mod operator;
mod refusals;

pub use operator::Operator;

/// Connections at the same time, in all and of one user; commands have one each.
const LIMITS: QuotaLimits = QuotaLimits {
    max_connections: 256,
    max_connections_per_uid: 64,
    max_connections_per_cgroup: 256,
    max_handshakes: usize::MAX,
    max_handshakes_per_payer: usize::MAX,
    calls_per_second: u32::MAX,
    // A script that runs one command after the other is slower.
    connections_per_second: 200,
};

/// As [`LIMITS`] for those who may turn out to be a program that is named: anybody may try, and
/// most places are not theirs.
const UNKNOWN_LIMITS: QuotaLimits = QuotaLimits {
    max_connections: 128,
    max_connections_per_uid: 32,
    max_connections_per_cgroup: 32,
    max_handshakes: 64,
    max_handshakes_per_payer: 16,
    // Health and reflection are for everybody who is let in.
    calls_per_second: 100,
    // Each new process is attested, and the trail has the evidence.
    connections_per_second: 20,
};

/// Namespaces in which a uid or a PID means what it means to the agent.
const NAMESPACES: [&str; 2] = ["user", "pid"];

/// What holds for all operators.
#[derive(Clone, Copy, Debug)]
pub struct OperatorPolicy {
    /// Whether peers of other user and PID namespaces may connect.
    pub allow_foreign_namespaces: bool,
    /// Whether versions have to be approved.
    pub approvals: bool,
}

/// A connection of somebody who was let in.
#[derive(Clone, Debug)]
pub struct Visitor(Arc<Seat>);

#[derive(Debug)]
struct Seat {
    peer: PinnedPeer,
    /// With which it connected.
    groups: Vec<u32>,
    login: Option<u32>,
    /// As what it was let in by its user and groups.
    known: Option<Identified>,
    /// What may be a program that is named, with what binds the connection to it.
    program: Option<Caller>,
    /// By which roster it was let in.
    roster: Arc<Roster>,
    place: ConnectionPlace,
    refusals: Arc<Refusals>,
    gate: Arc<GateState>,
}

/// The place of an open call, until dropped.
#[derive(Debug)]
pub struct VisitPlace(Visitor);

impl Drop for VisitPlace {
    fn drop(&mut self) {
        let seat = &self.0.0;
        seat.place.end_call();
        if let Some(program) = &seat.program {
            program.end_call();
        }
    }
}

impl server::Caller for Visitor {
    type Place = VisitPlace;

    fn enter(&self) -> Result<VisitPlace, Refused> {
        let seat = &self.0;
        seat.place.begin_call()?;
        if let Some(refused) = seat.program.as_ref().and_then(|it| it.begin_call().err()) {
            seat.place.end_call();
            return Err(refused);
        }
        Ok(VisitPlace(self.clone()))
    }

    fn question(&self) -> Option<Question> {
        self.0.program.as_ref()?.question()
    }

    fn whose(&self) -> server::Whose {
        self.0.place.whose
    }

    /// When the process is gone that connected, whoever has its socket now, when the roster
    /// says something else about it, or when a program is no longer what it was or is not proved.
    async fn ended(&self) {
        let seat = &self.0;
        tokio::select! {
            exited = seat.peer.exited() => {
                if let Err(error) = exited {
                    tracing::error!(%error, "an operator's process cannot be watched");
                }
            }
            () = seat.renamed() => {}
            () = seat.program_ended() => {}
        }
    }

    async fn left(&self) {
        if let Some(program) = &self.0.program {
            program.left().await;
        }
    }
}

impl Seat {
    /// Resolves when the peer is no longer what it was let in as.
    async fn renamed(&self) {
        let mut roster = self.gate.roster.clone();
        loop {
            let now = Arc::clone(&roster.borrow_and_update());
            // What a program is now, would have to be found out anew.
            let other_programs = self.program.is_some() && now != self.roster;
            if self.identified(&now) != self.known || other_programs {
                return;
            }
            if roster.changed().await.is_err() {
                pending::<()>().await;
            }
        }
    }

    async fn program_ended(&self) {
        match &self.program {
            Some(program) => program.ended().await,
            None => pending().await,
        }
    }

    fn identified(&self, roster: &Roster) -> Option<Identified> {
        roster.person(self.peer.credentials().uid, &self.groups)
    }
}

impl Visitor {
    /// Lets the call of the method at `path` through, as the operator who makes it, or refuses and
    /// records it.
    ///
    /// # Errors
    /// What to answer.
    pub(super) async fn authorize(&self, path: &str) -> Result<Operator, Status> {
        let seat = &self.0;
        let approvals = seat.gate.policy.approvals;
        let operator = match self.identify().await {
            Ok(operator) => operator,
            Err(why) => {
                let label = format!("uid:{}", seat.peer.credentials().uid).into();
                let roles = Roles::NONE;
                let stranger = self.operator(Identified { label, roles }, None);
                return Err(self.turn_away(&stranger, path, &why).await);
            }
        };
        let why = match method(path).and_then(roles::rule_of) {
            Some(rule) if rule.who.includes(operator.roles, approvals) => return Ok(operator),
            Some(rule) => lacking(operator.roles, rule.who.needed(approvals)),
            None => "no role may call this".to_owned(),
        };
        Err(self.refuse(&operator, path, &why).await)
    }

    /// Who it is now: by user and groups, and where that gives no role, as a program.
    async fn identify(&self) -> Result<Operator, String> {
        let seat = &self.0;
        let roster = || Arc::clone(&seat.gate.roster.borrow());
        let person = || seat.identified(&roster());
        if let Some(known) = person().filter(|known| !known.roles.is_empty()) {
            return Ok(self.operator(known, None));
        }
        let mut why = "is no operator".to_owned();
        if let Some(program) = &seat.program {
            match seat.gate.workloads.program(program).await {
                Ok(attestation) => {
                    let id = attestation.id();
                    let known = || roster().program(attestation.selectors());
                    if known().is_some() {
                        let vouched = seat.gate.workloads.vouch_for(program, &attestation);
                        vouched.await.map_err(|denial| denial.to_string())?;
                        // By the roster of now: that took its time.
                        if let Some(known) = known() {
                            return Ok(self.operator(known, Some(id.into())));
                        }
                    }
                    why = format!("attestation {id} is no operator's");
                }
                Err(denial) => why = format!("is no operator by its user, and {denial}"),
            }
        }
        let known = person().ok_or(why)?;
        Ok(self.operator(known, None))
    }

    fn operator(&self, known: Identified, attestation_id: Option<Arc<str>>) -> Operator {
        let credentials = self.0.peer.credentials();
        Operator {
            uid: credentials.uid,
            gid: credentials.gid,
            pid: credentials.pid,
            name: known.label,
            roles: known.roles,
            login: self.0.login,
            attestation_id,
            refusals: Arc::clone(&self.0.refusals),
        }
    }

    /// Refuses somebody who is no operator. Anybody may try where programs are operators: what such
    /// callers cause is recorded one by one up to a rate and then counted, and not in the trail of
    /// what operators do.
    async fn turn_away(&self, stranger: &Operator, path: &str, why: &str) -> Status {
        let seat = &self.0;
        let called = called(path);
        let cause = Cause {
            origin: Origin {
                uid: Some(stranger.uid),
                cgroup: None,
            },
            kind: Kind::Refused,
            word: "call",
            process: Some(stranger.process()),
        };
        let event = || {
            let event = stranger.sign(Event::new(Kind::Refused));
            event.operation(called).reason(why)
        };
        // It is recorded, or counted, also where the caller does not wait.
        if let Err(error) = seat.gate.trail.of_caller(cause, event).await {
            tracing::error!(%error, "a refusal could not be recorded");
        }
        sleep(REFUSED_PAUSE).await;
        // The trail has it: anybody could fill the log.
        tracing::debug!(stranger = &*stranger.name, called, why, "refused");
        refused(stranger, called, why)
    }

    /// The record is made also where the caller does not wait for it.
    async fn refuse(&self, operator: &Operator, path: &str, why: &str) -> Status {
        let gate = &self.0.gate;
        let called = called(path);
        let event = operator.sign(Event::new(Kind::Refused)).operation(called);
        match self.0.refusals.queue() {
            Some(place) => {
                tracing::warn!(operator = &*operator.name, called, why, "refused");
                let (trail, why) = (gate.trail.clone(), why.to_owned());
                let (told, done) = oneshot::channel::<()>();
                gate.supervisor.spawn(async move {
                    if let Err(error) = place.record(vec![(event, why)], &trail).await {
                        tracing::error!(%error, "a refusal could not be recorded");
                    }
                    drop(told);
                });
                // The sender is dropped when all is done.
                done.await.unwrap_or_default();
            }
            None => sleep(REFUSED_PAUSE).await,
        }
        refused(operator, called, why)
    }
}

/// What of the path gets into the trail: nothing that a caller makes up.
fn called(path: &str) -> &'static str {
    let rule = method(path).and_then(roles::rule_of);
    rule.map_or("unknown method", |rule| rule.method)
}

fn refused(operator: &Operator, called: &str, why: &str) -> Status {
    Status::permission_denied(format!("{} may not call {called}: {why}", operator.name))
}

fn lacking(has: Roles, needed: Roles) -> String {
    let kind = match needed.iter().nth(1) {
        None => "the role",
        Some(_) => "one of the roles",
    };
    if has.is_empty() {
        format!("it takes {kind} {needed}, and there is none")
    } else {
        format!("it takes {kind} {needed}, not {has}")
    }
}

/// The method that a path of this service names, exactly as the service reads it.
pub(super) fn method(path: &str) -> Option<&str> {
    path.strip_prefix('/')?
        .strip_prefix(SERVICE_NAME)?
        .strip_prefix('/')
}

/// Admits operators.
#[derive(Debug)]
pub struct OperatorGate(Arc<GateState>);

#[derive(Debug)]
struct GateState {
    policy: OperatorPolicy,
    roster: watch::Receiver<Arc<Roster>>,
    trail: Trail,
    supervisor: Supervisor,
    workloads: Arc<Workloads>,
    programs: WorkloadGate,
    quota: Arc<Quota>,
    /// Of each user who is connected.
    refusals: Mutex<HashMap<u32, Arc<Refusals>>>,
}

impl OperatorGate {
    /// A gate for whom `roster` names at a time; refusals are recorded in `trail`.
    #[must_use]
    pub fn new(
        policy: OperatorPolicy,
        roster: watch::Receiver<Arc<Roster>>,
        trail: Trail,
        supervisor: Supervisor,
        workloads: Arc<Workloads>,
    ) -> Self {
        Self(Arc::new(GateState {
            policy,
            roster,
            trail,
            supervisor,
            programs: WorkloadGate::new(Arc::clone(&workloads), UNKNOWN_LIMITS),
            workloads,
            quota: Quota::new(LIMITS),
            refusals: Mutex::default(),
        }))
    }

    /// A connection of this peer; `program` finds out what may be attested about it.
    fn admit_peer(
        &self,
        peer: PinnedPeer,
        groups: Vec<u32>,
        program: impl FnOnce(&WorkloadGate) -> Result<Caller, Refused>,
    ) -> Result<Visitor, Refused> {
        let credentials = peer.credentials();
        let place = self.0.quota.connect(credentials.uid, None)?;
        place.end_handshake();
        let roster = Arc::clone(&self.0.roster.borrow());
        let known = roster.person(credentials.uid, &groups);
        let has_role = known.as_ref().is_some_and(|known| !known.roles.is_empty());
        let may_be_program = roster.names_programs() && !has_role;
        self.check(&peer, known.is_some() || may_be_program)?;
        let program = match may_be_program {
            true => Some(program(&self.0.programs)?),
            false => None,
        };
        Ok(Visitor(Arc::new(Seat {
            login: peer.login(),
            refusals: self.0.refusals_of(credentials.uid),
            peer,
            groups,
            known,
            program,
            roster,
            place,
            gate: Arc::clone(&self.0),
        })))
    }

    fn check(&self, peer: &PinnedPeer, is_known: bool) -> Result<(), Refused> {
        let (uid, pid) = (peer.credentials().uid, peer.credentials().pid);
        if !is_known {
            return Err(forbidden(uid, pid, "is no operator"));
        }
        if !self.0.policy.allow_foreign_namespaces {
            for namespace in NAMESPACES {
                if !shares_namespace(pid, namespace) {
                    return Err(forbidden(
                        uid,
                        pid,
                        "does not share the agent's user and PID namespace, as far as that can be read",
                    ));
                }
            }
        }
        // What was read by PID was about this peer only if it still lives.
        if peer.is_alive() {
            Ok(())
        } else {
            Err(forbidden(uid, pid, "has exited"))
        }
    }
}

impl GateState {
    /// Records that a connection was refused. Anybody may knock where the socket is open to
    /// operators of several users: each user's knocks are recorded one by one up to a rate
    /// and then counted. Nothing here waits: whoever knocks delays nobody.
    fn note(&self, process: Option<audit::Process>, why: &Refused) {
        let cause = Cause {
            origin: Origin {
                uid: process.map(|process| process.uid),
                cgroup: None,
            },
            kind: Kind::Refused,
            word: "connect",
            process,
        };
        let event = || {
            let event = Event::new(Kind::Refused)
                .operation("connect")
                .reason(why.to_string());
            match process {
                Some(process) => event.process(process),
                None => event,
            }
        };
        drop(self.trail.of_caller(cause, event));
    }

    fn refusals_of(&self, uid: u32) -> Arc<Refusals> {
        let mut all = self.refusals.lock();
        all.retain(|_, refusals| Arc::strong_count(refusals) > 1 || refusals.is_behind());
        Arc::clone(all.entry(uid).or_default())
    }
}

fn forbidden(uid: u32, pid: u32, why: &str) -> Refused {
    Refused::Forbidden(format!("uid {uid} (pid {pid}) {why}"))
}

/// Whether the process is in the agent's namespace of this type; false where
/// that cannot be read. The kernel answers at once, whatever the process does.
fn shares_namespace(pid: u32, namespace: &str) -> bool {
    let identity = |process: &str| {
        fs::metadata(format!("/proc/{process}/ns/{namespace}"))
            .map(|metadata| (metadata.dev(), metadata.ino()))
    };
    match (identity(&pid.to_string()), identity("self")) {
        (Ok(theirs), Ok(ours)) => theirs == ours,
        _ => false,
    }
}

impl Admit for OperatorGate {
    type Caller = Visitor;

    fn admit(&self, socket: &UnixStream) -> Result<Visitor, Refused> {
        let peer = match PinnedPeer::of_socket(socket.as_fd()) {
            Ok(peer) => peer,
            Err(error) => {
                let why = Refused::Pin(error);
                self.0.note(None, &why);
                return Err(why);
            }
        };
        let credentials = peer.credentials();
        // The groups of then: those of now are the work of whatever it has executed since.
        let groups = peer_groups(socket.as_fd()).unwrap_or_default();
        let groups = [vec![credentials.gid], groups].concat();
        let program = |gate: &WorkloadGate| gate.admit(socket);
        self.admit_peer(peer, groups, program).inspect_err(|why| {
            let process = audit::Process {
                gid: credentials.gid,
                pid: credentials.pid,
                uid: credentials.uid,
            };
            self.0.note(Some(process), why);
        })
    }

    /// Recorded already; who knocks again and again must not fill the log.
    fn refused(&self, why: &Refused) {
        tracing::debug!(%why, "connection to the admin socket refused");
    }
}

#[cfg(test)]
pub(super) mod tests;
