//! What each payer may take of the workload socket.
//!
//! Every connection is charged to two payers, its user and its cgroup, and
//! counted in all: pods share user IDs, and a user may have many cgroups. A
//! process in a user namespace of its own is charged to the user who made that,
//! since inside he has as many IDs as were delegated to him.
//!
//! A connection looks its payers up once, when it is accepted; after that a
//! call costs a few atomic operations. A payer is forgotten with the last of
//! its connections, except for how fast it called, which is remembered while
//! that still counts.

use super::rate::Rate;
use crate::server::{Refused, Whose};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// Calls that a payer may have open for each connection that it may have, on
/// average: most hold one or two streams, a stream takes some kilobytes, and one
/// connection may have hundreds.
const CALLS_A_CONNECTION: usize = 2;

/// For how long a payer's rates allow it to save up.
const SAVED: Duration = Duration::from_secs(1);

/// Payers without a connection that are remembered for their rates.
const MAX_REMEMBERED: usize = 4096;

/// Who is charged.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Payer {
    /// The user who answers for a process.
    User(u32),
    /// A cgroup, by its ID in the unified hierarchy.
    Cgroup(u64),
}

/// What a payer may have at a time, and what all together. A cgroup has half of what its user has
/// where it has no number of its own, so that it leaves something to his others.
#[derive(Clone, Copy, Debug)]
pub struct QuotaLimits {
    /// Connections in all.
    pub max_connections: usize,
    /// Of these, how many one user may hold.
    pub max_connections_per_uid: usize,
    /// Of these, how many one cgroup may hold.
    pub max_connections_per_cgroup: usize,
    /// Connections that have not proved yet who holds them, in all.
    pub max_handshakes: usize,
    /// Of these, how many one user or cgroup may hold.
    pub max_handshakes_per_payer: usize,
    /// Calls that one user or cgroup may begin in a second.
    pub calls_per_second: u32,
    /// Connections that one user or cgroup may open in a second.
    pub connections_per_second: u32,
}

/// All accounts.
#[derive(Debug)]
pub(crate) struct Quota {
    limits: QuotaLimits,
    connections: AtomicUsize,
    handshakes: AtomicUsize,
    accounts: Mutex<HashMap<Payer, Arc<Account>>>,
}

/// What one payer has.
#[derive(Debug)]
struct Account {
    max_connections: usize,
    max_handshakes: usize,
    connections: AtomicUsize,
    handshakes: AtomicUsize,
    calls: AtomicUsize,
    processes: AtomicUsize,
    calls_rate: Rate,
    connections_rate: Rate,
}

/// The place of one connection, given back when dropped.
#[derive(Debug)]
pub(crate) struct ConnectionPlace {
    quota: Arc<Quota>,
    accounts: [Option<Arc<Account>>; 2],
    shaking_hands: AtomicBool,
    /// With whom its calls take turns.
    pub(crate) whose: Whose,
}

/// The place of one process, which may hold SVIDs without a connection; given back when dropped.
#[derive(Debug)]
pub(crate) struct ProcessPlace {
    accounts: [Option<Arc<Account>>; 2],
    /// Who answers for the process.
    pub(super) whose: Whose,
}

impl Quota {
    pub(crate) fn new(limits: QuotaLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            connections: AtomicUsize::new(0),
            handshakes: AtomicUsize::new(0),
            accounts: Mutex::default(),
        })
    }

    /// A place for a connection of these payers.
    ///
    /// # Errors
    /// Which cap is reached.
    pub(crate) fn connect(
        self: &Arc<Self>,
        uid: u32,
        cgroup: Option<u64>,
    ) -> Result<ConnectionPlace, Refused> {
        let accounts = self.accounts_of(uid, cgroup);
        let now = Instant::now();
        // The cgroup first: what it is refused is not charged to its user.
        let mut payers = accounts.iter().rev().flatten();
        if !payers.all(|account| account.connections_rate.allow(now)) {
            return Err(Refused::Overloaded("new connections"));
        }
        // From here on, dropping the place gives back what it has taken so far.
        let mut place = ConnectionPlace {
            quota: Arc::clone(self),
            accounts: [None, None],
            shaking_hands: AtomicBool::new(true),
            whose: Whose { uid, cgroup },
        };
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.handshakes.fetch_add(1, Ordering::Relaxed);
        for (slot, account) in place.accounts.iter_mut().zip(accounts) {
            let Some(account) = account else { continue };
            account.connections.fetch_add(1, Ordering::Relaxed);
            account.handshakes.fetch_add(1, Ordering::Relaxed);
            *slot = Some(account);
        }
        place.check().map(|()| place)
    }

    /// Whether this payer has room for one more connection, by what is known of it already:
    /// nothing is charged, and no account is made. So what has to be refused anyway costs one look,
    /// and not that at its process.
    ///
    /// # Errors
    /// Which of the payer's caps is reached.
    pub(super) fn knock(&self, payer: Payer) -> Result<(), Refused> {
        let account = self.accounts.lock().get(&payer).cloned();
        let Some(account) = account else {
            return Ok(());
        };
        if !account.connections_rate.has_room(Instant::now()) {
            return Err(Refused::Overloaded("new connections"));
        }
        let of = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        if of(&account.connections) >= account.max_connections {
            return Err(Refused::Overloaded("connections of one user or cgroup"));
        }
        if of(&account.handshakes) >= account.max_handshakes {
            return Err(Refused::Overloaded("handshakes of one user or cgroup"));
        }
        Ok(())
    }

    /// The accounts, made where they are missing.
    fn accounts_of(&self, uid: u32, cgroup: Option<u64>) -> [Option<Arc<Account>>; 2] {
        let payers = [Some(Payer::User(uid)), cgroup.map(Payer::Cgroup)];
        let mut accounts = self.accounts.lock();
        if accounts.len() >= MAX_REMEMBERED {
            let now = Instant::now();
            accounts.retain(|_, account| account.counts(now));
        }
        payers.map(|payer| {
            let payer = payer?;
            let account = accounts
                .entry(payer)
                .or_insert_with(|| Arc::new(Account::new(payer, &self.limits)));
            Some(Arc::clone(account))
        })
    }
}

