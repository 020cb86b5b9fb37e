//! What survives: restarts, failing stores, other writers, callers that give up.

use super::{
    Arc, ClientDraft, Duration, MemoryStore, Reason, RedbStore, Registry, RegistryError, Running,
    START, Standing, Store, actor, config, draft, name,
};
use crate::registry::{Record, StoreError, limits};
use futures_util::future::{BoxFuture, FutureExt as _, join_all};
use parking_lot::Mutex;
use std::{io, mem};
use tokio::sync::watch;

/// A store that fails when told to.
#[derive(Debug, Default)]
struct FailingStore {
    inner: MemoryStore,
    next: Mutex<Next>,
}

/// What the next append does.
#[derive(Debug, Default)]
enum Next {
    #[default]
    Works,
    /// Fails, and keeps nothing.
    Fails,
    /// Fails, but the records were kept.
    FailsAfterwards,
}

impl Store for FailingStore {
    fn read(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        self.inner.read(after, limit)
    }

    fn get(&self, revisions: Vec<u64>) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        self.inner.get(revisions)
    }

    fn append(&self, records: Vec<Record>) -> BoxFuture<'_, Result<(), StoreError>> {
        let next = mem::take(&mut *self.next.lock());
        async move {
            let full =
                || StoreError::Unavailable(Box::new(io::Error::from(io::ErrorKind::StorageFull)));
            match next {
                Next::Works => self.inner.append(records).await,
                Next::Fails => Err(full()),
                Next::FailsAfterwards => self.inner.append(records).await.and(Err(full())),
            }
        }
        .boxed()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes()
    }
}

/// Everything that a reader can learn.
fn everything(running: &Running) -> Vec<String> {
    running
        .registry
        .snapshot()
        .iter()
        .map(|client| format!("{client:?}"))
        .collect()
}

async fn some_history(running: &Running) {
    for client in ["a", "b", "c", "d"] {
        let draft = ClientDraft {
            expires_at: (client == "d").then_some(*START + Duration::from_secs(5)),
            ..draft(&["unix:uid:1", &format!("unix:path:/{client}")])
        };
        running.register(client, draft).await.unwrap();
    }
    running.update("b", draft(&["unix:uid:2"])).await.unwrap();
    running.stand("b", Standing::Suspended).await.unwrap();
    running.stand("b", Standing::Active).await.unwrap();
    running.stand("c", Standing::Revoked).await.unwrap();
}

#[tokio::test]
async fn a_restart_serves_what_was_served_before() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    let before = {
        let running = Running::on(Arc::new(RedbStore::open(&path).await.unwrap())).await;
        some_history(&running).await;
        let Running {
            mut _writer,
            registry,
            clock,
        } = running;
        _writer.shutdown().await;
        everything(&Running {
            registry,
            clock,
            _writer,
        })
    };
    let running = Running::on(Arc::new(RedbStore::open(&path).await.unwrap())).await;
    assert_eq!(everything(&running), before);
    assert_eq!(before.len(), 4);
    assert_eq!(
        running.matching(&["unix:path:/a", "unix:uid:1", "unix:uid:2"]),
        ["a", "b"]
    );
    let again = running.register("c", draft(&["unix:uid:1"])).await;
    assert!(matches!(again, Err(RegistryError::NameTaken(_))));
}

#[tokio::test]
async fn a_log_longer_than_one_read_is_served_whole() {
    const CLIENTS: usize = limits::RECORDS_PER_READ + 1_000;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    let running = Running::on(Arc::new(RedbStore::open(&path).await.unwrap())).await;
    let names: Vec<_> = (0..CLIENTS).map(|n| format!("c{n}")).collect();
    let register =
        |(n, name)| running.register(name, draft(&["unix:gid:1", &format!("unix:uid:{n}")]));
    let registered = names.iter().map(String::as_str).enumerate().map(register);
    assert!(join_all(registered).await.iter().all(Result::is_ok));
    let before = everything(&running);
    running.stop().await;

    let running = Running::on(Arc::new(RedbStore::open(&path).await.unwrap())).await;
    assert!(everything(&running) == before);
    for n in [0, 1, limits::RECORDS_PER_READ, CLIENTS - 1] {
        let uid = format!("unix:uid:{n}");
        assert_eq!(running.matching(&["unix:gid:1", &uid]), [format!("c{n}")]);
    }
}

#[tokio::test]
async fn a_change_that_the_store_refused_is_not_served() {
    let store = Arc::new(FailingStore::default());
    let running = Running::on(Arc::<FailingStore>::clone(&store)).await;
    running.register("a", draft(&["unix:uid:1"])).await.unwrap();
    *store.next.lock() = Next::Fails;
    let refused = running.stand("a", Standing::Suspended).await;
    assert!(
        matches!(refused, Err(RegistryError::Store(_))),
        "{refused:?}"
    );
    assert_eq!(running.matching(&["unix:uid:1"]), ["a"]);
    // The store works again, and so does the registry.
    running.stand("a", Standing::Suspended).await.unwrap();
    assert!(running.matching(&["unix:uid:1"]).is_empty());
}

