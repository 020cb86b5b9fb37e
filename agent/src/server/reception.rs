//! Who has connected and was not looked at yet.
//!
//! The kernel queues all who connect in one order and, once that queue is full,
//! sends everybody away. To let somebody in is work; to take him from that queue
//! is next to none. So a thread of its own empties it, whatever the runtime has to do, and
//! whoever was taken waits here, in turns with other users: one who connects a thousand times
//! at once delays the others by one admission and not by a thousand. How long he waits makes no
//! difference to the proofs where the kernel took his pin when he connected; the
//! weaker pin of older kernels is taken when his turn comes.
//!
//! Whoever is refused at the door costs three system calls of that thread (accept, name, close)
//! and nothing of the runtime's: a connection is registered there only when its
//! turn has come.
//!
//! Users are told apart here by their IDs alone, as the kernel names them, and
//! [`Admit::knock`] sends away whoever is over his caps. Who answers for a
//! process, and what he may have, [`Admit::admit`] decides.

use super::connection::{Admit, Refused};
use parking_lot::{Condvar, Mutex};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::{Shutdown, SocketFlags, accept_with, shutdown},
};
use std::{
    collections::{HashMap, VecDeque},
    io, mem,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net,
    },
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Duration,
};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Notify,
};

/// Connections that may wait, divided by the users who have some that do: as many as one user may
/// open at once as the agent is shipped.
const SHARED: usize = 2048;

/// And at most: each holds a descriptor.
const MAX_WAITING: usize = 2 * SHARED;

/// How long to wait after a failed `accept`: long enough not to spin while the
/// descriptor table is full.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Those who wait behind the listening socket, which is closed when this is dropped.
#[derive(Debug)]
pub(super) struct Reception {
    hall: Arc<Hall>,
}

/// What the door and those behind it share.
#[derive(Debug)]
struct Hall {
    listener: OwnedFd,
    state: Mutex<State>,
    /// Told when somebody waits, or a connection could not be accepted.
    arrived: Notify,
    /// Told when there is room again, or nobody is to be let in any more.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Waiting<OwnedFd>,
    /// The last one, until it is told.
    failure: Option<io::Error>,
    is_closed: bool,
}

impl Reception {
    /// Takes over the listening socket.
    ///
    /// # Errors
    /// Where there can be no thread.
    pub(super) fn new(listener: UnixListener, admit: Arc<impl Admit>) -> io::Result<Self> {
        let hall = Arc::new(Hall {
            listener: listener.into_std()?.into(),
            state: Mutex::default(),
            arrived: Notify::new(),
            changed: Condvar::new(),
        });
        let door = Arc::clone(&hall);
        let thread = thread::Builder::new().name("reception".to_owned());
        // A panic costs the connection that it was about: others have to be taken in.
        thread.spawn(move || {
            while catch_unwind(AssertUnwindSafe(|| door.keep(&*admit))).is_err() {
                tracing::error!("a bug: a connection could not be taken in");
            }
        })?;
        Ok(Self { hall })
    }

    /// Waits for the next one to be looked at; loses nobody where it is dropped meanwhile.
    ///
    /// # Errors
    /// Where one could not be accepted.
    pub(super) async fn next(&mut self) -> io::Result<UnixStream> {
        loop {
            let next = {
                let mut state = self.hall.state.lock();
                if let Some(failure) = state.failure.take() {
                    return Err(failure);
                }
                let had_room = state.waiting.has_room();
                let next = state.waiting.next();
                if !had_room {
                    self.hall.changed.notify_one();
                }
                next
            };
            if let Some(next) = next {
                return UnixStream::from_std(net::UnixStream::from(next));
            }
            self.hall.arrived.notified().await;
        }
    }
}

impl Drop for Reception {
    /// Who connects from now on is refused by the kernel.
    fn drop(&mut self) {
        let mut state = self.hall.state.lock();
        state.is_closed = true;
        let waiting = mem::take(&mut state.waiting);
        // Wakes the thread, too.
        if let Err(error) = shutdown(&self.hall.listener, Shutdown::Read) {
            tracing::warn!(%error, "a listening socket could not be closed");
        }
        self.hall.changed.notify_one();
        drop((state, waiting));
    }
}

