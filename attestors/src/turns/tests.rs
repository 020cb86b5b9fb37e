use super::{Crowded, FairTurns, MAX_WAITING, MAX_WAITING_PER_USER, Payer, Turn};
use futures_util::{FutureExt as _, future::BoxFuture};
use proptest::prelude::*;

type Asked = BoxFuture<'static, Result<Turn, Crowded>>;

/// A caller that has taken its place, if not its turn.
fn ask(turns: &FairTurns, payer: impl Into<Payer>) -> Asked {
    let (turns, payer) = (turns.clone(), payer.into());
    let mut asked = async move { turns.take(payer).await }.boxed();
    match (&mut asked).now_or_never() {
        Some(answer) => async move { answer }.boxed(),
        None => asked,
    }
}

fn granted(asked: &mut Asked) -> Option<Turn> {
    asked.now_or_never().map(Result::unwrap)
}

#[test]
fn a_flood_of_one_user_has_his_share_alone() {
    let turns = FairTurns::new(16, 4);
    let mut flood: Vec<_> = (0..1000).map(|_| ask(&turns, 1)).collect();
    let mut held: Vec<_> = flood[..4]
        .iter_mut()
        .map(|asked| granted(asked).unwrap())
        .collect();
    assert!(
        flood[4..4 + MAX_WAITING_PER_USER]
            .iter_mut()
            .all(|asked| granted(asked).is_none())
    );
    let refused = (&mut flood[4 + MAX_WAITING_PER_USER]).now_or_never();
    assert_eq!(refused.unwrap().unwrap_err(), Crowded);
    for user in 2..5 {
        held.extend((0..4).map(|_| granted(&mut ask(&turns, user)).unwrap()));
    }
    assert!(granted(&mut ask(&turns, 5)).is_none(), "all are taken");
}

#[test]
fn a_user_who_comes_after_a_flood_is_next() {
    let turns = FairTurns::new(2, 2);
    let mut running = [ask(&turns, 1), ask(&turns, 1)].map(|mut asked| granted(&mut asked));
    let mut flood: Vec<_> = (0..200).map(|_| ask(&turns, 1)).collect();
    let mut others: Vec<_> = (2..5).map(|user| ask(&turns, user)).collect();
    for other in &mut others {
        drop(running[0].take());
        running[0] = granted(other);
        assert!(running[0].is_some());
    }
    assert!(granted(&mut flood[0]).is_none());
    running = [None, None];
    assert!(granted(&mut flood[0]).is_some());
    drop(running);
}

#[test]
fn a_users_cgroups_take_the_users_turns() {
    let turns = FairTurns::new(1, 1);
    let of = |cgroup| Payer {
        user: 0,
        cgroup: Some(cgroup),
    };
    let running = granted(&mut ask(&turns, of(1))).unwrap();
    let mut asked: Vec<_> = [of(1), of(1), of(2), of(3), Payer::from(7)]
        .map(|payer| ask(&turns, payer))
        .into();
    drop(running);
    for next in [4, 0, 2, 3, 1] {
        let served: Vec<_> = asked.iter_mut().map(granted).collect();
        let served: Vec<_> = served.iter().map(Option::is_some).collect();
        assert_eq!(served.iter().position(|is| *is), Some(next));
        asked[next] = futures_util::future::pending().boxed();
    }
    assert!(turns.are_idle());
}

#[test]
fn who_gives_up_leaves_no_trace() {
    let turns = FairTurns::new(1, 1);
    let running = granted(&mut ask(&turns, 1)).unwrap();
    let gone = ask(&turns, 1);
    let mut waits = ask(&turns, 1);
    let gone_too = ask(&turns, 2);
    drop((gone, gone_too));
    assert_eq!(turns.0.lock().users.len(), 1);
    drop(running);
    drop(granted(&mut waits).unwrap());
    assert!(turns.are_idle());
    // A turn that was granted and never seen comes back.
    let running = granted(&mut ask(&turns, 1)).unwrap();
    let unseen = ask(&turns, 2);
    drop(running);
    drop(unseen);
    assert!(turns.are_idle() && turns.0.lock().free == 1);
}

#[test]
fn all_who_wait_are_bounded_and_a_user_still_gets_in() {
    let turns = FairTurns::new(1, 1);
    let _running = granted(&mut ask(&turns, 0)).unwrap();
    let users = u32::try_from(MAX_WAITING / MAX_WAITING_PER_USER).unwrap();
    let flood = (1..=users).flat_map(|user| [user; MAX_WAITING_PER_USER]);
    let _flood: Vec<_> = flood.map(|user| ask(&turns, user)).collect();
    let mut late = ask(&turns, users + 1);
    assert!(granted(&mut late).is_none());
    let refused = ask(&turns, users + 1).now_or_never().unwrap();
    assert_eq!(refused.unwrap_err(), Crowded);
    assert_eq!(turns.0.lock().waiting, MAX_WAITING + 1);
}

proptest! {
    #[test]
    fn turns_are_neither_lost_nor_made(steps in prop::collection::vec((0..4_u32, 0..3_u64, 0..8_usize), 1..200)) {
        let turns = FairTurns::new(3, 2);
        let mut asked: Vec<Option<Asked>> = Vec::new();
        let mut held: Vec<Turn> = Vec::new();
        for (user, cgroup, choice) in steps {
            match choice {
                0..4 => asked.push(Some(ask(&turns, Payer { user, cgroup: Some(cgroup) }))),
                4..6 if !held.is_empty() => drop(held.remove(choice % held.len())),
                _ if !asked.is_empty() => {
                    let index = usize::try_from(cgroup).unwrap() * choice % asked.len();
                    asked.swap_remove(index);
                }
                _ => {}
            }
            for slot in &mut asked {
                if let Some(turn) = slot.as_mut().and_then(granted) {
                    held.push(turn);
                    *slot = None;
                }
            }
            asked.retain(Option::is_some);
            let queues = turns.0.lock();
            prop_assert_eq!(queues.free + held.len(), 3);
            prop_assert_eq!(queues.waiting, asked.len());
            let could = queues.users.iter().filter(|(_, of)| of.waiting > 0 && of.held < 2);
            prop_assert_eq!(could.count(), queues.order.len());
            prop_assert!(queues.free == 0 || queues.order.is_empty());
            prop_assert!(queues.users.values().all(|of| of.held <= 2 && of.held + of.waiting > 0));
        }
        drop((held, asked));
        prop_assert!(turns.are_idle() && turns.0.lock().free == 3);
    }
}
