//! What is done to the process and its data directory before anything else.

use rustix::{
    fs::{FlockOperation, Mode, flock},
    process::{
        DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask,
    },
};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// One error for each step.
#[derive(Debug, thiserror::Error)]
pub(super) enum PrepareError {
    #[error("cannot make the process undumpable: {0}")]
    Dumpable(io::Error),
    #[error("cannot raise the limit of open files: {0}")]
    OpenFiles(io::Error),
    #[error("cannot create the data directory {0}: {1}; create it for this user, or set data_dir")]
    Create(PathBuf, io::Error),
    #[error("the data directory {0} can be entered by others (mode {1:o}); run: chmod 700 {0}")]
    TooWide(PathBuf, u32),
    #[error("the data directory {0} belongs to uid {1}, not to the agent's user")]
    Foreign(PathBuf, u32),
    #[error("cannot open the lock {0}: {1}")]
    Lock(PathBuf, io::Error),
    #[error("another agent uses the data directory {0}; stop it, or set another data_dir")]
    InUse(PathBuf),
}

/// Makes the process hold its keys close: no core dump, no debugger of the same
/// user, no file that others can read, and as many descriptors as it may have.
pub(super) fn harden() -> Result<(), PrepareError> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|e| PrepareError::Dumpable(e.into()))?;
    umask(Mode::from_raw_mode(0o077));
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).map_err(|e| PrepareError::OpenFiles(e.into()))
}

/// The data directory, held by this agent until the lock is dropped.
#[derive(Debug)]
pub(super) struct DataLock(File);

impl Drop for DataLock {
    fn drop(&mut self) {
        // Closing alone would leave the lock with a child that inherited it.
        flock(&self.0, FlockOperation::Unlock).unwrap_or_default();
    }
}

/// Creates or checks the data directory, and locks it.
pub(super) fn data_directory(path: &Path) -> Result<DataLock, PrepareError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| PrepareError::Create(path.to_owned(), e))?;
    let metadata = fs::metadata(path).map_err(|e| PrepareError::Create(path.to_owned(), e))?;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(PrepareError::Foreign(path.to_owned(), metadata.uid()));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(PrepareError::TooWide(
            path.to_owned(),
            metadata.mode() & 0o777,
        ));
    }
    let lock = path.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&lock)
        .map_err(|e| PrepareError::Lock(lock, e))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(DataLock(file)),
        Err(_busy) => Err(PrepareError::InUse(path.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::{PrepareError, data_directory};
    use std::{fs, os::unix::fs::PermissionsExt as _};

    #[test]
    fn data_directory_is_private_and_held_once() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("data");
        let held = data_directory(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o700
        );
        assert!(matches!(data_directory(&path), Err(PrepareError::InUse(_))));
        drop(held);
        data_directory(&path).unwrap();
    }

    #[test]
    fn wide_data_directory_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("data");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(matches!(
            data_directory(&path),
            Err(PrepareError::TooWide(_, 0o750))
        ));
    }
}
