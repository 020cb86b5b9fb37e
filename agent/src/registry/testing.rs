//! Changes by name, for tests: what operators ask for comes by [`Registry::change`].

use super::{
    Actor, Applied, Change, Client, ClientDraft, ClientName, Digest, Reason, Registry,
    RegistryError, Standing, Subject, Verdict,
};
use std::sync::Arc;

impl Registry {
    /// Registers a client; it is durable and in the snapshot when this returns.
    pub(crate) async fn register(
        &self,
        name: ClientName,
        draft: ClientDraft,
        actor: Actor,
        reason: Reason,
    ) -> Result<Arc<Client>, RegistryError> {
        let change = Change::Register(Box::new(draft));
        self.made(name, change, actor, reason).await
    }

    /// Makes a new version; of `expected` only if that version is in force, or pending.
    ///
    /// A version that was pending is void.
    pub(crate) async fn update(
        &self,
        name: ClientName,
        draft: ClientDraft,
        expected: Option<u64>,
        actor: Actor,
        reason: Reason,
    ) -> Result<Arc<Client>, RegistryError> {
        let change = Change::Update(Box::new(draft), expected);
        self.made(name, change, actor, reason).await
    }

    /// Ends an active client's identities until it is resumed.
    pub(crate) async fn suspend(
        &self,
        name: ClientName,
        actor: Actor,
        reason: Reason,
    ) -> Result<Arc<Client>, RegistryError> {
        let change = Change::Stand(Standing::Suspended);
        self.made(name, change, actor, reason).await
    }

    /// Lifts a suspension.
    pub(crate) async fn resume(
        &self,
        name: ClientName,
        actor: Actor,
        reason: Reason,
    ) -> Result<Arc<Client>, RegistryError> {
        let change = Change::Stand(Standing::Active);
        self.made(name, change, actor, reason).await
    }

    /// Ends a client's identities for ever.
    pub(crate) async fn revoke(
        &self,
        name: ClientName,
        actor: Actor,
        reason: Reason,
    ) -> Result<Arc<Client>, RegistryError> {
        let change = Change::Stand(Standing::Revoked);
        self.made(name, change, actor, reason).await
    }

    /// Says a word about what awaits approval; `digest` is that of what the operator was shown.
    pub(crate) async fn decide(
        &self,
        name: ClientName,
        (about, digest, verdict): (Subject, Digest, Verdict),
        actor: Actor,
        reason: Reason,
    ) -> Result<Applied, RegistryError> {
        let change = Change::Decide(about, digest, verdict);
        self.change(name, change, actor, reason).await
    }

    async fn made(
        &self,
        name: ClientName,
        change: Change,
        actor: Actor,
        reason: Reason,
    ) -> Result<Arc<Client>, RegistryError> {
        let applied = self.change(name, change, actor, reason).await?;
        Ok(applied.new)
    }
}
