//! From a change of the registry to the events that record it.
//!
//! Operators on the admin socket and the folder of registrations change clients
//! alike, and both record what they did. One act can be several events: an
//! approval that is the last one puts a version in force, a new version makes
//! void what awaited approval. The first is always the act itself.

mod recovery;
mod relationships;

pub use recovery::{Mark, RecoveryError, recover, recover_unmarked, recover_untold};
pub use relationships::{relationship_events, word_of};

use crate::{
    audit::{AcceptedWeaknesses, Approvals, Event, Kind},
    registry::{
        Applied, Client, ClientVersion, Effect, Pending, Proposal, Standing, Subject, Verdict,
    },
};

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// A change of this kind: `registered`, `updated`, `suspended`, `resumed` or `revoked`.
    Change(Kind),
    /// A word about what awaits approval.
    Decision(Subject, Verdict),
}

impl Act {
    /// The name of the event that it is where it is done at once.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Change(kind) => kind,
            Self::Decision(_, Verdict::Approve) => Kind::Approved,
            Self::Decision(_, Verdict::Reject) => Kind::Rejected,
            Self::Decision(_, Verdict::Withdraw) => Kind::WithdrawnVersion,
        }
    }
}

/// The events for what `operator` did, and why; each names the record that it tells of.
#[must_use]
pub fn events(act: Act, applied: &Applied, operator: &str, reason: &str) -> Vec<Event> {
    let new = &*applied.new;
    let by = |event: Event| event.operator(operator).reason(reason);
    let mut events = Vec::new();
    match act {
        Act::Change(kind) if applied.effect == Effect::Proposed => {
            events.push(by(proposed(new, kind).operation(kind.as_str())));
        }
        Act::Change(kind) => events.push(by(in_force(kind, new))),
        Act::Decision(subject, verdict) => {
            let given = given(subject, verdict, applied, operator);
            events.push(by(
                decided(act.kind(), subject, applied).approvals(given.clone())
            ));
            if applied.effect == Effect::InForce {
                events.push(passed(subject, applied).approvals(given));
            }
        }
    }
    for (subject, digest) in applied.voided() {
        let approval = Approvals {
            by: Vec::new(),
            digest: digest.to_string(),
            number: subject.number(),
            of: of(subject),
            required: 0,
        };
        events.push(by(
            about(Kind::Superseded, new, None).approvals(Some(approval))
        ));
    }
    let revision = new.revision();
    let events = events.into_iter();
    events.map(|event| event.revision(revision)).collect()
}

/// A change that is in force.
fn in_force(kind: Kind, client: &Client) -> Event {
    let event = about(kind, client, Some(client.version()));
    match kind {
        Kind::Registered | Kind::Updated => event.accepted_weaknesses(accepted(client.version())),
        _ => event,
    }
}

/// A version or a resumption that awaits approval.
fn proposed(client: &Client, kind: Kind) -> Event {
    match (kind, client.pending(), client.pending_resumption()) {
        (Kind::Resumed, _, Some(pending)) => {
            about(Kind::Proposed, client, None).approvals(Some(approvals(pending)))
        }
        (_, Some(pending), _) => about(Kind::Proposed, client, Some(&pending.what))
            .accepted_weaknesses(accepted(&pending.what))
            .approvals(Some(approvals(pending))),
        // Not reached: what is proposed is pending.
        _ => about(Kind::Proposed, client, None),
    }
}

/// Somebody's word.
fn decided(kind: Kind, subject: Subject, applied: &Applied) -> Event {
    let was = applied.old.as_deref().and_then(Client::pending);
    let version = match subject {
        Subject::Version(_) => was.map(|was| &*was.what),
        Subject::State(_) => None,
    };
    about(kind, &applied.new, version)
}

/// The approvals of what was decided about, with this one.
fn given(
    subject: Subject,
    verdict: Verdict,
    applied: &Applied,
    operator: &str,
) -> Option<Approvals> {
    let old = applied.old.as_deref()?;
    let mut given = match subject {
        Subject::Version(_) => old.pending().map(approvals),
        Subject::State(_) => old.pending_resumption().map(approvals),
    }?;
    if verdict == Verdict::Approve {
        given.by.push(operator.to_owned());
    }
    Some(given)
}

/// What was approved, as its author's change.
fn passed(subject: Subject, applied: &Applied) -> Event {
    let new = &*applied.new;
    match subject {
        Subject::Version(_) => {
            let had_one = applied
                .old
                .as_ref()
                .is_some_and(|old| old.has_version_in_force());
            let kind = if had_one {
                Kind::Updated
            } else {
                Kind::Registered
            };
            let version = new.version();
            in_force(kind, new)
                .operator(version.author.as_str())
                .reason(version.reason.as_str())
        }
        Subject::State(_) => {
            let event = about(Kind::Resumed, new, Some(new.version()));
            match new.state_change() {
                Some(change) => event
                    .operator(change.author.as_str())
                    .reason(change.reason.as_str()),
                None => event,
            }
        }
    }
}

/// An event about a client, and about a version of it where that is not the one in force.
fn about(kind: Kind, client: &Client, version: Option<&ClientVersion>) -> Event {
    let version = version.unwrap_or_else(|| client.version());
    Event::new(kind)
        .client(client.name().as_str(), version.number)
        .client_digest(version.digest.to_string())
        .spiffe_id(version.spec.spiffe_id().to_string())
        .owner(version.spec.owner().to_string())
}

fn approvals<T: Proposal>(pending: &Pending<T>) -> Approvals {
    let what = &pending.what;
    let given = pending.approvals.iter();
    Approvals {
        by: given
            .map(|approval| approval.operator.to_string())
            .collect(),
        digest: what.digest().to_string(),
        number: what.subject().number(),
        of: of(what.subject()),
        required: what.approvals_required(),
    }
}

const fn of(subject: Subject) -> &'static str {
    match subject {
        Subject::Version(_) => "version",
        Subject::State(_) => "state",
    }
}

/// What the trail says of weaknesses that are accepted.
fn accepted(version: &ClientVersion) -> Option<AcceptedWeaknesses> {
    let accepted = version.spec.accepted_weaknesses()?;
    let findings = accepted.findings().iter();
    Some(AcceptedWeaknesses {
        findings: findings.map(ToString::to_string).collect(),
        reason: accepted.reason().to_string(),
    })
}

/// The kind of a change of state, where operators make it.
#[must_use]
pub const fn kind_of(to: Standing) -> Kind {
    match to {
        Standing::New | Standing::Active => Kind::Resumed,
        Standing::Suspended => Kind::Suspended,
        Standing::Revoked => Kind::Revoked,
    }
}

#[cfg(test)]
mod tests;
