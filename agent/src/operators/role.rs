//! What an operator is there for.

use std::{
    fmt::{self, Debug, Display, Formatter},
    str::FromStr,
};

/// One role.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// Looks at registrations and processes.
    Reader,
    /// Registers clients and changes them.
    Author,
    /// Approves what others wrote, and lifts suspensions.
    Approver,
    /// Suspends and revokes.
    Responder,
    /// Reads the audit trail.
    Auditor,
    /// Keeps the agent itself.
    Administrator,
}

/// A text that is no role.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a role")]
pub struct NoRole;

impl Role {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 6] = [
        Self::Reader,
        Self::Author,
        Self::Approver,
        Self::Responder,
        Self::Auditor,
        Self::Administrator,
    ];

    /// The word for configuration, listings and the trail.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Author => "author",
            Self::Approver => "approver",
            Self::Responder => "responder",
            Self::Auditor => "auditor",
            Self::Administrator => "administrator",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl Display for Role {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = NoRole;

    fn from_str(text: &str) -> Result<Self, NoRole> {
        let role = Self::ALL.into_iter().find(|role| role.as_str() == text);
        role.ok_or(NoRole)
    }
}

/// A set of roles.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub struct Roles(u8);

impl Roles {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// All of them.
    pub const ALL: Self = Self(0b11_1111);

    /// Whether `role` is in the set.
    #[must_use]
    pub const fn has(self, role: Role) -> bool {
        self.0 & role.bit() != 0
    }

    /// Whether one of `roles` is in the set.
    #[must_use]
    pub fn has_any(self, roles: &[Role]) -> bool {
        roles.iter().any(|role| self.has(*role))
    }

    /// Whether nothing is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is in either set.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// What is in the set, in the order of [`Role::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.has(*role))
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<T: IntoIterator<Item = Role>>(roles: T) -> Self {
        Self(roles.into_iter().fold(0, |set, role| set | role.bit()))
    }
}

impl Display for Roles {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.iter().map(Role::as_str).collect();
        f.write_str(&words.join(", "))
    }
}

impl Debug for Roles {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
