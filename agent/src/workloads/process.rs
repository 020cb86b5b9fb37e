//! One image of one pinned process: its attestation, what it holds, and its pulse.
//!
//! It ends with the process, and also when that executes another program or
//! changes its user: a program starts from nothing, on connections of its own,
//! and what its predecessor opened (and may have passed on) gives nothing any
//! more.

use super::{
    binding::Binding,
    live::{Followers, GivenTokens},
    proof_keys::ProofKeys,
    quota::ProcessPlace,
    shelf::{Kept, Lost, Shelf},
};
use crate::{
    audit::{AuditError, Cause, Chain, Kind, Origin},
    issuance::{WitSvid, X509Svid},
    registry::Client,
};
use arc_swap::ArcSwapOption;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use symbolon_attestors::{Attestation, Image, PinnedPeer, ProcessKey, Proofs};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

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

/// What is known of a process, and what of it is in the trail.
#[derive(Debug)]
pub(super) struct Attested {
    /// Without proofs: they belong to connections.
    pub(super) attestation: Arc<Attestation>,
    /// When that was found out, or found again.
    looked: Mutex<Instant>,
    /// One for each distinct set of proofs, of which there are few.
    records: Mutex<Vec<Record>>,
}

/// An attestation with the proofs of some connections, or without.
#[derive(Debug)]
struct Record {
    proofs: Option<Proofs>,
    /// In which chain.
    chain: Chain,
    attestation: Arc<Attestation>,
    recorded: Recorded,
}

impl Attested {
    pub(super) fn new(attestation: Attestation) -> Self {
        Self {
            attestation: Arc::new(attestation),
            looked: Mutex::new(Instant::now()),
            records: Mutex::default(),
        }
    }

    /// How long ago the process was looked at.
    pub(super) fn age(&self) -> Duration {
        self.looked.lock().elapsed()
    }

    /// Notes that it was looked at now, and was the same.
    pub(super) fn note_looked(&self) {
        *self.looked.lock() = Instant::now();
    }

    /// The record with these proofs, unless that failed: in this chain, or in the trail itself.
    pub(super) fn recorded(
        &self,
        proofs: Option<Proofs>,
        chain: Chain,
    ) -> Option<(Arc<Attestation>, Recorded)> {
        let records = self.records.lock();
        let fits = |record: &&Record| record.proofs == proofs && record.chain <= chain;
        let record = records.iter().find(fits)?;
        let failed = matches!(record.recorded.peek(), Some(Err(_)));
        (!failed).then(|| (Arc::clone(&record.attestation), record.recorded.clone()))
    }

    pub(super) fn note_recorded(
        &self,
        (proofs, chain): (Option<Proofs>, Chain),
        attestation: &Arc<Attestation>,
        recorded: &Recorded,
    ) {
        let mut records = self.records.lock();
        records.retain(|record| record.proofs != proofs);
        records.push(Record {
            proofs,
            chain,
            attestation: Arc::clone(attestation),
            recorded: recorded.clone(),
        });
    }
}

/// A process that is connected or holds an SVID.
#[derive(Debug)]
pub struct Process {
    peer: Arc<PinnedPeer>,
    image: Image,
    place: ProcessPlace,
    attested: ArcSwapOption<Attested>,
    pub(super) holding: Mutex<Holding>,
    /// The streams that wait for SVIDs.
    pub(super) followers: Arc<Followers>,
    pulse: watch::Sender<Pulse>,
    /// Of its connections, those looked at last behind the others.
    open: Mutex<Vec<Weak<Binding>>>,
    /// Only one task attests or issues at a time; others wait and find it done.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// Wakes the keeper when renewal times changed.
    pub(super) rescheduled: Notify,
}

#[derive(Debug)]
pub(super) struct Holding {
    pub(super) x509: Shelf<X509Svid>,
    pub(super) wit: Shelf<WitSvid>,
    /// JWT-SVIDs are not kept; this tells of them.
    pub(super) jwt: GivenTokens,
    /// Keys that never leave the agent.
    pub(super) proofs: ProofKeys,
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
            jwt: GivenTokens::default(),
            proofs: ProofKeys::default(),
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
    pub(super) fn new(peer: PinnedPeer, image: Image, place: ProcessPlace) -> Self {
        Self {
            peer: Arc::new(peer),
            image,
            place,
            attested: ArcSwapOption::empty(),
            holding: Mutex::default(),
            followers: Arc::default(),
            pulse: watch::Sender::new(Pulse::default()),
            open: Mutex::default(),
            turn: tokio::sync::Mutex::new(()),
            rescheduled: Notify::new(),
        }
    }

    /// Why something is recorded that needs no identity.
    pub(super) fn cause(&self, kind: Kind, word: &'static str) -> Cause {
        Cause {
            origin: Origin {
                uid: Some(self.place.whose.uid),
                cgroup: self.place.whose.cgroup,
            },
            kind,
            word,
            process: Some(super::audit_process(self)),
        }
    }

