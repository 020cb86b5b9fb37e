//! The registry in one file, to be kept elsewhere.
//!
//! A backup is text, one JSON object a line: a `backup` line that says what it is,
//! the newest signed checkpoint of the audit trail, every record of the registry's
//! log with its digest, and an `end` line with the SHA-256 of all before it. So it
//! can be read without an agent, a cut or changed one shows itself, and the
//! checkpoint tells later whether the trail beside a restored registry is as long
//! as it was (`symbolon audit verify --checkpoint`).
//!
//! [`Writer`] makes the lines, for the admin API, which streams them while the
//! agent runs: the log only grows, so what was its end when the backup began is a
//! state that was. [`Reader`] takes a file apart and believes nothing of it before
//! its digests hold. [`restore()`] puts it in the place of a stopped agent's
//! registry.
//!
//! No secrets are in it: signing keys stay where they are. `agent/doc/backup.md`
//! describes the form, and what else to keep.

mod reader;
mod restore;
#[cfg(test)]
pub(crate) mod tests;
mod writer;

pub use reader::{BackupError, Item, Reader};
pub use restore::{Outcome, Previous, RestoreError, RestoreOptions, Restored, restore};
pub use writer::Writer;

use crate::{clock::unix_seconds, registry::limits};
use serde::{Deserialize, Serialize};
use std::time::SystemTime;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// The form that this version writes and reads.
pub const FORMAT: u32 = 1;

/// Bytes of a line: a record at its largest, and what stands around it.
const MAX_LINE: usize = limits::RECORD_BYTES + 4096;

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The version of the agent that made it.
    pub agent: String,
    /// When it was begun, RFC 3339.
    pub created_at: String,
    /// [`FORMAT`].
    pub format: u32,
    /// The last revision that it has.
    pub revision: u64,
    /// Whose clients they are.
    pub trust_domain: String,
}

/// Its last line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct End {
    /// How many lines stand before this one.
    lines: u64,
    /// SHA-256 of them, with their line feeds.
    sha256: String,
}

/// `at` in whole seconds, RFC 3339.
pub(crate) fn moment(at: SystemTime) -> String {
    let seconds = i64::try_from(unix_seconds(at)).unwrap_or(i64::MAX);
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    at.format(&Rfc3339).unwrap_or_default()
}
