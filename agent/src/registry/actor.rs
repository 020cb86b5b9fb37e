//! Who makes a change: a name, and the login behind it where the kernel knows one.
//!
//! The name is what listings and the trail show. The login is the user that
//! once logged in (`/proc/PID/loginuid`), which `su` and `sudo` leave as it was:
//! two operators with one login are one person, whatever they are called.

use super::{TextError, names::OperatorName};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// What the kernel shows where nobody has logged in.
const NO_LOGIN: u32 = u32::MAX;

/// Who made a change: an operator, as the admin socket knows it.
///
/// Stored and shown as its name; records keep the login in a field of its own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Actor {
    name: OperatorName,
    login: Option<u32>,
}

impl Actor {
    /// The same operator, who logged in as this user.
    #[must_use]
    pub fn with_login(self, login: Option<u32>) -> Self {
        Self {
            login: login.filter(|login| *login != NO_LOGIN),
            ..self
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.name.as_str()
    }

    /// The name, as a type.
    #[must_use]
    pub const fn name(&self) -> &OperatorName {
        &self.name
    }

    /// The user who logged in, where the kernel knows one.
    #[must_use]
    pub const fn login(&self) -> Option<u32> {
        self.login
    }

    /// Whether both count as one person: one name, or one login.
    #[must_use]
    pub fn is_person_of(&self, other: &Self) -> bool {
        self.name == other.name || (self.login.is_some() && self.login == other.login)
    }
}

impl FromStr for Actor {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        Ok(Self {
            name: text.parse()?,
            login: None,
        })
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.name, f)
    }
}

impl fmt::Debug for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.name, f)?;
        self.login
            .map_or(Ok(()), |login| write!(f, " (login {login})"))
    }
}

impl Serialize for Actor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.name.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Actor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = OperatorName::deserialize(deserializer)?;
        Ok(Self { name, login: None })
    }
}

#[cfg(test)]
mod tests {
    use super::Actor;

    fn actor(name: &str, login: Option<u32>) -> Actor {
        name.parse::<Actor>().unwrap().with_login(login)
    }

    #[test]
    fn one_name_or_one_login_is_one_person() {
        let alice = actor("alice", Some(7));
        for (other, same) in [
            (actor("alice", None), true),
            (actor("alice", Some(8)), true),
            (actor("root", Some(7)), true),
            (actor("bob", Some(8)), false),
            (actor("bob", None), false),
        ] {
            assert_eq!(alice.is_person_of(&other), same, "{other:?}");
            assert_eq!(other.is_person_of(&alice), same, "{other:?}");
        }
        assert!(!actor("a", None).is_person_of(&actor("b", None)));
        assert_eq!(actor("a", Some(u32::MAX)), actor("a", None));
    }
}
