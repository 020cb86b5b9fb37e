//! The handle by which everybody else records and reads.

use super::{
    AuditError, Cause, Chain, CheckpointConfig, Event, Position, Reader, TrailWriter, begin,
    checkpoint,
    keeper::Checkpoints,
    ledger::Ledger,
    tail::{self, Source},
    writer::{ChainWriter, Message, Pace, Reply},
};
use crate::{clock::SharedClock, svid::PublicKey, telemetry::AuditMetrics};
use futures_util::{
    FutureExt as _, Stream,
    future::{self, BoxFuture},
};
use std::{
    io,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

/// How many records may wait for the disk; whoever comes later waits to get in.
/// A tenth of a second's work at 10,000 records/s, and one or two megabytes.
const QUEUE: usize = 1024;

/// What "recorded" means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// On the disk: survives a loss of power.
    #[default]
    Sync,
    /// With the kernel: survives the agent's death, not the machine's.
    Write,
}

/// How the trail is kept.
#[derive(Clone, Debug, Default)]
pub struct TrailConfig {
    /// When a record counts as recorded.
    pub durability: Durability,
    /// Where the trail counts.
    pub metrics: AuditMetrics,
    /// How much of the trail is kept.
    pub trail: Limits,
    /// How much is kept of what callers without an identity cause.
    pub callers: CallersLimits,
    /// Where less space than this is left, what callers cause is not recorded any more.
    pub min_free_bytes: u64,
    /// How checkpoints are made; without, there are none.
    pub checkpoints: Option<CheckpointConfig>,
}

/// How much of a chain is kept, and in which pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A segment that has so many bytes is followed by the next one.
    pub segment_bytes: u64,
    /// A segment whose first line is so old is followed by the next one.
    pub segment_age: Duration,
    /// Segments whose last line is older are removed.
    pub retention: Duration,
    /// The oldest segments are removed while there are more bytes than these.
    pub max_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            segment_age: DAY,
            retention: 90 * DAY,
            max_bytes: 10 << 30,
        }
    }
}

/// As [`Limits`], with other defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallersLimits(pub Limits);

impl CallersLimits {
    /// These, in segments small enough that one less is no great loss.
    #[must_use]
    pub const fn of(trail: Limits, retention: Duration, max_bytes: u64) -> Self {
        let eighth = max_bytes / 8;
        Self(Limits {
            segment_bytes: if eighth < trail.segment_bytes {
                eighth
            } else {
                trail.segment_bytes
            },
            segment_age: trail.segment_age,
            retention,
            max_bytes,
        })
    }
}

