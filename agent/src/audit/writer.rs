//! The only one that writes the trail.
//!
//! Takes whatever waits, gives each event its number, time and link, writes all
//! of it at once and then answers everybody. While writing fails, records are
//! refused at once, and once in a while the writer tries to write an event of
//! its own that tells of the failure; when that is durable, records are taken
//! again.

use super::{
    AuditError, Event, Kind,
    batch::Batch,
    chain::{Chain, Head, Position},
    event::rfc3339,
    folder::Folder,
    keeper::Chore,
    ledger::Ledger,
    retention::{Doomed, Shelf},
    segment::{Cut, Opened, Segment},
    trail::{Durability, Health, Limits},
};
use crate::{clock::SharedClock, telemetry::AuditMetrics};
use serde::Serialize;
use std::{
    io,
    sync::{Arc, mpsc as std_mpsc},
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
    /// Time goes by: see what is due.
    Tend,
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

/// Writes one chain until it is closed.
pub(super) struct ChainWriter {
    chain: Chain,
    folder: Arc<Folder>,
    queue: mpsc::Receiver<Message>,
    pub(super) segment: Segment,
    shelf: Shelf,
    limits: Limits,
    head: Head,
    durability: Durability,
    pub(super) metrics: AuditMetrics,
    clock: SharedClock,
    health: watch::Sender<Health>,
    durable: watch::Sender<Durable>,
    keeper: std_mpsc::Sender<Chore>,
    /// What is counted and not recorded one by one, where this chain tells of it.
    ledger: Option<Arc<Ledger>>,
    /// Records between checkpoints, and the number of the last one that asked for one.
    checkpoint: (u64, u64),
    pub(super) probe_interval: Duration,
    linger: Duration,
    /// What was cut away at the start and is not yet told.
    cut: Option<Cut>,
    outage: Option<Outage>,
    /// Whether it is time to see what is due.
    is_due: bool,
    /// Whether the next segment could not be begun; tried again when time goes by.
    is_stuck: bool,
}

/// Writing fails.
#[derive(Debug)]
struct Outage {
    since: SystemTime,
    error: Arc<io::Error>,
    refused: u64,
    next_probe: Instant,
}

/// Up to where a chain is durable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Durable {
    pub(super) head: Head,
    pub(super) end: Position,
}

/// What a chain's writer is made of, beside its files.
pub(super) struct Parts {
    pub(super) queue: mpsc::Receiver<Message>,
    pub(super) limits: Limits,
    pub(super) durability: Durability,
    pub(super) metrics: AuditMetrics,
    pub(super) clock: SharedClock,
    pub(super) health: watch::Sender<Health>,
    pub(super) keeper: std_mpsc::Sender<Chore>,
    pub(super) ledger: Option<Arc<Ledger>>,
    pub(super) checkpoint_records: u64,
}

impl ChainWriter {
    /// Opens the chain, checks its end and repairs it.
    pub(super) fn open(
        folder: &Arc<Folder>,
        chain: Chain,
        parts: Parts,
    ) -> Result<Self, AuditError> {
        let Opened {
            segment,
            head,
            cut,
            closed,
        } = Segment::open(folder, chain)?;
        let durable = Durable {
            head,
            end: segment.end(),
        };
        Ok(Self {
            chain,
            folder: Arc::clone(folder),
            queue: parts.queue,
            durable: watch::Sender::new(durable),
            segment,
            shelf: Shelf::new(chain, closed),
            limits: parts.limits,
            head,
            durability: parts.durability,
            metrics: parts.metrics,
            clock: parts.clock,
            health: parts.health,
            keeper: parts.keeper,
            ledger: parts.ledger,
            checkpoint: (parts.checkpoint_records, head.seq),
            probe_interval: PROBE_INTERVAL,
            linger: LINGER,
            cut,
            outage: None,
            is_due: false,
            is_stuck: false,
        })
    }

    pub(super) const fn chain(&self) -> Chain {
        self.chain
    }

    pub(super) fn durable(&self) -> watch::Receiver<Durable> {
        self.durable.subscribe()
    }

    /// Writes until every handle is dropped or one is closed, and everything taken
    /// before that is durable. Blocks its thread.
    pub(super) fn run(mut self) -> Result<(), AuditError> {
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
        self.summarize(true);
        Ok(())
    }

    /// Records what was taken from the queue or, while writing fails, refuses it.
    pub(super) fn handle(&mut self, messages: &mut Vec<Message>) {
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
        drop(messages);
        let is_full = self.segment.length() >= self.limits.segment_bytes && !self.is_stuck;
        if std::mem::take(&mut self.is_due) || is_full {
            self.tend();
        }
    }

    fn batch(&self) -> Batch {
        Batch::after(self.chain, self.head)
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
        let mut batch = self.batch();
        while batch.has_room() {
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
            Message::Tend => {
                self.is_due = true;
                None
            }
            Message::Close => {
                self.queue.close();
                None
            }
        }
    }

