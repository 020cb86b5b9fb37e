use super::{DriftServices, Watcher};
use crate::{
    audit::{Trail, TrailConfig},
    clock::SharedClock,
    fetch::testing::{Reply, TestHost, answer, json},
    registry::{ClientDraft, ClientState, Digest, MetadataDraft},
    supervisor::Supervisor,
    telemetry::Metrics,
    workloads::testing::{Scene, draft, name, until},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::runtime::Handle;

/// What the host serves at `/client.json` and `/jwks.json`, to both readers.
#[derive(Clone)]
struct Pages {
    document: Reply,
    keys: Reply,
    /// To authorization servers.
    otherwise: Option<Reply>,
}

/// A client whose document a hostile host serves.
struct Stage {
    scene: Scene,
    host: TestHost,
    pages: Arc<Mutex<Pages>>,
    watcher: Watcher,
    document: Value,
}

const KEYS: &str = r#"{"keys":[{"kty":"EC","x":"1"}]}"#;
const HOUR: Duration = Duration::from_secs(3_600);

fn services(scene: &Scene, host: &TestHost) -> DriftServices {
    let clock: SharedClock = Arc::<crate::clock::ManualClock>::clone(&scene.clock);
    let metrics = Metrics::new("test");
    DriftServices {
        registry: Arc::clone(&scene.registry),
        fetcher: host.fetcher(),
        trail: scene.trail.clone(),
        metrics: metrics.drift,
        changes: metrics.registry,
        clock,
        interval: HOUR,
    }
}

impl Stage {
    async fn new(on_drift: &str) -> Self {
        let scene = Scene::new().await;
        let pages = Arc::new(Mutex::new(Pages {
            document: json("{}"),
            keys: json(KEYS),
            otherwise: None,
        }));
        let served = Arc::clone(&pages);
        let host = TestHost::new(move |head| {
            let pages = served.lock().clone();
            match (head.starts_with("GET /jwks.json"), pages.otherwise) {
                (true, _) => pages.keys,
                (false, Some(other)) if head.contains("user-agent: node") => other,
                (false, _) => pages.document,
            }
        })
        .await;
        let document = json!({
            "client_id": host.url("/client.json").as_str(),
            "client_name": "App",
            "jwks_uri": host.url("/jwks.json").as_str(),
            "redirect_uris": ["https://app.example/cb"],
            "token_endpoint_auth_method": "private_key_jwt",
        });
        let watcher = Watcher::new(services(&scene, &host));
        let stage = Self {
            scene,
            host,
            pages,
            watcher,
            document,
        };
        stage.serve(&stage.document.clone());
        stage.scene.register_as("app", stage.draft(on_drift)).await;
        stage
    }

    /// The registration of what is served at first.
    fn draft(&self, on_drift: &str) -> ClientDraft {
        let text = |name: &str| self.document[name].as_str().unwrap().to_owned();
        let bytes = self.document.to_string();
        ClientDraft {
            metadata: Some(MetadataDraft {
                hosting: "external".to_owned(),
                client_id: text("client_id"),
                client_name: text("client_name"),
                redirect_uris: vec!["https://app.example/cb".to_owned()],
                token_endpoint_auth_method: text("token_endpoint_auth_method"),
                other: json!({"jwks_uri": text("jwks_uri")}).to_string(),
                document_digest: Digest::of(bytes.as_bytes()).to_string(),
                jwks_digest: Digest::of(KEYS.as_bytes()).to_string(),
                on_drift: on_drift.to_owned(),
                ..MetadataDraft::default()
            }),
            ..draft()
        }
    }

    fn serve(&self, document: &Value) {
        self.pages.lock().document = json(&document.to_string());
    }

    /// Serves the document with this member.
    fn change(&self, member: &str, value: Value) {
        let mut document = self.document.clone();
        document[member] = value;
        self.serve(&document);
    }

    /// What one look finds.
    async fn look(&mut self) -> Vec<String> {
        self.watcher.look_at(&name("app")).await;
        let seen = self.watcher.looks().last(&name("app")).unwrap();
        seen.look.findings.iter().map(ToString::to_string).collect()
    }

    fn state(&self) -> ClientState {
        let snapshot = self.scene.registry.snapshot();
        snapshot.state_of(snapshot.client(&name("app")).unwrap())
    }

    /// What the trail says, as "event outcome action".
    async fn told(&self) -> Vec<String> {
        self.scene.close_trail().await;
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let lines = self.scene.lines();
        let line = |line: &Value| {
            let action = &line["evidence"]["action"];
            format!(
                "{} {} {}",
                text(&line["event"]),
                text(&line["outcome"]),
                text(action)
            )
        };
        lines.iter().map(line).collect()
    }
}

#[tokio::test]
async fn what_was_approved_is_left_alone() {
    let mut stage = Stage::new("revoke").await;
    assert_eq!(stage.look().await, [""; 0]);
    assert_eq!(stage.look().await, [""; 0]);
    assert_eq!(stage.state(), ClientState::Active);
    let looks = &stage.watcher.services.metrics;
    assert_eq!(looks.looks.get_or_create(&"approved".into()).get(), 2);
    assert_eq!((looks.watched.get(), looks.drifted.get()), (1, 0));
    // Both pages, as both readers, in two looks.
    assert_eq!(stage.host.requests().len(), 8);
    assert_eq!(stage.told().await, [""; 0]);
}

#[tokio::test]
async fn each_kind_of_drift_suspends() {
    for (member, value, finding) in [
        (
            "redirect_uris",
            json!(["https://app.example/cb", "https://evil.example/"]),
            "redirect_uri_widened (https://evil.example/)",
        ),
        (
            "token_endpoint_auth_method",
            json!("none"),
            "authentication_downgraded (token_endpoint_auth_method)",
        ),
        (
            "jwks_uri",
            json!("https://evil.example/"),
            "key_added (jwks_uri)",
        ),
        ("client_name", json!("Other"), "other_field (client_name)"),
        (
            "client_id",
            json!("https://evil.example/x"),
            "invalid (client_id)",
        ),
    ] {
        let mut stage = Stage::new("suspend").await;
        stage.change(member, value);
        assert_eq!(stage.look().await, [finding]);
        assert_eq!(stage.state(), ClientState::Suspended, "{member}");
        let change = stage.scene.registry.snapshot();
        let change = change.client(&name("app")).unwrap().state_change().unwrap();
        assert_eq!(change.author.as_str(), "agent");
        assert!(
            change.reason.as_str().ends_with(finding),
            "{:?}",
            change.reason
        );
        assert_eq!(stage.watcher.services.metrics.drifted.get(), 1);
        assert_eq!(
            stage.told().await,
            ["drifted refused suspend", "suspended - -"]
        );
        let lines = stage.scene.lines();
        let evidence = &lines[0]["evidence"];
        let approved = Digest::of(stage.document.to_string().as_bytes()).to_string();
        assert_eq!(evidence["approved"]["document"], json!(approved));
        assert!(evidence["found"]["document"].is_string());
        assert_ne!(evidence["found"]["document"], json!(approved));
    }
}

#[tokio::test]
async fn the_registration_says_what_is_done() {
    for (on_drift, at_first, then) in [
        ("alert", ClientState::Active, ClientState::Active),
        ("suspend", ClientState::Suspended, ClientState::Suspended),
        ("revoke", ClientState::Suspended, ClientState::Revoked),
    ] {
        let mut stage = Stage::new(on_drift).await;
        stage.change("scope", json!("admin"));
        stage.look().await;
        assert_eq!(stage.state(), at_first);
        stage.look().await;
        assert_eq!(stage.state(), then);
    }
}

#[tokio::test]
async fn one_odd_answer_revokes_nobody() {
    for odd in ["", "{}", "<html>"] {
        let mut stage = Stage::new("revoke").await;
        let good = json(&stage.document.to_string());
        // Neither what is approved nor what cannot be had is drift in a row.
        for between in [good, answer("503 Service Unavailable", "", "")] {
            stage.pages.lock().document = json(odd);
            stage.look().await;
            assert_eq!(stage.state(), ClientState::Suspended, "{odd}");
            stage.pages.lock().document = between;
            stage.look().await;
            assert_eq!(stage.state(), ClientState::Suspended, "{odd}");
        }
        stage.pages.lock().document = json(odd);
        stage.look().await;
        assert_eq!(stage.state(), ClientState::Suspended, "{odd}");
        stage.look().await;
        assert_eq!(stage.state(), ClientState::Revoked, "{odd}");
        let told = stage.told().await;
        let refused = "drifted refused suspend";
        assert_eq!(told[..2], [refused, "suspended - -"]);
        assert_eq!(told[told.len() - 2..], [refused, "revoked - -"]);
    }
}

#[tokio::test]
async fn other_bytes_are_no_approved_document() {
    let mut stage = Stage::new("suspend").await;
    let pretty = serde_json::to_string_pretty(&stage.document).unwrap();
    stage.pages.lock().document = json(&pretty);
    assert_eq!(
        stage.look().await,
        ["rewritten (the same content in other bytes)"]
    );
    let twice = format!(
        r#"{{"client_id":"x",{}"#,
        stage.document.to_string().strip_prefix('{').unwrap()
    );
    for invalid in [&*twice, "[]", "", "{", "\u{feff}{}", "{}{}"] {
        stage.pages.lock().document = json(invalid);
        let finding = "invalid (not one JSON object in which no name stands twice)";
        assert_eq!(stage.look().await, [finding], "{invalid}");
    }
    let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(300), "]".repeat(300));
    stage.pages.lock().document = json(&deep);
    assert!(stage.look().await[0].starts_with("invalid"), "{deep}");
}

