//! How many descriptors are looked at for each user.
//!
//! A look costs about a microsecond on the agent's own thread, and a process
//! may have a million descriptors. So each user has a bucket: who empties it
//! waits, and keeps nobody else waiting. Looks where a connection is likely,
//! or was found before, cost nothing here, so that an empty bucket does not
//! hurt ordinary clients of the same user.

use parking_lot::Mutex;
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;

/// Descriptors at once: 14 ms of the agent's time.
const BURST: u32 = 10_000;

/// How often one more may be looked at: 5,000 a second, less than a hundredth of a core.
const INTERVAL: Duration = Duration::from_micros(200);

/// Users that are remembered at the same time. Beyond that, all others share one bucket: many
/// users can slow each other down, never use memory.
const MAX_USERS: usize = 4096;

/// The user ID of the shared bucket; no process has it (it is `(uid_t)-1`).
const EVERYBODY_ELSE: u32 = u32::MAX;

/// A bucket of looks for each user (generic cell rate algorithm).
#[derive(Debug, Default)]
pub(crate) struct Budget {
    /// When each user's bucket is full again.
    full_at: Mutex<HashMap<u32, Instant>>,
}

impl Budget {
    /// Takes `looks` out of a user's bucket, or nothing where there are not as many.
    pub(super) fn take(&self, uid: u32, looks: u32) -> bool {
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
        let next = (*slot).max(now) + INTERVAL.saturating_mul(looks);
        if next > now + INTERVAL * BURST {
            return false;
        }
        *slot = next;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{BURST, Budget, MAX_USERS};
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_user_who_has_spent_all_waits_and_others_do_not() {
        let budget = Budget::default();
        assert!(budget.take(1, BURST));
        assert!(!budget.take(1, 1));
        assert!(budget.take(2, BURST));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!budget.take(1, 5001));
        assert!(budget.take(1, 5000));
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_a_bucket_holds_is_never_there() {
        let budget = Budget::default();
        assert!(!budget.take(1, BURST + 1));
        assert!(!budget.take(1, u32::MAX));
        assert!(budget.take(1, BURST));
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded() {
        let budget = Budget::default();
        for uid in 0..5000 {
            budget.take(uid, 1);
        }
        assert!(budget.full_at.lock().len() <= MAX_USERS + 1);
    }
}
