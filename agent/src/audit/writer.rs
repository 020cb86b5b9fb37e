//! The only one that writes the trail.
//!
//! Takes whatever waits, gives each event its number, time and link, writes all
//! of it at once and then answers everybody. While writing fails, records are
//! refused at once, and once in a while the writer tries to write an event of
//! its own that tells of the failure; when that is durable, records are taken
//! again.

use super::{
    AuditError, Event, Kind,
    chain::{Digest, Head},
    event::rfc3339,
    segment::{Cut, MAX_BATCH_BYTES, MAX_LINE_BYTES, Opened, Segment},
    trail::{Durability, Health, TrailConfig},
};
use crate::{clock::SharedClock, telemetry::AuditMetrics};
use serde::Serialize;
use std::{
    fmt, io,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    runtime::{self, Runtime},
    sync::{mpsc, oneshot, watch},
    time::{self, Instant},
};

/// Messages taken from the queue at once.
const MAX_BATCH: usize = 1024;

/// How often writing is tried while it fails: often enough that nobody waits
/// long for a disk that has space again, seldom enough that a disk that has
/// none is left alone.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// What whoever records is told.
pub(super) type Reply = Result<(), AuditError>;

/// What the handles ask of the writer.
#[derive(Debug)]
pub(super) enum Message {
    /// Record these events, all or none.
    Record {
        events: Vec<Event>,
        pace: Pace,
        reply: oneshot::Sender<Reply>,
    },
    /// Finish with what is in the queue.
    Close,
}

/// How long a record waits for the one that follows it: signing takes a
/// twentieth of that, and a sync may take longer.
const LINGER: Duration = Duration::from_millis(1);

/// When a record is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// As soon as the writer can.
    AtOnce,
    /// Together with the one that follows it, if that comes within [`LINGER`].
    WithTheNext,
}

impl Message {
    const fn can_wait(&self) -> bool {
        matches!(
            self,
            Self::Record {
                pace: Pace::WithTheNext,
                ..
            }
        )
    }
}

/// Writes the trail until it is closed; run it on a thread of its own.
pub struct TrailWriter {
    queue: mpsc::Receiver<Message>,
    segment: Segment,
    head: Head,
    durability: Durability,
    metrics: AuditMetrics,
    clock: SharedClock,
    health: watch::Sender<Health>,
    durable: watch::Sender<u64>,
    probe_interval: Duration,
    linger: Duration,
    /// What was cut away at the start and is not yet told.
    cut: Option<Cut>,
    outage: Option<Outage>,
}

/// Writing fails.
#[derive(Debug)]
struct Outage {
    since: SystemTime,
    error: Arc<io::Error>,
    refused: u64,
    next_probe: Instant,
}

/// Lines that are to be written, and those who wait for them.
struct Batch {
    lines: Vec<u8>,
    head: Head,
    kinds: Vec<Kind>,
    waiting: Vec<oneshot::Sender<Reply>>,
}

impl fmt::Debug for TrailWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrailWriter")
            .field("path", self.segment.path())
            .finish_non_exhaustive()
    }
}

impl TrailWriter {
    pub(super) fn new(
        opened: Opened,
        queue: mpsc::Receiver<Message>,
        config: TrailConfig,
        clock: SharedClock,
    ) -> Self {
        Self {
            queue,
            durable: watch::Sender::new(opened.segment.length()),
            segment: opened.segment,
            head: opened.head,
            durability: config.durability,
            metrics: config.metrics,
            clock,
            health: watch::Sender::default(),
            probe_interval: PROBE_INTERVAL,
            linger: LINGER,
            cut: opened.cut,
            outage: None,
        }
    }

    pub(super) fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    pub(super) fn durable(&self) -> watch::Receiver<u64> {
        self.durable.subscribe()
    }

