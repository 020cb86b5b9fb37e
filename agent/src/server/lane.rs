//! Futures that share one place in the runtime's queue.
//!
//! However many of them are ready, others wait for one slice of time until it is
//! their turn: then the lane goes to the end of the queue, and its own go on in
//! their order when it comes up again.

use parking_lot::Mutex;
use std::{
    collections::{HashMap, VecDeque},
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};
use tokio::time::Instant;

/// What runs in a lane.
pub(super) type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs what is put into it. Resolves when nothing is left, and may be polled on
/// when there is something again; what is left when it is dropped is dropped.
#[derive(Debug)]
pub(super) struct Lane {
    entry: LaneEntry,
    slice: Slice,
}

/// How much is done before others have their turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slice {
    /// After so long nothing more is begun.
    pub(super) time: Duration,
    /// Nor after so many futures were polled.
    pub(super) polls: usize,
}

/// Where work is put into a lane.
#[derive(Clone, Debug)]
pub(super) struct LaneEntry(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    begun: Instant,
    /// When the slice ends, in nanoseconds since `begun`.
    until: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// By number.
    jobs: HashMap<u64, Arc<Job>>,
    /// Each is there once.
    ready: VecDeque<Arc<Job>>,
    /// There while the lane waits for one to be ready.
    waker: Option<Waker>,
    next: u64,
}

struct Job {
    number: u64,
    is_ready: AtomicBool,
    /// None once it is done. Only the lane takes the lock.
    work: Mutex<Option<Work>>,
    lane: Weak<Shared>,
}

impl Lane {
    /// An empty lane.
    pub(super) fn new(slice: Slice) -> Self {
        let entry = LaneEntry(Arc::new(Shared {
            state: Mutex::default(),
            begun: Instant::now(),
            until: AtomicU64::new(0),
        }));
        Self { entry, slice }
    }

    pub(super) const fn entry(&self) -> &LaneEntry {
        &self.entry
    }
}

