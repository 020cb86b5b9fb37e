//! Reading a trail of a million records: verification, and the way back from a credential.
//!
//! The records are made by the trail's own writer, before anything is measured: a registration,
//! and then processes that are attested, get an X.509-SVID and renew it, and get JWT-SVIDs, as on
//! a busy node. What is asked for lies at the beginning, and its client is revoked at the end. The
//! command runs in a process of its own, and its start is in the figures.

use crate::{
    options::Options,
    report::{self, Aim, Figure, Row},
};
use aws_lc_rs::digest::{SHA256, digest};
use serde_json::json;
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use symbolon_agent::{
    audit::{CheckpointConfig, Credential, Durability, Event, Kind, Process, Trail, TrailConfig},
    clock::{ManualClock, SharedClock},
};
use symbolon_tests::symbolon;

/// Records that are handed over together.
const TOGETHER: u64 = 500;

/// Records of one process: its attestation, an X.509-SVID, renewals and JWT-SVIDs.
const OF_PROCESS: u64 = 20;

/// Clients that they belong to.
const CLIENTS: u64 = 1_000;

/// "In seconds."
const AIM: Duration = Duration::from_secs(10);

pub(crate) async fn measure(options: &Options) {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path();
    write(data, options.records).await;
    let folder = data.join("audit");
    let second = data.join("second");
    let second = second.to_str().expect("text");
    let floor = Figure::Time(floor(&folder));
    let aim = Aim::Absolute(Figure::Time(AIM));
    let row = |name: &str, arguments: &[&str]| {
        let name = format!("{name}, {} records", options.records);
        let took = time(data, arguments);
        Row::new(name, Figure::Time(took)).floor(floor).aim(aim)
    };
    let process = pid(0).to_string();
    let at = ["--at", "2026-07-28T12:00:00Z"];
    let rows = [
        row("verify", &["verify", "--checkpoint", second]),
        row("trace from a serial", &["trace", "--serial", &serial(1)]),
        row("trace from a jti", &["trace", "--jti", &jti(3)]),
        row(
            "trace from a PID",
            &["trace", "--pid", &process, at[0], at[1]],
        ),
        row("query by client", &["query", "--client", &client(0)]),
        row("export, jsonl", &["export", "--format", "jsonl"]),
    ];
    report::print(
        "The trail, read from its files (the floor reads and hashes them)",
        &rows,
    );
}

/// Reads every segment once, and takes its digest.
fn floor(folder: &Path) -> Duration {
    let begun = Instant::now();
    for entry in fs::read_dir(folder).expect("a folder") {
        let bytes = fs::read(entry.expect("a file").path()).expect("its bytes");
        std::hint::black_box(digest(&SHA256, &bytes));
    }
    begun.elapsed()
}

/// The best of three runs.
fn time(data: &Path, arguments: &[&str]) -> Duration {
    let run = || {
        let begun = Instant::now();
        let status = Command::new(symbolon())
            .arg("audit")
            .args(arguments)
            .arg("--data-dir")
            .arg(data)
            .stdout(Stdio::null())
            .status();
        assert!(status.expect("it runs").success(), "{arguments:?}");
        begun.elapsed()
    };
    (0..3).map(|_| run()).min().expect("three")
}

/// A trail of so many records in this data directory, in segments of the shipped size.
async fn write(data: &Path, records: u64) {
    let start = UNIX_EPOCH + Duration::from_secs(1_785_240_000);
    let clock = Arc::new(ManualClock::new(start));
    let shared: SharedClock = Arc::<ManualClock>::clone(&clock);
    let mut checkpoints = CheckpointConfig::new(data.join("keys"));
    checkpoints.file = Some(data.join("second"));
    let config = TrailConfig {
        durability: Durability::Write,
        checkpoints: Some(checkpoints),
        ..TrailConfig::default()
    };
    let (trail, writer) = Trail::open(&data.join("audit"), config, shared).expect("a trail");
    let writing = std::thread::spawn(move || writer.run());
    let registered = |number| by_operator(Kind::Registered, number).reason("a benchmark");
    let events = (0..CLIENTS).map(registered).collect();
    trail.record_all(events).await.expect("recorded");
    for first in (0..records).step_by(usize::try_from(TOGETHER).expect("few")) {
        let events = (first..first + TOGETHER).map(|number| record(number, start));
        trail.record_all(events.collect()).await.expect("recorded");
        clock.advance(Duration::from_secs(1));
    }
    let revoked = by_operator(Kind::Revoked, 0).reason("stolen");
    trail.record(revoked).await.expect("recorded");
    drop(trail);
    writing.join().expect("it ends").expect("it is written");
}

fn client(number: u64) -> String {
    format!("client-{number}")
}

fn id(number: u64) -> String {
    format!("spiffe://example.org/mcp/client/{}", client(number))
}

fn pid(process: u64) -> u32 {
    u32::try_from(process % 30_000).expect("small") + 1_000
}

fn serial(number: u64) -> String {
    format!("{number:032x}")
}

fn jti(number: u64) -> String {
    format!("{number:022}")
}

fn attestation(process: u64) -> String {
    format!("{process:064x}")
}

fn by_operator(kind: Kind, number: u64) -> Event {
    Event::new(kind)
        .client(client(number), 1)
        .client_digest(format!("{number:064x}"))
        .spiffe_id(id(number))
        .owner(format!("team-{}@example.org", number % 100))
        .operator("alice")
}

/// The record with this number.
fn record(number: u64, start: SystemTime) -> Event {
    let process = number / OF_PROCESS;
    let client_number = process % CLIENTS;
    let event = |kind| {
        let held_by = Process {
            gid: 1_000,
            pid: pid(process),
            uid: 1_000,
        };
        Event::new(kind)
            .attestation(attestation(process))
            .process(held_by)
    };
    let issued = |kind| {
        event(kind)
            .client(client(client_number), 1)
            .spiffe_id(id(client_number))
    };
    let end = start + Duration::from_secs(3_600);
    let x509 = || Credential::x509_svid(serial(number), format!("{process:064x}"), end);
    match number % OF_PROCESS {
        0 => event(Kind::Attested)
            .evidence(&evidence(process))
            .expect("canonical"),
        1 => issued(Kind::Issued).credential(x509().signed_by("x509-authority")),
        2 => issued(Kind::Renewed).credential(x509().signed_by("x509-authority")),
        _ => {
            let audience = format!("https://mcp-{client_number}.example.org/");
            let token = Credential::jwt_svid(jti(number), vec![audience], end);
            issued(Kind::Issued).credential(token.signed_by("jwt-authority"))
        }
    }
}

/// As much as there is about an ordinary process.
fn evidence(process: u64) -> serde_json::Value {
    json!({
        "cgroup": {"id": process, "path": format!("/system.slice/client-{process}.service")},
        "executable": {
            "digest": format!("{process:064x}"),
            "path": "/usr/lib/clients/client",
        },
        "gid": 1_000,
        "groups": [1_000, 1_001, 1_002],
        "pid": pid(process),
        "pinned_by": "pidfd",
        "proofs": {"answered": "stamped", "held": "close-on-exec"},
        "start_time": process,
        "uid": 1_000,
    })
}
