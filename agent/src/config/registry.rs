//! `[registry]`: how registrations come into force.

use super::{
    key::Key,
    reader::Reader,
    setting::{Raw, Setting, quoted},
};
use crate::{registry::limits::APPROVALS, uri::HostPattern};
use std::path::PathBuf;

/// The registry of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// How many operators other than the author must approve a version.
    pub approvals_required: u32,
    /// Folder whose documents are brought into force.
    pub apply_dir: Option<PathBuf>,
    /// Hosts that metadata documents may lead to; without any, all may be.
    pub approved_hosts: Vec<HostPattern>,
}

const APPROVALS_REQUIRED: Key = Key::new(
    "registry",
    "approvals_required",
    "How many operators other than the author must approve a version before it is in force, \
     and the resumption of a suspended client: 0 to 5. Each version keeps the number that it was \
     made with.",
);

pub(super) const APPLY_DIR: Key = Key::new(
    "registry",
    "apply_dir",
    "Folder of registrations, such as a mounted ConfigMap: its .yaml, .json and .toml files are \
     brought into force at start and whenever they change (agent/doc/apply.md). Whoever can write \
     there registers clients.",
)
.without_default("/etc/symbolon/registrations");

const APPROVED_HOSTS: Key = Key::new(
    "registry",
    "approved_hosts",
    "Hosts that clients' metadata documents may lead to: redirect URIs, pages, keys, documents \
     that others host. `*.example.org` stands for all below; without any, all may be \
     (agent/doc/client-metadata.md).",
);

pub(super) const KEYS: &[&Key] = &[&APPROVALS_REQUIRED, &APPLY_DIR, &APPROVED_HOSTS];

pub(super) fn read(reader: &mut Reader<'_>) -> Registry {
    let approvals_required = reader.within(&APPROVALS_REQUIRED, 0, 0..=APPROVALS);
    Registry {
        approvals_required,
        apply_dir: reader.optional(&APPLY_DIR),
        approved_hosts: reader.value(&APPROVED_HOSTS, Hosts::default()).0,
    }
}

/// Hosts, each a name or what is below one.
#[derive(Clone, Debug, Default)]
struct Hosts(Vec<HostPattern>);

impl Setting for Hosts {
    fn expected() -> String {
        "a list of hosts such as [\"mcp.example.org\", \"*.example.com\"]".to_owned()
    }

    fn parse(raw: &Raw) -> Option<Self> {
        let words = raw.as_list()?.into_iter();
        let hosts: Result<_, _> = words.map(str::parse).collect();
        hosts.ok().map(Self)
    }

    fn render(&self) -> String {
        let hosts = self.0.iter().map(|host| quoted(&host.to_string()));
        format!("[{}]", hosts.collect::<Vec<_>>().join(", "))
    }
}
