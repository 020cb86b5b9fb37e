//! What processes hold, and how its renewal goes.

use super::KindLabel;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// The kinds of SVID that are renewed.
const RENEWED: [&str; 2] = ["x509-svid", "wit-svid"];

/// What processes hold now; looked at every few seconds.
#[derive(Clone, Debug)]
pub struct LiveMetrics {
    /// Identities that processes hold, by kind of SVID: a client in two processes counts twice.
    pub identities: Family<KindLabel, Gauge>,
    /// SVIDs that a stream waits for and that should have been renewed long ago, by kind.
    pub late: Family<KindLabel, Gauge>,
    /// Renewals that failed, by kind.
    pub failed: Family<KindLabel, Counter>,
}

impl Default for LiveMetrics {
    /// The series of what alerts ask for are there from the start: one that begins with 1 has
    /// never risen.
    fn default() -> Self {
        let (late, failed) = (Family::default(), Family::default());
        for kind in RENEWED {
            drop(Family::<KindLabel, Gauge>::get_or_create(
                &late,
                &kind.into(),
            ));
            drop(Family::<KindLabel, Counter>::get_or_create(
                &failed,
                &kind.into(),
            ));
        }
        Self {
            identities: Family::default(),
            late,
            failed,
        }
    }
}

impl LiveMetrics {
    pub(super) fn publish(&self, to: &mut Registry) {
        to.register(
            "identities_live",
            "Identities that processes hold now; a client in two processes counts twice",
            self.identities.clone(),
        );
        to.register(
            "svid_renewals_late",
            "SVIDs on open streams whose renewal has been due for a tenth of their life or longer",
            self.late.clone(),
        );
        to.register(
            "svid_renewals_failed",
            "Renewals of SVIDs that failed; each is tried again after five seconds",
            self.failed.clone(),
        );
    }
}
