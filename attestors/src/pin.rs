//! Pinning the process at the other end of a Unix socket.
//!
//! Owns [`PinnedPeer`]: a pidfd, the credentials with which the peer
//! connected, and its directory in `/proc`. Attestors get this and never a
//! bare process ID, whose number may be given to another process at any time.
//!
//! `SO_PEERPIDFD` (Linux 6.5) names the very process that connected, even
//! after it exited. On older kernels the process is looked up by the number in
//! `SO_PEERCRED` and told apart by its start time: a peer that exited before,
//! and whose number went to another process of the same user, would be
//! mistaken, so this is reported as the weaker [`PinMethod::PidStartTime`].
//!
//! A peer of a PID namespace that is not below ours has no number here and is
//! refused: nothing could be read about it. Credentials are those of the
//! moment of connecting; that they still hold is the attestor's to confirm.

use crate::{
    parse,
    procfs::{DEFAULT_ROOT, ProcDir, ProcRoot, ReadError},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd as _, BorrowedFd, OwnedFd},
    fs::{fstat, fstatfs},
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};
use std::{
    io,
    path::Path,
    sync::{Arc, OnceLock},
};
use symbolon_syscalls::{PidfdInfo, ReadableWatch, peer_credentials, peer_pidfd, pidfd_info};
use tokio::sync::OnceCell;

/// Most of `status` that is read: 65,536 supplementary groups take 720 KB.
pub(crate) const MAX_STATUS_BYTES: usize = 1 << 20;

/// Most of `stat` that is read: 52 numbers and a name of 64 bytes at most.
pub(crate) const MAX_STAT_BYTES: usize = 4096;

/// Most of `loginuid` that is read: one number.
const MAX_LOGIN_BYTES: usize = 32;

/// The root of the unified hierarchy, by its ID: whoever was never put into a cgroup is there,
/// together with everybody else.
pub const ROOT_CGROUP: u64 = 1;

/// `PID_FS_MAGIC`: pidfds with inode numbers of their own (Linux 6.9).
const PIDFS: u64 = 0x5049_4446;

/// Tells one process from every other one that runs or ran since boot.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ProcessKey(Key);

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Key {
    Pidfs(u64),
    StartTime { pid: u32, ticks: u64 },
}

/// How a peer was pinned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PinMethod {
    /// The kernel gave a descriptor of the process itself.
    PidFd,
    /// The process was looked up by its number and told apart by its start time.
    PidStartTime,
}

impl PinMethod {
    /// The word for evidence and listings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PidFd => "pidfd",
            Self::PidStartTime => "pid-starttime",
        }
    }
}

/// Whose process it is, as the agent's namespaces name it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Credentials {
    /// Process ID.
    pub pid: u32,
    /// Effective user ID.
    pub uid: u32,
    /// Effective group ID.
    pub gid: u32,
}

/// Why a process could not be pinned.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The caller's: it has exited, or the number was never given.
    #[error("the process is gone")]
    Gone,
    /// The caller's: the agent's PID namespace has no number for it.
    #[error("the peer is in a PID namespace that the agent cannot see into, or is no process")]
    ForeignPidNamespace,
    /// The operator's: what tells the process apart is hidden from the agent.
    #[error("cannot tell the process apart: {0}")]
    Hidden(String),
    /// The kernel's, or the agent is out of descriptors.
    #[error("{step}: {source}")]
    System {
        /// What was tried.
        step: &'static str,
        /// How the kernel refused.
        source: Errno,
    },
}

/// A process held by its pidfd.
#[derive(Debug)]
pub struct PinnedPeer {
    pidfd: Arc<OwnedFd>,
    credentials: Credentials,
    method: PinMethod,
    key: ProcessKey,
    /// Whether it did not call, and an operator asks about it.
    asked_about: bool,
    directory: OnceLock<ProcDir>,
    exit: OnceCell<ReadableWatch>,
}

impl PinnedPeer {
    /// Pins the process that connected the other end of `socket`.
    ///
    /// # Errors
    /// Where there is none that can be named, or it is gone already.
    pub fn of_socket(socket: BorrowedFd<'_>) -> Result<Self, PinError> {
        Self::of_socket_in(&default_root()?, socket, false)
    }

    /// Pins the process with the number `pid`, for an operator who asks about it.
    ///
    /// # Errors
    /// Where there is none, or its credentials cannot be read.
    pub fn of_pid(pid: u32) -> Result<Self, PinError> {
        Self::of_pid_in(&default_root()?, pid)
    }

