//! What a folder does to a registry, and what it does not.

use super::{Applier, ApplierServices, FAULTY, NOT_LOADED};
use crate::{
    audit::{Trail, TrailConfig},
    clock::{ManualClock, SharedClock},
    lint::Linter,
    registry::{
        Actor, ClientDraft, ClientState, MemoryStore, Reason, Registry, RegistryConfig, SpecRules,
        limits,
    },
    telemetry::{ApplyMetrics, Readiness, RegistryMetrics},
};
use serde_json::Value;
use spiffe::TrustDomain;
use std::{
    fs,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, UNIX_EPOCH},
};
use symbolon_attestors::{Attestor, AttestorConfig};
use tempfile::TempDir;
use tokio::task::JoinSet;

mod approvals;

struct Scene {
    root: TempDir,
    services: ApplierServices,
    applier: Applier,
    clock: Arc<ManualClock>,
    trail: Option<JoinHandle<()>>,
    tasks: JoinSet<()>,
}

impl Scene {
    async fn new() -> Self {
        Self::requiring(0).await
    }

    async fn requiring(approvals_required: u32) -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("in")).unwrap();
        let clock = Arc::new(ManualClock::new(
            UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        ));
        let shared: SharedClock = Arc::<ManualClock>::clone(&clock);
        let rules = SpecRules {
            trust_domain: TrustDomain::new("example.org").unwrap(),
            x509_ttl: Duration::from_secs(300)..=Duration::from_secs(86_400),
            jwt_ttl: Duration::from_secs(30)..=Duration::from_secs(3_600),
        };
        let config = RegistryConfig {
            rules: rules.clone(),
            max_clients: limits::CLIENTS,
            approvals_required,
        };
        let store = Arc::new(MemoryStore::new());
        let opened = Registry::open(store, config, Arc::clone(&shared)).await;
        let (registry, writer) = opened.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(writer.run());
        let audit = root.path().join("audit");
        let (trail, writer) =
            Trail::open(&audit, TrailConfig::default(), Arc::clone(&shared)).unwrap();
        let (readiness, starting) = Readiness::blocked_by("starting");
        drop(starting);
        let services = ApplierServices {
            registry: Arc::new(registry),
            rules,
            trail,
            linter: Arc::new(Linter::new(
                Arc::new(Attestor::new(AttestorConfig::default()).unwrap()),
                Arc::clone(&shared),
            )),
            changes: RegistryMetrics::default(),
            metrics: ApplyMetrics::default(),
            readiness,
            clock: shared,
        };
        Self {
            applier: Applier::new(root.path().join("in"), services.clone()),
            services,
            root,
            clock,
            trail: Some(std::thread::spawn(move || writer.run().unwrap())),
            tasks,
        }
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.root.path().join("in").join(file), text).unwrap();
    }

    fn remove(&self, file: &str) {
        fs::remove_file(self.root.path().join("in").join(file)).unwrap();
    }

    /// The client's state, the number of its version and its author; empty without one.
    fn client(&self, name: &str) -> String {
        let snapshot = self.services.registry.snapshot();
        let client = snapshot.client(&name.parse().unwrap());
        client.map_or_else(String::new, |client| {
            let version = client.version();
            let state = snapshot.state_of(client);
            format!("{state} {} {}", version.number, version.author)
        })
    }

    async fn by_hand(&self, name: &str, owner: &str) {
        let (name, draft) = (name.parse().unwrap(), draft(owner));
        let (actor, reason) = (operator(), Reason::default());
        let registry = &self.services.registry;
        let done = if registry.snapshot().client(&name).is_some() {
            registry.update(name, draft, None, actor, reason).await
        } else {
            registry.register(name, draft, actor, reason).await
        };
        done.unwrap();
    }

    /// Everything in the trail as `event client operator reason`, once it is closed.
    async fn trail(mut self) -> Vec<String> {
        self.services.trail.close().await;
        let Self {
            services, applier, ..
        } = &mut self;
        let _closed = (services, applier);
        self.trail.take().unwrap().join().unwrap();
        let text = fs::read_to_string(self.root.path().join("audit/00000001.jsonl")).unwrap();
        let word = |line: &Value, name: &str| line[name].as_str().unwrap_or("-").to_owned();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .map(|line: Value| {
                ["event", "client", "operator", "reason"]
                    .map(|name| word(&line, name))
                    .join(" ")
            })
            .collect()
    }
}

fn operator() -> Actor {
    "uid:0".parse().unwrap()
}

fn draft(owner: &str) -> ClientDraft {
    ClientDraft {
        owner: owner.to_owned(),
        selector_sets: vec![vec!["unix:uid:1".to_owned()]],
        ..ClientDraft::default()
    }
}

