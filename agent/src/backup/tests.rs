//! What is written is read back, what was changed is refused, and what would be lost is named.

use super::{
    BackupError, FORMAT, Header, Item, Outcome, Previous, Reader, RestoreError, RestoreOptions,
    Restored, Writer, restore,
};
use crate::{
    clock::{ManualClock, SharedClock},
    registry::{
        Actor, ClientDraft, MemoryStore, Record, RedbStore, Registry, RegistryConfig, SpecRules,
        Store,
    },
};
use proptest::prelude::*;
use spiffe::TrustDomain;
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};
use tokio::task::JoinSet;

const CHECKPOINT: &str = r#"{"chains":{"callers":{"digest":"00","seq":0},"trail":{"digest":"3f","seq":7}},"key_id":"k","signature":"s","time":"2026-07-28T12:00:10.000Z"}"#;

fn clock() -> SharedClock {
    Arc::new(ManualClock::new(
        UNIX_EPOCH + Duration::from_secs(1_800_000_000),
    ))
}

/// The log of a registry in which so many clients were registered; the last one is revoked.
pub(crate) async fn log(clients: usize) -> Vec<Record> {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let config = RegistryConfig {
        rules: SpecRules {
            trust_domain: TrustDomain::new("example.org").unwrap(),
            x509_ttl: Duration::from_secs(300)..=Duration::from_secs(86_400),
            jwt_ttl: Duration::from_secs(30)..=Duration::from_secs(3_600),
        },
        max_clients: 1000,
        approvals_required: 0,
    };
    let opened = Registry::open(Arc::clone(&store), config, clock()).await;
    let (registry, writer) = opened.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(writer.run());
    let actor: Actor = "alice".parse().unwrap();
    let name = |number: usize| format!("client-{number}").parse().unwrap();
    for number in 0..clients {
        let draft = ClientDraft {
            owner: "team \u{e9} \"x\"".into(),
            selector_sets: vec![vec![format!("unix:uid:{number}")]],
            ..ClientDraft::default()
        };
        let reason = "a\tb".parse().unwrap_or_default();
        let made = registry.register(name(number), draft, actor.clone(), reason);
        made.await.unwrap();
    }
    let reason = "gone".parse().unwrap();
    registry
        .revoke(name(clients - 1), actor, reason)
        .await
        .unwrap();
    drop(registry);
    tasks.shutdown().await;
    store.read(0, 10_000).await.unwrap()
}

pub(crate) fn written(records: &[Record], checkpoint: Option<&str>) -> Vec<u8> {
    let header = Header {
        agent: "0.1.0".into(),
        created_at: "2026-07-28T12:00:00Z".into(),
        format: FORMAT,
        revision: records.len() as u64,
        trust_domain: "example.org".into(),
    };
    let (mut writer, mut out) = Writer::begin(&header, checkpoint.map(str::as_bytes)).unwrap();
    for some in records.chunks(3) {
        out.extend(writer.records(some));
    }
    out.extend(writer.end().unwrap());
    out
}

fn read(bytes: &[u8]) -> Result<(Vec<Item>, String), BackupError> {
    let mut reader = Reader::begin(bytes)?;
    let mut items = Vec::new();
    while let Some(item) = reader.item()? {
        items.push(item);
    }
    Ok((items, reader.sha256().unwrap_or_default().to_owned()))
}

#[tokio::test]
async fn a_backup_is_read_as_it_was_written() {
    let records = log(7).await;
    let bytes = written(&records, Some(CHECKPOINT));
    let (items, sha256) = read(&bytes).unwrap();
    let mut expected = vec![Item::Checkpoint(CHECKPOINT.into())];
    expected.extend(records.iter().cloned().map(Item::Record));
    assert_eq!(items, expected);
    let last = bytes[..bytes.len() - 1].iter().rposition(|b| *b == b'\n');
    let before = &bytes[..=last.unwrap()];
    assert_eq!(sha256, crate::canonical::sha256_hex(before));
    for line in std::str::from_utf8(&bytes).unwrap().lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(value.as_object().unwrap().len(), 1);
    }
    assert_eq!(read(&written(&[], None)).unwrap().0, []);
}

#[tokio::test]
async fn a_backup_that_was_cut_at_any_line_or_byte_is_refused() {
    let bytes = written(&log(3).await, Some(CHECKPOINT));
    for cut in 0..bytes.len() {
        let refused = read(&bytes[..cut]).unwrap_err();
        let is_cut = matches!(refused, BackupError::NoBackup | BackupError::CutOff(_));
        assert!(is_cut, "{cut}: {refused}");
    }
    let longer = [&bytes[..], b"\n"].concat();
    assert!(matches!(read(&longer), Err(BackupError::Longer)));
}

