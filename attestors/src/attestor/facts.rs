//! Everything that is read of a process without waiting.
//!
//! The files are ones that the kernel makes up on the spot. What it refuses is
//! a fact that is unknown; what it says of a process that is gone, or an agent
//! out of descriptors, ends the attestation.

use super::{AttestError, CgroupEvidence, Changed, Executable, ExecutableEvidence, FileIdentity};
use crate::{
    findings::{Fact, Reason, unread},
    host::Host,
    parse::{self, Cgroups, Groups, Status},
    pin::{MAX_STAT_BYTES, MAX_STATUS_BYTES, PinnedPeer},
    procfs::{ProcDir, ReadError},
    unix,
};
use rustix::io::Errno;
use std::sync::Arc;

/// Most of `cgroup` that is read: a path of `PATH_MAX` in each of a dozen hierarchies and more.
const MAX_CGROUP_BYTES: usize = 256 << 10;

/// What was read of a process.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) start_time: Fact<u64>,
    pub(super) groups: Fact<Groups>,
    pub(super) cgroups: Fact<Cgroups>,
    pub(super) executable: Fact<Arc<Executable>>,
    pub(super) path: Fact<String>,
    cgroup_id: Option<u64>,
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
        let status = known(directory, "status", MAX_STATUS_BYTES, &mut bytes)?
            .and_then(|()| parse::status(&bytes).map_err(malformed));
        let start_time = known(directory, "stat", MAX_STAT_BYTES, &mut bytes)?
            .and_then(|()| parse::start_time(&bytes).map_err(malformed));
        let cgroups = known(directory, "cgroup", MAX_CGROUP_BYTES, &mut bytes)?
            .and_then(|()| parse::cgroups(&bytes).map_err(malformed));
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
            groups: groups(status, peer)?,
            cgroups,
            executable,
            path,
            cgroup_id: info.and_then(|info| info.cgroup_id),
        })
    }

    /// Nothing can be read: `/proc` does not show the process to the agent.
    fn hidden(error: Errno) -> Self {
        let reason = || Reason::from(format!("/proc hides the process from the agent: {error}"));
        Self {
            start_time: Err(reason()),
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

fn known(
    directory: &ProcDir,
    file: &'static str,
    limit: usize,
    bytes: &mut Vec<u8>,
) -> Result<Fact<()>, AttestError> {
    match directory.read(file, limit, bytes) {
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
