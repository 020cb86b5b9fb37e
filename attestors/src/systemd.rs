//! The `systemd` attestor: the unit that a process belongs to.
//!
//! Asks the system manager over the system bus, and believes its answer only
//! where the kernel's cgroup of the process agrees ([`place`]). A process in
//! no unit has none of these selectors; where the bus, the manager or the
//! cgroup cannot be asked, or disagree, all of them are unknown, and nothing
//! else is held up: every lookup has a deadline, and every user a share of the
//! lookups.
//!
//! `systemd:user_unit` is the odd one: the units of a user's own manager are
//! nobody's word but that user's, so it is read from the cgroup's path below
//! `user@UID.service` and holds for processes of that very user alone.
//! `doc/systemd.md` says what each is good for and how it can be abused.

use crate::{
    attestor::{Subject, cgroups_now},
    findings::{Fact, Findings},
    hex, parse,
    pin::PinnedPeer,
    turns::{FairTurns, Payer},
};
use bus::{Bus, CallError, Link};
use place::Place;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, timeout, timeout_at};
use unit::{Unit, words};

mod bus;
mod place;
#[cfg(test)]
mod tests;
mod unit;

/// Lookups at a time. PID 1 answers one after the other, and has other work to do.
const MAX_LOOKUPS: usize = 16;

/// Those of one user.
const LOOKUPS_PER_USER: usize = 4;

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
    turns: FairTurns,
}

impl Systemd {
    /// Reaches it over the bus at `socket`, if there is one. A lookup takes at most `deadline`,
    /// behind at most as long a wait for its turn: a long wait is no sign that the bus is dead.
    pub(crate) fn new(socket: Option<PathBuf>, deadline: Duration) -> Self {
        Self {
            socket,
            deadline,
            bus: Bus::default(),
            turns: FairTurns::new(MAX_LOOKUPS, LOOKUPS_PER_USER),
        }
    }

    /// The unit of `peer`, as the manager says.
    async fn unit(&self, payer: Payer, peer: &PinnedPeer) -> Fact<Option<Unit>> {
        let socket = self
            .socket
            .as_deref()
            .ok_or("attestation.systemd_bus is off")?;
        let turn = timeout(self.deadline, self.turns.take(payer)).await;
        let Ok(Ok(_turn)) = turn else {
            return Err("too many lookups of units are under way".into());
        };
        let start = Instant::now();
        let until = start + self.deadline;
        let Ok(link) = timeout_at(until, self.bus.link(socket)).await else {
            let deadline = self.deadline;
            let reason = format!("the system bus: no connection within {deadline:?}").into();
            self.bus.unreached(&reason);
            return Err(reason);
        };
        let link = link.map_err(words)?;
        let answer = timeout_at(until, self.ask(socket, link, peer)).await;
        answer.map_or_else(
            |_elapsed| {
                let deadline = self.deadline;
                let reason = format!("systemd did not answer within {deadline:?}").into();
                self.bus.missed(start, &reason);
                Err(reason)
            },
            |answer| answer.map_err(words),
        )
    }

    async fn ask(
        &self,
        socket: &Path,
        link: Arc<Link>,
        peer: &PinnedPeer,
    ) -> Result<Option<Unit>, CallError> {
        let answer = Unit::of(&link, peer).await;
        if !matches!(answer, Err(CallError::Lost(_))) {
            return answer;
        }
        // It was made long ago, and the bus or the manager has been started anew since.
        self.bus.forget(&link);
        drop(link);
        let link = self.bus.link(socket).await?;
        let answer = Unit::of(&link, peer).await;
        if let Err(CallError::Lost(why)) = &answer {
            self.bus.broken(&link, why);
        }
        answer
    }
}

/// Reports the selectors of the subject's unit.
pub(crate) async fn report(subject: &Subject<'_>, findings: &mut Findings) {
    let facts = match subject.systemd.unit(Payer::of(subject), subject.peer).await {
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
