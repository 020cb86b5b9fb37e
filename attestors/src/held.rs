//! How the peer's end of a connection lies among a process's descriptors.
//!
//! Owns the proof *held*. A descriptor with close-on-exec does not survive an
//! `execve`, and `execve` gives the process a descriptor table of its own. So
//! where the other end of our connection is in `/proc/PID/fd` with that flag,
//! the image that runs now opened it, or set the flag itself.
//!
//! `diag` asks the kernel for the inode of the other end, in the network
//! namespace to which the connection belongs (`networks`); the search here
//! finds the descriptor with that inode, and a budget bounds it for each user.
//! Number, flag and inode of a descriptor come from one read of
//! `/proc/PID/fdinfo/N`, so that it cannot be swapped in between.
//!
//! All is read through the pinned process's directory, which shows the
//! descriptors of its first thread. A socket that another thread opened in a
//! table of its own (`unshare(CLONE_FILES)`) is not found, and so not held. A
//! table that is shared with another process is shared until the `execve`, and
//! no longer: an accomplice cannot put a descriptor into the table of an image
//! that runs, unless that image shared it, or may be traced by him.
//!
//! Refuses by default: what cannot be read is unknown and never held, what is
//! not found is not held, and a search that the budget cuts short is unknown.
//! `doc/proofs.md` says what is left open.

mod diag;
mod networks;

pub(crate) use networks::Networks;

