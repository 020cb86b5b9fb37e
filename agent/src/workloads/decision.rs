//! Who a connection's process may be, and whether it still is when its answer is ready.

use super::{
    Asked, Caller, Denial, Process, Unproven, Workloads,
    process::{Recorded, same_version},
    proof::Sure,
};
use crate::{
    issuance::{Candidates, Entitlement, Objection, Presence},
    registry::{Client, Snapshot},
    server::until_true,
};
use spiffe::SpiffeId;
use std::sync::Arc;
use symbolon_attestors::{Changed, Proofs};
use tokio::time::{Instant, sleep_until};

/// Who a process may be on a connection, by one snapshot of the registry.
pub(super) struct Decision {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) presence: Presence,
    pub(super) candidates: Candidates,
    pub(super) granted: Vec<Entitlement>,
    /// The recording of the attestation beside what is issued, once somebody is granted.
    pub(super) vouched: Option<Recorded>,
}

/// What was seen of a caller at one moment.
pub(super) struct Looked {
    proofs: Result<Proofs, Unproven>,
    unchanged: Result<(), Changed>,
}

impl Workloads {
    /// Looks at the caller: the process last, which so was the one to hold the connection.
    pub(super) fn look(&self, caller: &Caller) -> Looked {
        Looked {
            proofs: self.proofs(caller),
            unchanged: self.unchanged(caller.process()),
        }
    }

    /// Whether no client fits what is known of the process. Nothing is handed
    /// out then, so it need not be looked at again: a suspension may have to
    /// end thousands of its streams. Unless it may fit by what is read each time,
    /// or was found since this connection was looked at.
    pub(super) fn has_lost_all(&self, caller: &Caller) -> bool {
        let presence = caller.binding().presence();
        presence.is_some_and(|presence| {
            if self.wants_code(&presence.attestation) {
                return false;
            }
            let decision = self.decide(caller.process(), &presence, None);
            decision.is_ok_and(|decision| decision.granted.is_empty())
        })
    }

    /// Who the process may be: active clients whose selectors fit, and whom the
    /// connection's proofs satisfy.
    pub(super) async fn entitled(
        self: &Arc<Self>,
        caller: &Caller,
        presence: Presence,
        only: Option<&SpiffeId>,
        asked: Asked,
    ) -> Result<Decision, Denial> {
        let mut decision = self.decide(caller.process(), &presence, only)?;
        if decision.granted.is_empty() && asked == Asked::ByCall {
            decision = self.wait_for_registration(caller, presence, only).await?;
        }
        if !decision.granted.is_empty() {
            let vouched = self
                .vouch(caller.process(), &decision.presence.attestation)
                .await?;
            decision.vouched = Some(vouched);
            return Ok(decision);
        }
        if asked == Asked::ByCall {
            let (word, reason) = decision.why_nobody();
            self.refuse(caller, &decision.presence, word, reason)
                .await?;
        }
        Err(Denial::NoIdentity)
    }

    pub(super) fn decide(
        &self,
        process: &Process,
        presence: &Presence,
        only: Option<&SpiffeId>,
    ) -> Result<Decision, Denial> {
        let snapshot = self.services.registry.snapshot();
        let candidates = self.settle(process, &presence.attestation, &snapshot);
        let candidates = candidates.ok_or(Denial::Changing)?;
        let mut granted = Entitlement::decide(presence, &candidates);
        if let Some(id) = only {
            granted.retain(|e| e.client().spec().spiffe_id() == id);
        }
        Ok(Decision {
            snapshot,
            presence: presence.clone(),
            candidates,
            granted,
            vouched: None,
        })
    }

    async fn wait_for_registration(
        self: &Arc<Self>,
        caller: &Caller,
        mut presence: Presence,
        only: Option<&SpiffeId>,
    ) -> Result<Decision, Denial> {
        let process = caller.process();
        let deadline = Instant::now() + self.settings.load().wait_for_registration;
        let mut changes = self.services.registry.changes();
        let mut has_waited = false;
        loop {
            if self.is_behind(process, &presence.attestation)
                || (has_waited && self.wants_code(&presence.attestation))
            {
                let (anew, recorded) = self.presence(caller, Sure::Now).await?;
                recorded.await?;
                presence = anew;
            }
            let decision = self.decide(process, &presence, only)?;
            if !decision.granted.is_empty() {
                return Ok(decision);
            }
            tokio::select! {
                biased;
                () = until_true(self.closed.subscribe()) => return Err(Denial::Stopping),
                () = process.ended() => self.check_unchanged(process).await?,
                Ok(()) = changes.changed() => has_waited = true,
                () = sleep_until(deadline) => return Ok(decision),
            }
        }
    }

    /// By a look after which nothing was waited for: the process is still the one that was attested, the
    /// connection as it was proved, and the clients still granted in the same version.
    pub(super) async fn confirm(
        &self,
        caller: &Caller,
        decision: &Decision,
        looked: Looked,
    ) -> Result<(), Denial> {
        let process = caller.process();
        if let Err(denial) = self.check(process, looked.unchanged).await {
            // Also what was kept since it ended.
            self.withdraw(process, &[], "the process changed");
            return Err(denial);
        }
        let proofs = match looked.proofs {
            Ok(proofs) => proofs,
            Err(why) => {
                let why = self.settled(caller, why).await;
                if why != Unproven::Closed {
                    self.record_unproven(caller, &decision.presence, &why)
                        .await?;
                }
                return Err(Denial::Unproven(why));
            }
        };
        if decision.presence.attestation.evidence().proofs != Some(proofs) {
            return Err(Denial::Changing);
        }
        let snapshot = self.services.registry.snapshot();
        if Arc::ptr_eq(&snapshot, &decision.snapshot) {
            return Ok(());
        }
        let attestation = &decision.presence.attestation;
        let now = self.settle(process, attestation, &snapshot);
        let now = now.ok_or(Denial::Changing)?;
        let granted = Entitlement::decide(&decision.presence, &now);
        let is_granted = |client: &Client| {
            let same = |n: &Entitlement| same_version(n.client(), client);
            granted.iter().any(same)
        };
        if decision.granted.iter().all(|e| is_granted(e.client())) {
            return Ok(());
        }
        self.withdraw(process, now.clients(), "the registration changed");
        Err(Denial::Changing)
    }
}

impl Decision {
    /// Why nobody is granted: the stable word, and a sentence.
    fn why_nobody(&self) -> (&'static str, &'static str) {
        match self.candidates.objections(&self.presence).next() {
            Some(Objection::Inheritable) => (
                "inheritable-refused",
                "the fitting registration refuses a socket that may be inherited",
            ),
            Some(Objection::Forgeable) => (
                "forgeable",
                "the fitting registration does not allow foreign user namespaces",
            ),
            Some(Objection::Unproven) | None => ("no-match", "no active registration fits"),
        }
    }
}