    /// Makes the batch durable and answers everybody; whether that went well.
    fn commit(&mut self, batch: Batch) -> bool {
        if batch.lines.is_empty() {
            return true;
        }
        let begun = Instant::now();
        let now = self.clock.now();
        if let Err(error) = self.segment.append(&batch.lines, now, self.durability) {
            self.fail(error, batch);
            return false;
        }
        self.head = batch.head;
        self.publish();
        for reply in batch.waiting {
            answer(reply, Ok(()));
        }
        self.cut = None;
        if self.outage.take().is_some() {
            self.recovered();
        }
        if self.chain == Chain::Trail {
            let took = begun.elapsed().as_secs_f64();
            self.metrics.commit_duration.observe(took);
            self.metrics.batch.observe(batch.kinds.len() as f64);
        }
        let (every, last) = self.checkpoint;
        if self.head.seq - last >= every {
            self.checkpoint.1 = self.head.seq;
            self.leave(Chore::Checkpoint);
        }
        for kind in batch.kinds {
            let records = &self.metrics.records;
            records.get_or_create(&kind.as_str().into()).inc();
        }
        true
    }

    fn publish(&self) {
        self.durable.send_replace(Durable {
            head: self.head,
            end: self.segment.end(),
        });
    }

    fn recovered(&self) {
        tracing::info!(
            chain = self.chain.as_str(),
            "the audit trail can be written again"
        );
        if self.chain == Chain::Trail {
            self.health.send_replace(Health::Recording);
            self.metrics.refusing.set(0);
        }
    }

    /// Begins a new segment and lets old ones go, where it is time for that.
    fn tend(&mut self) {
        if self.outage.is_some() {
            return;
        }
        self.summarize(false);
        let now = self.clock.now();
        let age = |begun| now.duration_since(begun).unwrap_or_default();
        let is_old = self
            .segment
            .begun()
            .is_some_and(|begun| age(begun) >= self.limits.segment_age);
        let is_full = self.segment.length() >= self.limits.segment_bytes;
        if (is_old || is_full) && self.segment.length() > 0 {
            self.rotate(now);
        }
        let open = (self.segment.length(), now);
        match self.shelf.doomed(&self.folder, &self.limits, open) {
            Ok(Some(doomed)) => self.expunge(doomed),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "an old audit segment cannot be removed"),
        }
    }

    /// Goes on in a new segment. Where that cannot be, the old one grows.
    fn rotate(&mut self, now: SystemTime) {
        match self.segment.next(&self.folder, self.chain) {
            Ok(next) => {
                self.shelf
                    .put(self.segment.number(), self.segment.length(), now);
                self.segment = next;
                self.is_stuck = false;
                self.publish();
            }
            Err(error) => {
                if !self.is_stuck {
                    tracing::error!(%error, path = %self.segment.path().display(),
                        "the audit segment is full, and a new one cannot be begun; it grows on");
                }
                self.is_stuck = true;
            }
        }
    }

    /// Segments go once the chain tells so.
    fn expunge(&mut self, doomed: Doomed) {
        let event = Event::new(Kind::Expunged).reason(doomed.reason);
        let mut batch = self.batch();
        let added = event.evidence(&doomed);
        if let Err(error) = added.and_then(|event| batch.add(vec![event], &self.clock)) {
            tracing::error!(%error, "the removal of audit segments cannot be recorded");
            return;
        }
        if !self.commit(batch) {
            return;
        }
        self.shelf.forget(&doomed.numbers);
        for number in doomed.numbers {
            self.leave(Chore::Remove(self.chain, number));
        }
    }

    fn leave(&self, chore: Chore) {
        if self.keeper.send(chore).is_err() {
            tracing::debug!(?chore, "nobody keeps house for the audit trail any more");
        }
    }

    /// Records what was counted, as far as that is due.
    fn summarize(&mut self, all: bool) {
        let Some(ledger) = self.ledger.clone() else {
            return;
        };
        let due = ledger.take_due(all);
        if due.is_empty() {
            return;
        }
        let mut batch = self.batch();
        let added = batch.add(due.events(), &self.clock);
        if added.is_err() || !self.commit(batch) {
            ledger.give_back(due);
        }
    }

    /// Refuses the batch and, until a probe succeeds, everything after it.
    fn fail(&mut self, error: io::Error, batch: Batch) {
        let error = Arc::new(error);
        let next_probe = Instant::now() + self.probe_interval;
        if let Some(outage) = &mut self.outage {
            outage.next_probe = next_probe;
        } else {
            let consequence = match self.chain {
                Chain::Trail => "whatever must be recorded is refused",
                Chain::Callers => "what callers cause is counted",
            };
            tracing::error!(%error, path = %self.segment.path().display(),
                "the audit trail cannot be written; {consequence}");
            let since = self.clock.now();
            if self.chain == Chain::Trail {
                self.health.send_replace(Health::Refusing {
                    since,
                    error: Arc::clone(&error),
                });
                self.metrics.refusing.set(1);
            }
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
        if self.chain == Chain::Trail {
            self.metrics.refused.inc_by(events);
        }
        if let Some(outage) = &mut self.outage {
            outage.refused += events;
        }
    }

    /// Tries to write what the trail has to tell about itself.
    fn probe(&mut self) {
        let mut batch = self.batch();
        let added = self
            .repairs()
            .and_then(|events| batch.add(events, &self.clock));
        match added {
            Ok(()) => {
                self.commit(batch);
            }
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
