use super::{
    diag::{Diag, SocketId},
    kept::{Kept, Lease},
    search::{LOWEST, Place, likely},
    sees_own_pair,
};
use crate::{namespaces::NamespaceId, proof::Held, turns::Payer};
use rustix::{fd::OwnedFd, io::Errno, thread::UnshareFlags};
use std::{fs::File, sync::Arc, thread};

#[test]
fn both_ends_of_the_table_are_likely_and_each_number_once() {
    for open in [0, 3, 15, 16, 40, 1000, u32::MAX - 8] {
        let numbers: Vec<_> = likely(open).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{open}: {numbers:?}");
        assert!(numbers.len() <= 32 && numbers.len() >= LOWEST as usize);
        // A table without gaps.
        assert!(open == 0 || numbers.contains(&(open - 1)), "{open}");
    }
}

#[test]
fn an_inheritable_standard_stream_is_the_weakest_of_all() {
    let place = |number, close_on_exec| Place {
        number,
        close_on_exec,
    };
    assert_eq!(
        place(7, true).weaker(place(7, false)).verdict(),
        Held::Inheritable
    );
    assert_eq!(place(0, true).verdict(), Held::CloseOnExec);
    let mixed = place(3, false)
        .weaker(place(2, false))
        .weaker(place(9, true));
    assert!(matches!(mixed.verdict(), Held::Not(_)));
}

#[test]
fn a_pair_of_our_own_tells() {
    assert!(sees_own_pair() || std::env::var_os("REQUIRE_ALL_TESTS").is_none());
}

/// Handles of new network namespaces, where the tests may make some.
fn namespaces(count: usize) -> Option<Vec<OwnedFd>> {
    let make = move || -> Result<Vec<OwnedFd>, Errno> {
        let one = |_| {
            #[expect(deprecated, reason = "the flag given leaves memory as it is")]
            rustix::thread::unshare(UnshareFlags::NEWNET)?;
            Ok(File::open("/proc/thread-self/ns/net").unwrap().into())
        };
        (0..count).map(one).collect()
    };
    let made = thread::spawn(make).join().unwrap().ok();
    let required = std::env::var_os("REQUIRE_ALL_TESTS").is_some_and(|value| value == "1");
    assert!(made.is_some() || !required, "CAP_SYS_ADMIN is needed");
    if made.is_none() {
        eprintln!("SKIPPED a test of network namespaces: CAP_SYS_ADMIN is needed");
    }
    made
}

const ALICE: Payer = Payer {
    user: 1,
    cgroup: None,
};
const BOB: Payer = Payer { user: 2, ..ALICE };

fn id(handle: &OwnedFd) -> NamespaceId {
    NamespaceId::of_handle(handle).unwrap()
}

/// On a thread of its own, which stays there.
fn open(kept: &Kept, handle: &OwnedFd, payer: Payer) -> (Arc<Diag>, Arc<Lease>) {
    thread::scope(|scope| {
        let opened = scope.spawn(|| kept.open(id(handle), handle, payer).unwrap());
        opened.join().unwrap()
    })
}

#[test]
fn a_socket_in_another_network_goes_with_the_last_connection_from_there() {
    let Some(namespaces) = namespaces(2) else {
        return;
    };
    let kept = Kept::default();
    let (diag, one) = open(&kept, &namespaces[0], ALICE);
    let (_, other) = open(&kept, &namespaces[1], ALICE);
    assert_eq!(
        diag.peer(SocketId::with_inode(1)).unwrap_err(),
        Errno::NOENT
    );
    assert_eq!(kept.count(), 2);
    let (_, again) = kept.known(id(&namespaces[0])).unwrap();
    drop(one);
    assert_eq!(kept.count(), 2);
    drop(again);
    assert_eq!(kept.count(), 1);
    assert!(kept.known(id(&namespaces[0])).is_none());
    drop(other);
    assert_eq!(kept.count(), 0);
}

#[test]
fn who_opens_a_socket_where_one_is_kept_gets_that() {
    let Some(namespaces) = namespaces(1) else {
        return;
    };
    let kept = Kept::default();
    let (first, lease) = open(&kept, &namespaces[0], ALICE);
    let (second, again) = open(&kept, &namespaces[0], BOB);
    assert!(Arc::ptr_eq(&first, &second) && Arc::ptr_eq(&lease, &again));
    assert_eq!(kept.count(), 1);
}

#[test]
fn the_socket_used_least_recently_makes_room() {
    let Some(namespaces) = namespaces(3) else {
        return;
    };
    let kept = Kept::at_most(2);
    let is_known = |at: usize| kept.known(id(&namespaces[at])).is_some();
    let leases = (
        open(&kept, &namespaces[0], ALICE),
        open(&kept, &namespaces[1], ALICE),
    );
    assert!(is_known(0));
    let third = open(&kept, &namespaces[2], ALICE);
    assert_eq!(kept.count(), 2);
    assert!(!is_known(1) && is_known(0) && is_known(2));
    // The lease of one that had to go takes nothing of another's with it.
    drop(leases.1);
    assert_eq!(kept.count(), 2);
    drop((leases.0, third));
    assert_eq!(kept.count(), 0);
}

#[test]
fn a_user_who_makes_a_hundred_networks_takes_the_place_of_his_own() {
    let Some(namespaces) = namespaces(102) else {
        return;
    };
    let kept = Kept::default();
    let [bobs, next, many @ ..] = &*namespaces else {
        panic!("there are more");
    };
    let held = open(&kept, bobs, BOB);
    let many: Vec<_> = many
        .iter()
        .map(|one| (id(one), open(&kept, one, ALICE)))
        .collect();
    assert_eq!(kept.count(), 64);
    assert!(kept.known(id(bobs)).is_some());
    let (first, last) = (many[0].0, many[99].0);
    assert!(kept.known(first).is_none() && kept.known(last).is_some());
    // There is room for the others at once.
    let another = open(&kept, next, BOB);
    assert!(kept.known(id(bobs)).is_some() && kept.known(id(next)).is_some());
    assert_eq!(kept.count(), 64);
    drop((held, another));
    assert_eq!(kept.count(), 62);
}

#[test]
fn of_pods_that_share_a_user_the_one_with_most_makes_room() {
    let Some(namespaces) = namespaces(5) else {
        return;
    };
    let kept = Kept::at_most(4);
    let of_pod = |cgroup| Payer {
        cgroup: Some(cgroup),
        ..ALICE
    };
    let payers = [of_pod(7), of_pod(8), of_pod(8), of_pod(8), BOB];
    let open = |(handle, payer)| open(&kept, handle, payer);
    let _opened: Vec<_> = std::iter::zip(&namespaces, payers).map(open).collect();
    let known = namespaces.iter().map(|one| kept.known(id(one)).is_some());
    let known: Vec<_> = known.collect();
    assert_eq!(known, [true, false, true, true, true]);
}
