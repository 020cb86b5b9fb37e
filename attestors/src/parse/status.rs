//! `/proc/PID/status` (`proc_pid_status(5)`).

use super::{Malformed, lines, number};

/// Supplementary groups of which selectors are made. The kernel allows 65,536, and whoever owns
/// subordinate group IDs can take as many; people and services have dozens.
pub const MAX_SUPPLEMENTARY_GROUPS: usize = 1024;

/// What `status` says about a process's credentials.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Status {
    /// Effective user ID.
    pub uid: u32,
    /// Effective group ID.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Groups,
}

/// Supplementary groups.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Groups {
    /// All of them, as the kernel lists them.
    Known(Vec<u32>),
    /// More than [`MAX_SUPPLEMENTARY_GROUPS`].
    TooMany,
}

/// The credentials in `bytes`.
///
/// # Errors
/// Where a line is missing, comes twice or holds something else: the kernel
/// escapes line ends in the program's name, so no process can add a line.
pub fn status(bytes: &[u8]) -> Result<Status, Malformed> {
    Ok(Status {
        uid: effective(only(bytes, b"Uid:")?)?,
        gid: effective(only(bytes, b"Gid:")?)?,
        groups: groups(only(bytes, b"Groups:")?)?,
    })
}

/// The process's ID in each PID namespace from the reader's `/proc` inwards (`NSpid`).
///
/// # Errors
/// As [`status`].
pub fn namespaced_pids(bytes: &[u8]) -> Result<Vec<u32>, Malformed> {
    words(only(bytes, b"NSpid:")?)
        .map(|word| number(word).ok_or(Malformed("status: NSpid")))
        .collect()
}

fn only<'a>(bytes: &'a [u8], name: &[u8]) -> Result<&'a [u8], Malformed> {
    let mut found = lines(bytes).filter_map(|line| line.strip_prefix(name));
    match (found.next(), found.next()) {
        (Some(value), None) => Ok(value),
        (None, _) => Err(Malformed("status: a line is missing")),
        (Some(_), Some(_)) => Err(Malformed("status: a line comes twice")),
    }
}

fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| matches!(byte, b' ' | b'\t'))
        .filter(|word| !word.is_empty())
}

/// The second of real, effective, saved and file system ID.
fn effective(value: &[u8]) -> Result<u32, Malformed> {
    let mut ids = [0; 4];
    let mut words = words(value);
    for id in &mut ids {
        *id = words
            .next()
            .and_then(number)
            .ok_or(Malformed("status: IDs"))?;
    }
    match words.next() {
        None => Ok(ids[1]),
        Some(_) => Err(Malformed("status: IDs")),
    }
}

fn groups(value: &[u8]) -> Result<Groups, Malformed> {
    if words(value).nth(MAX_SUPPLEMENTARY_GROUPS).is_some() {
        return Ok(Groups::TooMany);
    }
    words(value)
        .map(|word| number(word).ok_or(Malformed("status: Groups")))
        .collect::<Result<_, _>>()
        .map(Groups::Known)
}

#[cfg(test)]
mod tests {
    use super::{Groups, MAX_SUPPLEMENTARY_GROUPS, Status, namespaced_pids, status};

    fn text(name: &str, groups: &str) -> String {
        format!(
            "Name:\t{name}\nUmask:\t0022\nUid:\t1000\t1001\t1002\t1003\n\
             Gid:\t2000\t2001\t2002\t2003\nFDSize:\t64\nGroups:\t{groups} \nNSpid:\t812\t3\n"
        )
    }

    #[test]
    fn the_effective_ids_and_all_groups_are_read() {
        let expected = Status {
            uid: 1001,
            gid: 2001,
            groups: Groups::Known(vec![4, 27]),
        };
        assert_eq!(status(text("sh", "4 27").as_bytes()), Ok(expected));
        assert_eq!(namespaced_pids(text("sh", "").as_bytes()), Ok(vec![812, 3]));
    }

    #[test]
    fn no_groups_are_an_empty_list() {
        let parsed = status(text("sh", "").as_bytes()).unwrap();
        assert_eq!(parsed.groups, Groups::Known(Vec::new()));
    }

    #[test]
    fn a_second_uid_line_is_refused() {
        status(text("x\nUid:\t0\t0\t0\t0", "4").as_bytes()).unwrap_err();
    }

    #[test]
    fn more_groups_than_the_limit_are_not_read_in_part() {
        let at_limit = vec!["5"; MAX_SUPPLEMENTARY_GROUPS].join(" ");
        let parsed = status(text("sh", &at_limit).as_bytes()).unwrap();
        assert!(matches!(parsed.groups, Groups::Known(list) if list.len() == 1024));
        let over = status(text("sh", &format!("{at_limit} 5")).as_bytes()).unwrap();
        assert_eq!(over.groups, Groups::TooMany);
    }

    #[test]
    fn other_texts_are_refused() {
        for (from, to) in [
            ("Uid:", "Vid:"),
            ("1001", "-1"),
            ("1001", "4294967296"),
            ("1003", ""),
            ("1003", "1\t2"),
            ("4 27", "4 x"),
        ] {
            status(text("sh", "4 27").replace(from, to).as_bytes()).unwrap_err();
        }
    }
}
