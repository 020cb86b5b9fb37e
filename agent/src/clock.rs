//! The wall clock, passed in.
//!
//! Certificates, tokens and audit lines carry wall-clock times; everything
//! that waits uses `tokio::time`, which tests can pause. Whoever needs the
//! wall clock gets a [`SharedClock`], so that a test can set it back or
//! forward.

use parking_lot::Mutex;
use std::{
    fmt::Debug,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Tells the wall-clock time.
pub trait Clock: Debug + Send + Sync {
    /// The time now.
    fn now(&self) -> SystemTime;
}

/// A clock that many parts of the agent share.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        #[expect(clippy::disallowed_methods, reason = "this is the Clock")]
        SystemTime::now()
    }
}

/// A clock that stands still until it is set.
#[derive(Debug)]
pub struct ManualClock(Mutex<SystemTime>);

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub const fn new(now: SystemTime) -> Self {
        Self(Mutex::new(now))
    }

    /// Sets the clock, back or forward.
    pub fn set(&self, now: SystemTime) {
        *self.0.lock() = now;
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        *self.0.lock() += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        *self.0.lock()
    }
}

/// Whole seconds since 1970, as JWTs carry them (RFC 7519, `NumericDate`); 0 before 1970.
#[must_use]
pub fn unix_seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
