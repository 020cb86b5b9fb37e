//! Documents that others host: what was approved is pinned, each kind of drift leads to its class
//! and its action, and hosts that mean harm get nothing but the agent's few bytes of patience.

mod host;
mod hostile;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use symbolon_proto::workload::X509svidRequest;
use symbolon_tests::{
    Agent, Program, Setup, Workload, can_run, is_root, symbolon, within, workload_api,
};
use tonic::Code;

use crate::approvals::operators;
use host::{Host, Page, answer, json as page, sha256};

/// One kind of drift: the client that it happens to, its class, and what it is about.
const KINDS: [(&str, &str, &str); 7] = [
    (
        "widened",
        "redirect_uri_widened",
        "https://evil.example/callback",
    ),
    (
        "downgraded",
        "authentication_downgraded",
        "token_endpoint_auth_method",
    ),
    ("added", "key_added", ""),
    ("removed", "key_removed", ""),
    ("renamed", "other_field", "client_name"),
    (
        "two-faced",
        "varies_by_reader",
        "others are shown something else than this agent",
    ),
    ("away", "unreachable", "status"),
];

/// The selector of a process that there is not.
const NOBODY: &str = "unix:uid:64099";

/// An agent that looks at documents each second, and their host.
struct Stage {
    agent: Agent,
    host: Host,
    trail: Workload,
    /// What was read of the trail.
    events: Vec<Value>,
}

impl Stage {
    async fn new() -> Self {
        Self::on(Host::start().await, "localhost", |setup| setup).await
    }

    /// An agent that may reach this host by this entry of `fetch.allow`.
    async fn on(host: Host, allowed: &str, more: impl FnOnce(Setup) -> Setup) -> Self {
        let setup = Setup::new();
        let ca = setup.directory().join("documents-ca.pem");
        fs::write(&ca, host.certificate()).unwrap();
        let setup = setup
            .set("fetch", "ca_file", ca.to_str().unwrap())
            .set("fetch", "allow", vec![allowed.to_owned()])
            .set("fetch", "interval", "1s");
        let agent = more(setup).start().await;
        let trail = agent.follow_audit();
        Self {
            agent,
            host,
            trail,
            events: Vec::new(),
        }
    }

    fn url(&self, name: &str, file: &str) -> String {
        self.url_on("localhost", name, file)
    }

    fn url_on(&self, host: &str, name: &str, file: &str) -> String {
        format!("https://{host}:{}{}", self.host.port(), path(name, file))
    }

    /// What is served of a client until that drifts.
    fn document(&self, name: &str) -> Value {
        json!({
            "client_id": self.url(name, "client.json"),
            "client_name": name,
            "grant_types": ["authorization_code"],
            "jwks_uri": self.url(name, "jwks.json"),
            "redirect_uris": [format!("https://app.example/{name}")],
            "response_types": ["code"],
            "token_endpoint_auth_method": "private_key_jwt",
        })
    }

    fn serve(&self, name: &str, document: &Value) {
        let path = path(name, "client.json");
        self.host.serve(&path, page(&document.to_string()));
    }

    fn serve_keys(&self, name: &str, keys: &[u32]) {
        let path = path(name, "jwks.json");
        self.host.serve(&path, page(&key_set(keys)));
    }

    /// Serves what is approved, and writes it to files for the command line.
    fn publish(&self, name: &str, document: &Value) -> [PathBuf; 2] {
        self.serve(name, document);
        self.serve_keys(name, &[1, 2]);
        let file = |file: &str, content: &str| {
            let path = self.agent.setup().directory();
            let path = path.join(format!("{name}-{file}"));
            fs::write(&path, content).unwrap();
            path
        };
        [
            file("client.json", &document.to_string()),
            file("jwks.json", &key_set(&[1, 2])),
        ]
    }

    /// Registers what is served now.
    async fn register(&self, name: &str, on_drift: &str, selectors: &[String]) {
        let document = self.document(name);
        self.register_as(name, on_drift, selectors, &document).await;
    }

    async fn register_as(
        &self,
        name: &str,
        on_drift: &str,
        selectors: &[String],
        document: &Value,
    ) {
        let files = self.publish(name, document);
        self.register_files(name, on_drift, selectors, &files).await;
    }

