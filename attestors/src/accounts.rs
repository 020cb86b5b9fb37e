//! Names of users and groups, from the host's files.
//!
//! Owns what was last read of `passwd` and `group`. There is no NSS: a name
//! service would run other people's code in the agent and can be made to wait;
//! names it alone knows are unknown here, and registrations use numbers. In a
//! container with the host's processes the host's `/etc` is mounted and
//! configured (`etc_root`); the agent's own would name other people.
//!
//! A file is read again when its identity or one of its times has changed, and
//! each time while its last change is younger than the clock's tick.

use crate::{
    findings::{Fact, Reason},
    parse,
    procfs::{ReadError, read_to_end},
    settled::is_settled,
};
use parking_lot::Mutex;
use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, open, statx},
    io::Errno,
};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

/// Most of a file that is read: some 200,000 accounts.
const MAX_FILE_BYTES: usize = 16 << 20;

/// The name of each numeric ID.
pub(crate) type Names = HashMap<u32, Box<str>>;

/// `passwd` and `group`.
#[derive(Debug)]
pub(crate) struct Accounts {
    pub(crate) users: NameFile,
    pub(crate) groups: NameFile,
}

impl Accounts {
    /// The files in `etc`; they need not be there.
    pub(crate) fn new(etc: &Path) -> Self {
        Self {
            users: NameFile::new(etc.join("passwd")),
            groups: NameFile::new(etc.join("group")),
        }
    }
}

/// A file of names, as it was when it was last read.
#[derive(Debug)]
pub(crate) struct NameFile {
    path: PathBuf,
    last: Mutex<Option<(Stamp, Arc<Names>)>>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Stamp {
    device: (u32, u32),
    inode: u64,
    size: u64,
    modified: (i64, u32),
    changed: (i64, u32),
}

impl NameFile {
    const fn new(path: PathBuf) -> Self {
        Self {
            path,
            last: Mutex::new(None),
        }
    }

    /// All names in it at the time `at`.
    pub(crate) fn names(&self, at: SystemTime) -> Fact<Arc<Names>> {
        let stamp = self.stamp().map_err(|error| self.reason(error.into()))?;
        let mut last = self.last.lock();
        if let Some((read, names)) = &*last
            && *read == stamp
        {
            return Ok(Arc::clone(names));
        }
        let names = Arc::new(self.read().map_err(|error| self.reason(error))?);
        *last = is_settled(stamp.changed, at).then(|| (stamp, Arc::clone(&names)));
        Ok(names)
    }

    /// The name of one ID in `names`, which are this file's.
    pub(crate) fn name<'a>(&self, names: &'a Names, id: u32) -> Fact<&'a str> {
        names
            .get(&id)
            .map(|name| &**name)
            .ok_or_else(|| format!("{} has no entry for {id}", self.path.display()).into())
    }

    fn stamp(&self) -> Result<Stamp, Errno> {
        let stat = statx(CWD, &self.path, AtFlags::empty(), StatxFlags::BASIC_STATS)?;
        Ok(Stamp {
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            size: stat.stx_size,
            modified: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
            changed: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
        })
    }

    fn read(&self) -> Result<Names, ReadError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = open(&self.path, flags, Mode::empty())?;
        let mut bytes = Vec::new();
        read_to_end(&file, MAX_FILE_BYTES, &mut bytes)?;
        Ok(parse::names_by_id(&bytes)
            .into_iter()
            .map(|(id, name)| (id, name.into()))
            .collect())
    }

    fn reason(&self, error: ReadError) -> Reason {
        format!("{}: {error}", self.path.display()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::Accounts;
    use std::{
        fs,
        time::{Duration, SystemTime, UNIX_EPOCH},
    };

    fn later() -> SystemTime {
        UNIX_EPOCH + Duration::from_hours(24 * 365 * 200)
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let etc = tempfile::tempdir().unwrap();
        let file = etc.path().join("passwd");
        fs::write(&file, "amy:x:1000:1000::/:\n").unwrap();
        let users = Accounts::new(etc.path()).users;
        let names = users.names(later()).unwrap();
        assert_eq!(users.name(&names, 1000), Ok("amy"));
        fs::write(&file, "bob:x:1000:1000::/:/bin/sh\n").unwrap();
        let names = users.names(later()).unwrap();
        assert_eq!(users.name(&names, 1000), Ok("bob"));
    }

    #[test]
    fn a_file_changed_a_moment_ago_is_read_each_time() {
        let etc = tempfile::tempdir().unwrap();
        fs::write(etc.path().join("group"), "a:x:1:\n").unwrap();
        let groups = Accounts::new(etc.path()).groups;
        let changed = fs::metadata(etc.path().join("group"))
            .unwrap()
            .modified()
            .unwrap();
        groups.names(changed + Duration::from_secs(1)).unwrap();
        assert!(groups.last.lock().is_none());
        groups.names(changed + Duration::from_secs(3)).unwrap();
        assert!(groups.last.lock().is_some());
    }

    #[test]
    fn missing_files_and_entries_say_so() {
        let etc = tempfile::tempdir().unwrap();
        fs::write(etc.path().join("group"), "a:x:1:\n").unwrap();
        let accounts = Accounts::new(etc.path());
        assert!(
            accounts
                .users
                .names(later())
                .unwrap_err()
                .contains("passwd")
        );
        let names = accounts.groups.names(later()).unwrap();
        let reason = accounts.groups.name(&names, 2).unwrap_err();
        assert!(reason.contains("no entry for 2"));
    }
}
