//! Whether a bundle may follow the one that is known: never back.

use crate::authority::{BundleError, ForeignBundle};

/// Why a bundle that was fetched is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is none.
    #[error("what it serves is no bundle: {0}")]
    Malformed(#[from] BundleError),
    /// An older one.
    #[error("the bundle has sequence {got}, and {known} is known: it went back")]
    Older {
        /// Its sequence.
        got: u64,
        /// That of the bundle that is known.
        known: u64,
    },
    /// Other keys under a sequence that is known
    /// (`SPIFFE_Trust_Domain_and_Bundle.md`, section 4.1.1).
    #[error("the bundle has other keys than before and the same sequence {0}")]
    SameSequence(u64),
    /// None, where there was one: its age cannot be told any more.
    #[error("the bundle has no sequence any more, and {0} is known")]
    NoSequence(u64),
}

/// Whether `new` may take the place of `known`.
///
/// # Errors
/// Where it would be a step back, or might be one.
pub(super) fn may_follow(
    known: Option<&ForeignBundle>,
    new: &ForeignBundle,
) -> Result<(), Refusal> {
    let Some(known) = known else {
        return Ok(());
    };
    match (known.sequence(), new.sequence()) {
        (Some(known), None) => Err(Refusal::NoSequence(known)),
        (Some(known), Some(got)) if got < known => Err(Refusal::Older { got, known }),
        (Some(sequence), Some(got)) if got == sequence && !known.has_keys_of(new) => {
            Err(Refusal::SameSequence(sequence))
        }
        _ => Ok(()),
    }
}
