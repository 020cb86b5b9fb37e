//! All that was ever done to one client, from its stored records.
//!
//! The book holds what is in force and what awaits approval, and of everything
//! else only where it stands in the log. So a history is read from the store,
//! some records at a time, and each is applied anew by the rules that hold for
//! all records: what is shown of an old version is what it came to then.

use super::{
    Applied, AppliedRelationship, Client, ClientName, ClientVersion, Effect, Registry,
    RegistryError, Relationship, Subject, Verdict, limits,
    record::{Document, RecordError, RecordFault, Whose},
    relationship,
    store::{Record, Store},
    transition::{self, ClientDocument},
};
use spiffe::TrustDomain;
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

/// What kind of record it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Deed {
    /// A version was made.
    Version(u64),
    /// The state was changed, or a resumption proposed.
    State(u64),
    /// Somebody said a word about what awaited approval.
    Decision(Subject, Verdict),
}

/// One record of a client, and what came of it.
#[derive(Clone, Debug)]
pub struct HistoryEntry {
    /// Its place in the log.
    pub revision: u64,
    /// What was done.
    pub deed: Deed,
    /// By whom.
    pub author: super::Actor,
    /// When.
    pub at: std::time::SystemTime,
    /// Why; may be empty.
    pub reason: super::Reason,
    /// The record's digest.
    pub digest: super::Digest,
    /// The client before and after.
    pub applied: Applied,
}

/// What kind of record of a relationship it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RelationshipDeed {
    /// A version was made.
    Version,
    /// The relationship was removed.
    Removal,
    /// Somebody said a word about what awaited approval.
    Decision(Verdict),
}

/// One record of a relationship, and what came of it.
#[derive(Clone, Debug)]
pub struct RelationshipEntry {
    /// What was done.
    pub deed: RelationshipDeed,
    /// By whom.
    pub author: super::Actor,
    /// Why; may be empty.
    pub reason: super::Reason,
    /// The relationship before and after.
    pub applied: AppliedRelationship,
}

/// One record of the store, and what came of it.
#[derive(Clone, Debug)]
pub enum StoreEntry {
    /// Of a client.
    Client(HistoryEntry),
    /// Of a relationship with a foreign trust domain.
    Relationship(RelationshipEntry),
}

impl StoreEntry {
    /// The record's place in the log.
    #[must_use]
    pub fn revision(&self) -> u64 {
        match self {
            Self::Client(entry) => entry.revision,
            Self::Relationship(entry) => entry.applied.new.revision(),
        }
    }
}

/// Reads the records of one client, oldest first.
#[derive(Debug)]
pub struct History {
    store: Arc<dyn Store>,
    trust_domain: TrustDomain,
    revisions: VecDeque<u64>,
    read: VecDeque<Record>,
    client: Option<Arc<Client>>,
}

impl Registry {
    /// The history of a client, as of now.
    ///
    /// # Errors
    /// Where there is no such client.
    pub fn history(&self, name: &ClientName) -> Result<History, RegistryError> {
        let snapshot = self.snapshot();
        let client = snapshot.client(name);
        let client = client.ok_or_else(|| RegistryError::NotFound(name.clone()))?;
        Ok(History {
            store: Arc::clone(&self.store),
            trust_domain: client.spec().spiffe_id().trust_domain().clone(),
            revisions: client.revisions().collect(),
            read: VecDeque::new(),
            client: None,
        })
    }

    /// All records after this revision, of clients and of relationships, in their order.
    ///
    /// # Errors
    /// Where the store cannot be read, or holds something else than what was served.
    pub async fn entries_after(&self, revision: u64) -> Result<Vec<StoreEntry>, RegistryError> {
        let (mut names, mut last) = (BTreeSet::new(), revision);
        let mut domains = Vec::new();
        loop {
            let records = self.store.read(last, limits::RECORDS_PER_READ).await?;
            let Some(newest) = records.last() else { break };
            last = newest.revision;
            for record in &records {
                let document = Document::open(record)
                    .map_err(|fault| RecordError::new(record.revision, fault, &record.document))?;
                match document.whose() {
                    Whose::Client(name) => drop(names.insert(name.clone())),
                    Whose::TrustDomain(domain) if domains.contains(domain) => {}
                    Whose::TrustDomain(domain) => domains.push(domain.clone()),
                }
            }
        }
        let mut entries = Vec::new();
        for name in names {
            let mut history = self.history(&name)?;
            while let Some(entry) = history.next().await? {
                entries.push(StoreEntry::Client(entry));
            }
        }
        for domain in domains {
            let all = self.entries_of(&domain).await?;
            entries.extend(all.into_iter().map(StoreEntry::Relationship));
        }
        entries.retain(|entry| entry.revision() > revision);
        entries.sort_unstable_by_key(StoreEntry::revision);
        Ok(entries)
    }

