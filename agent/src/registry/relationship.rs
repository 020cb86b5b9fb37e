//! Federation relationships: which foreign trust domains are known, and where their bundles come from.
//!
//! A relationship says that the bundle of one trust domain is fetched from one
//! endpoint, by one profile (`SPIFFE_Federation.md`, sections 5.1 and 6). It is
//! proposed, approved and removed like a registration: each change is a record,
//! linked to the one before it of its trust domain, and a proposal needs the
//! approvals that it was made with. While a change of the endpoint awaits them, the
//! relationship that is in force stays. Removing takes away and needs nobody's.
//!
//! The three parameters are given by operators, and nothing is derived from
//! another (`SPIFFE_Federation.md`, section 7.2). Our own trust domain is none: no
//! endpoint can speak for it.

mod endpoint;

pub use endpoint::{BundleEndpoint, EndpointDraft, EndpointError, Profile};

use super::{
    Actor, Digest, Effect, Reason, RecordFault, Subject,
    governance::{Approval, Bar, Declined, Pending, Proposal, Verdict},
    record::{RelationshipDecisionDocument, RelationshipDocument},
    store::Record,
    transition::{Ruling, Unruled, Word, rule},
};
use spiffe::TrustDomain;
use std::{sync::Arc, time::SystemTime};

/// What is wrong with a change of a relationship.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RelationshipFault {
    /// What is said of the endpoint breaks a rule.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// It is of an agent of another trust domain.
    #[error("it is a federation of {0}, not of this agent's trust domain")]
    OtherAgent(TrustDomain),
    /// The record does not follow the last one of its trust domain.
    #[error("it does not follow the last record of the trust domain")]
    Chain,
    /// There is nothing to remove.
    #[error("there is no federation with it")]
    NotFederated,
    /// There is one already.
    #[error("there is a federation with it already; replace it, or remove it first")]
    Federated,
    /// Nothing with this digest awaits approval.
    #[error("nothing with this digest awaits approval")]
    NotPending,
    /// Something else awaits approval than what was shown to the operator.
    #[error("something else awaits approval, with digest {0}")]
    OtherPending(Digest),
    /// The decision is not this person's.
    #[error(transparent)]
    Barred(#[from] Bar),
    /// Removals have a reason, and need no approval.
    #[error("a removal needs a reason, and nobody's approval")]
    Removal,
}

/// One immutable version of a relationship.
#[derive(Clone, Debug)]
pub struct RelationshipVersion {
    /// Its place among the records of its trust domain, from 1.
    pub number: u64,
    /// SHA-256 of its canonical JSON.
    pub digest: Digest,
    /// Who made it.
    pub author: Actor,
    /// When.
    pub at: SystemTime,
    /// Why.
    pub reason: Reason,
    /// How many others had to approve it when it was made; 0: in force at once.
    pub approvals_required: u32,
    /// Where the bundle comes from.
    pub endpoint: BundleEndpoint,
}

impl Proposal for RelationshipVersion {
    fn subject(&self) -> Subject {
        Subject::Version(self.number)
    }

    fn digest(&self) -> Digest {
        self.digest
    }

    fn author(&self) -> &Actor {
        &self.author
    }

    fn approvals_required(&self) -> u32 {
        self.approvals_required
    }
}

/// The removal of a relationship.
#[derive(Clone, Debug)]
pub struct Removal {
    /// Who removed it.
    pub author: Actor,
    /// When.
    pub at: SystemTime,
    /// Why.
    pub reason: Reason,
}

/// What is decided about a foreign trust domain.
#[derive(Clone, Debug)]
pub struct Relationship {
    trust_domain: TrustDomain,
    /// The revisions of its records.
    revisions: Box<[u64]>,
    /// Number and digest of its last record.
    last: (u64, Digest),
    in_force: Option<Arc<RelationshipVersion>>,
    approvals: Vec<Approval>,
    pending: Option<Pending<RelationshipVersion>>,
    declined: Option<Declined<RelationshipVersion>>,
    removed: Option<Removal>,
    last_removal: u64,
}

