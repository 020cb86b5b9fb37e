//! Reads that a caller may be able to stall, on threads of their own.
//!
//! Owns the cap on them, and each user's share of it. A job runs on a thread
//! that is started for it: jobs are rare (a binary is hashed once) and take
//! milliseconds, a thread takes 30 microseconds, and a thread that never comes
//! back holds up neither the runtime nor the agent's end, as one of the
//! runtime's blocking threads would. No thread has a second job, so one may
//! leave it in another namespace.
//!
//! A job keeps its slot until its thread ends, also when nobody waits for it
//! any more. So a user who stalls as many jobs as his share allows waits from
//! then on, and the other shares are left. Users are told apart by the caller,
//! which names the one who answers for a process (`namespaces`).

use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, thread, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

/// Callers of one user that may wait for a slot. Beyond, they are told to come again: what waits
/// holds descriptors and memory.
const MAX_WAITING_PER_USER: usize = 256;

/// Why a job gave no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum PoolError {
    /// Too many wait already, or no thread could be started.
    Overloaded,
    /// Not done by the deadline.
    Timeout,
}

/// Runs jobs on a limited number of threads.
#[derive(Clone, Debug)]
pub(crate) struct ReadPool {
    slots: Arc<Semaphore>,
    shares: Arc<Mutex<HashMap<u32, Share>>>,
    per_user: usize,
    deadline: Duration,
}

#[derive(Debug)]
struct Share {
    slots: Arc<Semaphore>,
    /// Callers that wait or run.
    callers: usize,
}

impl ReadPool {
    /// A pool of `threads`, of which each user has `per_user`, that answers by `deadline`.
    pub(crate) fn new(threads: usize, per_user: usize, deadline: Duration) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(threads.max(1))),
            shares: Arc::default(),
            per_user: per_user.max(1),
            deadline,
        }
    }

    /// Runs `job` on behalf of `user`.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        user: u32,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        timeout(self.deadline, self.start(user, job))
            .await
            .unwrap_or(Err(PoolError::Timeout))
    }

    async fn start<T: Send + 'static>(
        &self,
        user: u32,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        let membership = self.enter(user)?;
        let own = acquire(&membership.slots).await?;
        let any = acquire(&self.slots).await?;
        let (sender, receiver) = oneshot::channel();
        thread::Builder::new()
            .name("symbolon-read".into())
            .spawn(move || {
                let answer = job();
                // The slots are free before the caller goes on.
                drop((own, any, membership));
                // Nobody may wait for it any more.
                drop(sender.send(answer));
            })
            .map_err(|_no_thread| PoolError::Overloaded)?;
        receiver
            .await
            .map_err(|_job_panicked| PoolError::Overloaded)
    }

    fn enter(&self, user: u32) -> Result<Membership, PoolError> {
        let mut shares = self.shares.lock();
        let share = shares.entry(user).or_insert_with(|| Share {
            slots: Arc::new(Semaphore::new(self.per_user)),
            callers: 0,
        });
        if share.callers >= self.per_user + MAX_WAITING_PER_USER {
            return Err(PoolError::Overloaded);
        }
        share.callers += 1;
        Ok(Membership {
            user,
            slots: Arc::clone(&share.slots),
            shares: Arc::clone(&self.shares),
        })
    }
}

async fn acquire(slots: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, PoolError> {
    Arc::clone(slots)
        .acquire_owned()
        .await
        .map_err(|_never_closed| PoolError::Overloaded)
}

/// One caller of a user, from its arrival to the end of its thread.
struct Membership {
    user: u32,
    slots: Arc<Semaphore>,
    shares: Arc<Mutex<HashMap<u32, Share>>>,
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut shares = self.shares.lock();
        if let Some(share) = shares.get_mut(&self.user) {
            share.callers -= 1;
            if share.callers == 0 {
                shares.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_WAITING_PER_USER, PoolError, ReadPool};
    use std::{future::Future, pin::pin, sync::mpsc, task::Poll, time::Duration};

    /// Polls `future` once; it must not be done.
    async fn poll_once(future: &mut (impl Future + Unpin)) {
        std::future::poll_fn(|context| {
            assert!(pin!(&mut *future).poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
    }

    fn stalled(receiver: mpsc::Receiver<()>) -> impl FnOnce() + Send + 'static {
        // Until something is sent, or the sender is dropped.
        move || receiver.iter().take(1).for_each(|()| {})
    }

    #[tokio::test]
    async fn a_user_who_stalls_his_share_leaves_the_others_theirs() {
        let pool = ReadPool::new(4, 2, Duration::from_secs(60));
        let (first, on_first) = mpsc::channel();
        let (_second, on_second) = mpsc::channel();
        let mut one = Box::pin(pool.run(1000, stalled(on_first)));
        let mut two = Box::pin(pool.run(1000, stalled(on_second)));
        poll_once(&mut one).await;
        poll_once(&mut two).await;
        let mut third = Box::pin(pool.run(1000, || 3));
        poll_once(&mut third).await;
        assert_eq!(pool.run(1001, || 7).await, Ok(7));
        poll_once(&mut third).await;
        first.send(()).unwrap();
        one.await.unwrap();
        assert_eq!(third.await, Ok(3));
    }

    #[tokio::test]
    async fn a_job_that_nobody_waits_for_keeps_its_slot() {
        let pool = ReadPool::new(4, 1, Duration::from_secs(60));
        let (end, on_end) = mpsc::channel();
        let mut abandoned = Box::pin(pool.run(1000, stalled(on_end)));
        poll_once(&mut abandoned).await;
        drop(abandoned);
        let mut next = Box::pin(pool.run(1000, || 1));
        poll_once(&mut next).await;
        end.send(()).unwrap();
        assert_eq!(next.await, Ok(1));
        assert!(pool.shares.lock().is_empty());
    }

    #[tokio::test]
    async fn a_stalled_job_times_out() {
        let pool = ReadPool::new(1, 1, Duration::from_millis(20));
        let (_end, on_end) = mpsc::channel();
        assert_eq!(
            pool.run(1000, stalled(on_end)).await,
            Err(PoolError::Timeout)
        );
    }

    #[tokio::test]
    async fn waiting_callers_of_one_user_are_bounded() {
        let pool = ReadPool::new(1, 1, Duration::from_secs(60));
        let (_end, on_end) = mpsc::channel();
        let mut running = Box::pin(pool.run(1000, stalled(on_end)));
        poll_once(&mut running).await;
        let mut waiting = Vec::new();
        for _ in 0..MAX_WAITING_PER_USER {
            let mut caller = Box::pin(pool.run(1000, || ()));
            poll_once(&mut caller).await;
            waiting.push(caller);
        }
        assert_eq!(pool.run(1000, || ()).await, Err(PoolError::Overloaded));
    }

    #[tokio::test]
    async fn a_job_that_panics_gives_its_slot_back() {
        let pool = ReadPool::new(1, 1, Duration::from_secs(60));
        let bad = pool.run(1000, || assert_eq!(1, 2)).await;
        assert_eq!(bad, Err(PoolError::Overloaded));
        assert_eq!(pool.run(1000, || 5).await, Ok(5));
    }
}
