//! What endpoints can do to us, and what they cannot. Time is paused where nothing real is waited for.

mod tls;

use super::{
    BundleRequest, BundleSource, Federation, Keeper, KeeperServices, Pace, Proof, SourceError,
    testing::Stranger,
};
use crate::{
    audit::{Trail, TrailConfig},
    authority::Authority as _,
    clock::{ManualClock, SharedClock},
    registry::{
        EndpointDraft, MemoryStore, Registry, RegistryConfig, RelationshipChange,
        RelationshipCommand, SpecRules, Verdict,
    },
    supervisor::Supervisor,
    telemetry::FederationMetrics,
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use spiffe::TrustDomain;
use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, UNIX_EPOCH},
};
use tempfile::TempDir;
use tokio::{
    runtime::Handle,
    task::{JoinHandle, yield_now},
    time::advance,
};

/// What an endpoint serves: a document, or nothing.
#[derive(Debug, Default)]
struct Stage {
    serves: Mutex<Option<String>>,
    asked: Mutex<Vec<BundleRequest>>,
}

impl BundleSource for Stage {
    fn fetch(&self, request: BundleRequest) -> BoxFuture<'_, Result<Bytes, SourceError>> {
        self.asked.lock().push(request);
        let served = self.serves.lock().clone();
        let failed = SourceError::NoAuthorities(TrustDomain::new("other.example").unwrap());
        Box::pin(async move { served.map(Bytes::from).ok_or(failed) })
    }
}

/// A registry, an endpoint, and a keeper that polls it.
struct Scene {
    folder: TempDir,
    clock: SharedClock,
    own: Stranger,
    registry: Arc<Registry>,
    stage: Arc<Stage>,
    trail: Trail,
    federation: Arc<Federation>,
    keeper: JoinHandle<()>,
}

fn domain() -> TrustDomain {
    TrustDomain::new("other.example").unwrap()
}

impl Scene {
    async fn new() -> Self {
        let clock: SharedClock = Arc::new(ManualClock::new(
            UNIX_EPOCH + Duration::from_secs(1_795_000_000),
        ));
        let config = RegistryConfig {
            rules: SpecRules {
                trust_domain: TrustDomain::new("example.org").unwrap(),
                x509_ttl: Duration::from_secs(1)..=Duration::from_secs(3_600),
                jwt_ttl: Duration::from_secs(1)..=Duration::from_secs(3_600),
            },
            max_clients: 10,
            approvals_required: 0,
        };
        let store = Arc::new(MemoryStore::new());
        let opened = Registry::open(store, config, Arc::clone(&clock)).await;
        let (registry, writer) = opened.unwrap();
        Supervisor::new(Handle::current()).spawn(writer.run());
        let folder = tempfile::tempdir().unwrap();
        let audit = folder.path().join("audit");
        let trail = Trail::open(&audit, TrailConfig::default(), Arc::clone(&clock));
        let (trail, writer) = trail.unwrap();
        thread::spawn(move || writer.run());
        let own = Stranger::new("example.org", &clock);
        let (registry, stage) = (Arc::new(registry), Arc::default());
        let (federation, keeper) = keep(folder.path(), (&registry, &stage), (&trail, &clock), &own);
        Self {
            folder,
            clock,
            own,
            registry,
            stage,
            trail,
            federation,
            keeper,
        }
    }

    /// Another keeper takes up what this one left.
    fn restart(&mut self) {
        self.keeper.abort();
        self.stage.asked.lock().clear();
        let (federation, keeper) = keep(
            self.folder.path(),
            (&self.registry, &self.stage),
            (&self.trail, &self.clock),
            &self.own,
        );
        (self.federation, self.keeper) = (federation, keeper);
    }

    async fn relate(&self, domain: &str, change: RelationshipChange) {
        let related = self.registry.relate(RelationshipCommand {
            trust_domain: TrustDomain::new(domain).unwrap(),
            change,
            actor: "uid:0".parse().unwrap(),
            reason: "a test".parse().unwrap(),
        });
        related.await.unwrap();
    }

