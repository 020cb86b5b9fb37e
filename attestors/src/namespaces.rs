//! Which namespaces processes are in, and who answers for them.
//!
//! Owns the comparison of namespaces by their inode, and the way from a
//! process in a user namespace of its own to the user who made it: inside, one
//! user has as many user IDs as were delegated to him, so shares of the agent's
//! time are charged to the owner of the outermost namespace below ours.

use crate::procfs::ProcDir;
use rustix::{
    fd::{AsFd as _, OwnedFd},
    fs::{Statx, StatxFlags},
    io::Errno,
};
use symbolon_syscalls::{namespace_owner_uid, namespace_owner_user, namespace_parent};

/// User namespaces nest at most 33 deep (`user_namespaces(7)`).
const MAX_DEPTH: usize = 33;

/// One namespace, for as long as it exists.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct NamespaceId {
    device: (u32, u32),
    inode: u64,
}

impl From<&Statx> for NamespaceId {
    fn from(stat: &Statx) -> Self {
        Self {
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
        }
    }
}

impl NamespaceId {
    /// The namespace of a process: `name` is `mnt`, `user` and so on.
    pub(crate) fn of_process(directory: &ProcDir, name: &str) -> Result<Self, Errno> {
        let stat = directory.stat(&format!("ns/{name}"), StatxFlags::BASIC_STATS)?;
        Ok(Self::from(&stat))
    }

    fn of_handle(handle: &OwnedFd) -> Result<Self, Errno> {
        let stat = crate::procfs::stat_handle(handle.as_fd(), StatxFlags::BASIC_STATS)?;
        Ok(Self::from(&stat))
    }
}

/// The user who answers for a process with the effective user ID `uid`; `ours` is our own user
/// namespace.
pub(crate) fn accountable_uid(directory: &ProcDir, uid: u32, ours: Option<NamespaceId>) -> u32 {
    ours.and_then(|ours| outer_owner(directory, ours).ok().flatten())
        .unwrap_or(uid)
}

fn outer_owner(directory: &ProcDir, ours: NamespaceId) -> Result<Option<u32>, Errno> {
    if NamespaceId::of_process(directory, "user")? == ours {
        return Ok(None);
    }
    let mut namespace = directory.file("ns/user")?;
    for _ in 0..MAX_DEPTH {
        let parent = namespace_parent(namespace.as_fd())?;
        if NamespaceId::of_handle(&parent)? == ours {
            return namespace_owner_uid(namespace.as_fd()).map(Some);
        }
        namespace = parent;
    }
    Ok(None)
}

/// Whether the mounts of a process's mount namespace are made by the privileged of `ours`.
pub(crate) fn mounts_are_ours(directory: &ProcDir, ours: Option<NamespaceId>) -> bool {
    let owner = || {
        let mounts = directory.file("ns/mnt")?;
        let owner = namespace_owner_user(mounts.as_fd())?;
        NamespaceId::of_handle(&owner)
    };
    ours.is_some() && owner().ok() == ours
}
