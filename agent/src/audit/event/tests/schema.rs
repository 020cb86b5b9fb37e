//! The schema document, against which golden lines of every event are held.

use super::{KINDS, line, line_in, noon};
use crate::audit::{
    AcceptedWeaknesses, Approvals, Authority, Chain, Credential, CredentialKind, Event, Kind,
    Outcome, Process, Summary,
};
use serde_json::{Value, json};
use std::{env, fs};

const SCHEMA: &str = include_str!("../../../../doc/audit.schema.json");
const GOLDEN: &str = include_str!("golden.jsonl");

/// What is wrong with `value` by `schema`. A keyword that this does not know is wrong
/// as well, so that nothing in the document is without effect here.
fn faults(schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut check = |holds: bool, what: &str| {
        if !holds {
            faults.push(format!("{at}: {what}"));
        }
    };
    let length = value.as_str().map(|text| text.chars().count() as u64);
    let mut inner = Vec::new();
    for (keyword, wanted) in schema.as_object().unwrap() {
        match keyword.as_str() {
            "$schema" | "title" | "description" | "then" => {}
            "type" => check(is_of(wanted.as_str().unwrap(), value), "another type"),
            "const" => check(wanted == value, "another value"),
            "enum" => check(wanted.as_array().unwrap().contains(value), "no such value"),
            "minimum" => check(value.as_u64() >= wanted.as_u64(), "too little"),
            "minLength" => check(length >= wanted.as_u64(), "too short"),
            "maxLength" => check(length <= wanted.as_u64(), "too long"),
            "required" => {
                for name in wanted.as_array().unwrap() {
                    let name = name.as_str().unwrap();
                    check(value.get(name).is_some(), &format!("{name} is missing"));
                }
            }
            "properties" => {
                for (name, schema) in wanted.as_object().unwrap() {
                    let found = value.get(name);
                    inner.extend(found.map(|found| (schema, found, format!("{at}/{name}"))));
                }
            }
            "items" => {
                let items = value.as_array().unwrap().iter();
                inner.extend(items.map(|item| (wanted, item, format!("{at}[]"))));
            }
            "allOf" => {
                let all = wanted.as_array().unwrap().iter();
                inner.extend(all.map(|one| (one, value, at.to_owned())));
            }
            "if" => {
                if self::faults(wanted, value, at).is_empty() {
                    inner.push((&schema["then"], value, at.to_owned()));
                }
            }
            unknown => check(false, unknown),
        }
    }
    for (schema, value, at) in inner {
        faults.extend(self::faults(schema, value, &at));
    }
    faults
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        _ => false,
    }
}

fn of_schema(line: &str) -> Vec<String> {
    let schema = serde_json::from_str(SCHEMA).unwrap();
    faults(&schema, &serde_json::from_str(line).unwrap(), "")
}

const ID: &str = "spiffe://example.org/mcp/client/billing-tools";

fn process() -> Process {
    Process {
        gid: 100,
        pid: 4711,
        uid: 1000,
    }
}

fn attested(event: Event) -> Event {
    event.attestation("a".repeat(64)).process(process())
}

fn of_client(kind: Kind) -> Event {
    Event::new(kind).client("billing-tools", 3).spiffe_id(ID)
}

fn by_operator(kind: Kind) -> Event {
    let event = of_client(kind)
        .client_digest("d".repeat(64))
        .owner("team-a")
        .operator("alice")
        .login(Some(1001))
        .process(process())
        .reason("ticket 12");
    match kind {
        Kind::Registered => event.accepted_weaknesses(Some(AcceptedWeaknesses {
            findings: vec!["interpreter".into()],
            reason: "a demonstration".into(),
        })),
        Kind::Proposed => event
            .operation("updated")
            .approvals(Some(approvals(&[], 2))),
        Kind::Approved | Kind::Rejected | Kind::WithdrawnVersion => {
            event.approvals(Some(approvals(&["bob"], 2)))
        }
        Kind::Superseded => event.approvals(Some(approvals(&[], 0))),
        _ => event,
    }
}

fn approvals(by: &[&str], required: u32) -> Approvals {
    Approvals {
        by: by.iter().map(ToString::to_string).collect(),
        digest: "d".repeat(64),
        number: 3,
        of: "version",
        required,
    }
}

fn drifted() -> Event {
    of_client(Kind::Drifted)
        .client_digest("d".repeat(64))
        .owner("team-a")
        .outcome(Outcome::Refused)
        .reason("what is served is not what was approved: other_field (client_name)")
        .evidence(&json!({"action": "suspend",
            "approved": {"document": "a".repeat(64), "jwks": null},
            "findings": [{"class": "other_field", "what": "client_name"}],
            "found": {"document": "b".repeat(64), "jwks": null},
            "url": "https://app.example/client.json"}))
        .unwrap()
}

