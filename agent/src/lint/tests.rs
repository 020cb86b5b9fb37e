use super::{Finding, Linter, Subject};
use crate::{
    registry::ClientDraft,
    workloads::testing::{Scene, draft},
};
use std::sync::Arc;

fn linter(scene: &Scene) -> Linter {
    Linter::new(
        scene.attestor(),
        Arc::<crate::clock::ManualClock>::clone(&scene.clock),
    )
}

fn with(selectors: &[&str], owner: &str) -> ClientDraft {
    ClientDraft {
        owner: owner.to_owned(),
        selector_sets: vec![selectors.iter().map(ToString::to_string).collect()],
        ..draft()
    }
}

async fn judged(scene: &Scene, client: &str) -> Vec<Finding> {
    let snapshot = scene.registry.snapshot();
    let name = client.parse().unwrap();
    let subject = Subject::of(snapshot.client(&name).unwrap());
    linter(scene).judge(subject, snapshot).await
}

fn ids(found: &[Finding]) -> Vec<String> {
    found
        .iter()
        .map(|finding| format!("{} {}", finding.weakness.id(), finding.severity.as_str()))
        .collect()
}

#[tokio::test]
async fn sets_within_each_other_overlap_in_both_directions() {
    let scene = Scene::new().await;
    scene
        .register_as("wide", with(&["unix:uid:998"], "a"))
        .await;
    scene
        .register_as("narrow", with(&["unix:uid:998", "unix:gid:998"], "a"))
        .await;
    scene
        .register_as("apart", with(&["unix:uid:997"], "a"))
        .await;
    for (client, other) in [("wide", "narrow"), ("narrow", "wide")] {
        let found = judged(&scene, client).await;
        assert_eq!(ids(&found), ["overlap notice"], "{client}");
        assert!(found[0].explanation.contains(other), "{found:?}");
    }
    assert_eq!(judged(&scene, "apart").await, []);
}

#[tokio::test]
async fn an_overlap_with_another_owner_is_serious() {
    let scene = Scene::new().await;
    scene
        .register_as("mine", with(&["unix:uid:998"], "a"))
        .await;
    scene
        .register_as("theirs", with(&["unix:uid:998"], "b"))
        .await;
    assert_eq!(ids(&judged(&scene, "mine").await), ["overlap serious"]);
    scene.suspend("theirs").await;
    assert_eq!(judged(&scene, "mine").await, []);
}

#[tokio::test]
async fn any_audience_is_noticed() {
    let scene = Scene::new().await;
    let any = ClientDraft {
        audiences: vec!["*".to_owned()],
        ..with(&["unix:uid:998"], "a")
    };
    let client = scene.register_as("client", any).await;
    assert_eq!(
        ids(&judged(&scene, "client").await),
        ["any-audience notice"]
    );
    assert_eq!(
        ids(&super::of_client(client.spec())),
        ["any-audience notice"]
    );
}
