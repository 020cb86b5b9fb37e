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

/// What a process has given up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Restrictions {
    /// Whether no program that it runs can bring it privileges (since Linux 4.10).
    pub no_new_privs: Option<bool>,
    /// How its system calls are restricted; `None` on kernels without seccomp.
    pub seccomp: Option<Seccomp>,
}

/// The modes of `seccomp(2)`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Seccomp {
    /// Not at all.
    Disabled,
    /// To four calls.
    Strict,
    /// By a program.
    Filter,
}

impl Seccomp {
    /// The word for selectors.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Strict => "strict",
            Self::Filter => "filter",
        }
    }
}

/// The restrictions of one thread (`NoNewPrivs`, `Seccomp`).
///
/// # Errors
/// A line that comes twice or holds something else.
pub fn restrictions(bytes: &[u8]) -> Result<Restrictions, Malformed> {
    let digit = |name: &[u8]| match at_most_one(bytes, name)? {
        None => Ok(None),
        Some(value) => words(value)
            .next()
            .and_then(number::<u8>)
            .ok_or(Malformed("status: a restriction"))
            .map(Some),
    };
    let seccomp = match digit(b"Seccomp:")? {
        None => None,
        Some(0) => Some(Seccomp::Disabled),
        Some(1) => Some(Seccomp::Strict),
        Some(2) => Some(Seccomp::Filter),
        Some(_) => return Err(Malformed("status: Seccomp")),
    };
    let no_new_privs = match digit(b"NoNewPrivs:")? {
        None => None,
        Some(bit @ (0 | 1)) => Some(bit == 1),
        Some(_) => return Err(Malformed("status: NoNewPrivs")),
    };
    Ok(Restrictions {
        no_new_privs,
        seccomp,
    })
}

/// The process that traces this thread, if any: 0 too where the reader's PID namespace has no
/// number for it.
///
/// # Errors
/// As [`status`].
pub fn tracer(bytes: &[u8]) -> Result<Option<u32>, Malformed> {
    let pid = words(only(bytes, b"TracerPid:")?)
        .next()
        .and_then(number)
        .ok_or(Malformed("status: TracerPid"))?;
    Ok((pid != 0).then_some(pid))
}

fn at_most_one<'a>(bytes: &'a [u8], name: &[u8]) -> Result<Option<&'a [u8]>, Malformed> {
    let mut found = lines(bytes).filter_map(|line| line.strip_prefix(name));
    match (found.next(), found.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(Malformed("status: a line comes twice")),
    }
}

fn only<'a>(bytes: &'a [u8], name: &[u8]) -> Result<&'a [u8], Malformed> {
    at_most_one(bytes, name)?.ok_or(Malformed("status: a line is missing"))
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
    use super::{
        Groups, MAX_SUPPLEMENTARY_GROUPS, Restrictions, Seccomp, Status, namespaced_pids,
        restrictions, status, tracer,
    };

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

    #[test]
    fn restrictions_are_read_and_lacking_ones_are_none() {
        let none = Restrictions {
            no_new_privs: None,
            seccomp: None,
        };
        assert_eq!(restrictions(b"Name:\tx\nSeccomp_filters:\t3\n"), Ok(none));
        let all = Restrictions {
            no_new_privs: Some(true),
            seccomp: Some(Seccomp::Filter),
        };
        assert_eq!(restrictions(b"NoNewPrivs:\t1\nSeccomp:\t2\n"), Ok(all));
        for text in [
            "Seccomp:\t3",
            "Seccomp:\t2\nSeccomp:\t0",
            "NoNewPrivs:\t2",
            "NoNewPrivs:",
        ] {
            restrictions(text.as_bytes()).unwrap_err();
        }
    }

    #[test]
    fn a_tracer_is_whoever_has_a_number() {
        assert_eq!(tracer(b"TracerPid:\t0\n"), Ok(None));
        assert_eq!(
            tracer(b"Name:\tTracerPid: 0\nTracerPid:\t77\n"),
            Ok(Some(77))
        );
        for text in [
            "",
            "TracerPid:\t",
            "TracerPid:\tx",
            "TracerPid:\t0\nTracerPid:\t0",
        ] {
            tracer(text.as_bytes()).unwrap_err();
        }
    }
}
