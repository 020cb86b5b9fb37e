//! One file that a process has mapped executable.

use super::scan::has_interpreter;
use crate::{
    executable::{Executable, FileIdentity, MountId},
    findings::Fact,
    host::Host,
    procfs::{ProcRoot, stat_handle},
};
use rustix::{
    fd::{AsFd as _, OwnedFd},
    fs::{FileType, StatxFlags, fstatfs},
    io::Errno,
};
use std::sync::Arc;

/// Longest name that a reason shows, in characters.
const MAX_NAME: usize = 128;

/// `TMPFS_MAGIC`.
const FILES_IN_MEMORY: u64 = 0x0102_1994;

/// `HUGETLBFS_MAGIC`.
const HUGE_PAGES: u64 = 0x9584_58f6;

/// A file, through the mapping itself.
#[derive(Debug)]
pub(super) struct Mapped {
    pub(super) executable: Arc<Executable>,
    /// Its path as the kernel writes it for us, for people: a process can choose it.
    pub(super) name: String,
    pub(super) uid: u32,
    mode: u32,
    /// No file that anybody could open by a name: memory shared by descriptor, or a device.
    pub(super) is_memory: bool,
    /// Why its owner and mode cannot be believed.
    doubt: Option<String>,
}

impl Mapped {
    pub(super) fn new(root: &ProcRoot, handle: OwnedFd) -> Result<Self, Errno> {
        let identity = FileIdentity::of_handle(handle.as_fd())?;
        let stat = stat_handle(handle.as_fd(), StatxFlags::BASIC_STATS)?;
        let path = root.path_of(handle.as_fd()).unwrap_or_default();
        Ok(Self {
            name: printable(&path),
            uid: stat.stx_uid,
            mode: stat.stx_mode.into(),
            is_memory: false,
            doubt: None,
            executable: Arc::new(Executable { handle, identity }),
        })
    }

    /// Finds out whether its owner and mode mean something.
    pub(super) fn judge(&mut self, host: &Host, believable: Fact<()>) {
        let identity = &self.executable.identity;
        let is_regular = FileType::from_raw_mode(self.mode) == FileType::RegularFile;
        let is_of = |kind| {
            fstatfs(self.executable.handle.as_fd())
                .is_ok_and(|found| u64::try_from(found.f_type) == Ok(kind))
        };
        let is_shared = match host.memory_device {
            Some(device) => identity.device == device,
            // Rather all of that kind than none.
            None => is_of(FILES_IN_MEMORY),
        };
        self.is_memory = !is_regular || is_shared || (identity.device.0 == 0 && is_of(HUGE_PAGES));
        self.doubt = if self.is_memory {
            Some("memory shared by descriptor, which whoever holds it may write".into())
        } else if host.nobody.uid == Some(self.uid) {
            Some("its owner has no mapping in the agent's user namespace".into())
        } else {
            believable.err().map(|reason| reason.to_string())
        };
    }

    /// Why it cannot be said that only one of `owners` can write it. A named user or group of an
    /// access list needs the group's bits in the mode, which are its mask then.
    pub(super) fn distrust(&self, owners: &[u32]) -> Option<String> {
        let (name, mode) = (&self.name, self.mode & 0o7777);
        if let Some(doubt) = &self.doubt {
            return Some(format!("{name}: {doubt}"));
        }
        if !owners.contains(&self.uid) {
            return Some(format!("{name} belongs to user {}", self.uid));
        }
        (mode & 0o022 != 0).then(|| format!("{name} can be written by others (mode {mode:04o})"))
    }

    pub(super) fn has_interpreter(&self, root: &ProcRoot) -> Fact<bool> {
        match &self.doubt {
            Some(doubt) => Err(doubt.clone().into()),
            None => has_interpreter(root, &self.executable.handle),
        }
    }

    /// One mount, device and inode is one file.
    pub(super) fn order(&self) -> ((u32, u32), u64, u64) {
        let FileIdentity { device, inode, .. } = self.executable.identity;
        let mount = match self.executable.identity.mount {
            MountId::Unique(id) | MountId::Reused(id) => id,
            MountId::Unknown => 0,
        };
        (device, inode, mount)
    }

    /// All that is known of it and changes with it.
    pub(super) fn state(&self) -> String {
        let (identity, uid, mode) = (self.executable.identity, self.uid, self.mode);
        format!("{identity:?} {uid} {mode:o} {:?}\n", self.doubt)
    }
}

fn printable(path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path);
    let plain = path.chars().filter(|c| crate::selector::is_plain(*c));
    plain.take(MAX_NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::{Mapped, printable};
    use crate::{procfs::ProcRoot, selector::is_plain};
    use rustix::fs::{CWD, Mode, OFlags, openat};
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

    fn mapped(path: &Path) -> Mapped {
        let root = ProcRoot::open(Path::new("/proc")).unwrap();
        let handle = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        Mapped::new(&root, handle).unwrap()
    }

    #[test]
    fn whoever_else_can_write_a_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lib.so");
        fs::write(&path, "").unwrap();
        let uid = rustix::process::geteuid().as_raw();
        for (mode, expected) in [(0o755, None), (0o775, Some("0775")), (0o757, Some("0757"))] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let found = mapped(&path).distrust(&[uid]);
            assert_eq!(found.is_some(), expected.is_some());
            assert!(expected.is_none_or(|mode| found.unwrap().contains(mode)));
        }
        let other = mapped(&path).distrust(&[uid + 1]).unwrap();
        assert!(other.ends_with(&format!("lib.so belongs to user {uid}")));
    }

    #[test]
    fn a_file_whose_owner_is_made_up_is_not_trusted() {
        let mut file = mapped(Path::new("/proc/self/exe"));
        file.doubt = Some("made up".into());
        assert!(file.distrust(&[file.uid]).unwrap().contains("made up"));
        assert_ne!(file.state(), mapped(Path::new("/proc/self/exe")).state());
    }

    #[test]
    fn a_name_is_shown_without_characters_that_hide() {
        assert_eq!(printable("/a\u{202e}b\n\x1b".as_bytes()), "/ab");
        let long = printable(&[b'x'; 4096]);
        assert!(long.len() == 128 && long.chars().all(is_plain));
    }
}
