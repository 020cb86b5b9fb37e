//! The thread that keeps house: what may take its time, and what nobody waits for.
//!
//! Tells the writers that time goes by, removes segments that the chain gave
//! up, looks at the space that is left, writes checkpoints and changes their key.

use super::{
    Authority, Event, Kind,
    chain::Chain,
    checkpoint::{self, CheckpointConfig, CheckpointKey, Heads, Keys, Mirror, PUBLIC_KEY_FILE},
    folder::Folder,
    ledger::Ledger,
    writer::{Durable, Message, Pace},
};
use crate::{
    clock::SharedClock,
    svid::{Jwk, PublicKey},
    telemetry::AuditMetrics,
};
use serde::Serialize;
use std::{
    fmt,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

/// How often summaries and checkpoints are looked at.
const TICK: Duration = Duration::from_secs(1);

/// How long after a checkpoint the next is written at the earliest: each costs a sync, and
/// under load there are thousands of records in that time.
const CHECKPOINT_PAUSE: Duration = Duration::from_millis(100);

/// How often the space and the age of segments are looked at.
const SPACE_INTERVAL: Duration = Duration::from_secs(10);

/// What a writer leaves to the thread that keeps house.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chore {
    /// This segment goes; the chain tells so.
    Remove(Chain, u32),
    /// There are many records since the last checkpoint.
    Checkpoint,
}

/// Keeps house.
pub(super) struct Keeper {
    pub(super) folder: Arc<Folder>,
    pub(super) chores: Receiver<Chore>,
    /// Of the trail itself, and of what callers cause.
    pub(super) queues: [mpsc::WeakSender<Message>; 2],
    pub(super) ledger: Arc<Ledger>,
    pub(super) metrics: AuditMetrics,
    pub(super) min_free_bytes: u64,
    pub(super) checkpoints: Option<Checkpoints>,
}

/// What checkpoints are made of.
pub(super) struct Checkpoints {
    config: CheckpointConfig,
    keys: Keys,
    mirror: Option<Mirror>,
    trail: watch::Receiver<Durable>,
    callers: watch::Receiver<Durable>,
    clock: SharedClock,
    written: Option<Heads>,
    written_at: Instant,
    /// Whether there are many records since the last one.
    is_asked: bool,
    is_failing: bool,
    /// The key that signs now.
    public: watch::Sender<PublicKey>,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}

impl Keeper {
    /// Works until both writers are gone.
    pub(super) fn run(mut self) {
        self.look_at_space();
        self.export_key();
        let (mut looked, mut ticked) = (Instant::now(), Instant::now());
        loop {
            let is_asked = |checkpoints: &Checkpoints| checkpoints.is_asked;
            let is_asked = self.checkpoints.as_ref().is_some_and(is_asked);
            let wait = if is_asked { CHECKPOINT_PAUSE } else { TICK };
            match self.chores.recv_timeout(wait) {
                Ok(chore) => self.see_to(chore),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.checkpoint_if_asked();
            // Also where chores come all the time.
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                self.tick();
            }
            if looked.elapsed() >= SPACE_INTERVAL {
                looked = Instant::now();
                self.look_at_space();
                self.tell(&self.queues);
            }
        }
        self.checkpoint();
        if let Some(mirror) = self.checkpoints.and_then(|checkpoints| checkpoints.mirror) {
            mirror.finish();
        }
    }

    /// What was left to do until now.
    #[cfg(test)]
    pub(super) fn tidy(&mut self) {
        while let Ok(chore) = self.chores.try_recv() {
            self.see_to(chore);
        }
    }

    fn see_to(&mut self, chore: Chore) {
        match chore {
            Chore::Remove(chain, number) => self.remove(chain, number),
            Chore::Checkpoint => {
                if let Some(checkpoints) = &mut self.checkpoints {
                    checkpoints.is_asked = true;
                }
            }
        }
    }

    fn checkpoint_if_asked(&mut self) {
        let is_due = |checkpoints: &Checkpoints| {
            checkpoints.is_asked && checkpoints.written_at.elapsed() >= CHECKPOINT_PAUSE
        };
        if self.checkpoints.as_ref().is_some_and(is_due) {
            self.checkpoint();
        }
    }

    /// Tells writers that time goes by.
    fn tell(&self, queues: &[mpsc::WeakSender<Message>]) {
        for queue in queues.iter().filter_map(mpsc::WeakSender::upgrade) {
            // A writer that has too much to do is told the next time.
            if queue.try_send(Message::Tend).is_err() {
                tracing::trace!("an audit writer is busy");
            }
        }
    }

    fn tick(&mut self) {
        let [_, callers] = &self.queues;
        if self.ledger.is_counting() {
            self.tell(std::slice::from_ref(callers));
        }
        let is_due = |checkpoints: &Checkpoints| {
            checkpoints.written_at.elapsed() >= checkpoints.config.interval
        };
        if self.checkpoints.as_ref().is_some_and(is_due) {
            self.checkpoint();
        }
        self.change_key();
    }

    fn remove(&self, chain: Chain, number: u32) {
        let removed = self.folder.remove_segment(chain, number);
        if let Err(error) = removed.and_then(|()| self.folder.sync()) {
            tracing::error!(%error, chain = chain.as_str(), number,
                "an old audit segment cannot be removed");
        }
    }

    /// What callers cause is given up first, while there is still space for the rest.
    pub(super) fn look_at_space(&self) {
        let free = match self.folder.free_bytes() {
            Ok(free) => free,
            Err(error) => {
                tracing::warn!(%error, "the free space for the audit trail is unknown");
                return;
            }
        };
        let is_low = free < self.min_free_bytes;
        if is_low && self.metrics.alarm.get() == 0 {
            tracing::error!(
                free,
                least = self.min_free_bytes,
                "little space is left for the audit trail; what callers cause is counted and not recorded"
            );
        }
        self.metrics
            .free_bytes
            .set(i64::try_from(free).unwrap_or(i64::MAX));
        self.metrics.alarm.set(is_low.into());
        self.ledger.stop(is_low);
    }

