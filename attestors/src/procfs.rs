//! Reading `/proc` through handles.
//!
//! Owns the opened `/proc` and the opened directory of one process. A
//! directory of `/proc/PID` belongs to that process for ever: when it is gone
//! reads fail with `ESRCH`, also after its number was given to another. So
//! [`PinnedPeer`](crate::PinnedPeer) opens one, confirms through its pidfd
//! that the process still lived afterwards, and every fact is read from there.
//!
//! Each read has a limit. Only files are read here that the kernel makes up
//! without the process's help; none of them waits for its memory, its file
//! systems or its mounts.

use rustix::{
    fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    fs::{
        AtFlags, CWD, Mode, OFlags, Statx, StatxFlags, openat, readlinkat, readlinkat_raw, statx,
    },
    io::{Errno, read},
};
use std::{mem::MaybeUninit, path::Path};

/// Bytes asked for at once: `status`, `stat` and `cgroup` fit as a rule.
const CHUNK_BYTES: usize = 4096;

/// Where `/proc` is unless configured.
pub(crate) const DEFAULT_ROOT: &str = "/proc";

/// Why a file could not be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum ReadError {
    /// The kernel refused.
    #[error("{0}")]
    System(#[from] Errno),
    /// More than the limit.
    #[error("larger than {0} bytes")]
    TooLarge(usize),
}

/// An opened `/proc`.
#[derive(Debug)]
pub(crate) struct ProcRoot(OwnedFd);

impl ProcRoot {
    /// Opens the directory.
    pub(crate) fn open(path: &Path) -> Result<Self, Errno> {
        directory(CWD, path).map(Self)
    }

    /// Opens the directory of a process.
    pub(crate) fn process(&self, pid: u32) -> Result<ProcDir, Errno> {
        directory(self.0.as_fd(), pid.to_string()).map(ProcDir)
    }

    /// Reads a file by its path in `/proc`.
    pub(crate) fn read(&self, path: &str, limit: usize) -> Result<Vec<u8>, ReadError> {
        let mut bytes = Vec::new();
        read_bounded(self.0.as_fd(), path, limit, &mut bytes)?;
        Ok(bytes)
    }

    /// Opens a file by its path in `/proc`.
    pub(crate) fn file(&self, path: &str) -> Result<OwnedFd, Errno> {
        openat(
            &self.0,
            path,
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
    }

    /// What lies at a path in `/proc`, links followed.
    pub(crate) fn stat(&self, path: &str) -> Result<Statx, Errno> {
        stat_at(self.0.as_fd(), path, StatxFlags::BASIC_STATS)
    }

    /// The path of an opened file as the reader's root sees it, or saw it before it was removed.
    pub(crate) fn path_of(&self, file: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
        let link = format!("self/fd/{}", file.as_raw_fd());
        readlinkat(&self.0, link, Vec::with_capacity(256)).map(|path| path.into_bytes())
    }

    /// Opens for reading what `file` holds as a bare handle.
    pub(crate) fn reopen(&self, file: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let link = format!("self/fd/{}", file.as_raw_fd());
        openat(&self.0, link, flags, Mode::empty())
    }
}

/// The opened directory of one process in `/proc`.
#[derive(Debug)]
pub(crate) struct ProcDir(OwnedFd);

impl ProcDir {
    /// Reads a file of the process into `bytes`, whose content is replaced.
    pub(crate) fn read(
        &self,
        name: &str,
        limit: usize,
        bytes: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        read_bounded(self.0.as_fd(), name, limit, bytes)
    }

