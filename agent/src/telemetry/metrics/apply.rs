//! How the folder of registrations stands.

use prometheus_client::{
    metrics::gauge::Gauge,
    registry::{Registry, Unit},
};

/// The folder of registrations, `registry.apply_dir`; all 0 without one.
#[derive(Clone, Debug, Default)]
pub struct ApplyMetrics {
    /// Documents, as of the last look without a fault.
    pub documents: Gauge,
    /// Faults that keep the folder from being applied.
    pub faults: Gauge,
    /// Documents that could not be brought into force.
    pub conflicts: Gauge,
    /// When the folder was last without a fault, in Unix seconds.
    pub last_load: Gauge,
}

impl ApplyMetrics {
    pub(super) fn publish(&self, to: &mut Registry) {
        to.register(
            "apply_documents",
            "Registrations in registry.apply_dir when it was last without a fault",
            self.documents.clone(),
        );
        to.register(
            "apply_faults",
            "Faults that keep registry.apply_dir from being applied",
            self.faults.clone(),
        );
        to.register(
            "apply_conflicts",
            "Registrations in registry.apply_dir that could not be brought into force",
            self.conflicts.clone(),
        );
        to.register_with_unit(
            "apply_last_load_timestamp",
            "When registry.apply_dir was last without a fault, in Unix time",
            Unit::Seconds,
            self.last_load.clone(),
        );
    }
}
