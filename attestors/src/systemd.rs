//! The `systemd` attestor: the unit that a process belongs to.
//!
//! Asks the system manager over the system bus, and believes its answer only
//! where the kernel's cgroup of the process agrees ([`place`]). A process in
//! no unit has none of these selectors; where the bus, the manager or the
//! cgroup cannot be asked, or disagree, all of them are unknown, and nothing
//! else is held up: every lookup has a deadline.
//!
//! `systemd:user_unit` is the odd one: the units of a user's own manager are
//! nobody's word but that user's, so it is read from the cgroup's path below
//! `user@UID.service` and holds for processes of that very user alone.
//! `doc/systemd.md` says what each is good for and how it can be abused.

use crate::{
    attestor::{Subject, cgroups_now},
    findings::{Fact, Findings, Reason},
    hex, parse,
    pin::PinnedPeer,
};
use bus::{Bus, CallError, Link};
use place::Place;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{sync::Semaphore, time::timeout};
use unit::{Unit, words};

mod bus;
mod place;
#[cfg(test)]
mod tests;
mod unit;

/// Lookups at a time. PID 1 answers one after the other, and has other work to do.
const MAX_LOOKUPS: usize = 16;

const KEYS: [&str; 5] = [
    "systemd:fragment_path",
    "systemd:id",
    "systemd:invocation_id",
    "systemd:slice",
    "systemd:user_unit",
];

/// The system manager.
#[derive(Debug)]
pub(crate) struct Systemd {
    socket: Option<PathBuf>,
    deadline: Duration,
    bus: Bus,
    turns: Semaphore,
}

impl Systemd {
    /// Reaches it over the bus at `socket`, if there is one. A lookup takes at most `deadline`,
    /// behind at most as long a wait for its turn: a long wait is no sign that the bus is dead.
    pub(crate) fn new(socket: Option<PathBuf>, deadline: Duration) -> Self {
        Self {
            socket,
            deadline,
            bus: Bus::default(),
            turns: Semaphore::new(MAX_LOOKUPS),
        }
    }

    /// The unit of `peer`, as the manager says.
    async fn unit(&self, peer: &PinnedPeer) -> Fact<Option<Unit>> {
        let socket = self
            .socket
            .as_deref()
            .ok_or("attestation.systemd_bus is off")?;
        let turn = timeout(self.deadline, self.turns.acquire()).await;
        let _turn = turn.map_err(|_elapsed| "too many lookups of units are under way")?;
        let failure: Reason = match timeout(self.deadline, self.ask(socket, peer)).await {
            Ok(Err(CallError::Lost(reason))) => reason,
            Ok(answer) => return answer.map_err(words),
            Err(_elapsed) => format!("systemd did not answer within {:?}", self.deadline).into(),
        };
        self.bus.fail(&failure);
        Err(failure)
    }

    async fn ask(&self, socket: &Path, peer: &PinnedPeer) -> Result<Option<Unit>, CallError> {
        let link: Link = self.bus.link(socket).await?;
        match Unit::of(&link, peer).await {
            // It was made long ago, and the bus or the manager has been started anew since.
            Err(CallError::Lost(_)) => {
                self.bus.forget(&link);
                drop(link);
                let link = self.bus.link(socket).await?;
                Unit::of(&link, peer).await
            }
            answer => answer,
        }
    }
}

/// Reports the selectors of the subject's unit.
pub(crate) async fn report(subject: &Subject<'_>, findings: &mut Findings) {
    let facts = match subject.systemd.unit(subject.peer).await {
        Ok(None) => return,
        Ok(Some(unit)) => confirmed(&unit, subject).map(|below| (unit, below)),
        Err(reason) => Err(reason),
    };
    match facts {
        Ok((unit, below)) => tell(&unit, &below, subject.peer.credentials().uid, findings),
        Err(reason) => {
            for key in KEYS {
                findings.lack(key, reason.clone());
            }
        }
    }
}

/// Where below the unit's cgroup the process is. Read after the manager has answered.
fn confirmed(unit: &Unit, subject: &Subject<'_>) -> Fact<String> {
    let (id, cgroups) = cgroups_now(subject.host, subject.peer)?;
    if id != subject.facts.cgroup_id {
        return Err("the process was moved to another cgroup while it was looked at".into());
    }
    let place = Place {
        id,
        cgroups: &cgroups,
    };
    let below = place.below(&unit.control_group, unit.control_group_id, subject.host)?;
    // Last: now its number was its own all the time.
    if subject.peer.is_alive() {
        Ok(below)
    } else {
        Err("the process is gone".into())
    }
}

fn tell(unit: &Unit, below: &str, uid: u32, findings: &mut Findings) {
    findings.know("systemd:id", &unit.id);
    if !unit.fragment_path.is_empty() {
        findings.know("systemd:fragment_path", &unit.fragment_path);
    }
    if !unit.slice.is_empty() {
        findings.know("systemd:slice", &unit.slice);
    }
    if !unit.invocation_id.is_empty() {
        findings.know("systemd:invocation_id", hex(&unit.invocation_id));
    }
    if unit.id == format!("user@{uid}.service")
        && let Some(user_unit) = parse::user_unit(below)
    {
        findings.know("systemd:user_unit", user_unit);
    }
}
