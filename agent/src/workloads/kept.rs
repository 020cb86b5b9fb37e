//! The SVIDs that a process keeps: given again, or renewed.

use super::{Denial, Process, Workloads, process::Shelved, shelf::Found};
use crate::{
    audit::{Event, Kind},
    issuance::{Entitlement, IssueError, describe},
};
use std::sync::Arc;

impl Workloads {
    /// The kept SVID, or a fresh one where it is due. A failed renewal leaves
    /// the one that is still valid.
    pub(super) async fn kept<T: Shelved>(
        self: &Arc<Self>,
        process: &Arc<Process>,
        entitlement: &Entitlement,
    ) -> Result<Arc<T>, Denial> {
        let client = entitlement.client();
        let look = || {
            let now = self.services.clock.now();
            T::shelf(process, |shelf| shelf.find(client, now))
        };
        let attestation = entitlement.presence().attestation.id();
        if let Found::Fresh(svid) = look()
            && T::shelf(process, |shelf| shelf.was_given(&svid, client, attestation))
        {
            return Ok(svid);
        }
        let _turn = process.turn.lock().await;
        let (kind, still_valid) = match look() {
            Found::Fresh(svid) => return self.given(process, entitlement, svid).await,
            Found::Due(svid) => (Kind::Renewed, Some(svid)),
            Found::Nothing => (Kind::Issued, None),
        };
        match (
            T::issue(&self.services.issuer, entitlement, kind).await,
            still_valid,
        ) {
            (Ok(svid), _) => {
                let svid = Arc::new(svid);
                T::shelf(process, |shelf| {
                    shelf.put(client, Arc::clone(&svid), attestation);
                });
                // At once: the caller may give up before the answer is complete.
                self.keep_watch(process);
                process.rescheduled.notify_one();
                Ok(svid)
            }
            (Err(error), Some(old)) => {
                self.note_failed_renewal::<T>(process, entitlement, &error);
                let now = self.services.clock.now();
                T::shelf(process, |shelf| shelf.postpone(client, now));
                process.rescheduled.notify_one();
                self.given(process, entitlement, old).await
            }
            (Err(error), None) => Err(error.into()),
        }
    }

    fn note_failed_renewal<T: Shelved>(
        &self,
        process: &Process,
        entitlement: &Entitlement,
        error: &IssueError,
    ) {
        let failed = &self.services.metrics.live.failed;
        failed.get_or_create(&T::KIND.into()).inc();
        let client = entitlement.client();
        tracing::warn!(
            pid = process.peer().credentials().pid,
            client = client.name().as_str(),
            spiffe_id = %client.spec().spiffe_id(),
            attestation_id = entitlement.presence().attestation.id(),
            kind = T::KIND,
            %error,
            "renewal failed; the SVID stays"
        );
    }

    /// The kept SVID, once the trail has that it is given on this attestation: it may
    /// have been issued on a connection with other proofs, or when less was known of
    /// the process. To be called in the process's turn.
    async fn given<T: Shelved>(
        &self,
        process: &Process,
        entitlement: &Entitlement,
        svid: Arc<T>,
    ) -> Result<Arc<T>, Denial> {
        let client = entitlement.client();
        let attestation = entitlement.presence().attestation.id();
        if !T::shelf(process, |shelf| shelf.was_given(&svid, client, attestation)) {
            let event = describe(Event::new(Kind::Delivered), entitlement);
            let event = event.credential(svid.credential());
            self.services.trail.record(event).await?;
            T::shelf(process, |shelf| {
                shelf.note_given(&svid, client, attestation);
            });
        }
        Ok(svid)
    }
}
