//! What callers without an identity cause: one by one up to a rate, then counted.
//!
//! Each event has a cause: who answers for it, what it is and a stable word for
//! why. Up to a rate of each cause, of each user and of all together it is
//! recorded singly; beyond that it is counted, and the count is recorded as a
//! summary, at first after a second and later less often. Nobody waits for
//! that, and the memory for it is bounded: who finds no place in the table is
//! counted among the others. Nothing is ever dropped without being counted.

use super::{Event, Kind, Process, Summary};
use crate::clock::SharedClock;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use std::{
    collections::HashMap,
    fmt,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

/// Causes that are told apart at a time: some hundred bytes each.
const MAX_CAUSES: usize = 4096;

/// Users whose rates are told apart at a time.
const MAX_USERS: usize = 4096;

/// Summaries written at a time; the others have their turn the next time.
const MAX_SUMMARIES: usize = 100;

/// When a cause is summarized for the first time, and how often at least while it goes on.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Events of one cause.
const OF_CAUSE: Pace = Pace::new(10, 100);

/// Validations of one cause: whoever verifies tokens does so all day.
const VALIDATIONS: Pace = Pace::new(100, 1_000);

/// Events of one user, whatever his cgroups are.
const OF_USER: Pace = Pace::new(30, 300);

/// Events of everybody.
const OF_ALL: Pace = Pace::new(500, 5_000);

/// Who answers for an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The accountable user; none where that is unknown.
    pub uid: Option<u32>,
    /// His cgroup, where it is one of its own.
    pub cgroup: Option<u64>,
}

/// Why an event happens that a caller without an identity can cause.
#[derive(Clone, Copy, Debug)]
pub struct Cause {
    /// Who answers for it.
    pub origin: Origin,
    /// What it is.
    pub kind: Kind,
    /// The stable word for why.
    pub word: &'static str,
    /// The process, where it is known.
    pub process: Option<Process>,
}

/// A rate with a burst (generic cell rate algorithm).
#[derive(Clone, Copy, Debug)]
struct Pace {
    interval: Duration,
    tolerance: Duration,
}

impl Pace {
    const fn new(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_nanos(1_000_000_000 / per_second as u64);
        Self {
            interval,
            tolerance: interval.saturating_mul(burst),
        }
    }

    /// When the bucket would be full again after one more; none where that is too many.
    fn next(self, full_at: Instant, now: Instant) -> Option<Instant> {
        let next = full_at.max(now) + self.interval;
        (next <= now + self.tolerance).then_some(next)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    origin: Origin,
    kind: Kind,
    word: &'static str,
}

#[derive(Debug)]
struct Entry {
    full_at: Instant,
    counted: Option<Counted>,
    due: Instant,
    pause: Duration,
}

/// So many, from when to when, and who was the last.
#[derive(Clone, Copy, Debug)]
struct Counted {
    count: u64,
    first: SystemTime,
    last: SystemTime,
    process: Option<Process>,
}

/// Summaries that are to be written now; what was not is given back.
#[derive(Debug, Default)]
pub(super) struct Due(Vec<(Key, Counted)>);

/// The table.
pub(super) struct Ledger {
    causes: Mutex<Causes>,
    clock: SharedClock,
    /// Nothing is recorded singly, because the disk is nearly full.
    is_stopped: AtomicBool,
    summarized: Counter,
}

#[derive(Debug)]
struct Causes {
    entries: HashMap<Key, Entry>,
    users: HashMap<Option<u32>, Instant>,
    all: Instant,
    /// Whether anything is counted that is not summarized yet.
    is_counting: bool,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").finish_non_exhaustive()
    }
}

impl Ledger {
    pub(super) fn new(clock: SharedClock, summarized: Counter) -> Self {
        Self {
            causes: Mutex::new(Causes {
                entries: HashMap::new(),
                users: HashMap::new(),
                all: Instant::now(),
                is_counting: false,
            }),
            clock,
            is_stopped: AtomicBool::new(false),
            summarized,
        }
    }

    /// Whether one more event of this cause is recorded singly; counts it if not.
    pub(super) fn admit(&self, cause: &Cause) -> bool {
        let now = Instant::now();
        let mut causes = self.causes.lock();
        let may = !self.is_stopped.load(Ordering::Relaxed);
        if may && causes.allow(cause, now) {
            return true;
        }
        self.add(&mut causes, cause, now);
        false
    }

    /// Counts an event that was to be recorded singly and could not be.
    pub(super) fn count(&self, cause: &Cause) {
        self.add(&mut self.causes.lock(), cause, Instant::now());
    }

    fn add(&self, causes: &mut Causes, cause: &Cause, now: Instant) {
        let at = self.clock.now();
        let one = Counted {
            count: 1,
            first: at,
            last: at,
            process: cause.process,
        };
        causes.entry(key(cause), now).add(one);
        causes.is_counting = true;
        self.summarized.inc();
    }

