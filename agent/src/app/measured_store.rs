//! The registry's store, measured.

use crate::{
    registry::{Record, Store, StoreError},
    telemetry::StoreMetrics,
};
use futures_util::{FutureExt as _, future::BoxFuture};
use std::{future::Future, sync::Arc};
use tokio::{sync::watch, time::Instant};

/// Another store, whose calls are counted and timed.
#[derive(Debug)]
pub(super) struct MeasuredStore {
    store: Arc<dyn Store>,
    metrics: StoreMetrics,
}

impl MeasuredStore {
    pub(super) const fn new(store: Arc<dyn Store>, metrics: StoreMetrics) -> Self {
        Self { store, metrics }
    }

    async fn measured<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let begun = Instant::now();
        let done = call.await;
        let took = begun.elapsed().as_secs_f64();
        let duration = self.metrics.duration.get_or_create(&operation.into());
        duration.observe(took);
        drop(duration);
        // Another writer was faster: that is an answer.
        if !matches!(done, Ok(_) | Err(StoreError::Conflict { .. })) {
            let failures = &self.metrics.failures;
            failures.get_or_create(&operation.into()).inc();
        }
        done
    }
}

impl Store for MeasuredStore {
    fn read(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        let call = self.store.read(after, limit);
        self.measured("read", call).boxed()
    }

    fn get(&self, revisions: Vec<u64>) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        let call = self.store.get(revisions);
        self.measured("get", call).boxed()
    }

    fn append(&self, records: Vec<Record>) -> BoxFuture<'_, Result<(), StoreError>> {
        let call = self.store.append(records);
        self.measured("append", call).boxed()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.store.changes()
    }
}

#[cfg(test)]
mod tests {
    use super::MeasuredStore;
    use crate::{
        registry::{MemoryStore, Store as _},
        telemetry::StoreMetrics,
    };
    use std::sync::Arc;

    #[tokio::test]
    async fn calls_are_timed_and_failures_counted() {
        let metrics = StoreMetrics::default();
        let store = MeasuredStore::new(Arc::new(MemoryStore::new()), metrics.clone());
        assert!(store.read(0, 10).await.unwrap().is_empty());
        store.append(Vec::new()).await.unwrap();
        store.get(vec![7]).await.unwrap_err();
        let failures = |operation: &'static str| {
            let failures = &metrics.failures;
            failures.get_or_create(&operation.into()).get()
        };
        assert_eq!(["read", "append", "get"].map(failures), [0, 0, 1]);
    }
}