impl LaneEntry {
    /// Puts work into the lane, behind what is ready there.
    pub(super) fn put(&self, work: Work) {
        let mut state = self.0.state.lock();
        let job = Arc::new(Job {
            number: state.next,
            is_ready: AtomicBool::new(true),
            work: Mutex::new(Some(work)),
            lane: Arc::downgrade(&self.0),
        });
        state.next += 1;
        state.jobs.insert(job.number, Arc::clone(&job));
        state.ready.push_back(job);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.state.lock().jobs.is_empty()
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether others should have their turn.
    pub(super) fn is_slice_over(&self) -> bool {
        self.0.since_begun() >= self.0.until.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// In nanoseconds.
    fn since_begun(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Future for Lane {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let shared = &self.entry.0;
        let time = u64::try_from(self.slice.time.as_nanos()).unwrap_or(u64::MAX);
        let until = shared.since_begun().saturating_add(time);
        shared.until.store(until, Ordering::Relaxed);
        for _ in 0..self.slice.polls {
            let job = {
                let mut state = shared.state.lock();
                if let Some(job) = state.ready.pop_front() {
                    job
                } else if state.jobs.is_empty() {
                    return Poll::Ready(());
                } else {
                    state.waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            };
            if job.run() {
                shared.state.lock().jobs.remove(&job.number);
            }
            if self.entry.is_slice_over() {
                break;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let mut state = self.entry.0.state.lock();
        let (jobs, ready) = (
            std::mem::take(&mut state.jobs),
            std::mem::take(&mut state.ready),
        );
        drop((state, ready));
        for job in jobs.into_values() {
            // Somebody may keep a waker, and the job with it.
            let work = job.work.lock().take();
            drop(work);
        }
    }
}

impl Job {
    /// Polls it; whether it is done now. A panic in it is its end, and nobody else's.
    fn run(self: &Arc<Self>) -> bool {
        // What was done before the last wake is seen by this poll, what comes later wakes anew.
        self.is_ready.swap(false, Ordering::AcqRel);
        let waker = Waker::from(Arc::clone(self));
        let mut work = self.work.lock();
        let Some(running) = work.as_mut() else {
            return false;
        };
        let cx = &mut Context::from_waker(&waker);
        let polled = catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(cx)));
        if polled.is_err() {
            tracing::error!("a bug: a connection or a call has ended itself");
        }
        let is_done = !matches!(polled, Ok(Poll::Pending));
        if is_done {
            *work = None;
        }
        is_done
    }
}

impl Wake for Job {
    fn wake(self: Arc<Self>) {
        if self.is_ready.swap(true, Ordering::AcqRel) {
            return;
        }
        let Some(shared) = self.lane.upgrade() else {
            return;
        };
        let mut state = shared.state.lock();
        state.ready.push_back(self);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Job").field(&self.number).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{Lane, LaneEntry, Slice};
    use futures_util::FutureExt as _;
    use parking_lot::Mutex;
    use std::{
        future::{pending, poll_fn},
        sync::Arc,
        task::{Poll, Waker},
        time::Duration,
    };

    const SLICE: Slice = Slice {
        time: Duration::from_secs(3600),
        polls: 4,
    };

    type Log = Arc<Mutex<Vec<u32>>>;

    /// Puts what notes `name` each time it is polled, for so many times, and is ready again at once.
    fn put(entry: &LaneEntry, log: &Log, name: u32, times: usize) {
        let log = Arc::clone(log);
        let mut left = times;
        entry.put(Box::pin(poll_fn(move |cx| {
            log.lock().push(name);
            left -= 1;
            if left == 0 {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })));
    }

    #[test]
    fn a_slice_ends_and_the_next_goes_on_where_it_was() {
        let (mut lane, log) = (Lane::new(SLICE), Log::default());
        for name in 0..3 {
            put(lane.entry(), &log, name, 2);
        }
        assert_eq!((&mut lane).now_or_never(), None);
        assert_eq!(*log.lock(), [0, 1, 2, 0]);
        assert_eq!((&mut lane).now_or_never(), Some(()));
        assert_eq!(*log.lock(), [0, 1, 2, 0, 1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_begun_when_the_time_is_over() {
        let (mut lane, log) = (Lane::new(SLICE), Log::default());
        let entry = lane.entry().clone();
        assert!(entry.is_slice_over());
        put(&entry, &log, 0, 9);
        assert_eq!((&mut lane).now_or_never(), None);
        assert!(!entry.is_slice_over());
        tokio::time::advance(SLICE.time).await;
        assert!(entry.is_slice_over());
        log.lock().clear();
        let mut lane = Lane::new(Slice {
            time: Duration::ZERO,
            ..SLICE
        });
        put(lane.entry(), &log, 1, 1);
        put(lane.entry(), &log, 2, 1);
        assert_eq!((&mut lane).now_or_never(), None);
        assert_eq!(*log.lock(), [1]);
    }

    #[test]
    fn who_waits_is_not_polled() {
        let (mut lane, log) = (Lane::new(SLICE), Log::default());
        let waker: Arc<Mutex<Option<Waker>>> = Arc::default();
        lane.entry().put(Box::pin({
            let (waker, log) = (Arc::clone(&waker), Arc::clone(&log));
            poll_fn(move |cx| {
                log.lock().push(7);
                let before = waker.lock().replace(cx.waker().clone());
                before.map_or(Poll::Pending, |_woken| Poll::Ready(()))
            })
        }));
        assert_eq!((&mut lane).now_or_never(), None);
        assert_eq!((&mut lane).now_or_never(), None);
        assert_eq!(*log.lock(), [7]);
        let waiting = waker.lock().clone().unwrap();
        waiting.wake_by_ref();
        waiting.wake_by_ref();
        assert_eq!((&mut lane).now_or_never(), Some(()));
        assert_eq!(*log.lock(), [7, 7]);
        // Nobody is there any more.
        waiting.wake();
        assert_eq!((&mut lane).now_or_never(), Some(()));
    }

    #[test]
    fn what_is_put_from_within_is_done() {
        let (mut lane, log) = (Lane::new(SLICE), Log::default());
        let (entry, inner) = (lane.entry().clone(), Arc::clone(&log));
        lane.entry()
            .put(Box::pin(async move { put(&entry, &inner, 1, 1) }));
        assert_eq!((&mut lane).now_or_never(), Some(()));
        assert_eq!(*log.lock(), [1]);
        assert!(lane.entry().is_empty());
    }

    #[test]
    fn what_is_left_is_dropped_with_the_lane_whoever_keeps_its_waker() {
        let (mut lane, inside) = (Lane::new(SLICE), Arc::new(()));
        let wakers: Arc<Mutex<Vec<Waker>>> = Arc::default();
        lane.entry().put(Box::pin({
            let (kept, wakers, entry) = (
                Arc::clone(&inside),
                Arc::clone(&wakers),
                lane.entry().clone(),
            );
            async move {
                poll_fn(|cx| {
                    wakers.lock().push(cx.waker().clone());
                    Poll::Ready(())
                })
                .await;
                pending::<()>().await;
                drop((kept, entry));
            }
        }));
        assert_eq!((&mut lane).now_or_never(), None);
        assert_eq!(Arc::strong_count(&inside), 2);
        drop(lane);
        assert_eq!(Arc::strong_count(&inside), 1);
        wakers.lock().pop().unwrap().wake();
    }
}
