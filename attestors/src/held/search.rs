//! The search for one socket among a process's descriptors.
//!
//! First where it was the last time, then where the kernel puts it as a rule,
//! then everywhere, which the user pays for. When his share is spent, the
//! search stops and remembers where, and the next one goes on from there: so
//! the whole table of a process is looked at in the end, however large.
//!
//! That it is nowhere is said only after one pass from the first descriptor to
//! the last without such a stop: between two steps descriptors may have moved
//! to where the search was before. Who moves them again and again stays
//! unknown, and is refused for that.

use crate::{
    budget::Budget,
    parse::{self, DescriptorInfo},
    procfs::{ProcDir, ReadError},
    proof::Held,
};
use rustix::{
    fd::AsFd as _,
    fs::{RawDir, SeekFrom, StatxFlags, seek},
    io::Errno,
};
use std::{
    mem::MaybeUninit,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

/// Standard input, output and error: whoever starts a program chooses what they are.
const STANDARD: u32 = 2;

/// Numbers at the lower end of the table that are looked at first: the kernel gives the lowest
/// free one.
pub(super) const LOWEST: u32 = 16;

/// Numbers around the number of open descriptors, which is where a table without gaps ends.
const AROUND_THE_END: u32 = 8;

/// Descriptors that are paid for at once.
const STEP: u32 = 64;

/// Most of `fdinfo` that is read: a socket's has five lines.
const MAX_FDINFO_BYTES: usize = 4096;

/// Bytes of a directory that are read at once: some 170 numbers, so that hardly more of them are
/// listed than are paid for.
const DIRECTORY_BYTES: usize = 4096;

/// No descriptor has this number.
const NOWHERE: u32 = u32::MAX;

/// Where a directory begins.
const BEGIN: u64 = 0;

/// A socket that is sought, and where that has got to.
#[derive(Debug)]
pub(super) struct Sought {
    inode: u32,
    mount: Option<u64>,
    /// Where it was found last.
    remembered: AtomicU32,
    /// Where the search through all descriptors was interrupted, as the directory counts.
    next: AtomicU64,
}

/// How a search ended.
#[derive(Debug)]
pub(super) enum Found {
    Yes(Place),
    No,
    Interrupted,
}

/// What a number in the table stands for.
enum Seen {
    Here(Place),
    Another,
    Free,
}

/// A descriptor of the socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) number: u32,
    pub(super) close_on_exec: bool,
}

impl Place {
    pub(super) fn verdict(self) -> Held {
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
    pub(super) fn weaker(self, other: Self) -> Self {
        let rank = |place: Self| (place.close_on_exec, place.number > STANDARD);
        if rank(other) < rank(self) {
            other
        } else {
            self
        }
    }
}

impl Sought {
    pub(super) const fn inode(&self) -> u32 {
        self.inode
    }

    pub(super) const fn new(inode: u32, mount: Option<u64>) -> Self {
        Self {
            inode,
            mount,
            remembered: AtomicU32::new(NOWHERE),
            next: AtomicU64::new(BEGIN),
        }
    }

    pub(super) fn find<'a>(
        &self,
        directory: &ProcDir,
        payer: impl FnOnce() -> (&'a Budget, u32),
    ) -> Result<Found, ReadError> {
        let remembered = self.remembered.load(Ordering::Relaxed);
        if remembered != NOWHERE
            && let Seen::Here(place) = self.look(directory, remembered)?
        {
            return Ok(Found::Yes(place));
        }
        let found = match self.where_likely(directory)? {
            Some(place) => Found::Yes(place),
            None => self.everywhere(directory, payer())?,
        };
        if let Found::Yes(place) = found {
            self.remembered.store(place.number, Ordering::Relaxed);
        }
        Ok(found)
    }

    fn where_likely(&self, directory: &ProcDir) -> Result<Option<Place>, ReadError> {
        // The number of open descriptors (Linux 6.2), else 0.
        let open = directory.stat("fd", StatxFlags::SIZE)?.stx_size;
        let open = u32::try_from(open).unwrap_or(u32::MAX - AROUND_THE_END);
        let mut found: Option<Place> = None;
        let mut seen = 0;
        for number in likely(open) {
            match self.look(directory, number)? {
                Seen::Free => continue,
                Seen::Another => {}
                Seen::Here(place) => {
                    found = Some(found.map_or(place, |known| known.weaker(place)));
                }
            }
            seen += 1;
            if seen == open {
                // These were all: a table without gaps.
                break;
            }
        }
        Ok(found)
    }

