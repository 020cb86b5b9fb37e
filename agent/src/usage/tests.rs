use super::{Usage, UsageFile};
use crate::{
    clock::{Clock as _, ManualClock, SharedClock},
    registry::ClientName,
};
use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::PathBuf,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

const SECOND: Duration = Duration::from_secs(1);

fn name(text: &str) -> ClientName {
    text.parse().unwrap()
}

struct Place {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            clock: Arc::new(ManualClock::new(UNIX_EPOCH + 1_000 * SECOND)),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("usage.json")
    }

    fn open(&self) -> UsageFile {
        let clock: SharedClock = Arc::<ManualClock>::clone(&self.clock);
        UsageFile::open(self.path(), &clock)
    }
}

#[test]
fn the_last_use_counts_also_where_the_clock_is_set_back() {
    let at = |seconds| UNIX_EPOCH + seconds * SECOND;
    let usage = Usage::new(at(10));
    assert_eq!(usage.last(&name("a")), None);
    for seconds in [20, 30, 25] {
        usage.note(&name("a"), at(seconds));
    }
    assert_eq!(usage.last(&name("a")), Some(at(30)));
    assert_eq!(usage.since(), at(10));
}

#[test]
fn uses_outlive_the_agent() {
    let place = Place::new();
    let file = place.open();
    file.usage().note(&name("a"), place.clock.now() + SECOND);
    file.save().unwrap();
    let mode = fs::metadata(place.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    place.clock.advance(100 * SECOND);
    let again = place.open();
    assert_eq!(again.usage().since(), UNIX_EPOCH + 1_000 * SECOND);
    let last = again.usage().last(&name("a"));
    assert_eq!(last, Some(UNIX_EPOCH + 1_001 * SECOND));
}

#[test]
fn a_file_without_news_is_not_written() {
    let place = Place::new();
    let file = place.open();
    file.save().unwrap();
    fs::remove_file(place.path()).unwrap();
    file.save().unwrap();
    assert!(!place.path().exists());
    file.usage().note(&name("a"), place.clock.now());
    file.save().unwrap();
    assert!(place.path().exists());
}

#[test]
fn what_cannot_be_written_is_written_the_next_time() {
    let place = Place::new();
    let file = place.open();
    file.usage().note(&name("a"), place.clock.now());
    // A folder in its place, as a disk that refuses.
    fs::create_dir(place.path()).unwrap();
    file.save().unwrap_err();
    assert!(!place.folder.path().join("usage.json.new").exists());
    fs::remove_dir(place.path()).unwrap();
    file.save().unwrap();
    assert!(place.open().usage().last(&name("a")).is_some());
}

#[test]
fn a_file_that_cannot_be_believed_is_forgotten() {
    let place = Place::new();
    for text in [
        "",
        "{",
        r#"{"format":2,"last_used":{},"since":1,"more":1}"#,
        r#"{"format":1,"last_used":{},"since":1,"more":1}"#,
        r#"{"format":1,"last_used":{"A B":1},"since":1}"#,
        r#"{"format":1,"last_used":{"a":253402300800},"since":1}"#,
        r#"{"format":1,"last_used":{"a":-1},"since":1}"#,
    ] {
        fs::write(place.path(), text).unwrap();
        let file = place.open();
        assert_eq!(file.usage().last(&name("a")), None, "{text}");
        assert_eq!(file.usage().since(), place.clock.now(), "{text}");
        file.save().unwrap();
        let written = fs::read_to_string(place.path()).unwrap();
        assert!(written.starts_with(r#"{"format":1,"#), "{written}");
    }
}

#[test]
fn a_link_is_neither_read_nor_written_through() {
    let place = Place::new();
    let other = place.folder.path().join("other");
    let text = r#"{"format":1,"last_used":{"a":5},"since":1}"#;
    fs::write(&other, text).unwrap();
    symlink(&other, place.path()).unwrap();
    symlink(&other, place.folder.path().join("usage.json.new")).unwrap();
    let file = place.open();
    assert_eq!(file.usage().last(&name("a")), None);
    file.save().unwrap();
    assert_eq!(fs::read_to_string(&other).unwrap(), text);
    assert!(fs::symlink_metadata(place.path()).unwrap().is_file());
}
