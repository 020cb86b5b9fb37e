//! The directory that the documents are written to.
//!
//! Somebody else's web server reads it, so files are for all to read (0644 in 0755) and
//! nobody but its owner may write: what lies there is believed to be ours. Everything goes
//! through the opened directory and follows no link. A file is written to a temporary name,
//! synced, renamed and its directory synced: a reader sees the old file or the new one.
//! A directory that has other things in it and was never ours is refused: files of clients
//! that we do not know are removed from ours.

use rustix::{
    fs::{self, AtFlags, Mode, OFlags},
    io::Errno,
    process::geteuid,
};
use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

/// Says whose directory it is: the trust domain.
const MARK: &str = ".symbolon";

/// What a temporary file's name starts with.
const TEMPORARY: &str = ".tmp-";

/// Bytes of a mark.
const MAX_MARK: u64 = 512;

/// Mode bits that let others than the owner write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Why documents cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Operator or disk.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Operator: others could change what is published.
    #[error(
        "{0} can be written to by others than the agent's user; take that away with `chmod go-w`, or `chown` it"
    )]
    Writable(PathBuf),
    /// Operator: it was never ours.
    #[error("{0} has other things in it; documents are written to a directory of their own")]
    Foreign(PathBuf),
    /// Operator: it belongs to another trust domain.
    #[error("{path} has the documents of trust domain {found}")]
    OtherTrustDomain {
        /// The directory.
        path: PathBuf,
        /// What its mark says.
        found: String,
    },
}

/// The opened directory.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    handle: OwnedFd,
}

impl Folder {
    /// Opens `path`, which is made if it is not there; its parent has to be.
    ///
    /// # Errors
    /// Where it cannot be opened, others may write to it, or it is not the trust domain's.
    pub fn open(path: &Path, trust_domain: &str) -> Result<Self, FolderError> {
        let error = |errno: Errno| FolderError::Io {
            path: path.to_owned(),
            source: errno.into(),
        };
        let is_new = match fs::mkdir(path, Mode::from_raw_mode(0o755)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(error(errno)),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = fs::open(path, flags, Mode::empty()).map_err(error)?;
        if is_new {
            // The umask has made it narrower.
            fs::fchmod(&handle, Mode::from_raw_mode(0o755)).map_err(error)?;
        }
        let found = fs::fstat(&handle).map_err(error)?;
        let is_owned = found.st_uid == geteuid().as_raw() || found.st_uid == 0;
        if !is_owned || found.st_mode & WRITABLE_BY_OTHERS != 0 {
            return Err(FolderError::Writable(path.to_owned()));
        }
        let folder = Self {
            path: path.to_owned(),
            handle,
        };
        folder.claim(trust_domain)?;
        Ok(folder)
    }

    /// Makes sure that it is ours, or nobody's.
    fn claim(&self, trust_domain: &str) -> Result<(), FolderError> {
        let mark = self.read_in(self.handle.as_fd(), MARK, MAX_MARK);
        let Some(mark) = mark.map_err(|source| self.error(MARK, source))? else {
            if !self.names(self.handle.as_fd())?.is_empty() {
                return Err(FolderError::Foreign(self.path.clone()));
            }
            return self.write(MARK, format!("{trust_domain}\n").as_bytes());
        };
        let found = String::from_utf8_lossy(&mark).trim_end().to_owned();
        if found != trust_domain {
            let path = self.path.clone();
            return Err(FolderError::OtherTrustDomain { path, found });
        }
        Ok(())
    }

    /// Has `content` in the file at `path` below the directory; says whether it was otherwise before.
    ///
    /// # Errors
    /// Where it cannot be written; then the file is as before.
    pub fn put(&self, path: &str, content: &[u8]) -> Result<bool, FolderError> {
        let most = u64::try_from(content.len()).unwrap_or(u64::MAX);
        if self.read(path, most.saturating_add(1))?.as_deref() == Some(content) {
            return Ok(false);
        }
        self.write(path, content)?;
        Ok(true)
    }

    fn write(&self, path: &str, content: &[u8]) -> Result<(), FolderError> {
        let error = |source| self.error(path, source);
        let (folder, name) = self.make_parent(path).map_err(error)?;
        let temporary = format!("{TEMPORARY}{name}");
        let written = replace(folder.as_fd(), &temporary, name, content);
        written.map_err(|source| {
            // What is left of it is in the way of the next try. The first error is the one to tell.
            fs::unlinkat(&folder, &temporary, AtFlags::empty()).unwrap_or_default();
            error(source)
        })
    }

    /// Removes the file at `path`; that it is not there is no error.
    ///
    /// # Errors
    /// Where it cannot be removed.
    pub fn remove(&self, path: &str) -> Result<(), FolderError> {
        let error = |errno: Errno| self.error(path, errno.into());
        let Some((folder, name)) = self.parent(path)? else {
            return Ok(());
        };
        match fs::unlinkat(&folder, name, AtFlags::empty()) {
            Ok(()) => fs::fsync(&folder).map_err(error),
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(error(errno)),
        }
    }

    /// The names in the directory at `path`; none where there is no such directory.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn list(&self, path: &str) -> Result<Vec<String>, FolderError> {
        match self.parent(&format!("{path}/_"))? {
            Some((folder, _)) => self.names(folder.as_fd()),
            None => Ok(Vec::new()),
        }
    }

