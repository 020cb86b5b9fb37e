//! The stored form, and that nothing which departs from it is served.

use super::{
    Arc, ClientDraft, Duration, MemoryStore, RegistryError, Running, START, Standing, Store as _,
    config, draft,
};
use crate::registry::{Bar, Digest, Record, RecordFault, RegistryConfig, SpecError, limits};
use serde_json::{Value, json};
use std::slice;

async fn documents(store: &MemoryStore) -> Vec<String> {
    let records = store.read(0, usize::MAX).await.unwrap();
    records
        .iter()
        .map(|record| String::from_utf8(record.document.to_vec()).unwrap())
        .collect()
}

#[tokio::test]
async fn records_have_their_golden_form() {
    let store = Arc::new(MemoryStore::new());
    let running = Running::on(Arc::<MemoryStore>::clone(&store)).await;
    let full = ClientDraft {
        owner: " team-search ".into(),
        purpose: "Finds \"things\".".into(),
        spiffe_id: Some("spiffe://example.org/search/web".into()),
        selector_sets: vec![
            vec![
                "unix:uid:1000".into(),
                "unix:gid:5".into(),
                "unix:uid:1000".into(),
            ],
            vec!["cgroup:path:/a".into()],
            vec!["unix:gid:5".into(), "unix:uid:1000".into()],
        ],
        audiences: vec!["https://b.example".into(), "https://a.example".into()],
        max_audiences: Some(2),
        x509_ttl: Some(Duration::from_secs(600)),
        jwt_ttl: Some(Duration::from_secs(60)),
        hint: Some("internal".into()),
        dns_names: vec!["B.example".into(), "a.example".into()],
        expires_at: Some(*START + Duration::from_millis(10_999)),
        ..ClientDraft::default()
    };
    running.register("web", full).await.unwrap();
    running.update("web", draft(&["unix:uid:2"])).await.unwrap();
    running.stand("web", Standing::Suspended).await.unwrap();
    running.stand("web", Standing::Active).await.unwrap();

    let golden: Vec<_> = include_str!("records.golden.jsonl").lines().collect();
    assert_eq!(documents(&store).await, golden);
    let records = store.read(0, usize::MAX).await.unwrap();
    assert!(
        records
            .iter()
            .all(|record| record.digest == Digest::of(&record.document))
    );
}

/// A store with what somebody else has written, one document after the other.
async fn written(documents: &[Value]) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new());
    let record = |(revision, document): (u64, &Value)| {
        let document = serde_json::to_vec(document).unwrap();
        Record {
            revision,
            digest: Digest::of(&document),
            document: document.into(),
        }
    };
    store
        .append((1..).zip(documents).map(record).collect())
        .await
        .unwrap();
    store
}

fn version(client: &str, number: u64, previous: Option<Digest>) -> Value {
    json!({"version": {
        "at": 1_800_000_000, "author": "uid:0", "client": client, "number": number,
        "previous": previous, "reason": "", "spec": {
            "audiences": [], "dns_names": [], "expires_at": null, "hint": null, "jwt_ttl": null,
            "max_audiences": 1, "owner": "me", "purpose": "",
            "selector_sets": [["unix:uid:1"]],
            "spiffe_id": format!("spiffe://example.org/mcp/client/{client}"), "x509_ttl": null,
        }
    }})
}

fn state(client: &str, number: u64, previous: Option<Digest>, to: &str) -> Value {
    json!({"state": {
        "at": 1_800_000_000, "author": "uid:0", "client": client, "number": number,
        "previous": previous, "reason": "on a hunch", "to": to,
    }})
}

fn digest(document: &Value) -> Digest {
    Digest::of(&serde_json::to_vec(document).unwrap())
}

/// `document` with another value at `pointer`.
fn altered(mut document: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    document.pointer_mut(parent).unwrap()[name] = value;
    document
}

async fn fault(documents: &[Value]) -> RecordFault {
    let opened = Running::with(written(documents).await, config()).await;
    let Err(RegistryError::Record(error)) = opened.map(drop) else {
        panic!("{documents:?}")
    };
    assert_eq!(error.revision, documents.len() as u64);
    Arc::into_inner(error).unwrap().fault
}

#[tokio::test]
async fn what_is_well_formed_is_served() {
    let first = version("a", 1, None);
    let second = version("a", 2, Some(digest(&first)));
    let suspended = state("a", 1, None, "suspended");
    let revoked = state("a", 2, Some(digest(&suspended)), "revoked");
    let store = written(&[first, suspended, second, revoked]).await;
    let running = Running::on(store).await;
    assert_eq!(running.registry.snapshot().revision(), 4);
    assert_eq!(running.state("a").as_str(), "revoked");
}

