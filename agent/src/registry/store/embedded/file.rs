//! The file itself: whose it must be, and how a new one comes about.

use super::{builder, failed, head::Head, initialize, not_opened, schema, unavailable};
use crate::registry::store::StoreError;
use redb::Database;
use rustix::{fs::OFlags, io::Errno, process::geteuid};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

/// Permission bits that anybody else but the owner would use.
const FOREIGN_PERMISSIONS: u32 = 0o077;

/// Opens the log at `path`, and brings it to the schema of this agent.
pub(super) fn open(path: &Path) -> Result<Database, StoreError> {
    let file = opened(path, true)?;
    let database = builder().create_file(file).map_err(not_opened)?;
    schema::check(&database)?;
    schema::bring_forward(&database)?;
    Ok(database)
}

/// The file, where it is ours alone.
pub(super) fn opened(path: &Path, writing: bool) -> Result<File, StoreError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(unavailable)?;
    let mut options = OpenOptions::new();
    let options = options.read(true).write(writing).custom_flags(flags);
    let file = options.open(path).map_err(not_reached)?;
    check(&file)?;
    Ok(file)
}

fn not_reached(error: io::Error) -> StoreError {
    if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) {
        StoreError::Unsafe("is a symbolic link".into())
    } else {
        unavailable(error)
    }
}

fn check(file: &File) -> Result<(), StoreError> {
    let facts = file.metadata().map_err(unavailable)?;
    if !facts.is_file() || facts.uid() != geteuid().as_raw() {
        return Err(StoreError::Unsafe(
            "is not a file of the agent's own user".into(),
        ));
    }
    if facts.mode() & FOREIGN_PERMISSIONS != 0 {
        let mode = facts.mode() & 0o777;
        return Err(StoreError::Unsafe(format!(
            "has mode {mode:04o}; 0600 is needed"
        )));
    }
    if facts.len() == 0 {
        return Err(StoreError::Damaged("the file is empty".into()));
    }
    Ok(())
}

/// Makes an empty log where there is none and never was: whole and durable from the moment it
/// has its name.
pub(super) fn create_if_missing(path: &Path) -> Result<(), StoreError> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Head::beside(path).allow_none()?;
            let unfinished = path.with_extension("new");
            let database = create(&unfinished)?;
            initialize(&database)?;
            drop(database);
            publish(&unfinished, path)
        }
        found => found.map(drop).map_err(unavailable),
    }
}

/// A new file at `path`, in place of what an interrupted try has left there.
pub(super) fn create(path: &Path) -> Result<Database, StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(unavailable(error)),
        _ => (),
    }
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create_new(true).mode(0o600);
    let file = options.open(path).map_err(unavailable)?;
    builder().create_file(file).map_err(not_opened)
}

/// Makes the finished and closed file durable, and gives it its name.
pub(super) fn publish(unfinished: &Path, path: &Path) -> Result<(), StoreError> {
    let file = File::open(unfinished).map_err(unavailable)?;
    file.sync_all().map_err(unavailable)?;
    fs::rename(unfinished, path).map_err(unavailable)?;
    sync_directory_of(path)
}

/// Makes the names in the file's directory durable.
pub(super) fn sync_directory_of(path: &Path) -> Result<(), StoreError> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = File::open(directory.unwrap_or_else(|| Path::new("."))).map_err(unavailable)?;
    directory.sync_all().map_err(failed_to_sync)
}

fn failed_to_sync(error: io::Error) -> StoreError {
    failed(redb::Error::Io(error))
}
