//! Changes tried on a copy of the book, before they are durable.
//!
//! A trial takes the commands of one commit in their order, and each sees what
//! those before it came to: of two that ask for one name, the second is refused.
//! An order of which a command is refused leaves no trace, and the others go on
//! without it; so does one that is a rehearsal.
//!
//! A command becomes a document, the document a record, and the record is applied
//! to the copy by the same code that applies what is read back after a restart.
//! So nothing can be made durable that a restart would not accept.

use super::{Answer, Change, Command, Order, RelationshipChange, RelationshipCommand, Task};
use crate::registry::{
    Applied, Client, ClientDraft, Digest, Pending, Proposal, RegistryConfig, RegistryError,
    Relationship, RelationshipFault, Standing, Subject, Verdict,
    book::{Book, Interned, Outcome},
    record::{
        DecisionDocument, Document, RelationshipDecisionDocument, RelationshipDocument, SealError,
        StateDocument, VersionDocument,
    },
    relationship,
    store::Record,
    wire,
};
use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// What a batch of commands comes to.
#[derive(Debug)]
pub(super) struct Trial {
    /// The book with every change that is allowed.
    pub(super) book: Book,
    /// The records of those changes, in their order.
    pub(super) records: Vec<Record>,
    /// What they did to clients, with the place of the record.
    pub(super) applied: Vec<Applied>,
    /// Answers for each order, one for each of its commands.
    pub(super) answers: Vec<Vec<Answer>>,
}

/// One command, and all that it is decided by.
struct Decision<'a> {
    book: &'a Book,
    config: &'a RegistryConfig,
    /// In whole seconds, as records have it.
    now: SystemTime,
    command: &'a Command,
}

impl Trial {
    /// Tries `orders` one after the other; each sees what those before it did.
    pub(super) fn run(
        book: &Book,
        config: &RegistryConfig,
        now: SystemTime,
        orders: &[Order],
    ) -> Self {
        let mut trial = Self {
            book: book.clone(),
            records: Vec::new(),
            applied: Vec::new(),
            answers: Vec::with_capacity(orders.len()),
        };
        let now = wire::whole_seconds(now).unwrap_or(UNIX_EPOCH);
        for order in orders {
            let answers = trial.take(order, config, now);
            trial.answers.push(answers);
        }
        trial
    }

    /// Tries all commands of an order, so that each has an answer, and keeps what they came to
    /// only where it is all of them.
    fn take(&mut self, order: &Order, config: &RegistryConfig, now: SystemTime) -> Vec<Answer> {
        // One command that is refused leaves nothing behind by itself.
        let may_go_back = order.is_rehearsal || order.commands.len() > 1;
        let before = may_go_back.then(|| self.book.clone());
        let (made, applied) = (self.records.len(), self.applied.len());
        let answers: Vec<_> = order
            .commands
            .iter()
            .map(|task| {
                let document = match task {
                    Task::Client(command) => Decision {
                        book: &self.book,
                        config,
                        now,
                        command,
                    }
                    .document(),
                    Task::Relationship(command) => related(&self.book, config, now, command),
                };
                document.and_then(|document| self.append(&document))
            })
            .collect();
        let is_kept = !order.is_rehearsal && answers.iter().all(Result::is_ok);
        if let Some(before) = before.filter(|_| !is_kept) {
            self.book = before;
            self.records.truncate(made);
            self.applied.truncate(applied);
        }
        answers
    }

    fn append(&mut self, document: &Document) -> Answer {
        let record = document.seal(self.book.revision() + 1)?;
        let outcome = self.book.apply(&record, &mut Interned::default())?;
        self.records.push(record);
        if let Outcome::Client(applied) = &outcome {
            self.applied.push(applied.clone());
        }
        Ok(outcome)
    }
}