    /// Writes a checkpoint if there are new records.
    pub(super) fn checkpoint(&mut self) {
        let Some(checkpoints) = &mut self.checkpoints else {
            return;
        };
        let written = checkpoints.write(&self.folder);
        self.metrics.checkpoint_failing.set(written.is_err().into());
        match written {
            Ok(()) => checkpoints.is_failing = false,
            Err(error) => {
                if !checkpoints.is_failing {
                    tracing::error!(%error, "an audit checkpoint cannot be written");
                }
                checkpoints.is_failing = true;
            }
        }
    }

    fn export_key(&self) {
        let Some(checkpoints) = &self.checkpoints else {
            return;
        };
        let pem = CheckpointKey::pem(checkpoints.keys.active.public());
        if let Err(error) = self.folder.replace(PUBLIC_KEY_FILE, pem.as_bytes()) {
            tracing::error!(%error, "the public key of the audit checkpoints cannot be exported");
        }
    }

    /// Changes the key once it is old: the new one is announced in the trail, the
    /// old one signs a checkpoint that covers that, and goes.
    pub(super) fn change_key(&mut self) {
        let Some(checkpoints) = &mut self.checkpoints else {
            return;
        };
        match checkpoints.change_key(&self.folder, &self.queues) {
            Ok(false) => {}
            Ok(true) => {
                tracing::info!(
                    key_id = checkpoints.keys.active.id(),
                    "audit checkpoints have a new key"
                );
                self.export_key();
            }
            Err(error) => tracing::error!(%error, "the key of the audit checkpoints stays"),
        }
    }
}

/// Why a checkpoint was not written, or its key not changed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Key(#[from] checkpoint::CheckpointKeyError),
    #[error("the new key cannot be announced in the trail")]
    Unannounced,
}

impl Checkpoints {
    pub(super) fn new(
        config: CheckpointConfig,
        keys: Keys,
        mirror: Option<Mirror>,
        (trail, callers): (watch::Receiver<Durable>, watch::Receiver<Durable>),
        clock: SharedClock,
    ) -> Self {
        Self {
            public: watch::Sender::new(*keys.active.public()),
            config,
            keys,
            mirror,
            trail,
            callers,
            clock,
            written: None,
            written_at: Instant::now(),
            is_asked: false,
            is_failing: false,
        }
    }

    /// The key that signs, and each next one.
    pub(super) fn public(&self) -> watch::Receiver<PublicKey> {
        self.public.subscribe()
    }

    fn write(&mut self, folder: &Folder) -> Result<(), Failure> {
        let heads = Heads {
            callers: self.callers.borrow().head,
            trail: self.trail.borrow().head,
        };
        self.written_at = Instant::now();
        self.is_asked = false;
        if self.written == Some(heads) || heads.is_empty() {
            return Ok(());
        }
        let line = checkpoint::signed(heads, &self.keys.active, self.clock.now())?;
        // The second place has it also where the first has no space.
        if let Some(mirror) = &self.mirror {
            mirror.put(line.clone());
        }
        checkpoint::append(folder, &line)?;
        self.written = Some(heads);
        Ok(())
    }

    /// Whether the key changed.
    fn change_key(
        &mut self,
        folder: &Folder,
        [queue, _]: &[mpsc::WeakSender<Message>; 2],
    ) -> Result<bool, Failure> {
        let now = self.clock.now();
        let next = match self.keys.next.take() {
            Some(next) => next,
            None if self.keys.active.not_after(self.config.key_ttl) > now => return Ok(false),
            None => self.keys.store.create(now, Some(&self.keys.active))?,
        };
        let announced = queue
            .upgrade()
            .is_some_and(|queue| announce(&queue, vec![rotated(&next, &self.config, "activated")]));
        if !announced {
            self.keys.next = Some(next);
            return Err(Failure::Unannounced);
        }
        self.written = None;
        if let Err(error) = self.write(folder) {
            self.keys.next = Some(next);
            return Err(error);
        }
        let old = std::mem::replace(&mut self.keys.active, next);
        self.public.send_replace(*self.keys.active.public());
        self.keys.store.remove(&old)?;
        self.written = None;
        self.write(folder)?;
        Ok(true)
    }
}

impl Heads {
    const fn is_empty(self) -> bool {
        self.trail.seq == 0 && self.callers.seq == 0
    }
}

/// Records the events and waits for that; whether it went well.
fn announce(queue: &mpsc::Sender<Message>, events: Vec<Event>) -> bool {
    let (reply, recorded) = oneshot::channel();
    let message = Message::Record {
        events,
        pace: Pace::AtOnce,
        reply,
    };
    queue.blocking_send(message).is_ok() && matches!(recorded.blocking_recv(), Ok(Ok(())))
}

#[derive(Serialize)]
struct KeyEvidence {
    public_key: Jwk,
}

/// Tells of a key for checkpoints, with its public half.
pub(super) fn rotated(key: &CheckpointKey, config: &CheckpointConfig, what: &str) -> Event {
    let event = Event::new(Kind::Rotated)
        .authority(Authority {
            key_id: key.id().to_owned(),
            kind: "audit",
            not_after: key.not_after(config.key_ttl),
            slot: "active",
        })
        .reason(what);
    let evidence = KeyEvidence {
        public_key: CheckpointKey::jwk(key.public()),
    };
    event.clone().evidence(&evidence).unwrap_or(event)
}
