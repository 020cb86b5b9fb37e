//! The foreign bundles that a caller may see: those of the trust domains that its clients list.

use super::Workloads;
use crate::{authority::ForeignBundle, issuance::Entitlement, telemetry::FederationMetrics};
use bytes::Bytes;
use spiffe::TrustDomain;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Bytes of the foreign bundles in one answer: clients take messages of 4 MiB, with all else that
/// is in them. Those that one client lists fit; a process may have several.
const MAX_ANSWER_BYTES: usize = 3 * 1024 * 1024;

/// Foreign bundles, by name: never merged, and none of our own trust domain.
#[derive(Clone, Debug, Default)]
pub struct Federated {
    bundles: Vec<Arc<ForeignBundle>>,
    /// Counts what is left out; none where there is nothing to leave out.
    metrics: Option<FederationMetrics>,
}

impl Federated {
    /// Some document of each, by the SPIFFE ID of its trust domain; empty ones are left out, because
    /// client libraries refuse them. Where they are too long together, the longest are left out.
    #[must_use]
    pub fn keyed(&self, document: fn(&ForeignBundle) -> &Bytes) -> BTreeMap<String, Bytes> {
        self.keyed_within(document, MAX_ANSWER_BYTES)
    }

    fn keyed_within(
        &self,
        document: fn(&ForeignBundle) -> &Bytes,
        room: usize,
    ) -> BTreeMap<String, Bytes> {
        let some = self.bundles.iter().filter_map(|bundle| {
            let document = document(bundle).clone();
            let name = bundle.trust_domain().id_string();
            (!document.is_empty()).then_some((name, document))
        });
        let (documents, left_out) = fitting(some.collect(), room);
        for (name, length) in left_out {
            let name = name.strip_prefix("spiffe://").unwrap_or(&name);
            tracing::warn!(
                trust_domain = name,
                length,
                "a foreign bundle is left out of an answer, which would be too long with it"
            );
            if let Some(metrics) = &self.metrics {
                metrics.leave_out(name);
            }
        }
        documents
    }

    /// The bundle of a trust domain.
    #[must_use]
    pub fn find(&self, domain: &TrustDomain) -> Option<&ForeignBundle> {
        let mut all = self.bundles.iter();
        let found = all.find(|bundle| bundle.trust_domain() == domain);
        found.map(|bundle| &**bundle)
    }
}

/// The shortest of these documents, so many as come to at most `room` bytes with their names; and
/// the others, with their lengths.
fn fitting(
    mut documents: BTreeMap<String, Bytes>,
    mut room: usize,
) -> (BTreeMap<String, Bytes>, Vec<(String, usize)>) {
    let mut left_out = Vec::new();
    let length = |(name, document): (&String, &Bytes)| name.len() + document.len();
    if documents.iter().map(length).sum::<usize>() <= room {
        return (documents, left_out);
    }
    let lengths = documents
        .iter()
        .map(|entry| (length(entry), entry.0.clone()));
    let mut lengths: Vec<_> = lengths.collect();
    lengths.sort_unstable();
    for (length, name) in lengths {
        if let Some(left) = room.checked_sub(length) {
            room = left;
        } else {
            // All that are longer do not fit either.
            room = 0;
            documents.remove(&name);
            left_out.push((name, length));
        }
    }
    (documents, left_out)
}

impl Workloads {
    /// The bundles that these clients federate with, as far as they are known.
    pub(super) fn federated(&self, granted: &[Entitlement]) -> Federated {
        let clients = granted.iter().map(Entitlement::client);
        let wanted: BTreeSet<&TrustDomain> = clients
            .flat_map(|client| client.spec().federates_with())
            .collect();
        if wanted.is_empty() {
            return Federated::default();
        }
        let known = self.services.federation.borrow();
        let found = wanted.into_iter().filter_map(|domain| known.find(domain));
        Federated {
            bundles: found.cloned().collect(),
            metrics: Some(self.services.metrics.federation.clone()),
        }
    }

    /// How many answers to workloads lacked the bundle of this trust domain since the agent's start,
    /// because they would have been too long.
    #[must_use]
    pub fn bundles_left_out(&self, domain: &TrustDomain) -> u64 {
        self.services.metrics.federation.left_out(domain)
    }
}

#[cfg(test)]
mod tests;
