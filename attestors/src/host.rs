//! What the agent knows of its host.
//!
//! Owns the handles and comparisons that every attestation needs: the opened
//! `/proc`, which mount namespace is the host's and what is mounted there,
//! which user namespace is ours, and which IDs are nobody in particular. Read
//! once at the start; what cannot be read becomes a limitation, in a sentence
//! for the operator, and makes the facts that depend on it unknown.
//!
//! The host's mount namespace is the agent's own, unless the agent sees the
//! host's processes from another one (a container with the host's PIDs, or a
//! service with mounts of its own): then it is PID 1's.

use crate::{
    accounts::Accounts,
    attestor::SetupError,
    cgroup::CgroupView,
    findings::{Fact, Reason},
    image::MAX_CGROUP_BYTES,
    mounts::HostMounts,
    namespaces::{self, NAMESPACES, NamespaceId},
    parse::{self, CgroupLayout},
    pin::MAX_STATUS_BYTES,
    procfs::{ProcRoot, ReadError},
};
use rustix::fs::{MemfdFlags, fstat, major, memfd_create, minor};
use std::path::Path;

/// Inode of the initial PID namespace (`PROC_PID_INIT_INO`).
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// Most of an ID map that is read: 340 lines.
const MAX_ID_MAP_BYTES: usize = 64 << 10;

/// The host, as seen when the agent started.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) root: ProcRoot,
    pub(crate) accounts: Accounts,
    /// The mount namespace whose paths are the host's, and its mounts.
    pub(crate) mounts: Fact<(NamespaceId, HostMounts)>,
    pub(crate) user_namespace: Option<NamespaceId>,
    /// Those of the host, in the order of [`NAMESPACES`].
    pub(crate) namespaces: [Fact<NamespaceId>; NAMESPACES.len()],
    /// The device of memory that is shared by descriptor.
    pub(crate) memory_device: Option<(u32, u32)>,
    /// Our own PID namespace, where our user namespace owns it.
    pub(crate) pid_namespace: Fact<NamespaceId>,
    pub(crate) cgroups: CgroupView,
    pub(crate) nobody: Nobody,
    /// Whether the unified hierarchy is all that says where processes belong.
    pub(crate) has_unified_cgroups_alone: bool,
    /// Whether programs get random addresses, unless they are started otherwise.
    pub(crate) randomizes_addresses: bool,
}

/// IDs that stand for everybody without a mapping in our user namespace.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Nobody {
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
}

impl Host {
    /// Looks around; what is missing is told in `limitations`.
    pub(crate) fn survey(
        proc_root: &Path,
        etc_root: &Path,
        limitations: &mut Vec<String>,
    ) -> Result<Self, SetupError> {
        let root = ProcRoot::open(proc_root).map_err(|source| SetupError::Proc {
            path: proc_root.into(),
            source,
        })?;
        is_ours(&root, proc_root)?;
        let mounts = host_mounts(&root).map_err(|error| {
            let reason = format!("the host's mounts cannot be read: {error}");
            limitations.push(format!("{reason}; unix:path is unknown for every process"));
            reason.into()
        });
        let user_namespace = namespace(&root, "self/ns/user").ok();
        let pid_namespace = namespaces::own_pids(&root, user_namespace);
        if let Err(reason) = &pid_namespace {
            limitations.push(format!(
                "senders' stamps can be forged for every process: {reason}"
            ));
        }
        Ok(Self {
            accounts: Accounts::new(etc_root),
            mounts,
            namespaces: host_namespaces(&root),
            memory_device: memory_device(),
            user_namespace,
            pid_namespace,
            cgroups: CgroupView::survey(&root, limitations),
            nobody: nobody(&root, limitations),
            has_unified_cgroups_alone: has_unified_cgroups_alone(&root),
            randomizes_addresses: randomizes_addresses(&root, limitations),
            root,
        })
    }

    /// The PID namespace of the host.
    pub(crate) fn pids(&self) -> Result<NamespaceId, Reason> {
        let all = NAMESPACES.iter().zip(&self.namespaces);
        let mut of_processes = all.filter(|(kind, _)| kind.name == "pid");
        let (_, found) = of_processes.next().ok_or("no such kind")?;
        found.clone()
    }
}

