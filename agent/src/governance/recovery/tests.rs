use super::{Mark, recover, recover_unmarked, recover_untold};
use crate::{
    audit::{Event, Kind},
    governance::{Act, events, relationship_events},
    registry::{
        Applied, AppliedRelationship, Change, EndpointDraft, Proposal as _, RelationshipChange,
        RelationshipCommand, RelationshipDeed, Standing, Verdict,
    },
    workloads::testing::{Scene, draft, name},
};
use serde_json::Value;
use spiffe::TrustDomain;

const START: Mark = Mark {
    segment: 1,
    through: 0,
    after_seq: 0,
};

async fn change(scene: &Scene, change: Change, operator: &str) -> Applied {
    let actor = operator.parse().unwrap();
    let reason = "because".parse().unwrap();
    let changed = scene.registry.change(name("web"), change, actor, reason);
    changed.await.unwrap()
}

fn approval(applied: &Applied) -> (Act, Change) {
    let what = &applied.new.pending().unwrap().what;
    let (subject, digest) = (what.subject(), what.digest);
    (
        Act::Decision(subject, Verdict::Approve),
        Change::Decide(subject, digest, Verdict::Approve),
    )
}

/// `event of revision by whom`, of what the trail tells of changes and of its own repairs.
fn told(scene: &Scene) -> Vec<String> {
    let tell = |event: &Value| {
        let revision = event["revision"].as_u64().unwrap_or_default();
        let text = |field: &str| event[field].as_str().unwrap_or("-").to_owned();
        format!("{} {revision} by {}", text("event"), text("operator"))
    };
    scene.lines().iter().map(tell).collect()
}

#[tokio::test]
async fn what_the_trail_lacks_of_the_registry_is_told_once() {
    let scene = Scene::requiring(1).await;
    let proposed = change(&scene, Change::Register(Box::new(draft())), "alice").await;
    let (_, approve) = approval(&proposed);
    change(&scene, approve, "bob").await;
    change(&scene, Change::Stand(Standing::Suspended), "carol").await;
    change(&scene, Change::Stand(Standing::Active), "alice").await;
    let recovered = recover(&scene.registry, &scene.trail, START).await;
    assert_eq!(recovered.unwrap(), 4);
    let expected = [
        "repaired 0 by -",
        "proposed 1 by alice",
        "approved 2 by bob",
        "registered 2 by alice",
        "suspended 3 by carol",
        "proposed 4 by alice",
    ];
    assert_eq!(told(&scene), expected);
    let line = &scene.lines()[0];
    assert_eq!(
        line["evidence"],
        serde_json::json!({"first_revision": 1, "last_revision": 4, "records": 4})
    );
    let again = recover(&scene.registry, &scene.trail, START).await;
    assert_eq!(again.unwrap(), 0);
    assert_eq!(told(&scene), expected);
}

/// Says a word about a foreign trust domain, which nobody tells.
async fn relate(scene: &Scene, change: RelationshipChange, operator: &str) -> AppliedRelationship {
    let command = RelationshipCommand {
        trust_domain: TrustDomain::new("other.example").unwrap(),
        change,
        actor: operator.parse().unwrap(),
        reason: "because".parse().unwrap(),
    };
    scene.registry.relate(command).await.unwrap()
}

