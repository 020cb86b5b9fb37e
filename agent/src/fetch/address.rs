//! Which addresses are public, and which are nobody's to ask.
//!
//! The tables are those of RFC 6890 as IANA keeps them (special-purpose address registries), with
//! the addresses where cloud providers serve credentials to whoever asks.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// How far an address may be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// By anybody.
    Public,
    /// Only where the operator lists it; why.
    Listed(&'static str),
    /// By nobody; why.
    Never(&'static str),
}

/// A range of addresses, as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether an address, in canonical form, is of this network.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => starts_alike(
                bits4(network),
                bits4(address),
                self.prefix.saturating_add(96),
            ),
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                starts_alike(network.to_bits(), address.to_bits(), self.prefix)
            }
            _ => false,
        }
    }

    /// Whether all of its addresses are out of reach, whatever is listed.
    #[must_use]
    pub fn is_never(&self) -> bool {
        let never = |entry: &Entry| {
            let whole = entry.network();
            matches!(entry.reach, Reach::Never(_))
                && whole.prefix <= self.prefix
                && whole.contains(self.address)
        };
        IPV4.iter().any(never) || IPV6.iter().any(never)
    }
}

impl FromStr for Network {
    type Err = ();

    /// An address alone is a network of one. Bits behind the prefix are not dropped: whoever
    /// writes them means something else.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_error| ())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => most,
            Some(text) if text.len() <= 3 && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().map_err(|_error| ())?
            }
            Some(_) => return Err(()),
        };
        let bits = match address {
            IpAddr::V4(address) => u128::from(address.to_bits()).wrapping_shl(96),
            IpAddr::V6(address) => address.to_bits(),
        };
        let behind = bits.checked_shl(prefix.into()).unwrap_or(0);
        let is_plain = address == address.to_canonical();
        if prefix > most || behind != 0 || !is_plain {
            return Err(());
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

fn bits4(address: Ipv4Addr) -> u128 {
    address.to_bits().into()
}

/// Whether the first `prefix` of 128 bits are the same.
fn starts_alike(one: u128, other: u128, prefix: u8) -> bool {
    let behind = 128_u32.saturating_sub(prefix.into());
    (one ^ other).checked_shr(behind).unwrap_or(0) == 0
}

struct Entry {
    address: IpAddr,
    prefix: u8,
    reach: Reach,
}

impl Entry {
    const fn network(&self) -> Network {
        Network {
            address: self.address,
            prefix: self.prefix,
        }
    }
}

const fn v4([a, b, c, d]: [u8; 4], prefix: u8, reach: Reach) -> Entry {
    Entry {
        address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        prefix,
        reach,
    }
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], prefix: u8, reach: Reach) -> Entry {
    Entry {
        address: IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h)),
        prefix,
        reach,
    }
}

const CLOUD: Reach = Reach::Never("cloud providers serve credentials there");
const LINK_LOCAL: Reach = Reach::Never("link-local");
/// The operator of a local translator chooses its prefix and where in an address the IPv4 address
/// stands (RFC 6052, section 2.2; RFC 8215), so that nobody else can tell where it leads.
const LOCAL_NAT64: Reach = Reach::Never("a translator leads to an unknown IPv4 address");
const MULTICAST: Reach = Reach::Never("multicast");
const THIS_HOST: Reach = Reach::Never("\"this host\"");
const LOOPBACK: Reach = Reach::Listed("loopback");
const PRIVATE: Reach = Reach::Listed("private use");
const SHARED: Reach = Reach::Listed("shared address space");
const DOCUMENTATION: Reach = Reach::Listed("documentation");
const BENCHMARKS: Reach = Reach::Listed("benchmarking");
const PROTOCOLS: Reach = Reach::Listed("IETF protocol assignments");
const RESERVED: Reach = Reach::Listed("reserved");
const TRANSITION: Reach = Reach::Listed("carries an IPv4 address");
const SINK: Reach = Reach::Listed("AS112");

