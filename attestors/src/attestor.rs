//! Attesting a pinned process.
//!
//! Owns the order of one attestation: read every fact through the pinned peer,
//! then confirm that the process still lives, with the credentials with which
//! it connected and the executable whose facts were read. Only then is there
//! an [`Attestation`]. Whatever happens in between (an exit, an `execve`, a
//! set-user-ID program) ends in an error, and the caller may ask again.
//!
//! Called by the agent for each new process. [`Attestor::look`] comes first:
//! the facts are those of the image that it saw, and
//! [`Attestor::unchanged`] confirms it before each use of what was attested.
//! Nothing here waits on the caller's thread; only hashing does, in the read
//! pool, under a deadline. `proofs` has what binds a connection to the image.
//!
//! Not seen: what was loaded into the program, and what `image` says of its
//! fingerprint.

use crate::{
    budget::Budget,
    cgroup,
    container::{Containers, RuntimeSockets},
    digest::{Content, DigestError, DigestLimits, Digests},
    evidence::{Attestation, CgroupEvidence, Evidence, ExecutableEvidence},
    executable::{Executable, FileIdentity},
    findings::{Fact, Findings},
    held::{LOOK_INTERVAL, LOOKS, Networks},
    host::Host,
    image::Image,
    kinds::Kinds,
    pin::{PinError, PinnedPeer},
    procfs::DEFAULT_ROOT,
    read_pool::{PoolError, ReadPool},
    systemd::Systemd,
    unix,
};
use rustix::{fd::BorrowedFd, io::Errno};
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

mod asked;
mod facts;
mod glance;
mod limitations;
mod loaded;
mod proofs;

pub(crate) use asked::Subject;
pub use asked::Wanted;
pub(crate) use facts::{Facts, cgroups_now};
pub use limitations::Capabilities;

/// RFC 3339 in UTC with milliseconds.
const TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// The system bus on every distribution; the environment is not asked.
pub const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";

/// What the operator decides about attestation.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "choices that the operator makes one by one"
)]
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
    /// The socket of the system bus, over which the systemd attestor asks; `None` turns it off.
    pub systemd_bus: Option<PathBuf>,
    /// Where the container attestor asks.
    pub runtime_sockets: RuntimeSockets,
    /// How long one attestor may take that asks somebody else.
    pub attestor_timeout: Duration,
    /// Pins as on a kernel without `SO_PEERPIDFD`.
    pub force_fallback_pin: bool,
    /// Whether processes are attested that another one traces (`ptrace(2)`).
    pub allow_traced: bool,
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
            systemd_bus: Some(SYSTEM_BUS.into()),
            runtime_sockets: RuntimeSockets::default(),
            attestor_timeout: Duration::from_secs(2),
            force_fallback_pin: false,
            allow_traced: false,
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
    /// What it can execute is not what was attested; another attestation may find the same facts.
    #[error("the process loaded other code")]
    Code,
    /// It executed the same program again.
    #[error("the process has executed its program again")]
    Executed,
    /// It was moved to another cgroup.
    #[error("the process was moved to another cgroup")]
    Cgroup,
    /// It was started so that one run of a program cannot be told from the next.
    #[error(
        "the process runs without address space layout randomization (setarch -R, a debugger), \
         so that it cannot be told whether it executes its program again"
    )]
    Unrandomized,
    /// The image is another process's.
    #[error("the image is another process's")]
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
    /// The caller's: another process traces it, and so decides what it does.
    #[error("the process is traced by process {0}")]
    Traced(u32),
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
    pool: ReadPool,
    systemd: Systemd,
    containers: Containers,
    limitations: Vec<String>,
    capabilities: Capabilities,
    force_fallback_pin: bool,
    allow_traced: bool,
    networks: Networks,
    budget: Budget,
}

