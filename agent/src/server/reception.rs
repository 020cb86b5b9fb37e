//! Who has connected and was not looked at yet.
//!
//! The kernel queues all who connect in one order and, once that queue is full,
//! sends everybody away. To let somebody in is work; to take him from that queue
//! is next to none. So it is emptied first, and whoever was taken waits here, in
//! turns with other users: one who connects a thousand times at once delays the
//! others by one admission and not by a thousand. How long he waits makes no
//! difference to the proofs where the kernel took his pin when he connected; the
//! weaker pin of older kernels is taken when his turn comes.
//!
//! Whoever is refused at the door costs three system calls (accept, name, close)
//! and nothing of the runtime's: a connection is registered there only when its
//! turn has come.
//!
//! Users are told apart here by their IDs alone, as the kernel names them, and
//! [`Admit::knock`] sends away whoever is over his caps. Who answers for a
//! process, and what he may have, [`Admit::admit`] decides.

use super::connection::{Admit, Refused};
use rustix::{
    io::Errno,
    net::{SocketFlags, accept_with},
};
use std::{
    collections::{HashMap, VecDeque},
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net,
    },
    sync::Arc,
};
use symbolon_syscalls::ReadableWatch;
use tokio::net::{UnixListener, UnixStream};

/// Connections that may wait, divided by the users who have some that do: as many as one user may
/// open at once as the agent is shipped.
const SHARED: usize = 2048;

/// And at most: each holds a descriptor.
const MAX_WAITING: usize = 2 * SHARED;

/// Connections that are taken before the next one is let in.
const TAKEN_AT_ONCE: usize = 16;

/// The listening socket and those who wait.
#[derive(Debug)]
pub(super) struct Reception {
    listener: Arc<OwnedFd>,
    watch: ReadableWatch,
    waiting: Waiting<OwnedFd>,
    /// Taken since the last one was let in.
    taken: usize,
}

/// What is next.
#[derive(Debug)]
pub(super) enum Next {
    /// One to be looked at.
    Connection(UnixStream),
    /// One was closed.
    Refused(Refused),
    /// None could be accepted.
    Failed(io::Error),
}

impl Reception {
    /// Takes over the listening socket.
    pub(super) fn new(listener: UnixListener) -> io::Result<Self> {
        let listener = Arc::new(OwnedFd::from(listener.into_std()?));
        Ok(Self {
            watch: ReadableWatch::new(Arc::clone(&listener))?,
            listener,
            waiting: Waiting::default(),
            taken: 0,
        })
    }

    /// Waits for what is next; loses nothing where it is dropped meanwhile.
    pub(super) async fn next(&mut self, admit: &impl Admit) -> Next {
        let next = self.try_next(admit).await;
        next.unwrap_or_else(Next::Failed)
    }

    async fn try_next(&mut self, admit: &impl Admit) -> io::Result<Next> {
        loop {
            // Where there is no room they wait in the kernel's queue.
            let more = self.taken < TAKEN_AT_ONCE && self.waiting.has_room();
            let mut taken = if more { self.accept_waiting()? } else { None };
            if taken.is_none() {
                self.taken = 0;
                if let Some(connection) = self.waiting.next() {
                    let connection = net::UnixStream::from(connection);
                    return UnixStream::from_std(connection).map(Next::Connection);
                }
                taken = Some(self.watch.until(|| accept(&self.listener)).await?);
            }
            self.taken = self.taken.saturating_add(1);
            let joined = taken.map_or(Ok(()), |connection| self.take(admit, connection));
            if let Err(refused) = joined {
                return Ok(Next::Refused(refused));
            }
        }
    }

    /// The next one in the kernel's queue, where there is one.
    fn accept_waiting(&self) -> io::Result<Option<OwnedFd>> {
        match accept(&self.listener) {
            Ok(connection) => Ok(Some(connection)),
            Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn take(&mut self, admit: &impl Admit, connection: OwnedFd) -> Result<(), Refused> {
        let user = admit.knock(connection.as_fd())?;
        self.waiting.join(user, connection)
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
    use super::{MAX_WAITING, Next, Reception, SHARED, TAKEN_AT_ONCE, Waiting};
    use crate::server::{
        connection::{Admit, Refused},
        tests::Guest,
    };
    use std::{
        future::Future,
        io::Write as _,
        os::{fd::BorrowedFd, unix::net::UnixStream as PlainStream},
        sync::atomic::{AtomicUsize, Ordering},
    };
    use tokio::{
        io::AsyncReadExt as _,
        net::{UnixListener, UnixStream},
    };

    const FLOOD: u32 = 1;
    const OTHER: u32 = 2;

    /// Takes whoever knocks at these places for the other user, and refuses the flood or not.
    #[derive(Debug)]
    struct Desk {
        others: &'static [usize],
        knocks: AtomicUsize,
        refuses: bool,
    }

    impl Desk {
        const fn new(others: &'static [usize], refuses: bool) -> Self {
            Self {
                others,
                knocks: AtomicUsize::new(0),
                refuses,
            }
        }
    }

    impl Admit for Desk {
        type Caller = Guest;

        fn knock(&self, _: BorrowedFd<'_>) -> Result<u32, Refused> {
            let place = self.knocks.fetch_add(1, Ordering::Relaxed);
            match self.others.contains(&place) {
                true => Ok(OTHER),
                false if self.refuses => Err(Refused::Overloaded("knocks")),
                false => Ok(FLOOD),
            }
        }

        fn admit(&self, _: &UnixStream) -> Result<Guest, Refused> {
            Err(Refused::NotServing)
        }

        fn refused(&self, _: &Refused) -> impl Future<Output = ()> + Send {
            std::future::ready(())
        }
    }

    /// A reception at which so many have connected, each of whom says which one it is.
    fn reception(connections: u8) -> (Reception, Vec<PlainStream>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sock");
        let reception = Reception::new(UnixListener::bind(&path).unwrap()).unwrap();
        let connect = |number| {
            let mut connection = PlainStream::connect(&path).unwrap();
            connection.write_all(&[number]).unwrap();
            connection
        };
        (reception, (0..connections).map(connect).collect())
    }

    async fn number(next: Next) -> u8 {
        match next {
            Next::Connection(mut connection) => connection.read_u8().await.unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn another_user_need_not_wait_for_a_flood_that_came_before() {
        let (mut reception, _connections) = reception(10);
        let desk = Desk::new(&[6, 9], false);
        let mut order = Vec::new();
        for _ in 0..10 {
            order.push(number(reception.next(&desk).await).await);
        }
        assert_eq!(order[..6], [0, 6, 1, 9, 2, 3]);
    }

    #[tokio::test]
    async fn whoever_waits_is_let_in_amid_those_who_are_refused() {
        let (mut reception, _connections) = reception(200);
        let desk = Desk::new(&[0], true);
        let mut refused = 0;
        let first = loop {
            match reception.next(&desk).await {
                Next::Refused(_) => refused += 1,
                next => break number(next).await,
            }
        };
        assert_eq!(first, 0);
        assert_eq!(refused, TAKEN_AT_ONCE - 1);
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
