//! What a process may have now: attest, match, entitle, and hand out.

use super::{
    Denial, Process, Workloads, audit_process,
    process::{Attested, Recorded, Shelved, same_version},
    shelf::Found,
};
use crate::{
    audit::{AuditError, Event, Kind},
    issuance::{Entitlement, IssueError, JwtSvid, Presence, WitSvid, X509Svid},
    registry::{Client, Snapshot},
    server::until_true,
};
use futures_util::{FutureExt as _, future::try_join_all};
use spiffe::SpiffeId;
use std::{future::Future, sync::Arc};
use symbolon_attestors::{Attestation, Changed};
use tokio::time::{Instant, sleep_until};

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

/// Who a process may be, by one snapshot of the registry.
struct Decision {
    snapshot: Arc<Snapshot>,
    granted: Vec<Entitlement>,
}

/// The SVIDs of one kind, in the registry's stable order; never empty.
pub type Identities<T> = Vec<Arc<T>>;

impl Workloads {
    /// The X.509-SVIDs of a process.
    ///
    /// # Errors
    /// See [`Denial`].
    pub async fn x509(
        self: &Arc<Self>,
        process: &Arc<Process>,
        asked: Asked,
    ) -> Result<Identities<X509Svid>, Denial> {
        self.identities(process, None, asked).await
    }

    /// The WIT-SVIDs of a process, or the one of `only`.
    ///
    /// # Errors
    /// See [`Denial`].
    pub async fn wit(
        self: &Arc<Self>,
        process: &Arc<Process>,
        only: Option<&SpiffeId>,
        asked: Asked,
    ) -> Result<Identities<WitSvid>, Denial> {
        self.identities(process, only, asked).await
    }

    /// Fresh JWT-SVIDs for `audiences`, of every client that lists them all, or
    /// of the one with the ID `only`.
    ///
    /// # Errors
    /// See [`Denial`].
    pub async fn jwt(
        self: &Arc<Self>,
        process: &Arc<Process>,
        audiences: &[String],
        only: Option<&SpiffeId>,
    ) -> Result<Vec<JwtSvid>, Denial> {
        let (presence, recorded) = self.attested(process).await?;
        let answer = async {
            let mut decision = self
                .entitled(process, &presence, only, Asked::ByCall)
                .await?;
            let fitting = decision.granted.len();
            decision.granted.retain(|e| allows(e.client(), audiences));
            if decision.granted.is_empty() {
                return Err(self
                    .deny_audience(process, &presence, audiences, fitting)
                    .await);
            }
            let issuer = &self.services.issuer;
            let svids = decision.granted.iter().map(|e| issuer.jwt(e, audiences));
            let svids = try_join_all(svids).await?;
            self.confirm(process, &presence, &decision)?;
            Ok(svids)
        };
        self.announce(recorded, answer).await
    }

    /// Attests the process and lets it see bundles if the settings do.
    ///
    /// # Errors
    /// See [`Denial`].
    pub async fn bundle_reader(
        self: &Arc<Self>,
        process: &Arc<Process>,
        asked: Asked,
    ) -> Result<(), Denial> {
        let (presence, recorded) = self.attested(process).await?;
        let answer = async {
            if !self.settings.load().bundles_for_any {
                self.entitled(process, &presence, None, asked).await?;
            }
            Ok(())
        };
        self.announce(recorded, answer).await?;
        self.keep_watch(process);
        Ok(())
    }

    async fn identities<T: Shelved>(
        self: &Arc<Self>,
        process: &Arc<Process>,
        only: Option<&SpiffeId>,
        asked: Asked,
    ) -> Result<Identities<T>, Denial> {
        if asked == Asked::ByStream && self.has_lost_all(process) {
            return Err(Denial::NoIdentity);
        }
        let (presence, recorded) = self.attested(process).await?;
        let answer = async {
            for _ in 0..MAX_ATTEMPTS {
                let decision = self.entitled(process, &presence, only, asked).await?;
                let svids = decision.granted.iter().map(|e| self.kept::<T>(process, e));
                let svids = try_join_all(svids).await?;
                match self.confirm(process, &presence, &decision) {
                    Ok(()) => return Ok(svids),
                    Err(Denial::Changing) => {}
                    Err(denial) => return Err(denial),
                }
            }
            Err(Denial::Changing)
        };
        let answered = self.announce(recorded, answer).await?;
        self.keep_watch(process);
        Ok(answered)
    }

