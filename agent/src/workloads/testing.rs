//! The services of a node in a folder of their own, and processes to serve.
//!
//! Registry, authority, trail and attestor are the real ones. The clock is set
//! by hand, and the authority fails, waits or publishes as a test says.

mod actress;

pub(crate) use actress::Actress;

use super::{
    Caller, QuotaLimits, Requirements, Services, WorkloadGate, WorkloadSettings, Workloads,
    binding::{Binding, Far},
};
use crate::{
    audit::{Chain, Durability, Reader, Trail, TrailConfig, TrailWriter},
    authority::{
        Authority, AuthorityConfig, AuthorityError, BundleContents, EmbeddedCa, JwtRequest,
        SignedToken, SignedX509, TrustBundle, WitRequest, X509Request,
    },
    client_keys::{ClientKeyTimes, ClientKeys},
    clock::{ManualClock, SharedClock},
    federation::ForeignBundles,
    issuance::{Broker, BrokerSettings, Issuer, Lifetimes},
    registry::{
        Actor, Client, ClientDraft, ClientName, Gates, MemoryStore, MetadataDraft, Reason,
        Registry, RegistryConfig, SpecRules,
    },
    server::Refused,
    supervisor::Supervisor,
    telemetry::{FederationMetrics, Metrics},
};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::Value;
use spiffe::{SpiffeId, TrustDomain};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, UNIX_EPOCH},
};
use symbolon_attestors::{Attestor, AttestorConfig, Held, PinnedPeer};
use tempfile::TempDir;
use tokio::{
    runtime::Handle,
    sync::{RwLock, watch},
    time::Instant,
};

pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) const HOUR: Duration = Duration::from_secs(60 * 60);

/// A node that is served.
pub(crate) struct Scene {
    folder: TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) authority: Arc<StageAuthority>,
    /// The foreign bundles, as a test has them.
    pub(crate) federation: watch::Sender<Arc<ForeignBundles>>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) trail: Trail,
    pub(crate) keys: ClientKeys,
    writer: Mutex<Option<TrailWriter>>,
    pub(crate) workloads: Arc<Workloads>,
    pub(crate) gate: WorkloadGate,
}

/// The embedded CA, which does what a test says.
#[derive(Debug)]
pub(crate) struct StageAuthority {
    ca: EmbeddedCa,
    bundle: watch::Sender<Arc<TrustBundle>>,
    pub(crate) fails: AtomicBool,
    /// Nothing is signed while a test holds this for writing.
    pub(crate) held: RwLock<()>,
}

pub(crate) fn settings() -> WorkloadSettings {
    WorkloadSettings {
        wait_for_registration: Duration::ZERO,
        bundles_for_any: false,
        max_processes: 16,
        require: Requirements::STANDARD,
        answer_timeout: ANSWER_TIMEOUT,
        operators: Arc::new(Gates::of(&[])),
    }
}

impl Scene {
    /// A node whose registry and trail work; nothing wakes streams yet.
    pub(crate) async fn new() -> Self {
        let scene = Self::silent().await;
        scene.write_trail();
        scene
    }

    /// A node where changes need that many approvals.
    pub(crate) async fn requiring(approvals_required: u32) -> Self {
        let scene = Self::open(approvals_required, Durability::Sync).await;
        scene.write_trail();
        scene
    }

    /// A node whose trail is not written yet.
    pub(crate) async fn silent() -> Self {
        Self::open(0, Durability::Sync).await
    }

    /// A node whose trail is recorded as `durability` says.
    pub(crate) async fn recording(durability: Durability) -> Self {
        let scene = Self::open(0, durability).await;
        scene.write_trail();
        scene
    }

