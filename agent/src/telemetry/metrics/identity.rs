//! What happens at the identity port, and to what is published.

use super::{PageLabel, ReasonLabel};
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

/// The identity port and the published documents; all 0 where they are off.
#[derive(Clone, Debug, Default)]
pub struct IdentityMetrics {
    /// Open connections.
    pub connections: Gauge,
    /// Connections that were closed before a request, by reason.
    pub connections_refused: Family<ReasonLabel, Counter>,
    /// Answers, by page and status.
    pub answers: Family<PageLabel, Counter>,
    /// When the certificate that is shown ends, in Unix seconds.
    pub certificate_not_after: Gauge,
    /// Documents that were published or taken down.
    pub publications: Counter,
    /// Whether documents cannot be written to the directory or recorded: 1 or 0.
    pub publishing_failing: Gauge,
}

impl IdentityMetrics {
    /// Counts an answer.
    pub fn count(&self, page: &'static str, code: &'static str) {
        self.answers.get_or_create(&PageLabel { page, code }).inc();
    }

    /// Counts a connection that was refused.
    pub fn refuse(&self, reason: &'static str) {
        self.connections_refused.get_or_create(&reason.into()).inc();
    }

    pub(super) fn publish(&self, to: &mut Registry) {
        to.register(
            "identity_connections",
            "Open connections on the identity port",
            self.connections.clone(),
        );
        to.register(
            "identity_connections_refused",
            "Connections on the identity port that were closed before a request",
            self.connections_refused.clone(),
        );
        to.register(
            "identity_answers",
            "Answers on the identity port",
            self.answers.clone(),
        );
        to.register_with_unit(
            "identity_certificate_not_after_timestamp",
            "When the identity port's certificate ends, in Unix time",
            Unit::Seconds,
            self.certificate_not_after.clone(),
        );
        to.register(
            "identity_publications",
            "Public documents that were published or taken down",
            self.publications.clone(),
        );
        to.register(
            "identity_publishing_failing",
            "Whether public documents cannot be recorded or written to identity.publish_dir: 1 or 0",
            self.publishing_failing.clone(),
        );
    }
}
