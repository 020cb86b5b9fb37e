//! Registered MCP clients: immutable versions, states, and a snapshot to match against.
//!
//! Owns what operators have decided: which processes may hold which SPIFFE ID,
//! within which limits, since when and by whose word. The admin API changes it
//! through [`Registry`]; everybody else reads [`Snapshot`]s and wakes on
//! [`Registry::changes`]. One task, [`RegistryWriter::run`], makes all changes,
//! one after the other, and is the only one that publishes.
//!
//! Invariants: a change is durable before its caller learns of it and before
//! any reader sees it. A change that could not be made durable is not served; if
//! the store turns out to hold it after all, it is served from then on. Names and
//! SPIFFE IDs are given once, also after revocation. What is served is what the
//! records in the [`Store`] come to, each verified: digest, link, rules; a store
//! with one that cannot be verified is not opened.
//!
//! Trusts the admin API to have identified the [`Actor`], and the store as far as
//! its page says. Fails closed: no store, no change, and what is in force stays.
//! Left out until approvals come: drafts and pending versions; each version is in
//! force at once.

mod book;
mod client;
mod digest;
mod error;
mod expiry;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod limits;
mod names;
mod record;
mod snapshot;
mod spec;
mod store;
mod wire;
mod writer;

pub use client::{Client, ClientState, ClientVersion, SetFit, Standing, StateChange};
pub use digest::{Digest, DigestError};
pub use error::RegistryError;
pub use names::{
    Actor, Audience, ClientName, DnsName, FindingId, Hint, Owner, Purpose, Reason, TextError,
    WeaknessReason,
};
pub use record::{RecordError, RecordFault};
pub use snapshot::Snapshot;
pub use spec::{
    Acceptance, AcceptedWeaknesses, ClientDraft, ClientSpec, SelectorSet, SpecError, SpecRules,
};
pub use store::{MemoryStore, Record, RedbStore, Store, StoreError};
pub use writer::RegistryWriter;

use crate::clock::SharedClock;
use arc_swap::ArcSwap;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};
use writer::{Change, Command};

/// What the registry is held to.
#[derive(Clone, Debug)]
pub struct RegistryConfig {
    /// Trust domain and bounds of lifetimes.
    pub rules: SpecRules,
    /// How many clients may ever be registered; [`limits::CLIENTS`] by default.
    pub max_clients: usize,
}

/// A handle to the registry; cheap to clone.
#[derive(Clone, Debug)]
pub struct Registry {
    published: Arc<Published>,
    commands: mpsc::Sender<Command>,
}

/// What the writer publishes and readers take.
#[derive(Debug)]
struct Published {
    snapshot: ArcSwap<Snapshot>,
    changes: watch::Sender<u64>,
}

impl Registry {
    /// Loads and verifies every record of `store`.
    ///
    /// Changes are made only while the returned writer runs; it ends when the
    /// last handle is dropped.
    ///
    /// # Errors
    /// Where the store cannot be read, or holds a record that cannot be believed:
    /// damaged, of another trust domain, or written by a newer agent.
    pub async fn open(
        store: Arc<dyn Store>,
        config: RegistryConfig,
        clock: SharedClock,
    ) -> Result<(Self, RegistryWriter), RegistryError> {
        let (commands, received) = mpsc::channel(limits::WAITING_COMMANDS);
        let writer = RegistryWriter::open(store, config, clock, received).await?;
        Ok((
            Self {
                published: writer.published(),
                commands,
            },
            writer,
        ))
    }

    /// The registry as of now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.published.snapshot.load_full()
    }

    /// Wakes on every new snapshot, with its generation: a change, or an expiry.
    ///
    /// When it wakes, [`Self::snapshot`] returns that snapshot or a later one.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.published.changes.subscribe()
    }

    /// Registers a client; it is durable and in the snapshot when this returns.
    ///
    /// # Errors
    /// Where the draft breaks a rule, its name or SPIFFE ID is taken, or the store fails.
    pub async fn register(
        &self,
        name: ClientName,
        draft: ClientDraft,
        actor: Actor,
        reason: Reason,
    ) -> Result<Arc<Client>, RegistryError> {
        self.change(name, Change::Register(Box::new(draft)), actor, reason)
            .await
    }

    /// Puts a new version in force; of `expected` only if that version is the last one.
    ///
    /// # Errors
    /// Where there is no such client, it is revoked, `expected` is not in force, the
    /// draft breaks a rule, its SPIFFE ID is taken, or the store fails.
    pub async fn update(
        &self,
        name: ClientName,
        draft: ClientDraft,
        expected: Option<u64>,
        actor: Actor,
        reason: Reason,
    ) -> Result<Arc<Client>, RegistryError> {
        self.change(
            name,
            Change::Update(Box::new(draft), expected),
            actor,
            reason,
        )
        .await
    }

    /// Ends an active client's identities until it is resumed.
    ///
    /// # Errors
    /// Where there is no such client, it is not active, no reason is given, or the store fails.
    pub async fn suspend(
        &self,
        name: ClientName,
        actor: Actor,
        reason: Reason,
    ) -> Result<Arc<Client>, RegistryError> {
        self.change(name, Change::Stand(Standing::Suspended), actor, reason)
            .await
    }

    /// Lifts a suspension.
    ///
    /// # Errors
    /// Where there is no such client, it is not suspended, or the store fails.
    pub async fn resume(
        &self,
        name: ClientName,
        actor: Actor,
        reason: Reason,
    ) -> Result<Arc<Client>, RegistryError> {
        self.change(name, Change::Stand(Standing::Active), actor, reason)
            .await
    }

    /// Ends a client's identities for ever.
    ///
    /// # Errors
    /// Where there is no such client, it is revoked already, no reason is given, or the store fails.
    pub async fn revoke(
        &self,
        name: ClientName,
        actor: Actor,
        reason: Reason,
    ) -> Result<Arc<Client>, RegistryError> {
        self.change(name, Change::Stand(Standing::Revoked), actor, reason)
            .await
    }

    async fn change(
        &self,
        name: ClientName,
        change: Change,
        actor: Actor,
        reason: Reason,
    ) -> Result<Arc<Client>, RegistryError> {
        let (reply, answer) = oneshot::channel();
        let command = Command {
            name,
            change,
            actor,
            reason,
            reply,
        };
        if self.commands.send(command).await.is_err() {
            return Err(RegistryError::Closed);
        }
        answer.await.unwrap_or(Err(RegistryError::Closed))
    }
}

#[cfg(test)]
mod tests;
