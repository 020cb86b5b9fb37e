//! From a connection to a presence: the process attested, and the connection
//! proved to be its own.
//!
//! The attestation belongs to the process's image, so it is made once for all
//! of its connections, and anew where the registry wants to know more of this
//! process: what no registration that it could fit asks for is not read. The
//! proofs belong to the connection: each distinct set of them has a record of
//! its own, with an `attestation_id` of its own, which the trail gets once and
//! all who were proved alike share.
//!
//! The image was looked at before the question left, is confirmed by the
//! attestation, and last of all, after both proofs, by [`Workloads::presence`]:
//! so the program that answered and holds the socket is the attested one. An
//! answer that is confirmed in the same way before it leaves begins with what was
//! proved last, where a glance at the process does not tell otherwise.

use super::{
    Caller, Denial, Process, Unproven, Workloads, audit_process,
    process::{Attested, Recorded},
};
use crate::{
    audit::{self, Chain, Event},
    issuance::{Candidates, Presence},
};
use futures_util::FutureExt as _;
use std::{sync::Arc, time::Duration};
use symbolon_attestors::{
    AnsweredWord, AttestError, Attestation, Changed, HeldWord, Kind, Kinds, Proofs, Selector,
    Unknown,
};
use tokio::time::Instant;

/// How long an attestor that could find out nothing is left in peace: a runtime that was
/// restarted must not cost a process its identity for good.
const RETRY_FAILED: Duration = Duration::from_secs(5);

/// When it is made sure that a process is still the one that connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sure {
    /// Before anything is done for it.
    Now,
    /// Before an answer leaves, by [`Workloads::conclude`]. Until then a glance will do where
    /// nothing new has to be recorded.
    Later,
}

impl Workloads {
    /// The process behind the connection as it is proved now, and the recording
    /// of that.
    pub(super) async fn presence(
        self: &Arc<Self>,
        caller: &Caller,
        sure: Sure,
    ) -> Result<(Presence, Recorded), Denial> {
        let process = caller.process();
        // Together: on a new connection each takes a moment.
        let heard = async {
            let binding = caller.binding();
            binding
                .name_end(&self.services.attestor, process.peer())
                .await;
            tokio::select! {
                biased;
                () = binding.heard() => {}
                () = process.ended() => {}
            }
        };
        let (attested, ()) = tokio::join!(self.attested(process), heard);
        let attested = self.with_code_of_now(process, attested?).await?;
        let proofs = match self.proofs(caller) {
            Ok(proofs) => proofs,
            Err(unproven) => {
                // Another image lost the socket because it is another one.
                self.check_unchanged(process).await?;
                let unproven = self.settled(caller, unproven).await;
                return Err(self.deny_unproven(caller, &attested, unproven).await);
            }
        };
        let known = attested
            .recorded(Some(proofs), Chain::Trail)
            .filter(|_| sure == Sure::Later && self.resembles(process));
        let (attestation, recorded) = match known {
            Some(known) => known,
            None => {
                self.check_unchanged(process).await?;
                self.record(process, &attested, Some(proofs)).await?
            }
        };
        let presence = process.presence(attestation);
        caller.binding().note_presence(&presence);
        Ok((presence, recorded))
    }

    /// Whether the process is the one that connected, so far as a glance tells.
    fn resembles(&self, process: &Process) -> bool {
        let attestor = &self.services.attestor;
        !process.has_ended() && attestor.resembles(process.peer(), process.image())
    }

    /// What [`Self::presence`] came to the last time on this connection, where nothing is known to
    /// be different: neither confirmed nor proved anew.
    pub(super) fn remembered(&self, caller: &Caller) -> Option<(Presence, Recorded)> {
        let process = caller.process();
        let presence = caller.binding().proved()?;
        let attested = self.known(process)?;
        let (attestation, recorded) =
            attested.recorded(presence.attestation.evidence().proofs, Chain::Trail)?;
        let is_same = Arc::ptr_eq(&attestation, &presence.attestation);
        let reads_code = attestation.kinds().has(Kind::Code);
        (is_same && !reads_code && self.resembles(process))
            .then(|| (Presence::clone(&presence), recorded))
    }

