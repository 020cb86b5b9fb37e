use super::{
    Asked, Caller, Denial, Identities, WorkloadSettings,
    testing::{Actress, HOUR, Scene, draft, settings, until},
};
use crate::{
    audit::{Durability, Event, Kind},
    clock::Clock as _,
    issuance::{DpopRequest, X509Svid},
    registry::ClientDraft,
    server::{Admit as _, Caller as _, Refused},
    testing::can_run,
};
use futures_util::FutureExt as _;
use spiffe::SpiffeId;
use std::{pin::pin, process::Command, sync::atomic::Ordering, time::Duration};
use symbolon_attestors::AttestError;
use tokio::{net::UnixStream, time::timeout};

/// How long something may take that waits for other threads or processes.
const LIMIT: Duration = Duration::from_secs(30);

type Svids = Identities<X509Svid>;

/// What a call gets.
async fn called(scene: &Scene, caller: &Caller) -> Svids {
    let svids = scene.workloads.x509(caller, Asked::ByCall).await;
    svids.unwrap()
}

/// What a stream that looks again gets.
async fn pushed(scene: &Scene, caller: &Caller) -> Svids {
    let svids = scene.workloads.x509(caller, Asked::ByStream).await;
    svids.unwrap()
}

async fn until_attested(caller: &Caller) {
    until(|| caller.process().attestation().is_some()).await;
}

/// A caller of its process, whose calls wait so long for a registration.
fn waiting(scene: &Scene, wait: Duration) -> Caller {
    scene.workloads.set_settings(WorkloadSettings {
        wait_for_registration: wait,
        ..settings()
    });
    scene.own()
}

#[tokio::test]
async fn suspension_that_another_call_saw_first_still_ends_streams() {
    let scene = Scene::new().await;
    scene.register("a").await;
    let caller = scene.own();
    let process = caller.process();
    let mut pulse = process.pulse();
    called(&scene, &caller).await;
    pulse.borrow_and_update();
    scene.suspend("a").await;
    let denied = scene.workloads.x509(&caller, Asked::ByCall).await;
    assert!(matches!(denied, Err(Denial::NoIdentity)), "{denied:?}");
    scene.workloads.reconcile().await;
    assert!(pulse.has_changed().unwrap(), "the streams sleep on");
    assert!(!process.holds("a"));
    scene.close_trail().await;
    // On the evidence on which it was issued: that leads from a credential to its end.
    let lines = scene.lines();
    let of = |event: &str| lines.iter().find(|line| line["event"] == event).unwrap();
    assert_eq!(of("withdrawn")["client"], "a");
    let id = of("issued")["attestation_id"].as_str().unwrap();
    assert_eq!(of("withdrawn")["attestation_id"], id);
}

#[tokio::test]
async fn renewal_that_no_stream_takes_up_is_announced_once() {
    let scene = Scene::new().await;
    scene.register("a").await;
    let caller = scene.own();
    let mut pulse = caller.process().pulse();
    let svids = scene.workloads.x509(&caller, Asked::ByCall).await;
    let renew_at = svids.unwrap()[0].terms.renew_at;
    tokio::time::pause();
    scene.clock.set(renew_at);
    let before = pulse.borrow_and_update().beat;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(pulse.borrow().beat - before, 1);
}

#[tokio::test]
async fn expiry_wakes_streams_also_before_the_next_try_to_renew() {
    let scene = Scene::new().await;
    scene.register("a").await;
    let caller = scene.own();
    let process = caller.process();
    let mut pulse = process.pulse();
    let svids = called(&scene, &caller).await;
    let expires_at = svids[0].terms.expires_at;
    let second = Duration::from_secs(1);
    scene.clock.set(expires_at - 2 * second);
    scene.authority.fails.store(true, Ordering::Relaxed);
    let kept = pushed(&scene, &caller).await;
    assert_eq!(kept[0].serial, svids[0].serial);
    scene.clock.set(expires_at + second);
    pulse.borrow_and_update();
    scene.workloads.look_after(process);
    assert!(pulse.has_changed().unwrap(), "nobody tells the streams");
}

