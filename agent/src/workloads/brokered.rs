//! What a connection's process may show to OAuth servers: decided, proved and confirmed as SVIDs are.

use super::{Caller, Denial, Process, Workloads, answer::Choice};
use crate::{
    issuance::{
        BoundWit, ClientAssertion, ClientCredential, DpopProof, DpopRequest, Entitlement,
        IssueError, WorkloadProof, WorkloadRequest,
    },
    registry::{Client, IssuerUrl},
    svid::{PrivateKey, proof::DpopSigner},
};
use spiffe::SpiffeId;
use std::sync::Arc;

/// Whether the client may speak to this authorization server, which is compared exactly.
fn lists(client: &Client, server: &IssuerUrl) -> bool {
    client.spec().authorization_servers().contains(server)
}

impl Workloads {
    /// An assertion for `server`, of the oldest client that may have one there, or of the one
    /// with the ID `only`; `resource` is for the trail.
    ///
    /// # Errors
    /// See [`Denial`].
    pub async fn client_assertion(
        self: &Arc<Self>,
        caller: &Caller,
        (server, resource): (&IssuerUrl, Option<&str>),
        only: Option<&SpiffeId>,
    ) -> Result<ClientAssertion, Denial> {
        let broker = &self.services.broker;
        let choice = Choice {
            only,
            fits: &|client| lists(client, server) && broker.can_assert(client),
            refusal: &|fitting| {
                format!(
                    "none of the {fitting} fitting registrations lists the authorization server \
                     {server}, with metadata by which it is known there by a key"
                )
            },
        };
        let make = |entitlement: &Entitlement| {
            let entitlement = entitlement.clone();
            async move { Ok(broker.assertion(&entitlement, server, resource).await?) }
        };
        self.one(caller, choice, make).await
    }

    /// A JWT-SVID for `server`, of the oldest client that lists it, or of the one
    /// with the ID `only`; `resource` is for the trail.
    ///
    /// # Errors
    /// See [`Denial`].
    pub async fn client_credential(
        self: &Arc<Self>,
        caller: &Caller,
        (server, resource): (&IssuerUrl, Option<&str>),
        only: Option<&SpiffeId>,
    ) -> Result<ClientCredential, Denial> {
        let broker = &self.services.broker;
        let choice = Choice {
            only,
            fits: &|client| lists(client, server),
            refusal: &|fitting| {
                format!(
                    "none of the {fitting} fitting registrations lists the authorization server \
                     {server}"
                )
            },
        };
        let make = |entitlement: &Entitlement| {
            let entitlement = entitlement.clone();
            async move {
                let made = broker.credential(&entitlement, server, resource).await?;
                caller.process().note_token(&entitlement, &made.svid);
                Ok(made)
            }
        };
        self.one(caller, choice, make).await
    }

    /// A DPoP proof of the process's default client, or of the one with the ID `only`.
    ///
    /// # Errors
    /// See [`Denial`].
    pub async fn dpop_proof(
        self: &Arc<Self>,
        caller: &Caller,
        request: &DpopRequest,
        only: Option<&SpiffeId>,
    ) -> Result<DpopProof, Denial> {
        let make = |entitlement: &Entitlement| {
            let entitlement = entitlement.clone();
            async move {
                let signer = self.dpop_signer(caller.process(), &entitlement).await?;
                let proof = self.services.broker.dpop(&entitlement, &signer, request);
                Ok(proof.await?)
            }
        };
        self.one(caller, Choice::any(only), make).await
    }

    /// A workload proof token of the process's default client, or of the one with the ID `only`.
    ///
    /// # Errors
    /// See [`Denial`].
    pub async fn workload_proof(
        self: &Arc<Self>,
        caller: &Caller,
        request: &WorkloadRequest,
        only: Option<&SpiffeId>,
    ) -> Result<WorkloadProof, Denial> {
        let make = |entitlement: &Entitlement| {
            let entitlement = entitlement.clone();
            async move {
                let wit = self.bound_wit(caller.process(), &entitlement).await?;
                let broker = &self.services.broker;
                Ok(broker.workload_proof(&entitlement, wit, request).await?)
            }
        };
        self.one(caller, Choice::any(only), make).await
    }

    /// The one key of process and client, made when it is needed first.
    async fn dpop_signer(
        self: &Arc<Self>,
        process: &Arc<Process>,
        entitlement: &Entitlement,
    ) -> Result<Arc<DpopSigner>, IssueError> {
        let now = self.services.clock.now();
        let look = || process.holding.lock().proofs.dpop(entitlement, now);
        if let Some(signer) = look() {
            return Ok(signer);
        }
        let _turn = process.turn.lock().await;
        if let Some(signer) = look() {
            return Ok(signer);
        }
        let signer = Arc::new(DpopSigner::new(&PrivateKey::generate()?)?);
        let kept = Arc::clone(&signer);
        process
            .holding
            .lock()
            .proofs
            .put_dpop(entitlement, now, kept);
        // At once: the caller may give up before the answer is complete.
        self.keep_watch(process);
        Ok(signer)
    }

    /// The WIT-SVID that proofs go with, a fresh one where it is due.
    async fn bound_wit(
        self: &Arc<Self>,
        process: &Arc<Process>,
        entitlement: &Entitlement,
    ) -> Result<Arc<BoundWit>, IssueError> {
        let now = self.services.clock.now();
        let look = || process.holding.lock().proofs.wit(entitlement, now);
        if let Some(wit) = look() {
            return Ok(wit);
        }
        let _turn = process.turn.lock().await;
        if let Some(wit) = look() {
            return Ok(wit);
        }
        let wit = Arc::new(self.services.broker.bound_wit(entitlement).await?);
        let kept = Arc::clone(&wit);
        process
            .holding
            .lock()
            .proofs
            .put_wit(entitlement, now, kept);
        self.keep_watch(process);
        Ok(wit)
    }
}