    async fn register_files(
        &self,
        name: &str,
        on_drift: &str,
        selectors: &[String],
        [document, keys]: &[PathBuf; 2],
    ) {
        let options = [
            "--hosting",
            "external",
            "--metadata",
            document.to_str().unwrap(),
            "--jwks",
            keys.to_str().unwrap(),
            "--on-drift",
            on_drift,
            "--allow-redirect-origin",
            "https://app.example",
        ];
        self.agent.register_with(name, selectors, options).await;
    }

    /// Waits until a look at a client's document that begins after this has ended.
    async fn look(&self, name: &str) {
        self.host.looks(&path(name, "client.json"), 1).await;
    }

    /// The first event of the trail, told or yet to be, that is like this.
    async fn event(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        if let Some(event) = self.events.iter().find(|event| is_it(event)) {
            return event.clone();
        }
        loop {
            let line = self.trail.line().await.expect("the trail goes on");
            let event: Value = serde_json::from_str(&line).expect("JSON");
            self.events.push(event.clone());
            if is_it(&event) {
                return event;
            }
        }
    }

    /// The first event of this kind about this client.
    async fn told(&mut self, name: &str, kind: &str) -> Value {
        self.event(|event| event["client"] == name && event["event"] == kind)
            .await
    }

    /// The first look at a document that is told with this outcome after `after`.
    async fn looked(&mut self, name: &str, outcome: &str, after: &Value) -> Value {
        let after = after["seq"].as_u64().unwrap_or_default();
        self.event(|event| {
            event["client"] == name
                && event["event"] == "drifted"
                && event["outcome"] == outcome
                && event["seq"].as_u64() > Some(after)
        })
        .await
    }

    async fn show(&self, name: &str) -> Value {
        self.agent.json(["client", "show", name]).await
    }

    /// Serves something else than what was approved.
    fn drift(&self, name: &str) {
        let mut document = self.document(name);
        match name {
            "widened" => {
                let own = document["redirect_uris"][0].clone();
                document["redirect_uris"] = json!([own, "https://evil.example/callback"]);
            }
            "downgraded" => document["token_endpoint_auth_method"] = "none".into(),
            "added" => return self.serve_keys(name, &[1, 2, 3]),
            "removed" => return self.serve_keys(name, &[1]),
            "renamed" => document["client_name"] = "Somebody else".into(),
            "two-faced" => {
                let approved = page(&document.to_string());
                let both = Page::ByReader(approved.into(), page(&other_face(self)).into());
                return self.host.serve(&path(name, "client.json"), both);
            }
            "away" => {
                let nothing = answer("503 Service Unavailable", "", "");
                return self.host.serve(&path(name, "client.json"), nothing);
            }
            _ => panic!("{name} does not drift"),
        }
        self.serve(name, &document);
    }
}

fn path(name: &str, file: &str) -> String {
    format!("/{name}/{file}")
}

/// What authorization servers are shown of the client that has two faces.
fn other_face(stage: &Stage) -> String {
    let mut document = stage.document("two-faced");
    document["scope"] = "everything".into();
    document.to_string()
}

/// A set of these keys.
fn key_set(numbers: &[u32]) -> String {
    let key = |number: &u32| {
        let x = format!("{number:A<43}");
        json!({"kty": "EC", "crv": "P-256", "x": x, "y": x, "kid": number.to_string()})
    };
    let keys: Vec<Value> = numbers.iter().map(key).collect();
    json!({"keys": keys}).to_string()
}

fn findings(event: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let findings = event["evidence"]["findings"].as_array().expect("findings");
    let finding = |finding: &Value| (text(&finding["class"]), text(&finding["what"]));
    findings.iter().map(finding).collect()
}

/// What an event about drift has to say, whatever is done.
fn is_as_drifted(stage: &Stage, name: &str, event: &Value, class: &str, what: &str) {
    let found = findings(event);
    let fits = |(found, about): &(String, String)| found == class && about.contains(what);
    assert!(found.iter().any(fits), "{name}: {event}");
    let approved = stage.document(name).to_string();
    let (document, keys) = (sha256(&approved), sha256(&key_set(&[1, 2])));
    let evidence = &event["evidence"];
    assert_eq!(evidence["approved"]["document"], document, "{event}");
    assert_eq!(evidence["approved"]["jwks"], keys, "{event}");
    assert_eq!(evidence["url"], stage.url(name, "client.json"), "{event}");
    let expected: BTreeMap<&str, Value> = match name {
        "added" => [
            ("document", document.into()),
            ("jwks", sha256(&key_set(&[1, 2, 3])).into()),
        ]
        .into(),
        "removed" => [
            ("document", document.into()),
            ("jwks", sha256(&key_set(&[1])).into()),
        ]
        .into(),
        "away" => [("document", Value::Null), ("jwks", keys.into())].into(),
        "two-faced" => [
            ("document", document.into()),
            ("document_for_others", sha256(&other_face(stage)).into()),
            ("jwks", keys.into()),
        ]
        .into(),
        _ => {
            assert_ne!(evidence["found"]["document"], document, "{event}");
            let found = evidence["found"]["document"].clone();
            [("document", found), ("jwks", keys.into())].into()
        }
    };
    assert_eq!(evidence["found"], json!(expected), "{name}");
}

