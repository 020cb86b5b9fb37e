//! What awaits approval, who has approved it, and what became of what was declined.
//!
//! A version and a resumption are approved alike. Both carry the number of
//! approvals that they need: what the configuration said when they were
//! proposed, so that a change of it never puts anything in force. An approval
//! names the digest of what was shown to the approver. The author never counts,
//! nor does a second approval of one person ([`Actor::is_person_of`]).

use super::{Actor, ClientVersion, Digest, Reason, StateChange};
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc, time::SystemTime};

/// What is decided about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// The version with this number.
    Version(u64),
    /// The change of the client's state with this number: a resumption.
    State(u64),
}

/// What somebody decides about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It may come into force, as far as this person is concerned.
    Approve,
    /// It never will.
    Reject,
    /// Its author takes it back.
    Withdraw,
}

/// One person's approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Who.
    pub operator: Actor,
    /// When.
    pub at: SystemTime,
    /// Why; may be empty.
    pub reason: Reason,
}

/// A version or a resumption that awaits approval.
#[derive(Clone, Debug)]
pub struct Pending<T> {
    /// What was proposed.
    pub what: Arc<T>,
    /// Who has approved it so far: different persons, none of them its author.
    pub approvals: Vec<Approval>,
}

/// A version or a resumption that was rejected or withdrawn.
#[derive(Clone, Debug)]
pub struct Declined<T> {
    /// What was proposed.
    pub what: Arc<T>,
    /// [`Verdict::Reject`] or [`Verdict::Withdraw`].
    pub verdict: Verdict,
    /// Who.
    pub operator: Actor,
    /// When.
    pub at: SystemTime,
    /// Why; empty only of a withdrawal.
    pub reason: Reason,
}

/// What can await approval.
pub trait Proposal {
    /// What decisions about it name.
    fn subject(&self) -> Subject;
    /// The digest that decisions about it name.
    fn digest(&self) -> Digest;
    /// Who made it.
    fn author(&self) -> &Actor;
    /// How many approvals it needs; 0 where it was in force at once.
    fn approvals_required(&self) -> u32;
}

impl Proposal for ClientVersion {
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

impl Proposal for StateChange {
    fn subject(&self) -> Subject {
        Subject::State(self.number)
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

impl<T: Proposal> Pending<T> {
    pub(super) const fn new(what: Arc<T>) -> Self {
        Self {
            what,
            approvals: Vec::new(),
        }
    }

    /// How many approvals it needs.
    #[must_use]
    pub fn required(&self) -> u32 {
        self.what.approvals_required()
    }

    /// How many more it needs.
    #[must_use]
    pub fn missing(&self) -> u32 {
        let given = u32::try_from(self.approvals.len()).unwrap_or(u32::MAX);
        self.required().saturating_sub(given)
    }

    /// Whether this is what a decision names.
    #[must_use]
    pub fn is(&self, about: Subject, digest: Digest) -> bool {
        self.what.subject() == about && self.what.digest() == digest
    }

    /// Why `operator` may not decide so; `None` where it may.
    #[must_use]
    pub fn objection(&self, verdict: Verdict, operator: &Actor, reason: &Reason) -> Option<Bar> {
        let is_author = self.what.author().is_person_of(operator);
        let mut given = self.approvals.iter();
        match verdict {
            Verdict::Approve if is_author => Some(Bar::Author),
            Verdict::Approve => given
                .any(|approval| approval.operator.is_person_of(operator))
                .then_some(Bar::Again),
            Verdict::Reject => reason.is_blank().then_some(Bar::NoReason),
            Verdict::Withdraw => (!is_author).then_some(Bar::NotAuthor),
        }
    }
}

/// Why somebody may not decide about what awaits approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bar {
    /// The author never counts as approver.
    #[error("the author of a change does not count as its approver")]
    Author,
    /// One person counts once.
    #[error("this person has approved it already")]
    Again,
    /// Others reject.
    #[error("only its author withdraws it; others reject it")]
    NotAuthor,
    /// Rejections have a reason.
    #[error("a rejection needs a reason")]
    NoReason,
}

/// What stands beside the version in force and the state, where anything does.
#[derive(Clone, Debug, Default)]
pub(super) struct Governance {
    /// Number and digest of the client's last decision.
    pub(super) decision: Option<(u64, Digest)>,
    /// Who approved the version in force.
    pub(super) approvals: Vec<Approval>,
    /// A version; always the last one.
    pub(super) pending: Option<Pending<ClientVersion>>,
    /// The last version, where it was declined.
    pub(super) declined: Option<Declined<ClientVersion>>,
    /// A resumption; always the last change of the state.
    pub(super) resumption: Option<Pending<StateChange>>,
    /// The last change of the state, where it was declined.
    pub(super) declined_resumption: Option<Declined<StateChange>>,
}

impl Governance {
    /// Whether there is nothing to keep.
    pub(super) const fn is_empty(&self) -> bool {
        self.decision.is_none()
            && self.approvals.is_empty()
            && self.pending.is_none()
            && self.declined.is_none()
            && self.resumption.is_none()
            && self.declined_resumption.is_none()
    }
}

impl Subject {
    /// Its number in its kind.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::Version(number) | Self::State(number) => number,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(number) => write!(f, "version {number}"),
            Self::State(number) => write!(f, "resumption {number}"),
        }
    }
}

impl Verdict {
    /// What is done to something by it.
    #[must_use]
    pub const fn participle(self) -> &'static str {
        match self {
            Self::Approve => "approved",
            Self::Reject => "rejected",
            Self::Withdraw => "withdrawn",
        }
    }
}
