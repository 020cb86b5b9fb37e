//! `[fetch]`: documents that the agent reads from other people's servers.

use super::{
    key::Key,
    reader::Reader,
    setting::{Raw, Setting, quoted},
    units::{DAY, MINUTE},
};
use crate::fetch::Allowed;
use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

/// Reading other people's documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// What may be reached besides public addresses.
    pub allow: Allowed,
    /// Whom to trust instead of the system's certificate authorities.
    pub ca_file: Option<PathBuf>,
    /// Each document that others host is looked at once in this time.
    pub interval: Duration,
}

/// Often enough for tests, seldom enough for the servers of others.
const INTERVALS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(DAY);

const ALLOW: Key = Key::new(
    "fetch",
    "allow",
    "Hosts and networks that may be reached although their addresses are private or special \
     (RFC 6890), such as [\"idp.corp.example\", \"10.20.0.0/16\"]. Link-local addresses, those \
     where clouds serve credentials, and those of local NAT64 translators (64:ff9b:1::/48) are never \
     reached.",
);
const CA_FILE: Key = Key::new(
    "fetch",
    "ca_file",
    "PEM file of the certificate authorities that servers are trusted by, instead of the \
     system's. Both are read again while the agent runs; where that fails, those that were read last \
     stay in force. A file that names nobody is no such failure: then no server is trusted.",
)
.without_default("/etc/symbolon/fetch-ca.pem");
const INTERVAL: Key = Key::new(
    "fetch",
    "interval",
    "Each metadata document that others host, and its key set, is compared with what was approved \
     at least once in this time (agent/doc/external-documents.md).",
);

pub(super) const KEYS: &[&Key] = &[&ALLOW, &CA_FILE, &INTERVAL];

pub(super) fn read(reader: &mut Reader<'_>) -> Fetch {
    Fetch {
        allow: reader.value(&ALLOW, Allowed::default()),
        ca_file: reader.optional(&CA_FILE),
        interval: reader.within(&INTERVAL, Duration::from_secs(5 * MINUTE), INTERVALS),
    }
}

impl Setting for Allowed {
    fn expected() -> String {
        "a list of host names and networks such as [\"idp.corp.example\", \"10.20.0.0/16\"], none \
         of them link-local"
            .to_owned()
    }

    fn parse(raw: &Raw) -> Option<Self> {
        Self::read(raw.as_list()?).ok()
    }

    fn render(&self) -> String {
        let entries: Vec<String> = self.entries().map(|entry| quoted(&entry)).collect();
        format!("[{}]", entries.join(", "))
    }
}
