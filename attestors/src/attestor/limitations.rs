//! What this agent will not be able to see, found out by trying.

use rustix::{
    fd::AsFd as _,
    process::{PidfdFlags, getpid, pidfd_open},
    thread::{CapabilitySet, capabilities},
};
use std::os::unix::net::UnixStream;
use symbolon_syscalls::{peer_pidfd, pidfd_info};

/// Sentences for the operator.
pub(super) fn of_this_agent(force_fallback_pin: bool) -> Vec<String> {
    let mut limitations = Vec::new();
    let has_ptrace =
        capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_PTRACE));
    if !has_ptrace {
        limitations.push(
            "the agent has no CAP_SYS_PTRACE: unix:path and unix:sha256 are known for processes \
             of its own user only"
                .into(),
        );
    }
    let has_peer_pidfd = UnixStream::pair().is_ok_and(|(ours, _)| peer_pidfd(ours.as_fd()).is_ok());
    if force_fallback_pin || !has_peer_pidfd {
        limitations.push(
            "callers are pinned by process ID and start time, which is weaker than SO_PEERPIDFD \
             (Linux 6.5)"
                .into(),
        );
    }
    match pidfd_open(getpid(), PidfdFlags::empty()) {
        Err(error) => limitations.push(format!(
            "processes cannot be pinned at all: pidfd_open (Linux 5.3): {error}"
        )),
        Ok(pidfd) if pidfd_info(pidfd.as_fd()).is_err() => limitations.push(
            "PIDFD_GET_INFO is missing (Linux 6.13): credentials are confirmed through /proc"
                .into(),
        ),
        Ok(_) => {}
    }
    limitations
}