/// The first that fits counts: what is out of reach stands before what it lies in.
const IPV4: &[Entry] = &[
    v4([0, 0, 0, 0], 8, THIS_HOST),
    v4([169, 254, 0, 0], 16, LINK_LOCAL),
    // Alibaba Cloud, Oracle Cloud Classic, Azure.
    v4([100, 100, 100, 200], 32, CLOUD),
    v4([192, 0, 0, 192], 32, CLOUD),
    v4([168, 63, 129, 16], 32, CLOUD),
    v4([224, 0, 0, 0], 4, MULTICAST),
    v4([255, 255, 255, 255], 32, Reach::Never("broadcast")),
    v4([10, 0, 0, 0], 8, PRIVATE),
    v4([100, 64, 0, 0], 10, SHARED),
    v4([127, 0, 0, 0], 8, LOOPBACK),
    v4([172, 16, 0, 0], 12, PRIVATE),
    v4([192, 0, 0, 0], 24, PROTOCOLS),
    v4([192, 0, 2, 0], 24, DOCUMENTATION),
    v4([192, 31, 196, 0], 24, SINK),
    v4([192, 52, 193, 0], 24, Reach::Listed("AMT")),
    v4([192, 88, 99, 0], 24, Reach::Listed("6to4 relays")),
    v4([192, 168, 0, 0], 16, PRIVATE),
    v4([192, 175, 48, 0], 24, SINK),
    v4([198, 18, 0, 0], 15, BENCHMARKS),
    v4([198, 51, 100, 0], 24, DOCUMENTATION),
    v4([203, 0, 113, 0], 24, DOCUMENTATION),
    v4([240, 0, 0, 0], 4, RESERVED),
];

const IPV6: &[Entry] = &[
    v6([0, 0, 0, 0, 0, 0, 0, 0], 128, THIS_HOST),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, LINK_LOCAL),
    // AWS, Google Cloud, Oracle Cloud, Scaleway.
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32, CLOUD),
    v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128, CLOUD),
    v6([0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe], 128, CLOUD),
    v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42], 128, CLOUD),
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, LOCAL_NAT64),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, MULTICAST),
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128, LOOPBACK),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 96, TRANSITION),
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64, Reach::Listed("discarded")),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, TRANSITION),
    v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48, BENCHMARKS),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, PROTOCOLS),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, DOCUMENTATION),
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, TRANSITION),
    v6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48, SINK),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, DOCUMENTATION),
    v6(
        [0x5f00, 0, 0, 0, 0, 0, 0, 0],
        16,
        Reach::Listed("segment routing"),
    ),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, PRIVATE),
    // All that is public by now.
    v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3, Reach::Public),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 0, RESERVED),
];

impl Reach {
    /// How far this address may be reached.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => first(IPV4, address.into()),
            IpAddr::V6(address) => {
                let (inner, is_translated) = inside(address);
                match (inner.map(|inner| first(IPV4, inner.into())), is_translated) {
                    (Some(Self::Never(why)), _) => Self::Never(why),
                    // NAT64: the translator sends to the IPv4 address.
                    (Some(reach), true) => reach,
                    _ => first(IPV6, address.into()),
                }
            }
        }
    }
}

fn first(table: &[Entry], address: IpAddr) -> Reach {
    let fits = |entry: &&Entry| entry.network().contains(address);
    let found = table.iter().find(fits);
    found.map_or(Reach::Public, |entry| entry.reach)
}

/// The IPv4 address inside of an IPv6 address, and whether a translator (RFC 6052) replaces the
/// one by the other.
fn inside(address: Ipv6Addr) -> (Option<Ipv4Addr>, bool) {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let v4 = |high: u16, low: u16| {
        Some(Ipv4Addr::from_bits(
            u32::from(high).wrapping_shl(16) | u32::from(low),
        ))
    };
    match [a, b, c, d, e, f] {
        [0x64, 0xff9b, 0, 0, 0, 0] => (v4(g, h), true),
        [0, 0, 0, 0, 0, 0] if [g, h] != [0, 0] && [g, h] != [0, 1] => (v4(g, h), false),
        [0x2002, high, low, ..] => (v4(high, low), false),
        // Teredo: the client's, with all bits turned (RFC 4380, section 4).
        [0x2001, 0, ..] => (v4(!g, !h), false),
        _ => (None, false),
    }
}

#[cfg(test)]
mod tests {
    use super::{Network, Reach};
    use std::net::IpAddr;

