//! The threads behind the trail.
//!
//! Each chain has a writer of its own, so that what callers cause never stands
//! before what the agent issues. A third thread keeps house: what may take its
//! time, and what nobody waits for.

use super::{AuditError, keeper::Keeper, trail::Health, writer::ChainWriter};
use std::{fmt, sync::Arc, thread};
use tokio::sync::watch;

/// Writes the trail until it is closed; run it on a thread of its own.
pub struct TrailWriter {
    pub(super) trail: ChainWriter,
    pub(super) callers: ChainWriter,
    pub(super) keeper: Keeper,
    /// Lives as long as anything is written.
    pub(super) health: watch::Sender<Health>,
}

impl fmt::Debug for TrailWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrailWriter")
            .field("folder", self.keeper.folder.path())
            .finish_non_exhaustive()
    }
}

impl TrailWriter {
    /// Writes until every [`super::Trail`] is dropped or one is closed, and
    /// everything taken before that is durable. Blocks its thread.
    ///
    /// # Errors
    /// Where waiting cannot be set up; then nothing is ever recorded.
    pub fn run(self) -> Result<(), AuditError> {
        let Self {
            trail,
            callers,
            keeper,
            health,
        } = self;
        let folder = Arc::clone(keeper.folder.path());
        let spawn = |name: &str| thread::Builder::new().name(name.to_owned());
        let failed = || AuditError::io("begin a thread for", &*folder);
        let written = thread::scope(|scope| {
            let callers = spawn("audit-callers")
                .spawn_scoped(scope, || callers.run())
                .map_err(failed())?;
            spawn("audit-keeper")
                .spawn_scoped(scope, || keeper.run())
                .map_err(failed())?;
            let written = trail.run();
            let callers = callers.join().unwrap_or(Err(AuditError::Closed));
            written.and(callers)
        });
        drop(health);
        written
    }
}
