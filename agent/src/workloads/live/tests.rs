use super::{Holder, LiveCount};
use crate::{
    clock::Clock as _,
    registry::ClientDraft,
    workloads::{
        Asked, Caller,
        testing::{Actress, HOUR, Scene, draft, name},
    },
};
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

const MINUTE: Duration = Duration::from_secs(60);

async fn x509(scene: &Scene, caller: &Caller) -> Arc<crate::issuance::X509Svid> {
    let svids = scene.workloads.x509(caller, Asked::ByCall).await;
    svids.unwrap().remove(0)
}

fn holder(scene: &Scene) -> Holder {
    let mut holders = scene.workloads.holders_of(&name("a"));
    assert_eq!(holders.len(), 1, "{holders:?}");
    holders.remove(0)
}

fn kinds(holder: &Holder) -> Vec<&'static str> {
    holder.credentials.iter().map(|held| held.kind).collect()
}

#[tokio::test]
async fn a_holder_is_told_with_its_credentials_and_the_attestation_behind_them() {
    let scene = Scene::new().await;
    let draft = ClientDraft {
        audiences: vec!["aud".to_owned()],
        ..draft()
    };
    scene.register_as("a", draft).await;
    let caller = scene.own();
    assert!(scene.workloads.holders_of(&name("a")).is_empty());
    let svid = x509(&scene, &caller).await;
    let audiences = ["aud".to_owned()];
    let tokens = scene
        .workloads
        .jwt(&caller, &audiences, None)
        .await
        .unwrap();
    let holder = holder(&scene);
    assert_eq!(kinds(&holder), ["x509-svid", "jwt-svid"]);
    assert_eq!(holder.credentials[0].id, svid.serial);
    assert_eq!(holder.credentials[0].expires_at, svid.terms.expires_at);
    assert_eq!(holder.credentials[1].id, tokens[0].jti);
    assert_eq!(holder.credentials[1].expires_at, tokens[0].expires_at);
    assert_eq!(holder.pid, std::process::id());
    assert_eq!(holder.since, svid.terms.issued_at);
    let path = std::env::current_exe().unwrap();
    assert_eq!(holder.executable.as_deref(), path.to_str());
    let issued = scene.lines();
    let issued = issued
        .iter()
        .find(|line| line["event"] == "issued")
        .unwrap();
    assert_eq!(issued["attestation_id"], *holder.attestation_id);
    assert_eq!(scene.workloads.holders_of(&name("b")).len(), 0);
}

#[tokio::test]
async fn an_identity_is_held_since_the_first_svid_without_a_break() {
    let scene = Scene::new().await;
    scene.register("a").await;
    let caller = scene.own();
    let first = x509(&scene, &caller).await.terms;
    scene.clock.set(first.renew_at);
    let second = x509(&scene, &caller).await.terms;
    assert!(second.issued_at > first.issued_at);
    assert_eq!(holder(&scene).since, first.issued_at);
    // Nobody asked for it until it had ended.
    scene.clock.set(second.expires_at + MINUTE);
    assert!(scene.workloads.holders_of(&name("a")).is_empty());
    let third = x509(&scene, &caller).await.terms;
    assert_eq!(holder(&scene).since, third.issued_at);
}

#[tokio::test]
async fn a_token_is_told_until_it_ends_also_after_a_withdrawal() {
    let scene = Scene::new().await;
    let draft = ClientDraft {
        audiences: vec!["aud".to_owned()],
        ..draft()
    };
    scene.register_as("a", draft).await;
    let caller = scene.own();
    x509(&scene, &caller).await;
    let audiences = ["aud".to_owned()];
    let token = scene
        .workloads
        .jwt(&caller, &audiences, None)
        .await
        .unwrap();
    scene.suspend("a").await;
    scene.workloads.reconcile().await;
    assert_eq!(kinds(&holder(&scene)), ["jwt-svid"]);
    scene.clock.set(token[0].expires_at);
    assert!(scene.workloads.holders_of(&name("a")).is_empty());
}

#[tokio::test]
async fn a_process_that_exited_holds_nothing() {
    let scene = Scene::new().await;
    scene.register("a").await;
    let actress = Actress::enter();
    let caller = scene.admit(actress.pid());
    x509(&scene, &caller).await;
    assert_eq!(holder(&scene).pid, actress.pid());
    actress.exit();
    assert!(scene.workloads.holders_of(&name("a")).is_empty());
}

#[tokio::test]
async fn keys_are_counted_by_user() {
    let scene = Scene::new().await;
    scene.register("a").await;
    let (one, two) = (Actress::enter(), Actress::enter());
    let callers = [scene.admit(one.pid()), scene.admit(two.pid())];
    for caller in &callers {
        x509(&scene, caller).await;
    }
    let uid = rustix::process::geteuid().as_raw();
    let expected = BTreeMap::from([("a".to_owned(), BTreeMap::from([(uid, 2)]))]);
    assert_eq!(scene.workloads.key_holders().await, expected);
}

#[tokio::test]
async fn what_a_stream_waits_for_is_late_a_tenth_of_its_life_after_it_was_due() {
    let scene = Scene::new().await;
    scene.register("a").await;
    let caller = scene.own();
    let terms = x509(&scene, &caller).await.terms;
    let late = async |at: SystemTime| {
        scene.clock.set(at);
        let [LiveCount { late, held, .. }, ..] = scene.workloads.live().await;
        (held, late)
    };
    scene.authority.fails.store(true, Ordering::Relaxed);
    assert_eq!(late(terms.renew_at + 7 * MINUTE).await, (1, 0), "no stream");
    let followed = caller.process().follow_x509();
    let _other_kind = caller.process().follow_wit();
    assert_eq!(late(terms.renew_at + 5 * MINUTE).await, (1, 0));
    assert_eq!(late(terms.renew_at + 7 * MINUTE).await, (1, 1));
    drop(followed);
    assert_eq!(late(terms.renew_at + 7 * MINUTE).await, (1, 0));
    assert_eq!(late(terms.issued_at + HOUR).await, (0, 0), "it has ended");
}

#[tokio::test]
async fn failed_renewals_are_counted_by_kind_and_uses_noted() {
    let scene = Scene::new().await;
    let client = scene.register("a").await;
    let caller = scene.own();
    let usage = scene.workloads.issuer().usage().clone();
    assert_eq!(usage.last(client.name()), None);
    let terms = x509(&scene, &caller).await.terms;
    assert_eq!(usage.last(client.name()), Some(terms.issued_at));
    scene.authority.fails.store(true, Ordering::Relaxed);
    scene.clock.set(terms.renew_at);
    x509(&scene, &caller).await;
    let failed = &scene.workloads.services.metrics.live.failed;
    assert_eq!(failed.get_or_create(&"x509-svid".into()).get(), 1);
    assert_eq!(failed.get_or_create(&"wit-svid".into()).get(), 0);
    assert_eq!(usage.last(client.name()), Some(terms.issued_at));
    scene.authority.fails.store(false, Ordering::Relaxed);
    scene.clock.advance(MINUTE);
    x509(&scene, &caller).await;
    let now = crate::clock::unix_seconds(scene.clock.now());
    let last = usage.last(client.name()).map(crate::clock::unix_seconds);
    assert_eq!(last, Some(now));
}
