//! What is beside the log: the note of the last confirmed record, and the schema.

use super::{Disk, Op, block_on, open, record, whole_log};
use crate::registry::store::{
    Rebuild, RedbStore, Store as _, StoreError, confirmed,
    embedded::{append, schema},
};
use std::{fs, path::Path};

async fn filled(path: &Path, count: u64) {
    let store = open(path).await.unwrap();
    let last = *store.changes().borrow();
    for revision in last + 1..=count {
        store.append(vec![record(revision)]).await.unwrap();
    }
}

#[tokio::test]
async fn an_older_copy_is_refused_with_what_it_lacks() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    filled(&path, 2).await;
    let copy = fs::read(&path).unwrap();
    filled(&path, 3).await;
    fs::write(&path, copy).unwrap();
    let refused = open(&path).await.unwrap_err();
    assert!(
        matches!(
            refused,
            StoreError::Outdated {
                confirmed: 3,
                last: 2
            }
        ),
        "{refused:?}"
    );
    assert!(refused.remedy().contains("restore"));
    assert_eq!(
        confirmed(&path).unwrap(),
        Some((3, record(3).digest)),
        "a refusal forgets nothing"
    );
    // As its remedy says.
    fs::remove_file(path.with_extension("head")).unwrap();
    filled(&path, 4).await;
    assert_eq!(confirmed(&path).unwrap(), Some((4, record(4).digest)));
}

#[tokio::test]
async fn a_file_that_is_gone_is_not_a_fresh_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    filled(&path, 2).await;
    fs::remove_file(&path).unwrap();
    let refused = open(&path).await.unwrap_err();
    assert!(
        matches!(
            refused,
            StoreError::Outdated {
                confirmed: 2,
                last: 0
            }
        ),
        "{refused:?}"
    );
    assert!(!path.exists());
}

#[tokio::test]
async fn another_log_of_the_same_length_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    filled(&path, 2).await;
    let noted = fs::read(path.with_extension("head")).unwrap();
    fs::write(
        path.with_extension("head"),
        String::from_utf8(noted)
            .unwrap()
            .replace(&record(2).digest.to_string(), &record(1).digest.to_string()),
    )
    .unwrap();
    let refused = open(&path).await.unwrap_err();
    assert!(
        matches!(refused, StoreError::Outdated { confirmed: 2, .. }),
        "{refused:?}"
    );
}

#[tokio::test]
async fn what_is_no_note_says_nothing_and_is_written_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    filled(&path, 2).await;
    for (count, garbage) in [(3, ""), (4, "3"), (5, "000 x\n"), (6, "\u{0}\u{0}\n")] {
        fs::write(path.with_extension("head"), garbage).unwrap();
        filled(&path, count).await;
        let noted = Some((count, record(count).digest));
        assert_eq!(confirmed(&path).unwrap(), noted, "{garbage:?}");
    }
    // A file of an agent that knew no notes.
    fs::remove_file(path.with_extension("head")).unwrap();
    drop(open(&path).await.unwrap());
    assert_eq!(confirmed(&path).unwrap(), Some((6, record(6).digest)));
}

#[tokio::test]
async fn a_glimpse_leaves_the_file_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    let store = open(&path).await.unwrap();
    let records: Vec<_> = (1..=8).map(record).collect();
    store.append(records).await.unwrap();
    // Not closed: it needs a repair.
    let copy = directory.path().join("copy.redb");
    fs::copy(&path, &copy).unwrap();
    let before = fs::read(&copy).unwrap();
    let glimpse = RedbStore::glimpse(&copy).await.unwrap();
    assert_eq!(whole_log(&glimpse).await.len(), 8);
    // More than a page, and more than the file has.
    let more: Vec<_> = (9..=600).map(record).collect();
    glimpse.append(more).await.unwrap();
    assert_eq!(whole_log(&glimpse).await.len(), 600);
    drop(glimpse);
    assert!(fs::read(&copy).unwrap() == before, "it was written to");
    assert_eq!(confirmed(&copy).unwrap(), None);
    let missing = directory.path().join("missing.redb");
    let refused = RedbStore::glimpse(&missing).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
    assert!(!missing.exists());
}

