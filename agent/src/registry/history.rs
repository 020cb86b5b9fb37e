//! All that was ever done to one client, from its stored records.
//!
//! The book holds what is in force and what awaits approval, and of everything
//! else only where it stands in the log. So a history is read from the store,
//! some records at a time, and each is applied anew by the rules that hold for
//! all records: what is shown of an old version is what it came to then.

use super::{
    Applied, Client, ClientName, ClientVersion, Effect, Registry, RegistryError, Subject, Verdict,
    limits,
    record::{Document, RecordError},
    store::{Record, Store},
    transition,
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

    /// All records after this revision, of any client, in their order.
    ///
    /// # Errors
    /// Where the store cannot be read, or holds something else than what was served.
    pub async fn entries_after(&self, revision: u64) -> Result<Vec<HistoryEntry>, RegistryError> {
        let (mut names, mut last) = (BTreeSet::new(), revision);
        loop {
            let records = self.store.read(last, limits::RECORDS_PER_READ).await?;
            let Some(newest) = records.last() else { break };
            last = newest.revision;
            for record in &records {
                let document = Document::open(record)
                    .map_err(|fault| RecordError::new(record.revision, fault, &record.document))?;
                names.insert(document.client().clone());
            }
        }
        let mut entries = Vec::new();
        for name in names {
            let mut history = self.history(&name)?;
            while let Some(entry) = history.next().await? {
                if entry.revision > revision {
                    entries.push(entry);
                }
            }
        }
        entries.sort_unstable_by_key(|entry| entry.revision);
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

    fn entry(&self, record: &Record) -> Result<HistoryEntry, super::RecordFault> {
        let document = Document::open(record)?;
        let (deed, author, at, reason) = match &document {
            Document::Version(d) => (Deed::Version(d.number), d.author(), d.at, d.reason.clone()),
            Document::State(d) => (Deed::State(d.number), d.author(), d.at, d.reason.clone()),
            Document::Decision(d) => {
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
