//! Changes that are made together: all of them, or none.

use super::{Running, actor, config, draft, name};
use crate::registry::{
    Change, ClientDraft, Command, MemoryStore, Reason, RegistryConfig, RegistryError, Standing,
    Store as _,
};
use std::sync::Arc;

fn command(client: &str, change: Change) -> Command {
    Command {
        name: name(client),
        change,
        actor: actor(),
        reason: Reason::default(),
    }
}

fn register(client: &str) -> Command {
    command(client, Change::Register(Box::new(draft(&["unix:uid:7"]))))
}

fn follow(client: &str, last: u64) -> Command {
    let draft = ClientDraft {
        purpose: "another".into(),
        ..draft(&["unix:uid:7"])
    };
    command(client, Change::Follow(Box::new(draft), last))
}

#[tokio::test]
async fn all_are_made_each_after_those_before_it() {
    let store = Arc::new(MemoryStore::new());
    let running = Running::on(Arc::<MemoryStore>::clone(&store)).await;
    let orders = vec![register("a"), register("b"), follow("a", 1)];
    let made = running.registry.change_all(orders).await;
    let numbers = made
        .iter()
        .map(|made| made.as_ref().unwrap().new.version().number);
    assert_eq!(numbers.collect::<Vec<_>>(), [1, 1, 2]);
    assert_eq!(store.read(0, 10).await.unwrap().len(), 3);
    assert_eq!(running.matching(&["unix:uid:7"]), ["a", "b"]);
    assert!(running.registry.change_all(Vec::new()).await.is_empty());
}

#[tokio::test]
async fn one_that_is_refused_leaves_no_trace_of_the_others() {
    let store = Arc::new(MemoryStore::new());
    let running = Running::on(Arc::<MemoryStore>::clone(&store)).await;
    running
        .register("old", draft(&["unix:uid:1"]))
        .await
        .unwrap();
    let orders = vec![
        register("a"),
        register("old"),
        register("b"),
        follow("none", 1),
    ];
    let answers = running.registry.change_all(orders).await;
    assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
    assert!(matches!(answers[1], Err(RegistryError::NameTaken(_))));
    assert!(matches!(answers[3], Err(RegistryError::NotFound(_))));
    assert_eq!(store.read(0, 10).await.unwrap().len(), 1);
    assert_eq!(running.registry.snapshot().len(), 1);
    assert!(running.matching(&["unix:uid:7"]).is_empty());
    // The name is free, and revisions follow on.
    running.register("a", draft(&["unix:uid:7"])).await.unwrap();
    assert_eq!(running.registry.snapshot().revision(), 2);
}

#[tokio::test]
async fn a_rehearsal_tells_and_changes_nothing() {
    let running = Running::new().await;
    let generation = running.registry.snapshot().generation();
    let tried = running
        .registry
        .rehearse(vec![register("a"), follow("a", 1)])
        .await;
    assert_eq!(tried[1].as_ref().unwrap().new.version().number, 2);
    let tried = running
        .registry
        .rehearse(vec![register("a"), register("a")])
        .await;
    assert!(matches!(tried[1], Err(RegistryError::NameTaken(_))));
    let snapshot = running.registry.snapshot();
    assert!(snapshot.is_empty() && snapshot.generation() == generation);
    running.register("a", draft(&["unix:uid:7"])).await.unwrap();
}

#[tokio::test]
async fn a_version_follows_only_the_last_one_also_where_that_awaits_approval() {
    let config = RegistryConfig {
        approvals_required: 1,
        ..config()
    };
    let running = Running::with(Arc::new(MemoryStore::new()), config)
        .await
        .unwrap();
    running.register("a", draft(&["unix:uid:7"])).await.unwrap();
    running.update("a", draft(&["unix:uid:8"])).await.unwrap();
    let late = running.registry.change_all(vec![follow("a", 1)]).await;
    let Err(error @ RegistryError::NotTheLast { .. }) = &late[0] else {
        panic!("{late:?}")
    };
    assert_eq!(
        error.to_string(),
        "the last version of client a is 2, not 1"
    );
    let made = running.registry.change_all(vec![follow("a", 2)]).await;
    assert_eq!(made[0].as_ref().unwrap().voided().count(), 1);
    running.stand("a", Standing::Revoked).await.unwrap();
    let revoked = running.registry.change_all(vec![follow("a", 3)]).await;
    assert!(matches!(revoked[0], Err(RegistryError::WrongState { .. })));
}

#[tokio::test]
async fn a_batch_cannot_exceed_what_may_be_registered() {
    let config = RegistryConfig {
        max_clients: 2,
        ..config()
    };
    let running = Running::with(Arc::new(MemoryStore::new()), config)
        .await
        .unwrap();
    let orders = vec![register("a"), register("b"), register("c")];
    let answers = running.registry.change_all(orders).await;
    assert!(matches!(answers[2], Err(RegistryError::Full { .. })));
    assert!(running.registry.snapshot().is_empty());
}
