//! Reading a file without writing to it, whatever state it is in.
//!
//! redb repairs a file that was not closed, and brings older ones forward. What
//! it writes for that is kept in memory, over the file's own bytes, and gone with
//! the database. So evidence stays as it was found, and a read-only disk will do.

use super::{builder, file, not_opened, schema};
use crate::registry::store::StoreError;
use parking_lot::Mutex;
use redb::{Database, StorageBackend};
use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, ErrorKind},
    os::unix::fs::FileExt as _,
    path::Path,
};

/// Bytes that are taken over at a time.
const PAGE: u64 = 4096;

/// Opens the log at `path` without touching it.
pub(super) fn open(path: &Path) -> Result<Database, StoreError> {
    let file = file::opened(path, false)?;
    let length = file.metadata().map_err(super::unavailable)?.len();
    let overlay = Overlay {
        file,
        length,
        over: Mutex::new(Over {
            length,
            pages: BTreeMap::new(),
        }),
    };
    let database = builder().create_with_backend(overlay).map_err(not_opened)?;
    schema::check(&database)?;
    schema::bring_forward(&database)?;
    Ok(database)
}

struct Overlay {
    file: File,
    /// Of the file, when it was opened.
    length: u64,
    over: Mutex<Over>,
}

struct Over {
    length: u64,
    /// What was written, by its place in pages.
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Overlay {
    /// The page as it would be in the file.
    fn page(&self, over: &Over, number: u64) -> io::Result<Vec<u8>> {
        if let Some(page) = over.pages.get(&number) {
            return Ok(page.clone());
        }
        let start = number.saturating_mul(PAGE);
        let here = self.length.min(over.length).saturating_sub(start).min(PAGE);
        let mut page = vec![0; usize::try_from(PAGE).map_err(io::Error::other)?];
        let here = usize::try_from(here).map_err(io::Error::other)?;
        if let Some(part) = page.get_mut(..here) {
            self.file.read_exact_at(part, start)?;
        }
        Ok(page)
    }

    /// Goes through the pages of a range: the page's number, what of it is meant, and what of the
    /// range that is.
    fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
        let (mut done, page_bytes) = (0, usize::try_from(PAGE).unwrap_or(usize::MAX));
        std::iter::from_fn(move || {
            let at = offset.checked_add(u64::try_from(done).ok()?)?;
            let begin = usize::try_from(at % PAGE).ok()?;
            let count = (page_bytes - begin).min(length - done);
            let part = (at / PAGE, begin, done, count);
            done += count;
            (count > 0).then_some(part)
        })
    }
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.over.lock().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let over = self.over.lock();
        let end = u64::try_from(out.len())
            .ok()
            .and_then(|l| offset.checked_add(l));
        if end.is_none_or(|end| end > over.length) {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        for (number, begin, done, count) in Self::parts(offset, out.len()) {
            let page = self.page(&over, number)?;
            let from = page.get(begin..begin + count);
            let to = out.get_mut(done..done + count);
            let (Some(from), Some(to)) = (from, to) else {
                return Err(ErrorKind::UnexpectedEof.into());
            };
            to.copy_from_slice(from);
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut over = self.over.lock();
        if length < over.length {
            let kept = self.page(&over, length / PAGE)?;
            over.pages.retain(|number, _| *number < length / PAGE);
            let begin = usize::try_from(length % PAGE).map_err(io::Error::other)?;
            let mut last = kept;
            last.iter_mut().skip(begin).for_each(|byte| *byte = 0);
            over.pages.insert(length / PAGE, last);
        }
        over.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut over = self.over.lock();
        for (number, begin, done, count) in Self::parts(offset, data.len()) {
            let mut page = self.page(&over, number)?;
            let to = page.get_mut(begin..begin + count);
            let from = data.get(done..done + count);
            let (Some(to), Some(from)) = (to, from) else {
                return Err(ErrorKind::UnexpectedEof.into());
            };
            to.copy_from_slice(from);
            over.pages.insert(number, page);
        }
        Ok(())
    }
}

impl fmt::Debug for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Overlay")
    }
}
