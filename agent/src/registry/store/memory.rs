//! A log in memory: for tests, and as the plainest reading of what a store promises.

use super::{Record, Store, StoreError, check_follow, missing};
use futures_util::future::{self, BoxFuture, FutureExt as _};
use parking_lot::Mutex;
use tokio::sync::watch;

/// A store that forgets everything when it is dropped.
#[derive(Debug)]
pub struct MemoryStore {
    records: Mutex<Vec<Record>>,
    last: watch::Sender<u64>,
}

impl MemoryStore {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Self {
            records: Mutex::default(),
            last: watch::Sender::new(0),
        }
    }

    fn append_now(&self, new: Vec<Record>) -> Result<(), StoreError> {
        let mut records = self.records.lock();
        let last = records.last().map_or(0, |record| record.revision);
        check_follow(last, &new)?;
        records.extend(new);
        if let Some(record) = records.last().filter(|record| record.revision > last) {
            self.last.send_replace(record.revision);
        }
        Ok(())
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for MemoryStore {
    fn read(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        let records = self.records.lock();
        let from = records.iter().filter(|record| record.revision > after);
        let page = from.take(limit).cloned().collect();
        future::ready(Ok(page)).boxed()
    }

    fn get(&self, revisions: Vec<u64>) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        let records = self.records.lock();
        let find = |revision: u64| {
            let found = records.binary_search_by_key(&revision, |record| record.revision);
            let record = found.ok().and_then(|at| records.get(at));
            record.cloned().ok_or_else(|| missing(revision))
        };
        future::ready(revisions.into_iter().map(find).collect()).boxed()
    }

    fn append(&self, records: Vec<Record>) -> BoxFuture<'_, Result<(), StoreError>> {
        future::ready(self.append_now(records)).boxed()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }
}
