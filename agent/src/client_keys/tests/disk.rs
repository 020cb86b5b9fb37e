//! What lies on the disk: over restarts, when it is damaged, and when the disk fails.

use super::{SERVER, folder, follow, jwks, key_ids, replace, sign, signs, with_client};
use crate::{
    client_keys::{ClientKeyError, ClientKeyTimes, ClientKeys},
    workloads::testing::{HOUR, Scene, draft_with_key, name},
};
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    sync::Arc,
};

#[tokio::test]
async fn keys_survive_a_restart_and_damage_is_no_new_key() {
    let mut scene = with_client("a").await;
    scene.register_as("b", draft_with_key(&[SERVER])).await;
    follow(&scene).await;
    let key = signs(&scene, "a");
    fs::write(folder(&scene).join("b.json"), "{}").unwrap();
    scene.keys = open(&scene).unwrap();
    let events = follow(&scene).await;
    assert_eq!(events.len(), 1, "what is published is told");
    assert_eq!(signs(&scene, "a"), key);
    assert!(jwks(&scene, "b").is_none());
    assert_eq!(
        fs::read_to_string(folder(&scene).join("b.json")).unwrap(),
        "{}"
    );
    // A file of another client is not this one's.
    fs::copy(folder(&scene).join("a.json"), folder(&scene).join("b.json")).unwrap();
    follow(&scene).await;
    assert!(jwks(&scene, "b").is_none());
    let replaced = replace(&scene, "b");
    replaced.await.unwrap();
    signs(&scene, "b");
}

/// Replaces the key of `a` while its file cannot be removed; the old key, and what puts the file
/// back where it can be.
async fn replaced_in_vain(scene: &Scene) -> (String, impl FnOnce() + use<>) {
    let stolen = signs(scene, "a");
    let (file, aside) = (folder(scene).join("a.json"), scene.path().join("aside"));
    // A folder is not removed as a file is.
    fs::rename(&file, &aside).unwrap();
    fs::create_dir(&file).unwrap();
    let failed = replace(scene, "a").await;
    assert!(matches!(failed, Err(ClientKeyError::Directory(_))));
    let mend = move || {
        fs::remove_dir(&file).unwrap();
        fs::rename(&aside, &file).unwrap();
    };
    (stolen, mend)
}

#[tokio::test]
async fn a_replaced_key_whose_file_could_not_be_removed_never_comes_back() {
    let scene = with_client("a").await;
    let (stolen, mend) = replaced_in_vain(&scene).await;
    follow(&scene).await;
    assert!(matches!(sign(&scene, "a"), Err(ClientKeyError::NoKey(_))));
    mend();
    follow(&scene).await;
    assert_ne!(signs(&scene, "a"), stolen);
    assert!(!key_ids(&scene, "a").contains(&stolen));
}

/// As [`a_replaced_key_whose_file_could_not_be_removed_never_comes_back`], over a restart.
#[tokio::test]
async fn a_restart_brings_no_replaced_key_back() {
    let mut scene = with_client("a").await;
    let (stolen, mend) = replaced_in_vain(&scene).await;
    // Twice, as it could end again before the disk is mended.
    for _ in 0..2 {
        scene.keys = open(&scene).unwrap();
        follow(&scene).await;
        assert!(jwks(&scene, "a").is_none());
        assert!(matches!(sign(&scene, "a"), Err(ClientKeyError::NoKey(_))));
    }
    mend();
    scene.keys = open(&scene).unwrap();
    follow(&scene).await;
    let new = signs(&scene, "a");
    assert_ne!(new, stolen);
    assert!(!key_ids(&scene, "a").contains(&stolen));
    // It is over: the new key is read as any other.
    assert!(!folder(&scene).join("a.condemned").exists());
    scene.keys = open(&scene).unwrap();
    follow(&scene).await;
    assert_eq!(signs(&scene, "a"), new);
}

#[tokio::test]
async fn a_key_that_would_come_back_is_named() {
    let scene = with_client("a").await;
    let (file, mark) = (
        folder(&scene).join("a.json"),
        folder(&scene).join("a.condemned"),
    );
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    fs::create_dir(&mark).unwrap();
    let failed = replace(&scene, "a").await.unwrap_err();
    assert!(matches!(failed, ClientKeyError::Remains(_)), "{failed}");
    let told = failed.to_string();
    assert!(told.contains(file.to_str().unwrap()), "{told}");
    assert!(key_ids(&scene, "a").is_empty());
    // As soon as the disk takes it, it is marked.
    fs::remove_dir(&mark).unwrap();
    follow(&scene).await;
    assert!(mark.is_file());
    assert!(key_ids(&scene, "a").is_empty());
    assert!(matches!(sign(&scene, "a"), Err(ClientKeyError::NoKey(_))));
}

#[tokio::test]
async fn a_file_that_was_emptied_has_no_keys() {
    let mut scene = with_client("a").await;
    let stolen = signs(&scene, "a");
    fs::write(folder(&scene).join("a.json"), "").unwrap();
    scene.keys = open(&scene).unwrap();
    follow(&scene).await;
    assert_ne!(signs(&scene, "a"), stolen);
}

/// The same directory, as an agent finds it that starts.
fn open(scene: &Scene) -> Result<ClientKeys, ClientKeyError> {
    let times = ClientKeyTimes {
        ttl: 720 * HOUR,
        lead: 24 * HOUR,
    };
    let clock = Arc::<crate::clock::ManualClock>::clone(&scene.clock);
    ClientKeys::open(&folder(scene), times, clock)
}

#[tokio::test]
async fn files_that_others_can_read_are_refused() {
    let scene = with_client("a").await;
    let open = || open(&scene);
    fs::set_permissions(folder(&scene), Permissions::from_mode(0o750)).unwrap();
    assert!(matches!(open(), Err(ClientKeyError::Directory(_))));
    fs::set_permissions(folder(&scene), Permissions::from_mode(0o700)).unwrap();
    let file = folder(&scene).join("a.json");
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    let again = open().unwrap();
    again.follow(&scene.registry, &mut Vec::new()).await;
    assert!(again.of(&name("a")).is_none());
}

#[tokio::test]
async fn what_is_wrong_with_a_file_is_told_without_its_content() {
    let scene = with_client("a").await;
    let content = r#"{"version":1,"client":"a","active":1,"keys":"very-secret"}"#;
    let file = folder(&scene).join("b.json");
    fs::write(&file, content).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let directory = crate::authority::KeyDirectory::open(&folder(&scene)).unwrap();
    let failed = crate::client_keys::file::Ring::read(&directory, &name("b")).unwrap_err();
    let told = format!("{failed} {failed:?}");
    assert!(!told.contains("secret"), "{told}");
    assert!(told.contains("not as the agent writes it at line 1, column "));
}
