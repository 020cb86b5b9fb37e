//! From a folder to writers, and what is done before the first record.

use super::{
    AuditError, Event, Kind, TrailConfig, TrailWriter,
    chain::Chain,
    checkpoint::{self, CheckpointConfig, KeyStore, Mirror},
    folder::Folder,
    keeper::{Checkpoints, Keeper, rotated},
    ledger::Ledger,
    writer::{ChainWriter, Message, Pace, Parts},
};
use crate::{clock::SharedClock, telemetry::AuditMetrics};
use serde::Serialize;
use std::{
    path::Path,
    sync::{Arc, mpsc as std_mpsc},
};
use tokio::sync::{mpsc, oneshot, watch};

/// Both ends of both queues, the trail's own first, and what is counted.
pub(super) struct Ends {
    pub(super) senders: [mpsc::Sender<Message>; 2],
    pub(super) queues: [mpsc::Receiver<Message>; 2],
    pub(super) ledger: Arc<Ledger>,
}

/// Opens the folder and both chains.
pub(super) fn writer(
    dir: &Path,
    config: TrailConfig,
    clock: SharedClock,
    ends: Ends,
) -> Result<TrailWriter, AuditError> {
    let folder = Arc::new(Folder::open(dir)?);
    let (leave, chores) = std_mpsc::channel();
    let health = watch::Sender::default();
    let settings = config.checkpoints.as_ref();
    let parts = |queue, limits, ledger| Parts {
        queue,
        limits,
        durability: config.durability,
        metrics: config.metrics.clone(),
        clock: Arc::clone(&clock),
        health: health.clone(),
        keeper: leave.clone(),
        ledger,
        checkpoint_records: settings.map_or(u64::MAX, |settings| settings.records),
    };
    let [queue, callers_queue] = ends.queues;
    let trail_parts = parts(queue, config.trail, None);
    let ledger = Some(Arc::clone(&ends.ledger));
    let caller_parts = parts(callers_queue, config.callers.0, ledger);
    let trail = ChainWriter::open(&folder, Chain::Trail, trail_parts)?;
    let callers = ChainWriter::open(&folder, Chain::Callers, caller_parts)?;
    let [records, of_callers] = &ends.senders;
    let checkpoints = settings
        .map(|settings| {
            let settings = (settings, &config.metrics);
            checkpoints(&folder, settings, [&trail, &callers], &clock, records)
        })
        .transpose()?;
    Ok(TrailWriter {
        trail,
        callers,
        keeper: Keeper {
            queues: [records.downgrade(), of_callers.downgrade()],
            folder,
            chores,
            ledger: ends.ledger,
            metrics: config.metrics.clone(),
            min_free_bytes: config.min_free_bytes,
            checkpoints,
        },
        health,
    })
}

/// Opens the keys, looks whether the chains end where the last checkpoint says, and
/// puts what there is to tell of that before all other records.
fn checkpoints(
    folder: &Folder,
    (config, metrics): (&CheckpointConfig, &AuditMetrics),
    [trail, callers]: [&ChainWriter; 2],
    clock: &SharedClock,
    queue: &mpsc::Sender<Message>,
) -> Result<Checkpoints, AuditError> {
    let keys = KeyStore::open(&config.keys, clock.now()).map_err(AuditError::key)?;
    let mut events = missing(folder, [trail, callers])?;
    if keys.is_new || trail.durable().borrow().head.seq == 0 {
        events.push(rotated(&keys.active, config, "activated"));
    }
    let mirror = match &config.file {
        Some(path) => Some(
            Mirror::start(path.clone(), metrics.clone())
                .map_err(AuditError::io("begin a thread for", path))?,
        ),
        None => None,
    };
    if !events.is_empty() {
        let (reply, _nobody_waits) = oneshot::channel();
        let first = Message::Record {
            events,
            pace: Pace::WithTheNext,
            reply,
        };
        if queue.try_send(first).is_err() {
            tracing::error!("the first audit records have no place");
        }
    }
    let ends = (trail.durable(), callers.durable());
    Ok(Checkpoints::new(
        config.clone(),
        keys,
        mirror,
        ends,
        Arc::clone(clock),
    ))
}

#[derive(Serialize)]
struct Missing<'a> {
    chain: &'static str,
    checkpoint_digest: &'a str,
    checkpoint_seq: u64,
    checkpoint_time: &'a str,
    found_digest: String,
    found_seq: u64,
}

/// Lines that a checkpoint knows and that are gone: the end was cut off, an older
/// copy was put back, or the machine lost what was not on the disk.
fn missing(folder: &Folder, writers: [&ChainWriter; 2]) -> Result<Vec<Event>, AuditError> {
    let Some(newest) = checkpoint::newest(folder.path())? else {
        return Ok(Vec::new());
    };
    let mut events = Vec::new();
    for writer in writers {
        let chain: Chain = writer.chain();
        let found = writer.durable().borrow().head;
        let expected = newest.head(chain);
        let is_other = expected.seq == found.seq && !expected.is(found.digest);
        if expected.seq <= found.seq && !is_other {
            continue;
        }
        tracing::error!(
            chain = chain.as_str(),
            expected = expected.seq,
            found = found.seq,
            "the audit trail does not end where its last checkpoint says"
        );
        let evidence = Missing {
            chain: chain.as_str(),
            checkpoint_digest: &expected.digest,
            checkpoint_seq: expected.seq,
            checkpoint_time: &newest.time,
            found_digest: found.digest.hex(),
            found_seq: found.seq,
        };
        events.push(
            Event::new(Kind::Repaired)
                .reason("the chain did not end where its last checkpoint says; lines are missing")
                .evidence(&evidence)?,
        );
    }
    Ok(events)
}
