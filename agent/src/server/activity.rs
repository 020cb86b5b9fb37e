//! When a connection has rested for too long.
//!
//! Clients open a connection to call at once; whoever only wants to hold a place
//! does not. And one that has called keeps its connection for the next call, but
//! not for ever: it is told to go, and opens another one when it needs it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep_until};

/// How long after it was opened a connection must have made a call.
const FIRST_CALL: Duration = Duration::from_secs(10);

/// How long a connection may rest after its last call has ended.
const IDLE: Duration = Duration::from_secs(30 * 60);

/// What a connection has called.
#[derive(Clone, Debug)]
pub(super) struct Activity(Arc<State>);

#[derive(Debug)]
struct State {
    begun: Instant,
    calls: AtomicUsize,
    open: AtomicUsize,
    /// When the last call ended, in milliseconds since `begun`.
    rests_since: AtomicU64,
}

/// A call that is open until this is dropped.
#[derive(Debug)]
pub(super) struct OpenMark(Activity);

impl Activity {
    pub(super) fn begin() -> Self {
        Self(Arc::new(State {
            begun: Instant::now(),
            calls: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            rests_since: AtomicU64::new(0),
        }))
    }

    /// Notes a call.
    pub(super) fn call(&self) -> OpenMark {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        self.0.open.fetch_add(1, Ordering::Relaxed);
        OpenMark(self.clone())
    }

    /// Whether anything was ever called.
    pub(super) fn has_called(&self) -> bool {
        self.0.calls.load(Ordering::Relaxed) > 0
    }

    /// Resolves when the connection has rested for too long.
    pub(super) async fn rested(&self) {
        while let Some(until) = self.rests_until(Instant::now()) {
            sleep_until(until).await;
        }
    }

    /// Until when it may rest from what is known at `now`; `None` where that is over.
    fn rests_until(&self, now: Instant) -> Option<Instant> {
        let until = if !self.has_called() {
            self.0.begun + FIRST_CALL
        } else if self.0.open.load(Ordering::Relaxed) > 0 {
            now + IDLE
        } else {
            let since = self.0.rests_since.load(Ordering::Relaxed);
            self.0.begun + Duration::from_millis(since) + IDLE
        };
        (until > now).then_some(until)
    }
}

impl Drop for OpenMark {
    fn drop(&mut self) {
        let state = &self.0.0;
        let since = Instant::now().saturating_duration_since(state.begun);
        let since = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        state.rests_since.store(since, Ordering::Relaxed);
        state.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{Activity, FIRST_CALL, IDLE};
    use std::time::Duration;
    use tokio::time::{Instant, advance};

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_call_rests_shortly() {
        let begun = Instant::now();
        Activity::begin().rested().await;
        assert_eq!(begun.elapsed(), FIRST_CALL);
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_call_is_no_rest() {
        let activity = Activity::begin();
        let call = activity.call();
        let open = 3 * IDLE;
        let waited = tokio::time::timeout(open, activity.rested()).await;
        assert!(waited.is_err());
        drop(call);
        let ended = Instant::now();
        activity.rested().await;
        assert!(ended.elapsed() >= IDLE && ended.elapsed() <= 2 * IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn each_call_begins_the_rest_anew() {
        let activity = Activity::begin();
        for _ in 0..5 {
            drop(activity.call());
            advance(IDLE - Duration::from_secs(1)).await;
            assert!(activity.rests_until(Instant::now()).is_some());
        }
        advance(Duration::from_secs(2)).await;
        assert!(activity.rests_until(Instant::now()).is_none());
    }
}