    /// Whether anything is counted that is not summarized yet.
    pub(super) fn is_counting(&self) -> bool {
        self.causes.lock().is_counting
    }

    /// Records nothing singly, or does so again.
    pub(super) fn stop(&self, is_stopped: bool) {
        self.is_stopped.store(is_stopped, Ordering::Relaxed);
    }

    /// Takes the counts that are due, or all of them, the oldest first.
    pub(super) fn take_due(&self, all: bool) -> Due {
        if self.is_stopped.load(Ordering::Relaxed) {
            return Due::default();
        }
        let now = Instant::now();
        let mut causes = self.causes.lock();
        let mut due: Vec<_> = causes
            .entries
            .iter()
            .filter(|(_, entry)| all || entry.due <= now)
            .filter_map(|(key, entry)| entry.counted.map(|counted| (counted.first, *key)))
            .collect();
        due.sort_by_key(|(first, _)| *first);
        due.truncate(if all { MAX_CAUSES } else { MAX_SUMMARIES });
        let take = |(_, key): (SystemTime, Key)| {
            let entry = causes.entries.get_mut(&key)?;
            entry.pause = (entry.pause * 2).min(PAUSES.1);
            entry.due = now + entry.pause;
            entry.counted.take().map(|counted| (key, counted))
        };
        let taken = due.into_iter().filter_map(take).collect();
        let counts = |entry: &Entry| entry.counted.is_some();
        causes.is_counting = causes.entries.values().any(counts);
        causes.forget_idle(now);
        Due(taken)
    }

    /// Counts again what could not be written.
    pub(super) fn give_back(&self, due: Due) {
        let now = Instant::now();
        let mut causes = self.causes.lock();
        for (key, counted) in due.0 {
            causes.entry(key, now).add(counted);
            causes.is_counting = true;
        }
    }
}

fn key(cause: &Cause) -> Key {
    Key {
        origin: cause.origin,
        kind: cause.kind,
        word: cause.word,
    }
}

impl Causes {
    /// All three rates, or none of them is charged.
    fn allow(&mut self, cause: &Cause, now: Instant) -> bool {
        let is_validation = cause.kind == Kind::Validated;
        let pace = if is_validation { VALIDATIONS } else { OF_CAUSE };
        let full_at = self.entry(key(cause), now).full_at;
        let Some(of_cause) = pace.next(full_at, now) else {
            return false;
        };
        let Some(of_all) = OF_ALL.next(self.all, now) else {
            return false;
        };
        if !is_validation {
            let is_known = self.users.contains_key(&cause.origin.uid);
            let uid = cause
                .origin
                .uid
                .filter(|_| is_known || self.users.len() < MAX_USERS);
            let user = self.users.entry(uid).or_insert(now);
            let Some(of_user) = OF_USER.next(*user, now) else {
                return false;
            };
            *user = of_user;
        }
        self.all = of_all;
        self.entry(key(cause), now).full_at = of_cause;
        true
    }

    /// The entry of this cause or, where the table is full, of all others with its word.
    fn entry(&mut self, key: Key, now: Instant) -> &mut Entry {
        let has_room = self.entries.len() < MAX_CAUSES || self.entries.contains_key(&key);
        let origin = if has_room {
            key.origin
        } else {
            Origin::default()
        };
        self.entries.entry(Key { origin, ..key }).or_insert(Entry {
            full_at: now,
            counted: None,
            due: now,
            pause: PAUSES.0,
        })
    }

    /// Makes room: what is as if it had never been is not remembered.
    fn forget_idle(&mut self, now: Instant) {
        self.entries
            .retain(|_, entry| entry.counted.is_some() || entry.full_at > now || entry.due > now);
        self.users.retain(|_, full_at| *full_at > now);
    }
}

impl Entry {
    fn add(&mut self, more: Counted) {
        let Some(counted) = &mut self.counted else {
            let now = Instant::now();
            if self.due <= now {
                // Nothing for a while: it begins anew.
                self.pause = PAUSES.0;
                self.due = now + self.pause;
            }
            self.counted = Some(more);
            return;
        };
        counted.count = counted.count.saturating_add(more.count);
        counted.first = counted.first.min(more.first);
        counted.last = counted.last.max(more.last);
        counted.process = more.process.or(counted.process);
    }
}

impl Due {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// An event for each.
    pub(super) fn events(&self) -> Vec<Event> {
        let event = |(key, counted): &(Key, Counted)| {
            let summary = Summary {
                cgroup: key.origin.cgroup,
                count: counted.count,
                event: key.kind,
                first: counted.first,
                last: counted.last,
                reason: key.word,
                uid: key.origin.uid,
            };
            let event = Event::new(Kind::Summarized).summary(summary);
            match counted.process {
                Some(process) => event.process(process),
                None => event,
            }
        };
        self.0.iter().map(event).collect()
    }
}

#[cfg(test)]
mod tests;
