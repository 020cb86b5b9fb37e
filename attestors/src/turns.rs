//! Whose work begins next: users take turns, and a user's cgroups take his.
//!
//! Owns the turns at something that only so many may use at a time: a thread
//! that reads, the system manager, a container runtime. One user has no more
//! than his share of them, so who holds all of his, at a peer that does not
//! answer, leaves the others theirs. Beyond that callers wait in queues, which
//! are served one user after the other: one who asks a thousand times at once
//! delays another by one question and not by a thousand. Pods share users, so
//! within a user's queue it goes by cgroup in the same way.
//!
//! Users are told apart by the caller, which names the one who answers for a
//! process (`namespaces`). Who waits and gives up leaves his queue at once.

use crate::{attestor::Subject, namespaces::accountable};
use parking_lot::Mutex;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};
use tokio::sync::oneshot;

/// Callers of one user that may wait. Beyond, they are told to come again: what waits holds
/// descriptors and memory.
pub(crate) const MAX_WAITING_PER_USER: usize = 256;

/// Callers that may wait in all. Beyond, each user waits with one: users are fewer than connections.
const MAX_WAITING: usize = 4096;

/// For whom something is done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Payer {
    /// The user who answers for the process.
    pub(crate) user: u32,
    /// The process's cgroup, where it is known and matters.
    pub(crate) cgroup: Option<u64>,
}

impl Payer {
    /// Who pays for questions about the subject.
    pub(crate) fn of(subject: &Subject<'_>) -> Self {
        Self {
            user: accountable(subject.host, subject.peer),
            cgroup: subject.facts.cgroup_id,
        }
    }
}

impl From<u32> for Payer {
    fn from(user: u32) -> Self {
        Self { user, cgroup: None }
    }
}

/// Too many callers wait already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Crowded;

/// A limited number of turns, shared fairly.
#[derive(Clone, Debug)]
pub(crate) struct FairTurns(Arc<Mutex<Queues>>);

#[derive(Debug)]
struct Queues {
    free: usize,
    per_user: usize,
    waiting: usize,
    tickets: u64,
    /// Those who hold turns or wait.
    users: HashMap<u32, OfUser>,
    /// Who waits and holds less than his share, in the order in which they are served.
    order: VecDeque<u32>,
}

#[derive(Debug, Default)]
struct OfUser {
    held: usize,
    waiting: usize,
    /// Those that wait: none is empty, and each is in the order once.
    cgroups: HashMap<Option<u64>, VecDeque<Ticket>>,
    order: VecDeque<Option<u64>>,
}

#[derive(Debug)]
struct Ticket {
    number: u64,
    caller: oneshot::Sender<Turn>,
}

/// One turn; the next caller has it when this is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    /// None for one that was never used.
    turns: Option<FairTurns>,
    user: u32,
}

impl FairTurns {
    /// So many turns, of which each user has `per_user` at most.
    pub(crate) fn new(turns: usize, per_user: usize) -> Self {
        Self(Arc::new(Mutex::new(Queues {
            free: turns.max(1),
            per_user: per_user.max(1),
            waiting: 0,
            tickets: 0,
            users: HashMap::new(),
            order: VecDeque::new(),
        })))
    }

    /// Waits for a turn.
    pub(crate) async fn take(&self, payer: Payer) -> Result<Turn, Crowded> {
        let mut waiting = {
            let mut queues = self.0.lock();
            if queues.take_free(payer.user) {
                return Ok(self.turn(payer.user));
            }
            let (number, granted) = queues.join(payer)?;
            Waiting {
                turns: self,
                payer,
                number,
                granted,
            }
        };
        (&mut waiting.granted)
            .await
            .map_err(|_never_dropped| Crowded)
    }

    fn turn(&self, user: u32) -> Turn {
        Turn {
            turns: Some(self.clone()),
            user,
        }
    }

    fn give_back(&self, mut user: u32) {
        loop {
            let next = self.0.lock().give_back(user);
            let Some((next, caller)) = next else { return };
            match caller.send(self.turn(next)) {
                Ok(()) => return,
                // The caller has just gone; its turn is the next one's.
                Err(mut turn) => {
                    turn.turns = None;
                    user = next;
                }
            }
        }
    }

    /// Whether nobody is remembered.
    #[cfg(test)]
    pub(crate) fn are_idle(&self) -> bool {
        let queues = self.0.lock();
        queues.users.is_empty() && queues.order.is_empty() && queues.waiting == 0
    }
}