use crate::{
    budget::Budget,
    findings::{Reason, unread},
    host::Host,
    parse::{self, DescriptorInfo},
    pin::PinnedPeer,
    procfs::{ProcDir, ReadError},
    proof::Held,
};
use networks::Lease;
use rustix::{
    fd::AsFd as _,
    fs::{RawDir, StatxFlags, fstat},
    io::Errno,
};
use std::{
    mem::MaybeUninit,
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// Descriptors that one user may have looked at at once: some 14 ms of the agent's time. Looks where
/// a connection is likely, or was found before, are free, so that an empty bucket does not hurt
/// ordinary clients of the same user.
pub(crate) const LOOKS: u32 = 10_000;

/// How often one more: 5,000 a second, less than a hundredth of a core.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_micros(200);

/// Standard input, output and error: whoever starts a program chooses what they are.
const STANDARD: u32 = 2;

/// Numbers at the lower end of the table that are looked at first: the kernel gives the lowest
/// free one.
const LOWEST: u32 = 16;

/// Numbers around the number of open descriptors, which is where a table without gaps ends.
const AROUND_THE_END: u32 = 8;

/// Descriptors that are paid for at once.
const STEP: u32 = 64;

/// Most of `fdinfo` that is read: a socket's has five lines.
const MAX_FDINFO_BYTES: usize = 4096;

/// Bytes of a directory that are read at once: some 1,300 numbers.
const DIRECTORY_BYTES: usize = 32 << 10;

/// No descriptor has this number.
const NOWHERE: u32 = u32::MAX;

/// The other end of an accepted connection.
#[derive(Debug)]
pub struct PeerEnd {
    inode: u32,
    /// The mount of all sockets, where the kernel tells (Linux 5.8).
    mount: Option<u64>,
    /// Where it was found last.
    remembered: AtomicU32,
    /// Keeps a way to ask in the caller's network namespace for its next connection.
    _lease: Option<Arc<Lease>>,
}

/// Why the other end of a connection cannot be named.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct PeerEndError(pub Reason);

/// How a search ended.
enum Found {
    Yes(Place),
    No,
    OutOfBudget,
}

/// A descriptor of the socket.
#[derive(Clone, Copy)]
struct Place {
    number: u32,
    close_on_exec: bool,
}

impl Place {
    fn verdict(self) -> Held {
        match self {
            Self {
                close_on_exec: true,
                ..
            } => Held::CloseOnExec,
            Self { number, .. } if number <= STANDARD => Held::Not(
                format!("the connection is inheritable on descriptor {number}, a standard stream")
                    .into(),
            ),
            Self { .. } => Held::Inheritable,
        }
    }

    /// The one that proves less.
    fn weaker(self, other: Self) -> Self {
        let rank = |place: Self| (place.close_on_exec, place.number > STANDARD);
        if rank(other) < rank(self) {
            other
        } else {
            self
        }
    }
}

impl PeerEnd {
    fn new(inode: u32, mount: Option<u64>, lease: Option<Arc<Lease>>) -> Self {
        Self {
            inode,
            mount,
            remembered: AtomicU32::new(NOWHERE),
            _lease: lease,
        }
    }

    /// Looks where it was last, then where it is likely, then everywhere; `budget` names who pays
    /// for that.
    pub(crate) fn held<'a>(
        &self,
        host: &Host,
        peer: &PinnedPeer,
        budget: impl FnOnce() -> (&'a Budget, u32),
    ) -> Held {
        let held = peer
            .directory(&host.root)
            .map_err(ReadError::from)
            .and_then(|directory| self.find(directory, budget));
        match held {
            _ if !peer.is_alive() => Held::Not("the process has exited".into()),
            Ok(Found::Yes(place)) => {
                self.remembered.store(place.number, Ordering::Relaxed);
                place.verdict()
            }
            Ok(Found::No) => {
                Held::Not("the connection is not among the process's descriptors".into())
            }
            Ok(Found::OutOfBudget) => Held::Unknown(
                "looking through the user's descriptors was done too often: try again later, with \
                 fewer of them open"
                    .into(),
            ),
            Err(ReadError::System(Errno::SRCH)) => {
                Held::Not("the process has no descriptors any more".into())
            }
            Err(error) => Held::Unknown(unread("fd", error)),
        }
    }

    fn find<'a>(
        &self,
        directory: &ProcDir,
        budget: impl FnOnce() -> (&'a Budget, u32),
    ) -> Result<Found, ReadError> {
        let remembered = self.remembered.load(Ordering::Relaxed);
        if remembered != NOWHERE
            && let Some(place) = self.look(directory, remembered)?
        {
            return Ok(Found::Yes(place));
        }
        // The number of open descriptors (Linux 6.2), else 0.
        let open = directory.stat("fd", StatxFlags::SIZE)?.stx_size;
        let open = u32::try_from(open).unwrap_or(u32::MAX - AROUND_THE_END);
        let mut found: Option<Place> = None;
        for number in likely(open) {
            if let Some(place) = self.look(directory, number)? {
                found = Some(found.map_or(place, |known| known.weaker(place)));
            }
        }
        match found {
            Some(place) => Ok(Found::Yes(place)),
            None => self.search(directory, open, budget()),
        }
    }

    /// Whether the descriptor `number` is this end.
    fn look(&self, directory: &ProcDir, number: u32) -> Result<Option<Place>, ReadError> {
        if !self.is_at(directory, number)? {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        match directory.read(&format!("fdinfo/{number}"), MAX_FDINFO_BYTES, &mut bytes) {
            Ok(()) => {}
            Err(ReadError::System(Errno::NOENT) | ReadError::TooLarge(_)) => return Ok(None),
            Err(error) => return Err(error),
        }
        let Ok(info) = parse::descriptor_info(&bytes) else {
            return Ok(None);
        };
        let is_same = match info {
            DescriptorInfo {
                inode: Some(inode),
                mount: Some(mount),
                ..
            } if self.mount.is_some() => {
                inode == u64::from(self.inode) && Some(mount) == self.mount
            }
            // Before Linux 5.14: the same before and behind.
            _ => self.is_at(directory, number)?,
        };
        Ok(is_same.then_some(Place {
            number,
            close_on_exec: info.close_on_exec,
        }))
    }

    fn is_at(&self, directory: &ProcDir, number: u32) -> Result<bool, Errno> {
        let mut room = [MaybeUninit::uninit(); 64];
        match directory.link(&format!("fd/{number}"), &mut room) {
            Ok(target) => Ok(target == format!("socket:[{}]", self.inode).as_bytes()),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn search(
        &self,
        directory: &ProcDir,
        open: u32,
        (budget, uid): (&Budget, u32),
    ) -> Result<Found, ReadError> {
        let mut paid = open.max(STEP);
        if !budget.take(uid, paid) {
            return Ok(Found::OutOfBudget);
        }
        let table = directory.file("fd")?;
        let mut room = vec![MaybeUninit::uninit(); DIRECTORY_BYTES];
        let mut entries = RawDir::new(table.as_fd(), &mut room);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = str::from_utf8(entry.file_name().to_bytes()).ok();
            let Some(number) = name.and_then(|name| name.parse().ok()) else {
                // "." and "..".
                continue;
            };
            if paid == 0 {
                if !budget.take(uid, STEP) {
                    return Ok(Found::OutOfBudget);
                }
                paid = STEP;
            }
            paid -= 1;
            if let Some(place) = self.look(directory, number)? {
                return Ok(Found::Yes(place));
            }
        }
        Ok(Found::No)
    }
}

/// Where a connection's descriptor is as a rule, in a table with `open` descriptors.
fn likely(open: u32) -> impl Iterator<Item = u32> {
    let end = open.saturating_sub(AROUND_THE_END).max(LOWEST)
        ..open.saturating_add(AROUND_THE_END).max(LOWEST);
    (0..LOWEST).chain(end)
}

/// Whether the kernel tells the other end of a pair of our own.
pub(crate) fn sees_own_pair() -> bool {
    let told = || {
        let (ours, theirs) = UnixStream::pair()?;
        let inode = |socket: &UnixStream| fstat(socket).map(|stat| stat.st_ino);
        let told = diag::Diag::open()
            .and_then(|diag| diag.peer(u32::try_from(inode(&ours)?).unwrap_or(0)))?;
        std::io::Result::Ok(told.map(u64::from) == Some(inode(&theirs)?))
    };
    told().unwrap_or(false)
}

#[cfg(test)]
mod tests;
