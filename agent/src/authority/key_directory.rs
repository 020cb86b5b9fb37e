//! A directory of secrets: files 0600 in a directory 0700, each written whole or not at all.
//!
//! Everything goes through the opened directory, so a path that is swapped
//! afterwards changes nothing. A file is written to a temporary name, synced,
//! renamed and the directory synced: a crash at any instruction leaves the old
//! file or the new one, and perhaps a temporary one, which the next start
//! removes. What others could read or write, or own, is refused, not repaired:
//! nobody knows who has read it.

use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags},
    io::Errno,
    process::geteuid,
};
use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// What a temporary file's name starts with.
const TEMPORARY: &str = ".tmp-";

/// Why a secret was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyDirectoryError {
    /// Operator: others than the owner have rights on it.
    #[error("{path} can be used by others (mode {mode:04o}); only its owner may have rights on it")]
    Wide {
        /// The file or directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Operator: it belongs to somebody else.
    #[error("{path} belongs to uid {owner}, not to the agent's user")]
    Owner {
        /// The file or directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Operator: not a regular file, or a symbolic link.
    #[error("{0} is not a regular file")]
    NotAFile(PathBuf),
    /// Operator: larger than anything that was ever written there.
    #[error("{0} is too large")]
    TooLarge(PathBuf),
    /// Operator or disk.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// An opened directory of secrets.
#[derive(Debug)]
pub(crate) struct KeyDirectory {
    path: PathBuf,
    handle: OwnedFd,
}

impl KeyDirectory {
    /// Opens `path`, which is made if it is not there; its parent has to be.
    pub(crate) fn open(path: &Path) -> Result<Self, KeyDirectoryError> {
        let error = |errno: Errno| KeyDirectoryError::Io {
            path: path.to_owned(),
            source: errno.into(),
        };
        match fs::mkdir(path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(error(errno)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = Self {
            handle: fs::open(path, flags, Mode::empty()).map_err(error)?,
            path: path.to_owned(),
        };
        check_access(&fs::fstat(&directory.handle).map_err(error)?, path)?;
        Ok(directory)
    }

    /// The path of one of its files, for messages.
    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The content of a file, or nothing if there is no such file.
    pub(crate) fn read(
        &self,
        name: &str,
        limit: usize,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, KeyDirectoryError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match fs::openat(&self.handle, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(KeyDirectoryError::NotAFile(self.path_of(name))),
            Err(errno) => return Err(self.error(name, errno.into())),
        };
        let stat = fs::fstat(&file).map_err(|errno| self.error(name, errno.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(KeyDirectoryError::NotAFile(self.path_of(name)));
        }
        check_access(&stat, &self.path_of(name))?;
        read_whole(File::from(file), limit)
            .map_err(|source| self.error(name, source))?
            .ok_or_else(|| KeyDirectoryError::TooLarge(self.path_of(name)))
            .map(Some)
    }

    /// Writes a file whole: after it returns the content is durable, whatever it was before.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> Result<(), KeyDirectoryError> {
        let temporary = format!("{TEMPORARY}{name}");
        self.replace(&temporary, name, content).map_err(|source| {
            // What is left of it is in the way of the next try. The first error is the one to tell.
            match self.remove(&temporary) {
                Ok(()) | Err(_) => self.error(name, source),
            }
        })
    }

    fn replace(&self, temporary: &str, name: &str, content: &[u8]) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = fs::openat(&self.handle, temporary, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = File::from(file);
        file.write_all(content)?;
        file.sync_all()?;
        fs::renameat(&self.handle, temporary, &self.handle, name)?;
        fs::fsync(&self.handle)?;
        Ok(())
    }

    /// Removes a file, for good: after it returns no crash brings it back. That it is not there
    /// is no error.
    pub(crate) fn remove(&self, name: &str) -> Result<(), KeyDirectoryError> {
        match fs::unlinkat(&self.handle, name, AtFlags::empty()) {
            Ok(()) => fs::fsync(&self.handle).map_err(|errno| self.error(name, errno.into())),
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.error(name, errno.into())),
        }
    }

    /// Leaves a file without content, for good, where it cannot be removed: a directory or a disk
    /// may refuse the one and not the other. That it is not there is an error: its removal may not
    /// be durable.
    pub(crate) fn empty(&self, name: &str) -> Result<(), KeyDirectoryError> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let emptied = match fs::openat(&self.handle, name, flags, Mode::empty()) {
            Ok(file) => fs::ftruncate(&file, 0).and_then(|()| fs::fsync(&file)),
            Err(errno) => Err(errno),
        };
        emptied.map_err(|errno| self.error(name, errno.into()))
    }

    /// Makes durable what was removed before, where that was not certain.
    pub(crate) fn sync(&self) -> Result<(), KeyDirectoryError> {
        fs::fsync(&self.handle).map_err(|errno| self.error("", errno.into()))
    }

    /// The names of its files. Temporary ones, which a crash has left, are removed first.
    pub(crate) fn names(&self) -> Result<Vec<String>, KeyDirectoryError> {
        let listing = |errno: Errno| self.error("", errno.into());
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(&self.handle).map_err(listing)? {
            let entry = entry.map_err(listing)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(TEMPORARY) {
                self.remove(&name)?;
            } else if name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn error(&self, name: &str, source: io::Error) -> KeyDirectoryError {
        KeyDirectoryError::Io {
            path: self.path_of(name),
            source,
        }
    }
}

fn check_access(stat: &fs::Stat, path: &Path) -> Result<(), KeyDirectoryError> {
    if stat.st_uid != geteuid().as_raw() {
        return Err(KeyDirectoryError::Owner {
            path: path.to_owned(),
            owner: stat.st_uid,
        });
    }
    if stat.st_mode & 0o077 != 0 {
        return Err(KeyDirectoryError::Wide {
            path: path.to_owned(),
            mode: stat.st_mode & 0o7777,
        });
    }
    Ok(())
}

/// All of `file`, or nothing if it has more than `limit` bytes.
pub(super) fn read_whole(file: File, limit: usize) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    // Room for all of it at once, so that no copy of a secret is left behind by growth.
    let mut content = Zeroizing::new(Vec::with_capacity(limit + 1));
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut content)?;
    Ok((content.len() <= limit).then_some(content))
}

#[cfg(test)]
mod tests {
    use super::{KeyDirectory, KeyDirectoryError};
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    };

    #[test]
    fn files_are_0600_in_a_0700_directory() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("keys");
        let directory = KeyDirectory::open(&path).unwrap();
        directory.write("a", b"secret").unwrap();
        directory.write("a", b"another").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
        assert_eq!(fs::metadata(path.join("a")).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(
            directory.read("a", 7).unwrap().unwrap().as_slice(),
            b"another"
        );
        assert!(directory.read("b", 7).unwrap().is_none());
        assert_eq!(directory.names().unwrap(), ["a"]);
    }

    #[test]
    fn a_directory_that_others_may_use_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        fs::set_permissions(parent.path(), Permissions::from_mode(0o750)).unwrap();
        assert!(matches!(
            KeyDirectory::open(parent.path()),
            Err(KeyDirectoryError::Wide { mode: 0o750, .. })
        ));
    }

    #[test]
    fn a_file_that_others_may_use_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let directory = KeyDirectory::open(&parent.path().join("keys")).unwrap();
        directory.write("a", b"secret").unwrap();
        for mode in [0o640, 0o604, 0o602] {
            fs::set_permissions(directory.path_of("a"), Permissions::from_mode(mode)).unwrap();
            assert!(matches!(
                directory.read("a", 9),
                Err(KeyDirectoryError::Wide { .. })
            ));
        }
    }

    #[test]
    fn links_directories_and_large_files_are_refused() {
        let parent = tempfile::tempdir().unwrap();
        let directory = KeyDirectory::open(&parent.path().join("keys")).unwrap();
        directory.write("a", b"secret").unwrap();
        symlink(directory.path_of("a"), directory.path_of("link")).unwrap();
        fs::create_dir(directory.path_of("folder")).unwrap();
        for name in ["link", "folder"] {
            assert!(matches!(
                directory.read(name, 9),
                Err(KeyDirectoryError::NotAFile(_))
            ));
        }
        assert!(matches!(
            directory.read("a", 5),
            Err(KeyDirectoryError::TooLarge(_))
        ));
        symlink(&directory.path, parent.path().join("other")).unwrap();
        KeyDirectory::open(&parent.path().join("other")).unwrap_err();
    }

    #[test]
    fn what_a_crash_left_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let directory = KeyDirectory::open(&parent.path().join("keys")).unwrap();
        fs::write(directory.path_of(".tmp-a"), b"half").unwrap();
        directory.write("b", b"whole").unwrap();
        assert_eq!(directory.names().unwrap(), ["b"]);
        assert!(!directory.path_of(".tmp-a").exists());
    }

    #[test]
    fn what_is_emptied_is_there_without_content() {
        let parent = tempfile::tempdir().unwrap();
        let directory = KeyDirectory::open(&parent.path().join("keys")).unwrap();
        directory.write("a", b"secret").unwrap();
        directory.empty("a").unwrap();
        assert!(directory.read("a", 9).unwrap().unwrap().is_empty());
        directory.empty("b").unwrap_err();
        directory.sync().unwrap();
        assert_eq!(directory.names().unwrap(), ["a"]);
        symlink(directory.path_of("a"), directory.path_of("link")).unwrap();
        directory.empty("link").unwrap_err();
    }

    #[test]
    fn a_failed_write_leaves_the_old_content() {
        let parent = tempfile::tempdir().unwrap();
        let directory = KeyDirectory::open(&parent.path().join("keys")).unwrap();
        directory.write("a", b"old").unwrap();
        fs::create_dir(directory.path_of("b")).unwrap();
        // A file does not replace a directory.
        directory.write("b", b"new").unwrap_err();
        assert_eq!(directory.read("a", 9).unwrap().unwrap().as_slice(), b"old");
        let mut names = directory.names().unwrap();
        names.sort();
        assert_eq!(names, ["a", "b"]);
    }
}
