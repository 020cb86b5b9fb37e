use super::{Act, events};
use crate::{
    audit::{Event, Kind},
    registry::{Applied, Change, Proposal as _, Standing, Subject, Verdict},
    workloads::testing::{Scene, draft, name},
};
use serde_json::Value;

/// What an act of `operator` makes of client `web`, and the events for it.
async fn act(scene: &Scene, act: Act, change: Change, operator: &str) -> (Applied, Vec<String>) {
    let (actor, reason) = (operator.parse().unwrap(), "because".parse().unwrap());
    let changed = scene.registry.change(name("web"), change, actor, reason);
    let applied = changed.await.unwrap();
    let events = events(act, &applied, operator, "because");
    let told = events.iter().map(told).collect();
    (applied, told)
}

/// `event version by whom: approvals`.
fn told(event: &Event) -> String {
    let event = serde_json::to_value(event).unwrap();
    let text = |pointer: &str| match event.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "-".to_owned(),
        Some(value) => value.to_string(),
    };
    format!(
        "{} {} {} by {}: {} {} {} of {}",
        text("/event"),
        text("/operation"),
        text("/client_version"),
        text("/operator"),
        text("/approvals/of"),
        text("/approvals/number"),
        text("/approvals/by"),
        text("/approvals/required"),
    )
}

fn approve(applied: &Applied) -> (Act, Change) {
    let version = applied.new.pending().map(|pending| &*pending.what);
    let change = applied
        .new
        .pending_resumption()
        .map(|pending| &*pending.what);
    let (subject, digest) = match (version, change) {
        (_, Some(change)) => (change.subject(), change.digest),
        (version, None) => version
            .map(|version| (version.subject(), version.digest))
            .unwrap(),
    };
    (
        Act::Decision(subject, Verdict::Approve),
        Change::Decide(subject, digest, Verdict::Approve),
    )
}

#[tokio::test]
async fn every_act_is_told_with_what_it_leads_to() {
    let scene = Scene::requiring(2).await;
    let register = Change::Register(Box::new(draft()));
    let registered = Act::Change(Kind::Registered);
    let (applied, told) = act(&scene, registered, register, "alice").await;
    assert_eq!(told, ["proposed registered 1 by alice: version 1 [] of 2"]);
    let (decision, change) = approve(&applied);
    let (_, told) = act(&scene, decision, change.clone(), "bob").await;
    assert_eq!(told, ["approved - 1 by bob: version 1 [\"bob\"] of 2"]);
    let (_, told) = act(&scene, decision, change, "carol").await;
    assert_eq!(
        told,
        [
            "approved - 1 by carol: version 1 [\"bob\",\"carol\"] of 2",
            "registered - 1 by alice: version 1 [\"bob\",\"carol\"] of 2",
        ]
    );
}

/// A client of which version 1 is in force.
async fn approved() -> Scene {
    let scene = Scene::requiring(2).await;
    let register = Change::Register(Box::new(draft()));
    let (applied, _) = act(&scene, Act::Change(Kind::Registered), register, "alice").await;
    let (decision, change) = approve(&applied);
    for approver in ["bob", "carol"] {
        act(&scene, decision, change.clone(), approver).await;
    }
    scene
}

#[tokio::test]
async fn what_is_void_or_declined_is_told() {
    let scene = approved().await;
    let update = || Change::Update(Box::new(draft()), None);
    let updated = Act::Change(Kind::Updated);
    act(&scene, updated, update(), "alice").await;
    let (applied, told) = act(&scene, updated, update(), "bob").await;
    assert_eq!(
        told,
        [
            "proposed updated 3 by bob: version 3 [] of 2",
            "superseded - 1 by bob: version 2 [] of 0",
        ]
    );
    let digest = applied.new.pending().unwrap().what.digest;
    let subject = Subject::Version(3);
    let change = Change::Decide(subject, digest, Verdict::Reject);
    let (_, told) = act(
        &scene,
        Act::Decision(subject, Verdict::Reject),
        change,
        "alice",
    )
    .await;
    assert_eq!(told, ["rejected - 3 by alice: version 3 [] of 2"]);
    let (applied, _) = act(&scene, updated, update(), "bob").await;
    let digest = applied.new.pending().unwrap().what.digest;
    let subject = Subject::Version(4);
    let change = Change::Decide(subject, digest, Verdict::Withdraw);
    let (_, told) = act(
        &scene,
        Act::Decision(subject, Verdict::Withdraw),
        change,
        "bob",
    )
    .await;
    assert_eq!(told, ["withdrawn_version - 4 by bob: version 4 [] of 2"]);
}

#[tokio::test]
async fn a_resumption_is_told_with_its_approvals() {
    let scene = approved().await;
    let suspend = Change::Stand(Standing::Suspended);
    let (_, told) = act(&scene, Act::Change(Kind::Suspended), suspend, "erin").await;
    assert_eq!(told, ["suspended - 1 by erin: - - - of -"]);
    let resume = Change::Stand(Standing::Active);
    let (applied, told) = act(&scene, Act::Change(Kind::Resumed), resume, "alice").await;
    assert_eq!(told, ["proposed resumed 1 by alice: state 2 [] of 2"]);
    let (decision, change) = approve(&applied);
    act(&scene, decision, change.clone(), "bob").await;
    let (_, told) = act(&scene, decision, change, "carol").await;
    assert_eq!(
        told,
        [
            "approved - 1 by carol: state 2 [\"bob\",\"carol\"] of 2",
            "resumed - 1 by alice: state 2 [\"bob\",\"carol\"] of 2",
        ]
    );
}

#[tokio::test]
async fn without_approvals_there_is_one_event_as_ever() {
    let scene = Scene::new().await;
    let register = Change::Register(Box::new(draft()));
    let (_, told) = act(&scene, Act::Change(Kind::Registered), register, "alice").await;
    assert_eq!(told, ["registered - 1 by alice: - - - of -"]);
    let update = Change::Update(Box::new(draft()), None);
    let (_, told) = act(&scene, Act::Change(Kind::Updated), update, "alice").await;
    assert_eq!(told, ["updated - 2 by alice: - - - of -"]);
}