/// Killed between the store and the trail, in the midst of clients' changes.
#[tokio::test]
async fn what_the_trail_lacks_of_federations_is_told_once() {
    let scene = Scene::requiring(1).await;
    let add = RelationshipChange::Add {
        endpoint: Box::new(EndpointDraft {
            profile: "https_web".to_owned(),
            url: "https://other.example/bundle".to_owned(),
            ..EndpointDraft::default()
        }),
        replaces: false,
    };
    let proposed = relate(&scene, add, "alice").await;
    change(&scene, Change::Register(Box::new(draft())), "alice").await;
    let digest = proposed.new.pending().unwrap().what.digest;
    let approve = RelationshipChange::Decide(digest, Verdict::Approve);
    let approved = relate(&scene, approve, "bob").await;
    let deed = RelationshipDeed::Decision(Verdict::Approve);
    // Of this, half was told.
    let first = relationship_events(deed, &approved, "bob", "because").remove(0);
    scene.trail.record(first).await.unwrap();
    relate(&scene, RelationshipChange::Remove, "carol").await;
    let recovered = recover(&scene.registry, &scene.trail, START).await;
    assert_eq!(recovered.unwrap(), 4);
    let expected = [
        "federation 3 by bob",
        "repaired 0 by -",
        "federation 1 by alice",
        "proposed 2 by alice",
        "federation 3 by alice",
        "federation 4 by carol",
    ];
    assert_eq!(told(&scene), expected);
    let lines = scene.lines();
    let told_operations = lines.iter().filter_map(|line| line["operation"].as_str());
    let told_operations: Vec<_> = told_operations.collect();
    assert_eq!(
        told_operations,
        ["approved", "proposed", "registered", "federated", "removed"]
    );
    let again = recover(&scene.registry, &scene.trail, START).await;
    assert_eq!(again.unwrap(), 0);
    assert_eq!(told(&scene), expected);
}

#[tokio::test]
async fn of_a_change_that_is_half_told_the_other_half_is() {
    let scene = Scene::requiring(1).await;
    let proposed = change(&scene, Change::Register(Box::new(draft())), "alice").await;
    let (act, approve) = approval(&proposed);
    let approved = change(&scene, approve, "bob").await;
    let first = events(act, &approved, "bob", "because").remove(0);
    scene.trail.record(first).await.unwrap();
    let mark = Mark {
        through: 1,
        ..START
    };
    let recovered = recover(&scene.registry, &scene.trail, mark).await;
    assert_eq!(recovered.unwrap(), 1);
    assert_eq!(
        told(&scene),
        [
            "approved 2 by bob",
            "repaired 0 by -",
            "registered 2 by alice"
        ]
    );
}

#[tokio::test]
async fn what_could_not_be_told_is_told_later_and_the_rest_left_to_others() {
    let scene = Scene::new().await;
    let registered = change(&scene, Change::Register(Box::new(draft())), "alice").await;
    let event = events(
        Act::Change(Kind::Registered),
        &registered,
        "alice",
        "because",
    );
    scene.trail.record_all(event).await.unwrap();
    scene.registry.note_told(1);
    change(&scene, Change::Stand(Standing::Suspended), "carol").await;
    scene.registry.note_untold(2);
    // Under way.
    change(&scene, Change::Stand(Standing::Active), "bob").await;
    let mark = Mark {
        through: 1,
        ..START
    };
    let recovered = recover_untold(&scene.registry, &scene.trail, mark).await;
    assert_eq!(recovered.unwrap(), 1);
    assert_eq!(
        told(&scene),
        [
            "registered 1 by alice",
            "repaired 0 by -",
            "suspended 2 by carol"
        ]
    );
    assert_eq!(*scene.registry.told_through().borrow(), 2);
    assert!(scene.registry.untold().borrow().is_empty());
}

#[tokio::test]
async fn nothing_is_read_where_all_is_told() {
    let scene = Scene::new().await;
    let registered = change(&scene, Change::Register(Box::new(draft())), "alice").await;
    let through = scene.registry.told_through();
    assert_eq!(*through.borrow(), 0);
    scene.registry.note_told(registered.new.revision());
    let mark = Mark {
        through: *through.borrow(),
        ..START
    };
    let recovered = recover(&scene.registry, &scene.trail, mark).await;
    assert_eq!((recovered.unwrap(), told(&scene)), (0, Vec::new()));
}

/// The trail of the one, and the registry of the other, which lacks all but the first change.
async fn restored() -> (Scene, Scene) {
    let [scene, older] = [Scene::new().await, Scene::new().await];
    for scene in [&scene, &older] {
        change(scene, Change::Register(Box::new(draft())), "alice").await;
    }
    change(&scene, Change::Stand(Standing::Suspended), "carol").await;
    change(&scene, Change::Stand(Standing::Active), "alice").await;
    recover(&scene.registry, &scene.trail, START).await.unwrap();
    (scene, older)
}

