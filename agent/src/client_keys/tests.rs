use super::{ClientKeyError, SignedAssertion};
use crate::{
    authority::Slot,
    clock::Clock as _,
    registry::ClientDraft,
    svid::{
        PublicKey,
        assertion::Claims,
        jws::{KeySet, VerifyingKey, verified},
    },
    workloads::testing::{HOUR, Scene, draft, draft_with_key, name},
};
use futures_util::FutureExt as _;
use serde_json::Value;
use std::{
    collections::BTreeSet, fs, os::unix::fs::MetadataExt as _, path::PathBuf, sync::Arc,
    time::Duration,
};

mod disk;

const SERVER: &str = "https://as.example";

fn folder(scene: &Scene) -> PathBuf {
    scene.path().join("keys/clients")
}

/// Does what is due, as the task would.
async fn follow(scene: &Scene) -> Vec<crate::audit::Event> {
    scene.keys.follow_once(&scene.registry).await
}

async fn with_client(client: &str) -> Scene {
    let scene = Scene::new().await;
    scene.register_as(client, draft_with_key(&[SERVER])).await;
    follow(&scene).await;
    scene
}

fn jwks(scene: &Scene, client: &str) -> Option<Value> {
    let published = scene.keys.published();
    let published = published.borrow();
    let jwks = published.jwks(&name(client))?;
    Some(serde_json::from_slice(jwks).unwrap())
}

fn key_ids(scene: &Scene, client: &str) -> BTreeSet<String> {
    let jwks = jwks(scene, client).unwrap();
    let keys = jwks["keys"].as_array().unwrap().iter();
    keys.map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect()
}

fn slots(scene: &Scene, client: &str) -> Vec<Slot> {
    let set = scene.keys.of(&name(client)).unwrap();
    set.keys().iter().map(|key| key.slot).collect()
}

fn sign(scene: &Scene, client: &str) -> Result<SignedAssertion, ClientKeyError> {
    let now = scene.clock.now();
    scene.keys.sign(
        &name(client),
        &Claims {
            client_id: "https://id.example.org/clients/a/client.json",
            audience: SERVER,
            issued_at: now,
            expires_at: now + Duration::from_secs(60),
            jti: "j",
        },
    )
}

/// The `kid` that an assertion is signed with now, which has to verify by the published JWKS.
fn signs(scene: &Scene, client: &str) -> String {
    let signed = sign(scene, client).unwrap();
    let jwks = jwks(scene, client).unwrap();
    let keys = jwks["keys"].as_array().unwrap().iter();
    let keys = keys.map(|key| {
        let text = |name: &str| key[name].as_str().unwrap();
        assert_eq!((text("alg"), text("use")), ("ES256", "sig"));
        assert!(key.get("d").is_none());
        VerifyingKey::new(PublicKey::from_coordinates(text("x"), text("y")).unwrap()).unwrap()
    });
    verified(signed.token.expose(), &KeySet::new(keys.collect())).unwrap();
    signed.key_id.to_string()
}

async fn replace(scene: &Scene, client: &str) -> Result<super::Replaced, ClientKeyError> {
    let name = name(client);
    scene.keys.replace(&scene.registry, &name, "stolen").await
}

#[tokio::test]
async fn only_active_clients_that_are_known_by_a_key_have_one() {
    let scene = Scene::new().await;
    scene.register("plain").await;
    let mut public = draft_with_key(&[SERVER]);
    let metadata = public.metadata.as_mut().unwrap();
    metadata.token_endpoint_auth_method = "none".to_owned();
    scene.register_as("public", public).await;
    scene.register_as("a", draft_with_key(&[SERVER])).await;
    follow(&scene).await;
    for without in ["plain", "public", "nobody"] {
        assert!(jwks(&scene, without).is_none(), "{without}");
        let refused = sign(&scene, without);
        assert!(matches!(refused, Err(ClientKeyError::NoKey(_))));
    }
    assert_eq!(slots(&scene, "a"), [Slot::Active]);
    signs(&scene, "a");
    let files: Vec<_> = fs::read_dir(folder(&scene)).unwrap().collect();
    assert_eq!(files.len(), 1);
    let mode = |path: PathBuf| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(folder(&scene)), 0o700);
    assert_eq!(mode(folder(&scene).join("a.json")), 0o600);
}