#[tokio::test]
async fn unknown_kinds_fields_and_values_are_refused() {
    let good = version("a", 1, None);
    for bad in [
        json!({"approval": {}}),
        json!([]),
        json!({"version": good["version"], "state": {}}),
        altered(good.clone(), "/version/accept_weak", json!(true)),
        altered(good.clone(), "/version/spec/review_after", json!(1)),
        altered(good.clone(), "/version/approvals_required", json!(-1)),
        json!({"decision": {"client": "a"}}),
        altered(good.clone(), "/version/client", json!("A")),
        altered(good.clone(), "/version/at", json!(-1)),
        altered(good.clone(), "/version/at", json!(u64::MAX)),
        altered(
            good.clone(),
            "/version/spec/spiffe_id",
            json!("https://example.org/a"),
        ),
        altered(
            good.clone(),
            "/version/spec/selector_sets",
            json!([["no selector"]]),
        ),
        altered(good.clone(), "/version/previous", json!("ABC")),
    ] {
        let fault = fault(slice::from_ref(&bad)).await;
        assert!(
            matches!(fault, RecordFault::Unreadable(_)),
            "{bad}: {fault:?}"
        );
    }
    for word in ["asleep", "new"] {
        let state = state("a", 1, None, word);
        assert!(matches!(
            fault(&[good.clone(), state]).await,
            RecordFault::Unreadable(_)
        ));
    }
}

#[tokio::test]
async fn records_that_break_a_rule_are_refused() {
    let good = version("a", 1, None);
    let numbered = |count: usize| (0..count).map(|n| json!(format!("n{n:03}"))).collect();
    let selectors = |count: usize| (0..count).map(|n| json!(format!("a:{n:03}")));
    let many_sets = selectors(limits::SELECTOR_SETS + 1)
        .map(|text| json!([text]))
        .collect();
    let many_selectors: Value = selectors(limits::SELECTORS_PER_SET + 1).collect();
    for (pointer, value) in [
        ("/version/spec/spiffe_id", json!("spiffe://example.net/a")),
        (
            "/version/spec/spiffe_id",
            json!("spiffe://example.org/spire/agent"),
        ),
        ("/version/spec/spiffe_id", json!("spiffe://example.org")),
        ("/version/spec/selector_sets", json!([])),
        ("/version/spec/selector_sets", json!([[]])),
        ("/version/spec/max_audiences", json!(0)),
        // No draft comes to these: unsorted, repeated, or more than the limit.
        ("/version/spec/audiences", json!(["b", "a"])),
        ("/version/spec/audiences", json!(["a", "a"])),
        ("/version/spec/audiences", numbered(limits::AUDIENCES + 1)),
        ("/version/spec/dns_names", json!(["b.example", "a.example"])),
        ("/version/spec/dns_names", numbered(limits::DNS_NAMES + 1)),
        ("/version/spec/selector_sets", json!([["a:2", "a:1"]])),
        ("/version/spec/selector_sets", json!([["a:2"], ["a:1"]])),
        ("/version/spec/selector_sets", many_sets),
        ("/version/spec/selector_sets", json!([many_selectors])),
    ] {
        let fault = fault(&[altered(good.clone(), pointer, value)]).await;
        assert!(
            matches!(fault, RecordFault::Spec(_)),
            "{pointer}: {fault:?}"
        );
    }
}

#[tokio::test]
async fn broken_chains_are_refused() {
    let first = version("a", 1, None);
    let other = Some(Digest::of(b"something else"));
    for documents in [
        vec![version("a", 2, None)],
        vec![version("a", 1, other)],
        vec![first.clone(), version("a", 2, other)],
        vec![first.clone(), version("a", 2, None)],
        vec![first.clone(), version("a", 3, Some(digest(&first)))],
        vec![first.clone(), first.clone()],
        vec![state("a", 1, None, "suspended")],
        vec![first.clone(), state("a", 2, None, "suspended")],
        vec![first.clone(), state("a", 1, other, "suspended")],
    ] {
        let fault = fault(&documents).await;
        assert!(
            matches!(fault, RecordFault::Chain(_)),
            "{documents:?}: {fault:?}"
        );
    }
}

#[tokio::test]
async fn changes_that_a_state_does_not_allow_are_refused() {
    let first = version("a", 1, None);
    let revoked = state("a", 1, None, "revoked");
    let suspended = state("a", 1, None, "suspended");
    let after = |state: &Value| Some(digest(state));
    for documents in [
        vec![first.clone(), state("a", 1, None, "active")],
        vec![
            first.clone(),
            altered(revoked.clone(), "/state/reason", json!(" ")),
        ],
        vec![
            first.clone(),
            altered(suspended.clone(), "/state/reason", json!("")),
        ],
        vec![
            first.clone(),
            suspended.clone(),
            state("a", 2, after(&suspended), "suspended"),
        ],
        vec![
            first.clone(),
            revoked.clone(),
            state("a", 2, after(&revoked), "active"),
        ],
        vec![
            first.clone(),
            revoked.clone(),
            state("a", 2, after(&revoked), "revoked"),
        ],
        vec![first.clone(), revoked, version("a", 2, after(&first))],
    ] {
        let fault = fault(&documents).await;
        assert!(
            matches!(fault, RecordFault::Standing(_)),
            "{documents:?}: {fault:?}"
        );
    }
}

fn decision(version: &Value, verdict: &str, author: &str) -> Value {
    json!({"decision": {
        "about": {"version": version["version"]["number"]}, "at": 1_800_000_000,
        "author": author, "client": "a", "digest": digest(version), "number": 1,
        "previous": null, "reason": "on a hunch", "verdict": verdict,
    }})
}

