//! One image of one pinned process: its attestation, what it holds, and its pulse.
//!
//! It ends with the process, and also when that executes another program or
//! changes its user: a program starts from nothing, on connections of its own,
//! and what its predecessor opened (and may have passed on) gives nothing any
//! more.

use super::shelf::{Kept, Shelf};
use crate::{
    audit::AuditError,
    issuance::{Entitlement, WitSvid, X509Svid},
    registry::Client,
};
use arc_swap::ArcSwapOption;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};
use symbolon_attestors::{Attestation, PinnedPeer, ProcessKey};
use tokio::sync::{Notify, watch};

/// What a stream waits on. A change means: make the answer anew.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Pulse {
    /// Grows with every wake.
    pub beat: u64,
    /// The process has exited, or is no longer what it was.
    pub ended: bool,
}

/// The recording of an attestation; all who rely on it wait for the same one.
pub(super) type Recorded = Shared<BoxFuture<'static, Result<(), AuditError>>>;

/// What is known of a process, and whether that is in the trail.
#[derive(Debug)]
pub(super) struct Attested {
    pub(super) attestation: Arc<Attestation>,
    pub(super) recorded: Recorded,
}

/// A process that is connected or holds an SVID.
#[derive(Debug)]
pub struct Process {
    peer: Arc<PinnedPeer>,
    attested: ArcSwapOption<Attested>,
    holding: Mutex<Holding>,
    pulse: watch::Sender<Pulse>,
    connections: AtomicUsize,
    /// Only one task attests or issues at a time; others wait and find it done.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// Wakes the keeper when renewal times changed.
    pub(super) rescheduled: Notify,
}

#[derive(Debug)]
struct Holding {
    x509: Shelf<X509Svid>,
    wit: Shelf<WitSvid>,
    /// Who the streams were told that the process is.
    entitled: Option<Vec<Arc<Client>>>,
    kept: bool,
    /// Renewals that were due until then have been announced.
    announced: SystemTime,
}

impl Default for Holding {
    fn default() -> Self {
        Self {
            x509: Shelf::default(),
            wit: Shelf::default(),
            entitled: None,
            kept: false,
            announced: UNIX_EPOCH,
        }
    }
}

impl Holding {
    fn next_due(&self) -> Option<SystemTime> {
        let x509 = self.x509.next_due(self.announced);
        x509.into_iter()
            .chain(self.wit.next_due(self.announced))
            .min()
    }
}

/// Whether both are the same version of the same client.
pub(super) fn same_version(a: &Client, b: &Client) -> bool {
    a.name() == b.name() && a.version().number == b.version().number
}

/// A kind of SVID that has a shelf in each process.
pub(crate) trait Shelved: Kept {
    /// Runs `f` on this kind's shelf.
    fn shelf<R>(process: &Process, f: impl FnOnce(&mut Shelf<Self>) -> R) -> R;
}

impl Shelved for X509Svid {
    fn shelf<R>(process: &Process, f: impl FnOnce(&mut Shelf<Self>) -> R) -> R {
        f(&mut process.holding.lock().x509)
    }
}

impl Shelved for WitSvid {
    fn shelf<R>(process: &Process, f: impl FnOnce(&mut Shelf<Self>) -> R) -> R {
        f(&mut process.holding.lock().wit)
    }
}

impl Process {
    pub(super) fn new(peer: PinnedPeer) -> Self {
        Self {
            peer: Arc::new(peer),
            attested: ArcSwapOption::empty(),
            holding: Mutex::default(),
            pulse: watch::Sender::new(Pulse::default()),
            connections: AtomicUsize::new(0),
            turn: tokio::sync::Mutex::new(()),
            rescheduled: Notify::new(),
        }
    }

    /// The pin.
    #[must_use]
    pub const fn peer(&self) -> &Arc<PinnedPeer> {
        &self.peer
    }

    /// The process's key.
    #[must_use]
    pub fn key(&self) -> ProcessKey {
        self.peer.key()
    }