#[tokio::test]
async fn a_version_that_awaits_approval_has_no_key() {
    let scene = Scene::requiring(1).await;
    scene.register_as("a", draft_with_key(&[SERVER])).await;
    follow(&scene).await;
    assert!(jwks(&scene, "a").is_none());
    assert!(fs::read_dir(folder(&scene)).unwrap().next().is_none());
}

#[tokio::test]
async fn suspension_takes_the_keys_out_and_resumption_brings_them_back() {
    let scene = with_client("a").await;
    let key = signs(&scene, "a");
    scene.suspend("a").await;
    let events = follow(&scene).await;
    assert_eq!(events.len(), 1);
    assert!(key_ids(&scene, "a").is_empty(), "{:?}", jwks(&scene, "a"));
    assert!(matches!(sign(&scene, "a"), Err(ClientKeyError::NoKey(_))));
    assert!(folder(&scene).join("a.json").exists());
    assert!(follow(&scene).await.is_empty(), "told once");
    scene.resume("a").await;
    follow(&scene).await;
    assert_eq!(signs(&scene, "a"), key);
    scene.revoke("a").await;
    follow(&scene).await;
    assert!(key_ids(&scene, "a").is_empty());
    assert!(!folder(&scene).join("a.json").exists());
    assert!(follow(&scene).await.is_empty());
}

#[tokio::test]
async fn expiry_and_lost_metadata_take_the_keys_out() {
    let scene = Scene::new().await;
    let ending = ClientDraft {
        expires_at: Some(scene.clock.now() + HOUR),
        ..draft_with_key(&[SERVER])
    };
    scene.register_as("ending", ending).await;
    scene.register_as("a", draft_with_key(&[SERVER])).await;
    follow(&scene).await;
    signs(&scene, "ending");
    scene.clock.advance(HOUR);
    scene.update("a", draft()).await;
    follow(&scene).await;
    assert!(key_ids(&scene, "ending").is_empty());
    sign(&scene, "ending").unwrap_err();
    assert!(jwks(&scene, "a").is_none());
    sign(&scene, "a").unwrap_err();
    // A later version has the same key.
    scene.update("a", draft_with_key(&[SERVER])).await;
    follow(&scene).await;
    signs(&scene, "a");
}

#[tokio::test]
async fn a_key_is_published_before_it_signs_and_until_its_assertions_have_expired() {
    let scene = with_client("a").await;
    let first = signs(&scene, "a");
    // 30 days: at half of it the next one is made.
    scene.clock.advance(360 * HOUR);
    follow(&scene).await;
    assert_eq!(slots(&scene, "a"), [Slot::Active, Slot::Prepared]);
    assert_eq!(signs(&scene, "a"), first);
    let published = key_ids(&scene, "a");
    assert_eq!(published.len(), 2);
    scene.clock.advance(23 * HOUR);
    follow(&scene).await;
    assert_eq!(signs(&scene, "a"), first, "caches may not know it");
    scene.clock.advance(HOUR);
    follow(&scene).await;
    assert_eq!(slots(&scene, "a"), [Slot::Retired, Slot::Active]);
    let second = signs(&scene, "a");
    assert_ne!(second, first);
    assert_eq!(
        key_ids(&scene, "a"),
        published,
        "the old one is still believed"
    );
    scene.clock.advance(Duration::from_secs(61));
    follow(&scene).await;
    assert!(key_ids(&scene, "a").contains(&first));
    scene.clock.advance(Duration::from_secs(60));
    let events = follow(&scene).await;
    assert_eq!(key_ids(&scene, "a"), BTreeSet::from([second]));
    assert_eq!(events.len(), 1);
    let stored = fs::read_to_string(folder(&scene).join("a.json")).unwrap();
    assert_eq!(stored.matches("\"key\":").count(), 1);
}

