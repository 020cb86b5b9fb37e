//! The rate of one payer.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tokio::time::Instant;

/// A rate with a burst, without a lock (generic cell rate algorithm).
#[derive(Debug)]
pub(crate) struct Rate {
    interval: u64,
    tolerance: u64,
    start: Instant,
    /// When the bucket is full again, in nanoseconds since `start`.
    full_at: AtomicU64,
}

impl Rate {
    /// `per_second` in the long run, and as many at once as come together in `saved`.
    pub(crate) fn new(per_second: u32, saved: Duration) -> Self {
        let interval = 1_000_000_000 / u64::from(per_second.max(1));
        Self {
            interval,
            tolerance: nanoseconds(saved).max(interval),
            start: Instant::now(),
            full_at: AtomicU64::new(0),
        }
    }

    /// Whether one more may be at `now`; counts it if so.
    pub(crate) fn allow(&self, now: Instant) -> bool {
        let now = self.since_start(now);
        let next = |full_at: u64| {
            let next = full_at.max(now).saturating_add(self.interval);
            (next <= now.saturating_add(self.tolerance)).then_some(next)
        };
        let order = Ordering::Relaxed;
        self.full_at.fetch_update(order, order, next).is_ok()
    }

    /// Whether one more may be at `now`, without counting it.
    pub(super) fn has_room(&self, now: Instant) -> bool {
        let now = self.since_start(now);
        let next = self.full_at.load(Ordering::Relaxed).max(now);
        next.saturating_add(self.interval) <= now.saturating_add(self.tolerance)
    }

    /// Whether anything of the past still counts.
    pub(crate) fn is_behind(&self, now: Instant) -> bool {
        self.full_at.load(Ordering::Relaxed) > self.since_start(now)
    }

    fn since_start(&self, now: Instant) -> u64 {
        nanoseconds(now.saturating_duration_since(self.start))
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::Rate;
    use std::time::Duration;
    use tokio::time::{Instant, advance};

    fn allowed(rate: &Rate) -> usize {
        (0..1_000).filter(|_| rate.allow(Instant::now())).count()
    }

    #[tokio::test(start_paused = true)]
    async fn burst_then_rate() {
        let rate = Rate::new(10, Duration::from_secs(1));
        assert_eq!(allowed(&rate), 10);
        assert!(rate.is_behind(Instant::now()));
        advance(Duration::from_millis(200)).await;
        assert_eq!(allowed(&rate), 2);
        advance(Duration::from_secs(3600)).await;
        assert!(!rate.is_behind(Instant::now()));
        assert_eq!(allowed(&rate), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn room_is_what_is_allowed_next() {
        let rate = Rate::new(10, Duration::from_secs(1));
        for _ in 0..20 {
            let room = rate.has_room(Instant::now());
            assert_eq!(rate.allow(Instant::now()), room);
        }
        assert!(!rate.has_room(Instant::now()));
        advance(Duration::from_millis(100)).await;
        assert!(rate.has_room(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn something_is_allowed_at_any_rate() {
        for per_second in [0, 1, u32::MAX] {
            let rate = Rate::new(per_second, Duration::ZERO);
            assert!(rate.allow(Instant::now()));
        }
    }
}
