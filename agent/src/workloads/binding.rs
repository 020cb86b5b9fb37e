//! What ties one connection to the program at its other end.
//!
//! Owns [`Binding`]: the image that was seen when the connection was accepted,
//! the peer's end of the socket, the question that the transport puts, and what
//! was heard and believed since. `proof` asks it at every answer and push.
//!
//! A proof never gets stronger while the connection lasts: an end that was
//! inheritable once stays that, and one that loses its close-on-exec flag is
//! lost, since both are what a program does that was given the descriptor. What
//! is lost ends the connection.
//!
//! A process that closes its end, or exits, takes the descriptor off its table
//! a moment before the kernel takes the socket apart. So what is found lost has
//! that moment before it counts: an end that nobody holds any more is no denial.
//! The end of what we read does not show that, since whoever has a copy of the
//! descriptor can shut the connection down and keep it: the kernel is asked.

use super::{Requirements, Workloads, requirements::HeldRequirement};
use crate::{
    issuance::Presence,
    server::Refused,
    transport::{Breach, Course, Heard, PAYLOAD_LENGTH, Question},
};
use arc_swap::ArcSwapOption;
use aws_lc_rs::rand;
use parking_lot::Mutex;
use std::{
    borrow::Cow,
    future::pending,
    os::fd::BorrowedFd,
    sync::{Arc, OnceLock},
    time::Duration,
};
use symbolon_attestors::{
    AnsweredWord, Attestor, Held, HeldWord, Image, PeerEnd, PinMethod, PinnedPeer, Proofs, Stamp,
};
use tokio::{
    sync::watch,
    time::{Instant, timeout, timeout_at},
};

/// How long after the peer's end was not found it may still turn out to be closed: the kernel
/// takes microseconds between the two, and a busy machine some milliseconds more.
pub(super) const CLOSING: Duration = Duration::from_millis(20);

