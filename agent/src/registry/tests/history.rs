//! A client's history is what its records say, and any version that was in force can come back.

use super::{
    Actor, Arc, MemoryStore, Reason, RedbStore, RegistryConfig, RegistryError, Running, Standing,
    config, draft, name,
};
use crate::registry::{Deed, Effect, Proposal as _, Store, Subject, Verdict};

async fn told(running: &Running, client: &str) -> Vec<(Deed, Effect)> {
    let mut history = running.registry.history(&name(client)).unwrap();
    let mut told = Vec::new();
    let mut last = 0;
    while let Some(entry) = history.next().await.unwrap() {
        assert!(entry.revision > last);
        last = entry.revision;
        told.push((entry.deed, entry.applied.effect));
    }
    told
}

async fn some_history(store: Arc<dyn Store>) -> Running {
    let config = RegistryConfig {
        approvals_required: 1,
        ..config()
    };
    let running = Running::with(store, config).await.unwrap();
    for uid in 1..4 {
        let draft = draft(&[&format!("unix:uid:{uid}")]);
        let client = match uid {
            1 => running.register("web", draft).await,
            _ => running.update("web", draft).await,
        };
        let version = Arc::clone(&client.unwrap().pending().unwrap().what);
        // Between them, those of another client.
        let other = format!("c{uid}");
        let other = running.register(&other, super::draft(&["unix:uid:9"]));
        other.await.unwrap();
        let verdict = match uid {
            2 => Verdict::Reject,
            _ => Verdict::Approve,
        };
        let alice: Actor = "alice".parse().unwrap();
        let reason: Reason = "seen".parse().unwrap();
        let decision = (version.subject(), version.digest, verdict);
        let decided = running
            .registry
            .decide(name("web"), decision, alice, reason);
        decided.await.unwrap();
    }
    running.stand("web", Standing::Suspended).await.unwrap();
    running
}

#[tokio::test]
async fn a_history_is_told_in_order_and_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    let expected = [
        (Deed::Version(1), Effect::Proposed),
        (
            Deed::Decision(Subject::Version(1), Verdict::Approve),
            Effect::InForce,
        ),
        (Deed::Version(2), Effect::Proposed),
        (
            Deed::Decision(Subject::Version(2), Verdict::Reject),
            Effect::Declined,
        ),
        (Deed::Version(3), Effect::Proposed),
        (
            Deed::Decision(Subject::Version(3), Verdict::Approve),
            Effect::InForce,
        ),
        (Deed::State(1), Effect::InForce),
    ];
    let store = Arc::new(RedbStore::open(&path).await.unwrap());
    let running = some_history(store).await;
    assert_eq!(told(&running, "web").await, expected);
    running.stop().await;
    let running = Running::on(Arc::new(RedbStore::open(&path).await.unwrap())).await;
    assert_eq!(told(&running, "web").await, expected);
    assert_eq!(told(&running, "c1").await.len(), 1);
    let unknown = running.registry.history(&name("nobody"));
    assert!(matches!(unknown, Err(RegistryError::NotFound(_))));
}

#[tokio::test]
async fn a_long_history_is_told_whole() {
    let running = Running::new().await;
    running
        .register("web", draft(&["unix:uid:0"]))
        .await
        .unwrap();
    for uid in 1..200 {
        let draft = draft(&[&format!("unix:uid:{uid}")]);
        running.update("web", draft).await.unwrap();
    }
    assert_eq!(told(&running, "web").await.len(), 200);
}

#[tokio::test]
async fn what_was_in_force_comes_back_as_a_draft_of_the_same_content() {
    let running = some_history(Arc::new(MemoryStore::new())).await;
    let registry = &running.registry;
    let first = registry.past_version(&name("web"), 1).await.unwrap();
    let rules = &config().rules;
    let again = first.spec.draft().check(&name("web"), rules, *super::START);
    assert_eq!(again.unwrap(), first.spec);
    let rejected = registry.past_version(&name("web"), 2).await;
    assert!(matches!(rejected, Err(RegistryError::NeverInForce(_, 2))));
    let unknown = registry.past_version(&name("web"), 4).await;
    assert!(matches!(unknown, Err(RegistryError::NoVersion(_, 4))));
}