fn of_registry(kind: Kind) -> Event {
    match kind {
        Kind::Published => published(kind),
        Kind::Drifted => drifted(),
        Kind::Read => Event::new(kind)
            .operator("carol")
            .login(Some(1001))
            .process(process())
            .operation("QueryAudit")
            .evidence(
                &json!({"asked": {"client": "billing-tools", "limit": 100}, "reading": 4,
                "roles": ["auditor"]}),
            )
            .unwrap(),
        Kind::BackedUp => Event::new(kind)
            .operator("carol")
            .process(process())
            .evidence(
                &json!({"clients": 3, "digest": "d".repeat(64), "reading": 5, "revision": 9,
                "roles": ["administrator"]}),
            )
            .unwrap(),
        _ => Event::new(kind)
            .operator("uid:0")
            .login(Some(1001))
            .reason("3 changes are lost that the backup lacked")
            .evidence(&json!({"backup_created_at": "2026-07-28T12:00:00Z",
                "backup_sha256": "a".repeat(64), "checkpoint": null, "clients": 3,
                "digest": "d".repeat(64), "kept_as": "registry.redb.replaced-1785240000",
                "login": 1001, "lost": 3, "previous": "read", "previous_revision": 12,
                "revision": 9, "time": "2026-07-28T12:05:00Z", "uid": 0}))
            .unwrap(),
    }
}

fn of_stranger(kind: Kind) -> Event {
    let event = Event::new(kind).trust_domain("other.example");
    match kind {
        Kind::Federation => event
            .operation("proposed")
            .operator("alice")
            .login(Some(1001))
            .process(process())
            .reason("their servers")
            .approvals(Some(approvals(&[], 2)))
            .evidence(
                &json!({"bundle_digest": "b".repeat(64), "digest": "d".repeat(64),
                "endpoint_spiffe_id": "spiffe://other.example/bundles",
                "profile": "https_spiffe", "url": "https://other.example/bundle"}),
            )
            .unwrap(),
        _ => event
            .outcome(Outcome::Accepted)
            .reason("the bundle is another")
            .evidence(
                &json!({"digest": "b".repeat(64), "jwt_authorities": 1, "sequence": 8,
                "x509_authorities": 2}),
            )
            .unwrap(),
    }
}

fn refused(kind: Kind) -> Event {
    Event::new(kind)
        .operator("bob")
        .process(process())
        .operation("RevokeClient")
        .reason("the client is revoked")
}

fn published(kind: Kind) -> Event {
    Event::new(kind)
        .client("billing-tools", 3)
        .reason("published")
        .evidence(&json!({"bytes": 512, "digest": "f".repeat(64),
            "path": "/clients/billing-tools/client.json"}))
        .unwrap()
}

/// One event of each kind, as the agent records it.
fn example(kind: Kind) -> Event {
    let x509 = Credential::x509_svid("0a1b", "c".repeat(64), noon()).signed_by("k1");
    match kind {
        Kind::Started => Event::new(kind).reason("0.1.0"),
        Kind::Stopped => Event::new(kind),
        Kind::Attested => attested(Event::new(kind))
            .evidence(&json!({"proofs": {"held": "close-on-exec"}, "uid": 1000}))
            .unwrap(),
        Kind::Issued => attested(of_client(kind)).credential(x509),
        Kind::Renewed => attested(of_client(kind))
            .credential(Credential::wit_svid("j-2", "c".repeat(64), noon()).signed_by("k2")),
        Kind::Delivered => {
            attested(of_client(kind)).credential(Credential::known_x509_svid("0a1b", noon()))
        }
        Kind::Denied => attested(Event::new(kind)).reason("no-match: no active registration fits"),
        Kind::Withdrawn => attested(of_client(kind)).reason("the process exited"),
        Kind::Validated => attested(Event::new(kind))
            .spiffe_id(ID)
            .credential(Credential::jwt_svid(
                "j-1",
                vec!["https://mcp.example".into()],
                noon(),
            ))
            .outcome(Outcome::Accepted)
            .reason("audience \"https://mcp.example\""),
        Kind::Rotated => Event::new(kind)
            .authority(Authority {
                key_id: "k1".into(),
                kind: "jwt",
                not_after: noon(),
                slot: "active",
            })
            .reason("activated"),
        Kind::Refused => refused(kind),
        Kind::Repaired => Event::new(kind)
            .reason("the trail could not be written for a time")
            .evidence(&json!({"error": "no storage space", "refused_records": 7}))
            .unwrap(),
        Kind::Expunged => Event::new(kind)
            .reason("the segment was older than segments are kept")
            .evidence(
                &json!({"bytes": 67_108_864, "first_seq": 1, "last_digest": "e".repeat(64),
                "last_seq": 90_211, "segments": 1}),
            )
            .unwrap(),
        Kind::Read | Kind::BackedUp | Kind::Restored | Kind::Published | Kind::Drifted => {
            of_registry(kind)
        }
        Kind::Federation | Kind::ForeignBundle => of_stranger(kind),
        Kind::Summarized => Event::new(kind).process(process()).summary(Summary {
            cgroup: Some(5120),
            count: 999_890,
            event: Kind::Denied,
            first: noon(),
            last: noon(),
            reason: "no-match",
            uid: Some(1000),
        }),
        _ => by_operator(kind),
    }
}

