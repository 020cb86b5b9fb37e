//! System calls without a safe wrapper elsewhere.
//!
//! Owns the only `unsafe` code of the project: one function for each call,
//! each with the proof of its preconditions and a test for each errno that a
//! caller tells apart. `symbolon-attestors` calls them to pin the peer of a
//! Unix socket, to find out who owns a namespace, and to find a cgroup by its ID.
//!
//! Nothing here decides anything. The kernel's answer is returned as it came,
//! errors as [`Errno`]. Descriptors come in as [`BorrowedFd`](std::os::fd::BorrowedFd) and leave as
//! [`OwnedFd`], so none can be closed twice or used after it was closed.
//!
//! Registering a descriptor with tokio's reactor is here too: its constructor
//! is unsafe, because a descriptor closed early would be somebody else's.
//!
//! `SO_PEERCRED` is here although `rustix` has it: its type says that a
//! process ID is never 0, but the kernel answers 0 for a peer of a foreign PID
//! namespace, which is the very case that has to be refused. [`receive`] is here for the same reason.

mod cgroup;
mod namespace;
mod peer;
mod pidfd;
mod receive;
mod watch;

pub use cgroup::cgroup_by_id;
pub use namespace::{namespace_owner_uid, namespace_owner_user, namespace_parent};
pub use peer::{PeerCredentials, peer_credentials, peer_groups, peer_pidfd};
pub use pidfd::{PidfdInfo, pidfd_info};
pub use receive::{Received, receive, set_passcred};
pub use watch::ReadableWatch;

use rustix::{
    fd::{FromRawFd as _, OwnedFd},
    io::Errno,
};
use std::io;

/// What a call returned, with the thread's errno where it says that it failed.
fn checked(returned: libc::c_int) -> Result<libc::c_int, Errno> {
    if returned >= 0 {
        return Ok(returned);
    }
    Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL))
}

/// Owns a descriptor that the kernel has just installed for the caller.
///
/// # Safety
/// `descriptor` is open and nobody else owns it.
unsafe fn owned(descriptor: libc::c_int) -> OwnedFd {
    // SAFETY: the caller promises that the descriptor is open and unowned.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}
