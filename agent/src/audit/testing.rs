//! A trail in a folder of its own, and a second reader of its lines.

use super::{
    AuditError, Authority, Cause, Chain, Credential, Event, Kind, Limits, Origin, Outcome, Process,
    Reader, Trail, TrailConfig, TrailWriter,
};
use crate::{
    canonical,
    clock::{ManualClock, SharedClock},
    testing,
};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, UNIX_EPOCH},
};
use tempfile::TempDir;

/// The folder of a trail, removed at the end.
pub(super) struct Folder(TempDir);

impl Folder {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn audit(&self) -> PathBuf {
        self.0.path().join("audit")
    }

    pub(super) fn segment(&self) -> PathBuf {
        self.audit().join("00000001.jsonl")
    }

    /// The lines of the trail itself.
    pub(super) fn lines(&self) -> Vec<Value> {
        verified(&self.audit(), Chain::Trail)
    }

    /// The lines that callers caused.
    pub(super) fn callers(&self) -> Vec<Value> {
        verified(&self.audit(), Chain::Callers)
    }

    /// The numbers of a chain's segments.
    pub(super) fn segments(&self, chain: Chain) -> Vec<u32> {
        let reader = Reader::open(&self.audit()).unwrap();
        reader
            .segments(chain)
            .map(|segment| segment.number)
            .collect()
    }
}

/// A trail whose writer runs.
pub(super) struct Running {
    pub(super) trail: Trail,
    writer: JoinHandle<Result<(), AuditError>>,
}

impl Running {
    pub(super) fn start(dir: &Path) -> Self {
        let (trail, writer) = open(dir).unwrap();
        Self::run(trail, writer)
    }

    /// With segments of few bytes.
    pub(super) fn in_pieces(dir: &Path, segment_bytes: u64) -> Self {
        let (trail, writer) = Trail::open(dir, pieces(segment_bytes), clock()).unwrap();
        Self::run(trail, writer)
    }

    pub(super) fn run(trail: Trail, writer: TrailWriter) -> Self {
        let writer = thread::spawn(move || writer.run());
        Self { trail, writer }
    }

    pub(super) async fn record(&self, reason: impl Into<String>) -> Result<(), AuditError> {
        self.trail.record(event(reason)).await
    }

    /// Waits until the writer is gone.
    pub(super) async fn closed(&self) {
        let mut health = self.trail.health();
        while health.changed().await.is_ok() {}
    }

    /// Drops the last handle and waits for the writer.
    pub(super) fn stop(self) {
        drop(self.trail);
        self.writer.join().unwrap().unwrap();
    }
}

pub(super) fn open(dir: &Path) -> Result<(Trail, TrailWriter), AuditError> {
    Trail::open(dir, TrailConfig::default(), clock())
}

/// Lets the key be changed while the trail is written.
pub(super) fn change_key((trail, writer): (Trail, TrailWriter)) {
    let TrailWriter {
        trail: chain,
        callers,
        mut keeper,
        health,
    } = writer;
    let writing = thread::spawn(move || chain.run());
    // Waits for the writer as no task may.
    let changing = thread::spawn(move || {
        keeper.change_key();
        keeper.checkpoint();
    });
    changing.join().unwrap();
    drop((trail, callers, health));
    writing.join().unwrap().unwrap();
}

pub(super) fn event(reason: impl Into<String>) -> Event {
    Event::new(Kind::Denied).reason(reason)
}

/// Segments of few bytes, all of which are kept.
pub(super) fn pieces(segment_bytes: u64) -> TrailConfig {
    TrailConfig {
        trail: Limits {
            segment_bytes,
            ..Limits::default()
        },
        ..TrailConfig::default()
    }
}

pub(super) fn clock() -> SharedClock {
    manual_clock()
}

/// 2026-07-28T12:00:00.123Z
pub(super) fn manual_clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(
        UNIX_EPOCH + Duration::from_millis(1_785_240_000_123),
    ))
}

/// The lines of a chain in the folder `dir`, each whole, canonical and linked to
/// the one before it; what stood before the oldest is not known any more.
pub(super) fn verified(dir: &Path, chain: Chain) -> Vec<Value> {
    let mut lines = Reader::open(dir).unwrap().lines(chain);
    let mut before: Option<(u64, String)> = None;
    let mut values = Vec::new();
    while let Some(line) = lines.next_line().unwrap() {
        assert!(line.is_whole, "torn: {line:?}");
        let value: Value = serde_json::from_slice(line.bytes).unwrap();
        assert_eq!(canonical::to_vec(&value).unwrap(), line.bytes);
        let link = line.link().unwrap();
        if let Some((seq, digest)) = &before {
            assert_eq!(link.seq, seq + 1);
            assert_eq!(link.prev, digest);
        } else if link.seq == 1 {
            assert_eq!(link.prev, "0".repeat(64));
        }
        before = Some((link.seq, canonical::sha256_hex(line.bytes)));
        values.push(value);
    }
    values
}