    /// Whether no client fits what is known of the process. Nothing is handed
    /// out then, so it need not be looked at again: a suspension may have to
    /// end thousands of its streams.
    fn has_lost_all(&self, process: &Process) -> bool {
        process.attestation().is_some_and(|attestation| {
            let presence = process.presence(attestation);
            self.decide(process, &presence, None).granted.is_empty()
        })
    }

    /// The attestation of the process, and its recording.
    pub(super) async fn attested(
        self: &Arc<Self>,
        process: &Arc<Process>,
    ) -> Result<(Presence, Recorded), Denial> {
        if let Some(known) = self.known(process).await? {
            return Ok(known);
        }
        let _turn = process.turn.lock().await;
        if let Some(known) = self.known(process).await? {
            return Ok(known);
        }
        let attestation = Arc::new(self.attest(process).await?);
        let recorded = self.record_attested(process, &attestation).await?;
        process.note_attested(Attested {
            attestation: Arc::clone(&attestation),
            recorded: recorded.clone(),
        });
        Ok((process.presence(attestation), recorded))
    }

    /// The attestation of before, unless that could not be recorded.
    async fn known(&self, process: &Process) -> Result<Option<(Presence, Recorded)>, Denial> {
        let attested = process.attested();
        if let Some(attested) = &attested
            && let Err(why) = self.unchanged(process, &attested.attestation)
        {
            self.end(process, why);
        }
        if process.has_ended() {
            let reason = "the process is no longer the one that connected";
            self.record_denied(process, None, "changed", reason).await?;
            return Err(Denial::ProcessChanged);
        }
        Ok(attested
            .filter(|attested| !matches!(attested.recorded.peek(), Some(Err(_))))
            .map(|attested| {
                let presence = process.presence(Arc::clone(&attested.attestation));
                (presence, attested.recorded.clone())
            }))
    }

