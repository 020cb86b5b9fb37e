//! From a change of a federation relationship to the events that record it.

use super::approvals;
use crate::{
    audit::{Approvals, Event, Kind},
    registry::{
        AppliedRelationship, Effect, Pending, RelationshipDeed, RelationshipVersion, Verdict,
    },
};
use serde::Serialize;

/// The name of the event that a deed is where it is done at once.
#[must_use]
pub const fn kind_of_deed(deed: RelationshipDeed) -> Kind {
    match deed {
        RelationshipDeed::Version => Kind::Federated,
        RelationshipDeed::Removal => Kind::Unfederated,
        RelationshipDeed::Decision(Verdict::Approve) => Kind::Approved,
        RelationshipDeed::Decision(Verdict::Reject) => Kind::Rejected,
        RelationshipDeed::Decision(Verdict::Withdraw) => Kind::WithdrawnVersion,
    }
}

/// The events for what `operator` did, and why; each names the record that it tells of.
#[must_use]
pub fn relationship_events(
    deed: RelationshipDeed,
    applied: &AppliedRelationship,
    operator: &str,
    reason: &str,
) -> Vec<Event> {
    let new = &applied.new;
    let about = |kind: Kind| {
        Event::new(kind)
            .trust_domain(new.trust_domain().to_string())
            .revision(new.revision())
    };
    let by = |event: Event| event.operator(operator).reason(reason);
    let mut events = Vec::new();
    match deed {
        RelationshipDeed::Version => match new.pending() {
            Some(pending) if applied.effect == Effect::Proposed => {
                let event = about(Kind::Proposed).operation(Kind::Federated.as_str());
                let event = event.approvals(Some(approvals(pending)));
                events.push(by(described(event, &pending.what)));
            }
            _ => {
                let event = about(Kind::Federated);
                let in_force = new.in_force();
                events.push(by(match in_force {
                    Some(version) => described(event, version),
                    None => event,
                }));
            }
        },
        RelationshipDeed::Removal => events.push(by(about(Kind::Unfederated))),
        RelationshipDeed::Decision(verdict) => {
            let given = given(verdict, applied, operator);
            let decided = about(kind_of_deed(deed)).approvals(given.clone());
            events.push(by(decided));
            let passed = new.in_force().filter(|_| applied.effect == Effect::InForce);
            if let Some(version) = passed {
                let event = about(Kind::Federated).approvals(given);
                let event = event
                    .operator(version.author.as_str())
                    .reason(version.reason.as_str());
                events.push(described(event, version));
            }
        }
    }
    if let Some(voided) = applied.voided() {
        let void = approvals(&Pending {
            what: std::sync::Arc::new(voided.clone()),
            approvals: Vec::new(),
        });
        events.push(by(about(Kind::Superseded).approvals(Some(void))));
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