/// Several of them are weak: clients of different owners that cannot be told apart.
fn document(name: &str, owner: &str) -> String {
    format!(
        "---\nname: {name}\nowner: {owner}\nselector_sets: [[unix:uid:1]]\naccept_weak: a test\n"
    )
}

#[tokio::test]
async fn what_is_weak_needs_a_reason_and_is_registered_once_with_it() {
    let mut scene = Scene::new().await;
    let weak = "name: a\nowner: x\nselector_sets: [[\"unix:path:/usr/bin/python3\"]]\n";
    let with = |reason: &str| format!("{weak}accept_weak: {reason}\n");
    let none = weak.to_owned();
    for (text, client, conflicts) in [
        (none.clone(), "", 1),
        (with("wanted"), "active 1 file:a.yaml", 0),
        (
            format!("{}# later\n", with("wanted")),
            "active 1 file:a.yaml",
            0,
        ),
        (with("still wanted"), "active 2 file:a.yaml", 0),
        // What was accepted of these selectors stays accepted.
        (none, "active 2 file:a.yaml", 0),
    ] {
        scene.write("a.yaml", &text);
        for _ in 0..2 {
            scene.applier.round().await;
            assert_eq!(scene.client("a"), client, "{text}");
            assert_eq!(scene.services.metrics.conflicts.get(), conflicts);
        }
    }
    let snapshot = scene.services.registry.snapshot();
    let client = snapshot.client(&"a".parse().unwrap()).unwrap();
    let accepted = client.spec().accepted_weaknesses().unwrap();
    assert!(accepted.covers("interpreter"), "{accepted:?}");
    assert_eq!(accepted.reason().as_str(), "still wanted");
    let lines = scene.trail().await;
    assert_eq!(lines.len(), 3, "{lines:#?}");
    let refused = &lines[0];
    assert!(refused.starts_with("refused - file:a.yaml a.yaml:1: a: the registration is weak: "));
    assert!(refused.contains("interpreter") && refused.contains("accept_weak"));
}

#[tokio::test]
async fn documents_that_come_together_are_judged_beside_each_other() {
    let mut scene = Scene::new().await;
    let document = |name: &str, owner: &str, set: &str| {
        format!("---\nname: {name}\nowner: {owner}\nselector_sets: [[{set}]]\n")
    };
    let narrow = "unix:uid:4711, unix:gid:4711";
    let weak = "unix:uid:4712, \"unix:path:/usr/bin/python3\", \"process:no_new_privs:true\"";
    let all = [
        document("a", "x", "unix:uid:4711"),
        // The wider and the narrower set of somebody else, in either order.
        document("b", "y", narrow),
        document("c", "x", narrow),
        document("d", "z", "unix:uid:4711"),
        // Nobody's: it is refused itself.
        document("e", "x", "\"unix:path:/usr/bin/python3\""),
        document("f", "y", weak),
        document("g", "z", "unix:uid:4713"),
    ];
    scene.write("a.yaml", &all.concat());
    for _ in 0..2 {
        scene.applier.round().await;
        let names = ["a", "b", "c", "d", "e", "f", "g"];
        let registered = names.map(|name| !scene.client(name).is_empty());
        assert_eq!(registered, [true, false, true, false, false, true, true]);
        assert_eq!(scene.services.metrics.conflicts.get(), 3);
    }
    // What comes back is there before what is new is judged.
    scene.write("a.yaml", &document("g", "z", "unix:uid:4713"));
    scene.applier.round().await;
    scene.write(
        "a.yaml",
        &[&document("b", "y", narrow), &all[0]]
            .map(String::as_str)
            .concat(),
    );
    scene.applier.round().await;
    assert_eq!(scene.client("a"), "active 1 file:a.yaml");
    assert_eq!(scene.client("b"), "");
    let refusals = scene.trail().await;
    let overlaps = refusals
        .iter()
        .filter(|line| line.contains("weak: overlap;"));
    assert_eq!(overlaps.count(), 3, "{refusals:#?}");
}

#[tokio::test]
async fn what_is_in_the_folder_is_registered_once_and_updated_where_it_differs() {
    let mut scene = Scene::new().await;
    scene.write("a.yaml", &[document("a", "x"), document("b", "x")].concat());
    scene.applier.round().await;
    scene.applier.round().await;
    assert_eq!(scene.client("a"), "active 1 file:a.yaml");
    assert_eq!(scene.client("b"), "active 1 file:a.yaml");
    // Moved to another file, and a comment: the same registrations.
    scene.write("a.yaml", &format!("# two\n{}", document("b", "y")));
    scene.write("z.yaml", &document("a", "x"));
    scene.applier.round().await;
    assert_eq!(scene.client("a"), "active 1 file:a.yaml");
    assert_eq!(scene.client("b"), "active 2 file:a.yaml");
    assert_eq!(scene.services.metrics.documents.get(), 2);
    assert_eq!(scene.services.metrics.last_load.get(), 1_800_000_000);
    assert_eq!(
        scene.trail().await,
        [
            "registered a file:a.yaml line 2",
            "registered b file:a.yaml line 7",
            "updated b file:a.yaml line 3",
        ]
    );
}

