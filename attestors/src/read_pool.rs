//! Reads that a caller may be able to stall, on threads of their own.
//!
//! Owns the cap on them; [`FairTurns`] decides whose job is next, and keeps each
//! user to his share. A job runs on a thread that is started for it: jobs are
//! rare (a binary is hashed once) and take milliseconds, a thread takes 30
//! microseconds, and a thread that never comes back holds up neither the
//! runtime nor the agent's end, as one of the runtime's blocking threads would.
//! No thread has a second job, so one may leave it in another namespace.
//!
//! A job keeps its turn until its thread ends, also when nobody waits for it
//! any more. So a user who stalls as many jobs as his share allows waits from
//! then on, and the other shares are left.

use crate::turns::{Crowded, FairTurns};
use std::{thread, time::Duration};
use tokio::{sync::oneshot, time::timeout};

/// Why a job gave no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum PoolError {
    /// Too many wait already, or no thread could be started.
    Overloaded,
    /// Not done by the deadline.
    Timeout,
}

impl From<Crowded> for PoolError {
    fn from(_: Crowded) -> Self {
        Self::Overloaded
    }
}

/// Runs jobs on a limited number of threads.
#[derive(Clone, Debug)]
pub(crate) struct ReadPool {
    turns: FairTurns,
    deadline: Duration,
}

impl ReadPool {
    /// A pool of `threads`, of which each user has `per_user`, that answers by `deadline`.
    pub(crate) fn new(threads: usize, per_user: usize, deadline: Duration) -> Self {
        Self {
            turns: FairTurns::new(threads, per_user),
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
        let turn = self.turns.take(user.into()).await?;
        let (sender, receiver) = oneshot::channel();
        thread::Builder::new()
            .name("symbolon-read".into())
            .spawn(move || {
                let answer = job();
                // It is the next one's before the caller goes on.
                drop(turn);
                // Nobody may wait for it any more.
                drop(sender.send(answer));
            })
            .map_err(|_no_thread| PoolError::Overloaded)?;
        receiver
            .await
            .map_err(|_job_panicked| PoolError::Overloaded)
    }
}

#[cfg(test)]
mod tests {
    use super::{PoolError, ReadPool};
    use crate::turns::MAX_WAITING_PER_USER;
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
    async fn a_job_that_nobody_waits_for_keeps_its_turn() {
        let pool = ReadPool::new(4, 1, Duration::from_secs(60));
        let (end, on_end) = mpsc::channel();
        let mut abandoned = Box::pin(pool.run(1000, stalled(on_end)));
        poll_once(&mut abandoned).await;
        drop(abandoned);
        let mut next = Box::pin(pool.run(1000, || 1));
        poll_once(&mut next).await;
        end.send(()).unwrap();
        assert_eq!(next.await, Ok(1));
        assert!(pool.turns.are_idle());
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
    async fn a_job_that_panics_gives_its_turn_back() {
        let pool = ReadPool::new(1, 1, Duration::from_secs(60));
        let bad = pool.run(1000, || assert_eq!(1, 2)).await;
        assert_eq!(bad, Err(PoolError::Overloaded));
        assert_eq!(pool.run(1000, || 5).await, Ok(5));
    }
}
