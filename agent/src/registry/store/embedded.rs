//! The log in a file of the data directory (redb).
//!
//! The file is ours alone: mode 0600, owned by the agent's user, not reached
//! through a link; anything wider is refused, since whoever can write to it
//! decides who gets which identity. A new one is made under another name and
//! renamed once it is complete and durable, so that a crash leaves none or a
//! whole one; an empty file in its place is damage, not a fresh start. A file
//! that vanishes while it is in use is not made anew. Tables that this agent does
//! not know are those of a newer one, and refused.
//!
//! A commit is in two phases: the new state is on disk before anything points
//! to it, and pointing to it is on disk before the commit returns. The state of
//! the allocator is kept with each commit, so that opening after a crash does
//! not walk the file.
//!
//! redb does not go on after a failed read or write. So after any failure the
//! file is closed and opened again by the next call, which is what lets a full
//! disk recover without a restart.
//!
//! All work is done on blocking threads, one call at a time. Memory is bounded
//! by a small page cache.

use super::{Record, Store, StoreError, check_follow, missing};
use crate::registry::Digest;
use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _};
use parking_lot::Mutex;
use redb::{
    Builder, Database, DatabaseError, MultimapTableHandle as _, ReadableDatabase as _,
    ReadableTable, TableDefinition, TableHandle as _,
};
use rustix::{fs::OFlags, io::Errno, process::geteuid};
use std::{
    error::Error,
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    mem,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{
    sync::watch,
    task::{self, JoinError},
};

/// Revision to digest and document.
const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");

/// Bytes of pages held in memory: the log is read once, in order.
const PAGE_CACHE_BYTES: usize = 4 << 20;

/// Bytes of documents after which a read ends, so that long ones do not fill the memory.
const READ_BYTES: usize = 4 << 20;

/// Permission bits that anybody else but the owner would use.
const FOREIGN_PERMISSIONS: u32 = 0o077;

/// A store in one file.
#[derive(Clone, Debug)]
pub struct RedbStore {
    inner: Arc<Inner>,
}

struct Inner {
    open: Opener,
    /// `None` after a failure, until the next call.
    database: Mutex<Option<Database>>,
    last: watch::Sender<u64>,
}

type Opener = Box<dyn Fn() -> Result<Database, StoreError> + Send + Sync>;

impl RedbStore {
    /// Opens the log at `path`, or makes a new one there; its directory must exist.
    ///
    /// # Errors
    /// Where the file is damaged, held by another process, or others may use it.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let path = path.into();
        let new = path.clone();
        blocking(move || create_if_missing(&new)).await?;
        Self::with(Box::new(move || open_file(&path))).await
    }

    async fn with(open: Opener) -> Result<Self, StoreError> {
        let inner = Inner {
            open,
            database: Mutex::new(None),
            last: watch::Sender::new(0),
        };
        let store = Self {
            inner: Arc::new(inner),
        };
        // Opening is part of every call where it has not been done.
        store.call(|_| Ok(())).await?;
        Ok(store)
    }

    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.call(work)).await
    }
}

/// Does `work` on a blocking thread.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let done = task::spawn_blocking(work).await;
    done.unwrap_or_else(|ended| Err(not_done(ended)))
}

impl Inner {
    fn call<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut slot = self.database.lock();
        // Taken out while in use: a failure, or a panic, leaves it closed.
        let database = match slot.take() {
            Some(database) => database,
            None => (self.open)()?,
        };
        let done = work(&database);
        if matches!(done, Ok(_) | Err(StoreError::Conflict { .. })) {
            self.tell(last_revision(&database)?);
            *slot = Some(database);
        }
        done
    }

    fn tell(&self, last: u64) {
        self.last
            .send_if_modified(|known| mem::replace(known, last) != last);
    }
}

impl Store for RedbStore {
    fn read(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        self.call(move |database| read(database, after, limit))
            .boxed()
    }