#[tokio::test]
async fn what_was_stored_before_there_were_approvals_is_in_force() {
    let golden = include_str!("records.golden.jsonl").lines();
    let records = (1..).zip(golden).map(|(revision, line)| Record {
        revision,
        digest: Digest::of(line.as_bytes()),
        document: line.into(),
    });
    let store = Arc::new(MemoryStore::new());
    store.append(records.collect()).await.unwrap();
    let config = RegistryConfig {
        approvals_required: 2,
        ..config()
    };
    let running = Running::with(store, config).await.unwrap();
    assert_eq!(running.state("web").as_str(), "active");
    assert_eq!(running.matching(&["unix:uid:2"]), ["web"]);
}

#[tokio::test]
async fn decisions_that_do_not_count_are_refused() {
    let first = altered(
        version("a", 1, None),
        "/version/approvals_required",
        json!(1),
    );
    let author = "uid:0";
    let bars = [
        (decision(&first, "approve", author), Bar::Author),
        (decision(&first, "withdraw", "uid:1"), Bar::NotAuthor),
        (
            altered(
                decision(&first, "reject", "uid:1"),
                "/decision/reason",
                json!(""),
            ),
            Bar::NoReason,
        ),
    ];
    for (bad, bar) in bars {
        let fault = fault(&[first.clone(), bad]).await;
        assert!(
            matches!(fault, RecordFault::Barred(_, found) if found == bar),
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn decisions_about_nothing_and_out_of_order_are_refused() {
    let first = altered(
        version("a", 1, None),
        "/version/approvals_required",
        json!(1),
    );
    let at_once = version("a", 1, None);
    let good = decision(&first, "approve", "uid:1");
    let again = altered(
        altered(good.clone(), "/decision/number", json!(2)),
        "/decision/previous",
        json!(digest(&good)),
    );
    for documents in [
        vec![at_once.clone(), decision(&at_once, "approve", "uid:1")],
        vec![first.clone(), decision(&at_once, "approve", "uid:1")],
        vec![
            first.clone(),
            altered(good.clone(), "/decision/about", json!({"version": 2})),
        ],
        vec![
            first.clone(),
            altered(good.clone(), "/decision/about", json!({"state": 1})),
        ],
        vec![first.clone(), good.clone(), again],
    ] {
        let fault = fault(&documents).await;
        assert!(
            matches!(fault, RecordFault::NotPending(_)),
            "{documents:?}: {fault:?}"
        );
    }
    for documents in [
        vec![good.clone()],
        vec![
            first.clone(),
            altered(good.clone(), "/decision/number", json!(2)),
        ],
        vec![first.clone(), good.clone(), good.clone()],
    ] {
        let fault = fault(&documents).await;
        assert!(
            matches!(fault, RecordFault::Chain(_)),
            "{documents:?}: {fault:?}"
        );
    }
    let running = Running::on(written(&[first, good]).await).await;
    assert_eq!(running.state("a").as_str(), "active");
}

#[tokio::test]
async fn taking_away_that_would_need_approval_is_refused() {
    let first = version("a", 1, None);
    let suspended = altered(
        state("a", 1, None, "suspended"),
        "/state/approvals_required",
        json!(1),
    );
    let fault = fault(&[first, suspended]).await;
    assert!(matches!(fault, RecordFault::Standing(_)), "{fault:?}");
}

#[tokio::test]
async fn the_id_of_another_client_is_refused() {
    let first = version("a", 1, None);
    let thief = altered(
        version("b", 1, None),
        "/version/spec/spiffe_id",
        json!("spiffe://example.org/mcp/client/a"),
    );
    assert!(matches!(
        fault(&[first, thief]).await,
        RecordFault::ForeignId(_)
    ));
}

#[tokio::test]
async fn content_that_does_not_have_its_digest_is_refused() {
    let store = Arc::new(MemoryStore::new());
    let document = serde_json::to_vec(&version("a", 1, None)).unwrap();
    let record = Record {
        revision: 1,
        digest: Digest::of(b"other"),
        document: document.into(),
    };
    store.append(vec![record]).await.unwrap();
    let Err(RegistryError::Record(error)) = Running::with(store, config()).await.map(drop) else {
        panic!("it was opened");
    };
    assert!(matches!(error.fault, RecordFault::Digest));
}

#[tokio::test]
async fn a_record_that_is_too_long_is_refused_unread() {
    let spaces = " ".repeat(limits::RECORD_BYTES);
    let store = Arc::new(MemoryStore::new());
    let record = Record {
        revision: 1,
        digest: Digest::of(spaces.as_bytes()),
        document: format!("{spaces} ").into(),
    };
    store.append(vec![record]).await.unwrap();
    let Err(RegistryError::Record(error)) = Running::with(store, config()).await.map(drop) else {
        panic!("it was opened");
    };
    assert!(matches!(
        error.fault,
        RecordFault::Spec(SpecError::TooLarge { .. })
    ));
}
