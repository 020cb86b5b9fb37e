//! The one task that changes the registry.
//!
//! It takes the commands that wait, tries them one after the other on a copy of
//! the book, makes the resulting records durable together, and only then
//! publishes the copy and answers. Callers that give up in the meantime change
//! nothing: a command that was taken is carried out.
//!
//! Where another writer of the same store was faster, it reads what that one
//! wrote and tries anew. Where the store fails, the copy is thrown away; whether
//! the store kept the records will show when it is read on, which happens before
//! the next change.

mod trial;

use super::{
    Actor, ClientDraft, ClientName, Digest, EndpointDraft, Published, Reason, RegistryConfig,
    RegistryError, Snapshot, Standing, Store, StoreError, Subject, Verdict,
    book::{Book, Interned, Outcome},
    expiry::Expiries,
    limits,
    told::Told,
};
use crate::clock::SharedClock;
use arc_swap::ArcSwap;
use spiffe::TrustDomain;
use std::{future, mem, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time,
};
use trial::Trial;

/// Changes that a caller waits for: all of them are made, or none.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) commands: Vec<Task>,
    /// Whether they are only tried.
    pub(super) is_rehearsal: bool,
    /// Takes an answer for each command.
    pub(super) reply: oneshot::Sender<Vec<Answer>>,
}

/// One change, of a client or of a relationship.
#[derive(Clone, Debug)]
pub(super) enum Task {
    Client(Command),
    Relationship(RelationshipCommand),
}

/// One change of the relationship with a foreign trust domain.
#[derive(Clone, Debug)]
pub struct RelationshipCommand {
    /// The foreign trust domain.
    pub trust_domain: TrustDomain,
    /// What is done to it.
    pub change: RelationshipChange,
    /// By whom.
    pub actor: Actor,
    /// Why.
    pub reason: Reason,
}

/// What is to be done to a relationship.
#[derive(Clone, Debug)]
pub enum RelationshipChange {
    /// Proposes it, or puts it in force; in place of one that is there, where `replaces`.
    Add {
        /// Where the bundle comes from.
        endpoint: Box<EndpointDraft>,
        /// Whether there may be one already.
        replaces: bool,
    },
    /// Ends it.
    Remove,
    /// Somebody's word about what awaits approval, by the digest that was shown.
    Decide(Digest, Verdict),
}

/// One change, and whose it is.
#[derive(Clone, Debug)]
pub struct Command {
    /// The client.
    pub name: ClientName,
    /// What is done to it.
    pub change: Change,
    /// By whom.
    pub actor: Actor,
    /// Why.
    pub reason: Reason,
}

/// What is to be done to a client.
#[derive(Clone, Debug)]
pub enum Change {
    /// Takes the name and proposes, or puts in force, the first version.
    Register(Box<ClientDraft>),
    /// The next version; with the version that must be in force or pending, if any.
    Update(Box<ClientDraft>, Option<u64>),
    /// The next version after this one, which must be the last, whatever became of it.
    Follow(Box<ClientDraft>, u64),
    /// Suspends, revokes, or resumes; the last may have to be approved.
    Stand(Standing),
    /// Somebody's word about what awaits approval, and the digest that was shown.
    Decide(Subject, Digest, Verdict),
}

pub(super) type Answer = Result<Outcome, RegistryError>;

/// Makes all changes of the registry while it runs.
#[derive(Debug)]
pub struct RegistryWriter {
    store: Arc<dyn Store>,
    stored: watch::Receiver<u64>,
    config: RegistryConfig,
    clock: SharedClock,
    commands: mpsc::Receiver<Order>,
    published: Arc<Published>,
    told: Arc<Told>,
    book: Book,
    expiries: Expiries,
}

impl RegistryWriter {
    pub(super) async fn open(
        store: Arc<dyn Store>,
        config: RegistryConfig,
        clock: SharedClock,
        commands: mpsc::Receiver<Order>,
    ) -> Result<Self, RegistryError> {
        let book = Book::new(config.rules.trust_domain.clone());
        let snapshot = Arc::new(Snapshot::new(book.clone(), Arc::clone(&clock), 0));
        let mut writer = Self {
            stored: store.changes(),
            store,
            config,
            commands,
            published: Arc::new(Published {
                snapshot: ArcSwap::new(snapshot),
                changes: watch::Sender::new(0),
            }),
            told: Arc::new(Told::new(0)),
            book,
            expiries: Expiries::new(clock.now()),
            clock,
        };
        writer.read_on().await?;
        writer.told = Arc::new(Told::new(writer.book.revision()));
        writer.publish();
        Ok(writer)
    }

