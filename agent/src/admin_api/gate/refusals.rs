//! Records of calls that are refused, for want of a role or by what they ask for.
//!
//! The refusals of one user stand in line, each durable in the trail before its answer
//! and some time before the next, so that nobody fills the trail with his own. The
//! line has an end: those who come when it is long, and do not wait for their answer
//! either, are counted, and the next record has the number.

use crate::audit::{AuditError, Event, Trail};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Mutex, time::sleep};

/// How long an operator waits for the answer to a call that is refused.
pub(super) const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// Refusals in line: as many as calls that two connections have open.
const MOST_WAITING: usize = 64;

/// The refusals of one user.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    turn: Mutex<()>,
    waiting: AtomicUsize,
    untold: AtomicU64,
}

/// A place in the line, given back when dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Refusals>);

impl Refusals {
    /// A place for one more; none where too many wait, and it is counted.
    pub(super) fn queue(self: &Arc<Self>) -> Option<Place> {
        // From here on, dropping the place gives it back.
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(self));
        if before < MOST_WAITING {
            return Some(place);
        }
        self.untold.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Whether some were counted that the trail does not have.
    pub(super) fn is_behind(&self) -> bool {
        self.untold.load(Ordering::Relaxed) > 0
    }
}

impl Place {
    /// Waits for its turn, records the refusals with why, and keeps the others waiting for a moment,
    /// the longer the more there were.
    ///
    /// # Errors
    /// Where they cannot be recorded.
    pub(super) async fn record(
        self,
        refused: Vec<(Event, String)>,
        trail: &Trail,
    ) -> Result<(), AuditError> {
        let _turn = self.0.turn.lock().await;
        let pause = REFUSED_PAUSE * u32::try_from(refused.len()).unwrap_or(u32::MAX);
        let mut untold = self.0.untold.swap(0, Ordering::Relaxed);
        let reason = |why: String| match std::mem::take(&mut untold) {
            0 => why,
            more => format!("{why}; {more} more before that were not recorded one by one"),
        };
        let (events, why): (Vec<_>, Vec<_>) = refused.into_iter().unzip();
        let reasons = why.into_iter().map(reason);
        let events = events.into_iter().zip(reasons);
        let events = events.map(|(event, reason)| event.reason(reason));
        let recorded = trail.record_all(events.collect()).await;
        sleep(pause).await;
        recorded
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
