//! How long the registry's store takes.

use super::{Histograms, OperationLabel, durations};
use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::{Registry, Unit},
};

/// What is asked of the store.
const OPERATIONS: [&str; 3] = ["append", "get", "read"];

/// The registry's store.
#[derive(Clone, Debug)]
pub struct StoreMetrics {
    /// Time for one call, by operation.
    pub duration: Histograms<OperationLabel>,
    /// Calls that failed, by operation.
    pub failures: Family<OperationLabel, Counter>,
}

impl Default for StoreMetrics {
    fn default() -> Self {
        let failures = Family::default();
        for operation in OPERATIONS {
            drop(Family::<OperationLabel, Counter>::get_or_create(
                &failures,
                &operation.into(),
            ));
        }
        Self {
            duration: Family::new_with_constructor(durations),
            failures,
        }
    }
}

impl StoreMetrics {
    pub(super) fn publish(&self, to: &mut Registry) {
        to.register_with_unit(
            "registry_store_duration",
            "Time for one call of the registry's store; an append is durable then",
            Unit::Seconds,
            self.duration.clone(),
        );
        to.register(
            "registry_store_failures",
            "Calls of the registry's store that failed",
            self.failures.clone(),
        );
    }
}