#[tokio::test]
async fn lines_that_were_moved_left_out_or_doubled_are_refused() {
    let bytes = written(&log(4).await, Some(CHECKPOINT));
    let text = String::from_utf8(bytes).unwrap();
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    for at in 1..lines.len() - 1 {
        let mut left_out = lines.clone();
        left_out.remove(at);
        read(left_out.concat().as_bytes()).unwrap_err();
        let mut doubled = lines.clone();
        doubled.insert(at, lines[at]);
        read(doubled.concat().as_bytes()).unwrap_err();
        let mut moved = lines.clone();
        moved.swap(at, at - 1);
        read(moved.concat().as_bytes()).unwrap_err();
    }
}

#[test]
fn what_is_something_else_or_newer_is_named_as_that() {
    for other in ["", "\n", "{}\n", "SQLite", "{\"backup\":{}}\n", "[1]\n"] {
        let refused = read(other.as_bytes()).unwrap_err();
        assert!(matches!(refused, BackupError::NoBackup), "{other:?}");
    }
    let newer = "{\"backup\":{\"format\":2,\"of\":\"later\"}}\n";
    assert!(matches!(read(newer.as_bytes()), Err(BackupError::Newer(2))));
    let endless = vec![b' '; 1 << 20];
    assert!(matches!(read(&endless), Err(BackupError::NoBackup)));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    /// No byte can be another one.
    #[test]
    fn a_changed_byte_is_found(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        static BYTES: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            written(&runtime.block_on(log(3)), Some(CHECKPOINT))
        });
        let mut changed = BYTES.clone();
        let at = at.index(changed.len());
        changed[at] ^= 1 << bit;
        prop_assert!(read(&changed).is_err());
    }
}

/// A data directory that is to be restored into.
struct Place {
    _directory: tempfile::TempDir,
    data: PathBuf,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            data: directory.path().join("data"),
            _directory: directory,
        }
    }

    fn path(&self) -> PathBuf {
        self.data.join("registry.redb")
    }

    /// With a registry that has these records.
    async fn with(records: &[Record]) -> Self {
        let place = Self::new();
        fs::create_dir(&place.data).unwrap();
        fs::set_permissions(&place.data, fs::Permissions::from_mode(0o700)).unwrap();
        let store = RedbStore::open(place.path()).await.unwrap();
        store.append(records.to_vec()).await.unwrap();
        place
    }

    async fn restore(
        &self,
        backup: &[u8],
        allow_older: bool,
    ) -> Result<(Outcome, Restored), RestoreError> {
        let options = RestoreOptions {
            data_dir: self.data.clone(),
            allow_older,
            dry_run: false,
            uid: 7,
            login: Some(1001),
        };
        restore(backup, &options, &clock()).await
    }

    async fn records(&self) -> Vec<Record> {
        let store = RedbStore::open(self.path()).await.unwrap();
        store.read(0, 10_000).await.unwrap()
    }

    fn files(&self) -> Vec<String> {
        let files = fs::read_dir(&self.data).unwrap();
        let mut files: Vec<_> = files
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        files
    }
}

fn note_of(path: &Path) -> impl Future<Output = Restored> + use<> {
    let path = path.to_owned();
    async move {
        let store = RedbStore::open(path).await.unwrap();
        let note = store.restoration().await.unwrap().unwrap();
        serde_json::from_str(&note).unwrap()
    }
}

