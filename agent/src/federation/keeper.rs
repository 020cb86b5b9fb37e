//! The one task that fetches, judges, keeps and publishes foreign bundles.

use super::{
    Failure, Federation, ForeignBundles, Pace, Refusal, Status,
    file::{Files, Kept},
    judge,
    source::{BundleRequest, BundleSource, Proof, SourceError},
};
use crate::{
    audit::{Event, Kind, Outcome, Trail},
    authority::{ForeignBundle, KeyDirectoryError, TrustBundle},
    clock::SharedClock,
    registry::{Digest, Profile, Registry, RelationshipVersion},
    telemetry::FederationMetrics,
};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use serde::Serialize;
use spiffe::{SpiffeId, TrustDomain};
use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    task,
    time::{Instant, sleep_until},
};

/// Where an endpoint names no interval (`SPIFFE_Federation.md`, section 4.1).
const DEFAULT_HINT: Duration = Duration::from_secs(5 * 60);
/// Where there is no bundle yet, clients wait for the first.
const IMPATIENCE: Duration = Duration::from_secs(30);
/// Endpoints that are asked at once.
const AT_ONCE: usize = 16;

/// What the keeper works with.
#[derive(Debug)]
pub struct KeeperServices {
    /// Says which relationships are in force.
    pub registry: Arc<Registry>,
    /// Fetches.
    pub source: Arc<dyn BundleSource>,
    /// Our own bundle, for endpoints of our own trust domain.
    pub own: watch::Receiver<Arc<TrustBundle>>,
    /// Records.
    pub trail: Trail,
    /// The wall clock.
    pub clock: SharedClock,
    /// Tells.
    pub metrics: FederationMetrics,
    /// How often endpoints are asked.
    pub pace: Pace,
}

/// Keeps the bundles of foreign trust domains up to date while it runs.
#[derive(Debug)]
pub struct Keeper {
    services: KeeperServices,
    files: Files,
    federation: Arc<Federation>,
    domains: BTreeMap<TrustDomain, Domain>,
}

/// A trust domain with a relationship in force.
#[derive(Debug)]
struct Domain {
    version: Arc<RelationshipVersion>,
    status: Status,
    /// Whether the bundle that is served is in the file, for this version.
    is_kept: bool,
    next: Instant,
    is_running: bool,
    /// How often it was asked: spreads the endpoints over time.
    count: u64,
}

/// What came of asking an endpoint, for one version of its relationship.
type Asked = (TrustDomain, Digest, Result<Bytes, SourceError>);

impl Keeper {
    /// Takes up what was kept in `directory`. Reads files.
    ///
    /// # Errors
    /// Where the directory cannot be used.
    pub fn open(services: KeeperServices, directory: &Path) -> Result<Self, KeyDirectoryError> {
        let files = Files::open(directory)?;
        let mut keeper = Self {
            files: files.clone(),
            services,
            federation: Arc::default(),
            domains: BTreeMap::new(),
        };
        keeper.reconcile(|domain| files.read(domain));
        files.keep_only(keeper.domains.keys());
        keeper.publish();
        Ok(keeper)
    }

    /// What it publishes.
    #[must_use]
    pub fn federation(&self) -> Arc<Federation> {
        Arc::clone(&self.federation)
    }