impl Default for CallersLimits {
    fn default() -> Self {
        Self(Limits {
            segment_bytes: 16 << 20,
            max_bytes: 256 << 20,
            ..Limits::default()
        })
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Whether the trail can be written.
#[derive(Clone, Debug, Default)]
pub enum Health {
    /// The last write went well.
    #[default]
    Recording,
    /// Records are refused, because writing fails.
    Refusing {
        /// When that began.
        since: SystemTime,
        /// The first failure.
        error: Arc<io::Error>,
    },
}

impl Health {
    /// Whether records are accepted.
    #[must_use]
    pub const fn is_recording(&self) -> bool {
        matches!(self, Self::Recording)
    }
}

/// The audit trail, shared by all that record in it.
#[derive(Clone, Debug)]
pub struct Trail {
    records: mpsc::Sender<Message>,
    health: watch::Receiver<Health>,
    callers: mpsc::Sender<Message>,
    ledger: Arc<Ledger>,
    sources: [Source; 2],
    metrics: AuditMetrics,
    checkpoint_key: Option<watch::Receiver<PublicKey>>,
    durability: Durability,
}

impl Trail {
    /// Opens the trail in the folder `dir`, which is created if need be (its
    /// parent must exist), checks the end of its chain and repairs it. Reads and
    /// writes files: not for an async thread.
    ///
    /// # Errors
    /// Where the folder or the segment cannot be opened, may be reached by
    /// others, is in use by another agent, or is damaged.
    pub fn open(
        dir: &Path,
        config: TrailConfig,
        clock: SharedClock,
    ) -> Result<(Self, TrailWriter), AuditError> {
        let (records, queue) = mpsc::channel(QUEUE);
        let (callers, callers_queue) = mpsc::channel(QUEUE);
        let metrics = config.metrics.clone();
        let counter = metrics.summarized.clone();
        let ledger = Arc::new(Ledger::new(Arc::clone(&clock), counter));
        let ends = begin::Ends {
            senders: [records.clone(), callers.clone()],
            queues: [queue, callers_queue],
            ledger: Arc::clone(&ledger),
        };
        let durability = config.durability;
        let writer = begin::writer(dir, config, clock, ends)?;
        let source = |chain: &ChainWriter| Source {
            dir: Arc::clone(writer.keeper.folder.path()),
            chain: chain.chain(),
            durable: chain.durable(),
        };
        let trail = Self {
            records,
            callers,
            ledger,
            health: writer.health.subscribe(),
            sources: [source(&writer.trail), source(&writer.callers)],
            metrics,
            checkpoint_key: writer.keeper.checkpoints.as_ref().map(Checkpoints::public),
            durability,
        };
        Ok((trail, writer))
    }

    /// Records `event` and waits until that is durable. An event whose
    /// recording has begun is recorded even where nobody waits any more.
    ///
    /// # Errors
    /// [`AuditError::Unwritable`] where it is not in the trail: what it tells of
    /// must not happen.
    pub async fn record(&self, event: Event) -> Result<(), AuditError> {
        self.record_all(vec![event]).await
    }

    /// Records `events`, in their order, all or none of them.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub async fn record_all(&self, events: Vec<Event>) -> Result<(), AuditError> {
        if events.is_empty() {
            return Ok(());
        }
        self.send(events, Pace::AtOnce).await?.await
    }

    /// Puts `event` into the writer's queue, before all that comes later; the
    /// future that it gives resolves as [`Self::record`] does.
    ///
    /// For what another event follows at once: the writer waits a moment for
    /// that one, and makes both durable together.
    ///
    /// # Errors
    /// [`AuditError::Closed`].
    pub async fn enqueue(
        &self,
        event: Event,
    ) -> Result<impl Future<Output = Result<(), AuditError>> + Send + use<>, AuditError> {
        self.send(vec![event], Pace::WithTheNext).await
    }

    async fn send(
        &self,
        events: Vec<Event>,
        pace: Pace,
    ) -> Result<impl Future<Output = Result<(), AuditError>> + Send + use<>, AuditError> {
        let begun = Instant::now();
        let took = self.metrics.record_duration.clone();
        let (reply, durable) = oneshot::channel::<Reply>();
        self.records
            .send(Message::Record {
                events,
                pace,
                reply,
            })
            .await
            .map_err(|_closed| AuditError::Closed)?;
        Ok(async move {
            let recorded = durable.await.unwrap_or(Err(AuditError::Closed));
            if recorded.is_ok() {
                took.observe(begun.elapsed().as_secs_f64());
            }
            recorded
        })
    }

    /// How much waits to be written now, of each chain.
    pub fn waiting(&self) -> impl Iterator<Item = (Chain, usize)> {
        let queues = [
            (Chain::Trail, &self.records),
            (Chain::Callers, &self.callers),
        ];
        let waiting = |queue: &mpsc::Sender<Message>| queue.max_capacity() - queue.capacity();
        queues
            .into_iter()
            .map(move |(chain, queue)| (chain, waiting(queue)))
    }

    /// Hands `event` to the writer without waiting for anything.
    ///
    /// For what has happened already and does not depend on its record.
    ///
    /// # Errors
    /// Gives the event back where the writer's queue is full or closed.
    pub fn offer(&self, event: Event) -> Result<(), Box<Event>> {
        let Ok(place) = self.records.try_reserve() else {
            return Err(Box::new(event));
        };
        let (reply, _nobody_waits) = oneshot::channel::<Reply>();
        place.send(Message::Record {
            events: vec![event],
            pace: Pace::AtOnce,
            reply,
        });
        Ok(())
    }

    /// Records what a caller without an identity caused: one by one up to a rate, and
    /// durable when the future resolves; beyond that it is counted, and nobody waits.
    /// Either way it has its place before what comes later.
    ///
    /// # Errors
    /// As [`Self::record`], but what cannot be written now is counted.
    pub fn of_caller(
        &self,
        cause: Cause,
        event: impl FnOnce() -> Event,
    ) -> BoxFuture<'static, Result<(), AuditError>> {
        if !self.ledger.admit(&cause) {
            return future::ready(Ok(())).boxed();
        }
        let Ok(place) = self.callers.try_reserve() else {
            self.ledger.count(&cause);
            return future::ready(Ok(())).boxed();
        };
        let (reply, durable) = oneshot::channel::<Reply>();
        place.send(Message::Record {
            events: vec![event()],
            pace: Pace::WithTheNext,
            reply,
        });
        let ledger = Arc::clone(&self.ledger);
        async move {
            let recorded = durable.await.unwrap_or(Err(AuditError::Closed));
            if let Err(AuditError::Unwritable(_)) = recorded {
                ledger.count(&cause);
                return Ok(());
            }
            recorded
        }
        .boxed()
    }

