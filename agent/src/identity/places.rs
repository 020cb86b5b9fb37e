//! How many connections the port has, in all and of each peer.

use parking_lot::Mutex;
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

/// The bits of an IPv6 address that one link cannot choose.
const LINK_BITS: u32 = 64;

/// The bits of an IPv6 address that no subscriber can choose.
const WIDE_BITS: u32 = 48;

/// The same of IPv4, where it is neighbours that share them.
const WIDE_BITS_V4: u32 = 24;

/// The part of all places that a wide network may have.
const WIDE_PART: usize = 4;

/// Caps of connections.
#[derive(Clone, Copy, Debug)]
pub struct PlaceLimits {
    /// In all.
    pub connections: usize,
    /// Of one address, or of one IPv6 network of 64 bits. A wide network (48 bits, or 24 of IPv4)
    /// may have a quarter of all, or as many as this if that is more.
    pub per_address: usize,
}

/// Counts the connections of each peer and of its wide network; there are never more of either
/// than connections.
#[derive(Debug)]
pub(super) struct Places {
    taken: Arc<Mutex<Taken>>,
    per_address: usize,
    per_network: usize,
}

#[derive(Debug, Default)]
struct Taken {
    peers: Counts,
    networks: Counts,
}

#[derive(Debug, Default)]
struct Counts(HashMap<IpAddr, usize>);

/// One connection's place, until dropped.
#[derive(Debug)]
pub(super) struct Place {
    taken: Arc<Mutex<Taken>>,
    peer: IpAddr,
    network: IpAddr,
}

impl Places {
    pub(super) fn new(limits: PlaceLimits) -> Self {
        Self {
            taken: Arc::default(),
            per_address: limits.per_address,
            // Behind a proxy all are of one address: that is the operator's to allow.
            per_network: limits.per_address.max(limits.connections / WIDE_PART),
        }
    }

    /// A place for a connection of `address`; `None` where it or its network has its share.
    pub(super) fn take(&self, address: IpAddr) -> Option<Place> {
        let (peer, network) = whose(address);
        let mut taken = self.taken.lock();
        if taken.peers.of(peer) >= self.per_address
            || taken.networks.of(network) >= self.per_network
        {
            return None;
        }
        taken.peers.add(peer);
        taken.networks.add(network);
        drop(taken);
        Some(Place {
            taken: Arc::clone(&self.taken),
            peer,
            network,
        })
    }
}

impl Counts {
    fn of(&self, whose: IpAddr) -> usize {
        self.0.get(&whose).copied().unwrap_or_default()
    }

    fn add(&mut self, whose: IpAddr) {
        *self.0.entry(whose).or_default() += 1;
    }

    fn give_back(&mut self, whose: IpAddr) {
        if let Some(count) = self.0.get_mut(&whose) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.0.remove(&whose);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        taken.peers.give_back(self.peer);
        taken.networks.give_back(self.network);
    }
}

/// Who pays for a connection, and the wide network that does so, too.
fn whose(address: IpAddr) -> (IpAddr, IpAddr) {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = |bits| {
                let rest = u128::BITS - bits;
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> rest << rest))
            };
            (network(LINK_BITS), network(WIDE_BITS))
        }
        IpAddr::V4(address) => {
            let rest = u32::BITS - WIDE_BITS_V4;
            let network = Ipv4Addr::from_bits(address.to_bits() >> rest << rest);
            (IpAddr::V4(address), IpAddr::V4(network))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PlaceLimits, Places};

    fn places(connections: usize, per_address: usize) -> Places {
        Places::new(PlaceLimits {
            connections,
            per_address,
        })
    }

    #[test]
    fn a_peer_has_its_share_and_others_have_theirs() {
        let places = places(16, 2);
        let take = |address: &str| places.take(address.parse().unwrap());
        let (first, second) = (take("192.0.2.1"), take("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some());
        assert!(take("192.0.2.1").is_none());
        let other = take("192.0.2.2");
        assert!(other.is_some());
        drop(second);
        assert!(take("192.0.2.1").is_some());
        drop((first, other));
        let taken = places.taken.lock();
        assert!(taken.peers.0.is_empty() && taken.networks.0.is_empty());
    }

    #[test]
    fn an_ipv6_network_is_one_peer() {
        let places = places(16, 1);
        let take = |address: &str| places.take(address.parse().unwrap());
        let _held = take("2001:db8::1").unwrap();
        assert!(take("2001:db8::ffff:ffff:ffff:ffff").is_none());
        assert!(take("2001:db8:0:1::1").is_some());
    }

    #[test]
    fn a_wide_network_has_a_quarter_of_all_places() {
        let places = places(8, 1);
        let take = |address: &str| places.take(address.parse().unwrap());
        for (one, two, three, other) in [
            (
                "2001:db8:0:1::1",
                "2001:db8:0:2::1",
                "2001:db8:0:ff00::1",
                "2001:db8:1::1",
            ),
            ("192.0.2.1", "192.0.2.2", "192.0.2.255", "192.0.3.1"),
        ] {
            let (first, _second) = (take(one).unwrap(), take(two).unwrap());
            assert!(take(three).is_none(), "{three}");
            assert!(take(other).is_some(), "{other}");
            drop(first);
            assert!(take(three).is_some(), "{three}");
        }
    }

    #[test]
    fn what_one_address_may_have_its_network_may_have() {
        let places = places(8, 6);
        let take = || places.take("192.0.2.1".parse().unwrap());
        let held: Vec<_> = (0..6).map(|_| take().unwrap()).collect();
        assert!(take().is_none());
        assert_eq!(held.len(), 6);
    }
}
