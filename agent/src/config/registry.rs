//! `[registry]`: how registrations come into force.

use super::{fault::Problem, key::Key, reader::Reader};

/// The registry of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// How many operators other than the author must approve a version.
    pub approvals_required: u32,
}

const APPROVALS_REQUIRED: Key = Key::new(
    "registry",
    "approvals_required",
    "How many operators other than the author must approve a version before it is in force. Only \
     0 is supported by this version.",
);

pub(super) const KEYS: &[&Key] = &[&APPROVALS_REQUIRED];

pub(super) fn read(reader: &mut Reader<'_>) -> Registry {
    let approvals_required = reader.value(&APPROVALS_REQUIRED, 0);
    if approvals_required != 0 {
        reader.refuse(
            &APPROVALS_REQUIRED,
            Problem::ApprovalsUnsupported {
                asked: approvals_required,
            },
        );
    }
    Registry { approvals_required }
}
