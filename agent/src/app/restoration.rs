//! What a restoration has left to be told, told in the audit trail before anything is served.
//!
//! First of all that is told of the registry: behind it, what the trail told of the changes that
//! are lost is no longer taken for the new ones, which have their numbers.

use super::RunError;
use crate::{
    audit::{Event, Kind, Trail},
    backup::Restored,
    registry::RedbStore,
};

/// Records it; says whether there is a note that is to be forgotten then.
pub(super) async fn record(store: &RedbStore, trail: &Trail) -> Result<bool, RunError> {
    let Some(note) = store.restoration().await? else {
        return Ok(false);
    };
    let restored: Restored = serde_json::from_str(&note)?;
    let reason = reason(&restored);
    tracing::warn!(
        revision = restored.revision,
        uid = restored.uid,
        %reason,
        "the registry was restored from a backup"
    );
    let event = Event::new(Kind::Restored)
        .operator(format!("uid:{}", restored.uid))
        .login(restored.login)
        .reason(reason)
        .evidence(&restored)?;
    trail.record(event).await?;
    Ok(true)
}

fn reason(restored: &Restored) -> String {
    match restored.lost {
        Some(0) => "no change is lost".to_owned(),
        Some(1) => "1 change is lost that the backup lacked".to_owned(),
        Some(lost) => format!("{lost} changes are lost that the backup lacked"),
        None => "changes may be lost: what was there could not be read".to_owned(),
    }
}