#[tokio::test]
async fn nothing_lives_longer_than_its_registration_or_the_clients_cap() {
    let scene = Scene::new().await;
    let end = scene.clock.now() + Duration::from_secs(600);
    let mut ending = draft();
    ending.expires_at = Some(end);
    scene.register_as("a", ending).await;
    let mut longer = draft();
    longer.x509_ttl = Some(24 * HOUR);
    scene.register_as("b", longer).await;
    let caller = scene.own();
    let svids = called(&scene, &caller).await;
    let lives: Vec<_> = svids.iter().map(|svid| svid.terms.expires_at).collect();
    assert!(lives[0] <= end, "{lives:?} after {end:?}");
    assert_eq!(svids[0].terms.renew_at, lives[0], "a renewal gains nothing");
    assert!(lives[1] <= scene.clock.now() + HOUR, "a cap lengthens");
}

#[tokio::test]
async fn clock_that_was_set_back_wakes_streams() {
    let scene = Scene::new().await;
    scene.register("a").await;
    let caller = scene.own();
    let process = caller.process();
    scene.clock.advance(3 * HOUR);
    let mut pulse = process.pulse();
    let svids = called(&scene, &caller).await;
    let issued_at = svids[0].terms.issued_at;
    scene.clock.set(issued_at - 2 * HOUR);
    pulse.borrow_and_update();
    scene.workloads.look_after(process);
    assert!(pulse.has_changed().unwrap());
    let again = pushed(&scene, &caller).await;
    assert!(again[0].terms.issued_at < issued_at);
}

#[tokio::test]
async fn process_whose_call_was_given_up_is_forgotten_when_it_exits() {
    let scene = Scene::new().await;
    scene.register("a").await;
    let actress = Actress::enter();
    scene.register("b").await;
    let caller = scene.admit(actress.pid());
    // The first client's SVID is kept; the second one's is being recorded, as a rule.
    tokio::select! {
        biased;
        _ = scene.workloads.x509(&caller, Asked::ByCall) => {}
        () = until(|| caller.process().holds("a")) => {}
    }
    assert!(caller.process().holds("a"));
    drop(caller);
    assert_eq!(scene.workloads.counts().0, 1);
    actress.exit();
    let forgotten = until(|| scene.workloads.counts().0 == 0);
    timeout(LIMIT, forgotten).await.unwrap();
}

#[tokio::test]
async fn process_whose_proof_was_given_up_is_forgotten_when_it_exits() {
    let scene = Scene::silent().await;
    scene.register("a").await;
    let actress = Actress::enter();
    let caller = scene.admit(actress.pid());
    let wanted = DpopRequest {
        method: "POST".parse().unwrap(),
        target: "https://as.example/token".parse().unwrap(),
        access_token_hash: None,
        nonce: None,
    };
    // The key is kept; nothing can be recorded yet.
    tokio::select! {
        biased;
        _ = scene.workloads.dpop_proof(&caller, &wanted, None) => panic!("nothing is recorded"),
        () = until(|| !caller.process().holding.lock().proofs.is_empty()) => {}
    }
    drop(caller);
    assert_eq!(scene.workloads.counts().0, 1);
    actress.exit();
    let forgotten = until(|| scene.workloads.counts().0 == 0);
    timeout(LIMIT, forgotten).await.unwrap();
}