impl Account {
    fn new(payer: Payer, limits: &QuotaLimits) -> Self {
        let (max_connections, share) = match payer {
            Payer::User(_) => (limits.max_connections_per_uid, 1_u8),
            Payer::Cgroup(_) => (limits.max_connections_per_cgroup, 2),
        };
        let handshakes = limits.max_handshakes_per_payer;
        Self {
            max_connections,
            max_handshakes: handshakes.div_ceil(usize::from(share)),
            connections: AtomicUsize::new(0),
            handshakes: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            processes: AtomicUsize::new(0),
            calls_rate: Rate::new(limits.calls_per_second / u32::from(share), SAVED),
            connections_rate: Rate::new(limits.connections_per_second / u32::from(share), SAVED),
        }
    }

    /// Whether forgetting it would give its payer anything.
    fn counts(self: &Arc<Self>, now: Instant) -> bool {
        Arc::strong_count(self) > 1
            || self.calls_rate.is_behind(now)
            || self.connections_rate.is_behind(now)
    }
}

impl ConnectionPlace {
    fn check(&self) -> Result<(), Refused> {
        let limits = &self.quota.limits;
        let of = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        if of(&self.quota.connections) > limits.max_connections {
            return Err(Refused::Overloaded("connections"));
        }
        if of(&self.quota.handshakes) > limits.max_handshakes {
            return Err(Refused::Overloaded("handshakes"));
        }
        for account in self.accounts.iter().flatten() {
            if of(&account.connections) > account.max_connections {
                return Err(Refused::Overloaded("connections of one user or cgroup"));
            }
            if of(&account.handshakes) > account.max_handshakes {
                return Err(Refused::Overloaded("handshakes of one user or cgroup"));
            }
        }
        Ok(())
    }

    /// A place for the process of this connection: a payer may have as many processes as
    /// connections.
    ///
    /// # Errors
    /// Where that cap is reached.
    pub(crate) fn process(&self) -> Result<ProcessPlace, Refused> {
        let place = ProcessPlace {
            accounts: self.accounts.clone(),
            whose: self.whose,
        };
        let mut fits = true;
        for account in place.accounts.iter().flatten() {
            fits &= account.processes.fetch_add(1, Ordering::Relaxed) < account.max_connections;
        }
        if fits {
            Ok(place)
        } else {
            Err(Refused::Overloaded("processes of one user or cgroup"))
        }
    }

    /// Notes that the peer has proved who holds the connection.
    pub(crate) fn end_handshake(&self) {
        if !self.shaking_hands.swap(false, Ordering::Relaxed) {
            return;
        }
        self.quota.handshakes.fetch_sub(1, Ordering::Relaxed);
        for account in self.accounts.iter().flatten() {
            account.handshakes.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Counts a call, until [`end_call`](Self::end_call).
    ///
    /// # Errors
    /// Which cap is reached.
    pub(crate) fn begin_call(&self) -> Result<(), Refused> {
        let now = Instant::now();
        let mut fits = true;
        for account in self.accounts.iter().flatten() {
            let cap = account.max_connections.saturating_mul(CALLS_A_CONNECTION);
            fits &= account.calls.fetch_add(1, Ordering::Relaxed) < cap;
        }
        let refused = if !fits {
            Refused::Overloaded("open calls of one user or cgroup")
        } else if !self.may_begin(now) {
            Refused::Overloaded("calls in a second")
        } else {
            return Ok(());
        };
        self.end_call();
        Err(refused)
    }

    /// The cgroup first: what it is refused is not charged to its user.
    fn may_begin(&self, now: Instant) -> bool {
        let mut payers = self.accounts.iter().rev().flatten();
        payers.all(|account| account.calls_rate.allow(now))
    }

    /// Takes a call off the account.
    pub(crate) fn end_call(&self) {
        for account in self.accounts.iter().flatten() {
            account.calls.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for ProcessPlace {
    fn drop(&mut self) {
        for account in self.accounts.iter().flatten() {
            account.processes.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        self.end_handshake();
        self.quota.connections.fetch_sub(1, Ordering::Relaxed);
        for account in self.accounts.iter().flatten() {
            account.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
