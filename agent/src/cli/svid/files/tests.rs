use super::{FileSet, SvidDirectory};
use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};
use zeroize::Zeroizing;

fn set(number: u32) -> FileSet {
    FileSet {
        svid: format!("svid {number}"),
        key: Zeroizing::new(format!("key {number}")),
        bundle: format!("bundle {number}"),
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_new_directory_and_the_key_are_private() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b");
    SvidDirectory::open(&path)
        .unwrap()
        .replace(&set(1))
        .unwrap();
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join("key.pem")), 0o600);
    assert_eq!(fs::read_to_string(path.join("key.pem")).unwrap(), "key 1");
}

#[test]
fn whoever_resolves_current_reads_one_set_through_a_replacement() {
    let dir = tempfile::tempdir().unwrap();
    let files = SvidDirectory::open(dir.path()).unwrap();
    files.replace(&set(1)).unwrap();
    let resolved = fs::canonicalize(dir.path().join("current")).unwrap();
    files.replace(&set(2)).unwrap();
    assert_eq!(
        fs::read_to_string(resolved.join("svid.pem")).unwrap(),
        "svid 1"
    );
    assert_eq!(
        fs::read_to_string(resolved.join("key.pem")).unwrap(),
        "key 1"
    );
    for (name, content) in [
        ("svid.pem", "svid 2"),
        ("key.pem", "key 2"),
        ("bundle.pem", "bundle 2"),
    ] {
        assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), content);
    }
}

#[test]
fn the_newest_two_sets_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let files = SvidDirectory::open(dir.path()).unwrap();
    for number in 1..=4 {
        files.replace(&set(number)).unwrap();
    }
    assert_eq!(files.sets().unwrap().len(), 2);
    assert_eq!(
        fs::read_link(dir.path().join("current")).unwrap(),
        Path::new(".svid-4")
    );
}

#[test]
fn a_crash_between_set_and_link_leaves_the_old_set() {
    let dir = tempfile::tempdir().unwrap();
    let files = SvidDirectory::open(dir.path()).unwrap();
    files.replace(&set(1)).unwrap();
    // What a kill leaves behind: half a set, and a link that was not renamed.
    fs::create_dir(dir.path().join(".svid-2")).unwrap();
    fs::write(dir.path().join(".svid-2/key.pem"), "ke").unwrap();
    symlink(".svid-2", dir.path().join(".next")).unwrap();
    assert_eq!(
        fs::read_to_string(dir.path().join("key.pem")).unwrap(),
        "key 1"
    );
    drop(files);
    SvidDirectory::open(dir.path())
        .unwrap()
        .replace(&set(3))
        .unwrap();
    assert_eq!(
        fs::read_to_string(dir.path().join("key.pem")).unwrap(),
        "key 3"
    );
    assert!(!dir.path().join(".svid-2").exists());
}

#[test]
fn two_writers_never_share_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let _first = SvidDirectory::open(dir.path()).unwrap();
    let refusal = SvidDirectory::open(dir.path()).unwrap_err().to_string();
    assert!(refusal.contains("another symbolon"), "{refusal}");
}

#[test]
fn a_directory_that_any_user_may_write_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
    let refusal = SvidDirectory::open(dir.path()).unwrap_err().to_string();
    assert!(refusal.contains("chmod o-w"), "{refusal}");
}

#[test]
fn a_file_of_somebody_else_is_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("key.pem"), "precious").unwrap();
    let refusal = SvidDirectory::open(dir.path()).unwrap_err().to_string();
    assert!(refusal.contains("move it away"), "{refusal}");
    assert_eq!(
        fs::read_to_string(dir.path().join("key.pem")).unwrap(),
        "precious"
    );
}
