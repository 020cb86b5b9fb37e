//! What a connection's process may have now: match, entitle, and hand out.

use super::{
    Caller, Denial, Federated, Process, Workloads, audit_process,
    decision::{Decision, Looked},
    process::{Recorded, Shelved},
    proof::Sure,
};
use crate::{
    audit::{AuditError, Durability, Event, Kind},
    issuance::{Entitlement, IssueError, JwtSvid, Presence, WitSvid, X509Svid},
    registry::Client,
};
use futures_util::future::try_join_all;
use spiffe::SpiffeId;
use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
};

/// How often an answer is begun anew because the registry changed meanwhile,
/// before the caller is asked to come again.
const MAX_ATTEMPTS: usize = 3;

/// Whether a caller is waiting, or a stream is being kept up to date.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Asked {
    /// The first answer to a call: it may wait for a registration, and a denial
    /// is recorded.
    ByCall,
    /// A push on an open stream.
    ByStream,
}

/// Which of the clients that a process may be is meant.
pub(super) struct Choice<'a> {
    /// The one with this ID.
    pub(super) only: Option<&'a SpiffeId>,
    /// Whether a client can have what is asked for.
    pub(super) fits: &'a (dyn Fn(&Client) -> bool + Sync),
    /// Why none of so many can, for the trail.
    pub(super) refusal: &'a (dyn Fn(usize) -> String + Sync),
}

impl<'a> Choice<'a> {
    /// Any of them.
    pub(super) fn any(only: Option<&'a SpiffeId>) -> Self {
        Self {
            only,
            fits: &|_| true,
            refusal: &|_| String::new(),
        }
    }
}

/// The SVIDs of one kind, in the registry's stable order; never empty.
pub type Identities<T> = Vec<Arc<T>>;

impl Workloads {
    /// The X.509-SVIDs of a process, and the foreign bundles that go with them.
    ///
    /// # Errors
    /// See [`Denial`].
    pub async fn x509_and_bundles(
        self: &Arc<Self>,
        caller: &Caller,
        asked: Asked,
    ) -> Result<(Identities<X509Svid>, Federated), Denial> {
        self.identities(caller, None, asked).await
    }

    /// The X.509-SVIDs alone.
    #[cfg(test)]
    pub(crate) async fn x509(
        self: &Arc<Self>,
        caller: &Caller,
        asked: Asked,
    ) -> Result<Identities<X509Svid>, Denial> {
        let (svids, _) = self.x509_and_bundles(caller, asked).await?;
        Ok(svids)
    }

    /// The WIT-SVIDs of a process, or the one of `only`.
    ///
    /// # Errors
    /// See [`Denial`].
    pub async fn wit(
        self: &Arc<Self>,
        caller: &Caller,
        only: Option<&SpiffeId>,
        asked: Asked,
    ) -> Result<Identities<WitSvid>, Denial> {
        let (svids, _) = self.identities(caller, only, asked).await?;
        Ok(svids)
    }

    /// Fresh JWT-SVIDs for `audiences`, of every client that lists them all, or
    /// of the one with the ID `only`.
    ///
    /// # Errors
    /// See [`Denial`].
    pub async fn jwt(
        self: &Arc<Self>,
        caller: &Caller,
        audiences: &[String],
        only: Option<&SpiffeId>,
    ) -> Result<Vec<JwtSvid>, Denial> {
        for attempt in 0..MAX_ATTEMPTS {
            let (presence, recorded) = self.presence_to_confirm(caller, attempt).await?;
            let answer = async {
                let mut decision = self.entitled(caller, presence, only, Asked::ByCall).await?;
                let fitting = decision.granted.len();
                decision.granted.retain(|e| allows(e.client(), audiences));
                if decision.granted.is_empty() {
                    let reason = format!(
                        "none of the {fitting} fitting registrations lists every audience of \
                         {audiences:?}"
                    );
                    self.refuse(caller, &decision.presence, "audience", &reason)
                        .await?;
                    return Err(Denial::Audience);
                }
                let issuer = &self.services.issuer;
                let svids = decision.granted.iter().map(|e| issuer.jwt(e, audiences));
                let svids = try_join_all(svids).await?;
                for (entitlement, svid) in std::iter::zip(&decision.granted, &svids) {
                    caller.process().note_token(entitlement, svid);
                }
                Ok((svids, decision))
            };
            match self.conclude(caller, recorded, answer).await {
                Err(Denial::Changing) => {}
                answered => return answered,
            }
        }
        Err(Denial::Changing)
    }

