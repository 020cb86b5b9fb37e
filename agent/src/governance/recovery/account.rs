//! What the trail tells of the registry's records.
//!
//! Lines are matched with records by revision and kind of event. A registry that was restored
//! gives its numbers anew, so nothing counts that was told of a history before.

use super::{Mark, RecoveryError};
use crate::audit::{AuditError, Chain, Kind, Trail};
use serde::Deserialize;
use std::{borrow::Cow, collections::HashMap};
use tokio::task;

/// How often the trail tells of each record.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// By revision and kind of the event.
    told: HashMap<(u64, String), usize>,
    /// The first record that is told of, or the last one that was restored.
    oldest: Option<u64>,
    /// Up to where nothing can be decided; none where that is everything.
    undecided: Option<u64>,
}

/// What is looked at of a line.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    revision: Option<u64>,
    seq: u64,
}

/// And of one that tells of a restoration.
#[derive(Deserialize)]
struct RestoredLine {
    evidence: Restored,
}

#[derive(Deserialize)]
struct Restored {
    revision: u64,
}

impl Account {
    /// What is told of records after `mark`.
    pub(super) async fn after(trail: &Trail, mark: Mark) -> Result<Self, RecoveryError> {
        // Changes are told in any order: some after the mark were told a little before it was made.
        Self::read(trail, mark.segment.saturating_sub(1), move |line| {
            line.seq > mark.after_seq && line.revision.is_some_and(|it| it > mark.through)
        })
        .await
    }

    /// What is told of any.
    pub(super) async fn of_all(trail: &Trail) -> Result<Self, RecoveryError> {
        Self::read(trail, 0, |_line| true).await
    }

    async fn read(
        trail: &Trail,
        segment: u32,
        is_wanted: impl Fn(&Line<'_>) -> bool + Send + 'static,
    ) -> Result<Self, RecoveryError> {
        let reader = trail.reader()?;
        let read = task::spawn_blocking(move || {
            let mut account = Self::default();
            let mut lines = reader.lines_from(Chain::Trail, segment);
            while let Some(line) = lines.next_line()? {
                let bytes = line.bytes;
                let Ok(line) = serde_json::from_slice::<Line<'_>>(bytes) else {
                    continue;
                };
                if line.event == Kind::Restored.as_str() {
                    let restored = serde_json::from_slice::<RestoredLine>(bytes);
                    account.restore(restored.ok().map(|line| line.evidence.revision));
                } else if let Some(revision) = line.revision.filter(|_| is_wanted(&line)) {
                    account.add(revision, line.event.into_owned());
                }
            }
            Ok::<_, AuditError>(account)
        });
        Ok(read.await.map_err(|_panicked| RecoveryError::Unread)??)
    }

    fn add(&mut self, revision: u64, event: String) {
        *self.told.entry((revision, event)).or_default() += 1;
        self.oldest.get_or_insert(revision);
        // All before the first are undecided; it is told, or half of it.
        self.undecided
            .get_or_insert_with(|| revision.saturating_sub(1));
    }

    /// What comes now is of another history, which begins with what was restored.
    fn restore(&mut self, revision: Option<u64>) {
        let Some(revision) = revision else { return };
        self.told.retain(|(told, _), _| *told <= revision);
        self.oldest = Some(revision);
        self.undecided = Some(0);
    }

    /// Takes one event from what is told; false where there is none.
    pub(super) fn take(&mut self, revision: u64, event: Kind) -> bool {
        let key = (revision, event.as_str().to_owned());
        let left = self.told.get_mut(&key).filter(|left| **left > 0);
        left.map(|left| *left -= 1).is_some()
    }

    /// Behind which record it can be decided what is told.
    pub(super) const fn oldest(&self) -> Option<u64> {
        self.oldest
    }

    /// The records of which nobody can say whether they were told; none where that is all.
    pub(super) const fn undecided(&self) -> Option<u64> {
        self.undecided
    }

    /// The newest record that is told of, of this history.
    pub(super) fn newest(&self) -> u64 {
        let told = self.told.keys().map(|(revision, _)| *revision).max();
        told.or(self.oldest).unwrap_or_default()
    }
}
