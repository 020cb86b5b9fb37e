use super::{Entry, Ring, Step, Timing};
use std::time::Duration;

const TIMING: Timing = Timing {
    ttl: Duration::from_secs(1000),
    overlap: Duration::from_secs(50),
};

fn entry(generation: u64, published_at: u64) -> Entry {
    Entry {
        generation,
        published_at,
        not_before: published_at,
        not_after: published_at + 1000,
        longest_svid: 100,
        retired_at: None,
        operator: false,
        certificates: Vec::new(),
    }
}

fn ring(active: u64, entries: &[(u64, u64)]) -> Ring {
    Ring {
        active,
        entries: entries.iter().map(|(g, at)| entry(*g, *at)).collect(),
    }
}

const fn activate(generation: u64, early: bool) -> Option<Step> {
    Some(Step::Activate { generation, early })
}

#[test]
fn the_first_authority_signs_at_once() {
    assert_eq!(Ring::default().next_step(0, TIMING), Some(Step::Replace));
}

#[test]
fn the_next_authority_is_prepared_at_half_life() {
    let ring = ring(1, &[(1, 5000)]);
    for (now, step) in [
        (5000, None),
        (5499, None),
        (5500, Some(Step::Prepare)),
        (5999, Some(Step::Prepare)),
    ] {
        assert_eq!(ring.next_step(now, TIMING), step, "{now}");
    }
}

#[test]
fn a_shorter_life_in_the_configuration_counts_at_once() {
    let ring = ring(1, &[(1, 5000)]);
    let shorter = Timing {
        ttl: Duration::from_secs(400),
        ..TIMING
    };
    assert_eq!(ring.next_step(5199, shorter), None);
    assert_eq!(ring.next_step(5200, shorter), Some(Step::Prepare));
}

#[test]
fn a_prepared_authority_signs_only_when_verifiers_know_it() {
    let ring = ring(1, &[(1, 5000), (2, 5500)]);
    for (now, step) in [(5500, None), (5549, None), (5550, activate(2, false))] {
        assert_eq!(ring.next_step(now, TIMING), step, "{now}");
    }
}

#[test]
fn an_expired_authority_is_followed_at_once() {
    let prepared = ring(1, &[(1, 5000), (2, 5990)]);
    assert_eq!(prepared.next_step(6000, TIMING), activate(2, true));
    let alone = ring(1, &[(1, 5000)]);
    assert_eq!(alone.next_step(6000, TIMING), Some(Step::Replace));
}

#[test]
fn a_clock_that_is_set_back_and_forward_again_ends_where_it_was() {
    let mut ring = ring(1, &[(1, 5000)]);
    // Back before the authority's time: another one signs.
    assert_eq!(ring.next_step(1000, TIMING), Some(Step::Replace));
    ring.entries.push(entry(2, 1000));
    ring.activate(2, 1000);
    assert_eq!(ring.next_step(1000, TIMING), None);
    // Forward again: the first one does.
    assert_eq!(ring.next_step(5100, TIMING), activate(1, false));
    ring.activate(1, 5100);
    assert_eq!(ring.next_step(5100, TIMING), None);
    assert_eq!(ring.removable(5100).collect::<Vec<_>>(), [2]);
}

#[test]
fn an_authority_from_the_future_does_not_hinder_the_rotation() {
    let ring = ring(1, &[(1, 5000), (2, 9000)]);
    assert_eq!(ring.next_step(5100, TIMING), None);
    assert_eq!(ring.next_step(6000, TIMING), Some(Step::Replace));
}

#[test]
fn a_retired_authority_stays_until_all_it_signed_has_expired() {
    let mut ring = ring(1, &[(1, 5000), (2, 5500)]);
    ring.activate(2, 5550);
    let removable = |ring: &Ring, now| ring.removable(now).collect::<Vec<_>>();
    assert_eq!(removable(&ring, 5649), [0_u64; 0]);
    assert_eq!(removable(&ring, 5650), [1]);
    // Nothing outlives the authority itself.
    ring.entries[0].longest_svid = 100_000;
    assert_eq!(removable(&ring, 5999), [0_u64; 0]);
    assert_eq!(removable(&ring, 6000), [1]);
}

#[test]
fn the_active_authority_is_never_removed() {
    let ring = ring(1, &[(1, 5000)]);
    assert_eq!(ring.removable(u64::MAX).count(), 0);
}

#[test]
fn an_operators_authority_is_not_taken_up_without_its_key() {
    let mut ring = ring(2, &[(1, 5000), (2, 5100)]);
    ring.entries[1].operator = true;
    assert_eq!(ring.next_step(5200, TIMING), activate(1, false));
    ring.entries[0].operator = true;
    assert_eq!(ring.next_step(5200, TIMING), Some(Step::Replace));
}