#[tokio::test]
async fn attestation_is_recorded_before_what_relies_on_it_whoever_gives_up() {
    let scene = Scene::silent().await;
    scene.register("a").await;
    let caller = scene.own();
    let process = caller.process();
    // The trail is not written yet, first with room in its queue, then without.
    tokio::select! {
        _ = scene.workloads.x509(&caller, Asked::ByCall) => panic!("nothing can be recorded"),
        () = until(|| process.attestation().is_some()) => {}
    }
    let denied = || Event::new(Kind::Denied);
    while scene.trail.offer(denied()).is_ok() {}
    let actress = Actress::enter();
    let other = scene.admit(actress.pid());
    let given_up = scene.workloads.x509(&other, Asked::ByCall);
    assert!(given_up.now_or_never().is_none());
    scene.write_trail();
    for caller in [&caller, &other] {
        called(&scene, caller).await;
    }
    let mut events = scene.events();
    events.retain(|event| event != "denied");
    // What was issued to the caller who gave up is recorded too.
    events.dedup();
    assert_eq!(events, ["attested", "issued a", "attested", "issued a"]);
}

#[tokio::test]
async fn image_that_changed_is_over_with_its_connections_and_the_next_starts_anew() {
    let scene = Scene::new().await;
    scene.register("a").await;
    let mut actress = Actress::enter();
    let before = scene.admit(actress.pid());
    let pulse = before.process().pulse();
    let svids = called(&scene, &before).await;
    actress.exec();
    // Another connection is the first to notice.
    let after = scene.admit(actress.pid());
    assert!(pulse.borrow().ended);
    timeout(LIMIT, before.ended()).await.unwrap();
    for asked in [Asked::ByCall, Asked::ByStream] {
        let denied = scene.workloads.x509(&before, asked).await;
        assert!(matches!(denied, Err(Denial::ProcessChanged)), "{denied:?}");
    }
    let calm = after.process().pulse();
    let fresh = called(&scene, &after).await;
    assert_ne!(fresh[0].serial, svids[0].serial);
    assert!(!calm.borrow().ended);
    drop((before, after));
    assert_eq!(scene.workloads.counts().0, 1);
}

#[tokio::test]
async fn caller_under_a_debugger_gets_nothing_and_the_trail_says_why() {
    let name = "caller_under_a_debugger_gets_nothing_and_the_trail_says_why";
    let actress = Actress::enter();
    let pid = actress.pid();
    let debugger = Command::new("strace")
        .args(["-q", "-o", "/dev/null", "-p", &pid.to_string()])
        .spawn();
    if !can_run(name, debugger.is_ok(), "apt-get install strace") {
        return;
    }
    let mut debugger = debugger.unwrap();
    let traced = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        !status.contains("TracerPid:\t0\n")
    };
    until(traced).await;
    let scene = Scene::new().await;
    scene.register("a").await;
    let caller = scene.admit(pid);
    let denied = scene.workloads.x509(&caller, Asked::ByCall).await;
    debugger.kill().unwrap();
    debugger.wait().unwrap();
    assert!(
        matches!(denied, Err(Denial::Unattested(AttestError::Traced(tracer))) if tracer == debugger.id()),
        "{denied:?}"
    );
    scene.close_trail().await;
    let line = scene.lines().pop().unwrap();
    assert_eq!(line["event"], "denied");
    let reason = format!("traced: the process is traced by process {}", debugger.id());
    assert_eq!(line["reason"], reason);
}

#[tokio::test]
async fn keeper_ends_an_image_that_nobody_asks_about() {
    let scene = Scene::new().await;
    scene.register("a").await;
    let mut actress = Actress::enter();
    let caller = scene.admit(actress.pid());
    called(&scene, &caller).await;
    actress.exec();
    tokio::time::pause();
    timeout(LIMIT, caller.ended()).await.unwrap();
    assert_eq!(scene.workloads.counts().0, 0);
}

#[tokio::test]
async fn exit_ends_the_process_and_is_recorded() {
    let scene = Scene::new().await;
    scene.register("a").await;
    let actress = Actress::enter();
    let caller = scene.admit(actress.pid());
    called(&scene, &caller).await;
    actress.exit();
    timeout(LIMIT, caller.ended()).await.unwrap();
    let denied = scene.workloads.x509(&caller, Asked::ByCall).await;
    assert!(matches!(denied, Err(Denial::ProcessChanged)));
    let events = scene.events();
    assert!(events.contains(&"withdrawn a".to_owned()), "{events:?}");
}