/// The document that carries out a change of a relationship, where it is allowed.
fn related(
    book: &Book,
    config: &RegistryConfig,
    now: SystemTime,
    command: &RelationshipCommand,
) -> Result<Document, RegistryError> {
    let domain = &command.trust_domain;
    let refused = |fault| RegistryError::Relationship(domain.clone(), fault);
    let old = book.relationship(domain).map(|old| &**old);
    let (endpoint, approvals_required) = match &command.change {
        RelationshipChange::Add { endpoint, replaces } => {
            let is_counted = old.is_some_and(Relationship::is_removable);
            if !is_counted && book.is_full_of_relationships() {
                return Err(RegistryError::FullOfRelationships);
            }
            if let Some(fault) = old.and_then(|old| old.objection_to_version(*replaces)) {
                return Err(refused(fault));
            }
            let checked = (**endpoint)
                .clone()
                .check(domain, &config.rules.trust_domain);
            checked.map_err(|error| refused(error.into()))?;
            (Some((**endpoint).clone()), config.approvals_required)
        }
        RelationshipChange::Remove if !old.is_some_and(Relationship::is_removable) => {
            return Err(refused(RelationshipFault::NotFederated));
        }
        RelationshipChange::Remove if command.reason.is_blank() => {
            return Err(RegistryError::ReasonMissing);
        }
        RelationshipChange::Remove => (None, 0),
        RelationshipChange::Decide(digest, verdict) => {
            let decided = decided(old, (*digest, *verdict), now, command);
            return decided.map_err(refused);
        }
    };
    let last = old.map(Relationship::last);
    Ok(Document::Relationship(RelationshipDocument {
        trust_domain: domain.clone(),
        number: last.map_or(0, |(number, _)| number) + 1,
        previous: last.map(|(_, digest)| digest),
        author: command.actor.clone(),
        login: command.actor.login(),
        uid: command.actor.uid(),
        at: now,
        reason: command.reason.clone(),
        approvals_required,
        own: config.rules.trust_domain.clone(),
        endpoint,
    }))
}

/// Somebody's word about what awaits approval, where it counts.
fn decided(
    old: Option<&Relationship>,
    (digest, verdict): (Digest, Verdict),
    now: SystemTime,
    command: &RelationshipCommand,
) -> Result<Document, RelationshipFault> {
    let old = old.ok_or(RelationshipFault::NotPending)?;
    let about = (digest, verdict);
    match relationship::objection(old, about, &command.actor, &command.reason) {
        Some(fault) => Err(fault),
        None => Ok(Document::RelationshipDecision(
            RelationshipDecisionDocument {
                trust_domain: command.trust_domain.clone(),
                number: old.last().0 + 1,
                previous: Some(old.last().1),
                digest,
                verdict,
                author: command.actor.clone(),
                login: command.actor.login(),
                uid: command.actor.uid(),
                at: now,
                reason: command.reason.clone(),
            },
        )),
    }
}

