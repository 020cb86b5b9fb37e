//! Files propose, people approve.

use super::Scene;
use crate::registry::{Reason, Subject, Verdict};

const DOCUMENT: &str =
    "name: web\nowner: team\nselector_sets: [[\"unix:uid:4242\"]]\naccept_weak: a test\n";
const OTHER: &str =
    "name: web\nowner: others\nselector_sets: [[\"unix:uid:4242\"]]\naccept_weak: a test\n";

impl Scene {
    async fn decide(&self, verdict: Verdict) {
        let registry = &self.services.registry;
        let client = registry.snapshot().client(&"web".parse().unwrap()).cloned();
        let client = client.unwrap();
        let (subject, digest) = match (client.pending(), client.pending_resumption()) {
            (Some(pending), _) => (Subject::Version(pending.what.number), pending.what.digest),
            (_, pending) => {
                let change = &pending.unwrap().what;
                (Subject::State(change.number), change.digest)
            }
        };
        let reason: Reason = "seen".parse().unwrap();
        let decision = (subject, digest, verdict);
        let name = client.name().clone();
        let decided = registry.decide(name, decision, "alice".parse().unwrap(), reason);
        decided.await.unwrap();
    }

    /// Some rounds, which must come to the same as one.
    async fn rounds(&mut self) {
        for _ in 0..3 {
            self.applier.round().await;
        }
    }

    fn revision(&self) -> u64 {
        self.services.registry.snapshot().revision()
    }
}

#[tokio::test]
async fn what_files_say_is_proposed_once_and_served_once_it_is_approved() {
    let mut scene = Scene::requiring(1).await;
    scene.write("a.yaml", DOCUMENT);
    scene.rounds().await;
    assert_eq!(scene.client("web"), "new 1 file:a.yaml");
    assert_eq!(scene.revision(), 1);
    scene.decide(Verdict::Approve).await;
    scene.rounds().await;
    assert_eq!(scene.client("web"), "active 1 file:a.yaml");
    assert_eq!(scene.revision(), 2);

    scene.write("a.yaml", OTHER);
    scene.rounds().await;
    assert_eq!(scene.client("web"), "active 1 file:a.yaml");
    assert_eq!(scene.revision(), 3);
    scene.decide(Verdict::Approve).await;
    assert_eq!(scene.client("web"), "active 2 file:a.yaml");
}

#[tokio::test]
async fn what_was_rejected_is_not_proposed_again_until_the_document_changes() {
    let mut scene = Scene::requiring(1).await;
    scene.write("a.yaml", DOCUMENT);
    scene.rounds().await;
    scene.decide(Verdict::Reject).await;
    scene.rounds().await;
    assert_eq!(scene.revision(), 2);
    scene.write("a.yaml", OTHER);
    scene.rounds().await;
    assert_eq!(scene.revision(), 3);
    scene.decide(Verdict::Approve).await;
    assert_eq!(scene.client("web"), "active 2 file:a.yaml");
    let told = scene.trail().await;
    let told: Vec<_> = told
        .iter()
        .filter(|line| line.starts_with("refused"))
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("was rejected by alice: seen"), "{told:?}");
}

#[tokio::test]
async fn what_an_operator_has_proposed_is_not_pushed_aside() {
    let mut scene = Scene::requiring(1).await;
    scene.write("a.yaml", DOCUMENT);
    scene.rounds().await;
    scene.decide(Verdict::Approve).await;
    scene.by_hand("web", "operators").await;
    scene.write("a.yaml", OTHER);
    scene.rounds().await;
    assert_eq!(scene.revision(), 3);
    scene.decide(Verdict::Reject).await;
    scene.rounds().await;
    assert_eq!(scene.revision(), 5);
}

#[tokio::test]
async fn a_name_that_is_gone_is_suspended_and_its_return_is_approved() {
    let mut scene = Scene::requiring(1).await;
    scene.write("a.yaml", DOCUMENT);
    scene.rounds().await;
    scene.decide(Verdict::Approve).await;
    scene.remove("a.yaml");
    scene.rounds().await;
    assert_eq!(scene.client("web"), "suspended 1 file:a.yaml");
    scene.write("a.yaml", DOCUMENT);
    scene.rounds().await;
    assert_eq!(scene.client("web"), "suspended 1 file:a.yaml");
    assert_eq!(scene.revision(), 4);
    scene.decide(Verdict::Approve).await;
    assert_eq!(scene.client("web"), "active 1 file:a.yaml");
}
