//! Whose call begins next: users take turns, and a user's cgroups take his.
//!
//! Beginning a call is where the work is: the checks of the process, the match,
//! the signature. A call holds its turn for that long and gives it back before
//! it waits for anything. While no more calls begin at a time than there are
//! turns, a turn costs one lock; beyond that, calls wait in queues, so that one who
//! calls a thousand times at once, from however many cgroups, delays the others by
//! one call and not by a thousand. Pods that share a user take turns as well.

use super::quota::Whose;
use crate::server::Refused;
use parking_lot::Mutex;
use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::Arc,
};
use tokio::sync::oneshot;

/// Calls that may begin at the same time.
const TURNS: usize = 4;

/// Calls of one user that may wait for a turn.
const MAX_WAITING: usize = 1024;

/// The queues.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<Mutex<Queues>>);

#[derive(Debug, Default)]
struct Queues {
    taken: usize,
    /// Users with calls that wait.
    users: Ring<u32, OfUser>,
}

/// The calls of one user that wait, by cgroup.
#[derive(Debug, Default)]
struct OfUser {
    waiting: usize,
    cgroups: Ring<Option<u64>, VecDeque<oneshot::Sender<Turn>>>,
}

/// Queues that are served one after the other.
#[derive(Debug)]
struct Ring<K, Q> {
    queues: HashMap<K, Q>,
    /// Whose turn is when; each is there once.
    order: VecDeque<K>,
}