    /// The attestation of the program behind the connection, where both proofs hold in their
    /// strongest form, whatever is demanded of others. It is nobody's yet: see
    /// [`Self::vouch_for`].
    ///
    /// # Errors
    /// What is not attested or not proved.
    pub(crate) async fn program(
        self: &Arc<Self>,
        caller: &Caller,
    ) -> Result<Arc<Attestation>, Denial> {
        const ALL: Proofs = Proofs {
            answered: AnsweredWord::Stamped,
            held: HeldWord::CloseOnExec,
        };
        let (presence, recorded) = self.presence(caller, Sure::Now).await?;
        recorded.await?;
        match presence.attestation.evidence().proofs {
            Some(ALL) => Ok(presence.attestation),
            Some(proofs) if proofs.answered == AnsweredWord::Stamped => {
                Err(Denial::Unproven(Unproven::InheritableRefused))
            }
            _ => Err(Denial::Unproven(Unproven::NotAnswered)),
        }
    }

    /// Waits until the trail itself has this attestation of the program behind the connection,
    /// on which what an operator does rests.
    ///
    /// # Errors
    /// Where it cannot be recorded.
    pub(crate) async fn vouch_for(
        &self,
        caller: &Caller,
        attestation: &Arc<Attestation>,
    ) -> Result<(), Denial> {
        let recorded = self.vouch(caller.process(), attestation).await?;
        Ok(recorded.await?)
    }

    /// What has to be said of what is not proved.
    pub(super) async fn settled(&self, caller: &Caller, unproven: Unproven) -> Unproven {
        let attestor = &self.services.attestor;
        caller.binding().settled(attestor, unproven).await
    }

    /// What is proved of the connection at this moment.
    pub(super) fn proofs(&self, caller: &Caller) -> Result<Proofs, Unproven> {
        let require = self.settings.load().require;
        let peer = caller.process().peer();
        caller
            .binding()
            .proofs(&self.services.attestor, peer, require)
    }

    /// The attestation of the process's image: the one of before, unless the
    /// registry wants to know more by now.
    async fn attested(self: &Arc<Self>, process: &Arc<Process>) -> Result<Arc<Attested>, Denial> {
        if let Some(known) = self.known(process) {
            return Ok(known);
        }
        let _turn = process.turn.lock().await;
        if let Some(known) = self.known(process) {
            return Ok(known);
        }
        let anew = self.attest(process).await?;
        let before = process.attested();
        let attested = match before.filter(|known| same_facts(&known.attestation, &anew)) {
            Some(known) => {
                known.note_looked();
                known
            }
            None => Arc::new(Attested::new(anew)),
        };
        process.note_attested(Arc::clone(&attested));
        // It may have ended meanwhile, and forgotten what was known before.
        self.check_alive(process).await?;
        Ok(attested)
    }

    fn known(&self, process: &Process) -> Option<Arc<Attested>> {
        let attested = process.attested()?;
        let failed = failures(&attested.attestation) != Kinds::NONE;
        let stale = failed && attested.age() >= RETRY_FAILED;
        let kinds = attested.attestation.kinds();
        let wanted = self.wanted_now(&attested.attestation);
        // Facts about code that nobody reads again must not be there when somebody asks.
        let dated = kinds.has(Kind::Code) && !wanted.has(Kind::Code);
        (!stale && !dated && kinds.covers(wanted)).then_some(attested)
    }

