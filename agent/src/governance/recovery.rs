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

mod account;

use super::{Act, events, kind_of, relationship_events};
use crate::{
    audit::{AuditError, Event, Kind, Trail},
    registry::{Deed, Effect, HistoryEntry, Registry, RegistryError, Standing, StoreEntry},
};
use account::Account;
use serde::{Deserialize, Serialize};

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
struct Undecided {
    undecided_through: u64,
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
    tell(trail, Account::after(trail, mark).await?, &entries).await
}

/// As [`recover()`] where no mark is left. What the trail has is read whole, and only what comes
/// after the oldest change that it tells of is told: of those before, retention may have removed
/// the records. A restoration counts as told of all that it restored.
///
/// # Errors
/// Where the trail or the store fails.
pub async fn recover_unmarked(registry: &Registry, trail: &Trail) -> Result<usize, RecoveryError> {
    let last = registry.snapshot().revision();
    let told = Account::of_all(trail).await?;
    if last < told.newest() {
        tell_of_loss(trail, (last, told.newest())).await?;
    }
    let undecided = told.undecided().unwrap_or(last).min(last);
    if undecided > 0 {
        tell_of_doubt(trail, undecided).await?;
    }
    let begin = told.oldest().unwrap_or(last);
    if last <= begin {
        return Ok(0);
    }
    let entries = registry.entries_after(begin).await?;
    tell(trail, told, &entries).await
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

/// Tells that nobody can say any more whether these records were told.
async fn tell_of_doubt(trail: &Trail, through: u64) -> Result<(), RecoveryError> {
    tracing::warn!(
        through,
        "whether older changes were recorded is not known any more"
    );
    let evidence = Undecided {
        undecided_through: through,
    };
    let repaired = Event::new(Kind::Repaired)
        .reason(
            "how far the trail tells of the registry was not known; of older changes it cannot be \
             told whether all were recorded",
        )
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
    entries.retain(|entry| untold.contains(&entry.revision()));
    let told = Account::after(trail, mark).await?;
    let records = tell(trail, told, &entries).await?;
    for revision in untold {
        registry.note_told(revision);
    }
    Ok(records)
}

/// Tells what the trail lacks of `entries`.
async fn tell(
    trail: &Trail,
    mut told: Account,
    entries: &[StoreEntry],
) -> Result<usize, RecoveryError> {
    let missing: Vec<_> = entries
        .iter()
        .map(|entry| (entry.revision(), untold(entry, &mut told)))
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

/// The events of a record that the trail lacks.
fn untold(entry: &StoreEntry, told: &mut Account) -> Vec<Event> {
    let (author, events) = match entry {
        StoreEntry::Client(entry) => {
            let (by, why) = (entry.author.as_str(), entry.reason.as_str());
            (
                &entry.author,
                events(act_of(entry), &entry.applied, by, why),
            )
        }
        StoreEntry::Relationship(entry) => {
            let (by, why) = (entry.author.as_str(), entry.reason.as_str());
            let events = relationship_events(entry.deed, &entry.applied, by, why);
            (&entry.author, events)
        }
    };
    let by = author.as_str();
    let is_untold = |event: &Event| !told.take(entry.revision(), event.kind());
    let untold = events.into_iter().filter(is_untold);
    // What was approved is its author's, who did it another time.
    let signed = untold.map(|event| match event.is_by(by) {
        true => event.login(author.login()),
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
