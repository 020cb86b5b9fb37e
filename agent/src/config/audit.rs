//! `[audit]`: the trail of decisions.

use super::{key::Key, reader::Reader, setting::named_values};

/// The audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// When a record counts as written.
    pub durability: Durability,
}

named_values! {
    /// When a record counts as written.
    pub enum Durability {
        /// When it is on stable storage.
        Sync = "sync",
        /// When the kernel has it.
        Write = "write",
    }
}

pub(super) const DURABILITY: Key = Key::new(
    "audit",
    "durability",
    "When a record counts as written and its answer may leave: \"sync\" (it is on stable storage) or \
     \"write\" (the kernel has it; a crash of the machine can lose the last records).",
);

pub(super) const KEYS: &[&Key] = &[&DURABILITY];

pub(super) fn read(reader: &mut Reader<'_>) -> Audit {
    Audit {
        durability: reader.value(&DURABILITY, Durability::Sync),
    }
}
