//! What an operator should be reminded of although it is allowed.

use super::{
    Config, admin_api, attestation, audit,
    audit::Durability,
    key::Key,
    limits::{
        MAX_JWT_DEFAULT, MAX_JWT_TTL, MAX_X509_DEFAULT, MAX_X509_TTL, MIN_JWT_DEFAULT, MIN_JWT_TTL,
        MIN_X509_DEFAULT, MIN_X509_TTL,
    },
    operators,
    units::format_duration,
};
use std::{fmt, time::Duration};

/// A setting that weakens what the defaults promise; to be logged at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A minimum lower than the standard one.
    LoweredMinimum(Bound),
    /// A maximum higher than the standard one.
    RaisedMaximum(Bound),
    /// A choice that gives something up.
    Weakened {
        /// The key.
        key: &'static Key,
        /// What is given up.
        consequence: &'static str,
    },
}

/// A bound that differs from the standard one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The key.
    pub key: &'static Key,
    /// Its value.
    pub value: Duration,
    /// The value without a configuration.
    pub standard: Duration,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bound, comment) = match self {
            Self::LoweredMinimum(bound) => (bound, "SVIDs may be renewed very often"),
            Self::RaisedMaximum(bound) => (
                bound,
                "SVIDs may stay valid elsewhere for long after their client was suspended",
            ),
            Self::Weakened { key, consequence } => {
                return write!(f, "{}: {consequence}", key.path());
            }
        };
        write!(
            f,
            "{} is {} instead of {}: {comment}",
            bound.key.path(),
            format_duration(bound.value),
            format_duration(bound.standard),
        )
    }
}

impl Config {
    /// What an operator should be reminded of at start.
    #[must_use]
    pub fn notices(&self) -> Vec<Notice> {
        let limits = &self.limits;
        let minima = [
            (&MIN_X509_TTL, limits.min_x509_ttl, MIN_X509_DEFAULT),
            (&MIN_JWT_TTL, limits.min_jwt_ttl, MIN_JWT_DEFAULT),
        ];
        let maxima = [
            (&MAX_X509_TTL, limits.max_x509_ttl, MAX_X509_DEFAULT),
            (&MAX_JWT_TTL, limits.max_jwt_ttl, MAX_JWT_DEFAULT),
        ];
        let bound = |(key, value, standard)| Bound {
            key,
            value,
            standard,
        };
        let lowered = minima.into_iter().map(bound);
        let raised = maxima.into_iter().map(bound);
        lowered
            .filter(|bound| bound.value < bound.standard)
            .map(Notice::LoweredMinimum)
            .chain(
                raised
                    .filter(|bound| bound.value > bound.standard)
                    .map(Notice::RaisedMaximum),
            )
            .chain(self.weakened())
            .collect()
    }

    fn weakened(&self) -> impl Iterator<Item = Notice> {
        let choices = [
            (
                self.audit.durability == Durability::Write,
                &audit::DURABILITY,
                "a crash of the machine can lose the last audit records",
            ),
            (
                self.attestation.hash_remote_filesystems,
                &attestation::HASH_REMOTE_FILESYSTEMS,
                "whoever serves a file system decides which digest its programs have",
            ),
            (
                self.attestation.require.is_weakened(),
                &attestation::REQUIRE,
                "a program that is given another one's socket may be answered in its name",
            ),
            (
                self.attestation.allow_traced_processes,
                &attestation::ALLOW_TRACED_PROCESSES,
                "whoever debugs a registered program gets its identity",
            ),
            (
                self.attestation.force_fallback_pin,
                &attestation::FORCE_FALLBACK_PIN,
                "a process that gets the number of a caller who exits may be taken for it",
            ),
            (
                self.admin_api.allow_foreign_namespaces,
                &admin_api::ALLOW_FOREIGN_NAMESPACES,
                "uid 0 of a container that reaches the admin socket is an operator",
            ),
            (
                !self.operators.is_empty() && !self.can_be_approved(operators::Authors::Each),
                &operators::OPERATORS,
                "an author who is an approver too has too few others who could approve his versions",
            ),
        ];
        choices
            .into_iter()
            .filter(|(is_chosen, ..)| *is_chosen)
            .map(|(_, key, consequence)| Notice::Weakened { key, consequence })
    }
}