impl<K, Q> Default for Ring<K, Q> {
    fn default() -> Self {
        Self {
            queues: HashMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl<K: Copy + Eq + Hash, Q: Default> Ring<K, Q> {
    /// The queue of `key`, which has its place in the order from now on.
    fn queue(&mut self, key: K) -> &mut Q {
        let order = &mut self.order;
        self.queues.entry(key).or_insert_with(|| {
            order.push_back(key);
            Q::default()
        })
    }

    /// What `take` gives of the next queue, which goes to the end, or away where it is empty then.
    fn next<T>(&mut self, take: impl FnOnce(&mut Q) -> (Option<T>, bool)) -> Option<T> {
        let key = self.order.pop_front()?;
        let (next, is_empty) = take(self.queues.get_mut(&key)?);
        if is_empty {
            self.queues.remove(&key);
        } else {
            self.order.push_back(key);
        }
        next
    }
}

/// The right to begin one call; the next one has it when this is dropped.
#[derive(Debug)]
pub struct Turn(Option<Turns>);

impl Turns {
    /// Waits for a turn on behalf of `whose`.
    ///
    /// # Errors
    /// Where too many calls of this user wait already.
    pub(super) async fn take(&self, whose: Whose) -> Result<Turn, Refused> {
        let waiting = {
            let mut queues = self.0.lock();
            if queues.taken < TURNS {
                queues.taken += 1;
                return Ok(Turn(Some(self.clone())));
            }
            queues.join(whose)?
        };
        waiting.await.map_err(|_never_dropped| Refused::NotServing)
    }

    /// Hands the turn to the first call of the payer whose turn it is.
    fn pass_on(&self) {
        loop {
            let mut queues = self.0.lock();
            let Some(next) = queues.next() else {
                queues.taken -= 1;
                return;
            };
            drop(queues);
            match next.send(Turn(Some(self.clone()))) {
                Ok(()) => return,
                // The caller has gone; its turn is the next one's.
                Err(mut turn) => drop(turn.0.take()),
            }
        }
    }
}

impl Queues {
    fn join(&mut self, whose: Whose) -> Result<oneshot::Receiver<Turn>, Refused> {
        let user = self.users.queue(whose.uid);
        if user.waiting >= MAX_WAITING {
            return Err(Refused::Overloaded("waiting calls"));
        }
        user.waiting += 1;
        let (sender, receiver) = oneshot::channel();
        user.cgroups.queue(whose.cgroup).push_back(sender);
        Ok(receiver)
    }

    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        self.users.next(|user| {
            let next = user.cgroups.next(|queue| {
                let next = queue.pop_front();
                (next, queue.is_empty())
            });
            user.waiting -= usize::from(next.is_some());
            (next, user.waiting == 0)
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.0.take() {
            turns.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_WAITING, TURNS, Turn, Turns};
    use crate::workloads::quota::Whose;
    use futures_util::{FutureExt as _, future::BoxFuture};

    const FLOOD: Whose = Whose {
        uid: 1,
        cgroup: Some(7),
    };
    const NEIGHBOUR: Whose = Whose {
        uid: 1,
        cgroup: Some(8),
    };
    const OTHER: Whose = Whose {
        uid: 2,
        cgroup: None,
    };

    fn ask(turns: &Turns, whose: Whose) -> BoxFuture<'static, Turn> {
        let turns = turns.clone();
        let mut asked = async move { turns.take(whose).await.unwrap() }.boxed();
        match (&mut asked).now_or_never() {
            Some(turn) => async move { turn }.boxed(),
            None => asked,
        }
    }

    fn granted(asked: &mut BoxFuture<'static, Turn>) -> Option<Turn> {
        asked.now_or_never()
    }

    #[test]
    fn payers_take_turns() {
        let turns = Turns::default();
        let mut running: Vec<_> = (0..TURNS)
            .map(|_| granted(&mut ask(&turns, FLOOD)).unwrap())
            .collect();
        let mut flood: Vec<_> = (0..10).map(|_| ask(&turns, FLOOD)).collect();
        let mut other = ask(&turns, OTHER);
        assert!(granted(&mut other).is_none());
        running.truncate(TURNS - 2);
        let first = granted(&mut flood[0]);
        assert!(first.is_some() && granted(&mut flood[1]).is_none());
        assert!(granted(&mut other).is_some());
    }

    #[test]
    fn a_caller_that_has_gone_is_passed_over() {
        let turns = Turns::default();
        let running: Vec<_> = (0..TURNS)
            .map(|_| granted(&mut ask(&turns, FLOOD)).unwrap())
            .collect();
        let gone = ask(&turns, FLOOD);
        let mut waits = ask(&turns, FLOOD);
        drop(gone);
        drop(running);
        assert!(granted(&mut waits).is_some());
        let queues = turns.0.lock();
        assert!(queues.users.queues.is_empty() && queues.users.order.is_empty());
    }

    #[test]
    fn many_cgroups_are_one_user() {
        let turns = Turns::default();
        let running: Vec<_> = (0..TURNS)
            .map(|_| granted(&mut ask(&turns, FLOOD)).unwrap())
            .collect();
        let mut flood: Vec<_> = (100..110)
            .map(|id| {
                let cgroup = Some(id);
                ask(&turns, Whose { cgroup, ..FLOOD })
            })
            .collect();
        let mut neighbour = ask(&turns, NEIGHBOUR);
        let mut other = ask(&turns, OTHER);
        let mut running = running.into_iter();
        drop(running.next());
        let _first = granted(&mut flood[0]).unwrap();
        drop(running.next());
        assert!(granted(&mut other).is_some());
        assert!(granted(&mut neighbour).is_none());
    }

    #[test]
    fn turns_come_back() {
        let turns = Turns::default();
        for _ in 0..3 {
            let all: Vec<_> = (0..TURNS)
                .map(|_| granted(&mut ask(&turns, OTHER)).unwrap())
                .collect();
            drop(all);
            assert_eq!(turns.0.lock().taken, 0);
        }
    }

    #[test]
    fn a_payer_waits_with_so_many_calls_and_no_more() {
        let turns = Turns::default();
        let _running: Vec<_> = (0..TURNS)
            .map(|_| granted(&mut ask(&turns, FLOOD)).unwrap())
            .collect();
        let _flood: Vec<_> = (0..MAX_WAITING).map(|_| ask(&turns, FLOOD)).collect();
        let refused = turns.take(FLOOD).now_or_never().unwrap();
        refused.unwrap_err();
        assert!(turns.take(OTHER).now_or_never().is_none());
    }
}
