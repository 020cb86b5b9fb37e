//! What the records come to: clients, who owns which SPIFFE ID, and the index.
//!
//! A book is made by applying every record of the store in order, and in no
//! other way: what an agent serves after a restart is what it served before. A
//! copy is cheap, so the writer tries changes on a copy and throws it away
//! where they cannot be made durable.

use super::{
    Actor, Audience, Client, ClientName, ClientVersion, Owner, Standing, StateChange,
    record::{Document, RecordError, RecordFault, StateDocument, VersionDocument},
    snapshot::{ByName, Index, Shards},
    spec::DEFAULT_PATH,
    store::Record,
};
use spiffe::{SpiffeId, TrustDomain};
use std::{collections::HashSet, hash::Hash, sync::Arc};
use symbolon_attestors::{Kinds, Selector};

/// All clients at one revision of the store.
#[derive(Clone, Debug)]
pub(super) struct Book {
    trust_domain: TrustDomain,
    revision: u64,
    clients: ByName,
    /// Whose each path is that is not its owner's default one; nothing is ever taken out.
    owners: Shards<Arc<str>, ClientName>,
    index: Index,
}

/// Texts that many registrations repeat, held once; only while the store is loaded.
#[derive(Debug, Default)]
pub(super) struct Interned {
    selectors: HashSet<Selector>,
    owners: HashSet<Owner>,
    actors: HashSet<Actor>,
    audiences: HashSet<Audience>,
}

impl Book {
    /// A book without clients, at revision 0.
    pub(super) fn new(trust_domain: TrustDomain) -> Self {
        Self {
            trust_domain,
            revision: 0,
            clients: ByName::default(),
            owners: Shards::new(),
            index: Index::new(),
        }
    }

    pub(super) const fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) const fn len(&self) -> usize {
        self.clients.len()
    }

    pub(super) fn client(&self, name: &ClientName) -> Option<&Arc<Client>> {
        self.clients.find(name.as_str())
    }

    pub(super) fn after(&self, name: Option<&ClientName>) -> impl Iterator<Item = &Arc<Client>> {
        self.clients.after(name)
    }

    /// Whose `id` is, and will be for ever; a client's default ID is its own, used or not.
    pub(super) fn owner(&self, id: &SpiffeId) -> Option<&ClientName> {
        if !id.is_member_of(&self.trust_domain) {
            return None;
        }
        self.owners.find(id.path()).or_else(|| {
            let name = id.path().strip_prefix(DEFAULT_PATH)?;
            self.clients.find(name).map(|client| client.name())
        })
    }

    /// The clients in good standing that fit, whether expired or not.
    pub(super) fn matching(&self, present: &[Selector]) -> Vec<Arc<Client>> {
        self.index.matching(present)
    }

    /// The attestors that have to be asked for any client in good standing, expired or not.
    pub(super) fn wanted(&self, present: &[Selector]) -> Kinds {
        self.index.wanted(present)
    }

    /// Applies the record that follows; says what the client was before, and what it is now.
    pub(super) fn apply(
        &mut self,
        record: &Record,
        interned: &mut Interned,
    ) -> Result<Applied, RecordError> {
        let revision = record.revision;
        self.try_apply(record, interned)
            .map_err(|fault| RecordError { revision, fault })
    }

    fn try_apply(
        &mut self,
        record: &Record,
        interned: &mut Interned,
    ) -> Result<Applied, RecordFault> {
        if record.revision != self.revision + 1 {
            return Err(RecordFault::Gap(self.revision));
        }
        let client = match Document::open(record)? {
            Document::Version(mut document) => {
                interned.share(&mut document);
                self.with_version(record, document)?
            }
            Document::State(document) => self.with_state(record, document)?,
        };
        self.revision = record.revision;
        Ok(self.replace(client))
    }

    fn with_version(
        &self,
        record: &Record,
        document: VersionDocument,
    ) -> Result<Client, RecordFault> {
        let VersionDocument {
            client: name,
            number,
            previous,
            author,
            at,
            reason,
            spec,
        } = document;
        let old = self.clients.find(name.as_str());
        let last = old.map(|client| client.version());
        if number != last.map_or(0, |version| version.number) + 1
            || previous != last.map(|version| version.digest)
        {
            return Err(RecordFault::Chain(name));
        }
        if old.is_some_and(|client| client.standing() == Standing::Revoked) {
            return Err(RecordFault::Standing(name));
        }
        let spec = spec.check(&self.trust_domain)?;
        if let Some(owner) = self.owner(spec.spiffe_id()).filter(|owner| **owner != name) {
            return Err(RecordFault::ForeignId(owner.clone()));
        }
        let digest = record.digest;
        let version = ClientVersion {
            number,
            digest,
            previous,
            author,
            at,
            reason,
            spec,
        };
        Ok(Client {
            ordinal: old.map_or(record.revision, |client| client.ordinal),
            created_at: old.map_or(at, |client| client.created_at),
            change: old.and_then(|client| client.change.clone()),
            version: Arc::new(version),
            name,
        })
    }

    fn with_state(&self, record: &Record, document: StateDocument) -> Result<Client, RecordFault> {
        let StateDocument {
            client: name,
            number,
            previous,
            author,
            at,
            reason,
            to,
        } = document;
        let Some(old) = self.clients.find(name.as_str()) else {
            return Err(RecordFault::Chain(name));
        };
        let last = old.state_change();
        if number != last.map_or(0, |change| change.number) + 1
            || previous != last.map(|change| change.digest)
        {
            return Err(RecordFault::Chain(name));
        }
        if !old.standing().may_become(to) || (to.needs_reason() && reason.is_blank()) {
            return Err(RecordFault::Standing(name));
        }
        let digest = record.digest;
        let change = StateChange {
            number,
            digest,
            previous,
            author,
            at,
            reason,
            to,
        };
        Ok(Client {
            change: Some(Arc::new(change)),
            ..Client::clone(old)
        })
    }

    fn replace(&mut self, client: Client) -> Applied {
        let new = Arc::new(client);
        let old = self.clients.find(new.name.as_str()).cloned();
        if let Some(old) = old
            .as_deref()
            .filter(|old| old.standing() == Standing::Active)
        {
            self.index.remove(old);
        }
        if new.standing() == Standing::Active {
            self.index.add(&new);
        }
        self.clients.insert(Arc::clone(&new));
        let id = new.spec().spiffe_id();
        if self.owner(id).is_none() {
            self.owners.insert(id.path().into(), new.name.clone());
        }
        Applied { old, new }
    }
}

/// What a record did.
#[derive(Debug)]
pub(super) struct Applied {
    /// The client before; `None` where it is new.
    pub(super) old: Option<Arc<Client>>,
    /// The client now.
    pub(super) new: Arc<Client>,
}

impl Interned {
    fn share(&mut self, document: &mut VersionDocument) {
        share(&mut self.actors, &mut document.author);
        share(&mut self.owners, &mut document.spec.owner);
        for audience in &mut document.spec.audiences {
            share(&mut self.audiences, audience);
        }
        for selector in document.spec.selectors_mut() {
            share(&mut self.selectors, selector);
        }
    }
}

fn share<T: Clone + Eq + Hash>(known: &mut HashSet<T>, item: &mut T) {
    if let Some(first) = known.get(item) {
        *item = first.clone();
    } else {
        known.insert(item.clone());
    }
}
