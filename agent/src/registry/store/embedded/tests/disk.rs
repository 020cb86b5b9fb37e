//! A disk that can be cut off after any operation, that loses what was not synced, and that fills up.

use parking_lot::Mutex;
use redb::{Database, StorageBackend};
use std::{fmt, io, sync::Arc};

use crate::registry::store::{StoreError, embedded};

/// What was done to the disk, in order.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

/// Shared by every database that is opened on it, one after the other.
#[derive(Clone, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    done: Vec<Op>,
    /// How many more operations succeed; `None`: all.
    working: Option<usize>,
}

impl Disk {
    /// A disk on which only `ops` arrived.
    pub(super) fn after<'a, I: IntoIterator<Item = &'a Op>>(ops: I) -> Self {
        let disk = Self::default();
        let mut state = disk.0.lock();
        ops.into_iter().for_each(|op| state.arrive(op));
        drop(state);
        disk
    }

    /// Opens a database on this disk.
    pub(super) fn open(&self) -> Result<Database, StoreError> {
        let database = embedded::builder().create_with_backend(self.clone());
        database.map_err(embedded::not_opened)
    }

    /// What has been done to it so far.
    pub(super) fn done(&self) -> Vec<Op> {
        self.0.lock().done.clone()
    }

    /// How much has been done to it so far.
    pub(super) fn count(&self) -> usize {
        self.0.lock().done.len()
    }

    /// Fails every change after the next `count`.
    pub(super) fn fail_after(&self, count: usize) {
        self.0.lock().working = Some(count);
    }

    /// Works again.
    pub(super) fn heal(&self) {
        self.0.lock().working = None;
    }

    fn change(&self, op: Op) -> io::Result<()> {
        let mut state = self.0.lock();
        match &mut state.working {
            Some(0) => return Err(io::ErrorKind::StorageFull.into()),
            Some(left) => *left -= 1,
            None => (),
        }
        state.arrive(&op);
        state.done.push(op);
        Ok(())
    }
}

impl State {
    fn arrive(&mut self, op: &Op) {
        match op {
            Op::Write(offset, data) => {
                let start = usize::try_from(*offset).unwrap();
                let end = start + data.len();
                if self.bytes.len() < end {
                    self.bytes.resize(end, 0);
                }
                self.bytes[start..end].copy_from_slice(data);
            }
            Op::SetLen(len) => self.bytes.resize(usize::try_from(*len).unwrap(), 0),
            Op::Sync => (),
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let state = self.0.lock();
        let bytes = state.bytes.get(start..start + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Op::SetLen(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(Op::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Op::Write(offset, data.to_vec()))
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}
