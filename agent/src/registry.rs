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
//!
//! Where approvals are required, a version and a resumption only await them at
//! first ([`Client::pending`]); other persons than the author put them in force.
//! What takes away, suspending and revoking, needs nobody's approval.

mod actor;
mod book;
mod checkup;
mod client;
mod digest;
mod error;
mod expiry;
#[cfg(fuzzing)]
pub mod fuzzing;
mod governance;
mod history;
pub mod limits;
mod names;
mod record;
mod relationship;
mod snapshot;
mod spec;
mod store;
mod told;
mod transition;
mod wire;
mod writer;

pub use actor::Actor;
pub(crate) use actor::NO_LOGIN;
pub use book::Applied;
pub use checkup::{Checkup, Flaw, Report};
pub use client::{Client, ClientState, ClientVersion, SetFit, Standing, StateChange};
pub use digest::{Digest, DigestError};
pub use error::RegistryError;
pub use governance::{Approval, Bar, Declined, Pending, Proposal, Subject, Verdict};
pub use history::{Deed, History, HistoryEntry, RelationshipDeed, RelationshipEntry, StoreEntry};
pub use names::{
    Audience, ClientIdUrl, ClientLabel, ClientName, Contact, DnsName, FindingId, Hint, IssuerUrl,
    OperatorName, Owner, Purpose, Reason, RedirectOrigin, RedirectUri, Scope, SoftwareId, Source,
    Term, TextError, WeaknessReason, WebUrl,
};
pub use record::{RecordError, RecordFault};
pub use relationship::{
    AppliedRelationship, BundleEndpoint, EndpointDraft, EndpointError, Profile, Relationship,
    RelationshipFault, RelationshipVersion, Removal,
};
pub use snapshot::{Gates, Snapshot};
pub use spec::{
    Acceptance, AcceptedWeaknesses, ApplicationType, ClientDraft, ClientMetadata, ClientSpec,
    Hosting, MetadataDraft, MetadataError, OnDrift, PRIVATE_KEY_JWT, SelectorSet, SpecError,
    SpecRules, default_id,
};
pub use store::{MemoryStore, Record, RedbStore, Store, StoreError};
pub(crate) use store::{Rebuild, confirmed};
pub use transition::Effect;
pub use writer::{Change, Command, RegistryWriter, RelationshipChange, RelationshipCommand};

use crate::clock::SharedClock;
use arc_swap::ArcSwap;
use book::Outcome;
use std::{collections::BTreeSet, sync::Arc};
use tokio::sync::{mpsc, oneshot, watch};
use told::Told;
use writer::{Order, Task};

/// What the registry is held to.
#[derive(Clone, Debug)]
pub struct RegistryConfig {
    /// Trust domain and bounds of lifetimes.
    pub rules: SpecRules,
    /// How many clients may ever be registered; [`limits::CLIENTS`] by default.
    pub max_clients: usize,
    /// How many others must approve a new version or a resumption; 0: none, it is in force at once.
    pub approvals_required: u32,
}

/// A handle to the registry; cheap to clone.
#[derive(Clone, Debug)]
pub struct Registry {
    published: Arc<Published>,
    commands: mpsc::Sender<Order>,
    store: Arc<dyn Store>,
    told: Arc<Told>,
    approvals_required: u32,
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
        let approvals_required = config.approvals_required;
        let writer = RegistryWriter::open(Arc::clone(&store), config, clock, received).await?;
        Ok((
            Self {
                told: writer.told(),
                published: writer.published(),
                commands,
                store,
                approvals_required,
            },
            writer,
        ))
    }

    /// How many others must approve what is proposed from now on; 0: nobody.
    #[must_use]
    pub const fn approvals_required(&self) -> u32 {
        self.approvals_required
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

    /// Notes that the audit trail tells of the record with this revision.
    pub fn note_told(&self, revision: u64) {
        self.told.note(revision);
    }

    /// Notes that the audit trail lacks something of the record with this revision.
    pub fn note_untold(&self, revision: u64) {
        self.told.note_untold(revision);
    }

    /// The records that could not be told.
    #[must_use]
    pub fn untold(&self) -> watch::Receiver<BTreeSet<u64>> {
        self.told.untold()
    }

    /// The revision up to which the audit trail tells of all records; at first of all there are.
    #[must_use]
    pub fn told_through(&self) -> watch::Receiver<u64> {
        self.told.through()
    }

    /// Some of the records that follow revision `after`; none at the end of the log.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn records(&self, after: u64) -> Result<Vec<Record>, RegistryError> {
        Ok(self.store.read(after, limits::RECORDS_PER_EXPORT).await?)
    }

    /// Makes a change; it is durable and in the snapshot when this returns.
    ///
    /// # Errors
    /// Where there is no such client, or one already; where its state, a rule, somebody else's name
    /// or SPIFFE ID, or who asks does not allow it; where a reason is missing; or where the store fails.
    pub async fn change(
        &self,
        name: ClientName,
        change: Change,
        actor: Actor,
        reason: Reason,
    ) -> Result<Applied, RegistryError> {
        let command = Command {
            name,
            change,
            actor,
            reason,
        };
        let mut answers = self.order_clients(vec![command], false).await;
        answers.pop().unwrap_or(Err(RegistryError::Closed))
    }

    /// Changes the relationship with a foreign trust domain; it is durable and in the snapshot when
    /// this returns.
    ///
    /// # Errors
    /// Where what is said breaks a rule, the relationship does not allow it, the decision is not
    /// this person's, a removal or rejection has no reason, or the store fails.
    pub async fn relate(
        &self,
        command: RelationshipCommand,
    ) -> Result<AppliedRelationship, RegistryError> {
        let task = Task::Relationship(command);
        match self.order(vec![task], false).await.pop() {
            Some(Ok(Outcome::Relationship(applied))) => Ok(applied),
            Some(Err(error)) => Err(error),
            Some(Ok(Outcome::Client(_))) | None => Err(RegistryError::Closed),
        }
    }

    /// Makes all of these changes, each after those before it, or none: where one is refused,
    /// the answers of the others tell what would have come of them.
    ///
    /// # Errors
    /// For each change as for its own method.
    pub async fn change_all(&self, commands: Vec<Command>) -> Vec<Result<Applied, RegistryError>> {
        self.order_clients(commands, false).await
    }

    /// What would come of these changes, each after those before it. Nothing is changed.
    ///
    /// # Errors
    /// For each change as for its own method.
    pub async fn rehearse(&self, commands: Vec<Command>) -> Vec<Result<Applied, RegistryError>> {
        self.order_clients(commands, true).await
    }

    async fn order_clients(
        &self,
        commands: Vec<Command>,
        is_rehearsal: bool,
    ) -> Vec<Result<Applied, RegistryError>> {
        let tasks = commands.into_iter().map(Task::Client).collect();
        let answers = self.order(tasks, is_rehearsal).await.into_iter();
        let of_client = |answer| match answer {
            Ok(Outcome::Client(applied)) => Ok(applied),
            Ok(Outcome::Relationship(_)) => Err(RegistryError::Closed),
            Err(error) => Err(error),
        };
        answers.map(of_client).collect()
    }

    async fn order(
        &self,
        commands: Vec<Task>,
        is_rehearsal: bool,
    ) -> Vec<Result<Outcome, RegistryError>> {
        let count = commands.len();
        let (reply, answers) = oneshot::channel();
        let order = Order {
            commands,
            is_rehearsal,
            reply,
        };
        let closed = || vec![Err(RegistryError::Closed); count];
        if self.commands.send(order).await.is_err() {
            return closed();
        }
        answers.await.unwrap_or_else(|_ended| closed())
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
