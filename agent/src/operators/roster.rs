//! Who is an operator.

use super::Roles;
use crate::registry::SelectorSet;
use std::sync::Arc;
use symbolon_attestors::Selector;

/// An operator of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name, which no other entry has.
    pub name: Arc<str>,
    /// Whom it is about.
    pub whose: Whose,
    /// What they may be.
    pub roles: Roles,
}

/// Whom an entry is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// A user: one person, or one machine.
    User(u32),
    /// The members of a group, each a person of their own.
    Group(u32),
    /// An attested program that has all of these selectors.
    Program(SelectorSet),
}

/// An operator, recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identified {
    /// How trail and listings call the operator.
    pub label: Arc<str>,
    /// What the operator may be; none for the superuser and the agent's own user where others
    /// are named.
    pub roles: Roles,
}

/// All operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roster {
    own_uid: u32,
    /// Whether whoever got through to the socket is let in by that: a group was configured for it.
    is_open: bool,
    entries: Vec<Entry>,
}

impl Roster {
    /// Nobody is named: the superuser, the user `own_uid` and, where the socket is a group's
    /// (`is_open`), its members have every role.
    #[must_use]
    pub const fn nobody(own_uid: u32, is_open: bool) -> Self {
        Self {
            own_uid,
            is_open,
            entries: Vec::new(),
        }
    }

    /// These are named, and have the roles that their entries give them.
    #[must_use]
    pub const fn of(own_uid: u32, entries: Vec<Entry>) -> Self {
        Self {
            own_uid,
            is_open: false,
            entries,
        }
    }

    /// Whether anybody is named.
    #[must_use]
    pub const fn names_somebody(&self) -> bool {
        !self.entries.is_empty()
    }

    /// Whether users other than the superuser and the agent's own may be operators.
    #[must_use]
    pub fn needs_an_open_door(&self) -> bool {
        self.entries.iter().any(|entry| match entry.whose {
            Whose::User(uid) => !self.is_own(uid),
            Whose::Group(_) | Whose::Program(_) => true,
        })
    }

    /// Whether programs are named, which have to be attested.
    #[must_use]
    pub fn names_programs(&self) -> bool {
        self.sets().next().is_some()
    }

    /// The operator that a process of this user, with these groups, is by that alone.
    #[must_use]
    pub fn person(&self, uid: u32, groups: &[u32]) -> Option<Identified> {
        let by_number = || Arc::from(format!("uid:{uid}"));
        if !self.names_somebody() {
            let known = self.is_own(uid) || self.is_open;
            return known.then(|| Identified {
                label: by_number(),
                roles: Roles::ALL,
            });
        }
        let fits = |entry: &&Entry| match entry.whose {
            Whose::User(user) => user == uid,
            Whose::Group(group) => groups.contains(&group),
            Whose::Program(_) => false,
        };
        let fitting: Vec<&Entry> = self.entries.iter().filter(fits).collect();
        let roles = fitting
            .iter()
            .fold(Roles::NONE, |roles, entry| roles.and(entry.roles));
        let user = fitting
            .iter()
            .find(|entry| matches!(entry.whose, Whose::User(_)));
        let label = match (user, fitting.first()) {
            (Some(user), _) => Arc::clone(&user.name),
            (None, Some(group)) => Arc::from(format!("{}/uid:{uid}", group.name)),
            (None, None) if self.is_own(uid) => by_number(),
            (None, None) => return None,
        };
        Some(Identified { label, roles })
    }

    /// The operator that a program with these selectors, sorted, is.
    #[must_use]
    pub fn program(&self, selectors: &[Selector]) -> Option<Identified> {
        let mut fitting = self.sets().filter(|(_, set)| set.holds(selectors));
        let (first, _) = fitting.next()?;
        let more = fitting.fold(first.roles, |roles, (entry, _)| roles.and(entry.roles));
        Some(Identified {
            label: Arc::clone(&first.name),
            roles: more,
        })
    }

    /// Whether whoever the trail calls `name`, a process of the user `uid` where that is known, has
    /// a role now. Of a group's member it is enough that the group is named: who its members are
    /// is known only of those who connect. Files are the agent's own to read.
    #[must_use]
    pub fn knows(&self, name: &str, uid: Option<u32>) -> bool {
        if name.starts_with("file:") {
            return true;
        }
        if !self.names_somebody() {
            return uid.is_some_and(|uid| self.is_own(uid) || self.is_open);
        }
        let group = name.split_once('/').map(|(group, _)| group);
        self.entries.iter().any(|entry| match entry.whose {
            Whose::User(user) => *entry.name == *name || Some(user) == uid,
            Whose::Group(_) => Some(&*entry.name) == group,
            Whose::Program(_) => *entry.name == *name,
        })
    }

    /// Whether an operator has this name.
    #[must_use]
    pub fn names(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| *entry.name == *name)
    }

    fn is_own(&self, uid: u32) -> bool {
        uid == 0 || uid == self.own_uid
    }

    fn sets(&self) -> impl Iterator<Item = (&Entry, &SelectorSet)> {
        self.entries.iter().filter_map(|entry| match &entry.whose {
            Whose::Program(set) => Some((entry, set)),
            Whose::User(_) | Whose::Group(_) => None,
        })
    }
}
