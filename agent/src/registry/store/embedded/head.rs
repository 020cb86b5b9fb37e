//! A note of the last confirmed record, beside the file.
//!
//! The file cannot tell by itself that it is an older copy of itself, and a bit
//! that turns where redb says which of its last two states is the newer one
//! brings back the older. So each commit is noted in `registry.head`: revision and
//! digest, on one line of fixed length, written in its place. The note is not
//! synced, so a loss of power may leave an older one. It only ever says what was
//! durable when it was written, so a store that has less is not the one that was
//! confirmed. What cannot be read as a note says nothing, and the next commit
//! writes it anew; so does a note that was removed.

use super::{RECORDS, failed, record, unavailable};
use crate::registry::{Digest, store::StoreError};
use parking_lot::Mutex;
use redb::{Database, ReadableDatabase as _, ReadableTable as _};
use rustix::fs::OFlags;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// A note is not longer than this.
const MAX_BYTES: usize = 128;

/// The note of one file.
#[derive(Debug)]
pub(super) struct Head {
    path: PathBuf,
    file: Mutex<Option<File>>,
}

impl Head {
    /// The note beside the log at `path`.
    pub(super) fn beside(path: &Path) -> Self {
        Self {
            path: path.with_extension("head"),
            file: Mutex::new(None),
        }
    }

    /// What was confirmed last, as far as it is known.
    pub(super) fn read(&self) -> Result<Option<(u64, Digest)>, StoreError> {
        let file = match self.open(false) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unavailable(error)),
        };
        let mut bytes = [0; MAX_BYTES];
        let read = file.read_at(&mut bytes, 0).map_err(unavailable)?;
        let line = bytes.get(..read).unwrap_or_default();
        let noted = parse(line);
        if noted.is_none() {
            tracing::warn!(path = %self.path.display(), "this is no note of the registry's last record");
        }
        Ok(noted)
    }

    /// Notes what is durable now. It is a help, not a promise: where it cannot be written, the
    /// older note stands.
    pub(super) fn note(&self, revision: u64, digest: Digest) {
        let line = format!("{revision:020} {digest}\n");
        let mut slot = self.file.lock();
        let written = match slot.take() {
            Some(file) => Ok(file),
            None => self.open(true),
        }
        .and_then(|file| file.write_all_at(line.as_bytes(), 0).map(|()| file));
        match written {
            Ok(file) => *slot = Some(file),
            Err(error) => {
                tracing::warn!(%error, path = %self.path.display(), "the registry's last record is not noted");
            }
        }
    }

    /// Refuses a log that lacks the record that was confirmed last.
    pub(super) fn check(&self, database: &Database) -> Result<(), StoreError> {
        let Some((confirmed, digest)) = self.read()? else {
            return self.begin(database);
        };
        let reading = database.begin_read().map_err(failed)?;
        let table = reading.open_table(RECORDS).map_err(failed)?;
        let last = super::last_of(&table)?;
        let found = match table.get(confirmed).map_err(failed)? {
            Some(value) => Some(record(confirmed, value.value())?.digest),
            None => None,
        };
        if found == Some(digest) {
            return Ok(());
        }
        Err(StoreError::Outdated { confirmed, last })
    }

    /// The first note of a log that has none.
    fn begin(&self, database: &Database) -> Result<(), StoreError> {
        let reading = database.begin_read().map_err(failed)?;
        let table = reading.open_table(RECORDS).map_err(failed)?;
        let last = table.last().map_err(failed)?;
        if let Some((revision, value)) = last {
            let record = record(revision.value(), value.value())?;
            self.note(record.revision, record.digest);
        }
        Ok(())
    }

    /// Whether there may be no file at all.
    pub(super) fn allow_none(&self) -> Result<(), StoreError> {
        match self.read()? {
            Some((confirmed, _)) => Err(StoreError::Outdated { confirmed, last: 0 }),
            None => Ok(()),
        }
    }

    /// Takes the note away, before another log gets the file's name.
    pub(super) fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn open(&self, writing: bool) -> io::Result<File> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
        let mut options = OpenOptions::new();
        let options = options.read(true).write(writing).create(writing);
        options.mode(0o600).custom_flags(flags).open(&self.path)
    }
}

fn parse(line: &[u8]) -> Option<(u64, Digest)> {
    let line = line.strip_suffix(b"\n")?;
    let (revision, digest) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    Some((revision.parse().ok()?, digest.parse().ok()?))
}
