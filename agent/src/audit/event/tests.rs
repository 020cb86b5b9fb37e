mod schema;

use super::{
    AcceptedWeaknesses, Approvals, Authority, Credential, CredentialKind, Event, Kind, Outcome,
    Process, Summary,
};
use crate::{
    audit::{
        AuditError,
        chain::{Chain, Digest, Head},
    },
    canonical,
};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const KINDS: [Kind; 31] = [
    Kind::Started,
    Kind::Stopped,
    Kind::Attested,
    Kind::Issued,
    Kind::Renewed,
    Kind::Delivered,
    Kind::Denied,
    Kind::Withdrawn,
    Kind::Registered,
    Kind::Updated,
    Kind::Suspended,
    Kind::Resumed,
    Kind::Revoked,
    Kind::Proposed,
    Kind::Approved,
    Kind::Rejected,
    Kind::WithdrawnVersion,
    Kind::Superseded,
    Kind::Validated,
    Kind::Rotated,
    Kind::Refused,
    Kind::Repaired,
    Kind::Expunged,
    Kind::Read,
    Kind::BackedUp,
    Kind::Restored,
    Kind::Published,
    Kind::Drifted,
    Kind::Federation,
    Kind::ForeignBundle,
    Kind::Summarized,
];

fn noon() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_785_240_000)
}

fn full(kind: Kind, credential: Credential) -> Event {
    Event::new(kind)
        .client("billing-tools", 3)
        .client_digest("d".repeat(64))
        .spiffe_id("spiffe://example.org/mcp/client/billing-tools")
        .operator("uid:0")
        .login(Some(1000))
        .owner("alice")
        .trust_domain("other.example")
        .accepted_weaknesses(Some(AcceptedWeaknesses {
            findings: vec!["interpreter".into()],
            reason: "a test".into(),
        }))
        .approvals(Some(Approvals {
            by: vec!["alice".into(), "uid:7".into()],
            digest: "c".repeat(64),
            number: 3,
            of: "version",
            required: 2,
        }))
        .operation("RegisterClient")
        .attestation("a".repeat(64))
        .process(Process {
            gid: 100,
            pid: 4711,
            uid: 1000,
        })
        .credential(credential)
        .authority(Authority {
            key_id: "k1".into(),
            kind: "jwt",
            not_after: noon(),
            slot: "active",
        })
        .evidence(&json!({"z": ["\u{7f}", -1], "a": {"y": null, "b": true}}))
        .unwrap()
        .reason("line\nbreak, \"quote\", \u{1}, \u{2028}, \u{1f511} and /")
        .outcome(Outcome::Accepted)
        .summary(Summary {
            cgroup: Some(4711),
            count: 9,
            event: Kind::Denied,
            first: noon(),
            last: noon(),
            reason: "no-match",
            uid: Some(1000),
        })
}

fn line(event: Event) -> String {
    line_in(Chain::Trail, event)
}

fn line_in(chain: Chain, event: Event) -> String {
    let mut out = Vec::new();
    event
        .write_line(
            chain,
            Head {
                seq: 6,
                digest: Digest::of(b"before"),
            },
            noon() + Duration::from_micros(4_999),
            &mut out,
        )
        .unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn every_line_is_canonical_json() {
    let credentials = [
        Credential::x509_svid("0a1b", "t".repeat(64), noon()),
        Credential::jwt_svid("j-1", vec!["b".into(), "a".into()], noon()).signed_by("k1"),
        Credential::wit_svid("j-2", "t".repeat(64), noon()).signed_by("k2"),
        Credential::client_assertion("j-3", "https://as.example", noon()).signed_by("k3"),
        Credential::proof(CredentialKind::DpopProof, "j-4", ("https://a", "t"), noon()),
        Credential::proof(
            CredentialKind::WorkloadProof,
            "j-5",
            ("https://a", "t"),
            noon(),
        ),
    ];
    for kind in KINDS {
        for credential in &credentials {
            let line = line(full(kind, credential.clone()));
            let value: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(canonical::to_vec(&value).unwrap(), line.as_bytes());
            assert_eq!(value["event"], kind.as_str());
        }
    }
}

#[test]
fn a_line_is_written_as_documented() {
    let issued = Event::new(Kind::Issued)
        .client("billing-tools", 3)
        .spiffe_id("spiffe://example.org/mcp/client/billing-tools")
        .attestation("a1")
        .credential(Credential::jwt_svid(
            "j-1",
            vec!["https://mcp.example".into()],
            noon(),
        ))
        .process(Process {
            gid: 100,
            pid: 4711,
            uid: 1000,
        });
    assert_eq!(line(issued) + "\n", include_str!("tests/issued.jsonl"));
}

#[test]
fn what_is_unknown_is_left_out() {
    let value: Value = serde_json::from_str(&line(Event::new(Kind::Stopped))).unwrap();
    let names: Vec<_> = value.as_object().unwrap().keys().collect();
    assert_eq!(names, ["event", "prev", "seq", "time"]);
}

#[test]
fn evidence_without_a_canonical_form_is_refused() {
    for evidence in [json!({"load": 0.5}), json!({"gr\u{f6}\u{df}e": 1})] {
        assert!(matches!(
            Event::new(Kind::Attested).evidence(&evidence),
            Err(AuditError::NotCanonical(_))
        ));
    }
}

#[test]
fn times_that_no_calendar_has_are_written_as_the_last_one() {
    let far = UNIX_EPOCH + Duration::from_secs(i64::MAX as u64);
    let value: Value = serde_json::from_str(&line(
        Event::new(Kind::Validated).credential(Credential::jwt_svid("j", Vec::new(), far)),
    ))
    .unwrap();
    assert_eq!(value["credential"]["not_after"], "9999-12-31T23:59:59.999Z");
}

#[test]
fn every_event_and_field_is_documented() {
    let document = include_str!("../../../doc/audit.md");
    let full = line(full(
        Kind::Issued,
        Credential::x509_svid("0a1b", "t", noon()).signed_by("k"),
    ));
    let mut value: Value = serde_json::from_str(&full).unwrap();
    value.as_object_mut().unwrap().remove("evidence");
    let mut names: Vec<String> = KINDS.iter().map(|kind| kind.as_str().into()).collect();
    names.extend(["audiences", "jti", "evidence", "chain"].map(Into::into));
    for (name, inner) in value.as_object().unwrap() {
        names.push(name.clone());
        if let Some(inner) = inner.as_object() {
            names.extend(inner.keys().map(|field| format!("{name}.{field}")));
        }
    }
    for name in names {
        assert!(
            document.contains(&format!("`{name}`")),
            "{name} is not documented"
        );
    }
}
