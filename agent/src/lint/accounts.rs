//! Users that people log in as, from the host's `passwd` and `group`.

use std::collections::HashMap;

/// Ordinary users begin here (`UID_MIN` of login.defs(5)).
const FIRST_PERSON: u32 = 1000;

/// The user of those that have none: `nobody`.
const NOBODY: u32 = 65_534;

/// Programs that let nobody in.
const CLOSED: [&str; 6] = ["nologin", "false", "true", "sync", "halt", "shutdown"];

/// What kind of user a user is, where that is more than one program's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Person {
    /// The superuser.
    Root,
    /// Somebody logs in as this one.
    Login(String),
    /// Many programs share it.
    Nobody,
}

#[derive(Clone, Debug)]
struct User {
    name: String,
    gid: u32,
    logs_in: bool,
}

#[derive(Clone, Debug)]
struct Group {
    name: String,
    members: Vec<String>,
}

/// The host's users and groups; without any, root and nobody alone are known.
#[derive(Clone, Debug, Default)]
pub(super) struct Accounts {
    users: HashMap<u32, User>,
    groups: HashMap<u32, Group>,
}

impl Accounts {
    /// What the two files say; lines that cannot be read say nothing.
    pub(super) fn parse(passwd: &str, group: &str) -> Self {
        let mut accounts = Self::default();
        for (uid, user) in passwd.lines().filter_map(user) {
            accounts.users.entry(uid).or_insert(user);
        }
        for (gid, group) in group.lines().filter_map(group_of) {
            accounts.groups.entry(gid).or_insert(group);
        }
        accounts
    }

    /// The number of a user's name.
    pub(super) fn uid(&self, name: &str) -> Option<u32> {
        if name == "root" {
            return Some(0);
        }
        let mut users = self.users.iter();
        users.find_map(|(uid, user)| (user.name == name).then_some(*uid))
    }

    /// The number of a group's name.
    pub(super) fn gid(&self, name: &str) -> Option<u32> {
        let mut groups = self.groups.iter();
        groups.find_map(|(gid, group)| (group.name == name).then_some(*gid))
    }

    /// Who this user is beyond a program's own.
    pub(super) fn person(&self, uid: u32) -> Option<Person> {
        match uid {
            0 => Some(Person::Root),
            NOBODY => Some(Person::Nobody),
            uid => {
                let user = self.users.get(&uid)?;
                let logs_in = uid >= FIRST_PERSON && user.logs_in;
                logs_in.then(|| Person::Login(user.name.clone()))
            }
        }
    }

    /// The first person in the group.
    pub(super) fn person_in(&self, gid: u32) -> Option<Person> {
        let mut uids = self.members(gid)?;
        uids.sort_unstable();
        uids.into_iter().find_map(|uid| self.person(uid))
    }

    /// All users of the group; `None` where it is not known.
    pub(super) fn members(&self, gid: u32) -> Option<Vec<u32>> {
        let group = self.groups.get(&gid)?;
        let named = group.members.iter().filter_map(|name| self.uid(name));
        let primary = self.users.iter().filter(|(_, user)| user.gid == gid);
        Some(named.chain(primary.map(|(uid, _)| *uid)).collect())
    }

    /// A user for a sentence.
    pub(super) fn name(&self, uid: u32) -> String {
        match (uid, self.users.get(&uid)) {
            (_, Some(user)) => user.name.clone(),
            (0, None) => "root".to_owned(),
            (uid, None) => format!("uid {uid}"),
        }
    }

    /// A group for a sentence.
    pub(super) fn group_name(&self, gid: u32) -> String {
        let group = self.groups.get(&gid);
        group.map_or_else(|| format!("gid {gid}"), |group| group.name.clone())
    }
}

/// See passwd(5).
fn user(line: &str) -> Option<(u32, User)> {
    let fields: Vec<_> = line.split(':').collect();
    let [name, _, uid, gid, _, _, shell] = fields.as_slice() else {
        return None;
    };
    let program = shell.rsplit('/').next().unwrap_or_default();
    let user = User {
        name: (*name).to_owned(),
        gid: gid.parse().ok()?,
        // An empty field stands for /bin/sh.
        logs_in: !CLOSED.contains(&program),
    };
    Some((uid.parse().ok()?, user))
}

/// See group(5).
fn group_of(line: &str) -> Option<(u32, Group)> {
    let fields: Vec<_> = line.split(':').collect();
    let [name, _, gid, members] = fields.as_slice() else {
        return None;
    };
    let members = members.split(',').filter(|name| !name.is_empty());
    let group = Group {
        name: (*name).to_owned(),
        members: members.map(ToOwned::to_owned).collect(),
    };
    Some((gid.parse().ok()?, group))
}

#[cfg(test)]
mod tests {
    use super::{Accounts, Person};

    fn accounts() -> Accounts {
        Accounts::parse(
            "root:x:0:0:root:/root:/bin/bash\n\
             svc:x:998:998::/:/usr/sbin/nologin\n\
             postgres:x:120:120::/:/bin/bash\n\
             amy:x:1000:1000::/home/amy:/bin/zsh\n\
             bot:x:1001:1001::/:/bin/false\n\
             kim:x:1002:50::/home/kim:\n\
             broken\n",
            "staff:x:50:\ndeploy:x:60:amy,svc\nsvc:x:998:\n",
        )
    }

    #[test]
    fn people_and_programs_are_told_apart() {
        let accounts = accounts();
        assert_eq!(accounts.person(0), Some(Person::Root));
        assert_eq!(accounts.person(1000), Some(Person::Login("amy".into())));
        assert_eq!(accounts.person(1002), Some(Person::Login("kim".into())));
        assert_eq!(accounts.person(65_534), Some(Person::Nobody));
        for program in [998, 120, 1001, 4711] {
            assert_eq!(accounts.person(program), None, "{program}");
        }
        assert_eq!(Accounts::default().person(0), Some(Person::Root));
    }

    #[test]
    fn groups_have_members_of_both_files() {
        let accounts = accounts();
        assert_eq!(accounts.members(50), Some(vec![1002]));
        assert_eq!(accounts.person_in(60), Some(Person::Login("amy".into())));
        assert_eq!(accounts.person_in(998), None);
        assert_eq!(accounts.members(7), None);
    }
}
