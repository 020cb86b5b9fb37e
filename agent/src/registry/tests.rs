//! What the registry promises to operators and readers, on a store in memory unless a file matters.

mod approvals;
mod approvals_model;
mod batches;
mod damage;
mod expiry;
mod history;
mod matching;
mod migration;
mod records;
mod relationships;
mod stores;

use super::{
    Actor, Client, ClientDraft, ClientName, ClientState, MemoryStore, Reason, RedbStore, Registry,
    RegistryConfig, RegistryError, SpecError, SpecRules, Standing, Store, limits,
};
use crate::clock::{ManualClock, SharedClock};
use spiffe::{SpiffeId, TrustDomain};
use std::{
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use symbolon_attestors::Selector;
use tokio::task::JoinSet;

static START: LazyLock<SystemTime> =
    LazyLock::new(|| UNIX_EPOCH + Duration::from_secs(1_800_000_000));

/// A registry whose writer runs until it is dropped.
struct Running {
    registry: Registry,
    clock: Arc<ManualClock>,
    _writer: JoinSet<()>,
}

impl Running {
    async fn on(store: Arc<dyn Store>) -> Self {
        Self::with(store, config()).await.unwrap()
    }

    async fn with(store: Arc<dyn Store>, config: RegistryConfig) -> Result<Self, RegistryError> {
        let clock = Arc::new(ManualClock::new(*START));
        let shared: SharedClock = Arc::<ManualClock>::clone(&clock);
        let (registry, writer) = Registry::open(store, config, shared).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(writer.run());
        Ok(Self {
            registry,
            clock,
            _writer: tasks,
        })
    }

    async fn new() -> Self {
        Self::on(Arc::new(MemoryStore::new())).await
    }

    /// Ends the writer, which lets go of the store.
    async fn stop(mut self) {
        self._writer.shutdown().await;
    }

    async fn register(&self, name: &str, draft: ClientDraft) -> Result<Arc<Client>, RegistryError> {
        self.registry
            .register(self::name(name), draft, actor(), Reason::default())
            .await
    }

    async fn update(&self, name: &str, draft: ClientDraft) -> Result<Arc<Client>, RegistryError> {
        self.registry
            .update(self::name(name), draft, None, actor(), Reason::default())
            .await
    }

    async fn stand(&self, name: &str, to: Standing) -> Result<Arc<Client>, RegistryError> {
        let (name, reason) = (self::name(name), "on a hunch".parse().unwrap());
        match to {
            Standing::New | Standing::Active => self.registry.resume(name, actor(), reason).await,
            Standing::Suspended => self.registry.suspend(name, actor(), reason).await,
            Standing::Revoked => self.registry.revoke(name, actor(), reason).await,
        }
    }

    /// The names of the clients that fit, in order.
    fn matching(&self, present: &[&str]) -> Vec<String> {
        let clients = self.registry.snapshot().matching(&selectors(present));
        clients
            .iter()
            .map(|client| client.name().to_string())
            .collect()
    }

    fn state(&self, name: &str) -> ClientState {
        let snapshot = self.registry.snapshot();
        snapshot.state_of(snapshot.client(&self::name(name)).unwrap())
    }
}

fn config() -> RegistryConfig {
    RegistryConfig {
        rules: SpecRules {
            trust_domain: TrustDomain::new("example.org").unwrap(),
            x509_ttl: Duration::from_secs(300)..=Duration::from_secs(86_400),
            jwt_ttl: Duration::from_secs(30)..=Duration::from_secs(3_600),
        },
        max_clients: limits::CLIENTS,
        approvals_required: 0,
    }
}

fn draft(set: &[&str]) -> ClientDraft {
    ClientDraft {
        owner: "team-search".into(),
        selector_sets: vec![set.iter().map(ToString::to_string).collect()],
        ..ClientDraft::default()
    }
}

fn selectors(texts: &[&str]) -> Vec<Selector> {
    let mut selectors: Vec<Selector> = texts.iter().map(|text| text.parse().unwrap()).collect();
    selectors.sort();
    selectors
}

fn name(text: &str) -> ClientName {
    text.parse().unwrap()
}

fn actor() -> Actor {
    "uid:0".parse().unwrap()
}

fn id(text: &str) -> SpiffeId {
    SpiffeId::new(text).unwrap()
}

#[tokio::test]
async fn a_registration_is_served_when_it_returns() {
    let running = Running::new().await;
    let mut changes = running.registry.changes();
    changes.mark_unchanged();
    let client = running
        .register("web", draft(&["unix:uid:1000"]))
        .await
        .unwrap();
    let snapshot = running.registry.snapshot();
    assert!(Arc::ptr_eq(snapshot.client(&name("web")).unwrap(), &client));
    assert_eq!(running.matching(&["unix:gid:1", "unix:uid:1000"]), ["web"]);
    assert_eq!(
        client.spec().spiffe_id(),
        &id("spiffe://example.org/mcp/client/web")
    );
    assert_eq!(client.created_at(), *START);
    assert_eq!(*changes.borrow_and_update(), snapshot.generation());
    assert_eq!(client.version().number, 1);
    assert_eq!(client.version().previous, None);
}

#[tokio::test]
async fn names_and_ids_are_given_once_also_after_revocation() {
    let running = Running::new().await;
    let first = ClientDraft {
        spiffe_id: Some("spiffe://example.org/a".into()),
        ..draft(&["unix:uid:1"])
    };
    running.register("first", first.clone()).await.unwrap();
    // An update takes another ID; the old one stays the client's.
    running
        .update("first", draft(&["unix:uid:1"]))
        .await
        .unwrap();
    running.stand("first", Standing::Revoked).await.unwrap();

    let again = running.register("first", draft(&["unix:uid:1"])).await;
    assert!(
        matches!(again, Err(RegistryError::NameTaken(_))),
        "{again:?}"
    );
    for taken in [
        "spiffe://example.org/a",
        "spiffe://example.org/mcp/client/first",
    ] {
        let second = ClientDraft {
            spiffe_id: Some(taken.into()),
            ..first.clone()
        };
        let second = running.register("second", second).await;
        assert!(
            matches!(second, Err(RegistryError::IdTaken { .. })),
            "{second:?}"
        );
        let snapshot = running.registry.snapshot();
        assert_eq!(
            snapshot.by_spiffe_id(&id(taken)).unwrap().name(),
            &name("first")
        );
    }
    let foreign = id("spiffe://example.net/a");
    assert!(running.registry.snapshot().by_spiffe_id(&foreign).is_none());
}

#[tokio::test]
async fn a_default_id_is_its_clients_also_where_it_uses_another() {
    let running = Running::new().await;
    let with_id = |path: &str| ClientDraft {
        spiffe_id: Some(format!("spiffe://example.org{path}")),
        ..draft(&["unix:uid:1"])
    };
    running.register("a", with_id("/a")).await.unwrap();
    let thief = running.register("b", with_id("/mcp/client/a")).await;
    assert!(
        matches!(thief, Err(RegistryError::IdTaken { .. })),
        "{thief:?}"
    );
    // Of a name that nobody has yet, it is whoever's comes first.
    running
        .register("c", with_id("/mcp/client/d"))
        .await
        .unwrap();
    let late = running.register("d", draft(&["unix:uid:1"])).await;
    assert!(
        matches!(late, Err(RegistryError::IdTaken { .. })),
        "{late:?}"
    );
    running.register("d", with_id("/d")).await.unwrap();
}

#[tokio::test]
async fn states_change_as_the_design_says() {
    use Standing::{Active, Revoked, Suspended};
    let possible = [
        (Active, Suspended),
        (Active, Revoked),
        (Suspended, Active),
        (Suspended, Revoked),
    ];
    for from in [Active, Suspended, Revoked] {
        for to in [Active, Suspended, Revoked] {
            let running = Running::new().await;
            running
                .register("web", draft(&["unix:uid:1"]))
                .await
                .unwrap();
            if from != Active {
                running.stand("web", from).await.unwrap();
            }
            let changed = running.stand("web", to).await;
            if possible.contains(&(from, to)) {
                assert_eq!(changed.unwrap().standing(), to);
                assert_eq!(running.state("web"), to.into());
                assert_eq!(running.matching(&["unix:uid:1"]).is_empty(), to != Active);
            } else {
                assert!(
                    matches!(changed, Err(RegistryError::WrongState { .. })),
                    "{from:?} {to:?}"
                );
                assert_eq!(running.state("web"), from.into());
            }
        }
    }
}

#[tokio::test]
async fn suspension_and_revocation_need_a_reason() {
    let running = Running::new().await;
    running
        .register("web", draft(&["unix:uid:1"]))
        .await
        .unwrap();
    let registry = &running.registry;
    for none in ["", "  "] {
        let reason: Reason = none.parse().unwrap();
        let suspended = registry.suspend(name("web"), actor(), reason.clone()).await;
        assert!(matches!(suspended, Err(RegistryError::ReasonMissing)));
        let revoked = registry.revoke(name("web"), actor(), reason).await;
        assert!(matches!(revoked, Err(RegistryError::ReasonMissing)));
    }
    running.stand("web", Standing::Suspended).await.unwrap();
    registry
        .resume(name("web"), actor(), Reason::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn an_update_replaces_what_fits_and_never_lifts_a_suspension() {
    let running = Running::new().await;
    let first = running
        .register("web", draft(&["unix:uid:1"]))
        .await
        .unwrap();
    running.clock.advance(Duration::from_secs(60));
    let second = running.update("web", draft(&["unix:uid:2"])).await.unwrap();
    assert_eq!(second.version().number, 2);
    assert_eq!(second.version().previous, Some(first.version().digest));
    assert_eq!(second.created_at(), *START);
    assert_eq!(second.version().at, *START + Duration::from_secs(60));
    assert!(running.matching(&["unix:uid:1"]).is_empty());
    assert_eq!(running.matching(&["unix:uid:2"]), ["web"]);

    let suspended = running.stand("web", Standing::Suspended).await.unwrap();
    let third = running.update("web", draft(&["unix:uid:3"])).await.unwrap();
    assert_eq!(third.standing(), Standing::Suspended);
    assert_eq!(third.version().number, 3);
    assert!(running.matching(&["unix:uid:3"]).is_empty());
    let resumed = running.stand("web", Standing::Active).await.unwrap();
    let digest = suspended.state_change().unwrap().digest;
    assert_eq!(resumed.state_change().unwrap().previous, Some(digest));
    assert_eq!(running.matching(&["unix:uid:3"]), ["web"]);

    running.stand("web", Standing::Revoked).await.unwrap();
    let fourth = running.update("web", draft(&["unix:uid:4"])).await;
    assert!(
        matches!(fourth, Err(RegistryError::WrongState { .. })),
        "{fourth:?}"
    );
}

#[tokio::test]
async fn an_update_of_what_somebody_else_changed_is_refused() {
    let running = Running::new().await;
    running
        .register("web", draft(&["unix:uid:1"]))
        .await
        .unwrap();
    let update = |expected| {
        let draft = draft(&["unix:uid:2"]);
        running.registry.update(
            name("web"),
            draft,
            Some(expected),
            actor(),
            Reason::default(),
        )
    };
    update(1).await.unwrap();
    let late = update(1).await;
    let Err(RegistryError::VersionMismatch {
        expected: 1,
        in_force: 2,
        ..
    }) = late
    else {
        panic!("{late:?}");
    };
}

#[tokio::test]
async fn changes_of_unknown_clients_are_refused() {
    let running = Running::new().await;
    let update = running.update("web", draft(&["unix:uid:1"])).await;
    assert!(matches!(update, Err(RegistryError::NotFound(_))));
    let revoke = running.stand("web", Standing::Revoked).await;
    assert!(matches!(revoke, Err(RegistryError::NotFound(_))));
}

#[tokio::test]
async fn a_full_registry_takes_no_more_clients_but_changes() {
    let config = RegistryConfig {
        max_clients: 1,
        ..config()
    };
    let running = Running::with(Arc::new(MemoryStore::new()), config)
        .await
        .unwrap();
    running.register("a", draft(&["unix:uid:1"])).await.unwrap();
    let second = running.register("b", draft(&["unix:uid:2"])).await;
    assert!(matches!(second, Err(RegistryError::Full { limit: 1 })));
    running.update("a", draft(&["unix:uid:3"])).await.unwrap();
    running.stand("a", Standing::Revoked).await.unwrap();
    // Revocation frees neither the name nor the place.
    let third = running.register("c", draft(&["unix:uid:2"])).await;
    assert!(matches!(third, Err(RegistryError::Full { limit: 1 })));
}

#[tokio::test]
async fn a_registration_that_is_too_large_as_a_whole_is_refused() {
    let running = Running::new().await;
    let set = |n| {
        (0..32)
            .map(|i| format!("unix:path:/{n}/{i}/{}", "x".repeat(200)))
            .collect()
    };
    let draft = ClientDraft {
        selector_sets: (0..64).map(set).collect(),
        ..draft(&[])
    };
    let refused = running.register("web", draft).await;
    let Err(RegistryError::Spec(SpecError::TooLarge { .. })) = refused else {
        panic!("{refused:?}");
    };
    assert!(running.registry.snapshot().is_empty());
}

#[tokio::test]
async fn clients_are_paged_by_name() {
    let running = Running::new().await;
    for n in (0..1_200).rev() {
        running
            .register(&format!("c{n:04}"), draft(&["unix:uid:1"]))
            .await
            .unwrap();
    }
    let snapshot = running.registry.snapshot();
    assert_eq!(snapshot.len(), 1_200);
    let mut names = Vec::new();
    loop {
        let page = snapshot.page(names.last(), 500);
        names.extend(page.iter().map(|client| client.name().clone()));
        if page.len() < 500 {
            break;
        }
    }
    assert!(
        names
            .iter()
            .cloned()
            .eq((0..1_200).map(|n| name(&format!("c{n:04}"))))
    );
    // A name that is not there, between two that are.
    assert_eq!(
        snapshot.page(Some(&name("c0007x")), 1)[0].name(),
        &name("c0008")
    );
    assert!(snapshot.page(Some(&name("z")), 1).is_empty());
}

#[tokio::test]
async fn whoever_asks_for_any_audience_is_flagged() {
    let running = Running::new().await;
    let draft = ClientDraft {
        audiences: vec!["b".into(), "*".into()],
        ..draft(&["unix:uid:1"])
    };
    let client = running.register("web", draft).await.unwrap();
    assert!(client.spec().allows_any_audience());
    assert!(client.spec().allows_audience("anything"));
}

#[tokio::test]
async fn changes_are_refused_when_the_writer_has_ended() {
    let Running {
        registry,
        mut _writer,
        ..
    } = Running::new().await;
    _writer.shutdown().await;
    let late = registry.register(
        name("web"),
        draft(&["unix:uid:1"]),
        actor(),
        Reason::default(),
    );
    assert!(matches!(late.await, Err(RegistryError::Closed)));
}

#[tokio::test]
async fn the_writer_ends_with_the_last_handle() {
    let clock = Arc::new(ManualClock::new(*START));
    let store = Arc::new(MemoryStore::new());
    let (registry, writer) = Registry::open(store, config(), clock).await.unwrap();
    let second = registry.clone();
    drop(registry);
    drop(second);
    writer.run().await;
}
