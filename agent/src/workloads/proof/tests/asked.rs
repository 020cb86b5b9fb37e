//! What is read of a process depends on which registrations it could fit, and an answer on what
//! was read last.

use super::{LIMIT, demanding, events, proofs, x509};
use crate::{
    clock::Clock as _,
    registry::ClientDraft,
    workloads::{
        Asked, Caller, Denial, WorkloadSettings,
        process::Attested,
        testing::{Actress, Scene, draft, settings, until},
    },
};
use serde_json::{Value, json};
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    sync::Arc,
};
use symbolon_attestors::{Attestor, AttestorConfig, Kind, Kinds};
use tokio::time::timeout;

/// What is known of the process: from the attestors that were asked.
pub(super) fn of(caller: &Caller) -> Vec<Kind> {
    let attestation = caller.process().attestation().unwrap();
    attestation.evidence().asked.clone()
}

/// What code is in the process of `uid`.
fn with_code(uid: u32) -> ClientDraft {
    let set = [format!("unix:uid:{uid}"), "code:jit:false".to_owned()];
    ClientDraft {
        selector_sets: vec![set.to_vec()],
        ..draft()
    }
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[tokio::test]
async fn code_is_read_of_nobody_whom_no_registration_that_asks_for_it_could_fit() {
    let scene = Scene::new().await;
    scene.run();
    scene.register("a").await;
    scene.register_as("b", with_code(own_uid() + 1)).await;
    let caller = scene.own();
    assert_eq!(x509(&scene, &caller).await.unwrap(), 1);
    assert!(of(&caller).is_empty());
    let pulse = caller.process().pulse();
    let before = caller.process().attestation().unwrap();
    scene.register_as("c", with_code(own_uid() + 2)).await;
    scene.workloads.reconcile().await;
    assert_eq!(x509(&scene, &caller).await.unwrap(), 1);
    let after = caller.process().attestation().unwrap();
    assert!(Arc::ptr_eq(&before, &after), "it was attested again");
    assert!(!pulse.has_changed().unwrap());
    assert_eq!(proofs(&scene).len(), 1);
}

#[tokio::test]
async fn code_is_read_of_whom_a_registration_that_asks_for_it_could_fit() {
    for draft in [
        with_code(own_uid()),
        demanding(Kind::Code),
        // Nothing else is known of whom it could fit.
        ClientDraft {
            selector_sets: vec![vec!["code:jit:true".to_owned()]],
            ..draft()
        },
    ] {
        let scene = Scene::new().await;
        scene.register("a").await;
        scene.register_as("b", draft).await;
        let caller = scene.own();
        x509(&scene, &caller).await.unwrap();
        assert_eq!(of(&caller), [Kind::Code]);
    }
}

#[tokio::test]
async fn code_is_read_as_long_as_a_registration_asks_for_it() {
    let scene = Scene::new().await;
    scene.run();
    scene.register("a").await;
    let caller = scene.own();
    let mut pulse = caller.process().pulse();
    assert_eq!(x509(&scene, &caller).await.unwrap(), 1);
    let pushed = async || {
        let svids = scene.workloads.x509(&caller, Asked::ByStream).await;
        svids.unwrap().len()
    };
    scene.register_as("b", with_code(own_uid())).await;
    timeout(LIMIT, until(|| of(&caller) == [Kind::Code]))
        .await
        .unwrap();
    // Mappings are root's to look at.
    let attestation = caller.process().attestation().unwrap();
    let is_known = attestation.has_facts_of(Kind::Code);
    if is_known {
        timeout(LIMIT, pulse.changed()).await.unwrap().unwrap();
    }
    let both = 1 + usize::from(is_known);
    assert_eq!(pushed().await, both);
    for _ in 0..2 {
        scene.suspend("b").await;
        scene.workloads.reconcile().await;
        assert!(!caller.process().holds("b"));
        assert_eq!(pushed().await, 1);
        assert!(of(&caller).is_empty(), "it is read again and again");
        scene.resume("b").await;
        timeout(LIMIT, until(|| of(&caller) == [Kind::Code]))
            .await
            .unwrap();
        assert_eq!(pushed().await, both);
    }
    let withdrawn = events(&scene, "withdrawn");
    assert!(withdrawn.iter().all(|line| line["client"] == "b"));
}

#[tokio::test]
async fn call_that_waits_gets_what_asks_for_code_as_soon_as_it_comes() {
    let test = "call_that_waits_gets_what_asks_for_code_as_soon_as_it_comes";
    if !crate::testing::can_run(test, own_uid() == 0, "run the tests as root") {
        return;
    }
    let scene = Scene::new().await;
    scene.register_as("a", with_code(own_uid())).await;
    let caller = scene.own();
    x509(&scene, &caller).await.unwrap();
    scene.suspend("a").await;
    scene.workloads.set_settings(WorkloadSettings {
        wait_for_registration: LIMIT,
        ..settings()
    });
    let caller = scene.own();
    let resume = async {
        until(|| of(&caller).is_empty()).await;
        scene.resume("a").await;
    };
    let (issued, ()) = tokio::join!(x509(&scene, &caller), resume);
    issued.unwrap();
}

/// What was read when the call began is not what is in the process when a registration comes.
#[tokio::test]
async fn call_that_waited_is_answered_by_the_code_of_now() {
    let test = "call_that_waited_is_answered_by_the_code_of_now";
    if !crate::testing::can_run(test, own_uid() == 0, "run the tests as root") {
        return;
    }
    let scene = Scene::new().await;
    let trusted = |more: &[&str]| {
        let set = ["unix:uid:0", "code:trusted:root"].iter().chain(more);
        ClientDraft {
            selector_sets: vec![set.map(ToString::to_string).collect()],
            ..draft()
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let (actress, library) = Actress::with_library_of(folder.path());
    let caller = scene.admit(actress.pid());
    let mode = |mode| fs::set_permissions(&library, Permissions::from_mode(mode)).unwrap();
    mode(0o755);
    scene.register_as("a", trusted(&["code:jit:true"])).await;
    scene.workloads.set_settings(WorkloadSettings {
        wait_for_registration: 2 * LIMIT,
        ..settings()
    });
    let is_trusted = |line: &Value| {
        let selectors = line["evidence"]["selectors"].as_array().unwrap();
        selectors.contains(&json!("code:trusted:root"))
    };
    let change = async {
        until(|| events(&scene, "attested").len() == 1).await;
        mode(0o777);
        scene.register_as("b", trusted(&[])).await;
        until(|| events(&scene, "attested").len() == 2).await;
        mode(0o755);
        scene.register_as("c", with_code(1)).await;
    };
    let both = Box::pin(async { tokio::join!(x509(&scene, &caller), change) });
    let (issued, ()) = timeout(LIMIT, both).await.unwrap();
    assert_eq!(issued.unwrap(), 1);
    // What no registration fitted is in the callers' chain.
    let attested = events(&scene, "attested").into_iter();
    let (callers, trail): (Vec<_>, Vec<_>) = attested.partition(|line| line["chain"] == "callers");
    let trust = |lines: &[Value]| lines.iter().map(is_trusted).collect::<Vec<_>>();
    assert_eq!(
        (trust(&callers), trust(&trail)),
        (vec![true, false], vec![true])
    );
    let issued = &events(&scene, "issued")[0];
    assert_eq!(issued["attestation_id"], trail[0]["attestation_id"]);
}

/// As when an attestor that had failed found something out, on another connection.
#[tokio::test]
async fn stream_is_answered_by_what_was_found_last() {
    let scene = Scene::new().await;
    scene.register("a").await;
    let (caller, other) = (scene.own(), scene.own());
    let process = Arc::clone(caller.process());
    let (peer, image, now) = (process.peer(), process.image(), scene.clock.now());
    let nowhere = tempfile::tempdir().unwrap();
    let nameless = AttestorConfig {
        etc_root: nowhere.path().to_owned(),
        ..AttestorConfig::default()
    };
    let nameless = Attestor::new(nameless).unwrap();
    let before = nameless
        .attest(peer, image, Kinds::NONE, now)
        .await
        .unwrap();
    let since = scene.attestor();
    let since = since.attest(peer, image, Kinds::NONE, now).await.unwrap();
    let mut selectors = since.selectors().iter().map(ToString::to_string);
    let user = selectors.find(|text| text.starts_with("unix:user:"));
    let named = ClientDraft {
        selector_sets: vec![vec![user.unwrap()]],
        ..draft()
    };
    scene.register_as("b", named).await;
    process.note_attested(Arc::new(Attested::new(before)));
    assert_eq!(x509(&scene, &caller).await.unwrap(), 1);
    process.note_attested(Arc::new(Attested::new(since)));
    assert_eq!(x509(&scene, &other).await.unwrap(), 2);
    scene.suspend("a").await;
    let pushed = scene.workloads.x509(&caller, Asked::ByStream).await;
    assert_eq!(pushed.map(|svids| svids.len()).unwrap(), 1);
    assert!(process.holds("b"));
    let withdrawn = events(&scene, "withdrawn");
    assert!(withdrawn.iter().all(|line| line["client"] == "a"));
    let pulse = process.pulse();
    scene.workloads.reconcile().await;
    assert!(!pulse.has_changed().unwrap());
}

/// What was read before may be otherwise by now.
#[tokio::test]
async fn stream_ends_by_the_code_of_now() {
    let test = "stream_ends_by_the_code_of_now";
    if !crate::testing::can_run(test, own_uid() == 0, "run the tests as root") {
        return;
    }
    let scene = Scene::new().await;
    scene.register("a").await;
    let trusted = ClientDraft {
        selector_sets: vec![vec!["unix:uid:0".into(), "code:trusted:root".into()]],
        ..draft()
    };
    scene.register_as("b", trusted).await;
    let folder = tempfile::tempdir().unwrap();
    let (actress, library) = Actress::with_library_of(folder.path());
    let caller = scene.admit(actress.pid());
    let mode = |mode| fs::set_permissions(&library, Permissions::from_mode(mode)).unwrap();
    mode(0o777);
    assert_eq!(x509(&scene, &caller).await.unwrap(), 1);
    scene.suspend("a").await;
    mode(0o755);
    let pushed = async || {
        let svids = scene.workloads.x509(&caller, Asked::ByStream).await;
        svids.map(|svids| svids[0].spiffe_id.path().to_owned())
    };
    assert_eq!(pushed().await.unwrap(), "/mcp/client/b");
    mode(0o777);
    let denied = pushed().await;
    assert!(matches!(denied, Err(Denial::NoIdentity)), "{denied:?}");
}
