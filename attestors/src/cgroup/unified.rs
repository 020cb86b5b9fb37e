//! The mounted unified hierarchy.
//!
//! Owns the opened mount, and the ways between a cgroup's ID and its path
//! there. IDs are never given twice until the machine starts again, and a
//! cgroup of version 2 keeps its parent and name for as long as it exists; so
//! a path below which an ID was seen is that cgroup's path.
//!
//! A mount that was made in another cgroup namespace has that namespace's root
//! as its own: only where the ID of its root is 1 are paths below it whole.

use crate::{parse, procfs::ProcRoot, selector::is_path};
use rustix::{
    fd::{AsFd as _, OwnedFd},
    fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, fstatfs, openat, statx},
    io::Errno,
};
use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
use symbolon_syscalls::cgroup_by_id;

/// `CGROUP2_SUPER_MAGIC`.
const CGROUP2: u64 = 0x6367_7270;

/// Inode of the root of the hierarchy.
const ROOT: u64 = 1;

/// Most of our own `mountinfo` that is read, as for the host's.
const MAX_MOUNTINFO_BYTES: usize = crate::mounts::MAX_MOUNTINFO_BYTES;

/// A mount of the unified hierarchy.
#[derive(Debug)]
pub(crate) struct Unified {
    mount: OwnedFd,
    whole: bool,
}

impl Unified {
    /// Looks among the agent's own mounts, and prefers one that shows the whole hierarchy.
    pub(crate) fn find(root: &ProcRoot) -> Option<Self> {
        let mountinfo = root.read("self/mountinfo", MAX_MOUNTINFO_BYTES).ok()?;
        let mut part = None;
        for point in parse::mount_points(&mountinfo, "cgroup2") {
            match Self::open(OsStr::from_bytes(&point)) {
                Some(unified) if unified.whole => return Some(unified),
                Some(unified) => part = Some(unified),
                None => {}
            }
        }
        part
    }

    fn open(point: &OsStr) -> Option<Self> {
        // Not a bare handle: IDs are not resolved through one.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mount = openat(CWD, point, flags, Mode::empty()).ok()?;
        // Something else may be mounted over it.
        let kind = fstatfs(&mount).ok()?.f_type;
        if u64::try_from(kind) != Ok(CGROUP2) {
            return None;
        }
        let whole = inode(&mount, "").ok()? == ROOT;
        Some(Self { mount, whole })
    }

    /// The ID of the cgroup at `path`.
    pub(crate) fn id(&self, path: &str) -> Option<u64> {
        inode(&self.mount, path.trim_start_matches('/')).ok()
    }

    /// The path of the cgroup `id`, from the root of the hierarchy.
    pub(crate) fn path(&self, root: &ProcRoot, id: u64) -> Result<String, Errno> {
        if !self.whole {
            return Err(Errno::XDEV);
        }
        let cgroup = cgroup_by_id(self.mount.as_fd(), id)?;
        let mount = root.path_of(self.mount.as_fd())?;
        let path = root.path_of(cgroup.as_fd())?;
        let below = path.strip_prefix(&*mount).ok_or(Errno::XDEV)?;
        let below = if below.is_empty() { b"/" } else { below };
        match str::from_utf8(below) {
            Ok(below) if is_path(below) => Ok(below.to_owned()),
            _ => Err(Errno::ILSEQ),
        }
    }
}

fn inode(directory: &OwnedFd, path: &str) -> Result<u64, Errno> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    Ok(statx(directory, path, flags, StatxFlags::INO)?.stx_ino)
}

#[cfg(test)]
mod tests {
    use super::Unified;
    use crate::procfs::ProcRoot;
    use std::path::Path;

    #[test]
    fn the_root_has_an_id_and_the_id_a_path() {
        let root = ProcRoot::open(Path::new("/proc")).unwrap();
        let Some(unified) = Unified::find(&root) else {
            return;
        };
        let id = unified.id("/").unwrap();
        assert_eq!(unified.whole, id == 1);
        // Without CAP_DAC_READ_SEARCH, or in part of the hierarchy, no ID leads to a path.
        if let Ok(path) = unified.path(&root, id) {
            assert_eq!(path, "/");
        }
        assert_eq!(unified.id("/no such cgroup"), None);
        unified.path(&root, u64::MAX).unwrap_err();
    }
}