    fn reach(address: &str) -> Reach {
        Reach::of(address.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn public_addresses_are_public() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "2606:4700:4700::1111",
            "2001:200::1",
            "2a00:1450:4001::1",
        ] {
            assert_eq!(reach(address), Reach::Public, "{address}");
        }
    }

    #[test]
    fn special_addresses_have_to_be_listed() {
        for address in [
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.31.196.1",
            "192.52.193.1",
            "192.88.99.1",
            "192.168.0.1",
            "192.175.48.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "240.0.0.1",
            "255.255.255.254",
            "::1",
            "::10.0.0.1",
            "::1.1.1.1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:2::1.1.1.1",
            "100::1",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:1ff::1",
            "2001:db8::1",
            "2002:a00:1::1",
            "2002:101:101::1",
            "2620:4f:8000::1",
            "3fff::1",
            "3fff:fff::1",
            "4000::1",
            "5f00::1",
            "fc00::1",
            "fdff::1",
            "fec0::1",
            "200::1",
        ] {
            assert!(matches!(reach(address), Reach::Listed(_)), "{address}");
        }
    }

    #[test]
    fn some_are_never_reached() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "169.254.0.1",
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "224.0.0.1",
            "239.255.255.255",
            "255.255.255.255",
            "::",
            "::ffff:169.254.169.254",
            "::ffff:0.0.0.0",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            // Wherever the IPv4 address stands: prefixes of 96, 64, 56 and 48 bits.
            "64:ff9b:1::169.254.169.254",
            "64:ff9b:1:0:a9:fea9:fe00:0",
            "64:ff9b:1:00a9:00fe:a9fe::",
            "64:ff9b:1:a9fe:00a9:fe00::",
            "64:ff9b:1::1.1.1.1",
            "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
            "2002:a9fe:a9fe::1",
            "2001:0:1:1:1:1:5601:5601",
            "fe80::1",
            "febf:ffff::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fd00:c1::a9fe:a9fe",
            "fd00:42::42",
            "ff02::1",
        ] {
            assert!(matches!(reach(address), Reach::Never(_)), "{address}");
        }
    }

    #[test]
    fn networks_are_read_strictly() {
        for text in [
            "10.0.0.0/8",
            "0.0.0.0/0",
            "::/0",
            "10.1.2.3/32",
            "fd00::/8",
            "::1/128",
        ] {
            let network: Network = text.parse().unwrap();
            assert_eq!(network.to_string(), text);
        }
        assert_eq!("::1".parse::<Network>().unwrap().to_string(), "::1/128");
        for text in [
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/0008",
            "10.0.0/8",
            "::/129",
            "fd00::1/8",
            "::ffff:10.0.0.0/104",
            "::ffff:10.0.0.1",
            "a/8",
            "",
            "/8",
        ] {
            assert_eq!(text.parse::<Network>(), Err(()), "{text}");
        }
    }

    #[test]
    fn networks_contain_what_starts_alike() {
        for (network, address, is_in) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::a00:1", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "::1", false),
            ("1.2.3.4", "1.2.3.4", true),
            ("1.2.3.4", "1.2.3.5", false),
            ("::/0", "fd00::1", true),
            ("fd00::/8", "fe00::1", false),
            ("::1", "::1", true),
        ] {
            let (network, address): (Network, IpAddr) =
                (network.parse().unwrap(), address.parse().unwrap());
            assert_eq!(network.contains(address), is_in, "{network} {address}");
        }
    }

    #[test]
    fn networks_that_help_nobody_are_told() {
        for (network, is_never) in [
            ("169.254.0.0/16", true),
            ("169.254.169.254", true),
            ("169.254.0.0/15", false),
            ("fe80::/10", true),
            ("fe80::/64", true),
            ("fd00:ec2::254", true),
            ("64:ff9b:1::/48", true),
            ("64:ff9b:1:1::/96", true),
            ("64:ff9b::/96", false),
            ("fd00::/8", false),
            ("10.0.0.0/8", false),
        ] {
            assert_eq!(
                network.parse::<Network>().unwrap().is_never(),
                is_never,
                "{network}"
            );
        }
    }
}