/// What is not proved of a connection.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unproven {
    /// The process does not hold the peer's end, or as one that was given to it.
    #[error("{0}")]
    NotHeld(Cow<'static, str>),
    /// The peer's end is closed, and nobody has it: nobody is refused anything.
    #[error("the peer has closed the connection")]
    Closed,
    /// Whether it does could not be found out.
    #[error("{0}")]
    HeldUnknown(Cow<'static, str>),
    /// It holds it without close-on-exec, which is not accepted.
    #[error("the peer's end of the socket lacks close-on-exec, so it may be inherited")]
    InheritableRefused,
    /// The question was not answered in time.
    #[error("the connection's PING was not answered")]
    NotAnswered,
    /// The stamp on the answer can be forged, and that is not accepted.
    #[error("the stamp on the answer can be forged: {0}")]
    Forgeable(Cow<'static, str>),
    /// Somebody else wrote.
    #[error("{0}")]
    Breach(#[from] Breach),
    /// The kernel did not name the process when it connected.
    #[error("the process was pinned by its number and start time")]
    WeakPin,
}

impl Unproven {
    /// The stable word, for trail and metrics.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::NotHeld(_) => "not-held",
            Self::Closed => "closed",
            Self::HeldUnknown(_) => "held-unknown",
            Self::InheritableRefused => "inheritable-refused",
            Self::NotAnswered => "not-answered",
            Self::Forgeable(_) => "forgeable",
            Self::Breach(Breach::AncillaryData) => "ancillary-data",
            Self::Breach(_) => "foreign-sender",
            Self::WeakPin => "weak-pin",
        }
    }

    /// Whether nothing that comes later can mend it.
    pub(super) const fn is_final(&self) -> bool {
        !matches!(self, Self::HeldUnknown(_))
    }
}

/// The peer's end of a connection.
#[derive(Debug)]
pub(super) enum Far {
    /// As the kernel named it.
    Socket(PeerEnd),
    /// It could not be named.
    Unknown(Cow<'static, str>),
    /// What a test says.
    #[cfg(test)]
    Staged(Arc<Mutex<Held>>),
}

/// One connection's ties. See the module.
#[derive(Debug)]
pub(super) struct Binding {
    image: Image,
    far: Far,
    /// What the PING holds; none where there is none.
    payload: Option<[u8; PAYLOAD_LENGTH]>,
    heard: watch::Sender<Heard>,
    /// When the answer has to be there.
    deadline: Instant,
    stamp: OnceLock<Stamp>,
    /// The word that was believed last.
    believed: Mutex<Option<HeldWord>>,
    course: watch::Sender<Course>,
    /// Why it does not hold the peer's end any more.
    lost: OnceLock<Unproven>,
    /// Whether what was lost was closed, and is nobody's.
    closed: OnceLock<bool>,
    /// The process as it was last proved on this connection.
    presence: ArcSwapOption<Presence>,
    /// Whether the trail has the reason for the connection's end.
    noted: Mutex<bool>,
    /// What a test says of the peer's end.
    #[cfg(test)]
    released: std::sync::atomic::AtomicBool,
}

impl Binding {
    /// Of a connection whose peer is this image now. Nothing has been read of it.
    pub(super) fn new(image: Image, far: Far, deadline: Option<Instant>) -> Result<Self, Refused> {
        let payload = match deadline {
            Some(_) => Some(unforeseeable()?),
            None => None,
        };
        Ok(Self {
            image,
            far,
            payload,
            heard: watch::Sender::new(Heard::Nothing),
            deadline: deadline.unwrap_or_else(Instant::now),
            stamp: OnceLock::new(),
            believed: Mutex::default(),
            course: watch::Sender::new(Course::Open),
            lost: OnceLock::new(),
            closed: OnceLock::new(),
            presence: ArcSwapOption::empty(),
            noted: Mutex::default(),
            #[cfg(test)]
            released: false.into(),
        })
    }

    /// What the peer was when it connected.
    pub(super) const fn image(&self) -> &Image {
        &self.image
    }

    /// What the transport has to ask `peer`.
    pub(super) fn question(&self, peer: &PinnedPeer) -> Option<Question> {
        let pid = peer.credentials().pid;
        self.payload
            .map(|payload| Question::new(pid, payload, self.heard.clone()))
    }

    /// Waits until the question is answered or the connection is over; at its
    /// deadline there is no answer.
    pub(super) async fn heard(&self) {
        if self.payload.is_none() || *self.heard.borrow() != Heard::Nothing {
            return;
        }
        let mut heard = self.heard.subscribe();
        let news = heard.wait_for(|heard| *heard != Heard::Nothing);
        // What came of it, `proofs` finds out.
        drop(timeout_at(self.deadline, news).await);
    }

    /// Resolves when the connection has to end.
    pub(super) async fn ended(&self, attestor: &Attestor) {
        let unanswered = async {
            self.heard().await;
            if self.payload.is_none() || *self.heard.borrow() != Heard::Nothing {
                pending::<()>().await;
            }
        };
        tokio::select! {
            () = self.over(attestor) => {}
            () = unanswered => {}
        }
    }

    async fn over(&self, attestor: &Attestor) {
        let mut course = self.course.subscribe();
        let is_ending = |course: &Course| matches!(course, Course::Lost | Course::Over);
        // The sender lives as long as this.
        drop(course.wait_for(is_ending).await);
        if self.lost.get().is_some() && self.is_closed(attestor).await {
            // That ends it, and whoever reads it says so.
            pending::<()>().await;
        }
    }

    /// Whether nobody has the end that was lost, or has not in a moment; else the connection is over.
    async fn is_closed(&self, attestor: &Attestor) -> bool {
        let mut course = self.course.subscribe();
        let is_last = |course: &Course| matches!(course, Course::Closed | Course::Over);
        drop(timeout(CLOSING, course.wait_for(is_last)).await);
        let is_closed = self.was_closed(attestor);
        if !is_closed {
            self.go_on_to(Course::Over);
        }
        is_closed
    }

    /// As the kernel says when it is asked first.
    fn was_closed(&self, attestor: &Attestor) -> bool {
        *self.closed.get_or_init(|| match &self.far {
            Far::Socket(end) => attestor.is_closed(end),
            Far::Unknown(_) => false,
            #[cfg(test)]
            Far::Staged(_) => self.released.load(std::sync::atomic::Ordering::Relaxed),
        })
    }

    /// What has to be said about an end that was not found: nothing, where nobody has it.
    pub(super) async fn settled(&self, attestor: &Attestor, why: Unproven) -> Unproven {
        match why {
            Unproven::NotHeld(_) if self.is_closed(attestor).await => Unproven::Closed,
            why => why,
        }
    }

    /// Notes that the trail has why the connection ends, or gets it for certain.
    pub(super) fn note_told(&self) {
        *self.noted.lock() = true;
    }

    fn go_on_to(&self, next: Course) {
        self.course.send_if_modified(|course| {
            let before = *course;
            *course = before.then(next);
            *course != before
        });
    }

    /// Where the transport tells how far the connection has come.
    pub(super) fn course(&self) -> watch::Sender<Course> {
        self.course.clone()
    }

    /// Why the connection ended, where that was not told to anybody yet.
    pub(super) fn last_word(&self, attestor: &Attestor) -> Option<Unproven> {
        let lost = self.lost.get();
        let why = match *self.heard.borrow() {
            Heard::Breach(breach) => Unproven::Breach(breach),
            // Whoever found it did not wait for what comes of it.
            _ if lost.is_some() && !self.was_closed(attestor) => lost?.clone(),
            Heard::Nothing if self.payload.is_some() && Instant::now() >= self.deadline => {
                Unproven::NotAnswered
            }
            Heard::Nothing | Heard::Answer => return None,
        };
        let told = std::mem::replace(&mut *self.noted.lock(), true);
        (!told).then_some(why)
    }

    /// What is proved now. Takes microseconds; what is lost for good ends the
    /// connection.
    pub(super) fn proofs(
        &self,
        attestor: &Attestor,
        peer: &PinnedPeer,
        require: Requirements,
    ) -> Result<Proofs, Unproven> {
        let proofs = match self.lost.get() {
            Some(lost) => Err(lost.clone()),
            None => self.try_proofs(attestor, peer, require),
        };
        match &proofs {
            // See `settled`.
            Err(why @ Unproven::NotHeld(_)) => {
                self.lost.get_or_init(|| why.clone());
                self.go_on_to(Course::Lost);
            }
            Err(unproven) if unproven.is_final() => self.go_on_to(Course::Over),
            Ok(_) | Err(_) => {}
        }
        proofs
    }

    /// What is lost of a connection on which all was proved, while nobody asks for
    /// anything; told once, for whoever asks to tell the trail, and the connection ends. As
    /// [`Self::proofs`].
    pub(super) fn lost(
        &self,
        attestor: &Attestor,
        peer: &PinnedPeer,
        require: Requirements,
    ) -> Option<(Unproven, Arc<Presence>)> {
        let presence = self.presence()?;
        let is_open = *self.course.borrow() == Course::Open;
        if !is_open || matches!(*self.heard.borrow(), Heard::Breach(_)) {
            return None;
        }
        let unproven = self.proofs(attestor, peer, require).err()?;
        if !unproven.is_final() {
            return None;
        }
        self.note_told();
        Some((unproven, presence))
    }

    fn try_proofs(
        &self,
        attestor: &Attestor,
        peer: &PinnedPeer,
        require: Requirements,
    ) -> Result<Proofs, Unproven> {
        if require.pidfd && peer.method() != PinMethod::PidFd {
            return Err(Unproven::WeakPin);
        }
        let heard = *self.heard.borrow();
        let forgeable = match (heard, self.payload) {
            (Heard::Breach(breach), _) => return Err(breach.into()),
            (Heard::Nothing, Some(_)) => return Err(Unproven::NotAnswered),
            (Heard::Nothing | Heard::Answer, None) => None,
            (Heard::Answer, Some(_)) => Some(self.stamp.get_or_init(|| attestor.stamp(peer))),
        };
        let held = self.held(attestor, peer, require.held)?;
        let answered = match forgeable {
            None => AnsweredWord::Unasked,
            Some(Stamp::Trusted) => AnsweredWord::Stamped,
            Some(Stamp::Forgeable(why)) if held != HeldWord::CloseOnExec => {
                return Err(Unproven::Forgeable(why.clone()));
            }
            Some(Stamp::Forgeable(_)) => AnsweredWord::Forgeable,
        };
        Ok(Proofs { answered, held })
    }

    fn held(
        &self,
        attestor: &Attestor,
        peer: &PinnedPeer,
        require: HeldRequirement,
    ) -> Result<HeldWord, Unproven> {
        let seen = match self.look(attestor, peer) {
            Held::CloseOnExec => HeldWord::CloseOnExec,
            Held::Inheritable => HeldWord::Inheritable,
            Held::Not(why) => return Err(Unproven::NotHeld(why)),
            Held::Unknown(why) if require == HeldRequirement::None => {
                tracing::debug!(%why, "held is unknown");
                return Ok(HeldWord::Unknown);
            }
            Held::Unknown(why) => return Err(Unproven::HeldUnknown(why)),
        };
        let mut believed = self.believed.lock();
        let word = match (*believed, seen) {
            (Some(HeldWord::CloseOnExec), HeldWord::Inheritable) => {
                let why = "the peer's end of the socket has lost its close-on-exec flag";
                return Err(Unproven::NotHeld(why.into()));
            }
            (Some(HeldWord::Inheritable), _) => HeldWord::Inheritable,
            (_, seen) => seen,
        };
        if word == HeldWord::Inheritable && require == HeldRequirement::CloseOnExec {
            return Err(Unproven::InheritableRefused);
        }
        *believed = Some(word);
        Ok(word)
    }

    /// Has the peer's end named, where that could not be done when the connection was accepted.
    pub(super) async fn name_end(&self, attestor: &Attestor, peer: &Arc<PinnedPeer>) {
        if let Far::Socket(end) = &self.far {
            attestor.name_end(peer, end).await;
        }
    }

    fn look(&self, attestor: &Attestor, peer: &PinnedPeer) -> Held {
        match &self.far {
            Far::Socket(end) => attestor.held(peer, end),
            Far::Unknown(why) => Held::Unknown(why.clone()),
            #[cfg(test)]
            Far::Staged(held) => held.lock().clone(),
        }
    }

    /// The process as it was last proved on this connection, unless something was lost since.
    pub(super) fn proved(&self) -> Option<Arc<Presence>> {
        let is_broken = matches!(*self.heard.borrow(), Heard::Breach(_));
        let is_whole = !is_broken && self.lost.get().is_none();
        self.presence().filter(|_| is_whole)
    }

    pub(super) fn presence(&self) -> Option<Arc<Presence>> {
        self.presence.load_full()
    }

    pub(super) fn note_presence(&self, presence: &Presence) {
        let known = self.presence.load();
        let same = known
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(&known.attestation, &presence.attestation));
        if !same {
            self.presence.store(Some(Arc::new(presence.clone())));
        }
    }

    /// As if the transport had told it.
    #[cfg(test)]
    pub(super) fn hear(&self, heard: Heard) {
        self.heard.send_replace(heard);
    }

    /// As if the peer had closed it, and nobody else had it.
    #[cfg(test)]
    pub(super) fn close(&self) {
        self.released
            .store(true, std::sync::atomic::Ordering::Relaxed);
        self.shut_down();
    }

    /// As if somebody had shut it down who has it.
    #[cfg(test)]
    pub(super) fn shut_down(&self) {
        self.go_on_to(Course::Closed);
    }

    /// As if the attestor had said so.
    #[cfg(test)]
    pub(super) fn stamp_is(&self, stamp: Stamp) {
        self.stamp.set(stamp).unwrap();
    }
}

fn unforeseeable() -> Result<[u8; PAYLOAD_LENGTH], Refused> {
    let mut payload = [0; PAYLOAD_LENGTH];
    match rand::fill(&mut payload) {
        Ok(()) => Ok(payload),
        Err(_unspecified) => Err(Refused::NoRandomness),
    }
}

impl Workloads {
    /// Looks at the peer of a socket that was just accepted.
    pub(super) fn bind(
        &self,
        peer: &PinnedPeer,
        socket: BorrowedFd<'_>,
    ) -> Result<Binding, Refused> {
        let attestor = &self.services.attestor;
        let image = attestor.look(peer)?;
        let far = match attestor.peer_end(socket, peer) {
            Ok(end) => Far::Socket(end),
            Err(why) => Far::Unknown(why.to_string().into()),
        };
        let settings = self.settings.load();
        let deadline = settings
            .require
            .answered
            .then(|| Instant::now() + settings.answer_timeout);
        Binding::new(image, far, deadline)
    }
}