    /// Subscribes a stream.
    #[must_use]
    pub fn pulse(&self) -> watch::Receiver<Pulse> {
        self.pulse.subscribe()
    }

    /// The last attestation.
    #[must_use]
    pub fn attestation(&self) -> Option<Arc<Attestation>> {
        self.attested()
            .map(|attested| Arc::clone(&attested.attestation))
    }

    pub(super) fn attested(&self) -> Option<Arc<Attested>> {
        self.attested.load_full()
    }

    /// Whether an SVID of this client is held.
    #[must_use]
    pub fn holds(&self, client: &str) -> bool {
        let holding = self.holding.lock();
        holding.x509.holds(client) || holding.wit.holds(client)
    }

    pub(super) fn note_attested(&self, attested: Attested) {
        self.attested.store(Some(Arc::new(attested)));
    }

    /// Resolves when it is over, see [`Pulse::ended`].
    pub(super) async fn ended(&self) {
        // The sender lives as long as the process.
        drop(self.pulse().wait_for(|pulse| pulse.ended).await);
    }

    /// Whether it is over.
    pub(super) fn has_ended(&self) -> bool {
        self.pulse.borrow().ended
    }

    /// Whether a keeper has to be started: true once.
    pub(super) fn needs_keeper(&self) -> bool {
        let mut holding = self.holding.lock();
        !std::mem::replace(&mut holding.kept, true)
    }

    /// Forgets everything; streams, connections and the keeper end.
    pub(super) fn end(&self) -> Vec<Arc<Client>> {
        self.pulse.send_modify(|pulse| pulse.ended = true);
        self.attested.store(None);
        self.rescheduled.notify_one();
        self.drop_except(&[])
    }

    pub(super) fn wake(&self) {
        self.pulse.send_modify(|pulse| pulse.beat += 1);
    }

    /// Remembers who the process may be; whether anybody was told otherwise.
    pub(super) fn note_entitled(&self, entitled: &[Entitlement]) -> bool {
        let mut holding = self.holding.lock();
        let same = holding.entitled.as_ref().map(|known| {
            known.len() == entitled.len()
                && std::iter::zip(known, entitled)
                    .all(|(known, now)| same_version(known, now.client()))
        });
        if same != Some(true) {
            let clients = entitled.iter().map(|e| Arc::clone(e.client()));
            holding.entitled = Some(clients.collect());
        }
        same == Some(false)
    }

    /// Drops the SVIDs of all clients that are not in `entitled`.
    pub(super) fn drop_except(&self, entitled: &[Entitlement]) -> Vec<Arc<Client>> {
        let keep = |client: &Client| entitled.iter().any(|e| e.client().name() == client.name());
        let mut holding = self.holding.lock();
        let mut dropped = holding.x509.retain(keep);
        dropped.extend(holding.wit.retain(keep));
        let mut seen = BTreeSet::new();
        dropped.retain(|client| seen.insert(client.name().clone()));
        dropped
    }

    /// Drops what is not valid now; whether the streams have to look again,
    /// because of that or because a renewal has come due since the last time.
    ///
    /// Each renewal is announced once: where no stream takes it up, it waits for
    /// the next call.
    pub(super) fn note_time(&self, now: SystemTime) -> bool {
        let mut holding = self.holding.lock();
        let dropped = holding.x509.drop_invalid(now) | holding.wit.drop_invalid(now);
        let due = holding.next_due().is_some_and(|due| due <= now);
        // Also where the clock was set back.
        holding.announced = now;
        dropped || due
    }

    /// When the next renewal has to be announced.
    pub(super) fn next_due(&self) -> Option<SystemTime> {
        self.holding.lock().next_due()
    }

    /// Whether nobody is connected and nothing is held.
    pub(super) fn is_idle(&self) -> bool {
        let holding = self.holding.lock();
        self.connections.load(Ordering::Acquire) == 0
            && holding.x509.is_empty()
            && holding.wit.is_empty()
    }

    pub(super) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn disconnected(&self) {
        self.connections.fetch_sub(1, Ordering::AcqRel);
    }
}