    /// Lets the writer finish once everything recorded so far is durable; records
    /// that come later than that fail with [`AuditError::Closed`].
    pub async fn close(&self) {
        for queue in [&self.callers, &self.records] {
            if queue.send(Message::Close).await.is_err() {
                tracing::debug!("the audit trail is closed already");
            }
        }
    }

    /// Whether the trail can be written, and each change of that.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    /// When an event counts as recorded.
    #[must_use]
    pub const fn durability(&self) -> Durability {
        self.durability
    }

    /// Where the trail itself ends now.
    #[must_use]
    pub fn end(&self) -> Position {
        let [trail, _] = &self.sources;
        trail.durable.borrow().end
    }

    /// The number of the trail's last durable line.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        let [trail, _] = &self.sources;
        trail.durable.borrow().head.seq
    }

    /// The public key that verifies the checkpoints made now; none where there are none.
    #[must_use]
    pub fn checkpoint_key(&self) -> Option<PublicKey> {
        self.checkpoint_key.as_ref().map(|key| *key.borrow())
    }

    /// What is durable of both chains now, to be read on a blocking thread.
    ///
    /// # Errors
    /// Where the folder cannot be listed.
    pub fn reader(&self) -> Result<Reader, AuditError> {
        // Looked at before the folder is, so that every segment up to there is found.
        self.reader_to(self.ends())
    }

    /// Where both chains end now.
    #[must_use]
    pub fn ends(&self) -> [(Chain, Position); 2] {
        let end = |source: &Source| (source.chain, source.durable.borrow().end);
        self.sources.each_ref().map(end)
    }

    /// As [`Self::reader`], what was durable when the chains ended there.
    ///
    /// # Errors
    /// As [`Self::reader`].
    pub fn reader_to(&self, ends: [(Chain, Position); 2]) -> Result<Reader, AuditError> {
        let [trail, _] = &self.sources;
        let reader = Reader::open(&trail.dir)?;
        Ok(ends
            .into_iter()
            .fold(reader, |reader, (chain, end)| reader.up_to(chain, end)))
    }

    /// The line of the newest signed checkpoint; reads a file, so not for an async thread.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn newest_checkpoint(&self) -> Result<Option<Vec<u8>>, AuditError> {
        let [trail, _] = &self.sources;
        checkpoint::newest_line(&trail.dir)
    }

    /// The last `last` durable lines of both chains (at most [`super::MAX_TAIL_LINES`]), without
    /// their line feeds, and, with `follow`, those that come until the trail is
    /// closed.
    pub fn tail(
        &self,
        last: usize,
        follow: bool,
    ) -> impl Stream<Item = Result<String, AuditError>> + Send + use<> {
        tail::lines(self.sources.clone(), last, follow)
    }
}