impl Attestor {
    /// Looks around on the host. Reads files; to be called before anybody is served.
    ///
    /// # Errors
    /// Where `/proc` is missing or shows another PID namespace.
    pub fn new(config: AttestorConfig) -> Result<Self, SetupError> {
        let mut limitations = Capabilities::of_this_agent(config.force_fallback_pin).limitations();
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
            digests: Digests::new(Arc::clone(&host), pool.clone(), limits),
            containers: Containers::new(&config.runtime_sockets, config.attestor_timeout),
            systemd: Systemd::new(config.systemd_bus.clone(), config.attestor_timeout),
            pool,
            host,
            limitations,
            capabilities: Capabilities::of_this_agent(config.force_fallback_pin),
            force_fallback_pin: config.force_fallback_pin,
            allow_traced: config.allow_traced,
            networks: Networks::new(deadline),
            budget: Budget::new(LOOK_INTERVAL, LOOKS),
        }
    }

    /// What can be proved about connections here.
    #[must_use]
    pub const fn capabilities(&self) -> Capabilities {
        self.capabilities
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

    /// Pins a process by its number. What is read of it is on the account of its user, as if it had
    /// called.
    ///
    /// # Errors
    /// As [`PinnedPeer::of_pid`].
    pub fn pin_pid(&self, pid: u32) -> Result<PinnedPeer, PinError> {
        PinnedPeer::of_pid_in(&self.host.root, pid)
    }

    /// Pins a process by its number, for an operator who asks about it. What is read of it is on an
    /// account that no user has, so that questions take nothing away from callers.
    ///
    /// # Errors
    /// As [`PinnedPeer::of_pid`].
    pub fn pin_for_operator(&self, pid: u32) -> Result<PinnedPeer, PinError> {
        self.pin_pid(pid).map(PinnedPeer::asked_about)
    }

    /// What must not change while `peer` is believed. Takes microseconds and never waits.
    ///
    /// # Errors
    /// Where the process is gone, is about to execute a program, or was started so that its
    /// images cannot be told apart.
    pub fn look(&self, peer: &PinnedPeer) -> Result<Image, AttestError> {
        Image::take(&self.host, peer)
    }

    /// Reads what can be known about `peer` at the time `at`, beside `unix` and `cgroup` from the
    /// attestors in `kinds`. The facts are those of `image`, which is confirmed at the end.
    ///
    /// # Errors
    /// Where the process is gone or changes, or its executable cannot be hashed now.
    pub async fn attest(
        &self,
        peer: &Arc<PinnedPeer>,
        image: &Image,
        kinds: Kinds,
        at: SystemTime,
    ) -> Result<Attestation, AttestError> {
        self.attest_as_wanted(peer, image, &|_selectors: &[_]| kinds, at)
            .await
    }

    /// As [`attest`](Self::attest), from the attestors that are `wanted` about a process with the
    /// selectors that are known so far, sorted: `unix` and `cgroup` first, then also those of each
    /// attestor that was asked. The more selectors there are, the more may be wanted, never less.
    ///
    /// # Errors
    /// As [`attest`](Self::attest).
    pub async fn attest_as_wanted(
        &self,
        peer: &Arc<PinnedPeer>,
        image: &Image,
        wanted: &Wanted<'_>,
        at: SystemTime,
    ) -> Result<Attestation, AttestError> {
        let mut facts = Facts::read(&self.host, peer)?;
        facts.tracer = self.tracer(peer, &facts.tracer).await?;
        let content = self.content(&facts, peer, at).await?;
        let mut findings = self.found(peer, &facts, &content, at);
        let subject = Subject {
            host: &self.host,
            peer,
            facts: &facts,
            digests: &self.digests,
            pool: &self.pool,
            systemd: &self.systemd,
            containers: &self.containers,
            at,
        };
        let mut asked = Kinds::NONE;
        if wanted(findings.known()) != Kinds::NONE {
            // Seldom, and large: those who are not asked take no room.
            asked = Box::pin(asked::report(&subject, wanted, &mut findings)).await;
        }
        if facts.identity() != image.executable() {
            return Err(Changed::Executable.into());
        }
        self.unchanged(peer, image)?;
        let digest = content.ok().map(|content| content.sha256);
        let evidence = evidence(peer, &facts, digest, (findings, asked), at)?;
        Attestation::new(evidence, image.clone())
            .map_err(|error| AttestError::Evidence(error.to_string()))
    }

    /// Confirms that `peer` still shows `image`: the process lives, with the credentials with which
    /// it connected, in the same cgroup, and has executed nothing since. Takes microseconds and
    /// never waits.
    ///
    /// # Errors
    /// What is different.
    pub fn unchanged(&self, peer: &PinnedPeer, image: &Image) -> Result<(), Changed> {
        if peer.key() != image.process() {
            return Err(Changed::Process);
        }
        let connected = peer.credentials();
        if (connected.uid, connected.gid) != image.credentials() {
            return Err(self.exited_or(peer, Changed::Credentials));
        }
        match Image::take(&self.host, peer) {
            Ok(now) => image.compare(&now),
            Err(AttestError::Gone) => Err(Changed::Exited),
            Err(AttestError::Changed(changed)) => Err(changed),
            Err(_unreadable) => Err(Changed::Hidden),
        }
    }

    /// Whether it is worth working for `peer` as the program of `image`, so far as that is seen at a
    /// glance. It is no proof: [`Self::unchanged`] has to hold before anything leaves.
    #[must_use]
    pub fn resembles(&self, peer: &PinnedPeer, image: &Image) -> bool {
        image.resembles(&self.host, peer)
    }

    fn exited_or(&self, peer: &PinnedPeer, changed: Changed) -> Changed {
        if peer.is_alive() {
            changed
        } else {
            Changed::Exited
        }
    }

    async fn content(
        &self,
        facts: &Facts,
        peer: &Arc<PinnedPeer>,
        at: SystemTime,
    ) -> Result<Fact<Content>, AttestError> {
        let executable = match &facts.executable {
            Ok(executable) => executable,
            Err(reason) => return Ok(Err(reason.clone())),
        };
        let user = || self.accountable_uid(peer);
        match self.digests.of(executable, peer, user, at).await {
            Ok(content) => Ok(Ok(content)),
            Err(DigestError::Unknown(reason)) => Ok(Err(reason)),
            Err(DigestError::Changed) => Err(Changed::Executable.into()),
            Err(DigestError::Pool(PoolError::Overloaded)) => Err(AttestError::Overloaded),
            Err(DigestError::Pool(PoolError::Timeout)) => Err(AttestError::Timeout),
        }
    }

    /// What `unix` and `cgroup` say.
    fn found(
        &self,
        peer: &PinnedPeer,
        facts: &Facts,
        content: &Fact<Content>,
        at: SystemTime,
    ) -> Findings {
        let mut findings = Findings::default();
        let credentials = peer.credentials();
        unix::report_credentials(&self.host, credentials, &facts.groups, at, &mut findings);
        findings.report("unix:path", facts.path.as_ref().map_err(Clone::clone));
        unix::report_privileges(&facts.executable, content, &mut findings);
        let digest = content.as_ref().map(|content| &content.sha256);
        findings.report("unix:sha256", digest.map_err(Clone::clone));
        cgroup::report(
            &facts.cgroups,
            facts.cgroup_id,
            &self.host.cgroups,
            &mut findings,
        );
        findings
    }
}

fn evidence(
    peer: &PinnedPeer,
    facts: &Facts,
    digest: Option<Arc<str>>,
    (mut findings, asked): (Findings, Kinds),
    at: SystemTime,
) -> Result<Evidence, AttestError> {
    let credentials = peer.credentials();
    let container = findings.container.take();
    let code = findings.code.take();
    let (selectors, unknown) = findings.finish();
    Ok(Evidence {
        asked: asked.iter().collect(),
        cgroup: facts.cgroup_evidence(),
        container,
        code,
        executable: facts.executable_evidence(digest),
        gid: credentials.gid,
        groups: facts.known_groups(),
        pid: credentials.pid,
        pinned_by: peer.method().as_str(),
        proofs: None,
        selectors: selectors.into(),
        start_time: facts.start_time.as_ref().ok().copied(),
        time: rfc3339(at)?,
        tracer: facts.tracer.as_ref().ok().copied().flatten(),
        uid: credentials.uid,
        unknown,
    })
}

fn rfc3339(at: SystemTime) -> Result<String, AttestError> {
    OffsetDateTime::from(at)
        .format(TIME)
        .map_err(|error| AttestError::Evidence(error.to_string()))
}

#[cfg(test)]
mod tests;
