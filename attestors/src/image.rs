//! What must not change while a process is believed.
//!
//! Owns [`Image`]: which process it is, whose, in which cgroup, which file it
//! runs, and a fingerprint of this one run of it. [`Attestor::look`] takes one
//! in microseconds; an attestation, the proofs about a connection and every
//! use of either stand on the same one, and are worth nothing once the process
//! shows another.
//!
//! The fingerprint tells two runs of one file apart. It is the digest of the
//! auxiliary vector that the kernel made for the image (`/proc/PID/auxv`),
//! which holds the addresses of the stack, the vDSO, the program and its
//! interpreter: some 60 bits that are drawn anew at each `execve`. It is
//! compared and never shown, since those addresses are the program's secret.
//! The kernel writes the vector as the last step of an `execve`, after the
//! descriptors with close-on-exec are closed: where it is whole, they are.
//!
//! What it cannot see:
//! - An image that the process makes of itself without `execve`: libraries,
//!   plug-ins, whatever a debugger writes (the `code` attestor's facts).
//! - A program that forges its own vector (`PR_SET_MM_MAP` needs no privilege).
//!   It can only match a *later* run of another program by foreseeing that
//!   run's random addresses. So a process for which there are none
//!   (`ADDR_NO_RANDOMIZE`) is refused. The flag is read each time: a process
//!   can take it off again, but the program executed last, which is the one
//!   that an attacker wants to be taken for, will not do that for him.
//! - Two runs on a host that randomizes nothing (`kernel.randomize_va_space =
//!   0`), and of other users' processes for an agent without
//!   `CAP_SYS_PTRACE`; start-up says both.
//!
//! A helper that shares the memory of the image before (`CLONE_VM`) keeps that
//! alive, not the new one: `execve` gives the process memory of its own, and
//! the vector is read of the process, never through a descriptor kept from
//! before.
//!
//! [`Attestor::look`]: crate::Attestor::look

use crate::{
    attestor::{AttestError, Changed},
    executable::FileIdentity,
    host::Host,
    parse,
    pin::{PinnedPeer, ProcessKey},
    procfs::{ProcDir, ReadError},
};
use aws_lc_rs::digest::{SHA256, digest};
use rustix::io::Errno;
use std::fmt;

/// Most of `cgroup` that is read: a path of `PATH_MAX` in each of a dozen hierarchies and more.
pub(crate) const MAX_CGROUP_BYTES: usize = 256 << 10;

/// Most of `auxv` that is read: some 25 pairs of words.
const MAX_AUXV_BYTES: usize = 4096;

/// Most of `personality` that is read: eight digits.
const MAX_PERSONALITY_BYTES: usize = 64;

/// One run of one program in one process, with its credentials and its cgroup.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Image {
    process: ProcessKey,
    credentials: (u32, u32),
    cgroup: Cgroup,
    executable: Option<FileIdentity>,
    run: Option<Run>,
}

/// Where the process is in the hierarchies.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Cgroup {
    /// In the unified hierarchy, where the kernel tells it (Linux 6.13).
    id: Option<u64>,
    /// Of the paths, where the ID does not say all.
    paths: Option<Fingerprint>,
}

/// Tells one `execve` from the others; the file may be the same.
type Run = Fingerprint;

/// Compared, and not to be read.
#[derive(Clone, Copy, Eq, PartialEq)]
struct Fingerprint([u8; 32]);

impl Fingerprint {
    fn of(bytes: &[u8]) -> Self {
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest(&SHA256, bytes).as_ref());
        Self(fingerprint)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint")
    }
}

impl Image {
    /// Of `peer` as it is now. Liveness is confirmed last: all that was read before was read of
    /// this process.
    pub(crate) fn take(host: &Host, peer: &PinnedPeer) -> Result<Self, AttestError> {
        let image = Self::read(host, peer);
        if peer.is_alive() {
            image
        } else {
            Err(AttestError::Gone)
        }
    }

    fn read(host: &Host, peer: &PinnedPeer) -> Result<Self, AttestError> {
        let info = peer.info().map_err(|_reaped| AttestError::Gone)?;
        let credentials = match info {
            Some(info) => (info.uid, info.gid),
            None => peer.effective_ids(&host.root).map_err(hidden)?,
        };
        let mut image = Self {
            process: peer.key(),
            credentials,
            cgroup: Cgroup {
                id: info.and_then(|info| info.cgroup_id),
                paths: None,
            },
            executable: None,
            run: None,
        };
        // Where /proc hides the process, nothing is known that could change.
        let directory = match peer.directory(&host.root) {
            Ok(directory) => directory,
            Err(error) => return refused(error).map(|()| image),
        };
        let mut bytes = Vec::new();
        if !(host.has_unified_cgroups_alone && image.cgroup.id.is_some()) {
            // The namespace belongs to the thread; what cannot be joined is the attestor's to tell.
            drop(host.cgroups.prepare());
            image.cgroup.paths = cgroup_paths(directory, &mut bytes)?;
        }
        image.executable = match FileIdentity::of_process(directory) {
            Ok(identity) => Some(identity),
            // A kernel thread.
            Err(Errno::NOENT) => None,
            Err(error) => refused(error).map(|()| None)?,
        };
        if host.randomizes_addresses {
            confirm_randomized(directory, &mut bytes)?;
        }
        image.run = run(directory, &mut bytes)?;
        Ok(image)
    }