#[tokio::test]
async fn what_was_withheld_waits_anew_before_it_signs() {
    let scene = with_client("a").await;
    let first = signs(&scene, "a");
    scene.clock.advance(360 * HOUR);
    follow(&scene).await;
    scene.suspend("a").await;
    follow(&scene).await;
    scene.clock.advance(48 * HOUR);
    follow(&scene).await;
    scene.resume("a").await;
    follow(&scene).await;
    assert_eq!(signs(&scene, "a"), first, "nobody could see the next one");
    scene.clock.advance(24 * HOUR);
    follow(&scene).await;
    assert_ne!(signs(&scene, "a"), first);
}

#[tokio::test]
async fn replaced_keys_are_gone_at_once() {
    let scene = with_client("a").await;
    scene.clock.advance(360 * HOUR);
    follow(&scene).await;
    let old = key_ids(&scene, "a");
    let replaced = replace(&scene, "a");
    let replaced = replaced.await.unwrap();
    assert_eq!(replaced.events.len(), 3, "two are gone, one is new");
    let new = signs(&scene, "a");
    assert_eq!(key_ids(&scene, "a"), BTreeSet::from([new.clone()]));
    assert!(!old.contains(&new));
    let stored = fs::read_to_string(folder(&scene).join("a.json")).unwrap();
    assert_eq!(
        stored.matches("\"key\":").count(),
        1,
        "old keys lie on the disk"
    );
    // A suspended client's as well, and without publishing anything.
    scene.suspend("a").await;
    follow(&scene).await;
    let again = replace(&scene, "a");
    assert_ne!(again.await.unwrap().keys[0].key_id, new);
    assert!(key_ids(&scene, "a").is_empty());
    scene.register("plain").await;
    let refused = replace(&scene, "plain");
    assert!(matches!(refused.await, Err(ClientKeyError::NoKeyWanted(_))));
}

#[tokio::test]
async fn a_key_is_ready_when_others_can_read_it_where_they_do() {
    let scene = with_client("a").await;
    let client = name("a");
    let is_ready = || scene.keys.ready(&client).now_or_never().is_some();
    let set = || scene.keys.of(&client).unwrap();
    let write = || scene.keys.note_written(&client, Some(set().jwks()));
    write();
    assert!(is_ready(), "nobody is waited for");
    scene.keys.expect_writing();
    let mut first = Box::pin(scene.keys.ready(&client));
    assert!(first.as_mut().now_or_never().is_none());
    write();
    first.await;

    // One that is prepared keeps the one that signs from nothing.
    scene.clock.advance(360 * HOUR);
    follow(&scene).await;
    assert_eq!(slots(&scene, "a"), [Slot::Active, Slot::Prepared]);
    assert!(is_ready());
    replace(&scene, "a").await.unwrap();
    assert!(!is_ready(), "a replaced key");
    write();
    assert!(is_ready());
    scene.suspend("a").await;
    follow(&scene).await;
    write();
    scene.resume("a").await;
    follow(&scene).await;
    assert!(!is_ready(), "a resumed key");
    write();
    assert!(is_ready());
    scene.keys.note_written(&client, None);
    // Not for ever.
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    scene.keys.ready(&client).await;
    assert_eq!(begun.elapsed().as_secs(), super::KEY_WAIT.as_secs());
    signs(&scene, "a");
}