    fn read(&self, path: &str, most: u64) -> Result<Option<Vec<u8>>, FolderError> {
        match self.parent(path)? {
            Some((folder, name)) => self
                .read_in(folder.as_fd(), name, most)
                .map_err(|source| self.error(path, source)),
            None => Ok(None),
        }
    }

    fn read_in(
        &self,
        folder: BorrowedFd<'_>,
        name: &str,
        most: u64,
    ) -> io::Result<Option<Vec<u8>>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match fs::openat(folder, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            // A link in its place is replaced, not followed.
            Err(Errno::NOENT | Errno::LOOP) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let mut content = Vec::new();
        file.take(most).read_to_end(&mut content)?;
        Ok(Some(content))
    }

    fn names(&self, folder: BorrowedFd<'_>) -> Result<Vec<String>, FolderError> {
        let error = |errno: Errno| self.error("", errno.into());
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(folder).map_err(error)? {
            let name = entry
                .map_err(error)?
                .file_name()
                .to_string_lossy()
                .into_owned();
            if name != "." && name != ".." && !name.starts_with(TEMPORARY) {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// The directory of the file at `path`, opened, and the file's name; `None` where there is none.
    fn parent<'a>(&self, path: &'a str) -> Result<Option<(OwnedFd, &'a str)>, FolderError> {
        match self.descend(path, false) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.error(path, error)),
        }
    }

    fn make_parent<'a>(&self, path: &'a str) -> io::Result<(OwnedFd, &'a str)> {
        self.descend(path, true)
    }

    fn descend<'a>(&self, path: &'a str, make: bool) -> io::Result<(OwnedFd, &'a str)> {
        let path = path.trim_start_matches('/');
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut at = self.handle.try_clone()?;
        for folder in folders.split('/').filter(|folder| !folder.is_empty()) {
            let made = make && is_made(at.as_fd(), folder)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let next = fs::openat(&at, folder, flags, Mode::empty())?;
            if made {
                fs::fchmod(&next, Mode::from_raw_mode(0o755))?;
                fs::fsync(&at)?;
            }
            at = next;
        }
        Ok((at, name))
    }

    fn error(&self, path: &str, source: io::Error) -> FolderError {
        FolderError::Io {
            path: self.path.join(path.trim_start_matches('/')),
            source,
        }
    }
}

/// Makes a directory; says whether it was not there.
fn is_made(at: BorrowedFd<'_>, folder: &str) -> io::Result<bool> {
    match fs::mkdirat(at, folder, Mode::from_raw_mode(0o755)) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn replace(at: BorrowedFd<'_>, temporary: &str, name: &str, content: &[u8]) -> io::Result<()> {
    match fs::unlinkat(at, temporary, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o644);
    let mut file = File::from(fs::openat(at, temporary, flags, mode)?);
    file.write_all(content)?;
    // The umask has made it narrower.
    fs::fchmod(&file, mode)?;
    file.sync_all()?;
    fs::renameat(at, temporary, at, name)?;
    fs::fsync(at)?;
    Ok(())
}

#[cfg(test)]
mod tests;
