//! The keys by which a process proves that requests are its own: they never leave the agent.
//!
//! One for DPoP proofs of each client, since tokens are bound to it, and one for each
//! WIT-SVID that the agent keeps the key of. They go when the process ends, when the
//! client is no longer its own, and when nothing was signed for a day.

use super::shelf::Lost;
use crate::{
    issuance::{BoundWit, Entitlement},
    registry::{Client, ClientName},
    svid::proof::DpopSigner,
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// How long keys are kept that nothing is signed with: tokens that are bound to them have ended.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// The keys of one process, by client.
#[derive(Debug, Default)]
pub(super) struct ProofKeys(BTreeMap<ClientName, Slot>);

#[derive(Debug)]
struct Slot {
    client: Arc<Client>,
    attestation: Box<str>,
    used_at: SystemTime,
    dpop: Option<Arc<DpopSigner>>,
    wit: Option<Arc<BoundWit>>,
}

impl ProofKeys {
    /// The key for DPoP proofs, if there is one; it is used now.
    pub(super) fn dpop(
        &mut self,
        entitlement: &Entitlement,
        now: SystemTime,
    ) -> Option<Arc<DpopSigner>> {
        let slot = self.used(entitlement, now)?;
        slot.dpop.clone()
    }

    pub(super) fn put_dpop(
        &mut self,
        entitlement: &Entitlement,
        now: SystemTime,
        signer: Arc<DpopSigner>,
    ) {
        self.slot(entitlement, now).dpop = Some(signer);
    }

    /// The WIT-SVID of this version of the client, if there is one that is still fresh.
    pub(super) fn wit(
        &mut self,
        entitlement: &Entitlement,
        now: SystemTime,
    ) -> Option<Arc<BoundWit>> {
        let version = entitlement.client().version().number;
        let slot = self.used(entitlement, now)?;
        let terms = &slot.wit.as_ref()?.terms;
        let is_fresh = slot.client.version().number == version
            && terms.issued_at <= now
            && now < terms.renew_at;
        slot.wit.clone().filter(|_| is_fresh)
    }

    pub(super) fn put_wit(
        &mut self,
        entitlement: &Entitlement,
        now: SystemTime,
        wit: Arc<BoundWit>,
    ) {
        let slot = self.slot(entitlement, now);
        slot.client = Arc::clone(entitlement.client());
        slot.wit = Some(wit);
    }

    fn used(&mut self, entitlement: &Entitlement, now: SystemTime) -> Option<&mut Slot> {
        let slot = self.0.get_mut(entitlement.client().name())?;
        slot.used_at = now;
        slot.attestation = entitlement.presence().attestation.id().into();
        Some(slot)
    }

    fn slot(&mut self, entitlement: &Entitlement, now: SystemTime) -> &mut Slot {
        let client = entitlement.client();
        self.0.entry(client.name().clone()).or_insert_with(|| Slot {
            client: Arc::clone(client),
            attestation: entitlement.presence().attestation.id().into(),
            used_at: now,
            dpop: None,
            wit: None,
        })
    }

    /// Removes the clients that `keep` does not name, and returns them.
    pub(super) fn retain(&mut self, keep: impl Fn(&Client) -> bool) -> Vec<Lost> {
        let gone = self.0.extract_if(.., |_, slot| !keep(&slot.client));
        let lost = gone.map(|(_, slot)| Lost {
            client: slot.client,
            attestation: Some(slot.attestation),
        });
        lost.collect()
    }

    /// Forgets what nothing was signed with for long.
    pub(super) fn forget_idle(&mut self, now: SystemTime) {
        self.0.retain(|_, slot| slot.used_at + KEPT > now);
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