/// The attack: what an operator does after a restoration has the number of something that is
/// lost, and the agent is killed before it is recorded.
#[tokio::test]
async fn a_lost_history_does_not_hide_what_was_not_told() {
    let (scene, older) = Box::pin(restored()).await;
    let mark = Mark {
        through: 1,
        after_seq: scene.trail.last_seq(),
        ..START
    };
    change(&older, Change::Stand(Standing::Suspended), "mallory").await;
    let recovered = recover(&older.registry, &scene.trail, mark).await;
    assert_eq!(recovered.unwrap(), 1);
    assert_eq!(
        told(&scene).split_off(4),
        ["repaired 0 by -", "suspended 2 by mallory"]
    );
    let again = recover(&older.registry, &scene.trail, mark).await;
    assert_eq!(again.unwrap(), 0);
}

#[tokio::test]
async fn a_registry_that_ends_before_what_is_told_is_told() {
    let (scene, older) = Box::pin(restored()).await;
    let mark = Mark {
        through: 3,
        ..START
    };
    let recovered = recover(&older.registry, &scene.trail, mark).await;
    assert_eq!(recovered.unwrap(), 0);
    let line = scene.lines().pop().unwrap();
    assert_eq!(line["event"], "repaired");
    assert_eq!(
        line["evidence"],
        serde_json::json!({"registry_revision": 1, "told_through": 3})
    );
}

/// A client that was registered, suspended and activated, of which the trail has only the latter.
async fn expunged() -> Scene {
    let scene = Scene::new().await;
    change(&scene, Change::Register(Box::new(draft())), "alice").await;
    change(&scene, Change::Stand(Standing::Suspended), "carol").await;
    let resumed = change(&scene, Change::Stand(Standing::Active), "alice").await;
    let left = events(Act::Change(Kind::Resumed), &resumed, "alice", "because");
    scene.trail.record_all(left).await.unwrap();
    scene
}

#[tokio::test]
async fn what_retention_has_removed_is_not_told_again_without_a_mark() {
    let scene = expunged().await;
    change(&scene, Change::Stand(Standing::Suspended), "mallory").await;
    let recovered = recover_unmarked(&scene.registry, &scene.trail).await;
    assert_eq!(recovered.unwrap(), 1);
    assert_eq!(
        told(&scene),
        [
            "resumed 3 by alice",
            "repaired 0 by -",
            "repaired 0 by -",
            "suspended 4 by mallory"
        ]
    );
    let evidence = scene.lines()[1]["evidence"].clone();
    assert_eq!(evidence, serde_json::json!({"undecided_through": 2}));
}

#[tokio::test]
async fn a_trail_that_tells_of_no_change_decides_nothing() {
    let scene = Scene::new().await;
    change(&scene, Change::Register(Box::new(draft())), "alice").await;
    let recovered = recover_unmarked(&scene.registry, &scene.trail).await;
    assert_eq!(recovered.unwrap(), 0);
    assert_eq!(told(&scene), ["repaired 0 by -"]);
    let evidence = scene.lines()[0]["evidence"].clone();
    assert_eq!(evidence, serde_json::json!({"undecided_through": 1}));
}

#[tokio::test]
async fn what_was_restored_is_told_by_its_restoration() {
    let (scene, older) = Box::pin(restored()).await;
    let evidence = serde_json::json!({"revision": 1});
    let restored = Event::new(Kind::Restored).evidence(&evidence).unwrap();
    scene.trail.record(restored).await.unwrap();
    change(&older, Change::Stand(Standing::Suspended), "mallory").await;
    let recovered = recover_unmarked(&older.registry, &scene.trail).await;
    assert_eq!(recovered.unwrap(), 1);
    assert_eq!(
        told(&scene).split_off(4),
        [
            "restored 0 by -",
            "repaired 0 by -",
            "suspended 2 by mallory"
        ]
    );
}