#[tokio::test]
async fn keys_of_an_earlier_version_go_with_the_client_or_by_command() {
    for is_revoked in [true, false] {
        let scene = with_client("a").await;
        let stolen = signs(&scene, "a");
        scene.update("a", draft()).await;
        follow(&scene).await;
        assert!(jwks(&scene, "a").is_none());
        assert!(folder(&scene).join("a.json").exists());
        if is_revoked {
            scene.revoke("a").await;
            follow(&scene).await;
            assert!(key_ids(&scene, "a").is_empty());
            assert!(follow(&scene).await.is_empty());
        } else {
            let refused = replace(&scene, "a").await;
            assert!(matches!(refused, Err(ClientKeyError::NoKeyWanted(_))));
        }
        assert!(!folder(&scene).join("a.json").exists());
        if !is_revoked {
            scene.update("a", draft_with_key(&[SERVER])).await;
            follow(&scene).await;
            assert_ne!(signs(&scene, "a"), stolen);
        }
    }
}

#[tokio::test]
async fn a_key_whose_time_is_over_signs_no_more() {
    let scene = with_client("a").await;
    scene.clock.advance(720 * HOUR - Duration::from_secs(1));
    signs(&scene, "a");
    // Nobody has made the next one.
    scene.clock.advance(Duration::from_secs(1));
    assert!(matches!(sign(&scene, "a"), Err(ClientKeyError::NoKey(_))));
    let client = name("a");
    let mut ready = Box::pin(scene.keys.ready(&client));
    assert!(ready.as_mut().now_or_never().is_none());
    follow(&scene).await;
    assert!(ready.now_or_never().is_some());
    signs(&scene, "a");
}

#[tokio::test]
async fn what_could_not_be_told_is_told_later() {
    let scene = with_client("a").await;
    let replaced = replace(&scene, "a").await.unwrap();
    scene.keys.tell_later(replaced.events);
    scene.keep_keys();
    until_told(&scene, 2).await;
    scene.close_trail().await;
    let lines = scene.lines();
    let is_told = |line: &Value| line["reason"] == "replaced by command: stolen";
    assert!(lines.iter().any(is_told));
}

