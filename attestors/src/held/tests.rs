use super::{LOWEST, Place, likely, networks::Networks, sees_own_pair};
use crate::{namespaces::NamespaceId, proof::Held};
use rustix::{fd::OwnedFd, io::Errno, thread::UnshareFlags};
use std::{fs::File, thread};

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

#[test]
fn a_socket_in_another_network_goes_with_the_last_connection_from_there() {
    let Some(namespaces) = namespaces(2) else {
        return;
    };
    let networks = Networks::default();
    let open = |handle: &OwnedFd| {
        let id = NamespaceId::of_handle(handle).unwrap();
        networks.open(id, handle.try_clone().unwrap()).unwrap()
    };
    let (diag, one) = open(&namespaces[0]);
    let (_, other) = open(&namespaces[1]);
    assert_eq!(diag.peer(1).unwrap_err(), Errno::NOENT);
    assert_eq!(networks.others(), 2);
    let id = NamespaceId::of_handle(&namespaces[0]).unwrap();
    let (_, again) = networks.known(id).unwrap();
    drop(one);
    assert_eq!(networks.others(), 2);
    drop(again);
    assert_eq!(networks.others(), 1);
    assert!(networks.known(id).is_none());
    drop(other);
    assert_eq!(networks.others(), 0);
}

#[test]
fn the_socket_used_least_recently_makes_room() {
    let Some(namespaces) = namespaces(3) else {
        return;
    };
    let networks = Networks::with_room_for(2);
    let id = |at: usize| NamespaceId::of_handle(&namespaces[at]).unwrap();
    let open = |at: usize| networks.open(id(at), namespaces[at].try_clone().unwrap());
    let leases = (open(0).unwrap(), open(1).unwrap());
    networks.known(id(0)).unwrap();
    let third = open(2).unwrap();
    assert_eq!(networks.others(), 2);
    assert!(networks.known(id(1)).is_none());
    assert!(networks.known(id(0)).is_some() && networks.known(id(2)).is_some());
    // The lease of one that had to go takes nothing of another's with it.
    drop(leases.1);
    assert_eq!(networks.others(), 2);
    drop((leases.0, third));
    assert_eq!(networks.others(), 0);
}