#[tokio::test]
async fn image_that_changes_while_an_answer_is_made_gets_nothing() {
    // Without the wait for the disk, the caller is looked at while the answer is made.
    for durability in [Durability::Sync, Durability::Write] {
        let scene = Scene::recording(durability).await;
        scene.register("a").await;
        let mut actress = Actress::enter();
        let caller = scene.admit(actress.pid());
        let held = scene.authority.held.write().await;
        let call = scene.workloads.x509(&caller, Asked::ByCall);
        let exec = async {
            until_attested(&caller).await;
            actress.exec();
            drop(held);
        };
        let (denied, ()) = tokio::join!(call, exec);
        assert!(matches!(denied, Err(Denial::ProcessChanged)), "{denied:?}");
        assert!(!caller.process().holds("a"));
    }
}

/// What a look while the trail is written saw is worth nothing once something else was waited for.
#[tokio::test]
async fn token_of_a_known_caller_who_changes_while_it_is_made_is_not_given() {
    for durability in [Durability::Sync, Durability::Write] {
        let scene = Scene::recording(durability).await;
        scene.register_as("a", with_audience("x")).await;
        let mut actress = Actress::enter();
        let caller = scene.admit(actress.pid());
        let audience = ["x".to_owned()];
        scene.workloads.jwt(&caller, &audience, None).await.unwrap();
        let held = scene.authority.held.write().await;
        let mut call = pin!(scene.workloads.jwt(&caller, &audience, None));
        assert!(call.as_mut().now_or_never().is_none());
        actress.exec();
        drop(held);
        let denied = call.await;
        assert!(matches!(denied, Err(Denial::ProcessChanged)), "{denied:?}");
    }
}

#[tokio::test]
async fn client_that_is_suspended_while_its_svid_is_signed_gets_nothing() {
    let scene = Scene::new().await;
    scene.register("a").await;
    let caller = scene.own();
    let process = caller.process();
    for kind in ["x509", "jwt"] {
        let held = scene.authority.held.write().await;
        let audience = ["x".to_owned()];
        let call = async {
            match kind {
                "x509" => scene.workloads.x509(&caller, Asked::ByCall).await.map(drop),
                _ => scene
                    .workloads
                    .jwt(&caller, &audience, None)
                    .await
                    .map(drop),
            }
        };
        let suspend = async {
            until(|| process.attestation().is_some()).await;
            scene.suspend("a").await;
            drop(held);
        };
        let (denied, ()) = tokio::join!(call, suspend);
        assert!(denied.is_err(), "{kind}");
        assert!(!process.holds("a"));
        scene.update("a", with_audience("x")).await;
        scene.resume("a").await;
    }
}

#[tokio::test]
async fn all_streams_of_a_process_see_the_same_svids() {
    let scene = Scene::new().await;
    scene.register("a").await;
    let (one, other) = (scene.own(), scene.own());
    let (first, second) = tokio::join!(
        scene.workloads.x509(&one, Asked::ByCall),
        scene.workloads.x509(&other, Asked::ByCall),
    );
    assert_eq!(first.unwrap()[0].serial, second.unwrap()[0].serial);
    let (first, second) = tokio::join!(
        scene.workloads.wit(&one, None, Asked::ByCall),
        scene.workloads.wit(&other, None, Asked::ByCall),
    );
    assert_eq!(first.unwrap()[0].jti, second.unwrap()[0].jti);
    let issued = scene.events().iter().filter(|e| *e == "issued a").count();
    assert_eq!(issued, 2, "one of each kind");
}

