//! The data directory: private, and held by one process at a time.
//!
//! The agent holds it while it runs; commands that look at a stopped agent's
//! files, or change them, hold it meanwhile.

use crate::disk;
use rustix::{
    fs::{FlockOperation, flock},
    process::geteuid,
};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// One error for each step.
#[derive(Debug, thiserror::Error)]
pub enum DataDirectoryError {
    /// It is not there and cannot be made, or cannot be looked at.
    #[error(
        "cannot create the data directory {0}: {1}; create it for this user, or set data_dir. {remedy}",
        remedy = disk::remedy(.1)
    )]
    Create(PathBuf, io::Error),
    /// Others have rights on it.
    #[error("the data directory {0} can be entered by others (mode {1:o}); run: chmod 700 {0}")]
    TooWide(PathBuf, u32),
    /// It is another user's.
    #[error(
        "the data directory {0} belongs to uid {1}, not to this user; run this as that user \
         (`sudo -u '#{1}' symbolon ...`), or give it away: chown -R"
    )]
    Foreign(PathBuf, u32),
    /// The file that is locked cannot be used.
    #[error("cannot open the lock {0}: {1}. {remedy}", remedy = disk::remedy(.1))]
    Lock(PathBuf, io::Error),
    /// Another process holds it.
    #[error("another agent uses the data directory {0}; stop it, or set another data_dir")]
    InUse(PathBuf),
}

/// The data directory, held until this is dropped.
#[derive(Debug)]
pub struct DataLock(File);

impl Drop for DataLock {
    fn drop(&mut self) {
        // Closing alone would leave the lock with a child that inherited it.
        flock(&self.0, FlockOperation::Unlock).unwrap_or_default();
    }
}

impl DataLock {
    /// Creates or checks the data directory, and locks it.
    ///
    /// # Errors
    /// Where it cannot be made, is not this user's alone, or is held by another process.
    pub fn of(path: &Path) -> Result<Self, DataDirectoryError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|e| DataDirectoryError::Create(path.to_owned(), e))?;
        check(path)?;
        let lock = path.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock)
            .map_err(|e| DataDirectoryError::Lock(lock, e))?;
        Self::hold(file, path)
    }

    /// Locks a data directory to read it: nothing is created, and a copy without a lock has none.
    ///
    /// # Errors
    /// Where it cannot be looked at, or an agent uses it.
    pub fn of_existing(path: &Path) -> Result<Option<Self>, DataDirectoryError> {
        let lock = path.join("lock");
        match File::open(&lock) {
            Ok(file) => Self::hold(file, path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(DataDirectoryError::Lock(lock, error)),
        }
    }

    fn hold(file: File, path: &Path) -> Result<Self, DataDirectoryError> {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(_busy) => Err(DataDirectoryError::InUse(path.to_owned())),
        }
    }
}

fn check(path: &Path) -> Result<(), DataDirectoryError> {
    let metadata =
        fs::metadata(path).map_err(|e| DataDirectoryError::Create(path.to_owned(), e))?;
    if metadata.uid() != geteuid().as_raw() {
        return Err(DataDirectoryError::Foreign(path.to_owned(), metadata.uid()));
    }
    if metadata.mode() & 0o077 != 0 {
        let mode = metadata.mode() & 0o777;
        return Err(DataDirectoryError::TooWide(path.to_owned(), mode));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{DataDirectoryError, DataLock};
    use std::{fs, os::unix::fs::PermissionsExt as _};

    #[test]
    fn data_directory_is_private_and_held_once() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("data");
        assert!(DataLock::of_existing(&path).unwrap().is_none());
        let held = DataLock::of(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o700
        );
        let in_use = |error| matches!(error, DataDirectoryError::InUse(_));
        assert!(DataLock::of(&path).is_err_and(in_use));
        assert!(DataLock::of_existing(&path).is_err_and(in_use));
        drop(held);
        drop(DataLock::of_existing(&path).unwrap().unwrap());
        DataLock::of(&path).unwrap();
    }

    #[test]
    fn wide_data_directory_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("data");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(matches!(
            DataLock::of(&path),
            Err(DataDirectoryError::TooWide(_, 0o750))
        ));
    }
}
