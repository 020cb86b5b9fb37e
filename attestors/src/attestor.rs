//! Attesting a pinned process.
//!
//! Owns the order of one attestation: read every fact through the pinned peer,
//! then confirm that the process still lives, with the credentials with which
//! it connected and the executable whose facts were read. Only then is there
//! an [`Attestation`]. Whatever happens in between (an exit, an `execve`, a
//! set-user-ID program) ends in an error, and the caller may ask again.
//!
//! Called by the agent for each new process, and by [`Attestor::unchanged`]
//! before each use of what was attested. Nothing here waits on the caller's
//! thread; only hashing does, in the read pool, under a deadline.
//!
//! Not seen: an `execve` of the same file, and what was loaded into the
//! program. Who holds the socket now is the transport's to prove.

use crate::{
    cgroup,
    digest::{DigestError, DigestLimits, Digests},
    evidence::{Attestation, CgroupEvidence, Evidence, ExecutableEvidence},
    executable::{Executable, FileIdentity},
    findings::{Fact, Findings},
    host::Host,
    namespaces::accountable_uid,
    pin::{PinError, PinnedPeer},
    procfs::DEFAULT_ROOT,
    read_pool::{PoolError, ReadPool},
    unix,
};
use rustix::{fd::BorrowedFd, io::Errno};
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

mod facts;
mod limitations;

use facts::Facts;

/// RFC 3339 in UTC with milliseconds.
const TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// What the operator decides about attestation.
#[derive(Clone, Debug)]
pub struct AttestorConfig {
    /// The `/proc` that shows the processes of the agent's own PID namespace.
    pub proc_root: PathBuf,
    /// The directory of the host's `passwd` and `group`.
    pub etc_root: PathBuf,
    /// Larger executables have an unknown digest.
    pub max_binary_bytes: u64,
    /// Whether to hash executables on file systems that others make up (FUSE, network).
    pub hash_remote_filesystems: bool,
    /// Threads that hash at the same time.
    pub read_threads: usize,
    /// How many of them one user can occupy.
    pub reads_per_uid: usize,
    /// When an attestation that waits for a digest gives up.
    pub read_deadline: Duration,
    /// Executables whose digest is remembered.
    pub digest_cache_entries: usize,
    /// Pins as on a kernel without `SO_PEERPIDFD`.
    pub force_fallback_pin: bool,
}

impl Default for AttestorConfig {
    fn default() -> Self {
        Self {
            proc_root: DEFAULT_ROOT.into(),
            etc_root: "/etc".into(),
            max_binary_bytes: 512 << 20,
            hash_remote_filesystems: false,
            read_threads: 8,
            reads_per_uid: 2,
            read_deadline: Duration::from_secs(15),
            digest_cache_entries: 4096,
            force_fallback_pin: false,
        }
    }
}

/// Why an attestor cannot be set up: the operator's.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// There is no such directory.
    #[error("cannot open {}: {source}", path.display())]
    Proc {
        /// The configured `/proc`.
        path: PathBuf,
        /// How the kernel refused.
        source: Errno,
    },
    /// Process IDs in it are not ours.
    #[error(
        "{} does not show the processes of the agent's own PID namespace; mount proc inside of \
         the container, or run it with the host's PIDs",
        .0.display()
    )]
    ForeignProc(PathBuf),
}

/// What is no longer as it was.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Changed {
    /// It has exited.
    #[error("the process has exited")]
    Exited,
    /// Its user or group is not the one with which it connected.
    #[error("the process has changed its credentials since it connected")]
    Credentials,
    /// It runs another program, or the program's file was changed.
    #[error("the process runs another executable, or its file was changed")]
    Executable,
    /// The attestation is another process's.
    #[error("the attestation is another process's")]
    Process,
    /// Its credentials cannot be read.
    #[error("the process's credentials cannot be read")]
    Hidden,
}

/// Why a process could not be attested.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AttestError {
    /// The caller's: it has exited.
    #[error("the process is gone")]
    Gone,
    /// The caller's: it changed while it was looked at, or since it connected.
    #[error(transparent)]
    Changed(Changed),
    /// The agent's: too many executables wait to be hashed, or it is out of descriptors.
    #[error("too many attestations are under way")]
    Overloaded,
    /// The agent's, or a slow disk: hashing took too long.
    #[error("hashing the executable took too long")]
    Timeout,
    /// A bug: the evidence or its time cannot be written.
    #[error("the evidence cannot be written: {0}")]
    Evidence(String),
}

impl From<Changed> for AttestError {
    fn from(changed: Changed) -> Self {
        match changed {
            Changed::Exited => Self::Gone,
            changed => Self::Changed(changed),
        }
    }
}

/// Attests processes.
#[derive(Debug)]
pub struct Attestor {
    host: Arc<Host>,
    digests: Digests,
    limitations: Vec<String>,
    force_fallback_pin: bool,
}

impl Attestor {
    /// Looks around on the host. Reads files; to be called before anybody is served.
    ///
    /// # Errors
    /// Where `/proc` is missing or shows another PID namespace.
    pub fn new(config: AttestorConfig) -> Result<Self, SetupError> {
        let mut limitations = limitations::of_this_agent(config.force_fallback_pin);
        let host = Host::survey(&config.proc_root, &config.etc_root, &mut limitations)?;
        Ok(Self::on(Arc::new(host), &config, limitations))
    }

