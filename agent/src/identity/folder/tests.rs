use super::{Folder, FolderError};
use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::PathBuf,
};
use tempfile::TempDir;

struct Place {
    _parent: TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("public");
    Place {
        _parent: parent,
        path,
    }
}

impl Place {
    fn open(&self) -> Result<Folder, FolderError> {
        Folder::open(&self.path, "example.org")
    }

    fn mode(&self, path: &str) -> u32 {
        let path = self.path.join(path);
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }
}

#[test]
fn everybody_may_read_and_nobody_else_may_write() {
    let place = place();
    let folder = place.open().unwrap();
    assert!(folder.put("/clients/a/client.json", b"{}").unwrap());
    for (path, mode) in [
        ("", 0o755),
        ("clients", 0o755),
        ("clients/a", 0o755),
        ("clients/a/client.json", 0o644),
    ] {
        assert_eq!(place.mode(path), mode, "{path}");
    }
}

#[test]
fn what_is_the_same_already_is_left_alone() {
    let place = place();
    let folder = place.open().unwrap();
    assert!(folder.put("/bundle", b"one").unwrap());
    let inode = || fs::metadata(place.path.join("bundle")).unwrap().ino();
    let before = inode();
    assert!(!folder.put("/bundle", b"one").unwrap());
    assert_eq!(inode(), before);
    // Also where it is the beginning of the other, or the end.
    for content in [&b"on"[..], b"one and more", b""] {
        assert!(folder.put("/bundle", content).unwrap());
        assert_eq!(fs::read(place.path.join("bundle")).unwrap(), content);
    }
    folder.remove("/bundle").unwrap();
    folder.remove("/bundle").unwrap();
    folder.remove("/clients/nobody/client.json").unwrap();
    assert!(!place.path.join("bundle").exists());
}

#[test]
fn links_are_replaced_or_refused_and_never_followed() {
    let place = place();
    let folder = place.open().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("victim");
    fs::write(&victim, "kept").unwrap();
    symlink(&victim, place.path.join("bundle")).unwrap();
    symlink(&victim, place.path.join(".tmp-bundle")).unwrap();
    assert!(folder.put("/bundle", b"new").unwrap());
    assert_eq!(fs::read_to_string(&victim).unwrap(), "kept");
    assert_eq!(
        fs::read_to_string(place.path.join("bundle")).unwrap(),
        "new"
    );
    symlink(outside.path(), place.path.join("clients")).unwrap();
    folder.put("/clients/a/client.json", b"{}").unwrap_err();
    folder.remove("/clients/victim").unwrap_err();
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[test]
fn a_failed_write_leaves_nothing_behind() {
    let place = place();
    let folder = place.open().unwrap();
    fs::create_dir(place.path.join("bundle")).unwrap();
    folder.put("/bundle", b"{}").unwrap_err();
    assert!(!place.path.join(".tmp-bundle").exists());
    fs::remove_dir(place.path.join("bundle")).unwrap();
    folder.put("/bundle", b"{}").unwrap();
}

#[test]
fn a_directory_of_others_is_refused() {
    let place = place();
    drop(place.open().unwrap());
    // It is known again, by its own trust domain alone.
    drop(place.open().unwrap());
    let other = Folder::open(&place.path, "example.com").unwrap_err();
    assert!(
        other.to_string().ends_with("trust domain example.org"),
        "{other}"
    );
    for mode in [0o775, 0o757, 0o777] {
        fs::set_permissions(&place.path, Permissions::from_mode(mode)).unwrap();
        assert!(matches!(place.open(), Err(FolderError::Writable(_))));
    }

    let foreign = self::place();
    fs::create_dir(&foreign.path).unwrap();
    fs::set_permissions(&foreign.path, Permissions::from_mode(0o755)).unwrap();
    fs::write(foreign.path.join("index.html"), "a page").unwrap();
    assert!(matches!(foreign.open(), Err(FolderError::Foreign(_))));
    fs::remove_file(foreign.path.join("index.html")).unwrap();
    drop(foreign.open().unwrap());
}
