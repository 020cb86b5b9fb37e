//! The watch over one process: exit, another image, renewal time, expiry.

use super::{Process, Workloads};
use std::{
    sync::{Arc, Weak},
    time::Duration,
};
use symbolon_attestors::Changed;

/// How often the wall clock and the process's image are looked at while
/// nothing is due: bounds what a clock that was set forward can delay, and how
/// long an open stream survives an `execve`.
const RECHECK: Duration = Duration::from_secs(5);

/// How soon the process is looked at again: bounds how often SVIDs are renewed
/// whose life an authority cuts to nothing because it ends itself.
const SOONEST: Duration = Duration::from_millis(20);

impl Workloads {
    /// Makes sure that the process is watched from now on.
    pub(super) fn keep_watch(self: &Arc<Self>, process: &Arc<Process>) {
        if process.needs_keeper() {
            let keep = keep(Arc::downgrade(self), Arc::clone(process));
            self.services.supervisor.spawn(keep);
        }
    }

    /// Looks after the process; false once there is nothing to watch any more.
    pub(super) fn look_after(&self, process: &Process) -> bool {
        if process.has_ended() {
            return false;
        }
        if let Some(attestation) = process.attestation()
            && let Err(why) = self
                .services
                .attestor
                .unchanged(process.peer(), &attestation)
        {
            self.end(process, why);
            return false;
        }
        if process.note_time(self.services.clock.now()) {
            process.wake();
        }
        !self.release_if_idle(process)
    }

    fn pause(&self, process: &Process) -> Duration {
        let now = self.services.clock.now();
        process.next_due().map_or(RECHECK, |due| {
            let until = due.duration_since(now).unwrap_or_default();
            until.clamp(SOONEST, RECHECK)
        })
    }
}

async fn keep(workloads: Weak<Workloads>, process: Arc<Process>) {
    loop {
        let Some(pause) = workloads.upgrade().map(|w| w.pause(&process)) else {
            return;
        };
        tokio::select! {
            // A process that cannot be watched is treated as one that has exited.
            _ = process.peer().exited() => {
                if let Some(workloads) = workloads.upgrade() {
                    workloads.end(&process, Changed::Exited);
                }
                return;
            }
            () = process.rescheduled.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
        if !workloads.upgrade().is_some_and(|w| w.look_after(&process)) {
            return;
        }
    }
}
