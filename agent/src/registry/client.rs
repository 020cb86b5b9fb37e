//! A registered client as the rest of the agent sees it: the version in force and its state.
//!
//! Nothing in here is ever edited in place. A change makes a new [`Client`]
//! that shares what did not change; whoever holds the old one holds an old
//! truth, and can tell by comparing the pointers. Two chains of records stand
//! behind a client, each linked by digests: its versions, and the changes of
//! its state.
//!
//! Expiry is a matter of the clock, not of a record: it comes and, when the
//! clock is set back, goes without anybody acting. So it is asked for with the
//! time ([`Client::state_at`]) and never stored.

use super::{
    Actor, ClientName, ClientSpec, Digest, Reason,
    governance::{Approval, Declined, Governance, Pending},
};
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc, time::SystemTime};
use symbolon_attestors::Selector;

/// What operators have decided about a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// No version of it was ever in force. Nobody decides so: it is the beginning.
    #[serde(skip)]
    New,
    /// It may hold identities.
    Active,
    /// It may not, until it is resumed.
    Suspended,
    /// It never will again.
    Revoked,
}

impl Standing {
    /// Whether nobody may decide so without a reason.
    pub(super) const fn needs_reason(self) -> bool {
        matches!(self, Self::Suspended | Self::Revoked)
    }
}

/// The state of a client at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientState {
    /// No version of it was ever in force; its first awaits approval, or was declined.
    New,
    /// Processes that fit get its identities.
    Active,
    /// Ended by an operator, until resumed.
    Suspended,
    /// Ended by an operator, for ever.
    Revoked,
    /// Ended by its `expires_at`.
    Expired,
}

/// One immutable version of a client record.
#[derive(Clone, Debug)]
pub struct ClientVersion {
    /// From 1.
    pub number: u64,
    /// SHA-256 of the version's canonical JSON.
    pub digest: Digest,
    /// The digest of the version before; `None` for the first.
    pub previous: Option<Digest>,
    /// Who made it.
    pub author: Actor,
    /// When.
    pub at: SystemTime,
    /// Why; may be empty.
    pub reason: Reason,
    /// How many others had to approve it when it was made; 0: in force at once.
    pub approvals_required: u32,
    /// What it says.
    pub spec: ClientSpec,
}

/// One change of a client's standing.
#[derive(Clone, Debug)]
pub struct StateChange {
    /// From 1.
    pub number: u64,
    /// SHA-256 of the change's canonical JSON.
    pub digest: Digest,
    /// The digest of the change before; `None` for the first.
    pub previous: Option<Digest>,
    /// Who made it.
    pub author: Actor,
    /// When.
    pub at: SystemTime,
    /// Why; empty only for a resumption.
    pub reason: Reason,
    /// How many others had to approve it when it was made; 0: in force at once.
    pub approvals_required: u32,
    /// What the client's standing is since.
    pub to: Standing,
}

/// A registered client with the version that is in force, and what awaits approval.
#[derive(Clone, Debug)]
pub struct Client {
    /// The revision of the registry that brought it; orders clients by registration.
    pub(super) ordinal: u64,
    /// The revisions of its other records.
    pub(super) later: Box<[u64]>,
    pub(super) name: ClientName,
    pub(super) created_at: SystemTime,
    /// The one in force; before there is one, the last that was proposed.
    pub(super) version: Arc<ClientVersion>,
    pub(super) in_force: bool,
    pub(super) change: Option<Arc<StateChange>>,
    pub(super) governance: Option<Arc<Governance>>,
}

/// How one selector set stands to a workload's selectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetFit {
    /// Those of the set that the workload has.
    pub present: Vec<Selector>,
    /// Those that it lacks.
    pub missing: Vec<Selector>,
}

impl ClientState {
    /// The word for it in answers and listings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for ClientState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<Standing> for ClientState {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::New => Self::New,
            Standing::Active => Self::Active,
            Standing::Suspended => Self::Suspended,
            Standing::Revoked => Self::Revoked,
        }
    }
}

impl Client {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &ClientName {
        &self.name
    }

    /// The version in force; of a client that is new, the one that was proposed last.
    #[must_use]
    pub fn version(&self) -> &ClientVersion {
        &self.version
    }

    /// What [`Self::version`] says.
    #[must_use]
    pub fn spec(&self) -> &ClientSpec {
        &self.version.spec
    }

    /// The last change of its standing; `None` while it is as registered.
    #[must_use]
    pub fn state_change(&self) -> Option<&StateChange> {
        self.change.as_deref()
    }

