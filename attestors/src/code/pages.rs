//! Pages of executable mappings that the process wrote.
//!
//! A private mapping of a file can be made writable, written and made
//! executable again: it is still the file's in `maps`, but the pages that were
//! written are the process's own. A library that was preloaded can leave its
//! code there and go; a debugger leaves its breakpoints. `pagemap` tells such
//! pages from the file's, on every kernel and without their addresses.

use crate::{
    findings::{Fact, unread},
    parse::{Mapping, has_private_page},
    procfs::ProcDir,
};
use rustix::{
    fd::OwnedFd,
    io::{Errno, pread},
    param::page_size,
};

/// Most pages that are looked at: 1 GiB of code.
const MAX_PAGES: u64 = 1 << 18;

/// Bytes of an entry.
const ENTRY: u64 = 8;

/// Bytes read at once.
const CHUNK_BYTES: usize = 32 << 10;

/// The page tables of one process, as it lets them be seen.
pub(super) struct Pages {
    file: OwnedFd,
    entries: Vec<u8>,
    left: u64,
}

impl Pages {
    pub(super) fn open(directory: &ProcDir) -> Fact<Self> {
        let file = directory.file("pagemap");
        Ok(Self {
            file: file.map_err(|error| unread("pagemap", error.into()))?,
            entries: vec![0; CHUNK_BYTES],
            left: MAX_PAGES,
        })
    }

    /// Whether a page of `mappings` was written by the process.
    pub(super) fn written(mut self, mappings: &[Mapping]) -> Fact<bool> {
        for mapping in mappings.iter().filter(|mapping| !mapping.is_shared) {
            if self.written_in(mapping)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn written_in(&mut self, mapping: &Mapping) -> Fact<bool> {
        let page = u64::try_from(page_size()).unwrap_or(4096);
        let (mut at, end) = (mapping.start / page * ENTRY, mapping.end / page * ENTRY);
        self.left = self
            .left
            .checked_sub(end.saturating_sub(at) / ENTRY)
            .ok_or_else(|| format!("more than {MAX_PAGES} executable pages"))?;
        while at < end {
            let wanted =
                usize::try_from(end - at).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
            let chunk = self.entries.get_mut(..wanted).unwrap_or_default();
            let length = match pread(&self.file, chunk, at) {
                Ok(0) => break,
                Ok(length) => length,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(unread("pagemap", error.into())),
            };
            if has_private_page(self.entries.get(..length).unwrap_or_default()) {
                return Ok(true);
            }
            at = at.saturating_add(u64::try_from(length).unwrap_or(ENTRY));
        }
        Ok(false)
    }
}
