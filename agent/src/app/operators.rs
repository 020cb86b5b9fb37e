//! From the names in the configuration to the roster.

use super::RunError;
use crate::{
    config::{Config, KnownBy},
    operators::{Entry, Roster, Whose},
    registry::Gates,
};
use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt as _, path::Path};

/// Who is an operator by this configuration. Reads files: not for an async thread.
pub(super) fn roster(config: &Config) -> Result<Roster, RunError> {
    let own_uid = rustix::process::geteuid().as_raw();
    if config.operators.is_empty() {
        return Ok(Roster::nobody(own_uid, config.admin_api.group.is_some()));
    }
    let mut users = BTreeSet::new();
    let mut entries = Vec::new();
    for operator in &config.operators {
        let whose = match &operator.known_by {
            KnownBy::Uid(uid) => Whose::User(*uid),
            KnownBy::User(user) => Whose::User(user_id(user)?),
            KnownBy::Group(group) => Whose::Group(group_id(group)?),
            KnownBy::Selectors(set) => Whose::Program(set.clone()),
        };
        if let Whose::User(uid) = whose
            && !users.insert(uid)
        {
            let why = format!(
                "uid {uid} is named twice, the second time as {}",
                operator.name
            );
            return Err(RunError::Operators(why));
        }
        entries.push(Entry {
            name: operator.name.as_str().into(),
            whose,
            roles: operator.roles,
        });
    }
    Ok(Roster::of(own_uid, entries))
}

/// What has to be known of processes to recognise the programs among them that are operators.
pub(super) fn gates(config: &Config) -> Gates {
    let operators = config.operators.iter();
    let sets = operators.filter_map(|operator| match &operator.known_by {
        KnownBy::Selectors(set) => Some(set.clone()),
        KnownBy::Uid(_) | KnownBy::User(_) | KnownBy::Group(_) => None,
    });
    Gates::of(&sets.collect::<Vec<_>>())
}

/// A user by its name in `/etc/passwd`.
fn user_id(user: &str) -> Result<u32, RunError> {
    in_file("/etc/passwd", user).map_err(RunError::Operators)
}

/// A group by its number, or by its name in `/etc/group`.
pub(super) fn group_id(group: &str) -> Result<u32, RunError> {
    if let Ok(id) = group.parse() {
        return Ok(id);
    }
    in_file("/etc/group", group).map_err(RunError::Group)
}

fn in_file(file: &str, name: &str) -> Result<u32, String> {
    let text = fs::read(file).map_err(|error| format!("cannot read {file}: {error}"))?;
    id_in(&String::from_utf8_lossy(&text), name)
        .ok_or_else(|| format!("there is no {name:?} in {file}"))
}

/// The third field of the name's line, see passwd(5) and group(5).
fn id_in(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

/// A directory from the time when the socket was for fewer is never opened by the agent: it may
/// have been made for more than the socket.
pub(super) fn warn_of_closed_directory(socket: &Path) {
    let Some(directory) = socket.parent() else {
        return;
    };
    let is_closed = fs::metadata(directory).is_ok_and(|found| found.mode() & 0o001 == 0);
    if is_closed {
        tracing::warn!(
            directory = %directory.display(),
            "operators of other users cannot enter the admin socket's directory; where nothing else \
             lies in it: chmod 755"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::id_in;

    #[test]
    fn names_are_whole_and_ids_numbers() {
        let text = "root:x:0:0::/:/bin/sh\nalice:x:1001:1001::/:\nbroken:x:one:\n";
        assert_eq!(id_in(text, "alice"), Some(1001));
        for absent in ["ali", "", "x", "broken", "alice:x"] {
            assert_eq!(id_in(text, absent), None, "{absent}");
        }
    }
}