impl Queues {
    /// Whoever could have a free turn has one already, so nobody is passed by.
    fn take_free(&mut self, user: u32) -> bool {
        let held = self.users.get(&user).map_or(0, |of_user| of_user.held);
        if self.free == 0 || held >= self.per_user {
            return false;
        }
        self.free -= 1;
        self.users.entry(user).or_default().held += 1;
        true
    }

    fn join(&mut self, payer: Payer) -> Result<(u64, oneshot::Receiver<Turn>), Crowded> {
        let most = if self.waiting < MAX_WAITING {
            MAX_WAITING_PER_USER
        } else {
            1
        };
        let of_user = self.users.entry(payer.user).or_default();
        // Who is refused has others in the queue, and so is no new user.
        if of_user.waiting >= most {
            return Err(Crowded);
        }
        if of_user.waiting == 0 && of_user.held < self.per_user {
            self.order.push_back(payer.user);
        }
        self.tickets += 1;
        self.waiting += 1;
        of_user.waiting += 1;
        let number = self.tickets;
        let (caller, granted) = oneshot::channel();
        of_user.push(payer.cgroup, Ticket { number, caller });
        Ok((number, granted))
    }

    /// Takes a turn back. It is one more that can be had, by one whose share it was or by the next.
    fn give_back(&mut self, user: u32) -> Option<(u32, oneshot::Sender<Turn>)> {
        self.free += 1;
        if let Some(of_user) = self.users.get_mut(&user) {
            if of_user.held == self.per_user && of_user.waiting > 0 {
                self.order.push_back(user);
            }
            of_user.held -= 1;
        }
        self.forget_idle(user);
        self.grant()
    }

    fn grant(&mut self) -> Option<(u32, oneshot::Sender<Turn>)> {
        let user = self.order.pop_front()?;
        let of_user = self.users.get_mut(&user)?;
        let caller = of_user.pop()?;
        of_user.waiting -= 1;
        of_user.held += 1;
        self.waiting -= 1;
        self.free -= 1;
        if of_user.waiting > 0 && of_user.held < self.per_user {
            self.order.push_back(user);
        }
        Some((user, caller))
    }

    /// Takes a caller that has given up out of its queue, if it still waits.
    fn leave(&mut self, payer: Payer, number: u64) {
        let Some(of_user) = self.users.get_mut(&payer.user) else {
            return;
        };
        if !of_user.remove(payer.cgroup, number) {
            return;
        }
        of_user.waiting -= 1;
        self.waiting -= 1;
        if of_user.waiting == 0 {
            self.order.retain(|user| *user != payer.user);
        }
        self.forget_idle(payer.user);
    }

    fn forget_idle(&mut self, user: u32) {
        let of_user = self.users.get(&user);
        if of_user.is_some_and(|of_user| of_user.held == 0 && of_user.waiting == 0) {
            self.users.remove(&user);
        }
    }
}

impl OfUser {
    fn push(&mut self, cgroup: Option<u64>, ticket: Ticket) {
        let order = &mut self.order;
        let queue = self.cgroups.entry(cgroup).or_insert_with(|| {
            order.push_back(cgroup);
            VecDeque::new()
        });
        queue.push_back(ticket);
    }

    fn pop(&mut self) -> Option<oneshot::Sender<Turn>> {
        let cgroup = self.order.pop_front()?;
        let queue = self.cgroups.get_mut(&cgroup)?;
        let ticket = queue.pop_front()?;
        if queue.is_empty() {
            self.cgroups.remove(&cgroup);
        } else {
            self.order.push_back(cgroup);
        }
        Some(ticket.caller)
    }

    fn remove(&mut self, cgroup: Option<u64>, number: u64) -> bool {
        let Some(queue) = self.cgroups.get_mut(&cgroup) else {
            return false;
        };
        let Ok(index) = queue.binary_search_by_key(&number, |ticket| ticket.number) else {
            return false;
        };
        queue.remove(index);
        if queue.is_empty() {
            self.cgroups.remove(&cgroup);
            self.order.retain(|other| *other != cgroup);
        }
        true
    }
}

/// One caller in its queue.
struct Waiting<'a> {
    turns: &'a FairTurns,
    payer: Payer,
    number: u64,
    granted: oneshot::Receiver<Turn>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // A turn that was granted and not seen goes back with the receiver.
        self.turns.0.lock().leave(self.payer, self.number);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.turns.take() {
            turns.give_back(self.user);
        }
    }
}

#[cfg(test)]
mod tests;