#[tokio::test]
async fn processes_never_share_a_key() {
    let scene = Scene::new().await;
    scene.register("a").await;
    let (one, other) = (Actress::enter(), Actress::enter());
    let (one, other) = (scene.admit(one.pid()), scene.admit(other.pid()));
    let first = called(&scene, &one).await;
    let second = called(&scene, &other).await;
    assert_ne!(first[0].key.expose_pkcs8(), second[0].key.expose_pkcs8());
}

#[tokio::test]
async fn svid_is_renewed_when_due_and_kept_while_that_fails() {
    let scene = Scene::new().await;
    scene.register("a").await;
    let caller = scene.own();
    let process = caller.process();
    let mut pulse = process.pulse();
    let first = called(&scene, &caller).await;
    tokio::time::pause();
    scene.clock.set(first[0].terms.renew_at);
    pulse.changed().await.unwrap();
    scene.authority.fails.store(true, Ordering::Relaxed);
    let kept = pushed(&scene, &caller).await;
    assert_eq!(kept[0].serial, first[0].serial);
    scene.authority.fails.store(false, Ordering::Relaxed);
    // Not before the next try.
    let kept = pushed(&scene, &caller).await;
    assert_eq!(kept[0].serial, first[0].serial);
    scene.clock.advance(Duration::from_secs(5));
    pulse.changed().await.unwrap();
    let renewed = pushed(&scene, &caller).await;
    assert_ne!(renewed[0].serial, first[0].serial);
    assert!(scene.events().contains(&"renewed a".to_owned()));
}

#[tokio::test]
async fn new_version_is_issued_anew_and_only_its_processes_are_woken() {
    let scene = Scene::new().await;
    scene.register("a").await;
    scene.run();
    let caller = scene.own();
    let process = caller.process();
    let first = called(&scene, &caller).await;
    let mut pulse = process.pulse();
    let nobody = ClientDraft {
        selector_sets: vec![vec!["unix:uid:4000000000".to_owned()]],
        ..draft()
    };
    scene.register_as("b", nobody).await;
    until(|| scene.workloads.services.registry.snapshot().len() == 2).await;
    assert!(!pulse.has_changed().unwrap());
    scene.update("a", with_audience("x")).await;
    timeout(LIMIT, pulse.changed()).await.unwrap().unwrap();
    let second = pushed(&scene, &caller).await;
    assert_ne!(second[0].serial, first[0].serial);
}

#[tokio::test]
async fn jwt_svids_are_issued_for_registered_audiences_alone() {
    let scene = Scene::new().await;
    scene.register_as("a", with_audience("x")).await;
    let both = ClientDraft {
        audiences: vec!["x".to_owned(), "y".to_owned()],
        max_audiences: Some(2),
        ..draft()
    };
    scene.register_as("b", both).await;
    let any = ClientDraft {
        audiences: vec!["*".to_owned()],
        ..draft()
    };
    scene.register_as("c", any).await;
    let caller = scene.own();
    let issued = async |audiences: &[&str], only: Option<&str>| {
        let audiences: Vec<_> = audiences.iter().map(ToString::to_string).collect();
        let only = only
            .map(|name| SpiffeId::new(format!("spiffe://example.org/mcp/client/{name}")).unwrap());
        let asked = scene.workloads.jwt(&caller, &audiences, only.as_ref());
        let svids = Box::pin(asked).await;
        svids.map(|svids| {
            let ids = svids.iter().map(|svid| svid.spiffe_id.path().to_owned());
            ids.collect::<Vec<_>>()
        })
    };
    let ids = |names: &[&str]| -> Vec<String> {
        names.iter().map(|n| format!("/mcp/client/{n}")).collect()
    };
    assert_eq!(issued(&["x"], None).await.unwrap(), ids(&["a", "b", "c"]));
    assert_eq!(issued(&["y"], None).await.unwrap(), ids(&["b", "c"]));
    assert_eq!(issued(&["x", "y"], None).await.unwrap(), ids(&["b"]));
    assert_eq!(issued(&["x"], Some("b")).await.unwrap(), ids(&["b"]));
    let refused = issued(&["y"], Some("a")).await;
    assert!(matches!(refused, Err(Denial::Audience)));
    let denied = scene.lines().pop().unwrap();
    assert!(denied["attestation_id"].is_string(), "on what evidence");
    let refused = issued(&["x"], Some("nobody")).await;
    assert!(matches!(refused, Err(Denial::NoIdentity)));
}

