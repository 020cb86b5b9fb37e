//! Whose work is done next: users take turns, and within a user his cgroups do.
//!
//! All connections of a user, and all calls on them, run in one lane of the
//! runtime. So one who calls a thousand times at once, on however many connections,
//! delays each step of the others by one slice of time and not by a thousand calls,
//! and without anything that has to be measured or remembered about him. Pods that share a
//! user take turns as well.

use super::{
    connection::Whose,
    lane::{Lane, LaneEntry, Slice, Work},
};
use hyper::rt::Executor;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    runtime::Handle,
    task::{JoinSet, coop::unconstrained},
};

/// How much of a user's work is done before it is another's turn: as much as one of his cgroups may
/// do, or two.
const USERS_SLICE: Slice = Slice {
    time: Duration::from_micros(100),
    polls: 2,
};

/// And within it of that of one of his cgroups: one call, or a few steps.
const CGROUPS_SLICE: Slice = Slice {
    time: Duration::from_micros(50),
    polls: 32,
};

/// Bytes that are read at once: some calls.
const PORTION: usize = 1024;

/// Everybody's lanes.
#[derive(Debug)]
pub(super) struct Lanes {
    users: Users,
    tasks: JoinSet<()>,
    /// Lanes of one user: as many as the runtime has threads to run them.
    width: usize,
    next: usize,
}

type Users = Arc<Mutex<HashMap<UserLane, User>>>;

/// A user, and which of his lanes.
type UserLane = (u32, usize);

#[derive(Debug)]
struct User {
    lane: LaneEntry,
    cgroups: HashMap<Option<u64>, LaneEntry>,
}

impl Lanes {
    /// On this runtime.
    pub(super) fn new() -> Self {
        Self {
            users: Users::default(),
            tasks: JoinSet::new(),
            width: Handle::current().metrics().num_workers().max(1),
            next: 0,
        }
    }

    /// Does `work` in the lane of `whose`; it may put more of it there.
    pub(super) fn enter(&mut self, whose: Whose, work: impl FnOnce(LaneEntry) -> Work) {
        self.next = self.next.wrapping_add(1);
        let key = (whose.uid, self.next.checked_rem(self.width).unwrap_or(0));
        let mut users = self.users.lock();
        let mut new = None;
        let user = users.entry(key).or_insert_with(|| {
            let lane = Lane::new(USERS_SLICE);
            let entry = lane.entry().clone();
            let users = Arc::clone(&self.users);
            new = Some(Place {
                users,
                key,
                cgroup: None,
                lane,
            });
            User {
                lane: entry,
                cgroups: HashMap::new(),
            }
        });
        let cgroup = user.cgroups.entry(whose.cgroup).or_insert_with(|| {
            let lane = Lane::new(CGROUPS_SLICE);
            let entry = lane.entry().clone();
            let users = Arc::clone(&self.users);
            user.lane.put(Box::pin(run(Place {
                users,
                key,
                cgroup: Some(whose.cgroup),
                lane,
            })));
            entry
        });
        cgroup.put(work(cgroup.clone()));
        drop(users);
        if let Some(place) = new {
            // A lane has its own idea of when others have their turn.
            self.tasks.spawn(unconstrained(run(place)));
        }
    }

    /// Waits until the work of some user is over; `None` where nobody is left.
    pub(super) async fn left(&mut self) -> Option<()> {
        self.tasks.join_next().await.map(drop)
    }
}

/// A lane at its place among the others, until dropped.
struct Place {
    users: Users,
    key: UserLane,
    /// Which of the user's cgroups; none where it is the user's own.
    cgroup: Option<Option<u64>>,
    lane: Lane,
}

/// Runs a lane until nothing is left of it, for new work neither.
async fn run(mut place: Place) {
    loop {
        (&mut place.lane).await;
        if place.leave_if(LaneEntry::is_empty) {
            return;
        }
    }
}

