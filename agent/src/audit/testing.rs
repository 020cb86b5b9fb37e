//! A trail in a folder of its own, and a second reader of its lines.

use super::{AuditError, Event, Kind, Trail, TrailConfig, TrailWriter};
use crate::{
    canonical,
    clock::{ManualClock, SharedClock},
    testing,
};
use serde_json::Value;
use std::{
    fs,
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

    pub(super) fn lines(&self) -> Vec<Value> {
        verified(&self.segment())
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

/// 2026-07-28T12:00:00.123Z
pub(super) fn clock() -> SharedClock {
    Arc::new(ManualClock::new(
        UNIX_EPOCH + Duration::from_millis(1_785_240_000_123),
    ))
}

/// The lines of the segment at `path`, each canonical and linked to the one
/// before it.
pub(super) fn verified(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "torn: {text}");
    let mut prev = "0".repeat(64);
    let mut lines = Vec::new();
    for (line, seq) in text.lines().zip(1_u64..) {
        let value: Value = serde_json::from_str(line).unwrap();
        assert_eq!(canonical::to_vec(&value).unwrap(), line.as_bytes());
        assert_eq!(value["seq"], seq);
        assert_eq!(value["prev"], prev);
        prev = canonical::sha256_hex(line.as_bytes());
        lines.push(value);
    }
    lines
}

/// Whether a test that only root can do may go on; says so where not.
pub(super) fn root_may(what: &str) -> bool {
    testing::can_run(
        &format!("what takes root ({what})"),
        rustix::process::geteuid().is_root(),
        "sudo -E cargo test -p symbolon-agent",
    )
}