impl Relationship {
    /// The foreign trust domain.
    #[must_use]
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// What is in force; none before its approval, and after its removal.
    #[must_use]
    pub const fn in_force(&self) -> Option<&Arc<RelationshipVersion>> {
        self.in_force.as_ref()
    }

    /// Who approved what is in force.
    #[must_use]
    pub fn approvals(&self) -> &[Approval] {
        &self.approvals
    }

    /// What awaits approval.
    #[must_use]
    pub const fn pending(&self) -> Option<&Pending<RelationshipVersion>> {
        self.pending.as_ref()
    }

    /// The last proposal, where it was declined.
    #[must_use]
    pub const fn declined(&self) -> Option<&Declined<RelationshipVersion>> {
        self.declined.as_ref()
    }

    /// Its removal, where that was the last thing done.
    #[must_use]
    pub const fn removed(&self) -> Option<&Removal> {
        self.removed.as_ref()
    }

    /// The number of the record that last removed it, also where it was added again; 0 without
    /// one. What was known of a version before that is forgotten.
    #[must_use]
    pub const fn last_removal(&self) -> u64 {
        self.last_removal
    }

    /// The revision of its last record.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revisions.last().copied().unwrap_or_default()
    }

    /// The revisions of all of its records.
    pub(super) fn revisions(&self) -> impl Iterator<Item = u64> {
        self.revisions.iter().copied()
    }

    pub(super) const fn last(&self) -> (u64, Digest) {
        self.last
    }

    /// Why a new version of it may not be made.
    pub(super) fn objection_to_version(&self, replaces: bool) -> Option<RelationshipFault> {
        let is_there = self.in_force.is_some() || self.pending.is_some();
        (is_there && !replaces).then_some(RelationshipFault::Federated)
    }

    /// Whether there is something to remove.
    pub(super) const fn is_removable(&self) -> bool {
        self.in_force.is_some() || self.pending.is_some()
    }
}

/// What a record of a relationship did.
#[derive(Clone, Debug)]
pub struct AppliedRelationship {
    /// The relationship before; `None` where it is new.
    pub old: Option<Arc<Relationship>>,
    /// The relationship now.
    pub new: Arc<Relationship>,
    /// What came of the record.
    pub effect: Effect,
}

impl AppliedRelationship {
    /// What awaited approval before and is void now, though nobody decided about it.
    #[must_use]
    pub fn voided(&self) -> Option<&RelationshipVersion> {
        let was = &self.old.as_deref()?.pending()?.what;
        let is_it = |version: &RelationshipVersion| version.number == was.number;
        let new = &self.new;
        let lives = new.pending().is_some_and(|now| is_it(&now.what))
            || new.declined().is_some_and(|now| is_it(&now.what))
            || new.in_force().is_some_and(|now| is_it(now));
        (!lives).then_some(&**was)
    }
}

/// The relationship after `record`, which carries `document`.
pub(super) fn version(
    old: Option<&Relationship>,
    record: &Record,
    document: RelationshipDocument,
    own: &TrustDomain,
) -> Result<(Relationship, Effect), RecordFault> {
    let domain = document.trust_domain.clone();
    let fault = |fault| RecordFault::Relationship(domain.clone(), fault);
    if document.own != *own {
        return Err(fault(RelationshipFault::OtherAgent(document.own)));
    }
    let author = document.author();
    let mut new =
        follow(old, record, &domain, (document.number, document.previous)).map_err(fault)?;
    new.pending = None;
    new.declined = None;
    let Some(endpoint) = document.endpoint else {
        let is_removable = old.is_some_and(Relationship::is_removable);
        if !is_removable {
            return Err(fault(RelationshipFault::NotFederated));
        }
        if document.reason.is_blank() || document.approvals_required != 0 {
            return Err(fault(RelationshipFault::Removal));
        }
        new.in_force = None;
        new.approvals.clear();
        new.last_removal = document.number;
        new.removed = Some(Removal {
            author,
            at: document.at,
            reason: document.reason,
        });
        return Ok((new, Effect::InForce));
    };
    let endpoint = endpoint.check(&domain, own);
    let version = Arc::new(RelationshipVersion {
        number: document.number,
        digest: record.digest,
        author,
        at: document.at,
        reason: document.reason,
        approvals_required: document.approvals_required,
        endpoint: endpoint.map_err(|error| fault(error.into()))?,
    });
    if document.approvals_required == 0 {
        new.put_in_force(version, Vec::new());
        Ok((new, Effect::InForce))
    } else {
        new.pending = Some(Pending::new(version));
        Ok((new, Effect::Proposed))
    }
}

