//! How much is done for each user.
//!
//! Some work for a caller grows with what it brings: descriptors to look at, a
//! byte of its program to hash. So each user has a bucket of it: who empties it
//! waits, and keeps nobody else waiting.

use parking_lot::Mutex;
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;

/// Users that are remembered at the same time. Beyond that, all others share one bucket: many
/// users can slow each other down, never use memory.
const MAX_USERS: usize = 4096;

/// The user ID of operators' questions; no process has it (it is `(uid_t)-1`).
pub(crate) const OPERATORS: u32 = u32::MAX;

/// The user ID of the shared bucket.
const EVERYBODY_ELSE: u32 = OPERATORS - 1;

/// A bucket of work for each user (generic cell rate algorithm).
#[derive(Debug)]
pub(crate) struct Budget {
    /// How often one more unit may be done.
    interval: Duration,
    /// What can be saved up.
    saved: Duration,
    /// When each user's bucket is full again.
    full_at: Mutex<HashMap<u32, Instant>>,
}

impl Budget {
    /// Buckets of `burst` units, filled with one in each `interval`.
    pub(crate) fn new(interval: Duration, burst: u32) -> Self {
        Self {
            interval,
            saved: interval * burst,
            full_at: Mutex::default(),
        }
    }

    /// Takes `units` out of a user's bucket, or nothing where there are not as many.
    pub(crate) fn take(&self, uid: u32, units: u32) -> bool {
        let now = Instant::now();
        let mut full_at = self.full_at.lock();
        if full_at.len() >= MAX_USERS && !full_at.contains_key(&uid) {
            full_at.retain(|_, at| *at > now);
        }
        let key = if full_at.len() >= MAX_USERS && !full_at.contains_key(&uid) {
            EVERYBODY_ELSE
        } else {
            uid
        };
        let slot = full_at.entry(key).or_insert(now);
        let next = (*slot).max(now) + self.interval.saturating_mul(units);
        if next > now + self.saved {
            return false;
        }
        *slot = next;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, MAX_USERS};
    use std::time::Duration;

    const BURST: u32 = 10_000;

    fn budget() -> Budget {
        Budget::new(Duration::from_micros(200), BURST)
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_who_has_spent_all_waits_and_others_do_not() {
        let budget = budget();
        assert!(budget.take(1, BURST));
        assert!(!budget.take(1, 1));
        assert!(budget.take(2, BURST));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!budget.take(1, 5001));
        assert!(budget.take(1, 5000));
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_a_bucket_holds_is_never_there() {
        let budget = budget();
        assert!(!budget.take(1, BURST + 1));
        assert!(!budget.take(1, u32::MAX));
        assert!(budget.take(1, BURST));
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded() {
        let budget = budget();
        for uid in 0..5000 {
            budget.take(uid, 1);
        }
        assert!(budget.full_at.lock().len() <= MAX_USERS + 1);
    }
}
