//! The bundles of foreign trust domains, and how their endpoints do.

use super::OutcomeLabel;
use crate::{clock::unix_seconds, federation::Status};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use spiffe::TrustDomain;
use std::collections::BTreeMap;

/// A foreign trust domain: operators name them, and there are few.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct TrustDomainLabel {
    /// Its name.
    pub trust_domain: String,
}

/// The bundles of foreign trust domains, and how their endpoints do.
#[derive(Clone, Debug)]
pub struct FederationMetrics {
    /// Requests to bundle endpoints, by outcome.
    pub fetches: Family<OutcomeLabel, Counter>,
    failing: Family<TrustDomainLabel, Gauge>,
    fetched_at: Family<TrustDomainLabel, Gauge>,
    sequence: Family<TrustDomainLabel, Gauge>,
    left_out: Family<TrustDomainLabel, Counter>,
}

impl Default for FederationMetrics {
    /// The series of what alerts ask for are there from the start.
    fn default() -> Self {
        let fetches = Family::<OutcomeLabel, Counter>::default();
        for outcome in ["accepted", "failed", "refused"] {
            drop(fetches.get_or_create(&outcome.into()));
        }
        Self {
            fetches,
            failing: Family::default(),
            fetched_at: Family::default(),
            sequence: Family::default(),
            left_out: Family::default(),
        }
    }
}

impl FederationMetrics {
    /// Shows how it stands with all trust domains, and with no others.
    pub(crate) fn show(&self, all: &BTreeMap<TrustDomain, Status>) {
        self.failing.clear();
        self.fetched_at.clear();
        self.sequence.clear();
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        for (name, status) in all {
            let label = TrustDomainLabel {
                trust_domain: name.to_string(),
            };
            let failing = self.failing.get_or_create(&label);
            failing.set(status.failure.is_some().into());
            if let Some(at) = status.fetched_at {
                let fetched_at = self.fetched_at.get_or_create(&label);
                fetched_at.set(number(unix_seconds(at)));
            }
            let sequence = status.bundle.as_ref().and_then(|bundle| bundle.sequence());
            if let Some(known) = sequence {
                self.sequence.get_or_create(&label).set(number(known));
            }
        }
    }

    /// Counts an answer to a workload that lacks the bundle of this trust domain.
    pub(crate) fn leave_out(&self, name: &str) {
        let label = TrustDomainLabel {
            trust_domain: name.to_owned(),
        };
        self.left_out.get_or_create(&label).inc();
    }

    /// How many such answers there were.
    pub(crate) fn left_out(&self, name: &TrustDomain) -> u64 {
        let label = TrustDomainLabel {
            trust_domain: name.to_string(),
        };
        self.left_out.get(&label).map_or(0, |answers| answers.get())
    }

    pub(super) fn publish(&self, to: &mut Registry) {
        to.register(
            "federation_fetches",
            "Requests to bundle endpoints of foreign trust domains, by outcome",
            self.fetches.clone(),
        );
        to.register(
            "federation_failing",
            "Whether the bundle endpoint of a foreign trust domain delivers none: 1 or 0",
            self.failing.clone(),
        );
        to.register(
            "federation_fetched_at_seconds",
            "When the bundle of a foreign trust domain was last fetched, in Unix seconds",
            self.fetched_at.clone(),
        );
        to.register(
            "federation_bundle_sequence",
            "Sequence number of the bundle of a foreign trust domain",
            self.sequence.clone(),
        );
        to.register(
            "federation_bundles_left_out",
            "Answers to workloads without the bundle of a foreign trust domain, because they would \
             have been too long",
            self.left_out.clone(),
        );
    }
}
