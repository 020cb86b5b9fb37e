//! How the peer's end of a connection lies among a process's descriptors.
//!
//! Owns the proof *held*. A descriptor with close-on-exec does not survive an
//! `execve`, and `execve` gives the process a descriptor table of its own. So
//! where the other end of our connection is in `/proc/PID/fd` with that flag,
//! the image that runs now opened it, or set the flag itself.
//!
//! `diag` asks the kernel for the inode of the other end, in the network
//! namespace to which the connection belongs (`networks`; `kept` has the
//! sockets to ask in others than ours); `search` finds the descriptor with that
//! inode, and a budget bounds it for each user. Number, flag and inode of a
//! descriptor come from one read of `/proc/PID/fdinfo/N`, so that it cannot be
//! swapped in between.
//!
//! All is read through the pinned process's directory, which shows the
//! descriptors of its first thread. A socket that another thread opened in a
//! table of its own (`unshare(CLONE_FILES)`) is not found, and so not held. A
//! table that is shared with another process is shared until the `execve`, and
//! no longer: an accomplice cannot put a descriptor into the table of an image
//! that runs, unless that image shared it, or may be traced by him.
//!
//! Refuses by default: what cannot be read is unknown and never held, what one
//! uninterrupted pass over the table does not find is not held, and a search
//! that the budget interrupts is unknown and goes on at the next try.
//! `doc/proofs.md` says what is left open.

mod diag;
mod kept;
mod networks;
mod search;

pub(crate) use networks::Networks;

use crate::{
    budget::Budget,
    findings::{Reason, unread},
    host::Host,
    pin::PinnedPeer,
    procfs::ReadError,
    proof::Held,
};
use diag::SocketId;
use kept::Lease;
use parking_lot::Mutex;
use rustix::{fs::fstat, io::Errno};
use search::{Found, Sought};
use std::{
    os::unix::net::UnixStream,
    sync::{Arc, OnceLock},
    time::Duration,
};

/// Descriptors that one user may have looked at at once: some 14 ms of the agent's time. Looks where
/// a connection is likely, or was found before, are free, so that an empty bucket does not hurt
/// ordinary clients of the same user.
pub(crate) const LOOKS: u32 = 10_000;

/// How often one more: 5,000 a second, less than a hundredth of a core.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_micros(200);

/// The other end of an accepted connection.
#[derive(Debug)]
pub struct PeerEnd {
    /// Our end.
    ours: SocketId,
    /// The mount of all sockets, where the kernel tells (Linux 5.8).
    mount: Option<u64>,
    named: OnceLock<Named>,
    /// Why it is not named yet.
    unnamed: Mutex<Reason>,
}

#[derive(Debug)]
struct Named {
    sought: Sought,
    /// The network namespace of both, where that is not ours; keeps a way to ask there.
    lease: Option<Arc<Lease>>,
}

/// Why the other end of a connection cannot be named.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct PeerEndError(pub Reason);

impl PeerEnd {
    fn new(ours: SocketId, mount: Option<u64>) -> Self {
        let why = "the caller's network namespace was not asked for the connection yet";
        Self {
            ours,
            mount,
            named: OnceLock::new(),
            unnamed: Mutex::new(why.into()),
        }
    }

    /// Whether the kernel has told which socket it is.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.named.get().is_some()
    }

    fn name(&self, inode: u32, lease: Option<Arc<Lease>>) {
        let sought = Sought::new(inode, self.mount);
        // Who asks twice hears the same: the other end of a connection is one for ever.
        self.named.get_or_init(|| Named { sought, lease });
    }

    fn note_unnamed(&self, why: Reason) {
        *self.unnamed.lock() = why;
    }

    /// Looks where it was last, then where it is likely, then everywhere; `payer` names who pays
    /// for that.
    pub(crate) fn held<'a>(
        &self,
        host: &Host,
        peer: &PinnedPeer,
        payer: impl FnOnce() -> (&'a Budget, u32),
    ) -> Held {
        let Some(named) = self.named.get() else {
            return Held::Unknown(self.unnamed.lock().clone());
        };
        let found = peer
            .directory(&host.root)
            .map_err(ReadError::from)
            .and_then(|directory| named.sought.find(directory, payer));
        match found {
            _ if !peer.is_alive() => Held::Not("the process has exited".into()),
            Ok(Found::Yes(place)) => place.verdict(),
            Ok(Found::No) => {
                Held::Not("the connection is not among the process's descriptors".into())
            }
            Ok(Found::Interrupted) => Held::Unknown(
                "the user's share of looks at descriptors was spent before all of the process's \
                 were looked at: try again on this connection, and the search goes on"
                    .into(),
            ),
            Err(ReadError::System(Errno::SRCH)) => {
                Held::Not("the process has no descriptors any more".into())
            }
            Err(error) => Held::Unknown(unread("fd", error)),
        }
    }
}

/// Whether the kernel tells the other end of a pair of our own.
pub(crate) fn sees_own_pair() -> bool {
    let told = || {
        let (ours, theirs) = UnixStream::pair()?;
        let inode = |socket: &UnixStream| fstat(socket).map(|stat| stat.st_ino);
        let told = diag::Diag::open().and_then(|diag| diag.peer(SocketId::of(&ours)?))?;
        std::io::Result::Ok(told.map(u64::from) == Some(inode(&theirs)?))
    };
    told().unwrap_or(false)
}

#[cfg(test)]
mod tests;
