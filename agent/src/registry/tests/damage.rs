//! A store that was damaged, or is another trust domain's: refused, or served as it was.

use super::{
    Arc, RedbStore, RegistryConfig, RegistryError, Running, SpecError, Standing, TrustDomain,
    config, draft,
};
use crate::registry::{Checkup, MemoryStore, Record, RecordFault, SpecRules, Store};
use std::{fs, os::unix::fs::FileExt as _, path::Path};

/// How many bits turn, one after the other.
const FLIPS: usize = 200;

/// Everything that a reader of the store at `path` can learn; `None` where it is refused.
async fn served(path: &Path) -> Option<Vec<String>> {
    let store = RedbStore::open(path).await.ok()?;
    let running = Running::with(Arc::new(store), config()).await.ok()?;
    let clients = clients(&running);
    running.stop().await;
    Some(clients)
}

fn clients(running: &Running) -> Vec<String> {
    let snapshot = running.registry.snapshot();
    let clients = snapshot.iter().map(|client| format!("{client:?}"));
    clients.collect()
}

/// Makes a store with some history; what it shows before and after each change.
async fn some_history(path: &Path) -> Vec<Vec<String>> {
    let running = Running::on(Arc::new(RedbStore::open(path).await.unwrap())).await;
    let mut history = vec![Vec::new()];
    for change in 0..12 {
        let name = format!("c{}", change % 5);
        let done = match change {
            0..5 => running.register(&name, draft(&["unix:uid:1"])).await,
            5..10 => running.update(&name, draft(&["unix:uid:2"])).await,
            _ => running.stand(&name, Standing::Suspended).await,
        };
        done.unwrap();
        history.push(clients(&running));
    }
    running.stop().await;
    history
}

/// Bits turn in all parts of the file that are or were in use. redb alone would not see it
/// in a document, and may bring back an older state of the file; that is refused as well.
#[tokio::test]
async fn a_damaged_file_is_refused_or_serves_all_that_was_registered() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    let history = some_history(&path).await;
    let whole = fs::read(&path).unwrap();
    let used = (0..).zip(&whole).filter(|(_, byte)| **byte != 0);
    let used: Vec<(u64, &u8)> = used.collect();
    let step = 1 + used.len() / FLIPS;
    let (mut refused, mut unharmed) = (0, 0);
    for (offset, byte) in used.into_iter().step_by(step) {
        fs::write(&path, &whole).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.write_all_at(&[byte ^ 0x10], offset).unwrap();
        match served(&path).await {
            None => refused += 1,
            Some(clients) => {
                let whole = history.last() == Some(&clients);
                assert!(whole, "byte {offset}: {clients:?}");
                unharmed += 1;
            }
        }
    }
    assert!(refused > 0 && unharmed > 0, "{refused}, {unharmed}");
}

/// Whoever can write to the file can do more; this is what a careless edit does.
#[tokio::test]
async fn a_registration_that_was_edited_in_the_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    some_history(&path).await;
    let mut bytes = fs::read(&path).unwrap();
    let (from, to) = (b"unix:uid:2", b"unix:uid:0");
    while let Some(at) = bytes.windows(from.len()).position(|part| part == from) {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    fs::write(&path, bytes).unwrap();
    assert_eq!(served(&path).await, None);
}

#[tokio::test]
async fn a_store_of_another_trust_domain_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    some_history(&path).await;
    let elsewhere = RegistryConfig {
        rules: SpecRules {
            trust_domain: TrustDomain::new("example.net").unwrap(),
            ..config().rules
        },
        ..config()
    };
    let store = Arc::new(RedbStore::open(&path).await.unwrap());
    let opened = Running::with(store, elsewhere).await.map(drop);
    let Err(RegistryError::Record(error)) = opened else {
        panic!("{opened:?}")
    };
    assert!(
        matches!(
            error.fault,
            RecordFault::Spec(SpecError::ForeignTrustDomain { .. })
        ),
        "{error}"
    );
    assert_eq!(error.revision, 1);
}

#[tokio::test]
async fn a_checkup_names_the_first_bad_record_of_each_client_and_goes_on() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let running = Running::on(Arc::clone(&store)).await;
    for (client, uid) in [("a", "unix:uid:1"), ("b", "unix:uid:2")] {
        running.register(client, draft(&[uid])).await.unwrap();
    }
    for client in ["a", "b", "a"] {
        running
            .update(client, draft(&["unix:uid:3"]))
            .await
            .unwrap();
    }
    running.stop().await;
    let records = store.read(0, 100).await.unwrap();
    let report = |records: &[Record]| {
        let mut checkup = Checkup::expecting(records.last().map(|l| (l.revision, l.digest)));
        records.iter().for_each(|record| checkup.take(record));
        checkup.end()
    };
    let whole = report(&records);
    assert!(whole.whole && whole.clients == 2, "{whole:?}");

    let mut damaged = records.clone();
    let text = String::from_utf8(damaged[2].document.to_vec()).unwrap();
    damaged[2].document = text.replace("unix:uid:3", "unix:uid:0").into();
    let found = report(&damaged);
    let [flaw] = found.findings.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!((flaw.revision, flaw.client.as_deref()), (3, Some("a")));
    assert!(flaw.what.contains("digest"), "{flaw:?}");

    // Of another one the first is missing; the link tells.
    let mut checkup = Checkup::expecting(Some((9, records[0].digest)));
    checkup.take(&records[1]);
    checkup.take(&records[2]);
    checkup.take(&records[3]);
    let found = checkup.end();
    let told: Vec<_> = found.findings.iter().map(|flaw| flaw.revision).collect();
    assert_eq!(told, [3, 9], "{found:?}");

    let store = MemoryStore::new();
    store.append(damaged).await.unwrap();
    let opened = Running::with(Arc::new(store), config()).await.map(drop);
    let Err(RegistryError::Record(error)) = opened else {
        panic!("{opened:?}")
    };
    assert!(error.to_string().contains("client \"a\""), "{error}");
    assert!(error.remedy().contains("registry verify"));
}