#[tokio::test]
async fn what_is_gone_is_suspended_and_resumed_when_it_is_back() {
    let mut scene = Scene::new().await;
    scene.write("a.yaml", &document("a", "x"));
    scene.applier.round().await;
    scene.remove("a.yaml");
    scene.applier.round().await;
    assert_eq!(scene.client("a"), "suspended 1 file:a.yaml");
    scene.write(
        "b.json",
        r#"{"name":"a","owner":"y","selector_sets":[["unix:uid:1"]]}"#,
    );
    scene.applier.round().await;
    assert_eq!(scene.client("a"), "active 2 file:b.json");
    assert_eq!(
        scene.trail().await,
        [
            "registered a file:a.yaml line 2",
            "suspended a file:a.yaml no longer in registry.apply_dir",
            "updated a file:b.json line 1",
            "resumed a file:b.json in registry.apply_dir again",
        ]
    );
}

#[tokio::test]
async fn suspension_by_an_operator_stays() {
    let mut scene = Scene::new().await;
    scene.write("a.yaml", &document("a", "x"));
    scene.applier.round().await;
    let reason: Reason = "an incident".parse().unwrap();
    let registry = Arc::clone(&scene.services.registry);
    let suspended = registry.suspend("a".parse().unwrap(), operator(), reason);
    suspended.await.unwrap();
    scene.write("a.yaml", &document("a", "y"));
    scene.applier.round().await;
    assert_eq!(scene.client("a"), "suspended 2 file:a.yaml");
    scene.remove("a.yaml");
    scene.applier.round().await;
    scene.write("a.yaml", &document("a", "y"));
    scene.applier.round().await;
    assert_eq!(scene.client("a"), "suspended 2 file:a.yaml");
}

#[tokio::test]
async fn an_operators_client_is_taken_over_only_where_the_document_says_so() {
    let mut scene = Scene::new().await;
    scene.by_hand("a", "by hand").await;
    scene.by_hand("other", "by hand").await;
    scene.write("a.yaml", &document("a", "x"));
    scene.applier.round().await;
    scene.applier.round().await;
    assert_eq!(scene.client("a"), "active 1 uid:0");
    assert_eq!(scene.services.metrics.conflicts.get(), 1);
    scene.write("a.yaml", &format!("{}adopt: true\n", document("a", "x")));
    scene.applier.round().await;
    scene.applier.round().await;
    assert_eq!(scene.client("a"), "active 2 file:a.yaml");
    assert_eq!(scene.services.metrics.conflicts.get(), 0);
    // And back: an operator's word is the last one.
    scene.write("a.yaml", &document("a", "x"));
    scene.by_hand("a", "by hand").await;
    scene.applier.round().await;
    assert_eq!(scene.client("a"), "active 3 uid:0");
    scene.remove("a.yaml");
    scene.applier.round().await;
    assert_eq!(scene.client("a"), "active 3 uid:0");
    assert_eq!(scene.client("other"), "active 1 uid:0");
    let refusal = "refused - file:a.yaml a.yaml:2: a: uid:0 made the version in force; \
                   `adopt: true` in the document would take it over";
    assert_eq!(
        scene.trail().await,
        [refusal, "updated a file:a.yaml line 2", refusal]
    );
}

#[tokio::test]
async fn a_fault_anywhere_leaves_everything_as_it_is() {
    let mut scene = Scene::new().await;
    assert_eq!(scene.services.readiness.reasons(), [NOT_LOADED]);
    scene.write("a.yaml", &document("a", "x"));
    scene.write("b.yaml", "colour: red\n");
    scene.applier.round().await;
    assert_eq!(scene.client("a"), "");
    assert_eq!(scene.services.readiness.reasons(), [NOT_LOADED]);
    scene.remove("b.yaml");
    scene.applier.round().await;
    assert_eq!(scene.client("a"), "active 1 file:a.yaml");
    assert!(scene.services.readiness.is_ready());
    assert!(scene.services.readiness.notes().is_empty());

    scene.write("a.yaml", "name: a\n");
    scene.write("c.yaml", &[document("c", "x"), document("c", "y")].concat());
    scene.applier.round().await;
    scene.applier.round().await;
    assert_eq!(scene.client("a"), "active 1 file:a.yaml");
    assert_eq!(scene.client("c"), "");
    assert_eq!(scene.services.metrics.faults.get(), 2);
    assert!(scene.services.readiness.is_ready());
    assert_eq!(scene.services.readiness.notes(), [FAULTY]);
    let lines = scene.trail().await;
    assert_eq!(lines.len(), 3, "{lines:#?}");
    let last = &lines[2];
    assert!(last.starts_with("refused - - 2 faults, nothing is changed: a.yaml:1: "));
    assert!(
        last.ends_with("; c.yaml:7: client c is in c.yaml:2 already"),
        "{last}"
    );
}