    /// Goes on where the last search was interrupted. Behind the end begins a pass over the whole
    /// table, which alone can say that it is nowhere.
    fn everywhere(&self, directory: &ProcDir, payer: (&Budget, u32)) -> Result<Found, ReadError> {
        let interrupted_at = self.next.load(Ordering::Relaxed);
        if interrupted_at != BEGIN {
            match self.pass(directory, interrupted_at, payer)? {
                Found::No => {}
                found => return Ok(found),
            }
        }
        self.pass(directory, BEGIN, payer)
    }

    /// From there to the end of the table, as far as is paid for.
    fn pass(
        &self,
        directory: &ProcDir,
        from: u64,
        (budget, uid): (&Budget, u32),
    ) -> Result<Found, ReadError> {
        let table = directory.file("fd")?;
        if from != BEGIN {
            seek(&table, SeekFrom::Start(from))?;
        }
        let mut room = [MaybeUninit::uninit(); DIRECTORY_BYTES];
        let mut entries = RawDir::new(table.as_fd(), &mut room);
        let (mut next, mut paid) = (from, 0);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let behind = entry.next_entry_cookie();
            let name = str::from_utf8(entry.file_name().to_bytes()).ok();
            // "." and ".." are no numbers.
            if let Some(number) = name.and_then(|name| name.parse().ok()) {
                if paid == 0 {
                    if !budget.take(uid, STEP) {
                        self.next.store(next, Ordering::Relaxed);
                        return Ok(Found::Interrupted);
                    }
                    paid = STEP;
                }
                paid -= 1;
                if let Seen::Here(place) = self.look(directory, number)? {
                    self.next.store(BEGIN, Ordering::Relaxed);
                    return Ok(Found::Yes(place));
                }
            }
            next = behind;
        }
        self.next.store(BEGIN, Ordering::Relaxed);
        Ok(Found::No)
    }

    /// What the descriptor `number` is.
    fn look(&self, directory: &ProcDir, number: u32) -> Result<Seen, ReadError> {
        match self.is_at(directory, number)? {
            Some(true) => {}
            Some(false) => return Ok(Seen::Another),
            None => return Ok(Seen::Free),
        }
        // Read of sockets only: what other descriptors say of themselves may be long.
        let mut bytes = Vec::new();
        match directory.read_record(&format!("fdinfo/{number}"), MAX_FDINFO_BYTES, &mut bytes) {
            Ok(()) => {}
            Err(ReadError::System(Errno::NOENT)) => return Ok(Seen::Free),
            Err(ReadError::TooLarge(_)) => return Ok(Seen::Another),
            Err(error) => return Err(error),
        }
        let Ok(info) = parse::descriptor_info(&bytes) else {
            return Ok(Seen::Another);
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
            _ => self.is_at(directory, number)? == Some(true),
        };
        if !is_same {
            return Ok(Seen::Another);
        }
        Ok(Seen::Here(Place {
            number,
            close_on_exec: info.close_on_exec,
        }))
    }

    /// Whether the number leads to the socket; none where it leads nowhere.
    fn is_at(&self, directory: &ProcDir, number: u32) -> Result<Option<bool>, Errno> {
        let mut room = [MaybeUninit::uninit(); 64];
        match directory.link(&format!("fd/{number}"), &mut room) {
            Ok(target) => Ok(Some(
                target == format!("socket:[{}]", self.inode).as_bytes(),
            )),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Where a connection's descriptor is as a rule, in a table with `open` descriptors.
pub(super) fn likely(open: u32) -> impl Iterator<Item = u32> {
    let end = open.saturating_sub(AROUND_THE_END).max(LOWEST)
        ..open.saturating_add(AROUND_THE_END).max(LOWEST);
    (0..LOWEST).chain(end)
}