    /// Writes until every [`super::Trail`] is dropped or one is closed, and
    /// everything taken before that is durable. Blocks its thread.
    ///
    /// # Errors
    /// Where waiting cannot be set up; then nothing is ever recorded.
    pub fn run(mut self) -> Result<(), AuditError> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(AuditError::io("wait to write", &**self.segment.path()))?;
        if self.cut.is_some() {
            self.probe();
        }
        let mut messages = Vec::new();
        while self.wait(&runtime, &mut messages) {
            self.handle(&mut messages);
        }
        Ok(())
    }

    /// Records what was taken from the queue or, while writing fails, refuses it.
    fn handle(&mut self, messages: &mut Vec<Message>) {
        let mut messages = messages.drain(..);
        while messages.len() > 0 {
            if let Some(outage) = &self.outage {
                let error = Arc::clone(&outage.error);
                self.refuse(&mut messages, &error);
            } else {
                let batch = self.collect(&mut messages);
                self.commit(batch);
            }
        }
    }

    /// Waits for messages and, while writing fails, for the time to try again;
    /// false at the end.
    fn wait(&mut self, runtime: &Runtime, messages: &mut Vec<Message>) -> bool {
        // Before the queue is looked at: one that is never empty must not put it off for ever.
        if self
            .outage
            .as_ref()
            .is_some_and(|outage| outage.next_probe <= Instant::now())
        {
            self.probe();
            return true;
        }
        let received = self.queue.recv_many(messages, MAX_BATCH);
        let Some(outage) = &self.outage else {
            let received = runtime.block_on(received);
            if received > 0 && messages.iter().all(Message::can_wait) {
                self.linger(runtime, messages);
            }
            return received > 0;
        };
        let next_probe = outage.next_probe;
        // Built inside: a timer needs the runtime around it.
        match runtime.block_on(async { time::timeout_at(next_probe, received).await }) {
            Ok(count) => count > 0,
            Err(_elapsed) => {
                self.probe();
                true
            }
        }
    }

    /// Waits a moment for what follows the messages, so that one sync serves both.
    fn linger(&mut self, runtime: &Runtime, messages: &mut Vec<Message>) {
        let linger = self.linger;
        let more = self.queue.recv_many(messages, MAX_BATCH);
        // Nothing may have come, and that is as good.
        runtime
            .block_on(async { time::timeout(linger, more).await })
            .unwrap_or_default();
    }

    /// As many messages as fit into one write.
    fn collect(&mut self, messages: &mut impl Iterator<Item = Message>) -> Batch {
        let mut batch = Batch::after(self.head);
        while batch.lines.len() < MAX_BATCH_BYTES / 2 {
            let Some(message) = messages.next() else {
                break;
            };
            let Some((events, reply)) = self.taken(message) else {
                continue;
            };
            match batch.add(events, &self.clock) {
                Ok(()) => batch.waiting.push(reply),
                Err(error) => answer(reply, Err(error)),
            }
        }
        batch
    }

    fn taken(&mut self, message: Message) -> Option<(Vec<Event>, oneshot::Sender<Reply>)> {
        match message {
            Message::Record { events, reply, .. } => Some((events, reply)),
            Message::Close => {
                self.queue.close();
                None
            }
        }
    }

    fn commit(&mut self, batch: Batch) {
        if batch.lines.is_empty() {
            return;
        }
        let begun = Instant::now();
        if let Err(error) = self.segment.append(&batch.lines, self.durability) {
            self.fail(error, batch);
            return;
        }
        self.head = batch.head;
        self.durable.send_replace(self.segment.length());
        for reply in batch.waiting {
            answer(reply, Ok(()));
        }
        if self.outage.take().is_some() {
            self.health.send_replace(Health::Recording);
            self.metrics.refusing.set(0);
            tracing::info!("the audit trail can be written again");
        }
        self.cut = None;
        self.metrics
            .commit_duration
            .observe(begun.elapsed().as_secs_f64());
        self.metrics.batch.observe(batch.kinds.len() as f64);
        for kind in batch.kinds {
            self.metrics
                .records
                .get_or_create(&kind.as_str().into())
                .inc();
        }
    }

    /// Refuses the batch and, until a probe succeeds, everything after it.
    fn fail(&mut self, error: io::Error, batch: Batch) {
        let error = Arc::new(error);
        let next_probe = Instant::now() + self.probe_interval;
        if let Some(outage) = &mut self.outage {
            outage.next_probe = next_probe;
        } else {
            tracing::error!(%error, path = %self.segment.path().display(),
                "the audit trail cannot be written; whatever must be recorded is refused");
            let since = self.clock.now();
            self.health.send_replace(Health::Refusing {
                since,
                error: Arc::clone(&error),
            });
            self.metrics.refusing.set(1);
            self.outage = Some(Outage {
                since,
                error: Arc::clone(&error),
                refused: 0,
                next_probe,
            });
        }
        if !batch.waiting.is_empty() {
            self.count_refused(batch.kinds.len());
        }
        for reply in batch.waiting {
            answer(reply, Err(AuditError::Unwritable(Arc::clone(&error))));
        }
    }

    fn refuse(&mut self, messages: &mut impl Iterator<Item = Message>, error: &Arc<io::Error>) {
        for message in messages {
            if let Some((events, reply)) = self.taken(message) {
                self.count_refused(events.len());
                answer(reply, Err(AuditError::Unwritable(Arc::clone(error))));
            }
        }
    }

    fn count_refused(&mut self, events: usize) {
        let events = u64::try_from(events).unwrap_or(u64::MAX);
        self.metrics.refused.inc_by(events);
        if let Some(outage) = &mut self.outage {
            outage.refused += events;
        }
    }

    /// Tries to write what the trail has to tell about itself.
    fn probe(&mut self) {
        let mut batch = Batch::after(self.head);
        match self
            .repairs()
            .and_then(|events| batch.add(events, &self.clock))
        {
            Ok(()) => self.commit(batch),
            Err(error) => self.fail(io::Error::other(error), batch),
        }
    }

    fn repairs(&self) -> Result<Vec<Event>, AuditError> {
        let cut = self.cut.as_ref().map(|cut| {
            Event::new(Kind::Repaired)
                .reason("the trail ended in a half-written record, which was cut away")
                .evidence(cut)
        });
        let outage = self.outage.as_ref().map(|outage| {
            Event::new(Kind::Repaired)
                .reason("the trail could not be written for a time")
                .evidence(&OutageEvidence {
                    error: outage.error.to_string(),
                    refused_records: outage.refused,
                    since: outage.since,
                })
        });
        cut.into_iter().chain(outage).collect()
    }
}

