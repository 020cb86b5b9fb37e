//! What one record makes of one client: the rules of versions, states and approvals.
//!
//! A pure function of the client before and a document. The book applies every
//! record through it, and so does a history that is shown; a change that is
//! tried before it is durable goes the same way. So a version without the
//! approvals that it names is not served, whoever wrote it into the store.

use super::{
    Actor, Client, ClientName, ClientVersion, Digest, Reason, Standing, StateChange,
    governance::{Approval, Bar, Declined, Governance, Pending, Proposal, Subject, Verdict},
    record::{DecisionDocument, RecordFault, StateDocument, VersionDocument},
    store::Record,
};
use spiffe::TrustDomain;
use std::{sync::Arc, time::SystemTime};

/// What came of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// A version is in force, or the client's state has changed.
    InForce,
    /// A version or a resumption awaits approval.
    Proposed,
    /// An approval is counted, and more are needed.
    Counted,
    /// What awaited approval was rejected or withdrawn.
    Declined,
}

/// A document of a client.
#[derive(Debug)]
pub(super) enum ClientDocument {
    Version(VersionDocument),
    State(StateDocument),
    Decision(DecisionDocument),
}

impl ClientDocument {
    /// Whose it is.
    pub(super) const fn client(&self) -> &ClientName {
        match self {
            Self::Version(document) => &document.client,
            Self::State(document) => &document.client,
            Self::Decision(document) => &document.client,
        }
    }
}

/// The client after `record`, which carries `document`.
pub(super) fn apply(
    old: Option<&Client>,
    record: &Record,
    document: ClientDocument,
    trust_domain: &TrustDomain,
) -> Result<(Client, Effect), RecordFault> {
    let (mut client, effect) = match document {
        ClientDocument::Version(document) => version(old, record, document, trust_domain)?,
        ClientDocument::State(document) => state(known(old, &document.client)?, record, document)?,
        ClientDocument::Decision(document) => {
            decision(known(old, &document.client)?, record, document)?
        }
    };
    if let Some(old) = old {
        let later = old.later.iter().copied();
        client.later = later.chain([record.revision]).collect();
    }
    Ok((client, effect))
}

fn known<'a>(old: Option<&'a Client>, name: &ClientName) -> Result<&'a Client, RecordFault> {
    old.ok_or_else(|| RecordFault::Chain(name.clone()))
}

/// Whether a record follows the last one of its kind, if any.
fn follows(number: u64, previous: Option<Digest>, last: Option<(u64, Digest)>) -> bool {
    number == last.map_or(0, |(number, _)| number) + 1 && previous == last.map(|(_, digest)| digest)
}

fn version(
    old: Option<&Client>,
    record: &Record,
    document: VersionDocument,
    trust_domain: &TrustDomain,
) -> Result<(Client, Effect), RecordFault> {
    let author = document.author();
    let VersionDocument {
        client: name,
        number,
        previous,
        at,
        reason,
        approvals_required,
        spec,
        ..
    } = document;
    let last = old.map(|client| (client.last_version().number, client.last_version().digest));
    if !follows(number, previous, last) {
        return Err(RecordFault::Chain(name));
    }
    if old.is_some_and(|client| client.standing() == Standing::Revoked) {
        return Err(RecordFault::Standing(name));
    }
    let version = Arc::new(ClientVersion {
        number,
        digest: record.digest,
        previous,
        author,
        at,
        reason,
        approvals_required,
        spec: spec.check(trust_domain)?,
    });
    let mut client = old.cloned().unwrap_or_else(|| Client {
        ordinal: record.revision,
        later: Box::default(),
        name,
        created_at: at,
        version: Arc::clone(&version),
        in_force: false,
        change: None,
        governance: None,
    });
    let mut governance = client.take_governance();
    governance.declined = None;
    governance.pending = None;
    let effect = if approvals_required == 0 {
        client.put_in_force(version);
        governance.approvals.clear();
        Effect::InForce
    } else {
        if !client.in_force {
            client.version = Arc::clone(&version);
        }
        governance.pending = Some(Pending::new(version));
        Effect::Proposed
    };
    client.keep(governance);
    Ok((client, effect))
}

fn state(
    old: &Client,
    record: &Record,
    document: StateDocument,
) -> Result<(Client, Effect), RecordFault> {
    let author = document.author();
    let StateDocument {
        client: name,
        number,
        previous,
        at,
        reason,
        approvals_required,
        to,
        ..
    } = document;
    let last = old.last_change().map(|last| (last.number, last.digest));
    if !follows(number, previous, last) {
        return Err(RecordFault::Chain(name));
    }
    // Nobody's approval is needed to take away.
    let needs_none = to != Standing::Active;
    if !old.may_become(to)
        || (to.needs_reason() && reason.is_blank())
        || (needs_none && approvals_required != 0)
    {
        return Err(RecordFault::Standing(name));
    }
    let change = Arc::new(StateChange {
        number,
        digest: record.digest,
        previous,
        author,
        at,
        reason,
        approvals_required,
        to,
    });
    let mut client = old.clone();
    let mut governance = client.take_governance();
    governance.declined_resumption = None;
    governance.resumption = None;
    let effect = if approvals_required == 0 {
        client.change = Some(change);
        if to == Standing::Revoked {
            governance.pending = None;
        }
        Effect::InForce
    } else {
        governance.resumption = Some(Pending::new(change));
        Effect::Proposed
    };
    client.keep(governance);
    Ok((client, effect))
}