    /// As [`Self::read`], of a file that the kernel writes as one record: `auxv`, `cgroup`,
    /// `fdinfo`, `personality`, `stat`, `status`. A read that leaves room has all of it, so none is made that finds
    /// the end.
    pub(crate) fn read_record(
        &self,
        name: &str,
        limit: usize,
        bytes: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let file = self.file(name)?;
        bytes.clear();
        loop {
            bytes.reserve(CHUNK_BYTES);
            let room = bytes.capacity() - bytes.len();
            match read(&file, rustix::buffer::spare_capacity(bytes)) {
                Ok(_) if bytes.len() > limit => return Err(ReadError::TooLarge(limit)),
                Ok(read) if read < room => return Ok(()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Opens a file of the process for reading.
    pub(crate) fn file(&self, name: &str) -> Result<OwnedFd, Errno> {
        openat(
            &self.0,
            name,
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
    }

    /// A bare handle of what a link of the process leads to: nothing of it is opened or read.
    pub(crate) fn handle(&self, name: &str) -> Result<OwnedFd, Errno> {
        openat(&self.0, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
    }

    /// What a link of the process says, in as many bytes as there is room for.
    pub(crate) fn link<'a>(
        &self,
        name: &str,
        room: &'a mut [MaybeUninit<u8>],
    ) -> Result<&'a [u8], Errno> {
        readlinkat_raw(&self.0, name, room).map(|(said, _rest)| &*said)
    }

    /// What a link of the process leads to.
    pub(crate) fn stat(&self, name: &str, fields: StatxFlags) -> Result<Statx, Errno> {
        stat_at(self.0.as_fd(), name, fields)
    }
}

/// What a bare handle holds.
pub(crate) fn stat_handle(handle: BorrowedFd<'_>, fields: StatxFlags) -> Result<Statx, Errno> {
    statx(handle, "", AtFlags::EMPTY_PATH | NO_SYNC, fields)
}

/// File systems answer from what they remember: a daemon behind one is not asked.
const NO_SYNC: AtFlags = AtFlags::STATX_DONT_SYNC.union(AtFlags::NO_AUTOMOUNT);

fn stat_at(directory: BorrowedFd<'_>, name: &str, fields: StatxFlags) -> Result<Statx, Errno> {
    statx(directory, name, NO_SYNC, fields)
}

fn directory<P: rustix::path::Arg>(at: BorrowedFd<'_>, path: P) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(at, path, flags, Mode::empty())
}

fn read_bounded(
    directory: BorrowedFd<'_>,
    name: &str,
    limit: usize,
    bytes: &mut Vec<u8>,
) -> Result<(), ReadError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = openat(directory, name, flags, Mode::empty())?;
    read_to_end(&file, limit, bytes)
}

/// Reads what is left of `file` into `bytes`, whose content is replaced.
pub(crate) fn read_to_end(
    file: impl AsFd,
    limit: usize,
    bytes: &mut Vec<u8>,
) -> Result<(), ReadError> {
    bytes.clear();
    loop {
        bytes.reserve(CHUNK_BYTES);
        match read(&file, rustix::buffer::spare_capacity(bytes)) {
            Ok(0) => return Ok(()),
            Ok(_) if bytes.len() > limit => return Err(ReadError::TooLarge(limit)),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ProcRoot, ReadError};
    use rustix::io::Errno;
    use std::{path::Path, process::Command};

    #[test]
    fn a_directory_does_not_outlive_its_process() {
        let root = ProcRoot::open(Path::new("/proc")).unwrap();
        let mut child = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
        let directory = root.process(child.id()).unwrap();
        let mut bytes = Vec::new();
        directory.read("stat", 4096, &mut bytes).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let error = directory.read("stat", 4096, &mut bytes).unwrap_err();
        assert!(matches!(
            error,
            ReadError::System(Errno::SRCH | Errno::NOENT)
        ));
    }

    #[test]
    fn a_record_is_read_whole() {
        let root = ProcRoot::open(Path::new("/proc")).unwrap();
        let directory = root.process(std::process::id()).unwrap();
        let (mut record, mut whole) = (Vec::new(), Vec::new());
        for name in ["auxv", "cgroup", "fdinfo/0", "personality"] {
            directory.read_record(name, 1 << 20, &mut record).unwrap();
            directory.read(name, 1 << 20, &mut whole).unwrap();
            assert_eq!(record, whole, "{name}");
            assert!(!record.is_empty(), "{name}");
        }
        // What these say changes from one read to the next.
        for name in ["stat", "status"] {
            directory.read_record(name, 1 << 20, &mut record).unwrap();
            directory.read(name, 1 << 20, &mut whole).unwrap();
            let lines = |bytes: &[u8]| bytes.split(|byte| *byte == b'\n').count();
            assert_eq!(lines(&record), lines(&whole), "{name}");
            assert_eq!(record.last(), Some(&b'\n'), "{name}");
        }
        let error = directory.read_record("auxv", 100, &mut record).unwrap_err();
        assert_eq!(error, ReadError::TooLarge(100));
    }

    #[test]
    fn a_file_over_the_limit_is_refused() {
        let root = ProcRoot::open(Path::new("/proc")).unwrap();
        let error = root.read("self/status", 100).unwrap_err();
        assert_eq!(error, ReadError::TooLarge(100));
    }
}
