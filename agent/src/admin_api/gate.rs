//! Who may use the admin socket.

use crate::{
    audit::{Event, Kind, Trail},
    server::{self, Admit, Refused},
};
use std::{
    fs,
    future::{Future, pending},
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    sync::Arc,
};
use symbolon_attestors::PinnedPeer;
use tokio::{net::UnixStream, sync::Semaphore};

/// Connections of operators at the same time.
const MAX_CONNECTIONS: usize = 256;

/// Namespaces in which a uid or a PID means what it means to the agent.
const NAMESPACES: [&str; 2] = ["user", "pid"];

/// Who may be an operator.
#[derive(Clone, Copy, Debug)]
pub struct OperatorPolicy {
    /// The agent's own user.
    pub own_uid: u32,
    /// Whether the socket's group lets others in.
    pub group_configured: bool,
    /// Whether peers of other user and PID namespaces may connect.
    pub allow_foreign_namespaces: bool,
}

/// A person or machine on the admin socket.
#[derive(Clone, Debug)]
pub struct Operator {
    /// The user, as the kernel says.
    pub uid: u32,
    /// The process.
    pub pid: u32,
    _place: Arc<tokio::sync::OwnedSemaphorePermit>,
}

impl server::Caller for Operator {
    type Place = ();
    type Turn = ();

    fn enter(&self) -> Result<(), Refused> {
        Ok(())
    }

    async fn turn(&self) -> Result<(), Refused> {
        Ok(())
    }

    fn ended(&self) -> impl Future<Output = ()> + Send {
        pending()
    }
}

impl Operator {
    /// How audit trail and listings call this operator.
    #[must_use]
    pub fn label(&self) -> String {
        format!("uid:{}", self.uid)
    }
}

/// Admits operators.
#[derive(Debug)]
pub struct OperatorGate {
    policy: OperatorPolicy,
    trail: Trail,
    places: Arc<Semaphore>,
}

impl OperatorGate {
    /// A gate with this policy, which records refusals in `trail`.
    #[must_use]
    pub fn new(policy: OperatorPolicy, trail: Trail) -> Self {
        Self {
            policy,
            trail,
            places: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        }
    }

    fn check(&self, peer: &PinnedPeer) -> Result<(), Refused> {
        let credentials = peer.credentials();
        let known = credentials.uid == 0
            || credentials.uid == self.policy.own_uid
            || self.policy.group_configured;
        if !known {
            return Err(forbidden(
                credentials.uid,
                credentials.pid,
                "is no operator",
            ));
        }
        if !self.policy.allow_foreign_namespaces {
            for namespace in NAMESPACES {
                if !shares_namespace(credentials.pid, namespace) {
                    return Err(forbidden(
                        credentials.uid,
                        credentials.pid,
                        "does not share the agent's user and PID namespace, as far as that can be read",
                    ));
                }
            }
        }
        // What was read by PID was about this peer only if it still lives.
        if peer.is_alive() {
            Ok(())
        } else {
            Err(forbidden(credentials.uid, credentials.pid, "has exited"))
        }
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
    type Caller = Operator;

    fn admit(&self, socket: &UnixStream) -> Result<Operator, Refused> {
        let peer = PinnedPeer::of_socket(socket.as_fd())?;
        self.check(&peer)?;
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_full| Refused::Overloaded("operators"))?;
        let credentials = peer.credentials();
        Ok(Operator {
            uid: credentials.uid,
            pid: credentials.pid,
            _place: Arc::new(place),
        })
    }

    async fn refused(&self, why: &Refused) {
        tracing::warn!(%why, "connection to the admin socket refused");
        let event = Event::new(Kind::Refused)
            .operation("connect")
            .reason(why.to_string());
        // In the trail's queue before the next connection is looked at, so that
        // a flood of refusals neither grows in memory nor is lost.
        if let Err(event) = self.trail.offer(event)
            && let Err(error) = self.trail.record(*event).await
        {
            tracing::error!(%error, "a refusal could not be recorded");
        }
    }
}

#[cfg(test)]
mod tests;