    /// Asks the endpoints until the registry is closed.
    pub async fn run(mut self) {
        let mut changes = self.services.registry.changes();
        changes.mark_changed();
        let mut running: FuturesUnordered<BoxFuture<'static, Asked>> = FuturesUnordered::new();
        loop {
            self.start_due(&mut running);
            let next = self.next_due(running.len());
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    // What is new has no file: it was removed with the relationship before.
                    if self.reconcile(|_| None) {
                        self.publish();
                        self.forget_others().await;
                    }
                }
                Some(asked) = running.next(), if !running.is_empty() => self.take(asked).await,
                () = pause_until(next) => {}
            }
        }
    }

    /// Takes up and drops relationships as the registry says; whether that changed anything.
    fn reconcile(&mut self, kept: impl Fn(&TrustDomain) -> Option<Kept>) -> bool {
        let snapshot = self.services.registry.snapshot();
        let in_force: BTreeMap<_, _> = snapshot
            .relationships()
            .filter_map(|relationship| {
                let version = Arc::clone(relationship.in_force()?);
                let removal = relationship.last_removal();
                Some((relationship.trust_domain(), (version, removal)))
            })
            .collect();
        let before = self.domains.len();
        self.domains
            .retain(|domain, _| in_force.contains_key(domain));
        let mut is_changed = self.domains.len() != before;
        for (name, (version, removal)) in in_force {
            match self.domains.get_mut(name) {
                Some(domain) if domain.version.digest == version.digest => {}
                // Removed and added since it was looked at last.
                Some(domain) if domain.version.number < removal => {
                    domain.begin_anew(version);
                    is_changed = true;
                }
                Some(domain) => {
                    domain.replace(version);
                    is_changed = true;
                }
                None => {
                    let kept = kept(name).filter(|kept| kept.number > removal);
                    let domain = Domain::new(version, kept);
                    self.domains.insert(name.clone(), domain);
                    is_changed = true;
                }
            }
        }
        is_changed
    }

    async fn forget_others(&self) {
        let (files, known) = (self.files.clone(), self.domains.keys().cloned());
        let known: Vec<_> = known.collect();
        let forgotten = task::spawn_blocking(move || files.keep_only(known.iter()));
        if forgotten.await.is_err() {
            tracing::error!("what was kept of foreign trust domains could not be tidied up");
        }
    }

    /// Shows what is known: the bundles to the workloads, all of it to operators.
    fn publish(&self) {
        let status = self.domains.iter();
        let status: BTreeMap<_, _> = status
            .map(|(name, domain)| (name.clone(), domain.status.clone()))
            .collect();
        let bundles = status.values().filter_map(|status| status.bundle.clone());
        let bundles = ForeignBundles::of(bundles);
        self.services.metrics.show(&status);
        *self.federation.status.lock() = status;
        self.federation.bundles.send_if_modified(|known| {
            let is_news = !known.has_keys_of(&bundles);
            *known = Arc::new(bundles);
            is_news
        });
    }

    fn start_due(&mut self, running: &mut FuturesUnordered<BoxFuture<'static, Asked>>) {
        let now = Instant::now();
        let due = self.domains.iter();
        let due = due.filter(|(_, domain)| !domain.is_running && domain.next <= now);
        let due = due.map(|(name, domain)| (domain.next, name.clone()));
        let mut due: Vec<_> = due.collect();
        // Who has waited longest is first: no name has to wait for ever.
        due.sort_by_key(|(next, _)| *next);
        for (_, name) in due.into_iter().take(AT_ONCE.saturating_sub(running.len())) {
            let asked = self.ask(&name);
            if let (Some(asked), Some(domain)) = (asked, self.domains.get_mut(&name)) {
                domain.is_running = true;
                running.push(asked);
            }
        }
    }

    /// When the next endpoint is due; none while as many are asked as may be.
    fn next_due(&self, running: usize) -> Option<Instant> {
        let waiting = self.domains.values();
        let waiting = waiting.filter(|domain| !domain.is_running && running < AT_ONCE);
        waiting.map(|domain| domain.next).min()
    }

    fn ask(&self, name: &TrustDomain) -> Option<BoxFuture<'static, Asked>> {
        let version = &self.domains.get(name)?.version;
        let (name, digest) = (name.clone(), version.digest);
        let proof = match &version.endpoint.profile {
            Profile::Web => Ok(Proof::Web),
            Profile::Spiffe(id) => self.proof(id),
        };
        let url = Arc::clone(&version.endpoint.url);
        let source = Arc::clone(&self.services.source);
        let asked = async move {
            let document = match proof {
                Ok(proof) => source.fetch(BundleRequest { url, proof }).await,
                Err(error) => Err(error),
            };
            (name, digest, document)
        };
        Some(asked.boxed())
    }

    /// The latest bundle of the endpoint's own trust domain decides (`SPIFFE_Federation.md`,
    /// section 5.2.2.4).
    fn proof(&self, id: &SpiffeId) -> Result<Proof, SourceError> {
        let domain = id.trust_domain();
        let own = self.services.own.borrow();
        let authorities = if own.trust_domain() == domain {
            Some(own.x509_der().clone())
        } else {
            let foreign = self.domains.get(domain);
            let bundle = foreign.and_then(|foreign| foreign.status.bundle.as_ref());
            bundle.map(|bundle| bundle.x509_der().clone())
        };
        let authorities = authorities.ok_or_else(|| SourceError::NoAuthorities(domain.clone()))?;
        Ok(Proof::Svid(id.clone(), authorities))
    }

    /// Judges what an endpoint delivered.
    async fn take(&mut self, (name, digest, document): Asked) {
        let now = self.services.clock.now();
        let pace = self.services.pace;
        let Some(domain) = self.domains.get_mut(&name) else {
            return;
        };
        domain.is_running = false;
        if domain.version.digest != digest {
            // Asked for a relationship that was replaced meanwhile: it counts for nothing.
            domain.next = Instant::now();
            return;
        }
        let judged = judged(&name, domain, document);
        let outcome = match &judged {
            Ok(_) => "accepted",
            Err(Unfit::Unreachable(_)) => "failed",
            Err(Unfit::Refused(_)) => "refused",
        };
        let fetches = &self.services.metrics.fetches;
        fetches.get_or_create(&outcome.into()).inc();
        let event = match judged {
            Ok((fresh, document)) => {
                let event = domain.accept(&name, &fresh, now);
                if domain.is_to_be_kept(&fresh) {
                    self.keep(&name, document, fresh).await;
                }
                event
            }
            Err(unfit) => domain.fail(&name, &unfit, now),
        };
        if let Some(domain) = self.domains.get_mut(&name) {
            domain.schedule(&name, pace, now);
        }
        // Before it is recorded: a key that was withdrawn must not wait for the trail.
        self.publish();
        self.record(event).await;
        #[cfg(test)]
        self.federation
            .turns
            .fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }

    /// Makes a bundle durable, then the one that is served. Where it cannot be written it is served
    /// all the same, since a key may have been withdrawn by it; the log says so, and it is tried
    /// again with the next answer of the endpoint.
    async fn keep(&mut self, name: &TrustDomain, document: String, fresh: Arc<ForeignBundle>) {
        let Some(domain) = self.domains.get_mut(name) else {
            return;
        };
        let (files, version) = (self.files.clone(), Arc::clone(&domain.version));
        let (of, at) = (name.clone(), self.services.clock.now());
        let written = task::spawn_blocking(move || files.write(&of, (&version, &document), at));
        let error = match written.await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_panicked) => Some("writing failed".to_owned()),
        };
        domain.is_kept = error.is_none();
        if let Some(error) = error {
            tracing::error!(trust_domain = %name, error,
                "a foreign bundle is served, but could not be kept: after a restart an older one is");
        }
        domain.status.bundle = Some(fresh);
    }

    async fn record(&self, event: Option<Event>) {
        let Some(event) = event else { return };
        if let Err(error) = self.services.trail.record(event).await {
            tracing::error!(%error, "what came of a bundle endpoint could not be recorded");
        }
    }
}

