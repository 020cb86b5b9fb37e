//! The commands of `audit`, on a trail that an agent wrote and with an agent.

use super::{
    agent::{Agent, State, Trail},
    symbolon,
};
use crate::{
    audit::{CheckpointConfig, Credential, Event, Kind, Process, TrailConfig},
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
    let (trail, writer) =
        crate::audit::Trail::open(&dir.path().join("audit"), config, clock).unwrap();
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

/// An agent that answers with the trail in `dir`.
fn agent_of(dir: &Path) -> Agent {
    let text = fs::read_to_string(segment(dir)).unwrap();
    let story = run(dir, &["trace", "--serial", "0a1b", "-o", "json"]).done();
    let mut story: Value = serde_json::from_str(&story).unwrap();
    story["events"] = json!([]);
    Agent::new(State {
        audit: text.lines().skip(1).map(str::to_owned).collect(),
        trail: Trail {
            story: story.to_string(),
            key: fs::read_to_string(dir.join("audit/checkpoint.pub")).unwrap(),
            ..Trail::default()
        },
        ..State::default()
    })
}

#[test]
fn the_agent_answers_like_its_files() {
    let dir = written();
    let agent = agent_of(dir.path());
    for arguments in [
        &["trace", "--serial", "0a1b"][..],
        &["trace", "--serial", "0a1b", "-o", "json"],
        &["key"],
        &["key", "-o", "json"],
    ] {
        let asked = agent.admin(&[&["audit"], arguments].concat()).done();
        assert_eq!(asked, run(dir.path(), arguments).done(), "{arguments:?}");
    }
    let text = fs::read_to_string(segment(dir.path())).unwrap();
    let (_, rest) = text.split_once('\n').unwrap();
    for arguments in [
        &["query", "-o", "json"][..],
        &["export", "--format", "jsonl"],
    ] {
        let asked = agent.admin(&[&["audit"], arguments].concat());
        assert_eq!(asked.done(), rest, "{arguments:?}");
    }
}

#[test]
fn what_is_asked_for_is_in_the_request() {
    let dir = written();
    let agent = agent_of(dir.path());
    let query = "audit query --client n --owner o --spiffe-id i --serial 0A:1B --jti j \
                 --key-thumbprint AB --attestation-id cd --pid 1 --at 2027-01-01 --uid 2 \
                 --event issued --outcome accepted --since 2026-01-01 --until 2028-01-01 --limit 5";
    agent
        .admin(&query.split_whitespace().collect::<Vec<_>>())
        .done();
    let asked = agent.state.lock().requests.pop().unwrap();
    for part in [
        "client: \"n\"",
        "owner: \"o\"",
        "spiffe_id: \"i\"",
        "serial: \"0a1b\"",
        "jti: \"j\"",
        "key_thumbprint: \"ab\"",
        "attestation_id: \"cd\"",
        "pid: Some(1)",
        "at: \"2027-01-01T00:00:00.000Z\"",
        "uid: Some(2)",
        "event: \"issued\"",
        "outcome: \"accepted\"",
        "since: \"2026-01-01T00:00:00.000Z\"",
        "until: \"2028-01-01T00:00:00.000Z\"",
        "limit: 5",
    ] {
        assert!(asked.contains(part), "{part} in {asked}");
    }
    agent
        .admin(&["audit", "trace", "--pid", "7", "--at", "2027-01-01"])
        .done();
    let asked = agent.state.lock().requests.pop().unwrap();
    assert!(
        asked.contains("pid: Some(7), at: \"2027-01-01T00"),
        "{asked}"
    );
}

#[test]
fn an_answer_that_breaks_off_is_no_success() {
    let dir = written();
    let agent = agent_of(dir.path());
    agent.state.lock().trail.is_cut = true;
    let cut = agent.admin(&["audit", "query", "--limit", "3"]);
    assert!(cut.err.contains("left out"), "{cut:?}");
    let cut = agent.admin(&["audit", "trace", "--serial", "0a1b"]);
    assert!(cut.err.contains("only its newest events"), "{cut:?}");
    agent.state.lock().trail.breaks_off = true;
    for arguments in [
        &["audit", "query"][..],
        &["audit", "export", "--format", "jsonl"],
        &["audit", "trace", "--jti", "j"],
    ] {
        let failed = agent.admin(arguments);
        assert_eq!(failed.code, std::process::ExitCode::from(1), "{failed:?}");
        assert!(failed.err.contains("--data-dir"), "{failed:?}");
    }
}

#[test]
fn without_an_agent_the_way_to_the_files_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("none");
    let socket = socket.to_str().unwrap();
    for command in [
        &["audit", "query"][..],
        &["audit", "trace", "--jti", "j"],
        &["audit", "export", "--format", "ocsf"],
        &["audit", "key"],
    ] {
        let told = symbolon(&[command, &["--socket", socket]].concat()).refused(5);
        assert!(told.contains("--data-dir"), "{told}");
    }
}
