//! What this agent will not be able to see, found out by trying.

use crate::held::sees_own_pair;
use rustix::{
    fd::AsFd as _,
    process::{PidfdFlags, getpid, pidfd_open},
    thread::{CapabilitySet, capabilities},
};
use std::os::unix::net::UnixStream;
use symbolon_syscalls::{peer_pidfd, pidfd_info};

/// What can be proved about connections on this host, by this agent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and none excludes another"
)]
pub struct Capabilities {
    /// Callers are pinned by `SO_PEERPIDFD`.
    pub pidfd: bool,
    /// The other end of a connection can be found (`UNIX_DIAG`), of callers in our network
    /// namespace.
    pub held: bool,
    /// Also of callers in other network namespaces (`CAP_SYS_ADMIN`).
    pub held_in_other_networks: bool,
    /// Descriptors, images and namespaces of other users' processes can be read
    /// (`CAP_SYS_PTRACE`).
    pub other_users: bool,
    /// The files that a process has mapped can be followed (`CAP_CHECKPOINT_RESTORE`, or
    /// `CAP_SYS_ADMIN`).
    pub code: bool,
}

impl Capabilities {
    pub(super) fn of_this_agent(force_fallback_pin: bool) -> Self {
        let has =
            |capability| capabilities(None).is_ok_and(|sets| sets.effective.contains(capability));
        let has_peer_pidfd =
            UnixStream::pair().is_ok_and(|(ours, _)| peer_pidfd(ours.as_fd()).is_ok());
        Self {
            pidfd: has_peer_pidfd && !force_fallback_pin,
            held: sees_own_pair(),
            held_in_other_networks: has(CapabilitySet::SYS_ADMIN),
            other_users: has(CapabilitySet::SYS_PTRACE),
            code: has(CapabilitySet::CHECKPOINT_RESTORE) || has(CapabilitySet::SYS_ADMIN),
        }
    }

    /// Sentences for the operator.
    pub(super) fn limitations(self) -> Vec<String> {
        let mut limitations = Vec::new();
        if !self.other_users {
            limitations.push(
                "the agent has no CAP_SYS_PTRACE: unix:path and unix:sha256 are known, and how \
                 the connection is held, for processes of its own user only"
                    .into(),
            );
        }
        if !self.code {
            limitations.push(
                "the agent has no CAP_CHECKPOINT_RESTORE: what code: selectors say is unknown \
                 for every process"
                    .into(),
            );
        }
        if !self.pidfd {
            limitations.push(
                "callers are pinned by process ID and start time, which is weaker than \
                 SO_PEERPIDFD (Linux 6.5)"
                    .into(),
            );
        }
        if !self.held {
            limitations.push(
                "the kernel does not tell who holds a connection (CONFIG_UNIX_DIAG; module \
                 unix_diag): the proof 'held' is unknown for every caller"
                    .into(),
            );
        } else if !self.held_in_other_networks {
            limitations.push(
                "the agent has no CAP_SYS_ADMIN: the proof 'held' is unknown for callers in \
                 other network namespaces (containers)"
                    .into(),
            );
        }
        limitations.extend(pidfd_limitation());
        limitations
    }
}

fn pidfd_limitation() -> Option<String> {
    match pidfd_open(getpid(), PidfdFlags::empty()) {
        Err(error) => Some(format!(
            "processes cannot be pinned at all: pidfd_open (Linux 5.3): {error}"
        )),
        Ok(pidfd) if pidfd_info(pidfd.as_fd()).is_err() => Some(
            "PIDFD_GET_INFO is missing (Linux 6.13): credentials and cgroup are confirmed through \
             /proc"
                .into(),
        ),
        Ok(_) => None,
    }
}