#[tokio::test]
async fn call_waits_for_its_registration_within_the_time() {
    let scene = Scene::new().await;
    let caller = waiting(&scene, LIMIT);
    let call = scene.workloads.x509(&caller, Asked::ByCall);
    let register = async {
        until_attested(&caller).await;
        scene.register("a").await;
    };
    let (svids, ()) = tokio::join!(call, register);
    assert_eq!(svids.unwrap().len(), 1);
    scene.suspend("a").await;
    tokio::time::pause();
    let denied = scene.workloads.x509(&caller, Asked::ByCall).await;
    assert!(matches!(denied, Err(Denial::NoIdentity)));
}

#[tokio::test]
async fn stop_ends_the_wait_for_a_registration_and_refuses_connections() {
    let scene = Scene::new().await;
    let caller = waiting(&scene, HOUR);
    let call = scene.workloads.x509(&caller, Asked::ByCall);
    let stop = async {
        until_attested(&caller).await;
        scene.workloads.close();
    };
    let (denied, ()) = tokio::join!(call, stop);
    assert!(matches!(denied, Err(Denial::Stopping)), "{denied:?}");
    let (socket, _peer) = UnixStream::pair().unwrap();
    assert!(matches!(
        scene.gate.admit(&socket),
        Err(Refused::NotServing)
    ));
}

#[tokio::test]
async fn connections_and_calls_of_a_user_are_capped_and_given_back() {
    let scene = Scene::new().await;
    let pid = std::process::id();
    for _ in 0..2 {
        let callers: Vec<_> = (0..6).map(|_| scene.own()).collect();
        let refused = scene.try_admit(pid);
        assert!(
            matches!(refused, Err(Refused::Overloaded(_))),
            "{refused:?}"
        );
        let caller = &callers[0];
        let places: Vec<_> = (0..12).map(|_| caller.enter().unwrap()).collect();
        assert!(matches!(caller.enter(), Err(Refused::Overloaded(_))));
        assert_eq!(scene.workloads.counts(), (1, 12));
        drop(places);
        drop(callers);
        assert_eq!(scene.workloads.counts(), (0, 0));
    }
}

#[tokio::test]
async fn processes_are_capped() {
    let scene = Scene::new().await;
    scene.workloads.set_settings(WorkloadSettings {
        max_processes: 1,
        ..settings()
    });
    let actress = Actress::enter();
    let own = scene.own();
    let refused = scene.try_admit(actress.pid());
    assert!(matches!(refused, Err(Refused::Overloaded("processes"))));
    drop(own);
    scene.admit(actress.pid());
}

#[tokio::test]
async fn nothing_is_issued_that_cannot_be_recorded() {
    let scene = Scene::new().await;
    scene.register_as("a", with_audience("x")).await;
    let caller = scene.own();
    scene.close_trail().await;
    let audience = ["x".to_owned()];
    let x509 = scene.workloads.x509(&caller, Asked::ByCall).await;
    assert!(matches!(x509, Err(Denial::Issue(_))), "{x509:?}");
    let jwt = scene.workloads.jwt(&caller, &audience, None).await;
    assert!(matches!(jwt, Err(Denial::Issue(_))), "{jwt:?}");
    let bundles = scene.workloads.bundle_reader(&caller, Asked::ByCall).await;
    assert!(matches!(bundles, Err(Denial::Issue(_))), "{bundles:?}");
}

fn with_audience(audience: &str) -> ClientDraft {
    ClientDraft {
        audiences: vec![audience.to_owned()],
        ..draft()
    }
}