    /// What `make` makes for one client: the oldest that the process may be and that fits.
    pub(super) async fn one<R, F>(
        self: &Arc<Self>,
        caller: &Caller,
        choice: Choice<'_>,
        make: impl Fn(&Entitlement) -> F,
    ) -> Result<R, Denial>
    where
        F: Future<Output = Result<R, Denial>>,
    {
        for attempt in 0..MAX_ATTEMPTS {
            let (presence, recorded) = self.presence_to_confirm(caller, attempt).await?;
            let answer = async {
                let asked = Asked::ByCall;
                let mut decision = self.entitled(caller, presence, choice.only, asked).await?;
                let fitting = decision.granted.len();
                decision.granted.retain(|e| (choice.fits)(e.client()));
                decision.granted.truncate(1);
                let Some(entitlement) = decision.granted.first() else {
                    let (word, reason) = ("authorization-server", (choice.refusal)(fitting));
                    self.refuse(caller, &decision.presence, word, &reason)
                        .await?;
                    return Err(Denial::AuthorizationServer);
                };
                let made = make(entitlement).await?;
                Ok((made, decision))
            };
            match self.conclude(caller, recorded, Box::pin(answer)).await {
                Err(Denial::Changing) => {}
                answered => return answered,
            }
        }
        Err(Denial::Changing)
    }

    /// Attests the process and lets it see bundles if the settings do; the foreign ones that it may
    /// see by its clients alone.
    ///
    /// # Errors
    /// See [`Denial`].
    pub async fn bundle_reader(
        self: &Arc<Self>,
        caller: &Caller,
        asked: Asked,
    ) -> Result<Federated, Denial> {
        let (presence, recorded) = self.presence(caller, Sure::Now).await?;
        let answer = async {
            let decision = if self.settings.load().bundles_for_any {
                self.decide(caller.process(), &presence, None)?
            } else {
                self.entitled(caller, presence, None, asked).await?
            };
            Ok(self.federated(&decision.granted))
        };
        let federated = self.announce(recorded, answer).await?;
        self.keep_watch(caller.process());
        Ok(federated)
    }

    /// The foreign bundles that a process may have tokens judged by.
    pub(super) fn federated_of(
        &self,
        process: &Process,
        presence: &Presence,
    ) -> Result<Federated, Denial> {
        let decision = self.decide(process, presence, None)?;
        Ok(self.federated(&decision.granted))
    }

    async fn identities<T: Shelved>(
        self: &Arc<Self>,
        caller: &Caller,
        only: Option<&SpiffeId>,
        asked: Asked,
    ) -> Result<(Identities<T>, Federated), Denial> {
        if asked == Asked::ByStream && self.has_lost_all(caller) {
            return Err(Denial::NoIdentity);
        }
        for attempt in 0..MAX_ATTEMPTS {
            let (presence, recorded) = self.presence_to_confirm(caller, attempt).await?;
            let answer = async {
                let decision = self.entitled(caller, presence, only, asked).await?;
                let granted = decision.granted.iter();
                let svids = granted.map(|e| self.kept::<T>(caller.process(), e));
                let svids = try_join_all(svids).await?;
                let federated = self.federated(&decision.granted);
                Ok(((svids, federated), decision))
            };
            match self.conclude(caller, recorded, answer).await {
                Err(Denial::Changing) => {}
                answered => return answered,
            }
        }
        Err(Denial::Changing)
    }

    /// The presence that an answer is made for which [`Self::conclude`] confirms: at first the one
    /// that was proved last on this connection, where a glance at the process does not tell
    /// otherwise. What is made for another then is thrown away.
    async fn presence_to_confirm(
        self: &Arc<Self>,
        caller: &Caller,
        attempt: usize,
    ) -> Result<(Presence, Recorded), Denial> {
        let remembered = if attempt == 0 {
            self.remembered(caller)
        } else {
            None
        };
        match remembered {
            Some(remembered) => Ok(remembered),
            None if attempt == 0 => self.presence(caller, Sure::Later).await,
            None => self.presence(caller, Sure::Now).await,
        }
    }