/// Whether `/proc` shows the processes of our own PID namespace: in another one's, the number in a
/// peer's credentials would lead to somebody else.
fn is_ours(root: &ProcRoot, path: &Path) -> Result<(), SetupError> {
    let foreign = || SetupError::ForeignProc(path.into());
    let status = root
        .read("self/status", MAX_STATUS_BYTES)
        .map_err(|_error| foreign())?;
    let pids = parse::namespaced_pids(&status).map_err(|_malformed| foreign())?;
    if pids == [std::process::id()] {
        Ok(())
    } else {
        Err(foreign())
    }
}

fn host_mounts(root: &ProcRoot) -> Result<(NamespaceId, HostMounts), ReadError> {
    let own = namespace(root, "self/ns/mnt")?;
    let process = match namespace(root, "1/ns/mnt") {
        Ok(first) if first != own && sees_the_host(root) => "1",
        _ => "self",
    };
    let id = namespace(root, &format!("{process}/ns/mnt"))?;
    Ok((id, HostMounts::open(root, process)?))
}

/// Those of PID 1 where that is the host's first process, and the agent may look; else our own.
fn host_namespaces(root: &ProcRoot) -> [Fact<NamespaceId>; NAMESPACES.len()] {
    let is_host = sees_the_host(root);
    NAMESPACES.map(|kind| {
        let of = |process: &str| namespace(root, &format!("{process}/ns/{}", kind.name));
        let first = if is_host { of("1") } else { of("self") };
        first
            .or_else(|_hidden| of("self"))
            .map_err(|error| format!("the host's namespace cannot be read: {error}").into())
    })
}

fn memory_device() -> Option<(u32, u32)> {
    let memory = memfd_create("symbolon", MemfdFlags::CLOEXEC).ok()?;
    let device = fstat(&memory).ok()?.st_dev;
    Some((major(device), minor(device)))
}

fn sees_the_host(root: &ProcRoot) -> bool {
    root.stat("self/ns/pid")
        .is_ok_and(|stat| stat.stx_ino == INITIAL_PID_NAMESPACE)
}

fn namespace(root: &ProcRoot, path: &str) -> Result<NamespaceId, ReadError> {
    Ok(NamespaceId::from(&root.stat(path)?))
}

/// All processes of a host have the same hierarchies.
fn has_unified_cgroups_alone(root: &ProcRoot) -> bool {
    let own = root.read("self/cgroup", MAX_CGROUP_BYTES);
    let layout = own.ok().and_then(|own| parse::cgroups(&own).ok());
    layout.is_some_and(|own| own.layout == CgroupLayout::V2 && own.systemd.is_none())
}

fn randomizes_addresses(root: &ProcRoot, limitations: &mut Vec<String>) -> bool {
    let setting = root.read("sys/kernel/randomize_va_space", 64);
    // Where it cannot be read (`ProcSubset=pid` hides it) each process is looked at all the same.
    let randomizes = !setting.is_ok_and(|setting| setting.starts_with(b"0"));
    if !randomizes {
        limitations.push(
            "kernel.randomize_va_space is 0: a process that executes the same program again cannot \
             be told from one that does not"
                .into(),
        );
    }
    randomizes
}

fn nobody(root: &ProcRoot, limitations: &mut Vec<String>) -> Nobody {
    let nobody = Nobody {
        uid: overflow(root, "self/uid_map", "sys/kernel/overflowuid"),
        gid: overflow(root, "self/gid_map", "sys/kernel/overflowgid"),
    };
    if let Some(uid) = nobody.uid {
        limitations.push(format!(
            "the agent runs in a user namespace: users without a mapping all appear as {uid}, \
             so that user is unknown"
        ));
    }
    nobody
}

/// The overflow ID, unless every ID is mapped. 65534 where the kernel does not tell.
fn overflow(root: &ProcRoot, map: &str, overflow: &str) -> Option<u32> {
    let map = root.read(map, MAX_ID_MAP_BYTES).unwrap_or_default();
    if parse::covers_every_id(&map) {
        return None;
    }
    let text = root.read(overflow, 64).unwrap_or_default();
    let id = str::from_utf8(&text)
        .ok()
        .and_then(|id| id.trim().parse().ok());
    Some(id.unwrap_or(65_534))
}