/// Registers a client for each kind, and lets all of them drift at once.
async fn all_drift(on_drift: &str) -> Stage {
    let stage = Stage::new().await;
    for (name, _, _) in KINDS {
        stage.register(name, on_drift, &[NOBODY.to_owned()]).await;
    }
    for (name, _, _) in KINDS {
        stage.look(name).await;
        let shown = stage.show(name).await;
        assert_eq!(shown["external_document"]["outcome"], "approved", "{shown}");
    }
    for (name, _, _) in KINDS {
        stage.drift(name);
    }
    stage
}

#[tokio::test]
async fn each_kind_of_drift_is_told_and_no_more_where_that_was_asked_for() {
    let mut stage = all_drift("alert").await;
    for (name, class, what) in KINDS {
        let told = stage.told(name, "drifted").await;
        is_as_drifted(&stage, name, &told, class, what);
        assert_eq!(told["evidence"]["action"], "alert");
        let outcome = if name == "away" { "failed" } else { "refused" };
        assert_eq!(told["outcome"], outcome, "{told}");
    }
    for (name, class, what) in KINDS {
        // More looks than make what cannot be had a ground to act.
        stage.host.looks(&path(name, "client.json"), 3).await;
        let shown = stage.show(name).await;
        assert_eq!(shown["state"], "active", "{shown}");
        let seen = &shown["external_document"];
        let finding = seen["findings"].to_string();
        assert!(finding.contains(class) && finding.contains(what), "{seen}");
        let found = &stage.told(name, "drifted").await["evidence"]["found"];
        assert_eq!(seen["document_digest"], found["document"], "{seen}");
        assert_eq!(seen["jwks_digest"], found["jwks"], "{seen}");
    }
    let table = stage.agent.run(["client", "show", "widened"]).await;
    let table = table.success();
    assert!(table.contains("drifted, looked at"), "{table}");
    assert!(table.contains("https://evil.example/callback"), "{table}");
}

#[tokio::test]
async fn each_kind_of_drift_suspends_where_that_was_asked_for() {
    let mut stage = all_drift("suspend").await;
    for (name, class, what) in KINDS {
        let told = stage.told(name, "drifted").await;
        is_as_drifted(&stage, name, &told, class, what);
        // What cannot be had is acted upon only after some looks.
        let action = if name == "away" { "alert" } else { "suspend" };
        assert_eq!(told["evidence"]["action"], action, "{told}");
        let suspended = stage.told(name, "suspended").await;
        assert_eq!(suspended["operator"], "agent", "{suspended}");
        let reason = suspended["reason"].as_str().unwrap();
        assert!(reason.contains(class), "{suspended}");
        let shown = stage.show(name).await;
        assert_eq!(shown["state"], "suspended", "{shown}");
        assert_eq!(shown["state_reason"], reason, "{shown}");
        let seen = shown["external_document"]["findings"].to_string();
        assert!(seen.contains(class), "{shown}");
    }
}

#[tokio::test]
async fn each_kind_of_drift_revokes_where_that_was_asked_for() {
    let mut stage = all_drift("revoke").await;
    for (name, class, what) in KINDS {
        let told = stage.told(name, "drifted").await;
        is_as_drifted(&stage, name, &told, class, what);
        let suspended = stage.told(name, "suspended").await;
        assert_eq!(suspended["operator"], "agent", "{suspended}");
        if name == "away" {
            continue;
        }
        let revoked = stage.told(name, "revoked").await;
        assert_eq!(revoked["operator"], "agent", "{revoked}");
        let reason = revoked["reason"].as_str().unwrap();
        assert!(reason.contains(class), "{revoked}");
        let shown = stage.show(name).await;
        assert_eq!(shown["state"], "revoked", "{shown}");
    }
    // Anybody on the way can cause it: nothing is revoked for it, however long it lasts.
    stage.host.looks("/away/client.json", 2).await;
    assert_eq!(stage.show("away").await["state"], "suspended");
}

