//! A rate for each user, in bounded memory.

use parking_lot::Mutex;
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;

/// Users that are remembered at the same time. Beyond that, all others share
/// one bucket: many users can slow each other down, never use memory.
const MAX_USERS: usize = 4096;

/// The user ID of the shared bucket; no process has it (it is `(uid_t)-1`).
const EVERYBODY_ELSE: u32 = u32::MAX;

/// Allows each user a rate and a burst (generic cell rate algorithm).
#[derive(Debug)]
pub(super) struct RateLimiter {
    interval: Duration,
    tolerance: Duration,
    /// When each user's bucket is full again.
    full_at: Mutex<HashMap<u32, Instant>>,
}

impl RateLimiter {
    /// `per_second` calls in the long run, `burst` at once.
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second;
        Self {
            interval,
            tolerance: interval * burst,
            full_at: Mutex::default(),
        }
    }

    /// Whether this user may call now; counts the call if so.
    pub(super) fn allow(&self, uid: u32) -> bool {
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
        let next = (*slot).max(now) + self.interval;
        if next > now + self.tolerance {
            return false;
        }
        *slot = next;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_USERS, RateLimiter};
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn burst_then_rate_and_users_apart() {
        let limiter = RateLimiter::new(10, 3);
        assert_eq!((0..5).filter(|_| limiter.allow(1)).count(), 3);
        assert!(limiter.allow(2));
        tokio::time::advance(Duration::from_millis(100)).await;
        assert!(limiter.allow(1));
        assert!(!limiter.allow(1));
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded() {
        let limiter = RateLimiter::new(1, 1);
        for uid in 0..10_000 {
            limiter.allow(uid);
        }
        assert!(limiter.full_at.lock().len() <= MAX_USERS + 1);
    }
}