    /// All records of the relationship with a foreign trust domain, oldest first.
    async fn entries_of(
        &self,
        domain: &TrustDomain,
    ) -> Result<Vec<RelationshipEntry>, RegistryError> {
        let snapshot = self.snapshot();
        let Some(last) = snapshot.relationship(domain) else {
            return Ok(Vec::new());
        };
        let mut left: Vec<u64> = last.revisions().collect();
        let mut entries = Vec::new();
        let mut before: Option<Arc<Relationship>> = None;
        while !left.is_empty() {
            let some = left.iter().take(limits::RECORDS_PER_PAGE);
            let read = self.store.get(some.copied().collect()).await?;
            left.drain(..read.len().min(left.len()));
            for record in read {
                let entry = related(before.take(), &record);
                let entry = entry
                    .map_err(|fault| RecordError::new(record.revision, fault, &record.document))?;
                before = Some(Arc::clone(&entry.applied.new));
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    /// An earlier version, or the one in force, to be put in force again.
    ///
    /// # Errors
    /// Where there is no such client or version, or it was never in force.
    pub async fn past_version(
        &self,
        name: &ClientName,
        number: u64,
    ) -> Result<Arc<ClientVersion>, RegistryError> {
        let mut history = self.history(name)?;
        let mut is_known = false;
        while let Some(entry) = history.next().await? {
            is_known |= entry.deed == Deed::Version(number);
            let client = &entry.applied.new;
            if client.has_version_in_force() && client.version().number == number {
                return Ok(Arc::clone(&client.version));
            }
        }
        let error = match is_known {
            true => RegistryError::NeverInForce,
            false => RegistryError::NoVersion,
        };
        Err(error(name.clone(), number))
    }
}

/// One record of a relationship, and what came of it.
fn related(
    old: Option<Arc<Relationship>>,
    record: &Record,
) -> Result<RelationshipEntry, RecordFault> {
    let (deed, author, reason, changed) = match Document::open(record)? {
        Document::Relationship(document) => {
            let deed = match document.endpoint {
                Some(_) => RelationshipDeed::Version,
                None => RelationshipDeed::Removal,
            };
            let (author, reason) = (document.author(), document.reason.clone());
            let own = document.own.clone();
            let changed = relationship::version(old.as_deref(), record, document, &own)?;
            (deed, author, reason, changed)
        }
        Document::RelationshipDecision(document) => {
            let deed = RelationshipDeed::Decision(document.verdict);
            let (author, reason) = (document.author(), document.reason.clone());
            let changed = relationship::decision(old.as_deref(), record, document)?;
            (deed, author, reason, changed)
        }
        other => return Err(misplaced(&other)),
    };
    let (new, effect) = changed;
    Ok(RelationshipEntry {
        deed,
        author,
        reason,
        applied: AppliedRelationship {
            old,
            new: Arc::new(new),
            effect,
        },
    })
}

/// A record of something else than the store said: it is not what was served.
fn misplaced(document: &Document) -> RecordFault {
    match document.whose() {
        Whose::Client(name) => RecordFault::Chain(name.clone()),
        Whose::TrustDomain(domain) => {
            RecordFault::Relationship(domain.clone(), relationship::RelationshipFault::Chain)
        }
    }
}

impl History {
    /// The next record, and what came of it; `None` after the last.
    ///
    /// # Errors
    /// Where the store cannot be read, or holds something else than what was served.
    pub async fn next(&mut self) -> Result<Option<HistoryEntry>, RegistryError> {
        if self.read.is_empty() && !self.revisions.is_empty() {
            let some = self.revisions.iter().take(limits::RECORDS_PER_PAGE);
            let read = self.store.get(some.copied().collect()).await?;
            self.revisions.drain(..read.len().min(self.revisions.len()));
            self.read = read.into();
        }
        let Some(record) = self.read.pop_front() else {
            return Ok(None);
        };
        let entry = self
            .entry(&record)
            .map_err(|fault| RecordError::new(record.revision, fault, &record.document))?;
        self.client = Some(Arc::clone(&entry.applied.new));
        Ok(Some(entry))
    }

    fn entry(&self, record: &Record) -> Result<HistoryEntry, RecordFault> {
        let document = match Document::open(record)? {
            Document::Version(document) => ClientDocument::Version(document),
            Document::State(document) => ClientDocument::State(document),
            Document::Decision(document) => ClientDocument::Decision(document),
            other => return Err(misplaced(&other)),
        };
        let (deed, author, at, reason) = match &document {
            ClientDocument::Version(d) => {
                (Deed::Version(d.number), d.author(), d.at, d.reason.clone())
            }
            ClientDocument::State(d) => (Deed::State(d.number), d.author(), d.at, d.reason.clone()),
            ClientDocument::Decision(d) => {
                let deed = Deed::Decision(d.about, d.verdict);
                (deed, d.author(), d.at, d.reason.clone())
            }
        };
        let old = self.client.clone();
        let (client, effect): (Client, Effect) =
            transition::apply(old.as_deref(), record, document, &self.trust_domain)?;
        Ok(HistoryEntry {
            revision: record.revision,
            deed,
            author,
            at,
            reason,
            digest: record.digest,
            applied: Applied {
                old,
                new: Arc::new(client),
                effect,
            },
        })
    }
}