impl Decision<'_> {
    /// The document that carries the command out, where it is allowed.
    fn document(&self) -> Result<Document, RegistryError> {
        match &self.command.change {
            Change::Register(draft) => self.registration(draft),
            Change::Update(draft, expected) => self.update(draft, *expected),
            Change::Follow(draft, last) => self.follow(draft, *last),
            Change::Stand(to) => self.state(*to),
            Change::Decide(about, digest, verdict) => self.decision(*about, *digest, *verdict),
        }
    }

    fn registration(&self, draft: &ClientDraft) -> Result<Document, RegistryError> {
        let name = &self.command.name;
        if self.book.client(name).is_some() {
            return Err(RegistryError::NameTaken(name.clone()));
        }
        let limit = self.config.max_clients;
        if self.book.len() >= limit {
            return Err(RegistryError::Full { limit });
        }
        self.version(draft, None)
    }

    fn update(
        &self,
        draft: &ClientDraft,
        expected: Option<u64>,
    ) -> Result<Document, RegistryError> {
        let client = self.known()?;
        if client.standing() == Standing::Revoked {
            return Err(wrong_state(client, "updated"));
        }
        let in_force = client.version().number;
        let pending = client.pending().map(|pending| pending.what.number);
        match expected {
            Some(expected) if expected != in_force && Some(expected) != pending => {
                Err(RegistryError::VersionMismatch {
                    name: client.name().clone(),
                    expected,
                    in_force,
                })
            }
            _ => self.version(draft, Some(client)),
        }
    }

    fn follow(&self, draft: &ClientDraft, expected: u64) -> Result<Document, RegistryError> {
        let client = self.known()?;
        let last = client.last_version().number;
        if last != expected {
            return Err(RegistryError::NotTheLast {
                name: client.name().clone(),
                expected,
                last,
            });
        }
        self.update(draft, None)
    }

    fn version(
        &self,
        draft: &ClientDraft,
        last: Option<&Client>,
    ) -> Result<Document, RegistryError> {
        let name = &self.command.name;
        let spec = draft.check(name, &self.config.rules, self.now)?;
        let owner = self.book.owner(spec.spiffe_id());
        if let Some(owner) = owner.filter(|owner| *owner != name) {
            return Err(RegistryError::IdTaken {
                id: spec.spiffe_id().clone(),
                owner: owner.clone(),
            });
        }
        let last = last.map(Client::last_version);
        Ok(Document::Version(VersionDocument {
            client: name.clone(),
            number: last.map_or(0, |version| version.number) + 1,
            previous: last.map(|version| version.digest),
            author: self.command.actor.clone(),
            at: self.now,
            reason: self.command.reason.clone(),
            login: self.command.actor.login(),
            uid: self.command.actor.uid(),
            approvals_required: self.config.approvals_required,
            spec: spec.into(),
        }))
    }

    fn state(&self, to: Standing) -> Result<Document, RegistryError> {
        let client = self.known()?;
        if !client.may_become(to) {
            return Err(wrong_state(client, participle(to)));
        }
        let approvals_required = match to {
            Standing::Active => self.config.approvals_required,
            _ => 0,
        };
        // Proposed anew it would lose the approvals that it has.
        if let Some(pending) = client
            .pending_resumption()
            .filter(|_| approvals_required != 0)
        {
            return Err(RegistryError::OtherPending {
                name: client.name().clone(),
                pending: pending.what.subject(),
                digest: pending.what.digest,
            });
        }
        if to.needs_reason() && self.command.reason.is_blank() {
            return Err(RegistryError::ReasonMissing);
        }
        let last = client.last_change();
        Ok(Document::State(StateDocument {
            client: client.name().clone(),
            number: last.map_or(0, |change| change.number) + 1,
            previous: last.map(|change| change.digest),
            author: self.command.actor.clone(),
            at: self.now,
            reason: self.command.reason.clone(),
            login: self.command.actor.login(),
            uid: self.command.actor.uid(),
            approvals_required,
            to,
        }))
    }

    fn decision(
        &self,
        about: Subject,
        digest: Digest,
        verdict: Verdict,
    ) -> Result<Document, RegistryError> {
        let client = self.known()?;
        match about {
            Subject::Version(_) => self.check_decision(client.pending(), about, digest, verdict)?,
            Subject::State(_) => {
                self.check_decision(client.pending_resumption(), about, digest, verdict)?;
            }
        }
        let last = client.last_decision();
        Ok(Document::Decision(DecisionDocument {
            client: client.name().clone(),
            number: last.map_or(0, |(number, _)| number) + 1,
            previous: last.map(|(_, digest)| digest),
            about,
            digest,
            verdict,
            author: self.command.actor.clone(),
            login: self.command.actor.login(),
            uid: self.command.actor.uid(),
            at: self.now,
            reason: self.command.reason.clone(),
        }))
    }

    fn check_decision<T: Proposal>(
        &self,
        pending: Option<&Pending<T>>,
        about: Subject,
        digest: Digest,
        verdict: Verdict,
    ) -> Result<(), RegistryError> {
        let name = || self.command.name.clone();
        let Some(pending) = pending else {
            return Err(RegistryError::NotPending {
                name: name(),
                about,
            });
        };
        if !pending.is(about, digest) {
            return Err(RegistryError::OtherPending {
                name: name(),
                pending: pending.what.subject(),
                digest: pending.what.digest(),
            });
        }
        match pending.objection(verdict, &self.command.actor, &self.command.reason) {
            Some(bar) => Err(RegistryError::Barred(name(), bar)),
            None => Ok(()),
        }
    }

    fn known(&self) -> Result<&Client, RegistryError> {
        let name = &self.command.name;
        let client = self.book.client(name).map(Arc::as_ref);
        client.ok_or_else(|| RegistryError::NotFound(name.clone()))
    }
}

fn wrong_state(client: &Client, verb: &'static str) -> RegistryError {
    RegistryError::WrongState {
        name: client.name().clone(),
        verb,
        state: client.standing().into(),
    }
}

/// What is done to a client that gets this standing.
const fn participle(to: Standing) -> &'static str {
    match to {
        Standing::New | Standing::Active => "resumed",
        Standing::Suspended => "suspended",
        Standing::Revoked => "revoked",
    }
}

impl From<SealError> for RegistryError {
    fn from(error: SealError) -> Self {
        match error {
            SealError::Canonical(error) => Self::Canonical(Arc::new(error)),
            SealError::Spec(error) => Self::Spec(error),
        }
    }
}