impl Hall {
    /// Takes in whoever connects until the reception is closed.
    fn keep(&self, admit: &impl Admit) {
        while self.has_room() {
            match accept(&self.listener) {
                Ok(connection) => {
                    if let Err(refused) = self.take(admit, connection) {
                        admit.refused(&refused);
                    }
                }
                Err(Errno::AGAIN) => {
                    let listener = PollFd::new(&self.listener, PollFlags::IN);
                    // Interrupted or not: it is looked at again.
                    let _ready = poll(&mut [listener], None);
                }
                Err(error) => self.fail(error),
            }
        }
    }

    /// Waits for room; where there is none they wait in the kernel's queue. Whether it is still open.
    fn has_room(&self) -> bool {
        let mut state = self.state.lock();
        let is_full = |state: &mut State| !state.is_closed && !state.waiting.has_room();
        self.changed.wait_while(&mut state, is_full);
        !state.is_closed
    }

    fn take(&self, admit: &impl Admit, connection: OwnedFd) -> Result<(), Refused> {
        let user = admit.knock(connection.as_fd())?;
        self.state.lock().waiting.join(user, connection)?;
        self.arrived.notify_one();
        Ok(())
    }

    /// Tells of a failure, and waits before the next attempt.
    fn fail(&self, error: Errno) {
        let mut state = self.state.lock();
        if state.is_closed {
            return;
        }
        state.failure = Some(error.into());
        self.arrived.notify_one();
        self.changed.wait_for(&mut state, ACCEPT_PAUSE);
    }
}

fn accept(listener: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    loop {
        match accept_with(listener, flags) {
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            accepted => return accepted,
        }
    }
}

/// Queues by user, of which none is empty.
#[derive(Debug)]
struct Waiting<T> {
    users: HashMap<u32, VecDeque<T>>,
    /// Whose turn is when; each is there once.
    order: VecDeque<u32>,
    all: usize,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self {
            users: HashMap::new(),
            order: VecDeque::new(),
            all: 0,
        }
    }
}

impl<T> Waiting<T> {
    const fn has_room(&self) -> bool {
        self.all < MAX_WAITING
    }

    fn join(&mut self, user: u32, connection: T) -> Result<(), Refused> {
        let known = self.users.get(&user).map_or(0, VecDeque::len);
        let users = self.users.len() + usize::from(known == 0);
        if !self.has_room() || known >= (SHARED / users).max(1) {
            return Err(Refused::Overloaded("waiting connections"));
        }
        if known == 0 {
            self.order.push_back(user);
        }
        self.users.entry(user).or_default().push_back(connection);
        self.all += 1;
        Ok(())
    }

    fn next(&mut self) -> Option<T> {
        let user = self.order.pop_front()?;
        let queue = self.users.get_mut(&user)?;
        let next = queue.pop_front()?;
        self.all -= 1;
        if queue.is_empty() {
            self.users.remove(&user);
        } else {
            self.order.push_back(user);
        }
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_WAITING, Reception, SHARED, Waiting};
    use crate::server::{
        connection::{Admit, Refused},
        tests::Guest,
    };
    use std::{
        io::Write as _,
        os::{fd::BorrowedFd, unix::net::UnixStream as PlainStream},
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };
    use tempfile::TempDir;
    use tokio::{
        io::AsyncReadExt as _,
        net::{UnixListener, UnixStream},
        sync::Semaphore,
    };

    const FLOOD: u32 = 1;
    const OTHER: u32 = 2;

    /// Takes whoever knocks at these places for the other user, and refuses the flood or not.
    #[derive(Debug)]
    struct Desk {
        others: &'static [usize],
        knocks: AtomicUsize,
        refuses: bool,
        /// How many were refused, or let wait.
        seen: Semaphore,
    }

    impl Desk {
        fn new(others: &'static [usize], refuses: bool) -> Arc<Self> {
            Arc::new(Self {
                others,
                knocks: AtomicUsize::new(0),
                refuses,
                seen: Semaphore::new(0),
            })
        }
    }

    impl Admit for Desk {
        type Caller = Guest;

        fn knock(&self, _: BorrowedFd<'_>) -> Result<u32, Refused> {
            let place = self.knocks.fetch_add(1, Ordering::Relaxed);
            self.seen.add_permits(1);
            match self.others.contains(&place) {
                true => Ok(OTHER),
                false if self.refuses => Err(Refused::Overloaded("knocks")),
                false => Ok(FLOOD),
            }
        }

