//! A crash, a power failure or a full disk at any operation loses no confirmed record.

mod disk;
mod file;
mod keeping;
mod process;

use super::{Record, RedbStore, Store as _, StoreError, initialize};
use crate::registry::Digest;
use disk::{Disk, Op};
use proptest::prelude::*;
use std::{
    fs,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink},
    path::Path,
    sync::LazyLock,
};

fn record(revision: u64) -> Record {
    // Of different lengths, from a few bytes to more than a page.
    let length = usize::try_from(revision * 977 % 6_000).unwrap();
    let document = format!("{{\"n\":{revision},\"x\":\"{}\"}}", "x".repeat(length));
    Record {
        revision,
        digest: Digest::of(document.as_bytes()),
        document: document.into(),
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread();
    { runtime }.build().unwrap().block_on(future)
}

async fn on_disk(disk: &Disk) -> Result<RedbStore, StoreError> {
    let disk = disk.clone();
    RedbStore::with(Box::new(move || disk.open()), None).await
}

/// A disk with an empty log, to which nothing has been done since.
fn formatted() -> Disk {
    let disk = Disk::default();
    initialize(&disk.open().unwrap()).unwrap();
    Disk::after(&disk.done())
}

/// What was done to a disk while records were appended, and when each was confirmed.
struct Run {
    before: Vec<Op>,
    ops: Vec<Op>,
    confirmed_at: Vec<usize>,
}

impl Run {
    fn of(commits: u64) -> Self {
        let disk = Disk::default();
        initialize(&disk.open().unwrap()).unwrap();
        let before = disk.done();
        let disk = Disk::after(&before);
        let confirmed_at = block_on(async {
            let store = on_disk(&disk).await.unwrap();
            let mut confirmed_at = Vec::new();
            for revision in 1..=commits {
                store.append(vec![record(revision)]).await.unwrap();
                confirmed_at.push(disk.count());
            }
            confirmed_at
        });
        Self {
            before,
            ops: disk.done(),
            confirmed_at,
        }
    }

    /// How many records were confirmed when `count` operations had been done.
    fn confirmed(&self, count: usize) -> usize {
        self.confirmed_at.iter().filter(|at| **at <= count).count()
    }

    /// Opens a disk on which `arrived` did, after `count` operations had been done.
    fn check<'a>(&'a self, count: usize, arrived: impl Iterator<Item = &'a Op>) {
        let disk = Disk::after(self.before.iter().chain(arrived));
        block_on(async {
            let store = on_disk(&disk).await.unwrap();
            let found = whole_log(&store).await;
            let confirmed = self.confirmed(count);
            assert!(
                found.len() >= confirmed,
                "{count}: {} of {confirmed}",
                found.len()
            );
            assert!(found.len() <= confirmed + 1, "{count}: out of nowhere");
            let next = found.len() as u64 + 1;
            store.append(vec![record(next)]).await.unwrap();
            assert_eq!(whole_log(&store).await.len() as u64, next);
        });
    }
}

/// All records, which must be those that were written.
async fn whole_log(store: &RedbStore) -> Vec<Record> {
    let records = store.read(0, usize::MAX).await.unwrap();
    assert!(
        records
            .iter()
            .cloned()
            .eq((1..).map(record).take(records.len()))
    );
    assert_eq!(*store.changes().borrow(), records.len() as u64);
    records
}

#[test]
fn a_kill_after_any_operation_loses_nothing_confirmed() {
    let run = Run::of(12);
    for count in 0..=run.ops.len() {
        run.check(count, run.ops.iter().take(count));
    }
}

static RUN: LazyLock<Run> = LazyLock::new(|| Run::of(6));

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    /// Of what was written since the last sync, any part may have arrived, torn at any byte.
    #[test]
    fn a_power_failure_loses_nothing_confirmed(
        cut in any::<prop::sample::Index>(),
        arrives in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 256),
    ) {
        let run = &*RUN;
        let count = cut.index(run.ops.len() + 1);
        let done = &run.ops[..count];
        let synced = done.iter().rposition(|op| matches!(op, Op::Sync)).map_or(0, |at| at + 1);
        let rest: Vec<_> = done[synced..].iter().zip(arrives.iter().cycle()).filter_map(torn).collect();
        run.check(count, done[..synced].iter().chain(&rest));
    }
}

