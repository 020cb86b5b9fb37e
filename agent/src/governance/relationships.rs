//! From a change of a federation relationship to the events that record it.

use super::approvals;
use crate::{
    audit::{Approvals, Event, Kind},
    registry::{
        AppliedRelationship, Effect, Pending, RelationshipDeed, RelationshipVersion, Verdict,
    },
};
use serde::Serialize;
use std::sync::Arc;

/// The word for what was asked for, where it is done at once.
#[must_use]
pub const fn word_of(deed: RelationshipDeed) -> &'static str {
    match deed {
        RelationshipDeed::Version => IN_FORCE,
        RelationshipDeed::Removal => "removed",
        RelationshipDeed::Decision(verdict) => verdict.participle(),
    }
}

/// A version is in force.
const IN_FORCE: &str = "federated";

/// The events for what `operator` did, and why; each names the record that it tells of.
#[must_use]
pub fn relationship_events(
    deed: RelationshipDeed,
    applied: &AppliedRelationship,
    operator: &str,
    reason: &str,
) -> Vec<Event> {
    let new = &applied.new;
    let about = |word: &str| {
        Event::new(Kind::Federation)
            .operation(word)
            .trust_domain(new.trust_domain().to_string())
            .revision(new.revision())
    };
    let by = |event: Event| event.operator(operator).reason(reason);
    let in_force = new
        .in_force()
        .filter(|_| applied.effect == Effect::InForce && deed != RelationshipDeed::Removal);
    let mut events = Vec::new();
    match (deed, new.pending(), in_force) {
        (RelationshipDeed::Version, Some(pending), None) => {
            let event = about("proposed").approvals(Some(approvals(pending)));
            events.push(by(described(event, &pending.what)));
        }
        (RelationshipDeed::Version, _, Some(version)) => {
            events.push(by(described(about(IN_FORCE), version)));
        }
        (RelationshipDeed::Decision(verdict), _, passed) => {
            let given = given(verdict, applied, operator);
            events.push(by(about(word_of(deed)).approvals(given.clone())));
            if let Some(version) = passed {
                let event = about(IN_FORCE)
                    .approvals(given)
                    .operator(version.author.as_str())
                    .reason(version.reason.as_str());
                events.push(described(event, version));
            }
        }
        (RelationshipDeed::Version | RelationshipDeed::Removal, _, _) => {
            events.push(by(about(word_of(deed))));
        }
    }
    if let Some(voided) = applied.voided() {
        let void = approvals(&Pending {
            what: Arc::new(voided.clone()),
            approvals: Vec::new(),
        });
        events.push(by(about("superseded").approvals(Some(void))));
    }
    events
}

/// The approvals of what was decided about, with this one.
fn given(verdict: Verdict, applied: &AppliedRelationship, operator: &str) -> Option<Approvals> {
    let mut given = approvals(applied.old.as_deref()?.pending()?);
    if verdict == Verdict::Approve {
        given.by.push(operator.to_owned());
    }
    Some(given)
}

/// Where the bundle is to come from.
#[derive(Serialize)]
struct Endpoint<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    bundle_digest: Option<&'a str>,
    digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint_spiffe_id: Option<String>,
    profile: &'static str,
    url: &'a str,
}

fn described(event: Event, version: &RelationshipVersion) -> Event {
    let endpoint = &version.endpoint;
    let evidence = Endpoint {
        bundle_digest: endpoint.bundle.as_ref().map(|(_, bundle)| bundle.digest()),
        digest: version.digest.to_string(),
        endpoint_spiffe_id: endpoint.profile.endpoint_id().map(ToString::to_string),
        profile: endpoint.profile.as_str(),
        url: &endpoint.url,
    };
    let plain = event.clone();
    event.evidence(&evidence).unwrap_or(plain)
}

#[cfg(test)]
mod tests;