        fn admit(&self, _: &UnixStream) -> Result<Guest, Refused> {
            Err(Refused::NotServing)
        }

        fn refused(&self, _: &Refused) {}
    }

    /// A reception to which so many have come, each of whom says which one it is, and the last of
    /// whom need not have joined yet.
    async fn reception(
        connections: u8,
        desk: &Arc<Desk>,
    ) -> (Reception, Vec<PlainStream>, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sock");
        let listener = UnixListener::bind(&path).unwrap();
        let connect = |number| {
            let mut connection = PlainStream::connect(&path).unwrap();
            connection.write_all(&[number]).unwrap();
            connection
        };
        let connections: Vec<_> = (0..connections).map(connect).collect();
        let reception = Reception::new(listener, Arc::clone(desk)).unwrap();
        let all = u32::try_from(connections.len()).unwrap();
        desk.seen.acquire_many(all).await.unwrap().forget();
        (reception, connections, folder)
    }

    async fn number(reception: &mut Reception) -> u8 {
        reception.next().await.unwrap().read_u8().await.unwrap()
    }

    #[tokio::test]
    async fn another_user_need_not_wait_for_a_flood_that_came_before() {
        let desk = Desk::new(&[6, 9], false);
        // The last one's knock was heard: those before it wait.
        let (mut reception, _connections, _folder) = reception(20, &desk).await;
        let mut order = Vec::new();
        for _ in 0..20 {
            order.push(number(&mut reception).await);
        }
        assert_eq!(order[..6], [0, 6, 1, 9, 2, 3]);
    }

    #[tokio::test]
    async fn whoever_waits_is_let_in_amid_those_who_are_refused() {
        let desk = Desk::new(&[60], true);
        let (mut reception, _connections, _folder) = reception(200, &desk).await;
        assert_eq!(number(&mut reception).await, 60);
    }

    #[tokio::test]
    async fn nobody_is_taken_in_once_it_is_closed() {
        let desk = Desk::new(&[], false);
        let (reception, _connections, folder) = reception(3, &desk).await;
        drop(reception);
        PlainStream::connect(folder.path().join("sock")).unwrap_err();
    }

    #[tokio::test]
    async fn whoever_comes_later_wakes_who_waits() {
        let desk = Desk::new(&[], false);
        let (mut reception, _connections, folder) = reception(0, &desk).await;
        let path = folder.path().join("sock");
        let comes = async {
            let mut late = PlainStream::connect(path).unwrap();
            late.write_all(&[9]).unwrap();
            late
        };
        // The first is polled first, and waits.
        let (number, _late) = tokio::join!(biased; number(&mut reception), comes);
        assert_eq!(number, 9);
    }

    #[test]
    fn users_take_turns() {
        let mut waiting = Waiting::default();
        for number in 0..100 {
            waiting.join(FLOOD, number).unwrap();
        }
        waiting.join(OTHER, 1000).unwrap();
        waiting.join(OTHER, 1001).unwrap();
        let next: Vec<_> = std::iter::from_fn(|| waiting.next()).collect();
        assert_eq!(next[..6], [0, 1000, 1, 1001, 2, 3]);
        assert_eq!(next.len(), 102);
        assert!(waiting.users.is_empty() && waiting.order.is_empty() && waiting.all == 0);
    }

    #[test]
    fn a_user_who_fills_the_room_leaves_others_theirs() {
        let mut waiting = Waiting::default();
        let joined = (0..2 * SHARED).filter(|_| waiting.join(FLOOD, ()).is_ok());
        assert_eq!(joined.count(), SHARED);
        waiting.join(OTHER, ()).unwrap();
        let others = (0..SHARED).filter(|_| waiting.join(OTHER, ()).is_ok());
        assert_eq!(others.count(), SHARED / 2 - 1);
    }

    #[test]
    fn many_users_have_room_for_so_many_and_no_more() {
        let mut waiting = Waiting::default();
        let users = (0..2 * MAX_WAITING).zip(0_u32..);
        let joined = users.filter(|(_, user)| waiting.join(*user, ()).is_ok());
        assert_eq!(joined.count(), MAX_WAITING);
    }
}
