//! The audit trail, from its part of the configuration to its thread.

use super::RunError;
use crate::{
    audit::{CallersLimits, CheckpointConfig, Limits, Trail, TrailConfig, TrailWriter},
    clock::SharedClock,
    config::{self, Config},
    supervisor::Supervisor,
    telemetry::Metrics,
};
use std::{io, sync::Arc, thread::JoinHandle};

pub(super) fn open(
    config: &Config,
    metrics: &Metrics,
    clock: &SharedClock,
) -> Result<(Trail, TrailWriter), RunError> {
    let wanted = &config.audit;
    let trail = Limits {
        segment_bytes: wanted.segment_bytes,
        segment_age: wanted.segment_age,
        retention: wanted.retention,
        max_bytes: wanted.max_bytes,
    };
    let settings = TrailConfig {
        durability: match wanted.durability {
            config::Durability::Sync => crate::audit::Durability::Sync,
            config::Durability::Write => crate::audit::Durability::Write,
        },
        metrics: metrics.audit.clone(),
        trail,
        callers: CallersLimits::of(trail, wanted.callers_retention, wanted.callers_max_bytes),
        min_free_bytes: wanted.min_free_bytes,
        checkpoints: Some(CheckpointConfig {
            keys: config.data_dir.join("keys"),
            file: wanted.checkpoint_file.clone(),
            records: wanted.checkpoint_records.into(),
            interval: wanted.checkpoint_interval,
            key_ttl: wanted.checkpoint_key_ttl,
        }),
    };
    let directory = config.data_dir.join("audit");
    Ok(Trail::open(&directory, settings, Arc::clone(clock))?)
}

/// The trail has a thread of its own: it blocks on the disk.
pub(super) fn write(writer: TrailWriter, supervisor: &Supervisor) -> io::Result<JoinHandle<()>> {
    let (ended, wait) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::Builder::new()
        .name("audit".to_owned())
        .spawn(move || {
            let _ended = ended;
            if let Err(error) = writer.run() {
                tracing::error!(%error, "the audit trail ended");
            }
        })?;
    supervisor.critical("audit", async move {
        // The sender is dropped when the thread ends, however it ends.
        wait.await.unwrap_or_default();
    });
    Ok(thread)
}