    async fn attest(&self, process: &Process) -> Result<Attestation, Denial> {
        let now = self.services.clock.now();
        let begun = Instant::now();
        let attested = self.services.attestor.attest(process.peer(), now).await;
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
            Ok(attestation) => Ok(attestation),
            Err(error) => Err(self.deny_unattested(process, error).await),
        }
    }

    /// Puts an attestation into the trail's queue, before all that relies on it.
    async fn record_attested(
        &self,
        process: &Process,
        attestation: &Attestation,
    ) -> Result<Recorded, Denial> {
        let event = Event::new(Kind::Attested)
            .attestation(attestation.id())
            .process(audit_process(process))
            .evidence(attestation.evidence())?;
        let recorded = self.services.trail.enqueue(event).await?;
        Ok(recorded.boxed().shared())
    }

    pub(super) fn unchanged(
        &self,
        process: &Process,
        attestation: &Attestation,
    ) -> Result<(), Changed> {
        self.services
            .attestor
            .unchanged(process.peer(), attestation)
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

    /// Who the process may be: active clients whose selectors fit.
    async fn entitled(
        &self,
        process: &Process,
        presence: &Presence,
        only: Option<&SpiffeId>,
        asked: Asked,
    ) -> Result<Decision, Denial> {
        let mut decision = self.decide(process, presence, only);
        if decision.granted.is_empty() && asked == Asked::ByCall {
            decision = self.wait_for_registration(process, presence, only).await?;
        }
        if !decision.granted.is_empty() {
            return Ok(decision);
        }
        if asked == Asked::ByCall {
            let reason = "no active registration fits";
            self.record_denied(process, Some(presence), "no-match", reason)
                .await?;
        }
        Err(Denial::NoIdentity)
    }

    fn decide(&self, process: &Process, presence: &Presence, only: Option<&SpiffeId>) -> Decision {
        let snapshot = self.services.registry.snapshot();
        let mut granted = self.grant(process, presence, &snapshot);
        if let Some(id) = only {
            granted.retain(|e| e.client().spec().spiffe_id() == id);
        }
        Decision { snapshot, granted }
    }

    async fn wait_for_registration(
        &self,
        process: &Process,
        presence: &Presence,
        only: Option<&SpiffeId>,
    ) -> Result<Decision, Denial> {
        let deadline = Instant::now() + self.settings.load().wait_for_registration;
        let mut changes = self.services.registry.changes();
        loop {
            let decision = self.decide(process, presence, only);
            if !decision.granted.is_empty() {
                return Ok(decision);
            }
            tokio::select! {
                biased;
                () = until_true(self.closed.subscribe()) => return Err(Denial::Stopping),
                () = process.ended() => return Err(Denial::ProcessChanged),
                Ok(()) = changes.changed() => {}
                () = sleep_until(deadline) => return Ok(decision),
            }
        }
    }

    /// The kept SVID, or a fresh one where it is due. A failed renewal leaves
    /// the one that is still valid.
    async fn kept<T: Shelved>(
        self: &Arc<Self>,
        process: &Arc<Process>,
        entitlement: &Entitlement,
    ) -> Result<Arc<T>, Denial> {
        let client = entitlement.client();
        let look = || {
            let now = self.services.clock.now();
            T::shelf(process, |shelf| shelf.find(client, now))
        };
        if let Found::Fresh(svid) = look() {
            return Ok(svid);
        }
        let _turn = process.turn.lock().await;
        let (kind, still_valid) = match look() {
            Found::Fresh(svid) => return Ok(svid),
            Found::Due(svid) => (Kind::Renewed, Some(svid)),
            Found::Nothing => (Kind::Issued, None),
        };
        match (
            T::issue(&self.services.issuer, entitlement, kind).await,
            still_valid,
        ) {
            (Ok(svid), _) => {
                let svid = Arc::new(svid);
                T::shelf(process, |shelf| shelf.put(client, Arc::clone(&svid)));
                // At once: the caller may give up before the answer is complete.
                self.keep_watch(process);
                process.rescheduled.notify_one();
                Ok(svid)
            }
            (Err(error), Some(old)) => {
                tracing::warn!(client = client.name().as_str(), %error, "renewal failed; the SVID stays");
                let now = self.services.clock.now();
                T::shelf(process, |shelf| shelf.postpone(client, now));
                process.rescheduled.notify_one();
                Ok(old)
            }
            (Err(error), None) => Err(error.into()),
        }
    }

    /// After the last step: the process is still the one that was attested, and
    /// the clients are still granted in the same version.
    fn confirm(
        &self,
        process: &Process,
        presence: &Presence,
        decision: &Decision,
    ) -> Result<(), Denial> {
        if let Err(why) = self.unchanged(process, &presence.attestation) {
            self.end(process, why);
        }
        if process.has_ended() {
            // Also what was kept since it ended.
            self.withdraw(process, &[], "the process changed");
            return Err(Denial::ProcessChanged);
        }
        let snapshot = self.services.registry.snapshot();
        if Arc::ptr_eq(&snapshot, &decision.snapshot) {
            return Ok(());
        }
        let now = self.grant(process, presence, &snapshot);
        let granted = |client: &Client| {
            let same = |n: &Entitlement| same_version(n.client(), client);
            now.iter().any(same)
        };
        if decision.granted.iter().all(|e| granted(e.client())) {
            return Ok(());
        }
        self.withdraw(process, &now, "the registration changed");
        Err(Denial::Changing)
    }

    async fn deny_unattested(
        &self,
        process: &Process,
        error: symbolon_attestors::AttestError,
    ) -> Denial {
        let reason = error.to_string();
        tracing::warn!(pid = process.peer().credentials().pid, %error, "attestation failed");
        match self
            .record_denied(process, None, "not-attested", &reason)
            .await
        {
            Ok(()) => Denial::Unattested(error),
            Err(not_recorded) => not_recorded,
        }
    }

    async fn deny_audience(
        &self,
        process: &Process,
        presence: &Presence,
        audiences: &[String],
        clients: usize,
    ) -> Denial {
        let reason = format!(
            "none of the {clients} fitting registrations lists every audience of {audiences:?}"
        );
        match self
            .record_denied(process, Some(presence), "audience", &reason)
            .await
        {
            Ok(()) => Denial::Audience,
            Err(not_recorded) => not_recorded,
        }
    }

    async fn record_denied(
        &self,
        process: &Process,
        presence: Option<&Presence>,
        why: &'static str,
        reason: &str,
    ) -> Result<(), Denial> {
        let credentials = process.peer().credentials();
        let denied = &self.services.metrics.issuance.denied;
        denied.get_or_create(&why.into()).inc();
        tracing::info!(
            pid = credentials.pid,
            uid = credentials.uid,
            reason,
            "denied"
        );
        let mut event = Event::new(Kind::Denied)
            .process(audit_process(process))
            .reason(reason);
        if let Some(presence) = presence {
            event = event.attestation(presence.attestation.id());
        }
        Ok(self.services.trail.record(event).await?)
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
