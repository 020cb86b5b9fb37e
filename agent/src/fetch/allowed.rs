//! What the operator lets be reached besides public addresses.

use super::{
    address::{Network, Reach},
    url::Host,
};
use std::{collections::BTreeSet, fmt, net::IpAddr, str::FromStr as _};

/// Hosts and networks; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    hosts: BTreeSet<String>,
    networks: BTreeSet<Network>,
}

/// Why something cannot be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllowError {
    /// Neither a host name nor a network.
    #[error("neither a host name nor a network such as 10.0.0.0/8")]
    Unknown,
    /// All of it is out of reach.
    #[error(
        "link-local and cloud metadata addresses are never reached, nor those of a local \
         translator (64:ff9b:1::/48)"
    )]
    Never,
    /// More than are looked at.
    #[error("there can be {0} at most")]
    TooMany(usize),
}

/// Looked through for each address.
const MAX_ENTRIES: usize = 256;

impl Allowed {
    /// Reads each entry.
    ///
    /// # Errors
    /// For the first that cannot be listed.
    pub fn read(entries: impl IntoIterator<Item: AsRef<str>>) -> Result<Self, AllowError> {
        let mut allowed = Self::default();
        for entry in entries {
            if allowed.hosts.len() + allowed.networks.len() >= MAX_ENTRIES {
                return Err(AllowError::TooMany(MAX_ENTRIES));
            }
            let entry = entry.as_ref();
            match (Network::from_str(entry), Host::from_str(entry)) {
                (Ok(network), _) if network.is_never() => return Err(AllowError::Never),
                (Ok(network), _) => {
                    allowed.networks.insert(network);
                }
                (Err(()), Ok(Host::Name(name))) => {
                    allowed.hosts.insert(name);
                }
                (Err(()), _) => return Err(AllowError::Unknown),
            }
        }
        Ok(allowed)
    }

    /// Whether `address` may be reached for `host`, or why not.
    pub(super) fn judge(&self, host: &Host, address: IpAddr) -> Result<(), &'static str> {
        let address = address.to_canonical();
        match Reach::of(address) {
            Reach::Public => Ok(()),
            Reach::Never(why) => Err(why),
            Reach::Listed(why) => {
                let is_host = matches!(host, Host::Name(name) if self.hosts.contains(name));
                let is_network = self
                    .networks
                    .iter()
                    .any(|network| network.contains(address));
                (is_host || is_network).then_some(()).ok_or(why)
            }
        }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self.hosts.iter().cloned();
        let networks = self.networks.iter().map(Network::to_string);
        let entries: Vec<String> = hosts.chain(networks).collect();
        f.write_str(&entries.join(", "))
    }
}

impl Allowed {
    /// The entries as they are written, hosts first.
    pub fn entries(&self) -> impl Iterator<Item = String> + '_ {
        let networks = self.networks.iter().map(Network::to_string);
        self.hosts.iter().cloned().chain(networks)
    }
}

#[cfg(test)]
mod tests {
    use super::{AllowError, Allowed};
    use crate::fetch::Host;

    fn judged(allowed: &[&str], host: &str, address: &str) -> bool {
        let allowed = Allowed::read(allowed.iter().copied()).unwrap();
        let host: Host = host.parse().unwrap();
        allowed.judge(&host, address.parse().unwrap()).is_ok()
    }

    #[test]
    fn only_what_is_listed_is_reached_besides_public_addresses() {
        for (allowed, host, address, may) in [
            (&[][..], "a.example", "1.1.1.1", true),
            (&[], "a.example", "10.0.0.1", false),
            (&["a.example"], "a.example", "10.0.0.1", true),
            (&["A.Example"], "a.example", "::1", true),
            (&["a.example"], "b.example", "10.0.0.1", false),
            (&["a.example"], "x.a.example", "10.0.0.1", false),
            (&["10.0.0.0/8"], "b.example", "10.0.0.1", true),
            (&["10.0.0.0/8"], "10.0.0.1", "10.0.0.1", true),
            (&["10.0.0.0/8"], "b.example", "::ffff:10.0.0.1", true),
            (&["10.0.0.0/8"], "b.example", "127.0.0.1", false),
            (
                &["a.example", "0.0.0.0/0"],
                "a.example",
                "169.254.169.254",
                false,
            ),
            (&["a.example", "::/0"], "a.example", "fd00:ec2::254", false),
            (&["a.example", "::/0"], "a.example", "fe80::1", false),
            (
                &["a.example", "::/0"],
                "a.example",
                "64:ff9b::a9fe:a9fe",
                false,
            ),
        ] {
            assert_eq!(
                judged(allowed, host, address),
                may,
                "{allowed:?} {host} {address}"
            );
        }
    }

    #[test]
    fn entries_are_read_strictly() {
        for (entry, error) in [
            ("", AllowError::Unknown),
            ("*.example", AllowError::Unknown),
            ("https://a.example", AllowError::Unknown),
            ("a.example:443", AllowError::Unknown),
            ("10.0.0.1/8", AllowError::Unknown),
            ("10.0.0.0/40", AllowError::Unknown),
            ("[::1]", AllowError::Unknown),
            ("169.254.169.254", AllowError::Never),
            ("169.254.0.0/16", AllowError::Never),
            ("fe80::/10", AllowError::Never),
        ] {
            assert_eq!(Allowed::read([entry]), Err(error), "{entry}");
        }
        let many: Vec<String> = (0..300).map(|n| format!("h{n}.example")).collect();
        let many = Allowed::read(many.iter().map(String::as_str));
        assert_eq!(many, Err(AllowError::TooMany(256)));
        let allowed = Allowed::read(["::1", "b.example", "10.0.0.0/8"]).unwrap();
        assert_eq!(allowed.to_string(), "b.example, 10.0.0.0/8, ::1/128");
    }
}