    /// As [`of_socket`](Self::of_socket); `fallback` pins as a kernel without `SO_PEERPIDFD` has to.
    pub(crate) fn of_socket_in(
        root: &ProcRoot,
        socket: BorrowedFd<'_>,
        fallback: bool,
    ) -> Result<Self, PinError> {
        let peer = peer_credentials(socket).map_err(|source| system("SO_PEERCRED", source))?;
        if peer.pid == 0 {
            return Err(PinError::ForeignPidNamespace);
        }
        let credentials = Credentials {
            pid: peer.pid,
            uid: peer.uid,
            gid: peer.gid,
        };
        if !fallback {
            match peer_pidfd(socket) {
                Ok(pidfd) => return Self::hold(root, pidfd, credentials, PinMethod::PidFd),
                Err(Errno::NOPROTOOPT) => {}
                Err(Errno::SRCH | Errno::INVAL | Errno::NODATA) => return Err(PinError::Gone),
                Err(source) => return Err(system("SO_PEERPIDFD", source)),
            }
        }
        let pidfd = open_pidfd(peer.pid)?;
        Self::hold(root, pidfd, credentials, PinMethod::PidStartTime)
    }

    /// As [`of_pid`](Self::of_pid).
    pub(crate) fn of_pid_in(root: &ProcRoot, pid: u32) -> Result<Self, PinError> {
        let pidfd = open_pidfd(pid)?;
        let unknown = Credentials {
            pid,
            uid: u32::MAX,
            gid: u32::MAX,
        };
        let mut peer = Self::hold(root, pidfd, unknown, PinMethod::PidFd)?;
        let (uid, gid) = peer.effective_ids(root).map_err(|error| match error {
            ReadError::System(Errno::SRCH) => PinError::Gone,
            error => PinError::Hidden(error.to_string()),
        })?;
        peer.credentials = Credentials { pid, uid, gid };
        Ok(peer)
    }

    fn hold(
        root: &ProcRoot,
        pidfd: OwnedFd,
        credentials: Credentials,
        method: PinMethod,
    ) -> Result<Self, PinError> {
        let mut peer = Self {
            key: ProcessKey(Key::Pidfs(0)),
            pidfd: Arc::new(pidfd),
            credentials,
            method,
            asked_about: false,
            directory: OnceLock::new(),
            exit: OnceCell::new(),
        };
        peer.key = match pidfs_inode(peer.pidfd.as_fd()) {
            // The fallback names the start time whatever the kernel offers.
            Some(inode) if method == PinMethod::PidFd => ProcessKey(Key::Pidfs(inode)),
            _ => ProcessKey(Key::StartTime {
                pid: credentials.pid,
                ticks: peer.start_time(root)?,
            }),
        };
        Ok(peer)
    }

