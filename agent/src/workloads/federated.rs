//! The foreign bundles that a caller may see: those of the trust domains that its clients list.

use super::Workloads;
use crate::{authority::ForeignBundle, issuance::Entitlement};
use bytes::Bytes;
use spiffe::TrustDomain;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Foreign bundles, by name: never merged, and none of our own trust domain.
#[derive(Clone, Debug, Default)]
pub struct Federated(Vec<Arc<ForeignBundle>>);

impl Federated {
    /// Some document of each, by the SPIFFE ID of its trust domain; empty ones are left out, because
    /// client libraries refuse them.
    #[must_use]
    pub fn keyed(&self, document: fn(&ForeignBundle) -> &Bytes) -> BTreeMap<String, Bytes> {
        let some = self.0.iter().filter_map(|bundle| {
            let document = document(bundle).clone();
            let name = bundle.trust_domain().id_string();
            (!document.is_empty()).then_some((name, document))
        });
        some.collect()
    }

    /// The bundle of a trust domain.
    #[must_use]
    pub fn find(&self, domain: &TrustDomain) -> Option<&ForeignBundle> {
        let mut all = self.0.iter();
        let found = all.find(|bundle| bundle.trust_domain() == domain);
        found.map(|bundle| &**bundle)
    }
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
        Federated(found.cloned().collect())
    }
}

#[cfg(test)]
mod tests;