    /// What was loaded into a program can change while its image does not, so
    /// where the registry wants to know that, it is read again each time. As long
    /// as it is the same, so is the attestation.
    async fn with_code_of_now(
        &self,
        process: &Process,
        attested: Arc<Attested>,
    ) -> Result<Arc<Attested>, Denial> {
        if !attested.attestation.kinds().has(Kind::Code) {
            return Ok(attested);
        }
        let attestor = &self.services.attestor;
        let known = &attested.attestation;
        match Box::pin(attestor.code_unchanged(process.peer(), known)).await {
            Ok(()) => return Ok(attested),
            Err(AttestError::Changed(Changed::Code)) => {}
            Err(error) => return Err(self.deny_unattested(process, error).await),
        }
        let _turn = process.turn.lock().await;
        let anew = self.attest(process).await?;
        let latest = process.attested().unwrap_or(attested);
        if code(&latest.attestation) == code(&anew) {
            return Ok(latest);
        }
        let anew = Arc::new(Attested::new(anew));
        process.note_attested(Arc::clone(&anew));
        Ok(anew)
    }

    /// Whether more is to be known by now, or other facts were found since.
    pub(super) fn is_behind(&self, process: &Process, attestation: &Attestation) -> bool {
        let wanted = self.wanted_now(attestation);
        !attestation.kinds().covers(wanted) || !process.is_latest(attestation)
    }

    /// Whether somebody wants to know what is loaded into a process with these facts: that is
    /// read again each time.
    pub(super) fn wants_code(&self, attestation: &Attestation) -> bool {
        self.wanted_now(attestation).has(Kind::Code)
    }

    /// What is to be known now of a process with these facts.
    fn wanted_now(&self, attestation: &Attestation) -> Kinds {
        let snapshot = self.services.registry.snapshot();
        self.wanted(&snapshot, attestation.selectors())
    }

    /// Attests the process anew where the registry wants to know more, and lets
    /// its streams know if that makes a difference.
    pub(super) async fn refresh(self: &Arc<Self>, process: &Arc<Process>) {
        match self.attested(process).await {
            Ok(attested) => {
                let snapshot = self.services.registry.snapshot();
                if self
                    .settle(process, &attested.attestation, &snapshot)
                    .is_none()
                {
                    process.wake();
                }
            }
            // The streams find out why, each by its own call.
            Err(_denial) => process.wake(),
        }
    }

    async fn attest(&self, process: &Process) -> Result<Attestation, Denial> {
        let now = self.services.clock.now();
        let begun = Instant::now();
        let (peer, image) = (process.peer(), process.image());
        let snapshot = self.services.registry.snapshot();
        let wanted = |known: &[Selector]| self.wanted(&snapshot, known);
        let attestor = &self.services.attestor;
        // Once for each image: a stream has no room for it.
        let attested = Box::pin(attestor.attest_as_wanted(peer, image, &wanted, now)).await;
        let metrics = &self.services.metrics.workload;
        metrics
            .attestation_duration
            .observe(begun.elapsed().as_secs_f64());
        let outcome = if attested.is_ok() {
            "accepted"
        } else {
            "failed"
        };
        metrics.attestations.get_or_create(&outcome.into()).inc();
        match attested {
            Ok(attestation) => {
                for kind in failures(&attestation).iter() {
                    let failures = &metrics.attestor_failures;
                    failures.get_or_create(&kind.as_str().into()).inc();
                }
                Ok(attestation)
            }
            Err(error) => {
                // What is read of another image is no finding about this one.
                self.check_unchanged(process).await?;
                Err(self.deny_unattested(process, error).await)
            }
        }
    }

    /// The record of the attestation with these proofs, in the trail's queue
    /// before all that relies on it.
    async fn record(
        &self,
        process: &Process,
        attested: &Attested,
        proofs: Option<Proofs>,
    ) -> Result<(Arc<Attestation>, Recorded), Denial> {
        if let Some(known) = attested.recorded(proofs, Chain::Trail) {
            return Ok(known);
        }
        let chain = self.chain_of(attested, proofs);
        let _turn = process.turn.lock().await;
        if let Some(known) = attested.recorded(proofs, chain) {
            return Ok(known);
        }
        let attestation = match proofs {
            None => Arc::clone(&attested.attestation),
            Some(proofs) => {
                let proven = attested.attestation.proven(proofs);
                let proven = proven.map_err(|error| AttestError::Evidence(error.to_string()));
                Arc::new(proven?)
            }
        };
        let recorded = self.record_in(chain, process, &attestation).await?;
        attested.note_recorded((proofs, chain), &attestation, &recorded);
        Ok((attestation, recorded))
    }

