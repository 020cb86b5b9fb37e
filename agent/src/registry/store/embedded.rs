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
//! Beside the log the file says of which schema it is (`schema`): one of an older
//! agent is brought forward in one commit, one of a newer agent is refused. And
//! beside the file lies a note of the last confirmed record (`head`), so that an
//! older copy, or a damage that brings back an older state, is refused as well.
//!
//! All work is done on blocking threads, one call at a time. Memory is bounded
//! by a small page cache.

mod file;
mod glimpse;
mod head;
mod rebuild;
mod schema;

pub(crate) use rebuild::{Rebuild, confirmed};

use super::{Record, Store, StoreError, check_follow, missing};
use crate::registry::Digest;
use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _};
use head::Head;
use parking_lot::Mutex;
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase as _, ReadableTable, TableDefinition,
};
use std::{
    error::Error,
    fmt,
    io::{self, ErrorKind},
    mem,
    path::PathBuf,
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

/// A store in one file.
#[derive(Clone, Debug)]
pub struct RedbStore {
    inner: Arc<Inner>,
}

struct Inner {
    open: Opener,
    head: Option<Head>,
    /// `None` after a failure, until the next call.
    database: Mutex<Option<Database>>,
    last: watch::Sender<u64>,
}

type Opener = Box<dyn Fn() -> Result<Database, StoreError> + Send + Sync>;

impl RedbStore {
    /// Opens the log at `path`, or makes a new one there; its directory must exist.
    ///
    /// # Errors
    /// Where the file is damaged, held by another process, lacks what was confirmed, or others
    /// may use it.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let path = path.into();
        let head = Head::beside(&path);
        let new = path.clone();
        blocking(move || file::create_if_missing(&new)).await?;
        let opener = move || {
            let database = file::open(&path)?;
            Head::beside(&path).check(&database)?;
            Ok(database)
        };
        Self::with(Box::new(opener), Some(head)).await
    }

    /// Opens the log at `path` to read it: the file is not written to, whatever it needs, and what
    /// is appended is kept in memory. Whether it is in use, and whether it has what was confirmed,
    /// is the caller's to know.
    ///
    /// # Errors
    /// Where there is none, it is damaged or newer, or others may use it.
    pub async fn glimpse(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let path = path.into();
        Self::with(Box::new(move || glimpse::open(&path)), None).await
    }

    /// The note that a restoration has left in the file, until [`Self::forget_restoration`].
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub async fn restoration(&self) -> Result<Option<String>, StoreError> {
        self.call(schema::restoration).await
    }

    /// Takes the note out.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub async fn forget_restoration(&self) -> Result<(), StoreError> {
        self.call(schema::forget_restoration).await
    }

    async fn with(open: Opener, head: Option<Head>) -> Result<Self, StoreError> {
        let inner = Inner {
            open,
            head,
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
        let inner = Arc::clone(&self.inner);
        let work = move |database: &Database| {
            append(database, &records)?;
            if let (Some(head), Some(last)) = (&inner.head, records.last()) {
                head.note(last.revision, last.digest);
            }
            Ok(())
        };
        self.call(work).boxed()
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

/// Makes the empty tables.
fn initialize(database: &Database) -> Result<(), StoreError> {
    append(database, &[])?;
    schema::bring_forward(database)
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
