//! What the records come to: clients, who owns which SPIFFE ID, and the index.
//!
//! A book is made by applying every record of the store in order, and in no
//! other way: what an agent serves after a restart is what it served before. A
//! copy is cheap, so the writer tries changes on a copy and throws it away
//! where they cannot be made durable.

use super::{
    Actor, AppliedRelationship, Audience, Client, ClientName, ClientVersion, Digest, Effect, Owner,
    Proposal as _, Relationship, Standing, StateChange, Subject, limits,
    record::{Document, RecordError, RecordFault, VersionDocument},
    relationship,
    snapshot::{ByName, Index, Shards},
    spec::DEFAULT_PATH,
    store::Record,
    transition::{self, ClientDocument},
};
use spiffe::{SpiffeId, TrustDomain};
use std::{
    collections::{BTreeMap, HashSet},
    hash::Hash,
    sync::Arc,
};
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
    /// What is decided about foreign trust domains; few.
    relationships: Arc<BTreeMap<TrustDomain, Arc<Relationship>>>,
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
            relationships: Arc::default(),
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

    /// The relationship with a foreign trust domain, if there ever was one.
    pub(super) fn relationship(&self, domain: &TrustDomain) -> Option<&Arc<Relationship>> {
        self.relationships.get(domain)
    }

    /// The relationships with foreign trust domains, by name.
    pub(super) fn relationships(&self) -> impl Iterator<Item = &Arc<Relationship>> {
        self.relationships.values()
    }

    /// Whether as many trust domains as may be have a relationship that is in force or proposed.
    pub(super) fn is_full_of_relationships(&self) -> bool {
        let all = self.relationships.values();
        let alive = all.filter(|relationship| relationship.is_removable());
        alive.count() >= limits::RELATIONSHIPS
    }

    /// Applies the record that follows; says what it is about was before, and what it is now.
    pub(super) fn apply(
        &mut self,
        record: &Record,
        interned: &mut Interned,
    ) -> Result<Outcome, RecordError> {
        let revision = record.revision;
        self.try_apply(record, interned)
            .map_err(|fault| RecordError::new(revision, fault, &record.document))
    }

    /// Goes on behind a record that cannot be believed, as if it were not there.
    pub(super) const fn pass_over(&mut self, revision: u64) {
        self.revision = revision;
    }

    fn try_apply(
        &mut self,
        record: &Record,
        interned: &mut Interned,
    ) -> Result<Outcome, RecordFault> {
        if record.revision != self.revision + 1 {
            return Err(RecordFault::Gap(self.revision));
        }
        let outcome = match Document::open(record)? {
            Document::Version(mut document) => {
                interned.share(&mut document);
                self.apply_to_client(record, ClientDocument::Version(document))?
            }
            Document::State(document) => {
                self.apply_to_client(record, ClientDocument::State(document))?
            }
            Document::Decision(document) => {
                self.apply_to_client(record, ClientDocument::Decision(document))?
            }
            Document::Relationship(document) => {
                let old = self.relationships.get(&document.trust_domain).cloned();
                let changed =
                    relationship::version(old.as_deref(), record, document, &self.trust_domain)?;
                self.relate(old, changed)
            }
            Document::RelationshipDecision(document) => {
                let old = self.relationships.get(&document.trust_domain).cloned();
                let changed = relationship::decision(old.as_deref(), record, document)?;
                self.relate(old, changed)
            }
        };
        self.revision = record.revision;
        Ok(outcome)
    }

    fn relate(
        &mut self,
        old: Option<Arc<Relationship>>,
        (new, effect): (Relationship, Effect),
    ) -> Outcome {
        let new = Arc::new(new);
        let all = Arc::make_mut(&mut self.relationships);
        all.insert(new.trust_domain().clone(), Arc::clone(&new));
        Outcome::Relationship(AppliedRelationship { old, new, effect })
    }

    fn apply_to_client(
        &mut self,
        record: &Record,
        document: ClientDocument,
    ) -> Result<Outcome, RecordFault> {
        let old = self.clients.find(document.client().as_str());
        let old = old.map(|client| &**client);
        let (client, effect) = transition::apply(old, record, document, &self.trust_domain)?;
        let id = client.last_version().spec.spiffe_id();
        if let Some(owner) = self.owner(id).filter(|owner| *owner != client.name()) {
            return Err(RecordFault::ForeignId(owner.clone()));
        }
        Ok(Outcome::Client(self.replace(client, effect)))
    }

    fn replace(&mut self, client: Client, effect: Effect) -> Applied {
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
        // Of what is only proposed too, so that its approval cannot come too late.
        let id = new.last_version().spec.spiffe_id();
        if self.owner(id).is_none() {
            self.owners.insert(id.path().into(), new.name.clone());
        }
        Applied { old, new, effect }
    }
}

/// What a record did, and to what.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// To a client.
    Client(Applied),
    /// To the relationship with a foreign trust domain.
    Relationship(AppliedRelationship),
}

/// What a record did to a client.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The client before; `None` where it is new.
    pub old: Option<Arc<Client>>,
    /// The client now.
    pub new: Arc<Client>,
    /// What came of the record.
    pub effect: Effect,
}

impl Applied {
    /// What awaited approval before and is void now, though nobody decided about it.
    pub fn voided(&self) -> impl Iterator<Item = (Subject, Digest)> {
        let old = self.old.as_deref();
        let version = old.and_then(Client::pending).map(|pending| &*pending.what);
        let version = version.filter(|version| {
            let is_it = |other: &ClientVersion| other.number == version.number;
            let pending = self.new.pending().is_some_and(|now| is_it(&now.what));
            let declined = self.new.declined().is_some_and(|now| is_it(&now.what));
            !(pending || declined || self.new.has_version_in_force() && is_it(self.new.version()))
        });
        let change = old.and_then(Client::pending_resumption);
        let change = change.map(|pending| &*pending.what).filter(|change| {
            let is_it = |other: &StateChange| other.number == change.number;
            let pending = self.new.pending_resumption();
            let declined = self.new.declined_resumption();
            !(pending.is_some_and(|now| is_it(&now.what))
                || declined.is_some_and(|now| is_it(&now.what))
                || self.new.state_change().is_some_and(is_it))
        });
        let version = version.map(|version| (version.subject(), version.digest));
        version
            .into_iter()
            .chain(change.map(|change| (change.subject(), change.digest)))
    }
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
