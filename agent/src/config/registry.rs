//! `[registry]`: how registrations come into force.

use super::{key::Key, reader::Reader};
use crate::registry::limits::APPROVALS;
use std::path::PathBuf;

/// The registry of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// How many operators other than the author must approve a version.
    pub approvals_required: u32,
    /// Folder whose documents are brought into force.
    pub apply_dir: Option<PathBuf>,
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

pub(super) const KEYS: &[&Key] = &[&APPROVALS_REQUIRED, &APPLY_DIR];

pub(super) fn read(reader: &mut Reader<'_>) -> Registry {
    let approvals_required = reader.within(&APPROVALS_REQUIRED, 0, 0..=APPROVALS);
    Registry {
        approvals_required,
        apply_dir: reader.optional(&APPLY_DIR),
    }
}
