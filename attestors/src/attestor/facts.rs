//! Everything that is read of a process without waiting.
//!
//! The files are ones that the kernel makes up on the spot. What it refuses is
//! a fact that is unknown; what it says of a process that is gone, or an agent
//! out of descriptors, ends the attestation.

use super::{AttestError, CgroupEvidence, Changed, Executable, ExecutableEvidence, FileIdentity};
use crate::{
    findings::{Fact, Reason, unread},
    host::Host,
    image::MAX_CGROUP_BYTES,
    parse::{self, Cgroups, Groups, Status},
    pin::{MAX_STAT_BYTES, MAX_STATUS_BYTES, PinnedPeer},
    procfs::{ProcDir, ReadError},
    unix,
};
use rustix::io::Errno;
use std::sync::Arc;

/// What was read of a process.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) start_time: Fact<u64>,
    /// The process that traces it: its first thread's, until the others were asked.
    pub(crate) tracer: Fact<Option<u32>>,
    pub(crate) groups: Fact<Groups>,
    pub(crate) cgroups: Fact<Cgroups>,
    pub(crate) executable: Fact<Arc<Executable>>,
    pub(crate) path: Fact<String>,
    /// In the unified hierarchy, where the kernel tells it (Linux 6.13).
    pub(crate) cgroup_id: Option<u64>,
}

impl Facts {
    /// Reads what the kernel says of `peer`.
    pub(super) fn read(host: &Host, peer: &PinnedPeer) -> Result<Self, AttestError> {
        let info = peer.info().map_err(|_reaped| AttestError::Gone)?;
        let directory = match peer.directory(&host.root) {
            Ok(directory) => directory,
            Err(error) => return Ok(Self::hidden(ends(error)?)),
        };
        let mut bytes = Vec::new();
        let read = known(directory, "status", MAX_STATUS_BYTES, &mut bytes)?;
        let tracer = read
            .clone()
            .and_then(|()| parse::tracer(&bytes).map_err(malformed));
        let status = read.and_then(|()| parse::status(&bytes).map_err(malformed));
        let start_time = known(directory, "stat", MAX_STAT_BYTES, &mut bytes)?
            .and_then(|()| parse::start_time(&bytes).map_err(malformed));
        let cgroup_id = info.and_then(|info| info.cgroup_id);
        let cgroups = cgroups(host, directory, cgroup_id, &mut bytes)?;
        let executable = match Executable::of_process(directory) {
            Ok(executable) => Ok(Arc::new(executable)),
            Err(Errno::NOENT) => Err("the process runs no file".into()),
            Err(error) => Err(unread("exe", ends(error)?.into())),
        };
        let path = match &executable {
            Ok(executable) => unix::path(host, directory, executable),
            Err(reason) => Err(reason.clone()),
        };
        Ok(Self {
            start_time,
            tracer,
            groups: groups(status, peer)?,
            cgroups,
            executable,
            path,
            cgroup_id,
        })
    }

    /// Nothing can be read: `/proc` does not show the process to the agent.
    fn hidden(error: Errno) -> Self {
        let reason = || Reason::from(format!("/proc hides the process from the agent: {error}"));
        Self {
            start_time: Err(reason()),
            tracer: Err(reason()),
            groups: Err(reason()),
            cgroups: Err(reason()),
            executable: Err(reason()),
            path: Err(reason()),
            cgroup_id: None,
        }
    }

    /// The file whose facts these are.
    pub(super) fn identity(&self) -> Option<FileIdentity> {
        self.executable
            .as_ref()
            .ok()
            .map(|executable| executable.identity)
    }

    pub(super) fn known_groups(&self) -> Option<Vec<u32>> {
        match &self.groups {
            Ok(Groups::Known(groups)) => Some(groups.clone()),
            Ok(Groups::TooMany) | Err(_) => None,
        }
    }

    pub(super) fn cgroup_evidence(&self) -> Option<CgroupEvidence> {
        let cgroups = self.cgroups.as_ref().ok()?;
        Some(CgroupEvidence {
            id: self.cgroup_id,
            layout: cgroups.layout,
            systemd: cgroups.systemd.clone(),
            unified: cgroups.unified.clone(),
        })
    }

    pub(super) fn executable_evidence(
        &self,
        digest: Option<Arc<str>>,
    ) -> Option<ExecutableEvidence> {
        let file = self.identity()?;
        Some(ExecutableEvidence {
            changed: format!("{}.{:09}", file.changed.0, file.changed.1),
            device: format!("{}:{}", file.device.0, file.device.1),
            inode: file.inode,
            path: self.path.as_ref().ok().cloned(),
            sha256: digest,
            size: file.size,
        })
    }
}

/// The cgroup of `peer` now: its ID, where the kernel tells it, and its paths.
pub(crate) fn cgroups_now(host: &Host, peer: &PinnedPeer) -> Fact<(Option<u64>, Fact<Cgroups>)> {
    let gone = |_error| Reason::from("the process is gone");
    let id = peer.info().map_err(gone)?.and_then(|info| info.cgroup_id);
    let directory = peer.directory(&host.root).map_err(gone)?;
    let cgroups = cgroups(host, directory, id, &mut Vec::new());
    Ok((
        id,
        cgroups.map_err(|error| Reason::from(error.to_string()))?,
    ))
}

fn cgroups(
    host: &Host,
    directory: &ProcDir,
    id: Option<u64>,
    bytes: &mut Vec<u8>,
) -> Result<Fact<Cgroups>, AttestError> {
    if let Err(reason) = host.cgroups.prepare() {
        return Ok(Err(reason));
    }
    let read = known(directory, "cgroup", MAX_CGROUP_BYTES, bytes)?;
    Ok(read.and_then(|()| host.cgroups.places(&host.root, bytes, id)))
}

fn known(
    directory: &ProcDir,
    file: &'static str,
    limit: usize,
    bytes: &mut Vec<u8>,
) -> Result<Fact<()>, AttestError> {
    match directory.read_record(file, limit, bytes) {
        Ok(()) => Ok(Ok(())),
        Err(ReadError::System(error)) => Ok(Err(unread(file, ends(error)?.into()))),
        Err(error) => Ok(Err(unread(file, error))),
    }
}

/// Sorts out the errors that end an attestation; the others are why a fact is unknown.
const fn ends(error: Errno) -> Result<Errno, AttestError> {
    match error {
        Errno::SRCH => Err(AttestError::Gone),
        Errno::MFILE | Errno::NFILE | Errno::NOMEM => Err(AttestError::Overloaded),
        error => Ok(error),
    }
}

fn groups(status: Fact<Status>, peer: &PinnedPeer) -> Result<Fact<Groups>, AttestError> {
    let status = match status {
        Ok(status) => status,
        Err(reason) => return Ok(Err(reason)),
    };
    let credentials = peer.credentials();
    if (status.uid, status.gid) != (credentials.uid, credentials.gid) {
        return Err(Changed::Credentials.into());
    }
    Ok(Ok(status.groups))
}

fn malformed(error: parse::Malformed) -> Reason {
    error.0.into()
}
