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
    findings::Fact,
    mounts::HostMounts,
    namespaces::NamespaceId,
    parse,
    pin::MAX_STATUS_BYTES,
    procfs::{ProcRoot, ReadError},
};
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
    pub(crate) nobody: Nobody,
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
        Ok(Self {
            accounts: Accounts::new(etc_root),
            mounts,
            user_namespace: namespace(&root, "self/ns/user").ok(),
            nobody: nobody(&root, limitations),
            root,
        })
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

fn sees_the_host(root: &ProcRoot) -> bool {
    root.stat("self/ns/pid")
        .is_ok_and(|stat| stat.stx_ino == INITIAL_PID_NAMESPACE)
}

fn namespace(root: &ProcRoot, path: &str) -> Result<NamespaceId, ReadError> {
    Ok(NamespaceId::from(&root.stat(path)?))
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