    /// What operators have decided about it.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match self.change.as_ref().map(|change| change.to) {
            Some(to @ (Standing::Suspended | Standing::Revoked)) => to,
            _ if self.in_force => Standing::Active,
            _ => Standing::New,
        }
    }

    /// Whether a version of it is in force, whatever its standing is.
    #[must_use]
    pub const fn has_version_in_force(&self) -> bool {
        self.in_force
    }

    /// The version that awaits approval; always the last one.
    #[must_use]
    pub fn pending(&self) -> Option<&Pending<ClientVersion>> {
        self.governance.as_ref()?.pending.as_ref()
    }

    /// The last version, where it was rejected or withdrawn.
    #[must_use]
    pub fn declined(&self) -> Option<&Declined<ClientVersion>> {
        self.governance.as_ref()?.declined.as_ref()
    }

    /// The resumption that awaits approval.
    #[must_use]
    pub fn pending_resumption(&self) -> Option<&Pending<StateChange>> {
        self.governance.as_ref()?.resumption.as_ref()
    }

    /// The last resumption, where it was rejected or withdrawn and nothing has come after it.
    #[must_use]
    pub fn declined_resumption(&self) -> Option<&Declined<StateChange>> {
        self.governance.as_ref()?.declined_resumption.as_ref()
    }

    /// Whether a version or a resumption of it awaits approval.
    #[must_use]
    pub fn awaits_approval(&self) -> bool {
        self.pending().is_some() || self.pending_resumption().is_some()
    }

    /// Who approved the version in force.
    #[must_use]
    pub fn approvals(&self) -> &[Approval] {
        let governance = self.governance.as_ref();
        governance.map_or(&[], |governance| &governance.approvals)
    }

    /// The last version that was made, whatever became of it.
    #[must_use]
    pub fn last_version(&self) -> &ClientVersion {
        let pending = self.pending().map(|pending| &pending.what);
        let declined = self.declined().map(|declined| &declined.what);
        pending.or(declined).unwrap_or(&self.version)
    }

    /// The last change of its state that was made, whatever became of it.
    #[must_use]
    pub fn last_change(&self) -> Option<&StateChange> {
        let pending = self.pending_resumption().map(|pending| &pending.what);
        let declined = self.declined_resumption().map(|declined| &declined.what);
        pending
            .or(declined)
            .or(self.change.as_ref())
            .map(|change| &**change)
    }

    /// Number and digest of the last decision about it.
    pub(super) fn last_decision(&self) -> Option<(u64, Digest)> {
        self.governance.as_ref()?.decision
    }

    /// Whether an operator may decide so: resume what is suspended, end what is not revoked.
    ///
    /// What is suspended can be suspended anew to end a resumption that awaits approval.
    #[must_use]
    pub fn may_become(&self, to: Standing) -> bool {
        match (self.standing(), to) {
            (_, Standing::New) | (Standing::Revoked, _) => false,
            (Standing::Suspended, Standing::Suspended) => self.pending_resumption().is_some(),
            (standing, Standing::Active) => standing == Standing::Suspended,
            (_, Standing::Suspended | Standing::Revoked) => true,
        }
    }

    /// The revisions of its records, oldest first.
    pub(super) fn revisions(&self) -> impl Iterator<Item = u64> {
        [self.ordinal].into_iter().chain(self.later.iter().copied())
    }

    /// The revision of its last record.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.later.last().copied().unwrap_or(self.ordinal)
    }

    /// Its state at `now`; a decision of an operator outweighs expiry.
    #[must_use]
    pub fn state_at(&self, now: SystemTime) -> ClientState {
        match (self.standing(), self.spec().expires_at()) {
            (Standing::Active, Some(expires_at)) if expires_at <= now => ClientState::Expired,
            (standing, _) => standing.into(),
        }
    }

    /// Whether processes that fit get its identities at `now`.
    #[must_use]
    pub fn is_active_at(&self, now: SystemTime) -> bool {
        self.state_at(now) == ClientState::Active
    }

    /// When it was registered.
    #[must_use]
    pub const fn created_at(&self) -> SystemTime {
        self.created_at
    }

    /// Whether one of its selector sets is among `present`, which must be sorted.
    #[must_use]
    pub fn fits(&self, present: &[Selector]) -> bool {
        self.spec()
            .selector_sets()
            .iter()
            .any(|set| set.holds(present))
    }

    /// Whether one of its selector sets has all that `wider` has, and so fits no other processes.
    #[must_use]
    pub fn fits_within(&self, wider: &super::SelectorSet) -> bool {
        let sets = self.spec().selector_sets().iter();
        let mut sets = sets.map(super::SelectorSet::selectors);
        sets.any(|set| wider.holds(set))
    }

    /// For each selector set, which of its selectors are among `present` (sorted) and which are not.
    #[must_use]
    pub fn explain(&self, present: &[Selector]) -> Vec<SetFit> {
        let sets = self.spec().selector_sets().iter();
        sets.map(|set| {
            let has = |selector: &&Selector| present.binary_search(selector).is_ok();
            let (present, missing) = set.selectors().iter().partition::<Vec<_>, _>(has);
            SetFit {
                present: present.into_iter().cloned().collect(),
                missing: missing.into_iter().cloned().collect(),
            }
        })
        .collect()
    }
}

impl SetFit {
    /// Whether the set holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.missing.is_empty()
    }
}
