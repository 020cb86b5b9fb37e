//! A file that is written anew from records, and then takes another one's place.
//!
//! Nothing is in the file's place before [`Rebuild::publish`]: a crash leaves the
//! old file, and an unfinished one that the next try removes. The file that was
//! there keeps its content under another name.

use super::{RECORDS, failed, file, head::Head, initialize, schema, unavailable};
use crate::registry::{
    Digest,
    store::{Record, StoreError, check_follow},
};
use redb::Database;
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// A file that is not yet in its place.
#[derive(Debug)]
pub(crate) struct Rebuild {
    path: PathBuf,
    unfinished: PathBuf,
    database: Database,
    last: u64,
}

impl Rebuild {
    /// Begins a file that is to be at `path`.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub(crate) fn begin(path: &Path) -> Result<Self, StoreError> {
        let unfinished = path.with_extension("restoring");
        let database = file::create(&unfinished)?;
        initialize(&database)?;
        Ok(Self {
            path: path.to_owned(),
            unfinished,
            database,
            last: 0,
        })
    }

    /// Puts these records behind those that are there.
    ///
    /// # Errors
    /// Where they do not follow, or cannot be written.
    pub(crate) fn append(&mut self, records: &[Record]) -> Result<(), StoreError> {
        check_follow(self.last, records)?;
        let mut writing = self.database.begin_write().map_err(failed)?;
        // Nobody needs a part of it after a crash.
        let at_the_end = writing.set_durability(redb::Durability::None);
        at_the_end.map_err(unavailable)?;
        {
            let mut table = writing.open_table(RECORDS).map_err(failed)?;
            for record in records {
                let value = [record.digest.as_bytes(), record.document.as_ref()].concat();
                let inserted = table.insert(record.revision, value.as_slice());
                inserted.map_err(failed)?;
                self.last = record.revision;
            }
        }
        writing.commit().map_err(failed)
    }

    /// Makes it durable and puts it in its place, with a note for the agent that opens it. What was
    /// there is called `aside` from then on.
    ///
    /// # Errors
    /// Where the disk fails; then the old file is still there, or the new one is already.
    pub(crate) fn publish(self, note: &str, aside: &Path) -> Result<(), StoreError> {
        let mut writing = self.database.begin_write().map_err(failed)?;
        writing.set_quick_repair(true);
        schema::note_restoration(&writing, note)?;
        writing.commit().map_err(failed)?;
        drop(self.database);
        match fs::hard_link(&self.path, aside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(unavailable(error)),
            _ => (),
        }
        // Without a note either file is believed: the new one has another end.
        Head::beside(&self.path).remove().map_err(unavailable)?;
        file::sync_directory_of(&self.path)?;
        file::publish(&self.unfinished, &self.path)
    }

    /// Leaves everything as it was.
    pub(crate) fn give_up(self) {
        drop(self.database);
        if let Err(error) = fs::remove_file(&self.unfinished) {
            tracing::debug!(%error, "an unfinished store stays until the next try");
        }
    }
}

/// What was confirmed last to those who used the log at `path`, as far as that is known.
///
/// # Errors
/// Where the note cannot be read.
pub(crate) fn confirmed(path: &Path) -> Result<Option<(u64, Digest)>, StoreError> {
    Head::beside(path).read()
}