#[tokio::test]
async fn what_the_registry_refuses_is_told_once_and_holds_up_nothing_else() {
    let mut scene = Scene::new().await;
    let taken = format!(
        "{}spiffe_id: spiffe://example.org/mcp/client/other\n",
        document("a", "x")
    );
    let ended = format!("{}expires_at: 2001-01-01\n", document("b", "x"));
    scene.by_hand("other", "by hand").await;
    scene.write("a.yaml", &[taken, ended, document("c", "x")].concat());
    scene.applier.round().await;
    scene.applier.round().await;
    assert_eq!([scene.client("a"), scene.client("b")], ["", ""]);
    assert_eq!(scene.client("c"), "active 1 file:a.yaml");
    assert_eq!(scene.services.metrics.conflicts.get(), 2);
    let lines = scene.trail().await;
    assert_eq!(lines.len(), 3, "{lines:#?}");
}

#[tokio::test]
async fn a_registration_that_runs_out_stays_what_it_was() {
    let mut scene = Scene::new().await;
    let text = format!("{}expires_at: 2027-02-01\n", document("a", "x"));
    scene.write("a.yaml", &text);
    scene.applier.round().await;
    scene.clock.advance(Duration::from_secs(90 * 86_400));
    scene.write("a.yaml", &format!("{text}# later\n"));
    scene.applier.round().await;
    assert_eq!(scene.client("a"), "expired 1 file:a.yaml");
    assert_eq!(scene.services.metrics.conflicts.get(), 0);
}

#[tokio::test]
async fn clients_are_registered_in_the_order_of_their_documents() {
    let mut scene = Scene::new().await;
    let names: Vec<String> = (0..100).rev().map(|n| format!("c{n:02}")).collect();
    let text: String = names.iter().map(|name| document(name, "x")).collect();
    scene.write("a.yaml", &text);
    scene.applier.round().await;
    let snapshot = scene.services.registry.snapshot();
    let uid = ["unix:uid:1".parse().unwrap()];
    let matching = snapshot.matching(&uid);
    let matching: Vec<_> = matching.iter().map(|c| c.name().as_str()).collect();
    assert_eq!(matching, names);
}

#[tokio::test]
async fn what_cannot_be_recorded_is_suspended_all_the_same() {
    let mut scene = Scene::new().await;
    scene.write("a.yaml", &document("a", "x"));
    scene.applier.round().await;
    scene.services.trail.close().await;
    scene.trail.take().unwrap().join().unwrap();
    scene.remove("a.yaml");
    scene.applier.round().await;
    assert_eq!(scene.client("a"), "suspended 1 file:a.yaml");
}

#[tokio::test]
async fn a_change_in_the_folder_is_noticed_by_itself() {
    let scene = Scene::new().await;
    let mut changes = scene.services.registry.changes();
    let Scene {
        applier,
        mut tasks,
        services,
        root,
        ..
    } = scene;
    tasks.spawn(applier.run());
    let folder = root.path().join("in");
    for (number, name) in ["a", "b"].into_iter().enumerate() {
        // As a `ConfigMap` is swapped: all of it in a folder beside, then the link.
        let generation = folder.join(format!("..{number}"));
        fs::create_dir(&generation).unwrap();
        fs::write(generation.join("x.yaml"), document(name, "x")).unwrap();
        let next = folder.join("..data_tmp");
        std::os::unix::fs::symlink(&generation, &next).unwrap();
        fs::rename(next, folder.join("..data")).unwrap();
        let registered = changes.wait_for(|_| {
            let snapshot = services.registry.snapshot();
            let client = snapshot.client(&name.parse().unwrap());
            client.is_some_and(|client| snapshot.state_of(client) == ClientState::Active)
        });
        registered.await.unwrap();
    }
    let snapshot = services.registry.snapshot();
    let first = snapshot.client(&"a".parse().unwrap()).unwrap();
    assert_eq!(snapshot.state_of(first), ClientState::Suspended);
}
