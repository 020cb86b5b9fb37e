//! One vector for each rule, and documents that break none.
//!
//! `vectors.json` has documents that break a rule each, which others judge too.

use super::{Described, Policy, Severity, Weakness, judge, parse};
use crate::{
    lint::{Finding, Subject},
    registry::{ClientDraft, MetadataDraft},
    workloads::testing::{Scene, draft},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

const URL: &str = "https://app.example.org/client.json";

fn good() -> Value {
    json!({
        "client_id": URL,
        "client_name": "Example",
        "redirect_uris": ["https://app.example.org/callback"],
        "token_endpoint_auth_method": "private_key_jwt",
        "jwks_uri": "https://app.example.org/jwks.json",
        "software_version": "1",
        "something_else": {"a": [1, true]},
    })
}

fn described(document: &Value, url: &str) -> Result<Described, Finding> {
    parse(document.to_string().as_bytes(), Some(url))
}

fn ids(found: &[Finding]) -> Vec<String> {
    let line = |f: &Finding| format!("{} {} {}", f.weakness.id(), f.severity.as_str(), f.pointer);
    found.iter().map(line).collect()
}

fn vectors() -> Vec<Value> {
    serde_json::from_str(include_str!("vectors.json")).unwrap()
}

#[test]
fn each_vector_breaks_its_rule_where_it_points() {
    for vector in vectors() {
        let url = vector["url"].as_str();
        let text = match &vector["text"] {
            Value::String(text) => text.clone(),
            _ => vector["document"].to_string(),
        };
        let found = match parse(text.as_bytes(), url) {
            Err(finding) => vec![finding],
            Ok(document) => judge(&document, &Policy::default()),
        };
        let (rule, pointer) = (&vector["rule"], &vector["pointer"]);
        if rule.is_null() {
            let worst = found.iter().map(|f| f.severity).max();
            assert!(worst <= Some(Severity::Notice), "{vector}: {found:?}");
            continue;
        }
        let is_it = |f: &&Finding| f.weakness.id() == rule && f.pointer == *pointer;
        assert!(found.iter().any(|f| is_it(&f)), "{vector}: {found:?}");
        // And no other, but for what follows from it: keys of files are never pinned.
        let others: Vec<_> = found.iter().filter(|f| !is_it(f)).collect();
        let follows = |f: &&&Finding| {
            let pairs = [
                ("redirect-uri-wildcard", "redirect-uri-origin"),
                ("redirect-uri-user-info", "redirect-uri-origin"),
                ("redirect-uri-plain-http", "redirect-uri-origin"),
                ("client-id-scheme", "redirect-uri-origin"),
                ("symmetric-method", "no-client-authentication"),
                ("member-type", "client-name-missing"),
            ];
            let pair = (rule.as_str().unwrap(), f.weakness.id());
            f.weakness != Weakness::KeysNotPinned && !pairs.contains(&pair)
        };
        let others: Vec<_> = others.iter().filter(|f| follows(f)).collect();
        assert!(others.is_empty(), "{vector}: {others:?}");
    }
}

#[test]
fn there_is_a_vector_for_each_rule_about_a_document_alone() {
    let vectors = vectors();
    let covered: BTreeSet<_> = vectors.iter().filter_map(|v| v["rule"].as_str()).collect();
    let prefixes = [
        "client-id",
        "client-name",
        "document",
        "grant",
        "keys",
        "member",
        "private",
        "redirect",
        "secret-",
        "symmetric",
        "url-",
        "no-client",
    ];
    let about_documents = Weakness::ALL.iter().map(|weakness| weakness.id());
    let about_documents = about_documents.filter(|id| prefixes.iter().any(|p| id.starts_with(p)));
    // These need other clients: below.
    let beside = ["client-id-taken", "redirect-uri-shared"];
    let missing: Vec<_> = about_documents
        .filter(|id| !covered.contains(id) && !beside.contains(id))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// `accepted_by` is what the programs under `tests/interop` say, which compare it.
#[test]
fn every_difference_from_the_validators_of_others_is_listed_with_its_reason() {
    let mut differences: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for vector in vectors() {
        let Some(rule) = vector["rule"].as_str() else {
            continue;
        };
        let weakness = Weakness::ALL.iter().find(|weakness| weakness.id() == rule);
        if NOTICES.contains(weakness.unwrap()) {
            continue;
        }
        for name in vector["accepted_by"].as_array().unwrap() {
            let names = differences.entry(rule.to_owned()).or_default();
            names.insert(name.as_str().unwrap().to_owned());
        }
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("doc/client-metadata.md");
    let page = fs::read_to_string(page).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = rows.filter_map(|row| row.split_once("` | "));
    let listed = rows.filter(|(rule, _)| Weakness::ALL.iter().any(|w| w.id() == *rule));
    let listed: BTreeMap<_, _> = listed
        .map(|(rule, row)| {
            let (names, why) = row.split_once(" | ").unwrap();
            assert!(why.len() > 10, "{row}");
            let names = names.split(", ").map(str::to_owned).collect();
            (rule.to_owned(), names)
        })
        .collect();
    assert_eq!(listed, differences);
}

/// Rules whose findings are refused by nobody.
const NOTICES: [Weakness; 5] = [
    Weakness::ClientIdQuery,
    Weakness::GrantWithoutResponse,
    Weakness::KeysNotPinned,
    Weakness::NoClientAuthentication,
    Weakness::RedirectUriLocalhost,
];

#[test]
fn a_good_document_is_good() {
    let found = judge(&described(&good(), URL).unwrap(), &Policy::default());
    assert_eq!(ids(&found), ["keys-not-pinned notice /jwks_uri"]);
    let mut native = good();
    native["application_type"] = "native".into();
    native["redirect_uris"] = json!([
        "http://127.0.0.1/callback",
        "http://[::1]:3000/callback",
        "org.example.app:/callback",
    ]);
    let mut native = described(&native, URL).unwrap();
    native.has_pinned_keys = true;
    assert_eq!(ids(&judge(&native, &Policy::default())), [""; 0]);
}

#[test]
fn origins_are_allowed_by_name() {
    let mut document = good();
    document["redirect_uris"] = json!(["https://login.example.net/cb"]);
    let mut document = described(&document, URL).unwrap();
    document.has_pinned_keys = true;
    let found = judge(&document, &Policy::default());
    assert_eq!(
        ids(&found),
        ["redirect-uri-origin serious /redirect_uris/0"]
    );
    document.allowed_origins = vec!["https://login.example.net".into()];
    assert_eq!(judge(&document, &Policy::default()), []);
}

#[test]
fn hosts_are_approved_by_the_operator() {
    let mut document = described(&good(), URL).unwrap();
    document.has_pinned_keys = true;
    document.allowed_origins = vec!["https://login.example.net".into()];
    let policy = |hosts: &[&str]| Policy {
        approved_hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
        ..Policy::default()
    };
    let found = judge(&document, &policy(&["*.example.org"]));
    let expected = ["host-not-approved forbidden /allowed_redirect_origins/0"];
    assert_eq!(ids(&found), expected);
    let found = judge(&document, &policy(&["other.example.org"]));
    assert_eq!(found.len(), 4, "{found:?}");
}

fn with(metadata: MetadataDraft, uid: u32) -> ClientDraft {
    ClientDraft {
        selector_sets: vec![vec![format!("unix:uid:{uid}")]],
        metadata: Some(metadata),
        ..draft()
    }
}

fn governed(redirect: &str) -> MetadataDraft {
    MetadataDraft {
        client_name: "Example".into(),
        redirect_uris: vec![redirect.into()],
        application_type: "native".into(),
        ..MetadataDraft::default()
    }
}

fn external(id: &str, other: &str) -> MetadataDraft {
    MetadataDraft {
        hosting: "external".into(),
        client_id: id.into(),
        document_digest: "ab".repeat(32),
        jwks_digest: "ab".repeat(32),
        token_endpoint_auth_method: "private_key_jwt".into(),
        other: other.into(),
        ..governed("org.example.external:/callback")
    }
}

fn policy() -> Policy {
    Policy {
        public_url: "https://id.example.org".parse().ok(),
        ..Policy::default()
    }
}

fn beside(scene: &Scene, name: &str, metadata: MetadataDraft) -> Vec<String> {
    let subject = Subject {
        name: name.parse().ok(),
        metadata: Some(metadata),
        ..Subject::default()
    };
    let document = subject.document(&policy()).unwrap();
    let snapshot = scene.registry.snapshot();
    ids(&super::judge_beside(
        &subject,
        &document,
        &snapshot,
        &policy(),
    ))
}

#[tokio::test]
async fn clients_share_neither_ids_nor_keys_nor_redirect_uris() {
    let scene = Scene::new().await;
    let key = r#"{"kty": "EC", "crv": "P-256", "x": "eA", "y": "eQ", "kid": "one"}"#;
    let renamed = key.replace("one", "two");
    let keys = |key: &str| format!(r#"{{"jwks": {{"keys": [{key}]}}}}"#);
    let first = external("https://a.example/client.json", &keys(key));
    scene.register_as("first", with(first.clone(), 990)).await;

    let found = beside(&scene, "second", first.clone());
    let expected = [
        "client-id-taken forbidden /client_id",
        "redirect-uri-shared serious /redirect_uris/0",
        "key-shared serious /jwks/keys/0",
    ];
    assert_eq!(found, expected);
    // Not with itself.
    assert_eq!(beside(&scene, "first", first), [""; 0]);
    // By another name it is the same key.
    let other = MetadataDraft {
        redirect_uris: Vec::new(),
        ..external("https://b.example/client.json", &keys(&renamed))
    };
    assert_eq!(
        beside(&scene, "second", other),
        ["key-shared serious /jwks/keys/0"]
    );
    let linked = r#"{"jwks_uri": "https://a.example/jwks.json"}"#;
    let linked = |id: &str, redirect: &str| MetadataDraft {
        redirect_uris: vec![redirect.into()],
        ..external(id, linked)
    };
    let third = linked("https://c.example/client.json", "org.example.c:/cb");
    scene.register_as("third", with(third, 991)).await;
    let fourth = linked("https://d.example/client.json", "org.example.d:/cb");
    assert_eq!(
        beside(&scene, "fourth", fourth),
        ["key-shared serious /jwks_uri"]
    );
}

#[tokio::test]
async fn documents_of_others_do_not_lie_where_the_agents_own_do() {
    let scene = Scene::new().await;
    let ours = external("https://id.example.org/clients/web/client.json", "");
    let found = beside(&scene, "second", ours);
    assert_eq!(found, ["client-id-taken forbidden /client_id"]);
    let elsewhere = external("https://id.example.org.evil.example/clients/a", "");
    assert_eq!(beside(&scene, "second", elsewhere), [""; 0]);
}

#[test]
fn governed_documents_are_judged_as_they_are_served() {
    let judged = |metadata: &MetadataDraft, policy: &Policy| {
        let name = "web".parse().ok();
        let document = Described::of(metadata, name.as_ref(), None, policy);
        judge(&document, policy)
    };
    let metadata = governed("http://127.0.0.1/callback");
    assert_eq!(judged(&metadata, &policy()), []);
    let found = judged(&metadata, &Policy::default());
    assert_eq!(ids(&found), ["no-public-url notice "]);
    let elsewhere = MetadataDraft {
        redirect_uris: vec!["https://app.example.org/cb".into()],
        ..metadata.clone()
    };
    let found = judged(&elsewhere, &policy());
    assert_eq!(
        ids(&found),
        ["redirect-uri-origin serious /redirect_uris/0"]
    );
    // With what the agent adds, it is too large.
    let large = MetadataDraft {
        contacts: (0..20)
            .map(|n| format!("{n:02}{}", "x".repeat(240)))
            .collect(),
        ..metadata
    };
    let found = judged(&large, &policy());
    assert_eq!(ids(&found), ["document-too-large forbidden "]);
}

#[test]
fn severities_are_in_order() {
    assert!(Severity::Forbidden > Severity::Serious && Severity::Serious > Severity::Notice);
}