    /// Whether `peer` lives, with these credentials in this cgroup as far as it has an ID, and runs
    /// this file: what three system calls tell. Another run of the same file looks alike.
    pub(crate) fn resembles(&self, host: &Host, peer: &PinnedPeer) -> bool {
        let Ok(Some(info)) = peer.info() else {
            return false;
        };
        let executable = peer
            .directory(&host.root)
            .ok()
            .and_then(|directory| FileIdentity::of_process(directory).ok());
        self.process == peer.key()
            && self.credentials == (info.uid, info.gid)
            && self.cgroup.id == info.cgroup_id
            && self.executable == executable
            && peer.is_alive()
    }

    pub(crate) const fn process(&self) -> ProcessKey {
        self.process
    }

    pub(crate) const fn executable(&self) -> Option<FileIdentity> {
        self.executable
    }

    pub(crate) const fn credentials(&self) -> (u32, u32) {
        self.credentials
    }

    /// Whether one run of a program can be told from the next.
    #[must_use]
    pub const fn tells_runs_apart(&self) -> bool {
        self.run.is_some()
    }

    /// What is different in `now`.
    pub(crate) fn compare(&self, now: &Self) -> Result<(), Changed> {
        if self.process != now.process {
            Err(Changed::Process)
        } else if self.credentials != now.credentials {
            Err(Changed::Credentials)
        } else if self.executable != now.executable {
            Err(Changed::Executable)
        } else if self.run != now.run {
            Err(Changed::Executed)
        } else if self.cgroup != now.cgroup {
            Err(Changed::Cgroup)
        } else {
            Ok(())
        }
    }
}

/// The fingerprint of the lines of which facts are made.
fn cgroup_paths(
    directory: &ProcDir,
    bytes: &mut Vec<u8>,
) -> Result<Option<Fingerprint>, AttestError> {
    if let Err(error) = directory.read_record("cgroup", MAX_CGROUP_BYTES, bytes) {
        return unread(error).map(|()| None);
    }
    let mut relevant = Vec::with_capacity(512);
    for line in parse::cgroup_lines(bytes) {
        relevant.extend_from_slice(line);
        relevant.push(b'\n');
    }
    Ok(Some(Fingerprint::of(&relevant)))
}

fn confirm_randomized(directory: &ProcDir, bytes: &mut Vec<u8>) -> Result<(), AttestError> {
    if let Err(error) = directory.read_record("personality", MAX_PERSONALITY_BYTES, bytes) {
        return unread(error);
    }
    if parse::is_unrandomized(bytes).unwrap_or(true) {
        return Err(Changed::Unrandomized.into());
    }
    Ok(())
}

fn run(directory: &ProcDir, bytes: &mut Vec<u8>) -> Result<Option<Run>, AttestError> {
    match directory.read_record("auxv", MAX_AUXV_BYTES, bytes) {
        // No memory, no image: a kernel thread, or the first thread has exited.
        Err(ReadError::System(Errno::SRCH)) => return Ok(None),
        Ok(()) if bytes.is_empty() => return Ok(None),
        Ok(()) => {}
        Err(error) => return unread(error).map(|()| None),
    }
    match parse::auxv_is_complete(bytes) {
        Ok(true) => Ok(Some(Fingerprint::of(bytes))),
        // In the middle of an `execve`, or made up.
        Ok(false) | Err(_) => Err(Changed::Executed.into()),
    }
}

/// Sorts out the errors that end everything; the others leave a part of the image unknown.
fn refused(error: Errno) -> Result<(), AttestError> {
    match error {
        Errno::SRCH => Err(AttestError::Gone),
        Errno::MFILE | Errno::NFILE | Errno::NOMEM => Err(AttestError::Overloaded),
        _ => Ok(()),
    }
}

fn unread(error: ReadError) -> Result<(), AttestError> {
    match error {
        ReadError::System(error) => refused(error),
        ReadError::TooLarge(_) => Err(Changed::Hidden.into()),
    }
}

fn hidden(error: ReadError) -> AttestError {
    match unread(error) {
        Err(error) => error,
        Ok(()) => Changed::Hidden.into(),
    }
}