/// Why there is nothing new.
enum Unfit {
    Unreachable(SourceError),
    Refused(Refusal),
}

/// The bundle that was fetched, where it may follow the one that is known, and its document.
fn judged(
    name: &TrustDomain,
    domain: &Domain,
    document: Result<Bytes, SourceError>,
) -> Result<(Arc<ForeignBundle>, String), Unfit> {
    let document = document.map_err(Unfit::Unreachable)?;
    let refused = |refusal: Refusal| Unfit::Refused(refusal);
    let fresh =
        ForeignBundle::parse(name, &document).map_err(|error| refused(Refusal::from(error)))?;
    judge::may_follow(domain.status.bundle.as_deref(), &fresh).map_err(refused)?;
    let document = String::from_utf8_lossy(&document).into_owned();
    Ok((Arc::new(fresh), document))
}

impl Domain {
    fn new(version: Arc<RelationshipVersion>, kept: Option<Kept>) -> Self {
        let is_kept = kept
            .as_ref()
            .is_some_and(|kept| kept.relationship == version.digest);
        let status = kept.map_or_else(Status::default, |kept| Status {
            bundle: Some(kept.bundle),
            fetched_at: Some(kept.fetched_at),
            ..Status::default()
        });
        let mut domain = Self {
            version,
            status,
            is_kept,
            next: Instant::now(),
            is_running: false,
            count: 0,
        };
        // What was fetched for this version came after the bundle that it was registered with.
        if !is_kept {
            domain.take_registered();
        }
        domain
    }

    /// Another endpoint, or another bundle, of the same trust domain.
    fn replace(&mut self, version: Arc<RelationshipVersion>) {
        self.version = version;
        self.is_kept = false;
        self.next = Instant::now();
        self.count = 0;
        self.take_registered();
    }

    /// Nothing of what was known before its removal counts.
    fn begin_anew(&mut self, version: Arc<RelationshipVersion>) {
        let is_running = self.is_running;
        *self = Self {
            is_running,
            ..Self::new(version, None)
        };
    }