    async fn add(&self, bundle: Option<String>) {
        self.add_with("https_web", None, bundle).await;
    }

    async fn add_with(&self, profile: &str, id: Option<&str>, bundle: Option<String>) {
        let endpoint = Box::new(EndpointDraft {
            bundle,
            endpoint_spiffe_id: id.map(str::to_owned),
            profile: profile.to_owned(),
            url: "https://other.example/bundle".to_owned(),
        });
        let replaces = true;
        let change = RelationshipChange::Add { endpoint, replaces };
        self.relate("other.example", change).await;
    }

    fn serve(&self, document: Option<String>) {
        *self.stage.serves.lock() = document;
    }

    fn turns(&self) -> usize {
        self.federation.turns.load(Ordering::SeqCst)
    }

    /// Lets time go by, but not while anything is done, until so many answers more are judged.
    async fn polls(&self, more: usize) {
        let target = self.turns() + more;
        while self.turns() < target {
            let is_idle = self.stage.asked.lock().len() <= self.turns();
            if is_idle {
                advance(Duration::from_secs(1)).await;
            }
            yield_now().await;
        }
    }

    /// Sequence of the bundle that is served, and why there is no newer one.
    fn known(&self) -> (Option<u64>, Option<String>) {
        let status = self.federation.status(&domain()).unwrap();
        let served = Arc::clone(&self.federation.bundles().borrow());
        let served = served.find(&domain()).and_then(|bundle| bundle.sequence());
        let bundle = status.bundle.as_ref().and_then(|bundle| bundle.sequence());
        assert_eq!(served, bundle);
        (served, status.failure.map(|failure| failure.error))
    }
}

fn keep(
    folder: &Path,
    (registry, stage): (&Arc<Registry>, &Arc<Stage>),
    (trail, clock): (&Trail, &SharedClock),
    own: &Stranger,
) -> (Arc<Federation>, JoinHandle<()>) {
    let services = KeeperServices {
        registry: Arc::clone(registry),
        source: Arc::<Stage>::clone(stage),
        own: own.ca.bundle(),
        trail: trail.clone(),
        clock: Arc::clone(clock),
        metrics: FederationMetrics::default(),
        pace: Pace {
            least: Duration::from_secs(10),
            most: Duration::from_secs(3_600),
        },
    };
    let keeper = Keeper::open(services, &folder.join("federation")).unwrap();
    let federation = keeper.federation();
    #[expect(clippy::disallowed_methods, reason = "the test ends the task")]
    let task = tokio::spawn(keeper.run());
    (federation, task)
}

#[tokio::test(start_paused = true)]
async fn a_bundle_is_polled_at_its_refresh_hint_and_follows_its_sequence() {
    let scene = Scene::new().await;
    let other = Stranger::new("other.example", &scene.clock);
    scene.serve(Some(other.document(Some(4))));
    let mut bundles = scene.federation.bundles();
    scene.add(None).await;
    bundles.changed().await.unwrap();
    assert_eq!(scene.known(), (Some(4), None));
    let rotated = Stranger::new("other.example", &scene.clock);
    scene.serve(Some(rotated.document(Some(5))));
    let before = tokio::time::Instant::now();
    bundles.changed().await.unwrap();
    let waited = before.elapsed();
    let hint = Duration::from_secs(300);
    assert!(waited <= hint && waited > hint / 2, "{waited:?}");
    assert_eq!(scene.known(), (Some(5), None));
}

