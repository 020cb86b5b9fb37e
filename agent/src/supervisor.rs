//! Starts tasks, and notices when one that the agent cannot do without ends.
//!
//! Every task of the agent is spawned here. A critical task (a writer, a
//! rotation) that returns or panics makes [`Supervisor::failed`] resolve with
//! its name, upon which the agent stops with an error rather than go on
//! half-alive. Once the agent is stopping, such an end is expected. Other tasks
//! (the watch over one process) may end as they like; a panic in one concerns
//! nobody else.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::{runtime::Handle, sync::Notify};

/// Spawns tasks on the agent's runtime.
#[derive(Clone, Debug)]
pub struct Supervisor {
    runtime: Handle,
    failure: Arc<Failure>,
}

#[derive(Debug, Default)]
struct Failure {
    name: parking_lot::Mutex<Option<&'static str>>,
    noticed: Notify,
    stopping: AtomicBool,
}

impl Supervisor {
    /// A supervisor for the tasks of `runtime`.
    #[must_use]
    pub fn new(runtime: Handle) -> Self {
        Self {
            runtime,
            failure: Arc::default(),
        }
    }

    /// Starts a task that may end.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Starts a task whose end is the agent's failure.
    pub fn critical(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let task = self.runtime.spawn(task);
        let failure = Arc::clone(&self.failure);
        self.runtime.spawn(async move {
            let panicked = task.await.is_err();
            if failure.stopping.load(Ordering::Acquire) && !panicked {
                return;
            }
            tracing::error!(task = name, panicked, "a task ended that must not");
            failure.report(name);
        });
    }

    /// From now on critical tasks may end.
    pub fn stopping(&self) {
        self.failure.stopping.store(true, Ordering::Release);
    }

    /// Resolves with the name of the first critical task that ended.
    pub async fn failed(&self) -> &'static str {
        loop {
            let noticed = self.failure.noticed.notified();
            if let Some(name) = *self.failure.name.lock() {
                return name;
            }
            noticed.await;
        }
    }
}

impl Failure {
    fn report(&self, name: &'static str) {
        self.name.lock().get_or_insert(name);
        self.noticed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::Supervisor;
    use tokio::runtime::Handle;

    #[tokio::test]
    async fn end_of_a_critical_task_is_noticed() {
        let supervisor = Supervisor::new(Handle::current());
        supervisor.spawn(async {});
        supervisor.critical("writer", async {});
        assert_eq!(supervisor.failed().await, "writer");
        assert_eq!(supervisor.failed().await, "writer");
    }
}
