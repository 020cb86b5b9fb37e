//! The watch over processes: exit, another image, sockets that they no longer hold,
//! renewal time, expiry.
//!
//! The kernel's events say early that a process may have changed, where the agent
//! is told of them. They only wake the check that is made anyway.

use super::{Process, Unproven, WOKEN_AT_ONCE, Workloads};
use crate::audit::Kind as AuditKind;
use std::{
    sync::{Arc, Weak},
    time::Duration,
};
use symbolon_attestors::{Changed, ProcessEvent, ProcessEvents};
use tokio::time::{Instant, sleep_until};

/// How often the wall clock, the process's image and its connections are looked at
/// while nothing is due: bounds what a clock that was set forward can delay, and how
/// long an open stream survives an `execve` or the loss of its socket.
const RECHECK: Duration = Duration::from_secs(5);

/// Connections of one process that are looked at in one go, in a millisecond or less; the
/// others have their turn the next times, those that were looked at last behind all others.
pub(super) const LOOKED_AT_ONCE: usize = 64;

/// How soon the process is looked at again: bounds how often SVIDs are renewed
/// whose life an authority cuts to nothing because it ends itself.
const SOONEST: Duration = Duration::from_millis(20);

/// How often all processes are looked at because events were lost.
const LOST_PAUSE: Duration = Duration::from_secs(1);

impl Workloads {
    /// Makes sure that the process is watched from now on.
    pub(super) fn keep_watch(self: &Arc<Self>, process: &Arc<Process>) {
        if process.needs_keeper() {
            let keep = keep(Arc::downgrade(self), Arc::clone(process));
            self.services.supervisor.spawn(keep);
        }
    }

    /// Looks after the process; false once there is nothing to watch any more.
    pub(super) fn look_after(self: &Arc<Self>, process: &Arc<Process>) -> bool {
        if process.has_ended() {
            return false;
        }
        if let Err(why) = self.unchanged(process) {
            self.end(process, why);
            return false;
        }
        if process.note_time(self.services.clock.now()) {
            process.wake();
        }
        self.look_at_connections(process);
        !self.is_over(process)
    }

    /// Whether there is nothing to watch any more.
    fn is_over(&self, process: &Process) -> bool {
        process.has_ended() || self.release_if_idle(process)
    }

    /// Ends connections that the process holds no longer, or not as it did: also
    /// those on which nothing is pushed.
    fn look_at_connections(self: &Arc<Self>, process: &Arc<Process>) {
        let require = self.settings.load().require;
        let attestor = &self.services.attestor;
        for binding in process.next_open(LOOKED_AT_ONCE) {
            if let Some((why, presence)) = binding.lost(attestor, process.peer(), require) {
                let (workloads, process) = (Arc::clone(self), Arc::clone(process));
                self.services.supervisor.spawn(async move {
                    let services = &workloads.services;
                    let why = binding.settled(&services.attestor, why).await;
                    if why != Unproven::Closed {
                        let (word, reason) = (why.word(), why.to_string());
                        let event = workloads.denied(&process, Some(&presence), word, &reason);
                        let cause = process.cause(AuditKind::Denied, word);
                        // It has happened already: nobody waits for that.
                        drop(services.trail.of_caller(cause, || event));
                    }
                });
            }
        }
    }

    /// Looks at processes as soon as the kernel tells that they executed a program
    /// or exited. Ends where it tells no more.
    pub async fn watch(self: Arc<Self>, mut events: ProcessEvents) {
        loop {
            match events.next().await {
                Ok(ProcessEvent::Exec { pid } | ProcessEvent::Exit { pid }) => {
                    let process = self.processes.lock().with_pid(pid);
                    if let Some(process) = process {
                        self.look_after(&process);
                    }
                }
                Ok(ProcessEvent::Lost) => {
                    self.look_after_all().await;
                    // Whoever forks without end makes more of them get lost.
                    tokio::time::sleep(LOST_PAUSE).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "the kernel tells of no more processes");
                    return;
                }
            }
        }
    }

    async fn look_after_all(self: &Arc<Self>) {
        for processes in self.all().chunks(WOKEN_AT_ONCE) {
            for process in processes {
                self.look_after(process);
            }
            tokio::task::yield_now().await;
        }
    }

    /// When a process that was looked at last at this time is looked at again.
    fn next_look(&self, process: &Process, looked: Instant) -> Instant {
        let recheck = looked + RECHECK;
        process.next_due().map_or(recheck, |due| {
            let until = due.duration_since(self.services.clock.now());
            let due = Instant::now() + until.unwrap_or_default();
            due.clamp(looked + SOONEST, recheck)
        })
    }
}

async fn keep(workloads: Weak<Workloads>, process: Arc<Process>) {
    let mut looked = Instant::now();
    loop {
        let Some(next) = workloads.upgrade().map(|w| w.next_look(&process, looked)) else {
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
            // Another time is due. The look itself is not: whoever is given something was just
            // looked at, and waits for it.
            () = process.rescheduled.notified() => {
                if workloads.upgrade().is_none_or(|w| w.is_over(&process)) {
                    return;
                }
                continue;
            }
            () = sleep_until(next) => {}
        }
        looked = Instant::now();
        if !workloads.upgrade().is_some_and(|w| w.look_after(&process)) {
            return;
        }
    }
}