fn decision(
    old: &Client,
    record: &Record,
    document: DecisionDocument,
) -> Result<(Client, Effect), RecordFault> {
    let mut client = old.clone();
    let mut governance = client.take_governance();
    if !follows(document.number, document.previous, governance.decision) {
        return Err(RecordFault::Chain(document.client));
    }
    governance.decision = Some((document.number, record.digest));
    let effect = match document.about {
        Subject::Version(_) => {
            let pending = governance.pending.take();
            let ruling = rule_of_client(pending, document)?;
            let effect = ruling.effect();
            match ruling {
                Ruling::Counted(pending) => governance.pending = Some(pending),
                Ruling::Passed(pending) => {
                    client.put_in_force(pending.what);
                    governance.approvals = pending.approvals;
                }
                Ruling::Declined(declined) => governance.declined = Some(declined),
            }
            effect
        }
        Subject::State(_) => {
            let pending = governance.resumption.take();
            let ruling = rule_of_client(pending, document)?;
            let effect = ruling.effect();
            match ruling {
                Ruling::Counted(pending) => governance.resumption = Some(pending),
                Ruling::Passed(pending) => client.change = Some(pending.what),
                Ruling::Declined(declined) => governance.declined_resumption = Some(declined),
            }
            effect
        }
    };
    client.keep(governance);
    Ok((client, effect))
}

/// What a decision comes to.
pub(super) enum Ruling<T> {
    Counted(Pending<T>),
    Passed(Pending<T>),
    Declined(Declined<T>),
}

impl<T> Ruling<T> {
    pub(super) const fn effect(&self) -> Effect {
        match self {
            Self::Counted(_) => Effect::Counted,
            Self::Passed(_) => Effect::InForce,
            Self::Declined(_) => Effect::Declined,
        }
    }
}

/// Somebody's word about what awaits approval.
pub(super) struct Word {
    pub(super) operator: Actor,
    pub(super) about: Subject,
    pub(super) digest: Digest,
    pub(super) verdict: Verdict,
    pub(super) at: SystemTime,
    pub(super) reason: Reason,
}

/// Why it does not count.
pub(super) enum Unruled {
    NotPending,
    Barred(Bar),
}

fn rule_of_client<T: Proposal>(
    pending: Option<Pending<T>>,
    document: DecisionDocument,
) -> Result<Ruling<T>, RecordFault> {
    let word = Word {
        operator: document.author(),
        about: document.about,
        digest: document.digest,
        verdict: document.verdict,
        at: document.at,
        reason: document.reason,
    };
    let name = document.client;
    rule(pending, word).map_err(|unruled| match unruled {
        Unruled::NotPending => RecordFault::NotPending(name),
        Unruled::Barred(bar) => RecordFault::Barred(name, bar),
    })
}

/// What a word about what awaits approval comes to.
pub(super) fn rule<T: Proposal>(
    pending: Option<Pending<T>>,
    word: Word,
) -> Result<Ruling<T>, Unruled> {
    let Word {
        operator,
        about,
        digest,
        verdict,
        at,
        reason,
    } = word;
    let Some(mut pending) = pending.filter(|pending| pending.is(about, digest)) else {
        return Err(Unruled::NotPending);
    };
    if let Some(bar) = pending.objection(verdict, &operator, &reason) {
        return Err(Unruled::Barred(bar));
    }
    if verdict != Verdict::Approve {
        return Ok(Ruling::Declined(Declined {
            what: pending.what,
            verdict,
            operator,
            at,
            reason,
        }));
    }
    pending.approvals.push(Approval {
        operator,
        at,
        reason,
    });
    Ok(if pending.missing() == 0 {
        Ruling::Passed(pending)
    } else {
        Ruling::Counted(pending)
    })
}

impl Client {
    fn put_in_force(&mut self, version: Arc<ClientVersion>) {
        self.version = version;
        self.in_force = true;
    }

    fn take_governance(&mut self) -> Governance {
        let governance = self.governance.take();
        governance.map(Arc::unwrap_or_clone).unwrap_or_default()
    }

    fn keep(&mut self, governance: Governance) {
        self.governance = (!governance.is_empty()).then(|| Arc::new(governance));
    }
}
