//! Real files: full disks, damage, what others put in a file's place, and writers side by side.

use super::{block_on, open, record, whole_log};
use crate::registry::store::{RedbStore, Store as _, StoreError, embedded};
use redb::{MultimapTableDefinition, TableDefinition};
use rustix::{
    fs::{CWD, FileType, Mode, chown, mknodat},
    mount::{MountFlags, UnmountFlags, mount, unmount},
    process::{Uid, geteuid},
};
use std::{
    env, fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};
use tempfile::TempDir;
use tokio::task::JoinSet;

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    (directory, path)
}

/// Whether a test that only root can do may go on; says so where not.
fn root_may(what: &str) -> bool {
    let root = geteuid().is_root();
    let demanded = env::var_os("REQUIRE_ALL_TESTS").is_some();
    assert!(root || !demanded, "only root can {what}");
    if !root {
        eprintln!("SKIPPED: only root can {what}; run: sudo -E cargo test -p symbolon-agent");
    }
    root
}

/// A file system of 2 MiB, which only root can have.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        if !root_may("mount a small file system") {
            return None;
        }
        mount("tmpfs", at, "tmpfs", MountFlags::empty(), Some(c"size=2m")).unwrap();
        Some(Self(at.into()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_and_a_disk_with_space_again_keeps() {
    let (directory, path) = place();
    let Some(_disk) = SmallDisk::mount(directory.path()) else {
        return;
    };
    let store = open(&path).await.unwrap();
    store.append(vec![record(1)]).await.unwrap();
    let filler = directory.path().join("filler");
    // Fails where the disk is full, having written as much as there was space for.
    fs::write(&filler, vec![1; 2 << 20]).unwrap_err();

    let mut kept = 1;
    let refused = loop {
        match store.append(vec![record(kept + 1)]).await {
            Ok(()) => kept += 1,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
    assert!(refused.to_string().contains("No space left"), "{refused}");

    fs::remove_file(&filler).unwrap();
    let found = whole_log(&store).await.len() as u64;
    assert!(found == kept || found == kept + 1, "{found} of {kept}");
    store.append(vec![record(found + 1)]).await.unwrap();
    drop(store);
    let store = open(&path).await.unwrap();
    assert_eq!(whole_log(&store).await.len() as u64, found + 1);
}

/// A closed file with some records.
fn filled(path: &Path) -> Vec<u8> {
    block_on(async {
        let store = open(path).await.unwrap();
        store.append((1..=8).map(record).collect()).await.unwrap();
    });
    fs::read(path).unwrap()
}

/// What an agent would see: nothing, or records of which each has its digest.
fn records_in(path: &Path) -> Option<usize> {
    block_on(async {
        let store = open(path).await.ok()?;
        let records = store.read(0, usize::MAX).await.ok()?;
        let whole = records
            .iter()
            .cloned()
            .eq((1..).map(record).take(records.len()));
        whole.then_some(records.len())
    })
}

#[test]
fn a_file_that_was_cut_off_is_refused() {
    let (_directory, path) = place();
    let whole = filled(&path);
    for eighths in 0..8 {
        let cut = &whole[..whole.len() * eighths / 8];
        fs::write(&path, cut).unwrap();
        assert_eq!(records_in(&path), None, "{eighths} eighths");
        let same = fs::read(&path).unwrap();
        assert!(same == cut, "{eighths} eighths: it was written to");
    }
}

#[test]
fn a_file_of_another_kind_is_damage() {
    let (_directory, path) = place();
    let whole = filled(&path);
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(b"SQLite", 0).unwrap();
    let refused = block_on(open(&path)).unwrap_err();
    assert!(matches!(refused, StoreError::Damaged(_)), "{refused:?}");
    file.write_all_at(&whole[..6], 0).unwrap();
    assert_eq!(records_in(&path), Some(8));
}

#[test]
fn tables_of_a_newer_agent_are_refused() {
    let (_directory, path) = place();
    let write = |change: fn(&redb::WriteTransaction)| {
        filled(&path);
        let database = embedded::builder().open(&path).unwrap();
        let writing = database.begin_write().unwrap();
        change(&writing);
        writing.commit().unwrap();
        drop(database);
        let refused = block_on(open(&path)).unwrap_err();
        fs::remove_file(&path).unwrap();
        fs::remove_file(path.with_extension("head")).unwrap();
        refused
    };
    let plain = write(|writing| {
        let table = TableDefinition::<u64, &[u8]>::new("approvals");
        drop(writing.open_table(table).unwrap());
    });
    assert!(matches!(plain, StoreError::Newer(_)), "{plain:?}");
    let multimap = write(|writing| {
        let table = MultimapTableDefinition::<u64, u64>::new("approvers");
        drop(writing.open_multimap_table(table).unwrap());
    });
    assert!(matches!(multimap, StoreError::Newer(_)), "{multimap:?}");
    let renamed = write(|writing| {
        let table = TableDefinition::<u64, &[u8]>::new("records-2");
        writing.rename_table(embedded::RECORDS, table).unwrap();
    });
    assert!(matches!(renamed, StoreError::Newer(_)), "{renamed:?}");
}

#[tokio::test]
async fn only_a_regular_file_of_the_agents_user_is_opened() {
    let (_directory, path) = place();
    fs::create_dir(&path).unwrap();
    let refused = open(&path).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
    fs::remove_dir(&path).unwrap();

    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let refused = open(&path).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unsafe(_)), "{refused:?}");
    fs::remove_file(&path).unwrap();

    if root_may("give a file to another user") {
        drop(open(&path).await.unwrap());
        chown(&path, Some(Uid::from_raw(65_534)), None).unwrap();
        let refused = open(&path).await.unwrap_err();
        assert!(matches!(refused, StoreError::Unsafe(_)), "{refused:?}");
    }
}

#[tokio::test]
async fn a_file_that_vanishes_is_not_made_anew() {
    let (directory, path) = place();
    let store = open(&path).await.unwrap();
    store.append(vec![record(1)]).await.unwrap();
    fs::remove_file(&path).unwrap();
    // Any failure closes the file, so that the next call opens it again.
    let failing = |_: &redb::Database| Err::<(), _>(StoreError::Damaged("for a test".into()));
    store.call(failing).await.unwrap_err();
    let refused = store.append(vec![record(2)]).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
    // The note of what was confirmed stays.
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn of_several_writers_one_gets_each_revision() {
    let (_directory, path) = place();
    let store = open(&path).await.unwrap();
    let write = async |store: RedbStore| {
        let mut written = 0;
        for revision in 1..=20 {
            match store.append(vec![record(revision)]).await {
                Ok(()) => written += 1,
                Err(StoreError::Conflict { last }) => assert!(last >= revision),
                Err(error) => panic!("{error}"),
            }
        }
        written
    };
    let mut writers = JoinSet::new();
    for _ in 0..4 {
        writers.spawn(write(store.clone()));
    }
    assert_eq!(writers.join_all().await.into_iter().sum::<i32>(), 20);
    assert_eq!(whole_log(&store).await.len(), 20);
}
