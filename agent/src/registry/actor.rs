//! Who makes a change: a name, the user, and the login behind it where the kernel knows one.
//!
//! The name is what listings and the trail show; the configuration gives it, and
//! can give the same user another one, so the user counts beside it. The login is
//! the user that once logged in (`/proc/PID/loginuid`), which `su` and `sudo` leave
//! as it was. Two operators with one name, user or login are one person.

use super::{TextError, names::OperatorName};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// What the kernel shows where nobody has logged in.
pub(crate) const NO_LOGIN: u32 = u32::MAX;

/// Who made a change: an operator, as the admin socket knows it.
///
/// Stored and shown as its name; records keep login and user in fields of their own, the user
/// only where the name does not say it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Actor {
    name: OperatorName,
    login: Option<u32>,
    /// Never what the name says anyway, so that one actor is written in one way.
    uid: Option<u32>,
}

impl Actor {
    /// The same operator, whose process is of this user.
    #[must_use]
    pub fn with_uid(self, uid: Option<u32>) -> Self {
        let named = named_user(self.as_str());
        Self {
            uid: uid.filter(|_| named.is_none() || named != uid),
            ..self
        }
    }

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

    /// The user, where the name does not say it.
    #[must_use]
    pub const fn uid(&self) -> Option<u32> {
        self.uid
    }

    /// Whether both count as one person: one name, one user, one login, or one who is the user whom
    /// the other logged in as.
    #[must_use]
    pub fn is_person_of(&self, other: &Self) -> bool {
        let same = |one: Option<u32>, two: Option<u32>| one.is_some() && one == two;
        self.name == other.name
            || same(self.user(), other.user())
            || same(self.login, other.login)
            || same(self.user(), other.login)
            || same(self.login, other.user())
    }

    /// The user, whether the name says it or not; none of a file and of a name alone.
    #[must_use]
    pub fn user(&self) -> Option<u32> {
        self.uid.or_else(|| named_user(self.as_str()))
    }
}

/// The user of whom the agent made the name: `uid:N`, or `NAME/uid:N` for a member of a group.
/// Names of the configuration have neither `:` nor `/`, those of files begin with `file:`.
fn named_user(name: &str) -> Option<u32> {
    let (group, user) = name.rsplit_once('/').unwrap_or(("", name));
    let is_group = !group.contains([':', '/']);
    let number = user.strip_prefix("uid:").filter(|_| is_group)?;
    // As the agent writes it.
    let uid: u32 = number.parse().ok()?;
    (uid.to_string() == number).then_some(uid)
}

impl FromStr for Actor {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        Ok(Self {
            name: text.parse()?,
            login: None,
            uid: None,
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
        if let Some(uid) = self.uid {
            write!(f, " (uid {uid})")?;
        }
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
        Ok(Self {
            name,
            login: None,
            uid: None,
        })
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

    #[test]
    fn one_user_is_one_person_whatever_the_configuration_calls_it() {
        let user = |name: &str, uid| actor(name, None).with_uid(Some(uid));
        let alice = user("alice", 1001);
        for (other, same) in [
            (actor("uid:1001", None), true),
            (actor("security/uid:1001", None), true),
            (user("bob", 1001), true),
            (user("bob", 1002), false),
            (user("bob", 1002).with_login(Some(1001)), true),
            (actor("bob", Some(1001)), true),
            (actor("uid:1002", None), false),
            (actor("uid:01001", None), false),
            (actor("file:uid:1001", None), false),
            (actor("file:a/uid:1001", None), false),
            (actor("bob", None), false),
        ] {
            assert_eq!(alice.is_person_of(&other), same, "{other:?}");
            assert_eq!(other.is_person_of(&alice), same, "{other:?}");
        }
        assert_eq!(user("uid:7", 7), actor("uid:7", None));
        assert_eq!(user("ops/uid:7", 7), actor("ops/uid:7", None));
        assert_eq!(user("ops", 7).uid(), Some(7));
    }
}