impl Batch {
    const fn after(head: Head) -> Self {
        Self {
            lines: Vec::new(),
            head,
            kinds: Vec::new(),
            waiting: Vec::new(),
        }
    }

    /// Adds the lines of all `events` or, after an error, none of them.
    fn add(&mut self, events: Vec<Event>, clock: &SharedClock) -> Result<(), AuditError> {
        let (start, kinds, mut head) = (self.lines.len(), self.kinds.len(), self.head);
        let added = events.into_iter().try_for_each(|event| {
            self.kinds.push(event.kind());
            head = self.add_line(event, head, clock.now())?;
            if self.lines.len() - start > MAX_BATCH_BYTES / 2 {
                return Err(AuditError::TooLong(self.lines.len() - start));
            }
            Ok(())
        });
        if added.is_ok() {
            self.head = head;
        } else {
            self.lines.truncate(start);
            self.kinds.truncate(kinds);
        }
        added
    }

    fn add_line(&mut self, event: Event, head: Head, now: SystemTime) -> Result<Head, AuditError> {
        let start = self.lines.len();
        let seq = head.seq + 1;
        event.write_line(seq, head.digest, now, &mut self.lines)?;
        let line = self.lines.get(start..).unwrap_or_default();
        if line.len() > MAX_LINE_BYTES {
            return Err(AuditError::TooLong(line.len()));
        }
        let digest = Digest::of(line);
        self.lines.push(b'\n');
        Ok(Head { seq, digest })
    }
}

fn answer(to: oneshot::Sender<Reply>, reply: Reply) {
    if to.send(reply).is_err() {
        tracing::debug!("nobody waits for this audit record any more");
    }
}

#[derive(Serialize)]
struct OutageEvidence {
    error: String,
    refused_records: u64,
    #[serde(serialize_with = "rfc3339")]
    since: SystemTime,
}

#[cfg(test)]
mod tests;