    /// A live process whose directory in `/proc` is a recorded one.
    #[cfg(test)]
    pub(crate) fn stand_in(credentials: Credentials, recorded: ProcDir) -> Self {
        let pidfd = pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).unwrap();
        Self {
            pidfd: Arc::new(pidfd),
            credentials,
            method: PinMethod::PidFd,
            key: ProcessKey(Key::Pidfs(0)),
            asked_about: false,
            directory: OnceLock::from(recorded),
            exit: OnceCell::new(),
        }
    }

    fn start_time(&self, root: &ProcRoot) -> Result<u64, PinError> {
        let mut bytes = Vec::new();
        let read = self
            .directory(root)
            .map_err(ReadError::from)
            .and_then(|directory| directory.read("stat", MAX_STAT_BYTES, &mut bytes));
        if !self.is_alive() {
            return Err(PinError::Gone);
        }
        read.map_err(|error| PinError::Hidden(format!("/proc/PID/stat: {error}")))?;
        parse::start_time(&bytes).map_err(|error| PinError::Hidden(error.to_string()))
    }

    /// What tells this process from every other one.
    #[must_use]
    pub const fn key(&self) -> ProcessKey {
        self.key
    }

    /// Whose it was when it connected (or, by number, when it was pinned).
    #[must_use]
    pub const fn credentials(&self) -> Credentials {
        self.credentials
    }

    /// How it was pinned.
    #[must_use]
    pub const fn method(&self) -> PinMethod {
        self.method
    }

    /// What is read of it is not its user's doing.
    pub(crate) const fn asked_about(mut self) -> Self {
        self.asked_about = true;
        self
    }

    /// Whether what is read of it is not its user's doing.
    pub(crate) const fn is_asked_about(&self) -> bool {
        self.asked_about
    }

    /// Whether it has not exited yet; a process that waits to be reaped has.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let mut pidfd = [PollFd::new(&*self.pidfd, PollFlags::IN)];
        loop {
            match poll(&mut pidfd, Some(&Timespec::default())) {
                Ok(ready) => return ready == 0,
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }

    /// Waits until it exits. Any number of tasks may wait; one registration serves them all.
    ///
    /// # Errors
    /// Where the pidfd cannot be watched: the agent is out of kernel memory or
    /// epoll watches. Whoever relies on the exit has to stop then.
    pub async fn exited(&self) -> io::Result<()> {
        let watch = self
            .exit
            .get_or_try_init(async || ReadableWatch::new(Arc::clone(&self.pidfd)))
            .await?;
        watch.readable().await
    }

    /// Its directory in `/proc`, opened while it lived.
    pub(crate) fn directory(&self, root: &ProcRoot) -> Result<&ProcDir, Errno> {
        if let Some(directory) = self.directory.get() {
            return Ok(directory);
        }
        let directory = root.process(self.credentials.pid);
        // Alive now, so the number was its own when the directory was opened.
        if !self.is_alive() {
            return Err(Errno::SRCH);
        }
        let directory = directory?;
        Ok(self.directory.get_or_init(|| directory))
    }

    /// What the kernel says of it now; `None` on kernels before 6.13.
    pub(crate) fn info(&self) -> Result<Option<PidfdInfo>, Errno> {
        match pidfd_info(self.pidfd.as_fd()) {
            Ok(info) => Ok(Some(info)),
            Err(Errno::NOTTY | Errno::INVAL) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Its cgroup in the unified hierarchy, by ID, where the kernel tells it (Linux 6.13).
    #[must_use]
    pub fn cgroup_id(&self) -> Option<u64> {
        self.info().ok().flatten()?.cgroup_id
    }

    /// The user who logged in where it descends from a login (`/proc/PID/loginuid`), whoever it runs
    /// as now; none where that was never set, the kernel does not keep it, or it has exited.
    #[must_use]
    pub fn login(&self) -> Option<u32> {
        let root = default_root().ok()?;
        let mut bytes = Vec::new();
        let directory = self.directory(&root).ok()?;
        directory
            .read("loginuid", MAX_LOGIN_BYTES, &mut bytes)
            .ok()?;
        let login: u32 = str::from_utf8(&bytes).ok()?.trim().parse().ok()?;
        // 4294967295 stands for "not set" (pam_loginuid(8)).
        (self.is_alive() && login != u32::MAX).then_some(login)
    }

    /// The descriptor that holds it.
    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Its effective user and group ID now.
    pub(crate) fn effective_ids(&self, root: &ProcRoot) -> Result<(u32, u32), ReadError> {
        if let Some(info) = self.info()? {
            return Ok((info.uid, info.gid));
        }
        let mut bytes = Vec::new();
        self.directory(root)?
            .read("status", MAX_STATUS_BYTES, &mut bytes)?;
        let status = parse::status(&bytes).map_err(|_malformed| Errno::INVAL)?;
        Ok((status.uid, status.gid))
    }
}

fn default_root() -> Result<ProcRoot, PinError> {
    ProcRoot::open(Path::new(DEFAULT_ROOT)).map_err(|source| system("/proc", source))
}

const fn system(step: &'static str, source: Errno) -> PinError {
    PinError::System { step, source }
}

fn open_pidfd(pid: u32) -> Result<OwnedFd, PinError> {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(PinError::Gone)?;
    pidfd_open(pid, PidfdFlags::empty()).map_err(|error| match error {
        // EINVAL (ENOENT since 6.15): the number of a thread that leads no process.
        Errno::SRCH | Errno::INVAL | Errno::NOENT => PinError::Gone,
        source => system("pidfd_open", source),
    })
}

/// The inode of a pidfd on kernels that number them; elsewhere all pidfds share one.
fn pidfs_inode(pidfd: BorrowedFd<'_>) -> Option<u64> {
    let kind = fstatfs(pidfd).ok()?.f_type;
    if u64::try_from(kind).ok()? != PIDFS {
        return None;
    }
    Some(fstat(pidfd).ok()?.st_ino)
}

#[cfg(test)]
mod tests;
