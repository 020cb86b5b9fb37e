//! What a restoration has left to be told, told in the audit trail before anything is served.

use super::{RunError, subsystems::Subsystems};
use crate::{
    audit::{Event, Kind},
    backup::Restored,
};

/// Records it, and then takes the note out of the store: a crash between the two tells it again.
pub(super) async fn record(subsystems: &Subsystems) -> Result<(), RunError> {
    let store = &subsystems.store;
    let Some(note) = store.restoration().await? else {
        return Ok(());
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
    subsystems.trail.record(event).await?;
    Ok(store.forget_restoration().await?)
}

fn reason(restored: &Restored) -> String {
    match restored.lost {
        Some(0) => "no change is lost".to_owned(),
        Some(1) => "1 change is lost that the backup lacked".to_owned(),
        Some(lost) => format!("{lost} changes are lost that the backup lacked"),
        None => "changes may be lost: what was there could not be read".to_owned(),
    }
}
