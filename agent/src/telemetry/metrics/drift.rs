//! How documents that others host are.

use super::OutcomeLabel;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Clients' metadata documents that others host; all 0 without any.
#[derive(Clone, Debug, Default)]
pub struct DriftMetrics {
    /// Looks, by outcome: `approved`, `drifted` or `unreachable`.
    pub looks: Family<OutcomeLabel, Counter>,
    /// Clients whose documents are watched.
    pub watched: Gauge,
    /// Those of which something else is served than what was approved, or nothing.
    pub drifted: Gauge,
}

impl DriftMetrics {
    pub(super) fn publish(&self, to: &mut Registry) {
        to.register(
            "external_document_looks",
            "Looks at clients' documents that others host, by outcome",
            self.looks.clone(),
        );
        to.register(
            "external_documents",
            "Clients whose documents others host",
            self.watched.clone(),
        );
        to.register(
            "external_documents_drifted",
            "Clients of whose documents something else is served than what was approved, or nothing",
            self.drifted.clone(),
        );
    }
}
