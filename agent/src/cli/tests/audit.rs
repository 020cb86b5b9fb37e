//! The commands of `audit` that need no agent, on a trail that an agent wrote.

use super::symbolon;
use crate::{
    audit::{CheckpointConfig, Credential, Event, Kind, Process, Trail, TrailConfig},
    clock::ManualClock,
};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};
use tempfile::TempDir;

const ID: &str = "spiffe://example.org/payments";

fn events() -> Vec<Event> {
    let process = Process {
        gid: 100,
        pid: 4711,
        uid: 1000,
    };
    let evidence = json!({"executable": {"path": "/usr/bin/pay\u{1b}[2J"}, "start_time": 7});
    let end = UNIX_EPOCH + Duration::from_secs(1_785_243_600);
    vec![
        Event::new(Kind::Registered)
            .client("payments", 1)
            .spiffe_id(ID)
            .operator("uid:0")
            .owner("alice")
            .reason("ticket 7"),
        Event::new(Kind::Attested)
            .attestation("a1")
            .process(process)
            .evidence(&evidence)
            .unwrap(),
        Event::new(Kind::Issued)
            .attestation("a1")
            .process(process)
            .client("payments", 1)
            .spiffe_id(ID)
            .credential(Credential::x509_svid("0a1b", "t1", end)),
        Event::new(Kind::Revoked)
            .client("payments", 1)
            .spiffe_id(ID)
            .operator("uid:0")
            .reason("stolen"),
    ]
}

/// A data directory with a trail.
fn written() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let now = UNIX_EPOCH + Duration::from_millis(1_785_240_000_123);
    let mut checkpoints = CheckpointConfig::new(dir.path().join("keys"));
    checkpoints.file = Some(dir.path().join("second"));
    let config = TrailConfig {
        checkpoints: Some(checkpoints),
        ..TrailConfig::default()
    };
    let clock = Arc::new(ManualClock::new(now));
    let (trail, writer) = Trail::open(&dir.path().join("audit"), config, clock).unwrap();
    let writing = std::thread::spawn(move || writer.run());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(trail.record_all(events())).unwrap();
    drop(trail);
    writing.join().unwrap().unwrap();
    dir
}

fn run(dir: &Path, arguments: &[&str]) -> super::Outcome {
    let dir = dir.to_str().unwrap();
    symbolon(&[&["audit"], arguments, &["--data-dir", dir]].concat())
}

fn segment(dir: &Path) -> PathBuf {
    dir.join("audit/00000001.jsonl")
}

#[test]
fn a_whole_trail_is_code_0_and_another_is_code_1() {
    let dir = written();
    let second = dir.path().join("second");
    let second = second.to_str().unwrap();
    let out = run(dir.path(), &["verify", "--checkpoint", second]).done();
    assert!(
        out.contains("The trail is whole; 1 checkpoint fits."),
        "{out}"
    );
    assert!(!out.contains("older copy"), "{out}");
    let out = run(dir.path(), &["verify"]).done();
    assert!(out.contains("older copy"), "{out}");
    let text = fs::read_to_string(segment(dir.path())).unwrap();
    fs::write(segment(dir.path()), text.replace("4711", "4712")).unwrap();
    let outcome = run(dir.path(), &["verify", "-o", "json"]);
    assert_eq!(outcome.code, std::process::ExitCode::from(1));
    assert!(outcome.err.contains("not whole"), "{}", outcome.err);
    let report: Value = serde_json::from_str(&outcome.out).unwrap();
    assert_eq!(report["whole"], false);
    assert_eq!(report["findings"][0]["place"]["line"], 3);
    let outcome = run(dir.path(), &["verify"]);
    assert!(
        outcome
            .out
            .contains("changed     00000001.jsonl:3 (seq 3): "),
        "{}",
        outcome.out
    );
}

#[test]
fn what_is_not_there_is_code_4() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("none");
    run(&nowhere, &["verify"]).refused(4);
    run(&nowhere, &["query"]).refused(4);
    let dir = written();
    run(dir.path(), &["trace", "--jti", "unknown"]).refused(4);
    run(dir.path(), &["trace"]).refused(2);
    run(dir.path(), &["query", "--at", "2026-01-01"]).refused(2);
}

#[test]
fn events_are_found_and_printed_byte_for_byte_in_json() {
    let dir = written();
    let text = fs::read_to_string(segment(dir.path())).unwrap();
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    let issued = ["query", "--serial", "0A:1B", "-o", "json"];
    assert_eq!(run(dir.path(), &issued).done(), lines[3]);
    let all = run(dir.path(), &["export", "--format", "jsonl"]).done();
    assert_eq!(all, text);
    let newest = run(dir.path(), &["query", "--owner", "alice", "--limit", "1"]).done();
    assert!(
        newest.contains("revoked") && newest.ends_with("stolen\n"),
        "{newest}"
    );
}

#[test]
fn an_export_for_collectors_has_an_event_a_line() {
    let dir = written();
    let out = run(
        dir.path(),
        &["export", "--format", "ocsf", "--event", "issued"],
    )
    .done();
    let event: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(event["type_uid"], 300_203);
    assert_eq!(event["user"]["name"], "payments");
}

#[test]
fn a_story_is_a_timeline_for_people_and_a_document_for_programs() {
    let dir = written();
    let out = run(dir.path(), &["trace", "--serial", "0a1b"]).done();
    for part in [
        "Credential   x509-svid 0a1b, spiffe://example.org/payments, issued ",
        "Client       payments (revoked)",
        "Version      1 by uid:0 at 2026-07-28T12:00:00.123Z: ticket 7",
        "Process      pid 4711  uid 1000  /usr/bin/pay\\u{1b}[2J  attested ",
        "Attestation  a1",
    ] {
        assert!(out.contains(part), "{part} in {out}");
    }
    let events: Vec<_> = ["registered", "attested", "issued", "revoked"]
        .map(|event| out.find(&format!("Z  {event}")))
        .into();
    assert!(
        events.iter().all(Option::is_some) && events.is_sorted(),
        "{out}"
    );
    for subject in [["--pid", "4711"], ["--client", "payments"]] {
        let out = run(dir.path(), &["trace", subject[0], subject[1], "-o", "json"]).done();
        let story: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(story["events"].as_array().unwrap().len(), 4);
        assert_eq!(story["clients"][0]["versions"][0]["owner"], "alice");
    }
}
