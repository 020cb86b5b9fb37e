//! From where the agent looks at cgroups.
//!
//! Owns the choice, made at the start, of how a process's paths are learnt.
//! The kernel writes `/proc/PID/cgroup` relative to the cgroup namespace of
//! the *thread that reads*, so an agent in a private one (a container) would
//! read other paths than the host has. In this order:
//!
//! 1. The agent's namespace is the initial one, or PID 1's: read as it is.
//! 2. The reading thread joins PID 1's (`setns`, `CAP_SYS_ADMIN`). A cgroup
//!    namespace belongs to a thread, and which threads of the runtime will
//!    read is not ours to know; so each read is preceded by the call, which
//!    costs less than the read and changes nothing where it was made before.
//!    Nothing else in the agent looks at its own cgroup namespace.
//! 3. The ID from the pidfd is resolved in a mount of the whole unified
//!    hierarchy (`CAP_DAC_READ_SEARCH`); version 1 stays unknown.
//! 4. Nothing is known of any process's cgroup, and the start says so.
//!
//! PID 1 is that of the agent's own PID namespace: of the host, where the
//! agent sees the host's processes; else of the container, whose cgroup
//! namespace is then the one whose paths mean anything to the agent's users.

use super::unified::Unified;
use crate::{
    findings::{Fact, Reason},
    namespaces::NamespaceId,
    parse::{self, CgroupLayout, Cgroups, Malformed},
    procfs::ProcRoot,
};
use rustix::{
    fd::{AsFd as _, OwnedFd},
    io::Errno,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

/// Inode of the initial cgroup namespace (`PROC_CGROUP_INIT_INO`).
const INITIAL: u64 = 0xEFFF_FFFB;

/// How paths are learnt.
#[derive(Debug)]
pub(crate) struct CgroupView {
    way: Way,
    unified: Option<Unified>,
}

#[derive(Debug)]
enum Way {
    AsRead,
    Joining(OwnedFd),
    ById,
    Unknown(Reason),
}

impl CgroupView {
    /// Tries the ways in their order; what is missing is told in `limitations`.
    pub(crate) fn survey(root: &ProcRoot, limitations: &mut Vec<String>) -> Self {
        let unified = Unified::find(root);
        let way = match host_namespace(root) {
            Ok(None) => Way::AsRead,
            Ok(Some(host)) => match join(&host) {
                Ok(()) => Way::Joining(host),
                Err(error) => by_id(root, unified.as_ref(), &joining(error), limitations),
            },
            Err(error) => {
                let why = format!("PID 1's cannot be looked at ({error})");
                by_id(root, unified.as_ref(), &why, limitations)
            }
        };
        Self { way, unified }
    }

    /// As on a host whose paths are read as they are, without a mount.
    #[cfg(test)]
    pub(crate) const fn plain() -> Self {
        Self {
            way: Way::AsRead,
            unified: None,
        }
    }

    /// The mounted unified hierarchy, where the agent has one.
    pub(crate) const fn unified(&self) -> Option<&Unified> {
        self.unified.as_ref()
    }

    /// Whether paths in version 1 hierarchies are out of sight.
    pub(crate) const fn is_by_id(&self) -> bool {
        matches!(self.way, Way::ById)
    }

    /// Makes this thread ready to read `/proc/PID/cgroup`.
    pub(crate) fn prepare(&self) -> Fact<()> {
        match &self.way {
            Way::AsRead | Way::ById => Ok(()),
            Way::Joining(host) => join(host).map_err(|error| joining(error).into()),
            Way::Unknown(reason) => Err(reason.clone()),
        }
    }

    /// Where a process is: `bytes` is its file, read after [`prepare`](Self::prepare) by the same
    /// thread; `id` is what its pidfd says.
    pub(crate) fn places(&self, root: &ProcRoot, bytes: &[u8], id: Option<u64>) -> Fact<Cgroups> {
        let malformed = |error: Malformed| Reason::from(error.0);
        if !self.is_by_id() {
            return parse::cgroups(bytes).map_err(malformed);
        }
        let layout = parse::cgroup_layout(bytes).map_err(malformed)?;
        if layout == CgroupLayout::V1 {
            return Err("paths of version 1 are not seen from the agent's cgroup namespace".into());
        }
        let unified = self.unified.as_ref().ok_or("no hierarchy is mounted")?;
        let id = id.ok_or("the kernel does not tell the cgroup of a pidfd (Linux 6.13)")?;
        let path = unified
            .path(root, id)
            .map_err(|error| format!("cgroup {id} is not found in the hierarchy: {error}"))?;
        Ok(Cgroups {
            layout,
            unified: Some(path),
            systemd: None,
        })
    }
}

/// The cgroup namespace of PID 1, where it is neither ours nor the initial one is.
fn host_namespace(root: &ProcRoot) -> Result<Option<OwnedFd>, Errno> {
    let own = root.stat("self/ns/cgroup")?;
    if own.stx_ino == INITIAL {
        return Ok(None);
    }
    let host = root.file("1/ns/cgroup")?;
    let id = NamespaceId::of_handle(host.as_fd())?;
    Ok((id != NamespaceId::from(&own)).then_some(host))
}

fn join(namespace: &OwnedFd) -> Result<(), Errno> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::ControlGroup))
}

fn joining(error: Errno) -> String {
    format!("PID 1's cannot be joined ({error}; it takes CAP_SYS_ADMIN)")
}

fn by_id(
    root: &ProcRoot,
    unified: Option<&Unified>,
    why: &str,
    limitations: &mut Vec<String>,
) -> Way {
    let private = format!("the agent is in a private cgroup namespace, and {why}");
    let found = unified.map_or(Err(Errno::NOENT), |unified| unified.path(root, 1));
    let Err(error) = found else {
        limitations.push(format!(
            "{private}: cgroups are found by their ID in the unified hierarchy, and paths of \
             version 1 are unknown"
        ));
        return Way::ById;
    };
    let reason = format!(
        "{private}; nor can IDs be resolved ({error}; it takes a mount of the whole unified \
         hierarchy and CAP_DAC_READ_SEARCH)"
    );
    limitations.push(format!(
        "{reason}: cgroup:path is unknown for every process"
    ));
    Way::Unknown(reason.into())
}