fn torn((op, (whole, part)): (&Op, &(bool, prop::sample::Index))) -> Option<Op> {
    match op {
        _ if *whole => Some(op.clone()),
        Op::Write(offset, data) => {
            let kept = part.index(data.len() + 1);
            Some(Op::Write(*offset, data[..kept].to_vec()))
        }
        Op::SetLen(_) | Op::Sync => None,
    }
}

#[test]
fn a_failure_of_any_operation_is_survived_without_a_restart() {
    let working = Run::of(3);
    for count in 0..working.ops.len() {
        let disk = formatted();
        block_on(async {
            disk.fail_after(count);
            let Ok(store) = on_disk(&disk).await else {
                return;
            };
            let mut confirmed = 0;
            for revision in 1..=3 {
                if store.append(vec![record(revision)]).await.is_err() {
                    break;
                }
                confirmed = revision;
            }
            disk.heal();
            let found = whole_log(&store).await.len() as u64;
            assert!(found == confirmed || found == confirmed + 1, "{count}");
            store.append(vec![record(found + 1)]).await.unwrap();
            assert_eq!(whole_log(&store).await.len() as u64, found + 1);
        });
    }
}

#[tokio::test]
async fn a_full_disk_is_named_as_the_cause() {
    let disk = formatted();
    let store = on_disk(&disk).await.unwrap();
    disk.fail_after(0);
    let error = store.append(vec![record(1)]).await.unwrap_err();
    let first: &dyn std::error::Error = &error;
    let causes = std::iter::successors(Some(first), |error| error.source());
    let causes: Vec<_> = causes.map(ToString::to_string).collect();
    assert!(causes.join(": ").contains("no storage space"), "{causes:?}");
}

#[tokio::test]
async fn only_the_next_revision_is_appended() {
    let disk = formatted();
    let store = on_disk(&disk).await.unwrap();
    let mut changes = store.changes();
    store.append(vec![record(1), record(2)]).await.unwrap();
    assert_eq!(*changes.borrow_and_update(), 2);
    for bad in [vec![record(2)], vec![record(4)], vec![record(3), record(5)]] {
        let error = store.append(bad).await.unwrap_err();
        assert!(
            matches!(error, StoreError::Conflict { last: 2 }),
            "{error:?}"
        );
    }
    assert!(!changes.has_changed().unwrap());
    assert_eq!(whole_log(&store).await.len(), 2);
    assert_eq!(store.read(1, 1).await.unwrap(), [record(2)]);
    assert_eq!(store.read(2, 1).await.unwrap(), []);
    assert_eq!(store.read(u64::MAX, 1).await.unwrap(), []);
}

async fn open(path: &Path) -> Result<RedbStore, StoreError> {
    RedbStore::open(path).await
}

#[tokio::test]
async fn a_new_file_is_private_and_its_unfinished_predecessor_ignored() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    fs::write(directory.path().join("registry.new"), "half of a file").unwrap();
    let store = open(&path).await.unwrap();
    store.append(vec![record(1)]).await.unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let names = fs::read_dir(directory.path()).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let head = path.with_extension("head");
    assert_eq!(
        fs::metadata(&head).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(names, [head, path]);
}

#[tokio::test]
async fn a_file_in_use_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    let first = open(&path).await.unwrap();
    let error = open(&path).await.unwrap_err();
    assert!(matches!(error, StoreError::Unsafe(_)), "{error:?}");
    drop(first);
    drop(open(&path).await.unwrap());
}

#[tokio::test]
async fn a_file_that_others_may_use_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    drop(open(&path).await.unwrap());
    for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o666] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = open(&path).await.unwrap_err();
        assert!(
            matches!(error, StoreError::Unsafe(_)),
            "{mode:o}: {error:?}"
        );
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    drop(open(&path).await.unwrap());
}

#[tokio::test]
async fn a_link_an_empty_file_and_another_kind_of_file_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let whole = directory.path().join("whole.redb");
    drop(open(&whole).await.unwrap());

    let link = directory.path().join("link.redb");
    symlink(&whole, &link).unwrap();
    assert!(matches!(open(&link).await, Err(StoreError::Unsafe(_))));

    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let empty = directory.path().join("empty.redb");
    options.open(&empty).unwrap();
    assert!(matches!(open(&empty).await, Err(StoreError::Damaged(_))));

    let other = directory.path().join("other.redb");
    options.open(&other).unwrap();
    fs::write(&other, "registrations: none").unwrap();
    assert!(matches!(open(&other).await, Err(StoreError::Damaged(_))));
    assert_eq!(fs::read(&other).unwrap(), b"registrations: none");
}