    /// Takes the bundle that an operator gave with this version, where it is no step back: it
    /// counts more than what was fetched for another version (`SPIFFE_Federation.md`, section 4.2).
    fn take_registered(&mut self) {
        let Some((_, registered)) = &self.version.endpoint.bundle else {
            return;
        };
        match judge::may_follow(self.status.bundle.as_deref(), registered) {
            Ok(()) => self.status.bundle = Some(Arc::clone(registered)),
            Err(refusal) => {
                tracing::warn!(trust_domain = %registered.trust_domain(), error = %refusal,
                    "a registered bundle is not taken, and the one that is known stays; \
                     to begin anew, the federation has to be removed and added");
            }
        }
    }

    /// Whether the file has to be written: it has another bundle, is of another version, or could
    /// not be written before.
    fn is_to_be_kept(&self, fresh: &ForeignBundle) -> bool {
        let known = self.status.bundle.as_ref();
        !self.is_kept || known.is_none_or(|known| known.digest() != fresh.digest())
    }

    /// Notes that the endpoint delivered; what the trail says of it, where it is news.
    fn accept(
        &mut self,
        name: &TrustDomain,
        fresh: &ForeignBundle,
        now: std::time::SystemTime,
    ) -> Option<Event> {
        self.status.fetched_at = Some(now);
        let was_failing = self.status.failure.take().is_some();
        let known = self.status.bundle.as_ref();
        let is_other = known.is_none_or(|known| !known.has_keys_of(fresh));
        if was_failing {
            tracing::info!(trust_domain = %name, "the bundle endpoint delivers again");
        }
        if is_other {
            tracing::info!(trust_domain = %name, sequence = fresh.sequence(),
                "the bundle of a foreign trust domain has other keys");
        }
        let reason = match (is_other, was_failing) {
            (true, _) => "the bundle has other keys",
            (false, true) => "the endpoint delivers again",
            (false, false) => return None,
        };
        let event = event(name, Outcome::Accepted).reason(reason);
        let plain = event.clone();
        Some(event.evidence(&Taken::of(fresh)).unwrap_or(plain))
    }

    /// Notes that it did not; what the trail says of it, where it did before.
    fn fail(
        &mut self,
        name: &TrustDomain,
        unfit: &Unfit,
        now: std::time::SystemTime,
    ) -> Option<Event> {
        let (outcome, error) = match unfit {
            Unfit::Unreachable(error) => (Outcome::Failed, error.to_string()),
            Unfit::Refused(error) => (Outcome::Refused, error.to_string()),
        };
        let before = self.status.failure.take();
        let is_news = before.as_ref().is_none_or(|before| before.error != error);
        let since = before.map_or(now, |before| before.since);
        let event = is_news.then(|| {
            let stays = self.status.bundle.is_some();
            tracing::warn!(trust_domain = %name, error, stays,
                "no bundle from a foreign trust domain; the last one stays");
            event(name, outcome).reason(error.clone())
        });
        self.status.failure = Some(Failure { since, error });
        event
    }

    /// A little before the refresh hint, so that a change is known within it.
    fn schedule(&mut self, name: &TrustDomain, pace: Pace, now: std::time::SystemTime) {
        let bundle = self.status.bundle.as_ref();
        let hint = match bundle {
            Some(bundle) => bundle.refresh_hint().unwrap_or(DEFAULT_HINT),
            None => IMPATIENCE,
        };
        let hint = hint.clamp(pace.least, pace.most);
        self.count += 1;
        // Between 75 and 90 percent: endpoints that were registered together drift apart.
        let spread = Digest::of(format!("{name} {}", self.count).as_bytes());
        let spread = spread.as_bytes().first().copied().unwrap_or_default();
        let wait = hint * (75 + u32::from(spread) % 16) / 100;
        self.next = Instant::now() + wait;
        self.status.next_at = now.checked_add(wait);
    }
}

/// What the trail says of a bundle.
#[derive(Serialize)]
struct Taken<'a> {
    digest: &'a str,
    jwt_authorities: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
    x509_authorities: usize,
}

impl<'a> Taken<'a> {
    fn of(bundle: &'a ForeignBundle) -> Self {
        let (x509_authorities, jwt_authorities, _) = bundle.counts();
        Self {
            digest: bundle.digest(),
            jwt_authorities,
            sequence: bundle.sequence(),
            x509_authorities,
        }
    }
}

fn event(name: &TrustDomain, outcome: Outcome) -> Event {
    Event::new(Kind::ForeignBundle)
        .trust_domain(name.to_string())
        .outcome(outcome)
}

/// Waits until then, or for ever.
async fn pause_until(next: Option<Instant>) {
    match next {
        Some(next) => sleep_until(next).await,
        None => std::future::pending().await,
    }
}