#[tokio::test]
async fn others_must_be_shown_the_same() {
    let mut stage = Stage::new("suspend").await;
    let mut other = stage.document.clone();
    other["redirect_uris"] = json!(["https://evil.example/"]);
    stage.pages.lock().otherwise = Some(json(&other.to_string()));
    let found = stage.look().await;
    assert_eq!(
        found,
        [
            "redirect_uri_widened (https://evil.example/)",
            "other_field (redirect_uris)",
            "varies_by_reader (others are shown something else than this agent)",
        ]
    );
    assert_eq!(stage.state(), ClientState::Suspended);
    stage.told().await;
    let lines = stage.scene.lines();
    let found = &lines[0]["evidence"]["found"];
    let digest = |document: &Value| Digest::of(document.to_string().as_bytes()).to_string();
    assert_eq!(found["document"], digest(&stage.document));
    assert_eq!(found["document_for_others"], digest(&other));
    assert_eq!(found.get("jwks_for_others"), None);
}

#[tokio::test]
async fn keys_are_watched() {
    let mut stage = Stage::new("suspend").await;
    // The agent has never seen the approved ones.
    stage.pages.lock().keys = json(r#"{"keys":[]}"#);
    assert_eq!(
        stage.look().await,
        ["keys_changed (the digest of the key set)"]
    );
    stage.pages.lock().keys = json(KEYS);
    assert_eq!(stage.look().await, [""; 0]);
    for (keys, class) in [
        (
            r#"{"keys":[{"kty":"EC","x":"1"},{"kty":"EC","x":"2"}]}"#,
            "key_added",
        ),
        (r#"{"keys":[]}"#, "key_removed"),
        (r#"{"keys": [{"kty":"EC","x":"1"}]}"#, "rewritten"),
        (r#"{"keys":1}"#, "invalid"),
        (r#"{"keys":[],"keys":[]}"#, "invalid"),
    ] {
        stage.pages.lock().keys = json(keys);
        let found = stage.look().await;
        assert!(
            found.len() == 1 && found[0].starts_with(class),
            "{found:?} {keys}"
        );
    }
    assert_eq!(stage.state(), ClientState::Suspended);
}

#[tokio::test]
async fn keys_that_nobody_approved_are_only_told() {
    let mut stage = Stage::new("revoke").await;
    let mut draft = stage.draft("revoke");
    draft.metadata.as_mut().unwrap().jwks_digest = String::new();
    stage.scene.update("app", draft).await;
    assert_eq!(stage.look().await, [""; 0]);
    stage.pages.lock().keys = json(r#"{"keys":[]}"#);
    assert!(stage.look().await[0].starts_with("key_removed"));
    assert_eq!(stage.state(), ClientState::Active);
    assert_eq!(stage.told().await, ["drifted refused alert"]);
}

#[tokio::test]
async fn keys_that_nobody_approved_do_not_make_a_failure_drift() {
    for on_drift in ["suspend", "revoke"] {
        let mut stage = Stage::new(on_drift).await;
        let mut draft = stage.draft(on_drift);
        draft.metadata.as_mut().unwrap().jwks_digest = String::new();
        stage.scene.update("app", draft).await;
        assert_eq!(stage.look().await, [""; 0]);
        stage.pages.lock().keys = json(r#"{"keys":[]}"#);
        // To one of the readers.
        stage.pages.lock().otherwise = Some(answer("503 Service Unavailable", "", ""));
        for state in [
            ClientState::Active,
            ClientState::Active,
            ClientState::Suspended,
            ClientState::Suspended,
        ] {
            let found = stage.look().await;
            assert!(found[0].starts_with("key_removed"), "{found:?}");
            assert_eq!(found[1..], ["unreachable (status)"]);
            assert_eq!(stage.state(), state);
        }
        let told = stage.told().await;
        assert_eq!(told, ["drifted refused alert", "suspended - -"]);
    }
}

#[tokio::test]
async fn suspending_does_not_wait_for_the_trail() {
    let mut stage = Stage::new("suspend").await;
    let (trail, _writer) = stalled(&stage);
    stage.watcher.services.trail = trail.clone();
    stage.change("client_name", json!("Other"));
    let registry = Arc::clone(&stage.scene.registry);
    let app = name("app");
    tokio::select! {
        () = Box::pin(stage.watcher.look_at(&app)) => panic!("nothing can be recorded"),
        () = until(|| trail.waiting().any(|(_, waiting)| waiting > 0)) => {}
    }
    let snapshot = registry.snapshot();
    let client = snapshot.client(&app).unwrap();
    assert_eq!(snapshot.state_of(client), ClientState::Suspended);
}

/// A trail that nobody writes, and what has to stay for that.
fn stalled(stage: &Stage) -> (Trail, crate::audit::TrailWriter) {
    let folder = stage.scene.path().join("stalled");
    let clock = Arc::clone(&stage.watcher.services.clock);
    Trail::open(&folder, TrailConfig::default(), clock).unwrap()
}

#[tokio::test]
async fn looks_at_others_do_not_wait_for_the_trail() {
    let stage = Stage::new("suspend").await;
    let (trail, _writer) = stalled(&stage);
    stage.change("client_name", json!("Other"));
    let services = DriftServices {
        trail: trail.clone(),
        ..services(&stage.scene, &stage.host)
    };
    let watcher = Watcher::new(services);
    let looks = watcher.looks();
    Supervisor::new(Handle::current()).spawn(watcher.run());
    until(|| trail.waiting().any(|(_, waiting)| waiting > 0)).await;
    stage
        .scene
        .register_as("second", stage.draft("suspend"))
        .await;
    until(|| looks.last(&name("second")).is_some()).await;
}

#[tokio::test]
async fn a_client_is_not_looked_at_again_before_its_drift_is_told() {
    let mut stage = Stage::new("suspend").await;
    let (trail, writer) = stalled(&stage);
    stage.watcher.services.trail = trail;
    stage.change("client_name", json!("Other"));
    stage.watcher.walk().await;
    let look = stage.watcher.next_due().unwrap();
    let done = look.await;
    let telling = stage.watcher.finish(done).await.unwrap();
    tokio::time::pause();
    tokio::time::advance(HOUR).await;
    assert!(stage.watcher.next_due().is_none());
    std::thread::spawn(move || writer.run());
    let told = telling.await;
    assert!(told.look.is_some());
    stage.watcher.note_told(told);
    assert!(stage.watcher.next_due().is_some());
}

#[tokio::test]
async fn what_could_not_be_recorded_is_told_later() {
    let mut stage = Stage::new("alert").await;
    let folder = stage.scene.path().join("gone");
    let clock = Arc::clone(&stage.watcher.services.clock);
    let (trail, writer) = Trail::open(&folder, TrailConfig::default(), clock).unwrap();
    drop(writer);
    let working = std::mem::replace(&mut stage.watcher.services.trail, trail);
    stage.change("client_name", json!("Other"));
    stage.look().await;
    assert_eq!(stage.watcher.services.metrics.drifted.get(), 1);
    stage.watcher.services.trail = working;
    stage.look().await;
    stage.look().await;
    assert_eq!(stage.told().await, ["drifted refused alert"]);
}

#[tokio::test]
async fn what_cannot_be_had_is_told_and_not_revoked() {
    let endless = Reply::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), b"A: b\r\n".to_vec());
    for (reply, class) in [
        (answer("404 Not Found", "", ""), "status"),
        (
            answer("302 Found", "Location: https://10.0.0.1/\r\n", ""),
            "redirect",
        ),
        (
            answer("200 OK", "Content-Type: text/html\r\n", "{}"),
            "media_type",
        ),
        (json(&" ".repeat(70_000)), "size"),
        (endless, "http"),
    ] {
        let mut stage = Stage::new("revoke").await;
        stage.pages.lock().document = reply;
        for state in [
            ClientState::Active,
            ClientState::Active,
            ClientState::Suspended,
            ClientState::Suspended,
        ] {
            assert_eq!(stage.look().await, [format!("unreachable ({class})")]);
            assert_eq!(stage.state(), state);
        }
        let told = stage.told().await;
        assert_eq!(told, ["drifted failed alert", "suspended - -"]);
    }
}

#[tokio::test]
async fn drift_is_told_once_and_so_is_its_end() {
    let mut stage = Stage::new("alert").await;
    stage.change("client_name", json!("Other"));
    stage.look().await;
    stage.look().await;
    stage.change("client_name", json!("Third"));
    stage.look().await;
    stage.serve(&stage.document.clone());
    stage.look().await;
    stage.look().await;
    let told = stage.told().await;
    let alert = "drifted refused alert";
    assert_eq!(told, [alert, alert, "drifted accepted alert"]);
}

#[tokio::test]
async fn who_is_resumed_with_the_same_drift_is_suspended_again() {
    let mut stage = Stage::new("suspend").await;
    stage.change("client_name", json!("Other"));
    stage.look().await;
    stage.scene.resume("app").await;
    stage.look().await;
    assert_eq!(stage.state(), ClientState::Suspended);
    // Whoever accepts it approves its digest.
    stage.document["client_name"] = json!("Other");
    let mut draft = stage.draft("suspend");
    draft.metadata.as_mut().unwrap().client_name = "Other".to_owned();
    stage.scene.update("app", draft).await;
    stage.scene.resume("app").await;
    assert_eq!(stage.look().await, [""; 0]);
    assert_eq!(stage.state(), ClientState::Active);
}

#[tokio::test]
async fn new_registrations_are_looked_at_at_once() {
    let stage = Stage::new("suspend").await;
    stage.change("client_name", json!("Other"));
    let watcher = Watcher::new(services(&stage.scene, &stage.host));
    let looks = watcher.looks();
    Supervisor::new(Handle::current()).spawn(watcher.run());
    until(|| stage.state() == ClientState::Suspended).await;
    assert!(looks.last(&name("app")).is_some());
    stage.serve(&stage.document.clone());
    stage
        .scene
        .register_as("second", {
            let mut draft = stage.draft("suspend");
            draft.metadata.as_mut().unwrap().client_name = "Second".to_owned();
            draft
        })
        .await;
    until(|| looks.last(&name("second")).is_some()).await;
    assert!(looks.last(&name("second")).unwrap().look.is_approved());
}