    /// The answer, confirmed when all that it waits for is done.
    async fn conclude<R>(
        self: &Arc<Self>,
        caller: &Caller,
        recorded: Recorded,
        answer: impl Future<Output = Result<(R, Decision), Denial>>,
    ) -> Result<R, Denial> {
        // Streams wait elsewhere: none has this in its memory.
        let made = Box::pin(async {
            let (answer, mut decision) = self.announce(recorded, answer).await?;
            if let Some(vouched) = decision.vouched.take() {
                vouched.await?;
            }
            Ok::<_, Denial>((answer, decision))
        });
        let (made, looked) = self.looking_meanwhile(caller, made).await;
        let (answer, decision) = made?;
        let looked = looked.unwrap_or_else(|| self.look(caller));
        self.confirm(caller, &decision, looked).await?;
        self.keep_watch(caller.process());
        Ok(answer)
    }

    /// What is `made`, with the look at the caller that came last: made while the trail is being
    /// written, where that takes no longer than the look. There is none if it does, if it would
    /// because it waits for the disk, or while other answers are made.
    async fn looking_meanwhile<R>(
        &self,
        caller: &Caller,
        mut made: Pin<Box<impl Future<Output = R>>>,
    ) -> (R, Option<Looked>) {
        let making = Arc::clone(&self.making);
        // Ours and the one kept: no other answer is made, which would have to wait for the look.
        let is_alone = Arc::strong_count(&making) == 2;
        let mut may_look = is_alone && self.services.trail.durability() == Durability::Write;
        poll_fn(|cx| {
            let first = made.as_mut().poll(cx).map(|made| (made, None));
            if first.is_ready() || !std::mem::take(&mut may_look) {
                return first;
            }
            let looked = self.look(caller);
            made.as_mut().poll(cx).map(|made| (made, Some(looked)))
        })
        .await
    }

    /// Makes the answer while the attestation is being recorded: one wait for the
    /// disk. Unless both hold, there is no answer.
    pub(super) async fn announce<R>(
        &self,
        recorded: Recorded,
        answer: impl Future<Output = Result<R, Denial>>,
    ) -> Result<R, Denial> {
        let (recorded, answer) = tokio::join!(recorded, answer);
        recorded?;
        answer
    }

    /// `why` is the stable word, `reason` the sentence for people.
    pub(super) async fn record_denied(
        &self,
        process: &Process,
        presence: Option<&Presence>,
        why: &'static str,
        reason: &str,
    ) -> Result<(), Denial> {
        let event = self.denied(process, presence, why, reason);
        let cause = process.cause(Kind::Denied, why);
        Ok(self.services.trail.of_caller(cause, || event).await?)
    }

    /// Counts and logs a denial; the event to be recorded.
    pub(super) fn denied(
        &self,
        process: &Process,
        presence: Option<&Presence>,
        why: &'static str,
        reason: &str,
    ) -> Event {
        let credentials = process.peer().credentials();
        let denied = &self.services.metrics.issuance.denied;
        denied.get_or_create(&why.into()).inc();
        tracing::info!(
            pid = credentials.pid,
            uid = credentials.uid,
            attestation_id = presence.map(|presence| presence.attestation.id()),
            why,
            reason,
            "denied"
        );
        let event = Event::new(Kind::Denied)
            .process(audit_process(process))
            .reason(format!("{why}: {reason}"));
        match presence {
            Some(presence) => event.attestation(presence.attestation.id()),
            None => event,
        }
    }
}

/// Whether the registration lists every one of them, and admits so many in one token.
fn allows(client: &Client, audiences: &[String]) -> bool {
    let spec = client.spec();
    let admitted = usize::try_from(spec.max_audiences()).unwrap_or(usize::MAX);
    audiences.len() <= admitted
        && audiences
            .iter()
            .all(|audience| spec.allows_audience(audience))
}

impl From<AuditError> for Denial {
    fn from(error: AuditError) -> Self {
        Self::Issue(IssueError::Audit(error))
    }
}
