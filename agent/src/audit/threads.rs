//! The threads behind the trail.
//!
//! Each chain has a writer of its own, so that what callers cause never stands
//! before what the agent issues. A third thread keeps house: what may take its
//! time, and what nobody waits for.

use super::{
    AuditError,
    chain::Chain,
    folder::Folder,
    trail::Health,
    writer::{ChainWriter, Message},
};
use std::{
    fmt,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread,
    time::Duration,
};
use tokio::sync::{mpsc, watch};

/// How often the writers are told that time goes by.
const TICK: Duration = Duration::from_secs(1);

/// What a writer leaves to the thread that keeps house.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chore {
    /// This segment goes; the chain tells so.
    Remove(Chain, u32),
}

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
            written.and(callers.join().unwrap_or(Err(AuditError::Closed)))
        });
        drop(health);
        written
    }
}

/// Keeps house.
pub(super) struct Keeper {
    pub(super) folder: Arc<Folder>,
    pub(super) chores: Receiver<Chore>,
    pub(super) queues: [mpsc::WeakSender<Message>; 2],
}

impl Keeper {
    /// Works until both writers are gone.
    fn run(self) {
        loop {
            match self.chores.recv_timeout(TICK) {
                Ok(chore) => self.see_to(chore),
                Err(RecvTimeoutError::Timeout) => self.tick(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// What was left to do until now.
    #[cfg(test)]
    pub(super) fn tidy(&self) {
        while let Ok(chore) = self.chores.try_recv() {
            self.see_to(chore);
        }
    }

    fn see_to(&self, chore: Chore) {
        match chore {
            Chore::Remove(chain, number) => self.remove(chain, number),
        }
    }

    fn tick(&self) {
        for queue in self.queues.iter().filter_map(mpsc::WeakSender::upgrade) {
            // A writer that has too much to do is told the next time.
            if queue.try_send(Message::Tend).is_err() {
                tracing::trace!("an audit writer is busy");
            }
        }
    }

    fn remove(&self, chain: Chain, number: u32) {
        let removed = self.folder.remove_segment(chain, number);
        if let Err(error) = removed.and_then(|()| self.folder.sync()) {
            tracing::error!(%error, chain = chain.as_str(), number,
                "an old audit segment cannot be removed");
        }
    }
}
