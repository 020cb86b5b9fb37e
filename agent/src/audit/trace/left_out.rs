//! What of a story there is no room for.

use crate::audit::query::Class;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How many lines of each class a story lacks, at least; of validations it is all that it lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct LeftOut {
    /// Attestations.
    #[serde(skip_serializing_if = "is_zero")]
    pub attestations: u64,
    /// What operators did.
    #[serde(skip_serializing_if = "is_zero")]
    pub changes: u64,
    /// What was issued, delivered and withdrawn.
    #[serde(skip_serializing_if = "is_zero")]
    pub credentials: u64,
    /// What was refused.
    #[serde(skip_serializing_if = "is_zero")]
    pub refusals: u64,
    /// Validations.
    #[serde(skip_serializing_if = "is_zero")]
    pub validations: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl LeftOut {
    /// Whether the story is whole.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// One round left out so many: what another one left out as well is not counted twice.
    pub(super) fn note(&mut self, class: Class, count: u64) {
        let known = match class {
            Class::Attestation => &mut self.attestations,
            Class::Change => &mut self.changes,
            Class::Credential => &mut self.credentials,
            Class::Refusal => &mut self.refusals,
            Class::Validation => &mut self.validations,
        };
        *known = (*known).max(count);
    }
}

/// `12 validations, 1 attestations`; nothing where nothing is left out.
impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.validations, "validations"),
            (self.refusals, "refusals"),
            (self.credentials, "events of credentials"),
            (self.attestations, "attestations"),
            (self.changes, "changes"),
        ];
        let counts = counts.into_iter().filter(|(count, _)| *count > 0);
        for (place, (count, what)) in counts.enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{count} {what}")?;
        }
        Ok(())
    }
}
