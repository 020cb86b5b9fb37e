//! A store as an agent wrote it that knew no approvals: `recorded/schema-1.txt` has its bytes.
//!
//! Each line of the recording has 32 bytes in hexadecimal, or one that fills them, behind
//! the number of equal ones where there are several.

use super::{Arc, ClientState, RedbStore, Running, Standing, draft, name};
use crate::registry::{Checkup, Deed, Effect, Store as _};
use std::{fs, os::unix::fs::OpenOptionsExt as _, path::Path};

const RECORDED: &str = include_str!("recorded/schema-1.txt");

/// Of the version that was in force, as that agent showed it.
const BILLING: &str = "unix:path:/usr/bin/billing";

fn recorded() -> Vec<u8> {
    let rows = RECORDED.lines().flat_map(|line| {
        let (count, hex) = line.split_once(' ').unwrap_or(("1", line));
        let digits = hex.as_bytes().chunks(2);
        let bytes = digits.map(|pair| std::str::from_utf8(pair).unwrap());
        let bytes: Vec<_> = bytes.map(|p| u8::from_str_radix(p, 16).unwrap()).collect();
        let row = bytes.repeat(32 / bytes.len());
        row.repeat(count.parse().unwrap())
    });
    rows.collect()
}

fn placed(path: &Path) {
    let mut options = fs::OpenOptions::new();
    let options = options.write(true).create_new(true).mode(0o600);
    options.open(path).unwrap();
    fs::write(path, recorded()).unwrap();
}

#[tokio::test]
async fn a_store_of_before_approvals_is_brought_forward_and_served_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    placed(&path);
    let running = Running::on(Arc::new(RedbStore::open(&path).await.unwrap())).await;
    let snapshot = running.registry.snapshot();
    assert_eq!((snapshot.len(), snapshot.revision()), (3, 8));
    assert_eq!(running.state("billing-tools"), ClientState::Active);
    assert_eq!(running.state("search"), ClientState::Suspended);
    assert_eq!(running.state("gone"), ClientState::Revoked);
    let billing = snapshot.client(&name("billing-tools")).unwrap();
    assert_eq!(billing.version().number, 2);
    assert_eq!(billing.version().approvals_required, 0);
    assert!(billing.has_version_in_force() && !billing.awaits_approval());
    let present = ["unix:uid:1000", BILLING];
    assert_eq!(running.matching(&present), ["billing-tools"]);

    let mut history = running.registry.history(&name("billing-tools")).unwrap();
    let mut deeds = Vec::new();
    while let Some(entry) = history.next().await.unwrap() {
        assert_eq!(entry.applied.effect, Effect::InForce);
        deeds.push(entry.deed);
    }
    let (version, state) = (Deed::Version, Deed::State);
    assert_eq!(deeds, [version(1), version(2), state(1), state(2)]);
    drop(history);

    // And it goes on from there.
    running.stand("search", Standing::Active).await.unwrap();
    let updated = running
        .update("billing-tools", draft(&["unix:uid:7"]))
        .await;
    assert_eq!(updated.unwrap().version().number, 3);
    running.stop().await;
    let running = Running::on(Arc::new(RedbStore::open(&path).await.unwrap())).await;
    assert_eq!(running.registry.snapshot().revision(), 10);
}

#[tokio::test]
async fn the_old_store_is_verified_without_being_brought_forward() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    placed(&path);
    let store = RedbStore::glimpse(&path).await.unwrap();
    let mut checkup = Checkup::default();
    for record in store.read(0, 100).await.unwrap() {
        checkup.take(&record);
    }
    let report = checkup.end();
    assert!(report.whole, "{report:?}");
    assert_eq!((report.revision, report.clients), (8, 3));
    assert_eq!(report.trust_domain.as_deref(), Some("example.org"));
    assert!(fs::read(&path).unwrap() == recorded());
}