    fn on(host: Arc<Host>, config: &AttestorConfig, limitations: Vec<String>) -> Self {
        let deadline = config.read_deadline;
        let pool = ReadPool::new(config.read_threads, config.reads_per_uid, deadline);
        let limits = DigestLimits {
            max_bytes: config.max_binary_bytes,
            hash_remote: config.hash_remote_filesystems,
            cache_entries: config.digest_cache_entries,
            deadline,
        };
        Self {
            digests: Digests::new(Arc::clone(&host), pool, limits),
            host,
            limitations,
            force_fallback_pin: config.force_fallback_pin,
        }
    }

    /// What cannot be attested here, and why, in sentences for the operator.
    #[must_use]
    pub fn limitations(&self) -> &[String] {
        &self.limitations
    }

    /// Pins the peer of `socket` as configured.
    ///
    /// # Errors
    /// As [`PinnedPeer::of_socket`].
    pub fn pin(&self, socket: BorrowedFd<'_>) -> Result<PinnedPeer, PinError> {
        PinnedPeer::of_socket_in(&self.host.root, socket, self.force_fallback_pin)
    }

    /// Pins a process by its number, for an operator who asks about it.
    ///
    /// # Errors
    /// As [`PinnedPeer::of_pid`].
    pub fn pin_pid(&self, pid: u32) -> Result<PinnedPeer, PinError> {
        PinnedPeer::of_pid_in(&self.host.root, pid)
    }

    /// Reads what can be known about `peer` at the time `at`.
    ///
    /// # Errors
    /// Where the process is gone or changes, or its executable cannot be hashed now.
    pub async fn attest(
        &self,
        peer: &Arc<PinnedPeer>,
        at: SystemTime,
    ) -> Result<Attestation, AttestError> {
        let facts = Facts::read(&self.host, peer)?;
        let digest = self.digest(&facts, peer, at).await?;
        let identity = facts.identity();
        self.check(peer, identity)?;
        let evidence = self.evidence(peer, facts, digest, at)?;
        Attestation::new(evidence, peer.key(), identity)
            .map_err(|error| AttestError::Evidence(error.to_string()))
    }

    /// Confirms that what `attestation` says of `peer` still holds: the process lives, with the
    /// same credentials, and runs the same unchanged file. Takes microseconds and never waits.
    ///
    /// # Errors
    /// What is different.
    pub fn unchanged(&self, peer: &PinnedPeer, attestation: &Attestation) -> Result<(), Changed> {
        if peer.key() != attestation.process {
            return Err(Changed::Process);
        }
        self.check(peer, attestation.executable)
    }

    /// Liveness comes last: it says that all that was read before was read of this process.
    fn check(&self, peer: &PinnedPeer, executable: Option<FileIdentity>) -> Result<(), Changed> {
        let result = self.check_facts(peer, executable);
        if peer.is_alive() {
            result
        } else {
            Err(Changed::Exited)
        }
    }

    fn check_facts(
        &self,
        peer: &PinnedPeer,
        executable: Option<FileIdentity>,
    ) -> Result<(), Changed> {
        let ids = peer
            .effective_ids(&self.host.root)
            .map_err(|_error| Changed::Hidden)?;
        let credentials = peer.credentials();
        if ids != (credentials.uid, credentials.gid) {
            return Err(Changed::Credentials);
        }
        let now = peer
            .directory(&self.host.root)
            .and_then(FileIdentity::of_process)
            .ok();
        if now == executable {
            Ok(())
        } else {
            Err(Changed::Executable)
        }
    }

    async fn digest(
        &self,
        facts: &Facts,
        peer: &Arc<PinnedPeer>,
        at: SystemTime,
    ) -> Result<Fact<Arc<str>>, AttestError> {
        let executable = match &facts.executable {
            Ok(executable) => executable,
            Err(reason) => return Ok(Err(reason.clone())),
        };
        let user = || {
            let uid = peer.credentials().uid;
            let directory = peer.directory(&self.host.root);
            directory.map_or(uid, |directory| {
                accountable_uid(directory, uid, self.host.user_namespace)
            })
        };
        match self.digests.of(executable, peer, user, at).await {
            Ok(digest) => Ok(Ok(digest)),
            Err(DigestError::Unknown(reason)) => Ok(Err(reason)),
            Err(DigestError::Changed) => Err(Changed::Executable.into()),
            Err(DigestError::Pool(PoolError::Overloaded)) => Err(AttestError::Overloaded),
            Err(DigestError::Pool(PoolError::Timeout)) => Err(AttestError::Timeout),
        }
    }

    fn evidence(
        &self,
        peer: &PinnedPeer,
        facts: Facts,
        digest: Fact<Arc<str>>,
        at: SystemTime,
    ) -> Result<Evidence, AttestError> {
        let credentials = peer.credentials();
        let mut findings = Findings::default();
        unix::report_credentials(&self.host, credentials, &facts.groups, at, &mut findings);
        findings.report("unix:path", facts.path.as_ref().map_err(Clone::clone));
        findings.report("unix:sha256", digest.as_ref().map_err(Clone::clone));
        cgroup::report(&facts.cgroups, &mut findings);
        let (selectors, unknown) = findings.finish();
        Ok(Evidence {
            cgroup: facts.cgroup_evidence(),
            executable: facts.executable_evidence(digest.ok()),
            gid: credentials.gid,
            groups: facts.known_groups(),
            pid: credentials.pid,
            pinned_by: peer.method().as_str(),
            selectors: selectors.into(),
            start_time: facts.start_time.ok(),
            time: rfc3339(at)?,
            uid: credentials.uid,
            unknown,
        })
    }
}

fn rfc3339(at: SystemTime) -> Result<String, AttestError> {
    OffsetDateTime::from(at)
        .format(TIME)
        .map_err(|error| AttestError::Evidence(error.to_string()))
}

#[cfg(test)]
mod tests;
