//! A trail in a folder of its own, and a second reader of its lines.

use super::{AuditError, Chain, Event, Kind, Limits, Reader, Trail, TrailConfig, TrailWriter};
use crate::{
    canonical,
    clock::{ManualClock, SharedClock},
    testing,
};
use serde_json::Value;
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

/// Whether a test that only root can do may go on; says so where not.
pub(super) fn root_may(what: &str) -> bool {
    testing::can_run(
        &format!("what takes root ({what})"),
        rustix::process::geteuid().is_root(),
        "sudo -E cargo test -p symbolon-agent",
    )
}