pub(super) const PAYMENTS: &str = "spiffe://example.org/payments";

/// A trail with a registration, a process and its credentials, a restart, a revocation,
/// and another process that gets the first one's number.
pub(super) struct Story {
    pub(super) folder: Folder,
    clock: Arc<ManualClock>,
}

impl Story {
    pub(super) async fn told() -> Self {
        let story = Self {
            folder: Folder::new(),
            clock: manual_clock(),
        };
        story.run(Self::first_day(), true).await;
        story.clock.advance(Duration::from_secs(60 * 60));
        let end = vec![
            by_operator(Kind::Updated, 2).owner("bob"),
            by_operator(Kind::Revoked, 2),
            of_process(Kind::Withdrawn, "a1")
                .client("payments", 1)
                .spiffe_id(PAYMENTS),
        ];
        story.run(end, false).await;
        story.clock.advance(Duration::from_secs(24 * 60 * 60));
        let other = vec![
            attested("b1", 900, "/usr/bin/other"),
            of_process(Kind::Issued, "b1")
                .client("other", 1)
                .credential(Credential::x509_svid("0c", "t2", UNIX_EPOCH)),
            Event::new(Kind::Denied)
                .process(process(4711, 1000))
                .reason("not-held: gone"),
        ];
        story.run(other, false).await;
        story
    }

    fn first_day() -> Vec<Event> {
        let issued = |kind, id| {
            of_process(kind, id)
                .client("payments", 1)
                .spiffe_id(PAYMENTS)
        };
        let jwt = Credential::jwt_svid("j-1", vec!["api".into()], UNIX_EPOCH).signed_by("k1");
        vec![
            by_operator(Kind::Registered, 1)
                .owner("alice")
                .reason("ticket 7"),
            Event::new(Kind::Rotated).authority(Authority {
                key_id: "k1".into(),
                kind: "jwt",
                not_after: UNIX_EPOCH,
                slot: "active",
            }),
            attested("a1", 100, "/usr/bin/payments"),
            issued(Kind::Issued, "a1").credential(Credential::x509_svid("0a", "t1", UNIX_EPOCH)),
            attested("a2", 100, "/usr/bin/payments"),
            issued(Kind::Renewed, "a1").credential(Credential::x509_svid("0b", "t1", UNIX_EPOCH)),
            issued(Kind::Issued, "a1").credential(jwt),
        ]
    }

    async fn run(&self, events: Vec<Event>, validates: bool) {
        let clock: SharedClock = Arc::<ManualClock>::clone(&self.clock);
        let opened = Trail::open(&self.folder.audit(), TrailConfig::default(), clock);
        let (trail, writer) = opened.unwrap();
        let running = Running::run(trail, writer);
        running.trail.record_all(events).await.unwrap();
        if validates {
            self.clock.advance(Duration::from_secs(1));
            let cause = Cause {
                origin: Origin::default(),
                kind: Kind::Validated,
                word: "accepted",
                process: None,
            };
            let jwt = Credential::jwt_svid("j-1", vec!["api".into()], UNIX_EPOCH);
            let validated = || {
                let of_verifier = Event::new(Kind::Validated).process(process(5000, 1001));
                let of_verifier = of_verifier.attestation("v1").spiffe_id(PAYMENTS);
                of_verifier.credential(jwt).outcome(Outcome::Accepted)
            };
            running.trail.of_caller(cause, validated).await.unwrap();
            let verifier = Event::new(Kind::Attested).attestation("v1");
            running
                .trail
                .record(verifier.process(process(5000, 1001)))
                .await
                .unwrap();
        }
        running.stop();
    }
}

const fn process(pid: u32, uid: u32) -> Process {
    Process { gid: 100, pid, uid }
}

fn of_process(kind: Kind, attestation: &str) -> Event {
    Event::new(kind)
        .attestation(attestation)
        .process(process(4711, 1000))
}

fn attested(id: &str, start: u64, path: &str) -> Event {
    let evidence = json!({"executable": {"path": path}, "start_time": start});
    of_process(Kind::Attested, id).evidence(&evidence).unwrap()
}

fn by_operator(kind: Kind, version: u64) -> Event {
    Event::new(kind)
        .client("payments", version)
        .spiffe_id(PAYMENTS)
        .operator("uid:0")
}

/// Whether a test that only root can do may go on; says so where not.
pub(super) fn root_may(what: &str) -> bool {
    testing::can_run(
        &format!("what takes root ({what})"),
        rustix::process::geteuid().is_root(),
        "sudo -E cargo test -p symbolon-agent",
    )
}