    async fn open(approvals_required: u32, durability: Durability) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(
            UNIX_EPOCH + Duration::from_secs(1_795_000_000),
        ));
        let shared: SharedClock = Arc::<ManualClock>::clone(&clock);
        let supervisor = Supervisor::new(Handle::current());
        let audit = folder.path().join("audit");
        let config = TrailConfig {
            durability,
            ..TrailConfig::default()
        };
        let (trail, writer) = Trail::open(&audit, config, Arc::clone(&shared)).unwrap();
        let federation = watch::Sender::default();
        let authority = Arc::new(StageAuthority::open(&folder.path().join("keys"), &shared));
        let registry = Arc::new(registry(&shared, &supervisor, approvals_required).await);
        let times = ClientKeyTimes {
            ttl: 720 * HOUR,
            lead: 24 * HOUR,
        };
        // The directory above is the authority's, which has it made.
        let keys = folder.path().join("keys/clients");
        let keys = ClientKeys::open(&keys, times, Arc::clone(&shared)).unwrap();
        let services = services(
            &shared,
            supervisor,
            (&trail, &federation),
            &authority,
            (&registry, &keys),
        );
        let workloads = Arc::new(Workloads::new(services, settings()));
        let gate = WorkloadGate::new(
            Arc::clone(&workloads),
            QuotaLimits {
                max_connections: 8,
                max_connections_per_uid: 6,
                max_connections_per_cgroup: 6,
                max_handshakes: 8,
                max_handshakes_per_payer: 8,
                calls_per_second: u32::MAX,
                connections_per_second: u32::MAX,
            },
        );
        Self {
            folder,
            clock,
            authority,
            federation,
            registry,
            trail,
            keys,
            writer: Mutex::new(Some(writer)),
            workloads,
            gate,
        }
    }

    /// Lets the trail be written from now on.
    pub(crate) fn write_trail(&self) {
        let writer = self.writer.lock().take().unwrap();
        thread::spawn(move || writer.run());
    }

    /// Looks after the clients' keys from now on.
    pub(crate) fn keep_keys(&self) {
        let (keys, registry) = (self.keys.clone(), Arc::clone(&self.registry));
        let trail = self.trail.clone();
        let keep = async move { keys.run(registry, trail).await };
        self.workloads.services.supervisor.spawn(keep);
    }

    /// Wakes streams from now on.
    pub(crate) fn run(&self) {
        let run = Arc::clone(&self.workloads).run();
        self.workloads.services.supervisor.spawn(run);
    }

    /// A connection of the test's own process.
    pub(crate) fn own(&self) -> Caller {
        self.admit(std::process::id())
    }

    /// A connection of a process, proved as well as can be.
    pub(crate) fn admit(&self, pid: u32) -> Caller {
        self.try_admit(pid).unwrap()
    }

    pub(crate) fn try_admit(&self, pid: u32) -> Result<Caller, Refused> {
        let held = Arc::new(Mutex::new(Held::CloseOnExec));
        self.admit_holding(pid, held, None)
    }

    /// A connection of a process that holds it as a test says, and that is asked
    /// where there is a deadline for the answer.
    pub(crate) fn admit_holding(
        &self,
        pid: u32,
        held: Arc<Mutex<Held>>,
        deadline: Option<Instant>,
    ) -> Result<Caller, Refused> {
        self.admit_through(&self.gate, pid, held, deadline)
    }

    /// The same through another gate.
    pub(crate) fn admit_through(
        &self,
        gate: &WorkloadGate,
        pid: u32,
        held: Arc<Mutex<Held>>,
        deadline: Option<Instant>,
    ) -> Result<Caller, Refused> {
        gate.admit_peer(self.pin(pid), |_, peer| {
            let image = self.attestor().look(peer)?;
            Binding::new(image, Far::Staged(held), deadline)
        })
    }

    pub(crate) fn pin(&self, pid: u32) -> PinnedPeer {
        self.workloads.services.attestor.pin_pid(pid).unwrap()
    }

    pub(crate) fn attestor(&self) -> Arc<Attestor> {
        Arc::clone(&self.workloads.services.attestor)
    }

    /// Registers a client for all processes of the test's user.
    pub(crate) async fn register(&self, client: &str) -> Arc<Client> {
        self.register_as(client, draft()).await
    }

    pub(crate) async fn register_as(&self, client: &str, draft: ClientDraft) -> Arc<Client> {
        let registered = self
            .registry
            .register(name(client), draft, actor(), reason());
        registered.await.unwrap()
    }

    pub(crate) async fn update(&self, client: &str, draft: ClientDraft) {
        let updated = self
            .registry
            .update(name(client), draft, None, actor(), reason());
        updated.await.unwrap();
    }

    pub(crate) async fn suspend(&self, client: &str) {
        let suspended = self.registry.suspend(name(client), actor(), reason());
        suspended.await.unwrap();
    }

    pub(crate) async fn revoke(&self, client: &str) {
        let revoked = self.registry.revoke(name(client), actor(), reason());
        revoked.await.unwrap();
    }

    /// The folder that everything of the node lies in.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) async fn resume(&self, client: &str) {
        let resumed = self.registry.resume(name(client), actor(), reason());
        resumed.await.unwrap();
    }

    /// What is counted of foreign bundles.
    pub(crate) fn federation_metrics(&self) -> FederationMetrics {
        self.workloads.services.metrics.federation.clone()
    }

    /// Closes the trail and waits until its writer is gone: then everything
    /// recorded is on the disk, and nothing more can be.
    pub(crate) async fn close_trail(&self) {
        let mut health = self.trail.health();
        self.trail.close().await;
        while health.changed().await.is_ok() {}
    }

    /// The events of the trail that are on the disk now, as "kind client".
    pub(crate) fn events(&self) -> Vec<String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.lines()
            .iter()
            .map(|line| format!("{} {}", text(&line["event"]), text(&line["client"])))
            .map(|event| event.trim_end().to_owned())
            .collect()
    }

    pub(crate) fn lines(&self) -> Vec<Value> {
        let reader = Reader::open(&self.folder.path().join("audit")).unwrap();
        let mut values: Vec<Value> = Vec::new();
        for chain in Chain::ALL {
            let mut lines = reader.lines(chain);
            while let Some(line) = lines.next_line().unwrap() {
                if line.is_whole {
                    values.push(serde_json::from_slice(line.bytes).unwrap());
                }
            }
        }
        values.sort_by_key(|line| line["time"].as_str().unwrap().to_owned());
        values
    }
}