/// The relationship after somebody's word about what awaited approval.
pub(super) fn decision(
    old: Option<&Relationship>,
    record: &Record,
    document: RelationshipDecisionDocument,
) -> Result<(Relationship, Effect), RecordFault> {
    let domain = document.trust_domain.clone();
    let fault = |fault| RecordFault::Relationship(domain.clone(), fault);
    if old.is_none() {
        return Err(fault(RelationshipFault::Chain));
    }
    let mut new =
        follow(old, record, &domain, (document.number, document.previous)).map_err(fault)?;
    let pending = new.pending.take();
    let about = pending.as_ref().map(|pending| pending.what.subject());
    let word = Word {
        operator: document.author(),
        about: about.unwrap_or(Subject::Version(0)),
        digest: document.digest,
        verdict: document.verdict,
        at: document.at,
        reason: document.reason,
    };
    let ruling = rule(pending, word).map_err(|unruled| {
        fault(match unruled {
            Unruled::NotPending => RelationshipFault::NotPending,
            Unruled::Barred(bar) => bar.into(),
        })
    })?;
    let effect = ruling.effect();
    match ruling {
        Ruling::Counted(pending) => new.pending = Some(pending),
        Ruling::Passed(pending) => new.put_in_force(pending.what, pending.approvals),
        Ruling::Declined(declined) => new.declined = Some(declined),
    }
    Ok((new, effect))
}

/// The relationship as it was, with one record more.
fn follow(
    old: Option<&Relationship>,
    record: &Record,
    domain: &TrustDomain,
    (number, previous): (u64, Option<Digest>),
) -> Result<Relationship, RelationshipFault> {
    let last = old.map(Relationship::last);
    let follows = number == last.map_or(0, |(number, _)| number) + 1
        && previous == last.map(|(_, digest)| digest);
    if !follows {
        return Err(RelationshipFault::Chain);
    }
    let before = old.into_iter().flat_map(Relationship::revisions);
    let revisions = before.chain([record.revision]).collect();
    let new = old.cloned().unwrap_or_else(|| Relationship {
        trust_domain: domain.clone(),
        revisions: Box::default(),
        last: (number, record.digest),
        in_force: None,
        approvals: Vec::new(),
        pending: None,
        declined: None,
        removed: None,
        last_removal: 0,
    });
    Ok(Relationship {
        revisions,
        last: (number, record.digest),
        ..new
    })
}

impl Relationship {
    fn put_in_force(&mut self, version: Arc<RelationshipVersion>, approvals: Vec<Approval>) {
        self.in_force = Some(version);
        self.approvals = approvals;
        self.removed = None;
    }
}

/// Why a word about what awaits approval may not be said.
pub(super) fn objection(
    relationship: &Relationship,
    (digest, verdict): (Digest, Verdict),
    operator: &Actor,
    reason: &Reason,
) -> Option<RelationshipFault> {
    let Some(pending) = relationship.pending() else {
        return Some(RelationshipFault::NotPending);
    };
    if pending.what.digest != digest {
        return Some(RelationshipFault::OtherPending(pending.what.digest));
    }
    let bar = pending.objection(verdict, operator, reason);
    bar.map(RelationshipFault::Barred)
}