    fn get(&self, revisions: Vec<u64>) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        self.call(move |database| get(database, &revisions)).boxed()
    }

    fn append(&self, records: Vec<Record>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.call(move |database| append(database, &records))
            .boxed()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.inner.last.subscribe()
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

fn read(database: &Database, after: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
    let reading = database.begin_read().map_err(failed)?;
    let table = reading.open_table(RECORDS).map_err(failed)?;
    let entries = table.range(after.saturating_add(1)..).map_err(failed)?;
    let (mut records, mut bytes) = (Vec::new(), 0);
    for entry in entries.take(limit) {
        let (revision, value) = entry.map_err(failed)?;
        let record = record(revision.value(), value.value())?;
        bytes += record.document.len();
        records.push(record);
        if bytes >= READ_BYTES {
            break;
        }
    }
    Ok(records)
}

fn get(database: &Database, revisions: &[u64]) -> Result<Vec<Record>, StoreError> {
    let reading = database.begin_read().map_err(failed)?;
    let table = reading.open_table(RECORDS).map_err(failed)?;
    let (mut records, mut bytes) = (Vec::new(), 0);
    for revision in revisions {
        let value = table.get(revision).map_err(failed)?;
        let value = value.ok_or_else(|| missing(*revision))?;
        let record = record(*revision, value.value())?;
        bytes += record.document.len();
        records.push(record);
        if bytes >= READ_BYTES {
            break;
        }
    }
    Ok(records)
}

fn record(revision: u64, value: &[u8]) -> Result<Record, StoreError> {
    let Some((digest, document)) = value.split_first_chunk() else {
        return Err(StoreError::Damaged(format!("record {revision} is cut off")));
    };
    Ok(Record {
        revision,
        digest: Digest::from_bytes(*digest),
        document: Bytes::copy_from_slice(document),
    })
}

fn append(database: &Database, records: &[Record]) -> Result<(), StoreError> {
    let mut writing = database.begin_write().map_err(failed)?;
    writing.set_quick_repair(true);
    {
        let mut table = writing.open_table(RECORDS).map_err(failed)?;
        check_follow(last_of(&table)?, records)?;
        for record in records {
            let value = [record.digest.as_bytes(), record.document.as_ref()].concat();
            table
                .insert(record.revision, value.as_slice())
                .map_err(failed)?;
        }
    }
    writing.commit().map_err(failed)
}

fn last_revision(database: &Database) -> Result<u64, StoreError> {
    let reading = database.begin_read().map_err(failed)?;
    last_of(&reading.open_table(RECORDS).map_err(failed)?)
}

fn last_of(table: &impl ReadableTable<u64, &'static [u8]>) -> Result<u64, StoreError> {
    Ok(table
        .last()
        .map_err(failed)?
        .map_or(0, |(revision, _)| revision.value()))
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(PAGE_CACHE_BYTES);
    builder
}

/// Opens the log at `path`.
fn open_file(path: &Path) -> Result<Database, StoreError> {
    let flags = i32::try_from(OFlags::NOFOLLOW.bits()).map_err(unavailable)?;
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).custom_flags(flags);
    let file = file.open(path).map_err(not_reached)?;
    check_file(&file)?;
    let database = builder().create_file(file).map_err(not_opened)?;
    check_tables(&database)?;
    Ok(database)
}

fn not_reached(error: io::Error) -> StoreError {
    if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) {
        StoreError::Unsafe("is a symbolic link".into())
    } else {
        unavailable(error)
    }
}

fn check_file(file: &File) -> Result<(), StoreError> {
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

fn check_tables(database: &Database) -> Result<(), StoreError> {
    let reading = database.begin_read().map_err(failed)?;
    let tables = reading.list_tables().map_err(failed)?;
    let multimaps = reading.list_multimap_tables().map_err(failed)?;
    let tables = tables.map(|table| table.name().to_owned());
    let multimaps = multimaps.map(|table| table.name().to_owned());
    match tables.chain(multimaps).find(|name| name != RECORDS.name()) {
        Some(name) => Err(StoreError::Newer(format!("a table {name:?}"))),
        None => Ok(()),
    }
}

/// Makes an empty log where there is none: whole and durable from the moment it has its name.
fn create_if_missing(path: &Path) -> Result<(), StoreError> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => create(path),
        found => found.map(drop).map_err(unavailable),
    }
}

fn create(path: &Path) -> Result<(), StoreError> {
    let unfinished = path.with_extension("new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(unavailable(error)),
        _ => (),
    }
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished);
    let file = file.map_err(unavailable)?;
    let database = builder().create_file(file.try_clone().map_err(unavailable)?);
    initialize(&database.map_err(not_opened)?)?;
    file.sync_all().map_err(unavailable)?;
    fs::rename(&unfinished, path).map_err(unavailable)?;
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = File::open(directory.unwrap_or_else(|| Path::new("."))).map_err(unavailable)?;
    directory.sync_all().map_err(unavailable)
}

/// Makes the empty table.
fn initialize(database: &Database) -> Result<(), StoreError> {
    append(database, &[])
}

/// redb trusts parts of its file, and panics where they make no sense.
fn not_done(ended: JoinError) -> StoreError {
    if ended.is_panic() {
        StoreError::Damaged(ended.to_string())
    } else {
        unavailable(ended)
    }
}

fn not_opened(error: DatabaseError) -> StoreError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => {
            StoreError::Unsafe("is in use by another process".into())
        }
        error => failed(error),
    }
}

fn failed(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Corrupted(what) => StoreError::Damaged(what),
        redb::Error::Io(error) if is_of_content(&error) => StoreError::Damaged(error.to_string()),
        error => unavailable(error),
    }
}

/// Whether the file could be read, and is not what was written.
fn is_of_content(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof
    )
}

fn unavailable(error: impl Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

#[cfg(test)]
mod tests;