fn services(
    clock: &SharedClock,
    supervisor: Supervisor,
    (trail, federation): (&Trail, &watch::Sender<Arc<ForeignBundles>>),
    authority: &Arc<StageAuthority>,
    (registry, keys): (&Arc<Registry>, &ClientKeys),
) -> Services {
    let metrics = Metrics::new("test");
    let signing: Arc<dyn Authority> = Arc::<StageAuthority>::clone(authority);
    let lifetimes = Lifetimes {
        x509: HOUR,
        jwt: HOUR / 12,
    };
    let issuer = Issuer::new(
        Arc::clone(&signing),
        trail.clone(),
        Arc::clone(clock),
        lifetimes,
        metrics.issuance.clone(),
    )
    .naming_clients_at("https://id.example.org".parse().ok());
    let settings = BrokerSettings {
        assertion_ttl: Duration::from_secs(60),
        token_endpoints: [(
            "https://other.example".parse().unwrap(),
            "https://other.example/token".to_owned(),
        )]
        .into(),
        names_issuer: true,
    };
    let public = "https://id.example.org".parse().unwrap();
    Services {
        attestor: Arc::new(Attestor::new(AttestorConfig::default()).unwrap()),
        registry: Arc::clone(registry),
        broker: Broker::new(issuer.clone(), keys.clone(), Some(public), settings),
        issuer,
        authority: signing,
        federation: federation.subscribe(),
        trail: trail.clone(),
        clock: Arc::clone(clock),
        supervisor,
        metrics,
    }
}

async fn registry(
    clock: &SharedClock,
    supervisor: &Supervisor,
    approvals_required: u32,
) -> Registry {
    let config = RegistryConfig {
        rules: SpecRules {
            trust_domain: trust_domain(),
            x509_ttl: Duration::from_secs(1)..=24 * HOUR,
            jwt_ttl: Duration::from_secs(1)..=HOUR,
        },
        max_clients: 100,
        approvals_required,
    };
    let store = Arc::new(MemoryStore::new());
    let opened = Registry::open(store, config, Arc::clone(clock)).await;
    let (registry, writer) = opened.unwrap();
    supervisor.spawn(writer.run());
    registry
}

impl StageAuthority {
    fn open(keys: &Path, clock: &SharedClock) -> Self {
        let config = AuthorityConfig {
            trust_domain: trust_domain(),
            x509_ca_ttl: 2160 * HOUR,
            jwt_key_ttl: 720 * HOUR,
            wit_key_ttl: 720 * HOUR,
            refresh_hint: HOUR / 12,
            jwks_cache: HOUR / 12,
            max_x509_ttl: 24 * HOUR,
            max_jwt_ttl: HOUR,
            issuer: None,
            operator: None,
        };
        let ca = EmbeddedCa::open(keys, config, Arc::clone(clock)).unwrap();
        Self {
            bundle: watch::Sender::new(Arc::clone(&ca.bundle().borrow())),
            ca,
            fails: AtomicBool::new(false),
            held: RwLock::new(()),
        }
    }

