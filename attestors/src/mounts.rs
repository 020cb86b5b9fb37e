//! The mounts of the host, and which file systems can be believed.
//!
//! Owns the table of the host's mount namespace: the agent's own, or that of
//! PID 1 where the agent has another one but sees the host's processes (a
//! container with the host's PIDs, a service with private mounts). The table
//! follows the kernel: an opened `mountinfo` polls as changed after each mount
//! and unmount, and is read anew only then.
//!
//! A file system whose content another program or machine makes up can show
//! one file to the agent and run another. So the types that can be believed
//! are listed, and every other one is not. `overlay` passes on what lies
//! below it, and anybody can mount one inside a user namespace: it is believed
//! only where the mount was made by the privileged of our user namespace.

use crate::{
    parse,
    procfs::{ProcRoot, ReadError, read_to_end},
};
use parking_lot::Mutex;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::OwnedFd,
    fs::{SeekFrom, seek},
};
use std::collections::HashMap;

/// Most of a `mountinfo` that is read: some 40,000 mounts. The kernel allows 100,000
/// (`fs.mount-max`) in each namespace, also in a caller's own.
pub(crate) const MAX_MOUNTINFO_BYTES: usize = 8 << 20;

/// Local file systems whose content only the kernel makes up, and whose times
/// tell every state of a file apart.
const LOCAL: [&str; 15] = [
    "bcachefs", "btrfs", "cramfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "iso9660", "jfs",
    "nilfs2", "ntfs3", "squashfs", "xfs", "zfs",
];

/// The same, but for the times: a store through a shared mapping leaves those of
/// a file in memory as they were, and the old formats have no change time.
const UNTIMED: [&str; 5] = ["exfat", "ramfs", "rootfs", "tmpfs", "vfat"];

/// How far the content of a file system can be believed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum FileSystem {
    /// The kernel alone makes it up, and each change shows in its times.
    Local,
    /// The kernel alone makes it up, but a change may not show.
    Untimed,
    /// It passes on what lies below, which may be either.
    Overlay,
    /// Another program or machine may make it up; its type.
    Other(String),
}

impl From<&str> for FileSystem {
    fn from(kind: &str) -> Self {
        if kind == "overlay" {
            Self::Overlay
        } else if LOCAL.contains(&kind) {
            Self::Local
        } else if UNTIMED.contains(&kind) {
            Self::Untimed
        } else {
            Self::Other(kind.into())
        }
    }
}

/// The file system of the mount `id` in the content of a `mountinfo`.
pub(crate) fn find(mountinfo: &[u8], id: u64) -> Option<FileSystem> {
    parse::mounts(mountinfo)
        .find(|(mount, _)| *mount == id)
        .map(|(_, kind)| kind.into())
}

/// The mounts of the host's mount namespace.
#[derive(Debug)]
pub(crate) struct HostMounts(Mutex<Table>);

#[derive(Debug)]
struct Table {
    mountinfo: OwnedFd,
    mounts: HashMap<u64, FileSystem>,
}

impl HostMounts {
    /// Reads the table of the process that stands at `process` in `/proc`.
    pub(crate) fn open(root: &ProcRoot, process: &str) -> Result<Self, ReadError> {
        let mountinfo = root.file(&format!("{process}/mountinfo"))?;
        let mut table = Table {
            mountinfo,
            mounts: HashMap::new(),
        };
        table.read()?;
        Ok(Self(Mutex::new(table)))
    }

    /// The file system of the mount `id`, where the host has that mount now.
    pub(crate) fn find(&self, id: u64) -> Option<FileSystem> {
        let mut table = self.0.lock();
        if table.changed() && table.read().is_err() {
            // Nothing is on the host's mounts until they can be read again.
            table.mounts.clear();
        }
        table.mounts.get(&id).cloned()
    }
}

impl Table {
    fn changed(&self) -> bool {
        let mut mountinfo = [PollFd::new(&self.mountinfo, PollFlags::PRI)];
        // An empty table is one that could not be read.
        self.mounts.is_empty() || poll(&mut mountinfo, Some(&Timespec::default())) != Ok(0)
    }

    fn read(&mut self) -> Result<(), ReadError> {
        let mut bytes = Vec::new();
        seek(&self.mountinfo, SeekFrom::Start(0))?;
        read_to_end(&self.mountinfo, MAX_MOUNTINFO_BYTES, &mut bytes)?;
        self.mounts = parse::mounts(&bytes)
            .map(|(id, kind)| (id, kind.into()))
            .collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{FileSystem, HostMounts, find};
    use crate::procfs::ProcRoot;
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
    use std::path::Path;

    #[test]
    fn only_listed_types_are_local() {
        assert_eq!(FileSystem::from("ext4"), FileSystem::Local);
        assert_eq!(FileSystem::from("overlay"), FileSystem::Overlay);
        for kind in [
            "fuse",
            "fuse.ext4",
            "fuseblk",
            "nfs4",
            "9p",
            "virtiofs",
            "new",
        ] {
            assert_eq!(FileSystem::from(kind), FileSystem::Other(kind.into()));
        }
    }

    #[test]
    fn a_mount_is_found_by_its_id() {
        let text = b"27 1 254:0 / / rw - ext4 a rw\n30 27 0:26 / /m rw - fuse.x a rw\n";
        assert_eq!(find(text, 27), Some(FileSystem::Local));
        assert_eq!(find(text, 30), Some(FileSystem::Other("fuse.x".into())));
        assert_eq!(find(text, 2), None);
    }

    #[test]
    fn our_own_mounts_are_on_the_host() {
        let root = ProcRoot::open(Path::new("/proc")).unwrap();
        let host = HostMounts::open(&root, "self").unwrap();
        let proc = statx(CWD, "/proc", AtFlags::empty(), StatxFlags::MNT_ID).unwrap();
        let found = host.find(proc.stx_mnt_id).unwrap();
        assert_eq!(found, FileSystem::Other("proc".into()));
        assert_eq!(host.find(u64::MAX), None);
    }
}