impl Place {
    /// New work gets a new lane from now on, where this is so of the lane. Work enters under the
    /// same lock.
    fn leave_if(&self, is_over: impl FnOnce(&LaneEntry) -> bool) -> bool {
        let mut users = self.users.lock();
        let lane = self.lane.entry();
        if !is_over(lane) {
            return false;
        }
        match self.cgroup {
            None => {
                if users.get(&self.key).is_some_and(|user| user.lane.is(lane)) {
                    users.remove(&self.key);
                }
            }
            Some(cgroup) => {
                let cgroups = users.get_mut(&self.key).map(|user| &mut user.cgroups);
                if let Some(cgroups) = cgroups
                    && cgroups.get(&cgroup).is_some_and(|known| known.is(lane))
                {
                    cgroups.remove(&cgroup);
                }
            }
        }
        true
    }
}

/// Also where the runtime ends.
impl Drop for Place {
    fn drop(&mut self) {
        self.leave_if(|_| true);
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for LaneEntry {
    fn execute(&self, work: F) {
        self.put(Box::pin(work));
    }
}

/// A connection that is read in portions, and neither read nor written on when others have their
/// turn.
#[derive(Debug)]
pub(super) struct InPortions<S> {
    inner: S,
    lane: LaneEntry,
    /// Whether the last write was put off.
    has_waited: bool,
}

impl<S> InPortions<S> {
    /// Read in this lane.
    pub(super) const fn new(inner: S, lane: LaneEntry) -> Self {
        Self {
            inner,
            lane,
            has_waited: false,
        }
    }

    /// Whether to write now. Where others have their turn, every second write is put off: all of them
    /// would never come to an end where there is always something to be read first.
    fn may_write(&mut self, cx: &Context<'_>) -> bool {
        self.has_waited = self.lane.is_slice_over() && !self.has_waited;
        if self.has_waited {
            cx.waker().wake_by_ref();
        }
        !self.has_waited
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for InPortions<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.lane.is_slice_over() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut portion = ReadBuf::new(buf.initialize_unfilled_to(PORTION.min(buf.remaining())));
        let read = Pin::new(&mut self.inner).poll_read(cx, &mut portion);
        let count = portion.filled().len();
        buf.advance(count);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for InPortions<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.may_write(cx) {
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if !self.may_write(cx) {
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::{CGROUPS_SLICE, InPortions, Lanes, PORTION, USERS_SLICE};
    use crate::server::{
        connection::Whose,
        lane::{Lane, Work},
    };
    use futures_util::FutureExt as _;
    use std::{
        future::{pending, poll_fn},
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Poll,
    };
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
        sync::{mpsc, oneshot},
        task::JoinSet,
    };

    const FLOOD: Whose = whose(1, 7);
    const NEIGHBOUR: Whose = whose(1, 8);
    const OTHER: Whose = whose(2, 9);

    const fn whose(uid: u32, cgroup: u64) -> Whose {
        Whose {
            uid,
            cgroup: Some(cgroup),
        }
    }

    /// Is ready again whenever it was polled, until `rounds` are over; counts.
    fn busy(rounds: usize, count: &Arc<AtomicUsize>) -> Work {
        let count = Arc::clone(count);
        let mut left = rounds;
        Box::pin(poll_fn(move |cx| {
            count.fetch_add(1, Ordering::Relaxed);
            left = left.saturating_sub(1);
            if left == 0 {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        }))
    }

    /// How often the flood's futures were polled while `victim` asked another task so many questions,
    /// each after the answer to the one before.
    async fn meanwhile(
        victim: Whose,
        flooders: impl Iterator<Item = Whose>,
        rounds: usize,
    ) -> usize {
        let mut lanes = Lanes::new();
        let flood = Arc::new(AtomicUsize::new(0));
        for flooder in flooders {
            lanes.enter(flooder, |_| busy(usize::MAX, &flood));
        }
        let (ask, mut asked) = mpsc::channel(1);
        let (answer, mut answered) = mpsc::channel(1);
        let mut other = JoinSet::new();
        other.spawn(async move {
            while asked.recv().await.is_some() {
                answer.send(()).await.unwrap();
            }
        });
        let (done, polled) = oneshot::channel();
        lanes.enter(victim, |_| {
            Box::pin(async move {
                let begun = flood.load(Ordering::Relaxed);
                for _ in 0..rounds {
                    ask.send(()).await.unwrap();
                    answered.recv().await.unwrap();
                }
                done.send(flood.load(Ordering::Relaxed) - begun).unwrap();
            })
        });
        polled.await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_delays_each_step_of_others_by_a_slice() {
        let flood = || std::iter::repeat_n(FLOOD, 1000);
        let slice = USERS_SLICE.polls * CGROUPS_SLICE.polls;
        let polled = meanwhile(OTHER, flood(), 8).await;
        assert!(polled <= 24 * slice, "{polled} polls");
        let polled = meanwhile(NEIGHBOUR, flood(), 8).await;
        assert!(polled <= 24 * slice, "{polled} polls");
    }

    #[tokio::test(start_paused = true)]
    async fn many_cgroups_are_one_user() {
        let flood = (100..1100).map(|cgroup| whose(1, cgroup));
        let polled = meanwhile(OTHER, flood, 8).await;
        let slice = USERS_SLICE.polls * CGROUPS_SLICE.polls;
        assert!(polled <= 24 * slice, "{polled} polls");
    }

    #[tokio::test(start_paused = true)]
    async fn lanes_end_with_their_work_and_begin_anew() {
        let mut lanes = Lanes::new();
        let count = Arc::new(AtomicUsize::new(0));
        for round in 1..=3 {
            for whose in [FLOOD, NEIGHBOUR, OTHER] {
                lanes.enter(whose, |_| busy(100, &count));
            }
            while lanes.left().await.is_some() {}
            assert_eq!(count.load(Ordering::Relaxed), 300 * round);
            assert!(lanes.users.lock().is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_cgroup_s_lane_ends_before_its_user_s() {
        let mut lanes = Lanes::new();
        let count = Arc::new(AtomicUsize::new(0));
        lanes.enter(FLOOD, |_| Box::pin(pending()));
        lanes.enter(NEIGHBOUR, |_| busy(1, &count));
        while count.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
        assert!(lanes.left().now_or_never().is_none());
        let cgroups: Vec<_> = {
            let users = lanes.users.lock();
            users.values().map(|user| user.cgroups.len()).collect()
        };
        assert_eq!(cgroups, [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_the_end_of_what_panics_and_of_nothing_else() {
        let mut lanes = Lanes::new();
        let count = Arc::new(AtomicUsize::new(0));
        for whose in [FLOOD, NEIGHBOUR, OTHER] {
            lanes.enter(whose, |_| busy(100, &count));
        }
        lanes.enter(FLOOD, |_| Box::pin(async { panic!("on purpose") }));
        while lanes.left().await.is_some() {}
        assert_eq!(count.load(Ordering::Relaxed), 300);
        assert!(lanes.users.lock().is_empty());
    }

    #[tokio::test]
    async fn a_connection_is_read_in_portions_while_it_is_its_turn() {
        let (mut theirs, ours) = duplex(4 * PORTION);
        theirs.write_all(&[1; 3 * PORTION]).await.unwrap();
        let lane = Lane::new(CGROUPS_SLICE);
        let mut ours = InPortions::new(ours, lane.entry().clone());
        let mut buffer = vec![0; 4 * PORTION];
        // The lane does not run.
        assert!(ours.read(&mut buffer).now_or_never().is_none());
        assert!(ours.write(&[1]).now_or_never().is_none());
        // Every second one goes through all the same.
        assert!(ours.write(&[1]).now_or_never().is_some());
        lane.entry().put(Box::pin(async move {
            assert_eq!(ours.read(&mut buffer).await.unwrap(), PORTION);
            assert_eq!(ours.read(&mut buffer[..10]).await.unwrap(), 10);
        }));
        lane.await;
    }
}