    /// Publishes a bundle with other JWT authorities alone.
    pub(crate) fn publish_other_jwt_keys(&self) {
        self.publish(|contents| contents.jwt = contents.wit.clone());
    }

    /// Publishes a bundle with one more X.509 authority.
    pub(crate) fn publish_more_x509(&self) {
        self.publish(|contents| contents.x509.extend(contents.x509.clone()));
    }

    fn publish(&self, change: impl FnOnce(&mut BundleContents)) {
        let now = Arc::clone(&self.bundle.borrow());
        let mut contents = BundleContents {
            trust_domain: trust_domain(),
            sequence: now.sequence() + 1,
            refresh_hint: now.refresh_hint(),
            x509: now.x509_authorities().to_vec(),
            jwt: now.jwt_keys().clone(),
            wit: now.wit_keys().clone(),
        };
        change(&mut contents);
        let bundle = TrustBundle::new(contents).unwrap();
        self.bundle.send_replace(Arc::new(bundle));
    }

    async fn play(&self, id: &SpiffeId) -> Result<(), AuthorityError> {
        let _held = self.held.read().await;
        if self.fails.load(Ordering::Relaxed) {
            return Err(AuthorityError::NoPath(id.clone()));
        }
        Ok(())
    }
}

impl Authority for StageAuthority {
    fn sign_x509<'a>(
        &'a self,
        request: X509Request<'a>,
    ) -> BoxFuture<'a, Result<SignedX509, AuthorityError>> {
        Box::pin(async move {
            self.play(request.spiffe_id).await?;
            self.ca.sign_x509(request).await
        })
    }

    fn sign_jwt<'a>(
        &'a self,
        request: JwtRequest<'a>,
    ) -> BoxFuture<'a, Result<SignedToken, AuthorityError>> {
        Box::pin(async move {
            self.play(request.spiffe_id).await?;
            self.ca.sign_jwt(request).await
        })
    }

    fn sign_wit<'a>(
        &'a self,
        request: WitRequest<'a>,
    ) -> BoxFuture<'a, Result<SignedToken, AuthorityError>> {
        Box::pin(async move {
            self.play(request.spiffe_id).await?;
            self.ca.sign_wit(request).await
        })
    }

    fn bundle(&self) -> watch::Receiver<Arc<TrustBundle>> {
        self.bundle.subscribe()
    }
}

/// Yields to the other tasks until `condition` holds.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

fn trust_domain() -> TrustDomain {
    TrustDomain::new("example.org").unwrap()
}

pub(crate) fn name(text: &str) -> ClientName {
    text.parse().unwrap()
}

pub(crate) fn actor() -> Actor {
    "uid:0".parse().unwrap()
}

pub(crate) fn reason() -> Reason {
    "a test".parse().unwrap()
}

/// The same, known to authorization servers by a key.
pub(crate) fn draft_with_key(servers: &[&str]) -> ClientDraft {
    ClientDraft {
        metadata: Some(MetadataDraft {
            client_name: "A test".to_owned(),
            token_endpoint_auth_method: "private_key_jwt".to_owned(),
            grant_types: vec!["client_credentials".to_owned()],
            ..MetadataDraft::default()
        }),
        authorization_servers: servers.iter().map(ToString::to_string).collect(),
        ..draft()
    }
}

/// A registration that fits all processes of the test's user.
pub(crate) fn draft() -> ClientDraft {
    let uid = rustix::process::geteuid().as_raw();
    ClientDraft {
        owner: "tests".to_owned(),
        purpose: "is tested".to_owned(),
        spiffe_id: None,
        selector_sets: vec![vec![format!("unix:uid:{uid}")]],
        audiences: Vec::new(),
        max_audiences: None,
        x509_ttl: None,
        jwt_ttl: None,
        hint: None,
        dns_names: Vec::new(),
        expires_at: None,
        ..ClientDraft::default()
    }
}