    /// The pin.
    #[must_use]
    pub const fn peer(&self) -> &Arc<PinnedPeer> {
        &self.peer
    }

    /// What it was when it connected first, and has to stay.
    #[must_use]
    pub(super) const fn image(&self) -> &Image {
        &self.image
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

    /// The last attestation, without proofs.
    #[must_use]
    pub fn attestation(&self) -> Option<Arc<Attestation>> {
        self.attested()
            .map(|attested| Arc::clone(&attested.attestation))
    }

    /// Whether its facts, with proofs or without, are those that were found last.
    pub(super) fn is_latest(&self, attestation: &Attestation) -> bool {
        let facts = |attestation: &Attestation| Arc::clone(&attestation.evidence().selectors);
        let latest = self.attestation();
        latest.is_some_and(|latest| Arc::ptr_eq(&facts(&latest), &facts(attestation)))
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

    pub(super) fn note_attested(&self, attested: Arc<Attested>) {
        self.attested.store(Some(attested));
    }

    /// Whether the attestation without proofs is in the trail.
    pub(super) fn is_recorded(&self) -> bool {
        let recorded = self
            .attested()
            .and_then(|known| known.recorded(None, Chain::Callers));
        recorded.is_some_and(|(_, recorded)| matches!(recorded.peek(), Some(Ok(()))))
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
    pub(super) fn end(&self) -> Vec<Lost> {
        self.pulse.send_modify(|pulse| pulse.ended = true);
        self.attested.store(None);
        self.rescheduled.notify_one();
        self.drop_except(&[])
    }

    pub(super) fn wake(&self) {
        self.pulse.send_modify(|pulse| pulse.beat += 1);
    }

    /// Remembers who the process may be on a connection that proves all; whether anybody was told otherwise.
    pub(super) fn note_entitled(&self, entitled: &[Arc<Client>]) -> bool {
        let mut holding = self.holding.lock();
        let same = holding.entitled.as_ref().map(|known| {
            known.len() == entitled.len()
                && std::iter::zip(known, entitled).all(|(known, now)| same_version(known, now))
        });
        if same != Some(true) {
            holding.entitled = Some(entitled.to_vec());
        }
        same == Some(false)
    }

    /// Drops the SVIDs of all clients that are not in `entitled`.
    pub(super) fn drop_except(&self, entitled: &[Arc<Client>]) -> Vec<Lost> {
        let keep = |client: &Client| entitled.iter().any(|e| e.name() == client.name());
        let mut holding = self.holding.lock();
        let mut dropped = holding.x509.retain(keep);
        dropped.extend(holding.wit.retain(keep));
        dropped.extend(holding.proofs.retain(keep));
        let mut seen = BTreeSet::new();
        dropped.retain(|lost| seen.insert(lost.client.name().clone()));
        dropped
    }

    /// Drops what is not valid now; whether the streams have to look again,
    /// because of that or because a renewal has come due since the last time.
    ///
    /// Each renewal is announced once: where no stream takes it up, it waits for
    /// the next call.
    pub(super) fn note_time(&self, now: SystemTime) -> bool {
        let mut holding = self.holding.lock();
        holding.jwt.forget_expired(now);
        holding.proofs.forget_idle(now);
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
        self.open.lock().is_empty()
            && holding.x509.is_empty()
            && holding.wit.is_empty()
            && holding.proofs.is_empty()
    }

    pub(super) fn connected(&self, binding: &Arc<Binding>) {
        self.open.lock().push(Arc::downgrade(binding));
    }

    pub(super) fn disconnected(&self, binding: &Arc<Binding>) {
        let mut open = self.open.lock();
        let place = open
            .iter()
            .position(|one| one.as_ptr() == Arc::as_ptr(binding));
        if let Some(place) = place {
            open.swap_remove(place);
        }
    }

    /// The next of its connections, at most so many; all have their turn.
    pub(super) fn next_open(&self, most: usize) -> Vec<Arc<Binding>> {
        let mut open = self.open.lock();
        let most = most.min(open.len());
        let next = open.iter().take(most).filter_map(Weak::upgrade).collect();
        open.rotate_left(most);
        next
    }

    /// What was proved of its connections when they were looked at last, and of how many.
    pub(super) fn proven(&self) -> Vec<(Proofs, usize)> {
        let mut counts: Vec<(Proofs, usize)> = Vec::new();
        for binding in self.next_open(usize::MAX) {
            let presence = binding.presence();
            let Some(proofs) = presence.and_then(|p| p.attestation.evidence().proofs) else {
                continue;
            };
            match counts.iter_mut().find(|(known, _)| *known == proofs) {
                Some((_, count)) => *count += 1,
                None => counts.push((proofs, 1)),
            }
        }
        counts
    }
}