/// `BLESS=1` writes the golden lines anew.
#[test]
fn every_event_has_a_golden_line_that_the_schema_allows() {
    let golden = |kind: &Kind| {
        let chain = match kind {
            Kind::Denied | Kind::Validated | Kind::Summarized => Chain::Callers,
            _ => Chain::Trail,
        };
        line_in(chain, example(*kind))
    };
    let lines: Vec<_> = KINDS.iter().map(golden).collect();
    if env::var_os("BLESS").is_some() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/src/audit/event/tests/golden.jsonl"
        );
        fs::write(path, lines.join("\n") + "\n").unwrap();
        return;
    }
    let golden: Vec<_> = GOLDEN.lines().collect();
    assert_eq!(lines, golden);
    for line in golden {
        assert_eq!(of_schema(line), [""; 0], "{line}");
    }
}

#[test]
fn the_schema_has_what_is_made_for_oauth_servers() {
    let assertion = Credential::client_assertion("j-3", "https://as.example", noon());
    let about = ("https://mcp.example/mcp", "t");
    for credential in [
        assertion.signed_by("k1"),
        Credential::proof(CredentialKind::DpopProof, "j-4", about, noon()),
        Credential::proof(CredentialKind::WorkloadProof, "j-5", about, noon()),
    ] {
        let event = attested(of_client(Kind::Issued)).credential(credential);
        let line = line(event.reason("resource \"https://mcp.example\""));
        assert_eq!(of_schema(&line), [""; 0], "{line}");
    }
    let key = Authority {
        key_id: "k1".into(),
        kind: "client",
        not_after: noon(),
        slot: "active",
    };
    let event = of_client(Kind::Rotated).authority(key).operator("alice");
    let evidence = json!({"document": "jwks.json", "sha256": "a".repeat(64)});
    let line = line(
        event
            .evidence(&evidence)
            .unwrap()
            .reason("published; signs"),
    );
    assert_eq!(of_schema(&line), [""; 0], "{line}");
}

#[test]
fn the_schema_has_the_end_of_a_reading() {
    let ended = Event::new(Kind::Read)
        .operator("carol")
        .process(process())
        .operation("QueryAudit")
        .outcome(Outcome::Accepted)
        .reason("given to its end")
        .evidence(&json!({"bytes": 51_200, "lines": 100, "reading": 4}));
    let line = line(ended.unwrap());
    assert_eq!(of_schema(&line), [""; 0], "{line}");
    let unnamed = line.replace("\"operator\":\"carol\",", "");
    assert!(of_schema(&unnamed).contains(&": operator is missing".to_owned()));
}

#[test]
fn the_schema_refuses_what_is_no_line() {
    let issued = line(example(Kind::Issued));
    for (from, to, fault) in [
        ("\"seq\":7", "\"seq\":0", "/seq: too little"),
        (
            "\"event\":\"issued\"",
            "\"event\":\"made\"",
            "/event: no such value",
        ),
        ("\"client\":\"billing-tools\",", "", ": client is missing"),
        (
            "\"pid\":4711",
            "\"pid\":\"4711\"",
            "/process/pid: another type",
        ),
        ("\"prev\":\"6", "\"prev\":\"", "/prev: too short"),
        (
            "\"kind\":\"x509-svid\",",
            "",
            "/credential: kind is missing",
        ),
    ] {
        let changed = issued.replace(from, to);
        assert_ne!(changed, issued, "{from}");
        assert!(of_schema(&changed).contains(&fault.to_owned()), "{fault}");
    }
    // What later versions add is no fault.
    let later = issued.replacen('{', "{\"added_later\":1,", 1);
    assert_eq!(of_schema(&later), [""; 0]);
}

#[test]
fn the_schema_knows_every_event_and_field() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    for kind in KINDS {
        let known = schema["properties"]["event"]["enum"].as_array().unwrap();
        assert!(known.contains(&kind.as_str().into()), "{}", kind.as_str());
    }
    let full: Value = serde_json::from_str(&line(super::full(
        Kind::Issued,
        Credential::x509_svid("0a1b", "t", noon()).signed_by("k"),
    )))
    .unwrap();
    for (name, inner) in full.as_object().unwrap() {
        let known = &schema["properties"][name];
        assert!(known.is_object(), "{name}");
        let fields = inner.as_object().filter(|_| name != "evidence");
        for field in fields.into_iter().flat_map(|fields| fields.keys()) {
            assert!(known["properties"][field].is_object(), "{name}.{field}");
        }
    }
}