    async fn record_in(
        &self,
        chain: Chain,
        process: &Process,
        attestation: &Attestation,
    ) -> Result<Recorded, Denial> {
        let event = Event::new(audit::Kind::Attested)
            .attestation(attestation.id())
            .process(audit_process(process))
            .evidence(attestation.evidence())?;
        let trail = &self.services.trail;
        let recorded = match chain {
            Chain::Trail => trail.enqueue(event).await?.boxed(),
            Chain::Callers => {
                let cause = process.cause(audit::Kind::Attested, "attested");
                trail.of_caller(cause, || event)
            }
        };
        Ok(recorded.shared())
    }

    /// Where an attestation belongs: beside what is issued, or what needs no identity.
    fn chain_of(&self, attested: &Attested, proofs: Option<Proofs>) -> Chain {
        let snapshot = self.services.registry.snapshot();
        let fits = || {
            let candidates = Candidates::find(&attested.attestation, &snapshot);
            !candidates.clients().is_empty()
        };
        if proofs.is_some() && fits() {
            Chain::Trail
        } else {
            Chain::Callers
        }
    }

    /// The recording of this attestation in the trail itself, where it stands before
    /// what is issued, or done by an operator: the registration may have come after the
    /// process was attested.
    pub(super) async fn vouch(
        &self,
        process: &Process,
        attestation: &Arc<Attestation>,
    ) -> Result<Recorded, Denial> {
        let proofs = attestation.evidence().proofs;
        let known = process.attested();
        let recorded = |chain| {
            let found = known.as_ref()?.recorded(proofs, chain);
            found.filter(|(found, _)| found.id() == attestation.id())
        };
        if let Some((_, recorded)) = recorded(Chain::Trail) {
            return Ok(recorded);
        }
        let _turn = process.turn.lock().await;
        if let Some((_, recorded)) = recorded(Chain::Trail) {
            return Ok(recorded);
        }
        let anew = self.record_in(Chain::Trail, process, attestation).await?;
        if let Some(attested) = known
            .as_ref()
            .filter(|_| recorded(Chain::Callers).is_some())
        {
            attested.note_recorded((proofs, Chain::Trail), attestation, &anew);
        }
        Ok(anew)
    }

    pub(super) fn unchanged(&self, process: &Process) -> Result<(), Changed> {
        let attestor = &self.services.attestor;
        attestor.unchanged(process.peer(), process.image())
    }

    /// Ends a process that is no longer what it was, and denies what was asked
    /// in its name.
    pub(super) async fn check_unchanged(&self, process: &Process) -> Result<(), Denial> {
        self.check(process, self.unchanged(process)).await
    }

    /// The same by a look that was just taken.
    pub(super) async fn check(
        &self,
        process: &Process,
        unchanged: Result<(), Changed>,
    ) -> Result<(), Denial> {
        if let Err(why) = unchanged {
            self.end(process, why);
        }
        self.check_alive(process).await
    }

    /// Denies what was asked in the name of a process that ended.
    async fn check_alive(&self, process: &Process) -> Result<(), Denial> {
        if !process.has_ended() {
            return Ok(());
        }
        let reason = "the process is no longer the one that connected";
        self.record_denied(process, None, "changed", reason).await?;
        Err(Denial::ProcessChanged)
    }

    /// Records that nothing is given to what was perhaps only seen at a glance: made sure first
    /// are that the process is the one that was attested, and the connection as it was proved.
    pub(super) async fn refuse(
        &self,
        caller: &Caller,
        presence: &Presence,
        word: &'static str,
        reason: &str,
    ) -> Result<(), Denial> {
        let proofs = self.proofs(caller);
        self.check_unchanged(caller.process()).await?;
        let proved = presence.attestation.evidence().proofs;
        if !proofs.is_ok_and(|proofs| proved == Some(proofs)) {
            return Err(Denial::Changing);
        }
        self.record_denied(caller.process(), Some(presence), word, reason)
            .await
    }