#[tokio::test]
async fn a_change_that_the_store_kept_after_all_is_served() {
    let store = Arc::new(FailingStore::default());
    let running = Running::on(Arc::<FailingStore>::clone(&store)).await;
    *store.next.lock() = Next::FailsAfterwards;
    let unclear = running.register("a", draft(&["unix:uid:1"])).await;
    assert!(
        matches!(unclear, Err(RegistryError::Store(_))),
        "{unclear:?}"
    );
    assert_eq!(running.matching(&["unix:uid:1"]), ["a"]);
    let untold = running.registry.untold();
    assert!(untold.borrow().iter().eq([&1]), "{untold:?}");
    running.register("b", draft(&["unix:uid:2"])).await.unwrap();
    assert_eq!(running.registry.snapshot().revision(), 2);
}

#[tokio::test]
async fn what_another_writer_stores_is_served_without_anybody_asking() {
    let store = Arc::new(MemoryStore::new());
    let here = Running::on(Arc::<MemoryStore>::clone(&store)).await;
    let there = Running::on(store).await;
    let mut changes = here.registry.changes();
    changes.mark_unchanged();
    there.register("a", draft(&["unix:uid:1"])).await.unwrap();
    changes.changed().await.unwrap();
    assert_eq!(here.matching(&["unix:uid:1"]), ["a"]);
}

#[tokio::test]
async fn two_writers_never_give_a_name_twice() {
    let store = Arc::new(MemoryStore::new());
    let here = Running::on(Arc::<MemoryStore>::clone(&store)).await;
    let there = Running::on(store).await;
    for n in 0..50 {
        let name = format!("c{n}");
        let (one, two) = tokio::join!(
            here.register(&name, draft(&["unix:uid:1"])),
            there.register(&name, draft(&["unix:uid:2"])),
        );
        assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    }
}

#[tokio::test]
async fn registries_on_one_file_serve_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let store = RedbStore::open(directory.path().join("registry.redb"));
    let store = store.await.unwrap();
    let here = Running::on(Arc::new(store.clone())).await;
    let there = Running::on(Arc::new(store)).await;
    let mut changes = here.registry.changes();
    for n in 0..20 {
        let name = format!("c{n}");
        let (one, two) = tokio::join!(
            here.register(&name, draft(&["unix:uid:1"])),
            there.register(&name, draft(&["unix:uid:2"])),
        );
        assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
        there.stand(&name, Standing::Suspended).await.unwrap();
    }
    let last = |_: &u64| here.registry.snapshot().revision() == 40;
    changes.wait_for(last).await.unwrap();
    assert_eq!(everything(&here), everything(&there));
}

#[tokio::test]
async fn waiting_changes_are_decided_in_order_and_made_durable_together() {
    let store = Arc::new(MemoryStore::new());
    let running = Running::on(Arc::<MemoryStore>::clone(&store)).await;
    let mut changes = running.registry.changes();
    let before = *changes.borrow_and_update();
    let (first, same, suspended, other) = tokio::join!(
        running.register("a", draft(&["unix:uid:1"])),
        running.register("a", draft(&["unix:uid:2"])),
        running.stand("a", Standing::Suspended),
        running.register("b", draft(&["unix:uid:3"])),
    );
    assert_eq!(first.unwrap().standing(), Standing::Active);
    assert!(matches!(same, Err(RegistryError::NameTaken(_))));
    assert_eq!(suspended.unwrap().standing(), Standing::Suspended);
    other.unwrap();
    assert_eq!(*changes.borrow_and_update(), before + 1);
    assert_eq!(store.read(0, 9).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_caller_that_gave_up_before_its_turn_changes_nothing() {
    let clock = Arc::new(crate::clock::ManualClock::new(*START));
    let store = Arc::new(MemoryStore::new());
    let (registry, writer) = Registry::open(store, config(), clock).await.unwrap();
    let given_up = registry.register(
        name("a"),
        draft(&["unix:uid:1"]),
        actor(),
        Reason::default(),
    );
    // Polled once, so that the command waits; the writer has not begun.
    assert!(given_up.now_or_never().is_none());
    let waiting = registry.register(
        name("b"),
        draft(&["unix:uid:1"]),
        actor(),
        Reason::default(),
    );
    tokio::select! {
        () = writer.run() => panic!("the writer ended"),
        done = waiting => drop(done.unwrap()),
    }
    assert!(registry.snapshot().client(&name("a")).is_none());
    assert!(registry.snapshot().client(&name("b")).is_some());
}
