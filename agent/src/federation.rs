//! The bundles of foreign trust domains: fetched, kept, and handed to whoever federates.
//!
//! Owns one bundle for each federation relationship that is in force in the registry.
//! One task, [`Keeper::run`], polls the bundle endpoints at their refresh hints
//! (`SPIFFE_Federation.md`, sections 4.1 and 6.2), judges what comes, makes it durable and
//! publishes it; `workloads` takes [`Federation::bundles`] for the answers of clients
//! that federate, and the admin API [`Federation::status`].
//!
//! Invariants: bundles are never merged, and each is known by the trust domain of its
//! relationship, never by anything that it says itself (section 4.2); our own trust domain has
//! no relationship, so nothing of this can speak for it. A bundle never goes back: one with a
//! smaller sequence, or with other keys under the same sequence, or without a sequence after
//! one with, is refused and told, also where an operator gave it with another version of the
//! relationship. An endpoint that fails, or serves nonsense, costs nothing but
//! news: the last bundle stays. What is removed is forgotten at once,
//! also where it is added again before anybody looks.
//!
//! Trusts what operators approved, and the endpoint as far as its profile proves it:
//! `https_web` by the Web PKI, `https_spiffe` by an X.509-SVID with exactly the registered ID,
//! under the last bundle of that ID's trust domain. Left out: redirects
//! (section 5.2.1.4 lets clients follow them), and revocation of single foreign keys.

mod file;
mod judge;
mod keeper;
mod source;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod verifier;

pub use judge::Refusal;
pub use keeper::{Keeper, KeeperServices};
pub use source::{BundleRequest, BundleSource, Proof, SourceError, WebSource};

use crate::authority::ForeignBundle;
use parking_lot::Mutex;
use spiffe::TrustDomain;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::sync::watch;

/// How often endpoints are asked, whatever their refresh hints say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Not more often than this.
    pub least: Duration,
    /// Not less often than this.
    pub most: Duration,
}

/// The bundles of foreign trust domains, by name.
#[derive(Clone, Debug, Default)]
pub struct ForeignBundles(BTreeMap<TrustDomain, Arc<ForeignBundle>>);

impl ForeignBundles {
    /// These, each under its own name.
    pub fn of(bundles: impl IntoIterator<Item = Arc<ForeignBundle>>) -> Self {
        let bundles = bundles.into_iter();
        Self(
            bundles
                .map(|bundle| (bundle.trust_domain().clone(), bundle))
                .collect(),
        )
    }

    /// Whether these have the same keys, of the same trust domains: nobody else needs to know what
    /// differs otherwise.
    fn has_keys_of(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().all(|(name, bundle)| {
                let other = other.find(name);
                other.is_some_and(|other| bundle.has_keys_of(other))
            })
    }

    /// The bundle of a trust domain.
    #[must_use]
    pub fn find(&self, domain: &TrustDomain) -> Option<&Arc<ForeignBundle>> {
        self.0.get(domain)
    }
}

/// How it stands with a foreign trust domain.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The bundle that is served.
    pub bundle: Option<Arc<ForeignBundle>>,
    /// When the endpoint last delivered a bundle that was not refused.
    pub fetched_at: Option<SystemTime>,
    /// Since when it does not, and why.
    pub failure: Option<Failure>,
    /// When it is asked next.
    pub next_at: Option<SystemTime>,
}

/// Why there are no news of a foreign trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Since when.
    pub since: SystemTime,
    /// What the last attempt said.
    pub error: String,
}

/// What the keeper publishes.
#[derive(Debug, Default)]
pub struct Federation {
    bundles: watch::Sender<Arc<ForeignBundles>>,
    status: Mutex<BTreeMap<TrustDomain, Status>>,
    /// Answers of endpoints that were judged.
    #[cfg(test)]
    turns: std::sync::atomic::AtomicUsize,
}

impl Federation {
    /// The bundles, now and whenever the keys of one change.
    #[must_use]
    pub fn bundles(&self) -> watch::Receiver<Arc<ForeignBundles>> {
        self.bundles.subscribe()
    }

    /// How it stands with a foreign trust domain; none without a relationship in force.
    #[must_use]
    pub fn status(&self, domain: &TrustDomain) -> Option<Status> {
        self.status.lock().get(domain).cloned()
    }
}