    async fn deny_unattested(&self, process: &Process, error: AttestError) -> Denial {
        let word = match error {
            AttestError::Gone | AttestError::Changed(_) => "changed",
            AttestError::Traced(_) => "traced",
            _ => "not-attested",
        };
        tracing::warn!(pid = process.peer().credentials().pid, %error, "attestation failed");
        match self
            .record_denied(process, None, word, &error.to_string())
            .await
        {
            Ok(()) => Denial::Unattested(error),
            Err(not_recorded) => not_recorded,
        }
    }

    /// The evidence without proofs goes to the trail as well: it says who tried.
    async fn deny_unproven(&self, caller: &Caller, attested: &Attested, why: Unproven) -> Denial {
        if why == Unproven::Closed {
            return Denial::Unproven(why);
        }
        let process = caller.process();
        let denied = async {
            let (attestation, recorded) = self.record(process, attested, None).await?;
            recorded.await?;
            let presence = process.presence(attestation);
            self.record_unproven(caller, &presence, &why).await
        };
        match denied.await {
            Ok(()) => Denial::Unproven(why),
            Err(not_recorded) => not_recorded,
        }
    }

    /// Also where the call is given up: then the connection's end is told, or this was.
    pub(super) async fn record_unproven(
        &self,
        caller: &Caller,
        presence: &Presence,
        why: &Unproven,
    ) -> Result<(), Denial> {
        let process = caller.process();
        let event = self.denied(process, Some(presence), why.word(), &why.to_string());
        let cause = process.cause(audit::Kind::Denied, why.word());
        // In the writer's queue or counted from here on, whoever waits.
        let recorded = self.services.trail.of_caller(cause, || event);
        if why.is_final() {
            caller.binding().note_told();
        }
        Ok(recorded.await?)
    }

    /// Records why a connection ended, unless a call on it was told.
    pub(super) async fn note_left(&self, caller: &Caller) {
        let Some(why) = caller.binding().last_word(&self.services.attestor) else {
            return;
        };
        let process = caller.process();
        let attestation = process.attestation();
        let presence = attestation.map(|attestation| process.presence(attestation));
        // Only what is in the trail can be named there.
        let presence = presence.filter(|_| process.is_recorded());
        let recorded = self
            .record_denied(process, presence.as_ref(), why.word(), &why.to_string())
            .await;
        if let Err(error) = recorded {
            tracing::error!(%error, "the end of a connection could not be recorded");
        }
    }
}

/// The attestors that were asked, found out nothing, and say why.
fn failures(attestation: &Attestation) -> Kinds {
    let found = attestation.selectors().iter().filter_map(Kind::of);
    let found: Kinds = found.collect();
    let unknown = attestation.evidence().unknown.iter();
    let failed =
        unknown.filter_map(|unknown| unknown.selector.split(':').next().and_then(Kind::of_type));
    failed
        .filter(|kind| attestation.kinds().has(*kind) && !found.has(*kind))
        .collect()
}

fn same_facts(a: &Attestation, b: &Attestation) -> bool {
    a.kinds() == b.kinds()
        && a.selectors() == b.selectors()
        && a.evidence().unknown == b.evidence().unknown
}

/// What is known of the code in the process, and what could not be found out.
fn code(attestation: &Attestation) -> (Vec<&Selector>, Vec<&Unknown>, Option<&str>) {
    let known = attestation.selectors().iter();
    let unknown = attestation.evidence().unknown.iter();
    let is_code = |selector: &str| selector.starts_with("code:");
    (
        known.filter(|s| Kind::of(s) == Some(Kind::Code)).collect(),
        unknown.filter(|u| is_code(u.selector)).collect(),
        attestation
            .evidence()
            .code
            .as_ref()
            .map(|code| &*code.mapped),
    )
}

#[cfg(test)]
mod tests;