#[tokio::test(start_paused = true)]
async fn a_bundle_with_the_same_keys_is_no_news_but_its_sequence_counts() {
    let mut scene = Scene::new().await;
    let other = Stranger::new("other.example", &scene.clock);
    scene.serve(Some(other.document(Some(4))));
    scene.add(None).await;
    scene.polls(1).await;
    let bundles = scene.federation.bundles();
    scene.serve(Some(format!(" {}", other.document(Some(4)))));
    scene.polls(1).await;
    scene.serve(Some(other.document(Some(5))));
    scene.polls(1).await;
    assert!(!bundles.has_changed().unwrap());
    assert_eq!(scene.known(), (Some(5), None));
    scene.serve(Some(other.document(Some(4))));
    scene.restart();
    scene.polls(1).await;
    assert!(matches!(scene.known(), (Some(5), Some(_))));
    scene.serve(Some(other.document(Some(6))));
    scene.polls(1).await;
    assert_eq!(
        foreign_bundle_outcomes(&scene).await,
        ["accepted", "refused", "accepted"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_bundle_never_goes_back() {
    let mut scene = Scene::new().await;
    let (first, second) = (
        Stranger::new("other.example", &scene.clock),
        Stranger::new("other.example", &scene.clock),
    );
    scene.serve(Some(first.document(Some(7))));
    scene.add(None).await;
    scene.polls(1).await;
    for (document, why) in [
        (second.document(Some(6)), "it went back"),
        (second.document(Some(7)), "the same sequence 7"),
        (second.document(None), "no sequence any more"),
        (second.document(Some(0)), "no sequence any more"),
        ("{}".to_owned(), "no keys"),
        ("<html>".to_owned(), "no bundle"),
    ] {
        scene.serve(Some(document));
        scene.polls(1).await;
        let (sequence, failure) = scene.known();
        assert_eq!(sequence, Some(7));
        assert!(
            failure.as_ref().is_some_and(|text| text.contains(why)),
            "{failure:?}"
        );
        // Nor by a restart.
        scene.restart();
        scene.polls(1).await;
        assert_eq!(scene.known().0, Some(7), "{why}");
    }
    // The same again is no step at all.
    scene.serve(Some(first.document(Some(7))));
    scene.polls(1).await;
    assert_eq!(scene.known(), (Some(7), None));
}

#[tokio::test(start_paused = true)]
async fn a_lost_endpoint_costs_nothing_but_news() {
    let mut scene = Scene::new().await;
    let other = Stranger::new("other.example", &scene.clock);
    scene.serve(Some(other.document(Some(3))));
    scene.add(None).await;
    scene.polls(1).await;
    scene.serve(None);
    scene.polls(3).await;
    assert!(matches!(scene.known(), (Some(3), Some(_))));
    scene.restart();
    scene.polls(1).await;
    assert!(matches!(scene.known(), (Some(3), Some(_))));
    scene.serve(Some(other.document(Some(3))));
    scene.polls(1).await;
    assert_eq!(scene.known(), (Some(3), None));
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_kept_is_kept_with_the_next_answer() {
    let mut scene = Scene::new().await;
    let other = Stranger::new("other.example", &scene.clock);
    scene.serve(Some(other.document(Some(3))));
    let name = crate::canonical::sha256_hex(b"other.example") + ".json";
    let path = scene.folder.path().join("federation").join(name);
    std::fs::create_dir(&path).unwrap();
    scene.add(None).await;
    scene.polls(1).await;
    assert_eq!(scene.known(), (Some(3), None));
    std::fs::remove_dir(&path).unwrap();
    scene.polls(1).await;
    scene.serve(None);
    scene.restart();
    assert_eq!(scene.known().0, Some(3));
}

#[tokio::test(start_paused = true)]
async fn what_is_removed_is_forgotten_at_once_and_begins_anew() {
    let mut scene = Scene::new().await;
    let other = Stranger::new("other.example", &scene.clock);
    scene.serve(Some(other.document(Some(9))));
    scene.add(None).await;
    scene.polls(1).await;
    let files = || std::fs::read_dir(scene.folder.path().join("federation")).unwrap();
    assert_eq!(files().count(), 1);
    let mut bundles = scene.federation.bundles();
    bundles.mark_unchanged();
    scene
        .relate("other.example", RelationshipChange::Remove)
        .await;
    bundles.changed().await.unwrap();
    assert!(bundles.borrow().find(&domain()).is_none());
    assert!(scene.federation.status(&domain()).is_none());
    while files().count() > 0 {
        yield_now().await;
    }
    // Smaller than before, and nobody remembers.
    scene.serve(Some(other.document(Some(2))));
    scene.restart();
    scene.add(None).await;
    scene.polls(1).await;
    assert_eq!(scene.known(), (Some(2), None));
}

#[tokio::test(start_paused = true)]
async fn a_bundle_that_an_operator_gives_counts_until_the_next_is_fetched() {
    let scene = Scene::new().await;
    let (lost, found) = (
        Stranger::new("other.example", &scene.clock),
        Stranger::new("other.example", &scene.clock),
    );
    scene.serve(Some(lost.document(Some(90))));
    scene.add(None).await;
    scene.polls(1).await;
    // The other side has other keys, and its numbers are smaller.
    scene.serve(Some(found.document(Some(2))));
    scene.polls(1).await;
    assert!(matches!(scene.known(), (Some(90), Some(_))));
    scene.add(Some(found.document(Some(91)))).await;
    // Its endpoint is asked at once, and is behind.
    scene.polls(1).await;
    assert!(matches!(scene.known(), (Some(91), Some(_))));
    scene.serve(Some(found.document(Some(92))));
    scene.polls(1).await;
    assert_eq!(scene.known(), (Some(92), None));
}

#[tokio::test(start_paused = true)]
async fn a_bundle_that_an_operator_gives_is_no_step_back() {
    let mut scene = Scene::new().await;
    let (first, second) = (
        Stranger::new("other.example", &scene.clock),
        Stranger::new("other.example", &scene.clock),
    );
    scene.serve(Some(first.document(Some(90))));
    scene.add(None).await;
    scene.polls(1).await;
    scene.serve(None);
    for sequence in [Some(1), Some(90), None] {
        scene.add(Some(second.document(sequence))).await;
        scene.polls(1).await;
        assert_eq!(scene.known().0, Some(90), "{sequence:?}");
        scene.restart();
        assert_eq!(scene.known().0, Some(90), "{sequence:?}");
        scene.polls(1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_removed_and_added_before_anybody_looks_begins_anew() {
    let mut scene = Scene::new().await;
    let (first, second) = (
        Stranger::new("other.example", &scene.clock),
        Stranger::new("other.example", &scene.clock),
    );
    scene.serve(Some(first.document(Some(90))));
    scene.add(None).await;
    scene.polls(1).await;
    // In one commit of the registry.
    scene.serve(Some(second.document(Some(2))));
    let removal = scene.relate("other.example", RelationshipChange::Remove);
    tokio::join!(removal, scene.add(Some(second.document(Some(1)))));
    scene.polls(1).await;
    assert_eq!(scene.known(), (Some(2), None));
    // While no agent runs: what it kept is of a version before the removal.
    scene.keeper.abort();
    scene.serve(None);
    scene
        .relate("other.example", RelationshipChange::Remove)
        .await;
    scene.add(Some(first.document(Some(1)))).await;
    scene.restart();
    assert_eq!(scene.known().0, Some(1));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_is_proved_by_the_latest_bundle_of_its_own_trust_domain() {
    let scene = Scene::new().await;
    let (first, second) = (
        Stranger::new("other.example", &scene.clock),
        Stranger::new("other.example", &scene.clock),
    );
    scene.serve(Some(second.document(Some(2))));
    let id = "spiffe://other.example/bundles";
    scene
        .add_with("https_spiffe", Some(id), Some(first.document(Some(1))))
        .await;
    scene.polls(2).await;
    let proofs: Vec<_> = {
        let asked = scene.stage.asked.lock();
        let authorities = |request: &BundleRequest| match &request.proof {
            Proof::Svid(proved, authorities) if proved.to_string() == id => authorities.clone(),
            other => panic!("{other:?}"),
        };
        asked.iter().map(authorities).collect()
    };
    assert_eq!(&proofs[0], first.bundle().x509_der());
    assert_eq!(&proofs[1], second.bundle().x509_der());
    // An endpoint of ours, and one of a trust domain that nobody knows.
    scene
        .add_with("https_spiffe", Some("spiffe://example.org/bundles"), None)
        .await;
    scene.polls(1).await;
    let last = scene.stage.asked.lock().last().cloned().unwrap();
    let own = scene.own.ca.bundle().borrow().x509_der().clone();
    assert!(matches!(last.proof, Proof::Svid(_, authorities) if authorities == own));
    let asked = scene.stage.asked.lock().len();
    scene
        .add_with("https_spiffe", Some("spiffe://third.example/b"), None)
        .await;
    scene.polls(1).await;
    let (known, failure) = scene.known();
    assert_eq!(known, Some(2));
    assert!(failure.unwrap().contains("third.example"));
    assert_eq!(scene.stage.asked.lock().len(), asked);
}

#[tokio::test(start_paused = true)]
async fn a_file_of_another_trust_domain_or_a_damaged_one_is_not_believed() {
    let mut scene = Scene::new().await;
    let other = Stranger::new("other.example", &scene.clock);
    scene.serve(Some(other.document(Some(3))));
    scene.add(None).await;
    scene.polls(1).await;
    scene.serve(None);
    let path = || {
        let mut files = std::fs::read_dir(scene.folder.path().join("federation")).unwrap();
        files.next().unwrap().unwrap().path()
    };
    let path = path();
    let whole = std::fs::read_to_string(&path).unwrap();
    let half = whole.get(..whole.len() / 2).unwrap().to_owned();
    for damaged in [
        half,
        whole.replace("other.example", "third.example"),
        whole.replace("\"format\":1", "\"format\":2"),
        "{}".to_owned(),
    ] {
        assert_ne!(damaged, whole);
        std::fs::write(&path, &damaged).unwrap();
        scene.restart();
        assert_eq!(scene.known().0, None, "{damaged}");
    }
    std::fs::write(&path, &whole).unwrap();
    scene.restart();
    assert_eq!(scene.known().0, Some(3));
}

#[tokio::test(start_paused = true)]
async fn what_came_of_an_endpoint_stands_in_the_trail_once() {
    let scene = Scene::new().await;
    let other = Stranger::new("other.example", &scene.clock);
    scene.serve(Some(other.document(Some(3))));
    scene.add(None).await;
    scene.polls(3).await;
    scene.serve(None);
    scene.polls(3).await;
    scene.serve(Some(other.document(Some(2))));
    scene.polls(2).await;
    scene.serve(Some(other.document(Some(3))));
    scene.polls(2).await;
    assert_eq!(
        foreign_bundle_outcomes(&scene).await,
        ["accepted", "failed", "refused", "accepted"]
    );
}

/// What the trail says of the endpoint, once it is closed.
async fn foreign_bundle_outcomes(scene: &Scene) -> Vec<String> {
    let mut health = scene.trail.health();
    scene.trail.close().await;
    while health.changed().await.is_ok() {}
    let reader = crate::audit::Reader::open(&scene.folder.path().join("audit")).unwrap();
    let mut lines = reader.lines(crate::audit::Chain::Trail);
    let mut told = Vec::new();
    while let Some(line) = lines.next_line().unwrap() {
        let line: serde_json::Value = serde_json::from_slice(line.bytes).unwrap();
        if line["event"] == "foreign_bundle" {
            assert_eq!(line["trust_domain"], "other.example");
            told.push(line["outcome"].as_str().unwrap().to_owned());
        }
    }
    told
}

#[tokio::test(start_paused = true)]
async fn what_is_only_proposed_is_not_asked_for() {
    let scene = Scene::new().await;
    let digest = crate::registry::Digest::of(b"nothing");
    let decided = scene.registry.relate(RelationshipCommand {
        trust_domain: domain(),
        change: RelationshipChange::Decide(digest, Verdict::Approve),
        actor: "uid:1".parse().unwrap(),
        reason: "a test".parse().unwrap(),
    });
    decided.await.unwrap_err();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(scene.stage.asked.lock().is_empty());
}
