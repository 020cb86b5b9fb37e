//! Operators: who they are, and which roles they have.
//!
//! Owns the words ([`Role`], [`Roles`]) and the [`Roster`], which says of what the
//! kernel or an attestation told about a peer which operator that is. The
//! configuration fills it, `admin_api` asks it at every call; nothing here looks
//! at processes.
//!
//! Invariants: whoever is not named has no role; a user who is named is that
//! operator whatever program it runs; names are unique, and none can be taken for
//! a number (`uid:0`), a file (`file:a.yaml`), a group's member (`ops/uid:7`) or the
//! agent itself.
//! Where nobody is named there is one operator, the superuser or the agent's own
//! user, with every role.
//!
//! What each role may call stands in `admin_api::roles`.

mod role;
mod roster;

pub use role::{NoRole, Role, Roles};
pub use roster::{Entry, Identified, Roster, Whose};

/// Longest name of an operator in bytes.
const MAX_NAME: usize = 64;

/// Who the agent is where it acts by itself.
pub const AGENT: &str = "agent";

/// Whether `text` can name an operator: letters, digits, `.`, `_`, `-` and `@`, beginning with
/// a letter or a digit, and not [`AGENT`].
#[must_use]
pub fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
    let first = text.bytes().next();
    text.len() <= MAX_NAME
        && text != AGENT
        && first.is_some_and(|first| first.is_ascii_alphanumeric())
        && text.bytes().all(plain)
}

#[cfg(test)]
mod tests;
