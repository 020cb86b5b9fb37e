//! The file that a process runs.
//!
//! Owns one bare handle of `/proc/PID/exe`, taken once: identity, path and
//! content of an attestation all come through it, so that they are facts about
//! one file even where the process runs another one a moment later. Taking the
//! handle opens nothing and asks no file system, so a caller cannot make it
//! wait.
//!
//! The link says what was executed last, unless the process has turned it to
//! another file since (`PR_SET_MM_MAP`), and nothing of what was loaded into
//! the program: `doc/unix.md` says what path and digest are good for.

use crate::procfs::{ProcDir, ProcRoot, stat_handle};
use rustix::{
    fd::{AsFd as _, BorrowedFd, OwnedFd},
    fs::{FileType, Mode, Statx, StatxFlags},
    io::Errno,
};

/// `STATX_MNT_ID_UNIQUE` (Linux 6.8): mount IDs that are never given again.
const MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// One state of one file: changes with every write to it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct FileIdentity {
    /// The mount through which it was reached.
    pub(crate) mount: MountId,
    pub(crate) device: (u32, u32),
    pub(crate) inode: u64,
    pub(crate) size: u64,
    pub(crate) modified: Instant,
    pub(crate) changed: Instant,
}

/// A file's time: seconds and nanoseconds since 1970.
pub(crate) type Instant = (i64, u32);

/// A mount's number.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum MountId {
    /// Given once since boot.
    Unique(u64),
    /// May be given again once the mount is gone.
    Reused(u64),
    /// The kernel does not tell (before 5.8).
    Unknown,
}

impl FileIdentity {
    const FIELDS: StatxFlags = StatxFlags::BASIC_STATS.union(MNT_ID_UNIQUE);

    /// Of the file that a process runs now.
    pub(crate) fn of_process(directory: &ProcDir) -> Result<Self, Errno> {
        directory
            .stat("exe", Self::FIELDS)
            .map(|stat| Self::new(&stat, &|| directory.stat("exe", StatxFlags::MNT_ID)))
    }

    /// Of an opened file.
    pub(crate) fn of_handle(handle: BorrowedFd<'_>) -> Result<Self, Errno> {
        let stat = stat_handle(handle, Self::FIELDS)?;
        Ok(Self::new(&stat, &|| {
            stat_handle(handle, StatxFlags::MNT_ID)
        }))
    }

    fn new(stat: &Statx, reused: &dyn Fn() -> Result<Statx, Errno>) -> Self {
        let mount = if has(stat, MNT_ID_UNIQUE) {
            MountId::Unique(stat.stx_mnt_id)
        } else {
            reused()
                .ok()
                .filter(|stat| has(stat, StatxFlags::MNT_ID))
                .map_or(MountId::Unknown, |stat| MountId::Reused(stat.stx_mnt_id))
        };
        Self {
            mount,
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            size: stat.stx_size,
            modified: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
            changed: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
        }
    }
}

fn has(stat: &Statx, field: StatxFlags) -> bool {
    stat.stx_mask & field.bits() != 0
}

/// The file that a process ran when the handle was taken.
#[derive(Debug)]
pub(crate) struct Executable {
    pub(crate) handle: OwnedFd,
    pub(crate) identity: FileIdentity,
}

/// What a file gives to whoever runs it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct PrivilegeBits {
    /// Its owner's user ID.
    pub(crate) setuid: bool,
    /// Its group's ID. Without the right to execute for the group the bit means something else.
    pub(crate) setgid: bool,
}

impl Executable {
    /// Takes the handle.
    ///
    /// `ENOENT` says that the process runs no file: a kernel thread, or its
    /// first thread has exited.
    pub(crate) fn of_process(directory: &ProcDir) -> Result<Self, Errno> {
        let handle = directory.handle("exe")?;
        let identity = FileIdentity::of_handle(handle.as_fd())?;
        Ok(Self { handle, identity })
    }

    /// Whether it is a regular file.
    pub(crate) fn is_regular(&self) -> Result<bool, Errno> {
        let stat = stat_handle(self.handle.as_fd(), StatxFlags::TYPE)?;
        Ok(FileType::from_raw_mode(stat.stx_mode.into()) == FileType::RegularFile)
    }

    /// Which IDs it gives to whoever runs it (`execve(2)`).
    pub(crate) fn privilege_bits(&self) -> Result<PrivilegeBits, Errno> {
        let stat = stat_handle(self.handle.as_fd(), StatxFlags::MODE)?;
        let mode = Mode::from_raw_mode(stat.stx_mode.into());
        Ok(PrivilegeBits {
            setuid: mode.contains(Mode::SUID),
            setgid: mode.contains(Mode::SGID | Mode::XGRP),
        })
    }

    /// Its mount's number as `mountinfo` lists it.
    pub(crate) fn mountinfo_id(&self) -> Option<u64> {
        let stat = stat_handle(self.handle.as_fd(), StatxFlags::MNT_ID).ok()?;
        has(&stat, StatxFlags::MNT_ID).then_some(stat.stx_mnt_id)
    }

    /// Its path as the kernel writes it for us.
    pub(crate) fn path(&self, root: &ProcRoot) -> Result<Vec<u8>, Errno> {
        root.path_of(self.handle.as_fd())
    }
}
