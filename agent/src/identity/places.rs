//! How many connections the port has, in all and of each peer.

use parking_lot::Mutex;
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

/// The bits of an IPv6 address that one subscriber cannot choose.
const NETWORK_BITS: u32 = 64;

/// Caps of connections.
#[derive(Clone, Copy, Debug)]
pub struct PlaceLimits {
    /// In all.
    pub connections: usize,
    /// Of one address, or of one IPv6 network of 64 bits.
    pub per_address: usize,
}

/// Counts the connections of each peer; there are never more peers than connections.
#[derive(Debug)]
pub(super) struct Places {
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
    per_address: usize,
}

/// One connection's place, until dropped.
#[derive(Debug)]
pub(super) struct Place {
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
    peer: IpAddr,
}

impl Places {
    pub(super) fn new(per_address: usize) -> Self {
        Self {
            taken: Arc::default(),
            per_address,
        }
    }

    /// A place for a connection of `address`; `None` where it has its share.
    pub(super) fn take(&self, address: IpAddr) -> Option<Place> {
        let peer = whose(address);
        let mut taken = self.taken.lock();
        let count = taken.entry(peer).or_default();
        if *count >= self.per_address {
            return None;
        }
        *count += 1;
        drop(taken);
        Some(Place {
            taken: Arc::clone(&self.taken),
            peer,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        if let Some(count) = taken.get_mut(&self.peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.remove(&self.peer);
            }
        }
    }
}

/// Who pays for a connection.
fn whose(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() >> NETWORK_BITS << NETWORK_BITS;
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::Places;

    #[test]
    fn a_peer_has_its_share_and_others_have_theirs() {
        let places = Places::new(2);
        let take = |address: &str| places.take(address.parse().unwrap());
        let (first, second) = (take("192.0.2.1"), take("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some());
        assert!(take("192.0.2.1").is_none());
        let other = take("192.0.2.2");
        assert!(other.is_some());
        drop(second);
        assert!(take("192.0.2.1").is_some());
        drop((first, other));
        assert!(places.taken.lock().is_empty());
    }

    #[test]
    fn an_ipv6_network_is_one_peer() {
        let places = Places::new(1);
        let take = |address: &str| places.take(address.parse().unwrap());
        let _held = take("2001:db8::1").unwrap();
        assert!(take("2001:db8::ffff:ffff:ffff:ffff").is_none());
        assert!(take("2001:db8:0:1::1").is_some());
    }
}
