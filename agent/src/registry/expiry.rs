//! When clients expire, so that readers are woken then.
//!
//! The wall clock decides, and it can be set. So the next expiry is not simply
//! slept for: the clock is read again at least every second, and readers are
//! woken whenever an expiry lies between two readings, in either direction.

use super::{Client, Standing, book::Applied};
use std::{
    collections::BTreeSet,
    ops::Bound,
    time::{Duration, SystemTime},
};

/// The longest time that a clock that was set goes unnoticed.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The expiries of all active clients.
#[derive(Debug)]
pub(super) struct Expiries {
    /// By time, then by client.
    times: BTreeSet<(SystemTime, u64)>,
    looked_at: SystemTime,
}

impl Expiries {
    pub(super) fn new(now: SystemTime) -> Self {
        Self {
            times: BTreeSet::new(),
            looked_at: now,
        }
    }

    /// Forgets when the client of before would have expired, and notes when that of now will.
    pub(super) fn replace(&mut self, applied: &Applied) {
        if let Some(time) = applied.old.as_deref().and_then(expiry) {
            self.times.remove(&time);
        }
        self.times.extend(expiry(&applied.new));
    }

    /// Whether a client has expired since the last look, or is alive again because the clock was set.
    pub(super) fn have_passed(&mut self, now: SystemTime) -> bool {
        let (from, to) = (self.looked_at.min(now), self.looked_at.max(now));
        self.looked_at = now;
        // A client has expired at its time, not only after it.
        let between = (
            Bound::Excluded((from, u64::MAX)),
            Bound::Included((to, u64::MAX)),
        );
        from < to && self.times.range(between).next().is_some()
    }

    /// How long to wait before the next look; `None` where nothing expires.
    pub(super) fn wait(&self, now: SystemTime) -> Option<Duration> {
        if self.times.is_empty() {
            return None;
        }
        let later = (Bound::Excluded((now, u64::MAX)), Bound::Unbounded);
        let next = self.times.range(later).next();
        let until = next.and_then(|(time, _)| time.duration_since(now).ok());
        Some(until.map_or(LONGEST_WAIT, |until| until.min(LONGEST_WAIT)))
    }
}

fn expiry(client: &Client) -> Option<(SystemTime, u64)> {
    let active = client.standing() == Standing::Active;
    active
        .then(|| client.spec().expires_at())
        .flatten()
        .map(|time| (time, client.ordinal))
}