/// The streams of its processes end, and an operator who resumes it helps for one look at most.
#[tokio::test]
async fn a_suspended_clients_streams_end_until_its_document_is_approved_again() {
    let mut stage = Stage::new().await;
    let own = Program::itself().selectors();
    stage.register("renamed", "suspend", &own).await;
    stage.look("renamed").await;
    let mut api = workload_api(&stage.agent).await;
    let stream = api.fetch_x509svid(X509svidRequest {}).await.unwrap();
    let mut stream = stream.into_inner();
    let first = within("an SVID", stream.message()).await.unwrap();
    assert!(first.is_some());

    stage.drift("renamed");
    let end = loop {
        match within("the end of the stream", stream.message()).await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    assert_eq!(end.unwrap_err().code(), Code::PermissionDenied);
    let suspended = stage.told("renamed", "suspended").await;
    stage.told("renamed", "withdrawn").await;
    let denied = api.fetch_x509svid(X509svidRequest {}).await;
    assert_eq!(denied.unwrap_err().code(), Code::PermissionDenied);

    let resume = ["client", "resume", "renamed"];
    stage.agent.run(resume).await.success();
    let after = suspended["seq"].as_u64();
    let again = |event: &Value| event["event"] == "suspended" && event["seq"].as_u64() > after;
    let again = stage.event(again).await;
    assert_eq!(again["operator"], "agent");

    stage.serve("renamed", &stage.document("renamed"));
    let back = stage.looked("renamed", "accepted", &again).await;
    assert_eq!(findings(&back), []);
    stage.agent.run(resume).await.success();
    stage.look("renamed").await;
    assert_eq!(stage.show("renamed").await["state"], "active");
    let stream = api.fetch_x509svid(X509svidRequest {}).await.unwrap();
    let svid = within("an SVID", stream.into_inner().message()).await;
    assert!(svid.unwrap().is_some());
}

/// What is served is nobody's approval: a second person takes the digest that is shown.
#[tokio::test]
async fn a_document_of_others_counts_once_it_is_approved() {
    let test = "a_document_of_others_counts_once_it_is_approved";
    if !can_run(test, is_root(), "run the tests as root") {
        return;
    }
    let governed = |setup: Setup| {
        setup
            .set("registry", "approvals_required", 1)
            .top("operators", operators())
    };
    let mut stage = Stage::on(Host::start().await, "localhost", governed).await;
    let program = Program::at(symbolon());
    let program = program.copy_to(stage.agent.setup().directory(), "operator");
    stage.register("app", "suspend", &[NOBODY.to_owned()]).await;
    let shown = stage.show("app").await;
    assert_eq!(shown["state"], "new", "{shown}");
    assert_eq!(stage.host.served("/app/client.json").requests, 0);
    approve(&stage, &program).await;
    stage.look("app").await;

    // The host has a new document, which is registered as it is, and nobody has approved it yet.
    let mut document = stage.document("app");
    document["client_name"] = "App, version 2".into();
    let [file, _keys] = stage.publish("app", &document);
    let drifted = stage.told("app", "drifted").await;
    stage.told("app", "suspended").await;
    let file = file.to_str().unwrap();
    let update = ["client", "update", "app", "--metadata", file];
    let update = [&update[..], &["--accept-weak", "a test"]].concat();
    stage.agent.run_list(&update).await.success();
    stage.look("app").await;
    let shown = stage.show("app").await;
    assert_eq!(shown["external_document"]["outcome"], "drifted", "{shown}");

    approve(&stage, &program).await;
    let found = &drifted["evidence"]["found"]["document"];
    let approved = stage.show("app").await;
    assert_eq!(approved["metadata"]["document_digest"], *found);
    stage.look("app").await;
    let shown = stage.show("app").await;
    assert_eq!(shown["external_document"]["outcome"], "approved", "{shown}");
}

/// Another operator approves what of the client `app` is pending.
async fn approve(stage: &Stage, program: &Program) {
    let pending = stage.show("app").await["pending"].clone();
    let number = pending["version"].to_string();
    let digest = pending["digest"].as_str().unwrap();
    let mut command = stage.agent.command(program.path());
    command.args(["client", "approve", "app", "--version", &number]);
    command.args(["--digest", digest]).uid(64_001).gid(64_001);
    Workload::start(&mut command).end().await.success();
}