    pub(super) fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published)
    }

    /// What is there already is told.
    pub(super) fn told(&self) -> Arc<Told> {
        Arc::clone(&self.told)
    }

    /// Carries out changes until every [`Registry`] handle is dropped.
    ///
    /// [`Registry`]: super::Registry
    pub async fn run(mut self) {
        let mut taken = Vec::new();
        loop {
            let wait = self.expiries.wait(self.clock.now());
            tokio::select! {
                count = self.commands.recv_many(&mut taken, limits::COMMANDS_PER_COMMIT) => {
                    if count == 0 {
                        return;
                    }
                    self.carry_out(mem::take(&mut taken)).await;
                }
                Ok(()) = self.stored.changed() => self.follow().await,
                () = pause(wait) => {}
            }
            if self.expiries.have_passed(self.clock.now()) {
                self.publish();
            }
        }
    }

    /// Shows readers the book as it is.
    fn publish(&self) {
        let generation = *self.published.changes.borrow() + 1;
        let snapshot = Snapshot::new(self.book.clone(), Arc::clone(&self.clock), generation);
        self.published.snapshot.store(Arc::new(snapshot));
        self.published.changes.send_replace(generation);
    }

    fn publish_news(&self) {
        if self.published.snapshot.load().revision() != self.book.revision() {
            self.publish();
        }
    }

    /// Applies what the store holds beyond the book.
    async fn read_on(&mut self) -> Result<(), RegistryError> {
        let mut interned = Interned::default();
        loop {
            let after = self.book.revision();
            let records = self.store.read(after, limits::RECORDS_PER_READ).await?;
            if records.is_empty() {
                return Ok(());
            }
            for record in records {
                if let Outcome::Client(applied) = self.book.apply(&record, &mut interned)? {
                    self.expiries.replace(&applied);
                }
            }
        }
    }

    /// Whether the store has told of records that the book lacks.
    fn is_behind(&mut self) -> bool {
        *self.stored.borrow_and_update() > self.book.revision()
    }

    /// Serves what another writer has left in the store.
    async fn follow(&mut self) {
        if self.is_behind() {
            self.read_on_or_report().await;
            self.publish_news();
        }
    }

    async fn read_on_or_report(&mut self) {
        if let Err(error) = self.read_on().await {
            tracing::error!(%error, "the registry's store has news that cannot be read");
        }
    }

    /// Makes all that can be made of `orders` durable, publishes it, and answers.
    async fn carry_out(&mut self, mut orders: Vec<Order>) {
        // Whoever gave up before its turn has not been promised anything.
        orders.retain(|order| !order.reply.is_closed());
        let done = self.commit(&orders).await;
        self.publish_news();
        let failed = |error: RegistryError| {
            let answers = |order: &Order| vec![Err(error.clone()); order.commands.len()];
            orders.iter().map(answers).collect()
        };
        let answers = done.unwrap_or_else(failed);
        for (order, answers) in orders.into_iter().zip(answers) {
            if order.reply.send(answers).is_err() {
                tracing::debug!("nobody waits for the answer to a change any more");
            }
        }
    }

    /// One answer for each command of each order, or one error for all of them.
    async fn commit(&mut self, orders: &[Order]) -> Result<Vec<Vec<Answer>>, RegistryError> {
        let mut conflict = None;
        for _ in 0..limits::COMMIT_ATTEMPTS {
            if self.is_behind() || conflict.is_some() {
                self.read_on().await?;
            }
            let trial = Trial::run(&self.book, &self.config, self.clock.now(), orders);
            if trial.records.is_empty() {
                return Ok(trial.answers);
            }
            match self.store.append(trial.records).await {
                Ok(()) => {
                    self.book = trial.book;
                    trial
                        .applied
                        .iter()
                        .for_each(|applied| self.expiries.replace(applied));
                    return Ok(trial.answers);
                }
                Err(error @ StoreError::Conflict { .. }) => conflict = Some(error),
                Err(error) => {
                    let known = self.book.revision();
                    self.read_on_or_report().await;
                    // What was kept after all is in force, and who asked for it is told that it failed.
                    (known + 1..=self.book.revision())
                        .for_each(|revision| self.told.note_untold(revision));
                    return Err(error.into());
                }
            }
        }
        Err(conflict.map_or(RegistryError::Closed, RegistryError::from))
    }
}

/// Waits for that long, or for ever.
async fn pause(wait: Option<Duration>) {
    match wait {
        Some(wait) => time::sleep(wait).await,
        None => future::pending().await,
    }
}
