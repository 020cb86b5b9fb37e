use super::{MAX_REMEMBERED, Payer, Quota, QuotaLimits};
use std::{sync::Arc, time::Duration};

const POD: Option<u64> = Some(7);

fn limits() -> QuotaLimits {
    QuotaLimits {
        max_connections: 5,
        max_connections_per_uid: 4,
        max_connections_per_cgroup: 2,
        max_handshakes: 5,
        max_handshakes_per_payer: 5,
        calls_per_second: 100,
        connections_per_second: 10_000,
    }
}

fn quota() -> Arc<Quota> {
    Quota::new(limits())
}

#[tokio::test(start_paused = true)]
async fn a_cgroup_leaves_its_user_the_rest() {
    let quota = quota();
    let first = quota.connect(0, POD).unwrap();
    let _second = quota.connect(0, POD).unwrap();
    quota.connect(0, POD).unwrap_err();
    let _other_pod = quota.connect(0, Some(8)).unwrap();
    drop(first);
    quota.connect(0, POD).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_user_leaves_the_others_the_rest() {
    let quota = quota();
    let held: Vec<_> = (0..4).map(|n| quota.connect(1, Some(n)).unwrap()).collect();
    quota.connect(1, Some(9)).unwrap_err();
    let _other = quota.connect(2, None).unwrap();
    quota.connect(3, None).unwrap_err();
    drop(held);
    quota.connect(3, None).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_refusal_takes_nothing() {
    let quota = quota();
    let _held: Vec<_> = (0..2).map(|_| quota.connect(1, POD).unwrap()).collect();
    for _ in 0..10 {
        quota.connect(1, POD).unwrap_err();
    }
    let _rest: Vec<_> = (0..2).map(|n| quota.connect(1, Some(n)).unwrap()).collect();
}

#[tokio::test(start_paused = true)]
async fn handshakes_have_a_cap_of_their_own() {
    let quota = Quota::new(QuotaLimits {
        max_handshakes_per_payer: 1,
        ..limits()
    });
    let first = quota.connect(1, None).unwrap();
    quota.connect(1, None).unwrap_err();
    first.end_handshake();
    first.end_handshake();
    let _second = quota.connect(1, None).unwrap();
    quota.connect(1, None).unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn calls_have_a_rate_that_reconnecting_does_not_reset() {
    let quota = quota();
    let call = || {
        let place = quota.connect(1, POD).unwrap();
        let begun = place.begin_call();
        if begun.is_ok() {
            place.end_call();
        }
        begun.is_ok()
    };
    assert_eq!((0..300).filter(|_| call()).count(), 50, "half for a cgroup");
    tokio::time::advance(Duration::from_millis(100)).await;
    assert_eq!((0..300).filter(|_| call()).count(), 5);
    let neighbour = quota.connect(1, Some(8)).unwrap();
    neighbour.begin_call().unwrap();
    let other = quota.connect(2, None).unwrap();
    other.begin_call().unwrap();
}

#[tokio::test(start_paused = true)]
async fn open_calls_are_capped_and_come_back() {
    let quota = quota();
    let place = quota.connect(1, POD).unwrap();
    // Twice the cgroup's connections.
    for _ in 0..4 {
        place.begin_call().unwrap();
    }
    place.begin_call().unwrap_err();
    place.end_call();
    place.begin_call().unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_is_gone_is_forgotten() {
    let quota = quota();
    for uid in 0..10_000 {
        let place = quota.connect(uid, None).unwrap();
        place.begin_call().unwrap();
        place.end_call();
        drop(place);
        tokio::time::advance(Duration::from_millis(20)).await;
    }
    assert!(quota.accounts.lock().len() <= MAX_REMEMBERED + 2);
}

#[tokio::test(start_paused = true)]
async fn processes_count_also_without_a_connection() {
    let quota = quota();
    let process = || quota.connect(1, POD).unwrap().process();
    let held: Vec<_> = (0..2).map(|_| process().unwrap()).collect();
    process().unwrap_err();
    drop(held);
    process().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_knock_is_refused_where_a_connection_would_be() {
    let quota = quota();
    quota.knock(Payer::User(1)).unwrap();
    assert!(quota.accounts.lock().is_empty());
    let mut held = Vec::new();
    for cgroup in 0..4 {
        quota.knock(Payer::User(1)).unwrap();
        held.push(quota.connect(1, Some(cgroup)).unwrap());
    }
    quota.knock(Payer::User(1)).unwrap_err();
    quota.connect(1, None).unwrap_err();
    quota.knock(Payer::User(2)).unwrap();
    quota.knock(Payer::Cgroup(3)).unwrap();
    held.pop();
    quota.knock(Payer::User(1)).unwrap();
}

/// Users are as many as a pod may make up; its cgroup is one.
#[tokio::test(start_paused = true)]
async fn a_knock_is_refused_where_the_cgroup_has_no_room_whoever_the_user_is() {
    let quota = quota();
    let connections = (1..).map_while(|uid| quota.connect(uid, Some(7)).ok());
    let held: Vec<_> = connections.collect();
    assert!(!held.is_empty());
    quota.knock(Payer::Cgroup(7)).unwrap_err();
    quota.knock(Payer::User(1000)).unwrap();
    quota.knock(Payer::Cgroup(8)).unwrap();
    drop(held);
    quota.knock(Payer::Cgroup(7)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_knock_heeds_the_rate_and_does_not_count() {
    let quota = Quota::new(QuotaLimits {
        connections_per_second: 2,
        ..limits()
    });
    for _ in 0..10 {
        quota.knock(Payer::User(1)).unwrap();
    }
    drop((
        quota.connect(1, None).unwrap(),
        quota.connect(1, None).unwrap(),
    ));
    quota.knock(Payer::User(1)).unwrap_err();
    tokio::time::advance(Duration::from_secs(1)).await;
    quota.knock(Payer::User(1)).unwrap();
}
