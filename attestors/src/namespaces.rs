//! Which namespaces processes are in, and who answers for them.
//!
//! Owns the comparison of namespaces by their inode, and the way from a
//! process in a user namespace of its own to the user who made it: inside, one
//! user has as many user IDs as were delegated to him, so shares of the agent's
//! time are charged to the owner of the outermost namespace below ours.

use crate::{
    budget::OPERATORS,
    findings::{Reason, unread},
    host::Host,
    pin::PinnedPeer,
    procfs::{ProcDir, ProcRoot},
};
use rustix::{
    fd::{AsFd, BorrowedFd},
    fs::{Statx, StatxFlags},
    io::Errno,
};
use symbolon_syscalls::{namespace_owner_uid, namespace_owner_user, namespace_parent};

/// User namespaces nest at most 33 deep (`user_namespaces(7)`).
const MAX_DEPTH: usize = 33;

/// One kind of namespace.
pub(crate) struct NamespaceKind {
    /// The selector that says whether a process is in the host's.
    pub(crate) selector: &'static str,
    /// Its link below `/proc/PID/ns`.
    pub(crate) name: &'static str,
}

/// The kinds that the `process` attestor compares.
pub(crate) const NAMESPACES: [NamespaceKind; 7] = {
    const fn kind(selector: &'static str, name: &'static str) -> NamespaceKind {
        NamespaceKind { selector, name }
    }
    [
        kind("process:cgroup_namespace", "cgroup"),
        kind("process:ipc_namespace", "ipc"),
        kind("process:mount_namespace", "mnt"),
        kind("process:network_namespace", "net"),
        kind("process:pid_namespace", "pid"),
        kind("process:user_namespace", "user"),
        kind("process:uts_namespace", "uts"),
    ]
};

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

    /// The namespace behind a handle of it.
    pub(crate) fn of_handle(handle: impl AsFd) -> Result<Self, Errno> {
        let stat = crate::procfs::stat_handle(handle.as_fd(), StatxFlags::BASIC_STATS)?;
        Ok(Self::from(&stat))
    }
}

/// The user who answers for `peer`, and pays for what is read of it.
pub(crate) fn accountable(host: &Host, peer: &PinnedPeer) -> u32 {
    if peer.is_asked_about() {
        return OPERATORS;
    }
    let uid = peer.credentials().uid;
    peer.directory(&host.root).map_or(uid, |directory| {
        accountable_uid(directory, uid, host.user_namespace)
    })
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
        if NamespaceId::of_handle(parent.as_fd())? == ours {
            return namespace_owner_uid(namespace.as_fd()).map(Some);
        }
        namespace = parent;
    }
    Ok(None)
}

/// Confirms that every PID namespace from a process's up to ours belongs to our user namespace:
/// whoever has `CAP_SYS_ADMIN` over one can stamp messages with any process ID in it.
pub(crate) fn pids_are_ours(directory: &ProcDir, host: &Host) -> Result<(), Reason> {
    let unread = |error: Errno| unread("ns/pid", error.into());
    let ours = host
        .user_namespace
        .ok_or("the agent's own user namespace cannot be read")?;
    let top = host.pid_namespace.as_ref().map_err(Clone::clone)?;
    if NamespaceId::of_process(directory, "pid").map_err(unread)? == *top {
        return Ok(());
    }
    let mut namespace = directory.file("ns/pid").map_err(unread)?;
    for _ in 0..MAX_DEPTH {
        if NamespaceId::of_handle(namespace.as_fd()).map_err(unread)? == *top {
            return Ok(());
        }
        confirm_owner(namespace.as_fd(), ours)?;
        namespace = namespace_parent(namespace.as_fd())
            .map_err(|error| format!("the parent of its PID namespace cannot be read: {error}"))?;
    }
    Err("its PID namespace lies deeper than the kernel allows".into())
}

/// Our own PID namespace, if our user namespace owns it.
pub(crate) fn own_pids(root: &ProcRoot, user: Option<NamespaceId>) -> Result<NamespaceId, Reason> {
    let unread = |error: Errno| unread("self/ns/pid", error.into());
    let ours = user.ok_or("the agent's own user namespace cannot be read")?;
    let namespace = root.file("self/ns/pid").map_err(unread)?;
    confirm_owner(namespace.as_fd(), ours)?;
    NamespaceId::of_handle(namespace.as_fd()).map_err(unread)
}

fn confirm_owner(namespace: BorrowedFd<'_>, ours: NamespaceId) -> Result<(), Reason> {
    let owner = namespace_owner_user(namespace)
        .and_then(|owner| NamespaceId::of_handle(owner.as_fd()))
        .map_err(|error| format!("the owner of a PID namespace cannot be read: {error}"))?;
    if owner == ours {
        Ok(())
    } else {
        Err(
            "a PID namespace between the process's and the agent's belongs to another user \
             namespace, whose privileged can name any process in it as the sender"
                .into(),
        )
    }
}

/// Whether the mounts of a process's mount namespace are made by the privileged of `ours`.
pub(crate) fn mounts_are_ours(directory: &ProcDir, ours: Option<NamespaceId>) -> bool {
    let owner = || {
        let mounts = directory.file("ns/mnt")?;
        let owner = namespace_owner_user(mounts.as_fd())?;
        NamespaceId::of_handle(owner.as_fd())
    };
    ours.is_some() && owner().ok() == ours
}
