//! Every act about a foreign trust domain is told, with what it leads to.

use super::relationship_events;
use crate::{
    audit::Event,
    registry::{
        AppliedRelationship, EndpointDraft, RelationshipChange, RelationshipCommand,
        RelationshipDeed, Verdict,
    },
    workloads::testing::Scene,
};
use serde_json::{Value, json};
use spiffe::TrustDomain;

/// What `operator` asks for, and the events for it.
async fn act(
    scene: &Scene,
    (deed, change): (RelationshipDeed, RelationshipChange),
    operator: &str,
) -> (AppliedRelationship, Vec<Event>) {
    let command = RelationshipCommand {
        trust_domain: TrustDomain::new("other.example").unwrap(),
        change,
        actor: operator.parse().unwrap(),
        reason: "because".parse().unwrap(),
    };
    let applied = scene.registry.relate(command).await.unwrap();
    let events = relationship_events(deed, &applied, operator, "because");
    (applied, events)
}

/// `operation of revision by whom: approvals`.
fn told(events: &[Event]) -> Vec<String> {
    let told = events.iter().map(|event| {
        let event = serde_json::to_value(event).unwrap();
        assert_eq!(event["event"], "federation");
        assert_eq!(event["trust_domain"], "other.example");
        assert_eq!(event["reason"], "because");
        let text = |pointer: &str| match event.pointer(pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => "-".to_owned(),
            Some(value) => value.to_string(),
        };
        format!(
            "{} {} by {}: {} {} of {}",
            text("/operation"),
            text("/revision"),
            text("/operator"),
            text("/approvals/number"),
            text("/approvals/by"),
            text("/approvals/required"),
        )
    });
    told.collect()
}

fn add(path: &str) -> (RelationshipDeed, RelationshipChange) {
    let endpoint = Box::new(EndpointDraft {
        profile: "https_web".to_owned(),
        url: format!("https://other.example/{path}"),
        ..EndpointDraft::default()
    });
    let replaces = true;
    let change = RelationshipChange::Add { endpoint, replaces };
    (RelationshipDeed::Version, change)
}

fn decide(
    applied: &AppliedRelationship,
    verdict: Verdict,
) -> (RelationshipDeed, RelationshipChange) {
    let digest = applied.new.pending().unwrap().what.digest;
    (
        RelationshipDeed::Decision(verdict),
        RelationshipChange::Decide(digest, verdict),
    )
}

const REMOVE: (RelationshipDeed, RelationshipChange) =
    (RelationshipDeed::Removal, RelationshipChange::Remove);

#[tokio::test]
async fn every_act_is_told_with_what_it_leads_to() {
    let scene = Scene::requiring(2).await;
    let (proposed, events) = act(&scene, add("a"), "alice").await;
    assert_eq!(told(&events), ["proposed 1 by alice: 1 [] of 2"]);
    let approve = || decide(&proposed, Verdict::Approve);
    let (_, events) = act(&scene, approve(), "bob").await;
    assert_eq!(told(&events), ["approved 2 by bob: 1 [\"bob\"] of 2"]);
    let (_, events) = act(&scene, approve(), "carol").await;
    let both = "1 [\"bob\",\"carol\"] of 2";
    assert_eq!(
        told(&events),
        [
            format!("approved 3 by carol: {both}"),
            format!("federated 3 by alice: {both}"),
        ]
    );
    let (_, events) = act(&scene, REMOVE, "erin").await;
    assert_eq!(told(&events), ["removed 4 by erin: - - of -"]);
}

#[tokio::test]
async fn what_is_void_or_declined_is_told() {
    let scene = Scene::requiring(1).await;
    let (proposed, _) = act(&scene, add("a"), "alice").await;
    let withdraw = decide(&proposed, Verdict::Withdraw);
    let (_, events) = act(&scene, withdraw, "alice").await;
    assert_eq!(told(&events), ["withdrawn 2 by alice: 1 [] of 1"]);
    let (proposed, _) = act(&scene, add("a"), "alice").await;
    let (_, events) = act(&scene, decide(&proposed, Verdict::Reject), "bob").await;
    assert_eq!(told(&events), ["rejected 4 by bob: 3 [] of 1"]);
    act(&scene, add("a"), "alice").await;
    let (_, events) = act(&scene, add("b"), "dora").await;
    assert_eq!(
        told(&events),
        [
            "proposed 6 by dora: 6 [] of 1",
            "superseded 6 by dora: 5 [] of 1"
        ]
    );
    let (_, events) = act(&scene, REMOVE, "erin").await;
    assert_eq!(
        told(&events),
        [
            "removed 7 by erin: - - of -",
            "superseded 7 by erin: 6 [] of 1"
        ]
    );
}

#[tokio::test]
async fn without_approvals_there_is_one_event_with_the_endpoint() {
    let scene = Scene::new().await;
    let (applied, events) = act(&scene, add("a"), "alice").await;
    assert_eq!(told(&events), ["federated 1 by alice: - - of -"]);
    let event = serde_json::to_value(&events[0]).unwrap();
    let version = applied.new.in_force().unwrap();
    let expected = json!({
        "digest": version.digest.to_string(),
        "profile": "https_web",
        "url": "https://other.example/a",
    });
    assert_eq!(event["evidence"], expected);
}
