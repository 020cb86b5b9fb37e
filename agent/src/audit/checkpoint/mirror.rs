//! The second place for checkpoints.
//!
//! May be on another machine's disk, slow or gone: a thread of its own writes
//! there, nobody waits for it, and what goes wrong is told, not suffered. The
//! file is opened anew for each checkpoint, so that it may be moved away. Once it is
//! large it takes the name `FILE.old`, in place of what has that, and the next is begun;
//! where it may not be renamed (a file that can only grow) it grows on.

use super::{MAX_FILE_BYTES, append_to};
use crate::telemetry::AuditMetrics;
use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    thread,
    time::Duration,
};

/// Checkpoints that wait; more are left out, as the next one says the same and more.
const WAITING: usize = 64;

/// How long the end waits for what is not written yet.
const PATIENCE: Duration = Duration::from_secs(2);

/// Hands checkpoints to the second place.
#[derive(Debug)]
pub(in crate::audit) struct Mirror {
    lines: SyncSender<Vec<u8>>,
    ended: Receiver<()>,
    metrics: AuditMetrics,
}

impl Mirror {
    /// Begins a thread that writes to `path`.
    pub(in crate::audit) fn start(path: PathBuf, metrics: AuditMetrics) -> io::Result<Self> {
        let (lines, waiting) = sync_channel(WAITING);
        let (end, ended) = channel();
        let counted = metrics.clone();
        thread::Builder::new()
            .name("audit-mirror".to_owned())
            .spawn(move || write(&path, &waiting, &counted, end))?;
        Ok(Self {
            lines,
            ended,
            metrics,
        })
    }

    /// Waits a moment for the last ones: a dead disk must not keep the agent.
    pub(in crate::audit) fn finish(self) {
        drop(self.lines);
        // Either way it has ended, or is left alone.
        self.ended.recv_timeout(PATIENCE).unwrap_or_default();
    }

    /// Leaves a checkpoint to the thread.
    pub(in crate::audit) fn put(&self, line: Vec<u8>) {
        if self.lines.try_send(line).is_err() {
            self.metrics.second_place_failing.set(1);
        }
    }
}

fn write(path: &Path, lines: &Receiver<Vec<u8>>, metrics: &AuditMetrics, end: Sender<()>) {
    let (mut is_failing, mut is_stuck) = (false, false);
    while let Ok(line) = lines.recv() {
        make_room(path, &mut is_stuck);
        let written = append(path, &line);
        metrics.second_place_failing.set(written.is_err().into());
        match written {
            Err(error) if !is_failing => {
                is_failing = true;
                tracing::error!(%error, path = %path.display(),
                    "audit checkpoints cannot be written to their second place");
            }
            Err(_) => {}
            Ok(()) => is_failing = false,
        }
    }
    drop(end);
}

/// The file with the checkpoints before those in `path`.
pub(in crate::audit) fn older(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".old");
    name.into()
}

/// Puts a file that is large enough aside.
fn make_room(path: &Path, is_stuck: &mut bool) {
    let is_large = |metadata: fs::Metadata| metadata.is_file() && metadata.len() >= MAX_FILE_BYTES;
    if !fs::symlink_metadata(path).is_ok_and(is_large) {
        return;
    }
    let renamed = fs::rename(path, older(path));
    if let Err(error) = &renamed
        && !*is_stuck
    {
        tracing::warn!(%error, path = %path.display(),
            "the second place of audit checkpoints is large and cannot be renamed; it grows on");
    }
    *is_stuck = renamed.is_err();
}

fn append(path: &Path, line: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    append_to(&mut options.open(path)?, line)
}
