//! The life of a client: a line of stages, and what is found and told at each of them.

use symbolon_proto::admin::Client;

/// The hint of a client's second version: a workload gets each only once.
pub(super) fn second(name: &str) -> String {
    format!("second-{name}")
}

/// How far a client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Absent,
    Proposed,
    InForce,
    ChangeProposed,
    Changed,
    Suspended,
    ResumptionProposed,
    Resumed,
    Revoked,
}

impl Stage {
    pub(super) const ALL: [Self; 9] = [
        Self::Absent,
        Self::Proposed,
        Self::InForce,
        Self::ChangeProposed,
        Self::Changed,
        Self::Suspended,
        Self::ResumptionProposed,
        Self::Resumed,
        Self::Revoked,
    ];

    pub(super) fn next(self) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| *stage > self)
    }

    /// The events that tell how it got there from the stage before.
    pub(super) const fn events(self) -> &'static [&'static str] {
        match self {
            Self::Absent => &[],
            Self::Proposed | Self::ChangeProposed | Self::ResumptionProposed => &["proposed"],
            Self::InForce => &["approved", "registered"],
            Self::Changed => &["approved", "updated"],
            Self::Suspended => &["suspended"],
            Self::Resumed => &["approved", "resumed"],
            Self::Revoked => &["revoked"],
        }
    }

    /// The hint that the client's identity has; none where there is no identity.
    pub(super) fn served(self, name: &str) -> Option<String> {
        match self {
            Self::InForce | Self::ChangeProposed => Some(String::new()),
            Self::Changed | Self::Resumed => Some(second(name)),
            _ => None,
        }
    }

    pub(super) fn of(client: &Client) -> Self {
        let changed = client.version == 2;
        match (client.state.as_str(), client.pending.is_some()) {
            ("new", true) => Self::Proposed,
            ("active", true) => Self::ChangeProposed,
            ("active", false) if client.state_changed_at != 0 => Self::Resumed,
            ("active", false) if changed => Self::Changed,
            ("active", false) => Self::InForce,
            ("suspended", _) if client.pending_resumption.is_some() => Self::ResumptionProposed,
            ("suspended", _) => Self::Suspended,
            ("revoked", _) => Self::Revoked,
            other => panic!("a client that nobody made so: {other:?} {client:?}"),
        }
    }
}