#[tokio::test]
async fn an_empty_data_directory_gets_all_of_it() {
    let records = log(700).await;
    let place = Place::new();
    let backup = written(&records, Some(CHECKPOINT));
    let (outcome, restored) = place.restore(&backup, false).await.unwrap();
    assert_eq!(outcome, Outcome::Restored);
    assert_eq!((restored.revision, restored.clients), (701, 700));
    assert_eq!(
        (restored.previous, restored.lost),
        (Previous::None, Some(0))
    );
    assert_eq!((restored.uid, restored.login), (7, Some(1001)));
    assert_eq!(
        restored.checkpoint.as_ref().unwrap()["chains"]["trail"]["seq"],
        7
    );
    assert!(place.records().await == records);
    assert_eq!(note_of(&place.path()).await, restored);
    assert_eq!(place.files(), ["lock", "registry.head", "registry.redb"]);
    let mode = fs::metadata(place.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn an_older_backup_is_refused_unless_that_is_asked_for() {
    let records = log(5).await;
    let place = Place::with(&records).await;
    let before = place.files();
    let older = written(&records[..4], None);
    let refused = place.restore(&older, false).await.unwrap_err();
    let RestoreError::Older { lost, first, .. } = refused else {
        panic!("{refused}")
    };
    assert_eq!((lost, first), (2, 5));
    assert!(
        place.records().await == records,
        "a refusal changes nothing"
    );
    let mut with_lock = before;
    with_lock.insert(0, "lock".into());
    assert_eq!(place.files(), with_lock);

    let (_, restored) = place.restore(&older, true).await.unwrap();
    assert_eq!(
        (restored.lost, restored.previous_revision),
        (Some(2), Some(6))
    );
    assert!(place.records().await == records[..4]);
    let kept = place.data.join(restored.kept_as.unwrap());
    let kept = RedbStore::glimpse(kept).await.unwrap();
    assert!(
        kept.read(0, 100).await.unwrap() == records,
        "nothing is lost for good"
    );
}

#[tokio::test]
async fn a_newer_backup_needs_no_permission_and_the_same_one_does_nothing() {
    let records = log(5).await;
    let place = Place::with(&records[..3]).await;
    let backup = written(&records, None);
    let (outcome, restored) = place.restore(&backup, false).await.unwrap();
    assert_eq!((outcome, restored.lost), (Outcome::Restored, Some(0)));
    assert!(place.records().await == records);
    let files = place.files();
    let (outcome, restored) = place.restore(&backup, false).await.unwrap();
    assert_eq!((outcome, restored.kept_as), (Outcome::Unchanged, None));
    assert_eq!(place.files(), files);
}

#[tokio::test]
async fn another_registrys_backup_is_as_good_as_an_older_one() {
    let place = Place::with(&log(5).await).await;
    let mut other = log(9).await;
    other.remove(0);
    let records: Vec<_> = log(6).await;
    let refused = place.restore(&written(&records, None), false).await;
    // Five registrations are the same; what comes then is not.
    let older = matches!(
        refused,
        Err(RestoreError::Older {
            lost: 1,
            first: 6,
            ..
        })
    );
    assert!(older, "{refused:?}");
    // And one that does not begin at the beginning is none.
    let refused = place.restore(&written(&other, None), true).await;
    assert!(
        matches!(refused, Err(RestoreError::Backup(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn what_was_confirmed_tells_whether_a_backup_is_new_enough_for_a_damaged_registry() {
    let records = log(5).await;
    for (damage, gone) in [("cut off", false), ("", true)] {
        let place = Place::with(&records[..5]).await;
        match gone {
            true => fs::remove_file(place.path()).unwrap(),
            false => fs::write(place.path(), damage).unwrap(),
        }
        let older = written(&records[..4], None);
        let refused = place.restore(&older, false).await.unwrap_err();
        let unknown = matches!(
            refused,
            RestoreError::Unknown {
                confirmed: Some(5),
                ..
            }
        );
        assert!(unknown, "{refused}");
        let (_, restored) = place
            .restore(&written(&records, None), false)
            .await
            .unwrap();
        assert_eq!(restored.previous, Previous::Unreadable);
        assert_eq!(
            (restored.lost, restored.previous_revision),
            (Some(0), Some(5))
        );
        assert!(place.records().await == records);
    }
    let place = Place::with(&records).await;
    fs::remove_file(place.data.join("registry.head")).unwrap();
    fs::write(place.path(), "cut off").unwrap();
    let backup = written(&records, None);
    let refused = place.restore(&backup, false).await.unwrap_err();
    assert!(matches!(refused, RestoreError::Unknown { .. }), "{refused}");
    let (_, restored) = place.restore(&backup, true).await.unwrap();
    assert_eq!((restored.lost, restored.previous_revision), (None, None));
}

#[tokio::test]
async fn a_backup_of_damaged_records_or_half_a_file_changes_nothing() {
    let records = log(5).await;
    let place = Place::with(&records[..2]).await;
    let mut forged = records.clone();
    // With a digest of its own, but not what the client's next record links to.
    forged[5].document = String::from_utf8(forged[5].document.to_vec())
        .unwrap()
        .replace("\"number\":1", "\"number\":2")
        .into();
    forged[5].digest = crate::registry::Digest::of(&forged[5].document);
    let refused = place.restore(&written(&forged, None), true).await;
    assert!(
        matches!(refused, Err(RestoreError::Record(6, _))),
        "{refused:?}"
    );
    let half = written(&records, None);
    let refused = place.restore(&half[..half.len() / 2], true).await;
    assert!(
        matches!(refused, Err(RestoreError::Backup(_))),
        "{refused:?}"
    );
    assert!(place.records().await == records[..2]);
    assert_eq!(place.files(), ["lock", "registry.head", "registry.redb"]);
}

#[tokio::test]
async fn a_directory_in_use_or_of_others_is_refused() {
    let records = log(2).await;
    let place = Place::with(&records).await;
    let lock = crate::data_directory::DataLock::of(&place.data).unwrap();
    let refused = place.restore(&written(&records, None), true).await;
    assert!(
        matches!(refused, Err(RestoreError::Directory(_))),
        "{refused:?}"
    );
    drop(lock);
    fs::set_permissions(&place.data, fs::Permissions::from_mode(0o755)).unwrap();
    let refused = place.restore(&written(&records, None), true).await;
    assert!(
        matches!(refused, Err(RestoreError::Directory(_))),
        "{refused:?}"
    );
}
