//! The file that holds the trail's lines.
//!
//! Knows bytes and lines, not events. Appends whole batches; what an append
//! that failed has left behind is cut away before anything else is written.
//! The file is locked, so that two agents never write one trail.

use super::{
    AuditError,
    chain::{Digest, Head, Link},
    trail::Durability,
};
use rustix::{
    fs::{FileType, Mode, OFlags},
    process::geteuid,
};
use serde::Serialize;
use std::{
    fs::{DirBuilder, File, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _},
    path::Path,
    sync::Arc,
};

/// The only segment yet.
const FILE_NAME: &str = "00000001.jsonl";

/// Bytes of a line without its line feed. Most have fewer than 1,000; the
/// evidence of a process with thousands of groups is the longest.
pub(super) const MAX_LINE_BYTES: usize = 256 * 1024;

/// Bytes written at once, and so the most that a crash can leave half-written.
pub(super) const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Bytes read at once while lines are looked for from the end.
const STEP: usize = 4096;

/// What a segment does with its file; tests put failures in between.
pub(super) trait Medium: Send {
    /// Appends all of `bytes`, or fails with some of them written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes everything written so far survive a loss of power.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file to `length` bytes.
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

/// The segment's file, locked for as long as this lives.
struct Locked(File);

impl Drop for Locked {
    fn drop(&mut self) {
        // Closing alone would leave the lock with a child that inherited it.
        self.0.unlock().unwrap_or_default();
    }
}

impl Medium for Locked {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.0.cut(length)
    }
}

impl Medium for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// A segment that is open for appending.
pub(super) struct Segment {
    pub(super) medium: Box<dyn Medium>,
    path: Arc<Path>,
    length: u64,
    /// Whether bytes of a failed append may lie behind `length`.
    torn: bool,
}

/// A segment as it was found.
pub(super) struct Opened {
    pub(super) segment: Segment,
    pub(super) head: Head,
    /// What was cut away, if anything.
    pub(super) cut: Option<Cut>,
}

/// A half-written end that was cut away.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Cut {
    /// How long it was.
    pub(super) cut_bytes: u64,
    /// Where it began.
    pub(super) offset: u64,
    /// What it was.
    pub(super) sha256: Digest,
}

impl Segment {
    /// Opens the segment in `dir`, creating both if need be, and makes sure that
    /// it ends with a line that fits the one before.
    pub(super) fn open(dir: &Path) -> Result<Opened, AuditError> {
        let path: Arc<Path> = dir.join(FILE_NAME).into();
        let file = open_files(dir, &path)?;
        lock(&file, &path)?;
        let locked = Locked(file);
        let file = &locked.0;
        let found = file
            .metadata()
            .map_err(AuditError::io("look at", &*path))?
            .len();
        let end = line_feed_before(file, found)
            .map_err(AuditError::io("read", &*path))?
            .map_or(0, |feed| feed + 1);
        let head = head(file, end, &path)?;
        let cut = cut(file, end, found, &path)?;
        let segment = Self {
            medium: Box::new(locked),
            path,
            length: end,
            torn: false,
        };
        Ok(Opened { segment, head, cut })
    }

    /// Where the file lies.
    pub(super) const fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// Bytes that are durable.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// Appends `lines`: all of them are there afterwards or, after an error,
    /// nothing that anybody will read.
    pub(super) fn append(&mut self, lines: &[u8], durability: Durability) -> io::Result<()> {
        if self.torn {
            self.restore(durability)?;
        }
        self.torn = true;
        let written = self.medium.append(lines).and_then(|()| match durability {
            Durability::Sync => self.medium.sync(),
            Durability::Write => Ok(()),
        });
        match written {
            Ok(()) => {
                self.torn = false;
                self.length += lines.len() as u64;
            }
            Err(_) => {
                if let Err(error) = self.restore(durability) {
                    tracing::error!(%error, path = %self.path.display(),
                        "a half-written audit record cannot be cut away yet");
                }
            }
        }
        written
    }

    /// Cuts away what a failed append has left. After a failed sync the kernel
    /// may have dropped those bytes while it still shows them, so they cannot be
    /// kept even where they look whole.
    fn restore(&mut self, durability: Durability) -> io::Result<()> {
        self.medium.cut(self.length)?;
        if durability == Durability::Sync {
            self.medium.sync()?;
        }
        self.torn = false;
        Ok(())
    }
}

fn open_files(dir: &Path, path: &Path) -> Result<File, AuditError> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(AuditError::io("create", dir)(error));
        }
        _ => {}
    }
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(dir, OFlags::DIRECTORY | flags, Mode::empty())
        .map(File::from)
        .map_err(AuditError::io("open", dir))?;
    demand_private(&folder, dir)?;
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | flags;
    let file = rustix::fs::openat(&folder, FILE_NAME, flags, Mode::RUSR | Mode::WUSR)
        .map(File::from)
        .map_err(AuditError::io("open", path))?;
    if demand_private(&file, path)? != FileType::RegularFile {
        return Err(AuditError::NotAFile { path: path.into() });
    }
    // The names have to be as durable as what stands in the file.
    folder.sync_all().map_err(AuditError::io("sync", dir))?;
    let parent = dir.join("..");
    File::open(&parent)
        .and_then(|parent| parent.sync_all())
        .map_err(AuditError::io("sync", parent))?;
    Ok(file)
}