#[tokio::test]
async fn a_newer_schema_is_refused_by_its_number() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    for number in ["4", "4294967296", "two"] {
        filled(&path, 2).await;
        let database = super::super::builder().open(&path).unwrap();
        let writing = database.begin_write().unwrap();
        let mut meta = writing.open_table(schema::META).unwrap();
        meta.insert("schema", number).unwrap();
        drop(meta);
        writing.commit().unwrap();
        drop(database);
        for refused in [open(&path).await, RedbStore::glimpse(&path).await] {
            let refused = refused.unwrap_err();
            assert!(matches!(refused, StoreError::Newer(_)), "{refused:?}");
            assert!(refused.to_string().contains(number), "{refused}");
            assert!(refused.remedy().contains("version"));
        }
        fs::remove_file(&path).unwrap();
        fs::remove_file(path.with_extension("head")).unwrap();
    }
}

/// What makes a log on a disk as agents wrote it before there were schemas.
fn of_schema_1() -> Vec<Op> {
    let disk = Disk::default();
    let database = disk.open().unwrap();
    append(&database, &[record(1), record(2)]).unwrap();
    drop(database);
    disk.done()
}

#[test]
fn a_migration_that_is_cut_off_leaves_the_old_schema_or_the_new_one() {
    let start = of_schema_1();
    let disk = Disk::after(&start);
    schema::bring_forward(&disk.open().unwrap()).unwrap();
    let ops = disk.done();
    for count in 0..=ops.len() {
        let cut = Disk::after(start.iter().chain(ops.iter().take(count)));
        let database = cut.open().unwrap();
        schema::check(&database).unwrap();
        schema::bring_forward(&database).unwrap();
        drop(database);
        block_on(async {
            let store = super::on_disk(&cut).await.unwrap();
            assert_eq!(whole_log(&store).await.len(), 2, "after {count}");
        });
    }
}

#[tokio::test]
async fn a_full_disk_refuses_the_migration_and_loses_nothing() {
    let disk = Disk::after(&of_schema_1());
    let database = disk.open().unwrap();
    disk.fail_after(0);
    let refused = schema::bring_forward(&database).unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
    drop(database);
    disk.heal();
    schema::bring_forward(&disk.open().unwrap()).unwrap();
    let store = super::on_disk(&disk).await.unwrap();
    assert_eq!(whole_log(&store).await.len(), 2);
}

#[tokio::test]
async fn a_rebuilt_file_takes_the_place_only_when_it_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    let aside = directory.path().join("aside.redb");
    filled(&path, 5).await;
    let old = fs::read(&path).unwrap();

    let mut rebuild = Rebuild::begin(&path).unwrap();
    rebuild.append(&[record(1), record(2)]).unwrap();
    assert!(rebuild.append(&[record(4)]).is_err(), "a gap");
    rebuild.give_up();
    assert!(fs::read(&path).unwrap() == old);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);

    let mut rebuild = Rebuild::begin(&path).unwrap();
    rebuild.append(&[record(1), record(2)]).unwrap();
    rebuild.append(&[record(3)]).unwrap();
    rebuild.publish("told", &aside).unwrap();
    assert!(fs::read(&aside).unwrap() == old);
    let store = open(&path).await.unwrap();
    assert_eq!(whole_log(&store).await.len(), 3);
    assert_eq!(store.restoration().await.unwrap().as_deref(), Some("told"));
    store.forget_restoration().await.unwrap();
    drop(store);
    let store = open(&path).await.unwrap();
    assert_eq!(store.restoration().await.unwrap(), None);
    assert_eq!(confirmed(&path).unwrap(), Some((3, record(3).digest)));
}