#[tokio::test]
async fn the_task_follows_registry_and_clock_and_tells_the_trail() {
    let scene = Scene::new().await;
    scene.keep_keys();
    let mut published = scene.keys.published();
    scene.register_as("a", draft_with_key(&[SERVER])).await;
    let has_key = |published: &Arc<super::PublishedKeys>| {
        published
            .set(&name("a"))
            .is_some_and(|set| set.is_published())
    };
    published.wait_for(has_key).await.unwrap();
    scene.suspend("a").await;
    published
        .wait_for(|published| !has_key(published))
        .await
        .unwrap();
    until_told(&scene, 2).await;
    scene.close_trail().await;
    let lines = scene.lines();
    let rotated: Vec<_> = lines
        .iter()
        .filter(|line| line["event"] == "rotated")
        .collect();
    assert_eq!(rotated[0]["reason"], "published; signs");
    assert_eq!(rotated[0]["authority"]["kind"], "client");
    assert_eq!(rotated[0]["client"], "a");
    assert_eq!(rotated[1]["reason"], "withheld: the client is suspended");
    let digest = |line: &Value| line["evidence"]["sha256"].as_str().unwrap().to_owned();
    assert_ne!(digest(rotated[0]), digest(rotated[1]));
    assert_eq!(
        digest(rotated[1]),
        crate::canonical::sha256_hex(br#"{"keys":[]}"#)
    );
}

#[tokio::test]
async fn many_clients_get_their_keys_and_damaged_files_keep_none_of_them_waiting() {
    let scene = Scene::new().await;
    for number in 0..90 {
        let client = format!("c{number:02}");
        let draft = ClientDraft {
            spiffe_id: None,
            ..draft_with_key(&[SERVER])
        };
        scene.register_as(&client, draft).await;
        if number < 70 {
            fs::write(folder(&scene).join(format!("{client}.json")), "{}").unwrap();
        }
    }
    follow(&scene).await;
    assert!(jwks(&scene, "c00").is_none());
    for number in 70..90 {
        signs(&scene, &format!("c{number}"));
    }
}

/// Or the time that it takes to read keys would grow with the square of their number.
#[tokio::test]
async fn sets_are_compared_with_a_registry_once_until_time_goes_by() {
    let scene = with_client("a").await;
    let may = || scene.keys.0.may_withdraw(&scene.registry.snapshot());
    assert!(!may());
    scene.clock.advance(Duration::from_secs(1));
    assert!(may());
    assert!(!may());
    scene.suspend("a").await;
    assert!(may());
    assert!(!may());
    scene.resume("a").await;
    follow(&scene).await;
    scene.suspend("a").await;
    follow(&scene).await;
    assert!(key_ids(&scene, "a").is_empty());
}

#[tokio::test]
async fn loaded_is_when_every_client_was_looked_at() {
    let scene = Scene::new().await;
    for number in 0..90 {
        let draft = ClientDraft {
            spiffe_id: None,
            ..draft_with_key(&[SERVER])
        };
        scene.register_as(&format!("c{number:02}"), draft).await;
    }
    let loaded = scene.keys.loaded();
    assert!(futures_util::FutureExt::now_or_never(loaded).is_none());
    scene.keep_keys();
    scene.keys.loaded().await;
    for number in 0..90 {
        signs(&scene, &format!("c{number:02}"));
    }
}

#[tokio::test]
async fn nobody_waits_for_keys_where_the_trail_cannot_be_written() {
    let scene = Scene::new().await;
    scene.register_as("a", draft_with_key(&[SERVER])).await;
    scene.close_trail().await;
    scene.keep_keys();
    scene.keys.loaded().await;
}

/// Waits until so many rotations of clients' keys are on the disk.
async fn until_told(scene: &Scene, count: usize) {
    let told = |scene: &Scene| {
        let lines = scene.lines();
        lines
            .iter()
            .filter(|line| line["event"] == "rotated")
            .count()
    };
    while told(scene) < count {
        tokio::task::yield_now().await;
    }
}

#[test]
fn the_clock_is_read_often_enough_for_keys_of_short_life() {
    let timing = |ttl, overlap| super::Timing { ttl, overlap };
    let turn = |ttl, lead| super::turn(timing(ttl, lead));
    let second = Duration::from_secs(1);
    assert_eq!(turn(30 * 24 * HOUR, 24 * HOUR), 10 * second);
    assert_eq!(turn(8 * second, second), second / 2);
    // The shortest that the configuration takes: four leads, and a second.
    for (ttl, lead) in [(5, 1), (17, 4), (14_401, 3_600)] {
        let (ttl, lead) = (ttl * second, lead * second);
        let latest = ttl / 2 + second + lead + 2 * turn(ttl, lead);
        assert!(latest < ttl, "{ttl:?} ends before {latest:?}");
    }
}

/// Times are kept in seconds, and a cache may have been filled just before one.
#[tokio::test]
async fn a_key_signs_no_moment_before_its_lead_is_over() {
    let scene = with_client("a").await;
    let first = signs(&scene, "a");
    scene.clock.advance(360 * HOUR + Duration::from_millis(500));
    follow(&scene).await;
    assert_eq!(key_ids(&scene, "a").len(), 2);
    scene.clock.advance(24 * HOUR - Duration::from_millis(1));
    follow(&scene).await;
    assert_eq!(signs(&scene, "a"), first);
    scene.clock.advance(Duration::from_millis(501));
    follow(&scene).await;
    assert_ne!(signs(&scene, "a"), first);
}

#[tokio::test]
async fn nothing_secret_is_printed() {
    let scene = with_client("a").await;
    let set = scene.keys.of(&name("a")).unwrap();
    let printed = format!("{:?} {set:?}", scene.keys);
    assert!(!printed.contains("PrivateKey"), "{printed}");
    let stored: Value =
        serde_json::from_slice(&fs::read(folder(&scene).join("a.json")).unwrap()).unwrap();
    let secret = stored["keys"][0]["key"].as_str().unwrap();
    assert!(!printed.contains(secret) && secret.len() > 100);
}