/// Refuses what others own or may reach.
fn demand_private(file: &File, path: &Path) -> Result<FileType, AuditError> {
    let stat = rustix::fs::fstat(file).map_err(AuditError::io("look at", path))?;
    let ours = geteuid().as_raw();
    if stat.st_uid != ours {
        return Err(AuditError::ForeignOwner {
            path: path.into(),
            uid: stat.st_uid,
            ours,
        });
    }
    let mode = stat.st_mode & 0o7777;
    if mode & 0o077 != 0 {
        return Err(AuditError::TooWide {
            path: path.into(),
            mode,
        });
    }
    Ok(FileType::from_raw_mode(stat.st_mode))
}

fn lock(file: &File, path: &Path) -> Result<(), AuditError> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => AuditError::InUse { path: path.into() },
        TryLockError::Error(error) => AuditError::io("lock", path)(error),
    })
}

/// The chain's end, from the last line before `end`, once that line is known to
/// fit the one before it.
fn head(file: &File, end: u64, path: &Path) -> Result<Head, AuditError> {
    let Some((start, last)) = line_before(file, end, path)? else {
        return Ok(Head::GENESIS);
    };
    let damaged = |problem| AuditError::Damaged {
        path: path.into(),
        offset: start,
        problem,
    };
    let Some(Link { seq, prev }) = Link::of(&last) else {
        return Err(damaged("it is no audit record"));
    };
    let before = match line_before(file, start, path)? {
        None => Head::GENESIS,
        Some((_, line)) => Head {
            seq: Link::of(&line)
                .ok_or_else(|| damaged("what stands before it is no audit record"))?
                .seq,
            digest: Digest::of(&line),
        },
    };
    if seq.checked_sub(1) != Some(before.seq) {
        return Err(damaged("its number does not follow on the line before"));
    }
    if prev != before.digest.hex() {
        return Err(damaged("it does not hold the digest of the line before"));
    }
    Ok(Head {
        seq,
        digest: Digest::of(&last),
    })
}

/// The line whose line feed is the byte before `end`, and where it starts.
fn line_before(file: &File, end: u64, path: &Path) -> Result<Option<(u64, Vec<u8>)>, AuditError> {
    let Some(feed) = end.checked_sub(1) else {
        return Ok(None);
    };
    let start = line_feed_before(file, feed)
        .map_err(AuditError::io("read", path))?
        .map_or(0, |feed| feed + 1);
    let length = usize::try_from(feed - start).unwrap_or(usize::MAX);
    if length > MAX_LINE_BYTES {
        return Err(AuditError::Damaged {
            path: path.into(),
            offset: start,
            problem: "it is longer than any audit record",
        });
    }
    let mut line = vec![0; length];
    file.read_exact_at(&mut line, start)
        .map_err(AuditError::io("read", path))?;
    Ok(Some((start, line)))
}

/// Cuts away what stands between `end` and `found`: the half-written end of a
/// batch that nobody was told is recorded.
fn cut(file: &File, end: u64, found: u64, path: &Path) -> Result<Option<Cut>, AuditError> {
    if found == end {
        return Ok(None);
    }
    let length = usize::try_from(found - end).unwrap_or(usize::MAX);
    if length > MAX_BATCH_BYTES {
        return Err(AuditError::Damaged {
            path: path.into(),
            offset: end,
            problem: "it is longer than any audit record",
        });
    }
    let mut torn = vec![0; length];
    file.read_exact_at(&mut torn, end)
        .map_err(AuditError::io("read", path))?;
    file.set_len(end)
        .and_then(|()| file.sync_data())
        .map_err(AuditError::io("repair", path))?;
    Ok(Some(Cut {
        cut_bytes: found - end,
        offset: end,
        sha256: Digest::of(&torn),
    }))
}

/// Where the last line feed before `end` stands.
pub(super) fn line_feed_before(file: &File, end: u64) -> io::Result<Option<u64>> {
    let mut buffer = [0; STEP];
    let mut end = end;
    while end > 0 {
        let start = end.saturating_sub(STEP as u64);
        let length = usize::try_from(end - start).unwrap_or(STEP);
        let Some(bytes) = buffer.get_mut(..length) else {
            break;
        };
        file.read_exact_at(bytes, start)?;
        if let Some(index) = bytes.iter().rposition(|byte| *byte == b'\n') {
            return Ok(Some(start + index as u64));
        }
        end = start;
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
