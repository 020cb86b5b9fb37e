//! Client metadata: from a file, as flags, shown and compared.

use super::{
    agent::{Agent, State, client, spec},
    golden, symbolon,
};
use crate::canonical::sha256_hex;
use serde_json::{Value, json};
use std::{fs, path::PathBuf, process::ExitCode};
use symbolon_proto::admin::{ClientMetadata, ClientSpec};

struct Host {
    agent: Agent,
    folder: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let state = State {
            clients: vec![client("payments", spec())],
            ..State::default()
        };
        Self {
            agent: Agent::new(state),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self, name: &str, text: impl ToString) -> String {
        let path: PathBuf = self.folder.path().join(name);
        fs::write(&path, text.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn update(&self, more: &[&str]) -> super::Outcome {
        self.agent
            .admin(&[&["client", "update", "payments"][..], more].concat())
    }

    fn spec(&self) -> ClientSpec {
        let state = self.agent.state.lock();
        let client = state
            .clients
            .iter()
            .find(|client| client.name == "payments");
        client.unwrap().spec.clone().unwrap()
    }

    fn metadata(&self) -> ClientMetadata {
        self.spec().metadata.unwrap()
    }
}

fn document() -> Value {
    json!({
        "client_name": "Payments",
        "redirect_uris": ["http://127.0.0.1/cb"],
        "application_type": "native",
        "token_endpoint_auth_method": "private_key_jwt",
        "dpop_bound_access_tokens": true,
    })
}

#[test]
fn a_file_says_what_authorization_servers_are_told() {
    let host = Host::new();
    let file = host.file("client.json", document());
    let out = host.update(&[
        "--metadata",
        &file,
        "--authorization-server",
        "https://as.example",
        "--federates-with",
        "other.example",
        "--allow-redirect-origin",
        "https://login.example.net",
    ]);
    golden("client-update-metadata.txt", &out.done());
    let metadata = host.metadata();
    assert_eq!(metadata.client_name, "Payments");
    assert_eq!(metadata.redirect_uris, ["http://127.0.0.1/cb"]);
    assert_eq!(metadata.other, r#"{"dpop_bound_access_tokens":true}"#);
    assert_eq!(metadata.document_digest, "");
    assert_eq!(host.spec().authorization_servers, ["https://as.example"]);
    assert_eq!(host.spec().federates_with, ["other.example"]);

    let show = |format: &str| {
        host.agent
            .admin(&["client", "show", "payments", "-o", format])
    };
    golden("client-show-metadata.txt", &show("table").done());
    let shown: Value = serde_json::from_str(&show("json").done()).unwrap();
    assert_eq!(shown["metadata"]["other"]["dpop_bound_access_tokens"], true);
    assert_eq!(shown["metadata"]["scope"], Value::Null);

    // The allowed origins stay, the members are the file's.
    let file = host.file("client.json", json!({"client_name": "Other"}));
    host.update(&["--metadata", &file]).done();
    let metadata = host.metadata();
    assert_eq!(metadata.redirect_uris, [""; 0]);
    let origins = ["https://login.example.net"];
    assert_eq!(metadata.allowed_redirect_origins, origins);
    host.update(&["--clear", "metadata", "--clear", "federates-with"])
        .done();
    assert_eq!(host.spec().metadata, None);
    assert_eq!(host.spec().federates_with, [""; 0]);
}

#[test]
fn a_document_of_others_is_pinned_by_its_bytes() {
    let host = Host::new();
    let mut text = document();
    text["client_id"] = "https://app.example/client.json".into();
    text["jwks_uri"] = "https://app.example/jwks.json".into();
    let text = format!("{text:#}\n");
    let (file, keys) = (host.file("a.json", &text), host.file("j.json", "{}"));
    let options = [
        "--hosting",
        "external",
        "--metadata",
        &file,
        "--jwks",
        &keys,
    ];
    host.update(&options).done();
    let metadata = host.metadata();
    assert_eq!(metadata.client_id, "https://app.example/client.json");
    assert_eq!(metadata.document_digest, sha256_hex(text.as_bytes()));
    assert_eq!(metadata.jwks_digest, sha256_hex(b"{}"));
    assert!(metadata.other.contains("jwks_uri"), "{}", metadata.other);
}

#[test]
fn files_that_are_no_documents_are_refused_before_the_agent_is_asked() {
    let host = Host::new();
    for text in [
        "",
        "[]",
        r#"{"client_name": 1}"#,
        r#"{"redirect_uris": "https://a/cb"}"#,
        r#"{"a": 1, "a": 2}"#,
    ] {
        let file = host.file("client.json", text);
        host.update(&["--metadata", &file]).refused(2);
    }
    let long = host.file("client.json", "x".repeat(1 << 20));
    host.update(&["--metadata", &long]).refused(1);
    host.update(&["--metadata", "/nowhere/client.json"])
        .refused(1);
    assert_eq!(host.spec(), spec());
}

#[test]
fn a_file_is_judged_without_an_agent() {
    let host = Host::new();
    let lint = |text: &str, more: &[&str]| {
        let file = host.file("client.json", text);
        symbolon(
            &[
                &["client", "lint", "--document", &file, "-o", "json"][..],
                more,
            ]
            .concat(),
        )
    };
    let mut wrong = document();
    wrong["client_id"] = "https://app.example/client.json".into();
    wrong["client_secret"] = "s".into();
    wrong["redirect_uris"] = json!(["https://b.example/cb"]);
    let url = "https://app.example/other.json";
    let out = lint(&wrong.to_string(), &["--client-id", url]);
    assert_eq!(out.code, ExitCode::from(1), "{out:?}");
    assert!(out.err.contains("the document breaks rules"), "{out:?}");
    let report: Value = serde_json::from_str(&out.out).unwrap();
    let findings = report["clients"][0]["findings"].as_array().unwrap();
    let ids: Vec<_> = findings.iter().map(|f| f["id"].as_str().unwrap()).collect();
    assert_eq!(
        ids,
        [
            "client-id-mismatch",
            "secret-in-document",
            "keys-missing",
            "redirect-uri-origin"
        ]
    );
    assert_eq!(findings[1]["pointer"], "/client_secret");
    let allowed = ["--allow-redirect-origin", "https://b.example"];
    let out = lint(&wrong.to_string(), &allowed);
    assert!(!out.out.contains("redirect-uri-origin"), "{out:?}");
    let out = lint("{", &[]);
    assert!(out.out.contains("document-malformed"), "{out:?}");

    let mut good = document();
    good["client_id"] = "https://app.example/client.json".into();
    good["jwks"] = json!({"keys": []});
    lint(&good.to_string(), &[]).done();
}

#[test]
fn the_document_itself_is_printed() {
    let host = Host::new();
    let show = || {
        host.agent
            .admin(&["client", "show", "payments", "--document"])
    };
    let refused = show().refused(4);
    assert!(refused.contains("identity.public_url"), "{refused}");
    host.agent.state.lock().clients[0].document = r#"{"a":1}"#.into();
    assert_eq!(show().done(), r#"{"a":1}"#);
}

#[test]
fn a_difference_is_told_member_by_member() {
    let host = Host::new();
    let file = host.file("client.json", document());
    host.update(&["--metadata", &file]).done();
    let mut wider = document();
    wider["redirect_uris"] = json!(["http://127.0.0.1/cb", "https://evil.example/cb"]);
    wider["dpop_bound_access_tokens"] = false.into();
    let file = host.file("client.json", wider);
    let out = host.update(&["--metadata", &file]).done();
    assert!(
        out.contains(
            "metadata.redirect_uris: [\"http://127.0.0.1/cb\"] -> \
             [\"http://127.0.0.1/cb\",\"https://evil.example/cb\"]\n"
        ),
        "{out}"
    );
    let flag = "metadata.other.dpop_bound_access_tokens: true -> false\n";
    assert!(out.contains(flag), "{out}");
    assert!(!out.contains("client_name"), "{out}");
}
