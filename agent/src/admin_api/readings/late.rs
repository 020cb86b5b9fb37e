//! Readings that could not be recorded when they were, until they can.

use crate::{
    audit::{Event, Health, Trail},
    supervisor::Supervisor,
};
use parking_lot::Mutex;
use std::sync::Arc;

/// Events that are kept: some two thousand bytes each at most. Who reads when there are so many
/// is refused.
pub(super) const MOST: usize = 128;

/// What is to be recorded.
#[derive(Clone, Debug)]
pub(super) struct Late {
    trail: Trail,
    supervisor: Supervisor,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    events: Vec<Event>,
    /// Whether a task waits for the trail.
    is_awaited: bool,
}

impl Late {
    pub(super) fn new(trail: Trail, supervisor: Supervisor) -> Self {
        Self {
            trail,
            supervisor,
            kept: Arc::default(),
        }
    }

    /// Whether one more reading may begin.
    pub(super) fn has_room(&self) -> bool {
        self.kept.lock().events.len() < MOST
    }

    /// Keeps it, whether there is room or not: of a reading that began, the end comes for sure.
    pub(super) fn add(&self, event: Event) {
        let mut kept = self.kept.lock();
        kept.events.push(event);
        if !std::mem::replace(&mut kept.is_awaited, true) {
            self.supervisor.spawn(self.clone().record());
        }
    }

    /// Before those that came since.
    fn put_back(&self, events: Vec<Event>) {
        self.kept.lock().events.splice(..0, events);
    }

    /// Records what is kept, as soon as the trail can be written.
    async fn record(self) {
        let mut health = self.trail.health();
        while health.wait_for(Health::is_recording).await.is_ok() {
            let events = {
                let mut kept = self.kept.lock();
                if kept.events.is_empty() {
                    kept.is_awaited = false;
                    return;
                }
                std::mem::take(&mut kept.events)
            };
            // One by one: all together might not fit where one does, and what else is to be
            // recorded would fail with them.
            let mut events = events.into_iter();
            while let Some(event) = events.next() {
                if let Err(error) = self.trail.record(event.clone()).await {
                    tracing::warn!(%error, "readings of the trail still cannot be recorded");
                    self.put_back(std::iter::once(event).chain(events).collect());
                    // It may be told a moment later.
                    tokio::time::sleep(super::pace::INTERVAL).await;
                    break;
                }
            }
        }
    }
}
