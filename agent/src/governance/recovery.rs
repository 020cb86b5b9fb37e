//! Telling of changes that the agent had no time to tell.
//!
//! The store has a change first, and the trail tells of it then. An agent that is killed in
//! between, or that could not write its trail, leaves changes in force that nobody would find
//! who made. So before it serves again, or once the trail can be written again, the agent holds
//! the records that may not be told against the trail, and tells what is missing by the same rules ([`events`]), with an event
//! before them that says so. What it cannot know any more is left out: the operator's process.
//!
//! The records say who made them. They are verified when the registry is opened, which comes
//! before this.

use super::{Act, events, kind_of};
use crate::{
    audit::{AuditError, Chain, Event, Kind, Trail},
    registry::{Deed, Effect, HistoryEntry, Registry, RegistryError, Standing},
};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::HashMap};
use tokio::task;

/// Events that are recorded together.
const TOGETHER: usize = 100;

/// How far the trail is known to tell of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// The trail's newest segment when that became known.
    pub segment: u32,
    /// All records up to this revision are told.
    pub through: u64,
    /// Lines up to this number tell of no record after `through`: those that name one are of a
    /// history that is lost, since a backup was restored.
    #[serde(default)]
    pub after_seq: u64,
}

/// Why it could not be found out, or not be told.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The trail cannot be read or written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The records cannot be read.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The thread that read the trail ended.
    #[error("the trail was not read to its end")]
    Unread,
}

#[derive(Serialize)]
struct Missing {
    first_revision: u64,
    last_revision: u64,
    records: usize,
}

#[derive(Serialize)]
struct Behind {
    registry_revision: u64,
    told_through: u64,
}

/// Tells of all records after `mark` that the trail lacks; says of how many.
///
/// # Errors
/// Where the trail or the store fails.
pub async fn recover(
    registry: &Registry,
    trail: &Trail,
    mark: Mark,
) -> Result<usize, RecoveryError> {
    let last = registry.snapshot().revision();
    if last < mark.through {
        tell_of_loss(trail, (last, mark.through)).await?;
    }
    if last <= mark.through {
        return Ok(0);
    }
    let entries = registry.entries_after(mark.through).await?;
    tell(trail, mark, &entries).await
}

/// Tells that the registry has no longer what the trail tells of.
async fn tell_of_loss(trail: &Trail, (last, told): (u64, u64)) -> Result<(), RecoveryError> {
    tracing::warn!(
        last,
        told,
        "the registry ends before what the trail tells of"
    );
    let evidence = Behind {
        registry_revision: last,
        told_through: told,
    };
    let repaired = Event::new(Kind::Repaired)
        .reason("the registry ends before what the trail tells of: later changes are lost")
        .evidence(&evidence)?;
    Ok(trail.record(repaired).await?)
}

/// Tells of the records that could not be told when they were made; says of how many.
///
/// # Errors
/// Where the trail or the store fails: they can be told another time.
pub async fn recover_untold(
    registry: &Registry,
    trail: &Trail,
    mark: Mark,
) -> Result<usize, RecoveryError> {
    let untold = registry.untold().borrow().clone();
    let mut entries = registry.entries_after(mark.through).await?;
    entries.retain(|entry| untold.contains(&entry.revision));
    let records = tell(trail, mark, &entries).await?;
    for revision in untold {
        registry.note_told(revision);
    }
    Ok(records)
}

/// Tells what the trail lacks of `entries`.
async fn tell(trail: &Trail, mark: Mark, entries: &[HistoryEntry]) -> Result<usize, RecoveryError> {
    let mut told = told_after(trail, mark).await?;
    let missing: Vec<_> = entries
        .iter()
        .map(|entry| (entry.revision, untold(entry, &mut told)))
        .filter(|(_, events)| !events.is_empty())
        .collect();
    let (Some((first, _)), Some((last, _))) = (missing.first(), missing.last()) else {
        return Ok(0);
    };
    let evidence = Missing {
        first_revision: *first,
        last_revision: *last,
        records: missing.len(),
    };
    let records = missing.len();
    tracing::warn!(
        records,
        "changes of the registry were not recorded when they were made; they are now"
    );
    let repaired = Event::new(Kind::Repaired)
        .reason("changes of the registry were not recorded when they were made; they follow")
        .evidence(&evidence)?;
    let events = missing.into_iter().flat_map(|(_, events)| events);
    let mut waiting = vec![repaired];
    for event in events {
        waiting.push(event);
        if waiting.len() >= TOGETHER {
            trail.record_all(std::mem::take(&mut waiting)).await?;
        }
    }
    trail.record_all(waiting).await?;
    Ok(records)
}

/// How often the trail tells of a record, by its revision and the kind of the event.
type Told = HashMap<(u64, String), usize>;

async fn told_after(trail: &Trail, mark: Mark) -> Result<Told, RecoveryError> {
    let reader = trail.reader()?;
    let read = task::spawn_blocking(move || {
        let mut told = Told::new();
        // Changes are told in any order: some after the mark were told a little before it was made.
        let mut lines = reader.lines_from(Chain::Trail, mark.segment.saturating_sub(1));
        while let Some(line) = lines.next_line()? {
            let Ok(line) = serde_json::from_slice::<Line<'_>>(line.bytes) else {
                continue;
            };
            if line.seq <= mark.after_seq {
                continue;
            }
            if let Some(revision) = line.revision.filter(|revision| *revision > mark.through) {
                *told.entry((revision, line.event.into_owned())).or_default() += 1;
            }
        }
        Ok::<_, AuditError>(told)
    });
    Ok(read.await.map_err(|_panicked| RecoveryError::Unread)??)
}

/// What is looked at of a line.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    revision: Option<u64>,
    seq: u64,
}

/// The events of a record that the trail lacks.
fn untold(entry: &HistoryEntry, told: &mut Told) -> Vec<Event> {
    let by = entry.author.as_str();
    let events = events(act_of(entry), &entry.applied, by, entry.reason.as_str());
    let mut is_told = |event: &Event| {
        let key = (entry.revision, event.kind().as_str().to_owned());
        let left = told.get_mut(&key).filter(|left| **left > 0);
        left.map(|left| *left -= 1).is_some()
    };
    let untold = events.into_iter().filter(|event| !is_told(event));
    // What was approved is its author's, who did it another time.
    let signed = untold.map(|event| match event.is_by(by) {
        true => event.login(entry.author.login()),
        false => event,
    });
    signed.collect()
}

/// What was asked for.
fn act_of(entry: &HistoryEntry) -> Act {
    match entry.deed {
        Deed::Version(_) if entry.applied.old.is_none() => Act::Change(Kind::Registered),
        Deed::Version(_) => Act::Change(Kind::Updated),
        Deed::State(_) if entry.applied.effect == Effect::Proposed => Act::Change(Kind::Resumed),
        Deed::State(_) => {
            let change = entry.applied.new.state_change();
            Act::Change(kind_of(change.map_or(Standing::Active, |change| change.to)))
        }
        Deed::Decision(subject, verdict) => Act::Decision(subject, verdict),
    }
}

#[cfg(test)]
mod tests;
