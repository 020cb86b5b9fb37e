//! What is proved of a connection decides what leaves on it.

use crate::{
    registry::ClientDraft,
    server::{Admit as _, Caller as _},
    transport::{Breach, Heard},
    workloads::{
        Asked, Caller, Denial, HeldRequirement, Requirements, Unproven, WorkloadSettings,
        testing::{ANSWER_TIMEOUT, Actress, Scene, draft, settings, until},
    },
};
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use symbolon_attestors::{Held, Kind, Stamp, Unknown};
use tokio::{
    net::UnixStream,
    time::{Instant, timeout},
};

mod asked;
mod connections;

/// How long something may take that waits for other threads or processes.
const LIMIT: Duration = Duration::from_secs(30);

/// A connection of the test's own process, and how it holds it.
fn holding(scene: &Scene, held: Held) -> (Caller, Arc<Mutex<Held>>) {
    let held = Arc::new(Mutex::new(held));
    let caller = scene.admit_holding(std::process::id(), Arc::clone(&held), None);
    (caller.unwrap(), held)
}

/// A connection that is asked, and was not answered on yet.
fn asked(scene: &Scene, held: Held) -> Caller {
    let held = Arc::new(Mutex::new(held));
    let deadline = Some(Instant::now() + ANSWER_TIMEOUT);
    let caller = scene.admit_holding(std::process::id(), held, deadline);
    caller.unwrap()
}

async fn x509(scene: &Scene, caller: &Caller) -> Result<usize, Denial> {
    let svids = scene.workloads.x509(caller, Asked::ByCall).await;
    svids.map(|svids| svids.len())
}

/// The events of one kind.
fn events(scene: &Scene, kind: &str) -> Vec<Value> {
    let mut lines = scene.lines();
    lines.retain(|line| line["event"] == kind);
    lines
}

fn reasons(scene: &Scene) -> Vec<String> {
    let word = |line: &Value| {
        let reason = line["reason"].as_str().unwrap().to_owned();
        reason.split(':').next().unwrap().to_owned()
    };
    events(scene, "denied").iter().map(word).collect()
}

fn proofs(scene: &Scene) -> Vec<Value> {
    let attested = events(scene, "attested");
    let proofs = attested
        .iter()
        .map(|line| line["evidence"]["proofs"].clone());
    proofs.collect()
}

fn has_ended(caller: &Caller) -> bool {
    caller.ended().now_or_never().is_some()
}

/// Waits until the connection has to end, in no time.
async fn until_ended(caller: &Caller) {
    assert!(!has_ended(caller));
    tokio::time::pause();
    caller.ended().await;
    tokio::time::resume();
}

fn with_requirements(scene: &Scene, require: Requirements) {
    scene.workloads.set_settings(WorkloadSettings {
        require,
        ..settings()
    });
}

fn without_inheritable() -> ClientDraft {
    ClientDraft {
        forbid_inheritable: true,
        ..draft()
    }
}

#[tokio::test]
async fn socket_that_is_not_held_gets_nothing_and_the_connection_ends() {
    let scene = Scene::new().await;
    scene.register("a").await;
    let (caller, _) = holding(&scene, Held::Not("nowhere".into()));
    assert!(!has_ended(&caller));
    for _ in 0..2 {
        let denied = x509(&scene, &caller).await;
        let why = Unproven::NotHeld("nowhere".into());
        assert!(matches!(denied, Err(Denial::Unproven(found)) if found == why));
        assert!(has_ended(&caller));
    }
    assert!(!caller.process().holds("a"));
    // Another connection of the process is not concerned.
    assert_eq!(x509(&scene, &scene.own()).await.unwrap(), 1);
    caller.left().await;
    assert_eq!(reasons(&scene), ["not-held", "not-held"]);
    let denied = &events(&scene, "denied")[0];
    let mut attested = events(&scene, "attested");
    attested.retain(|line| line["evidence"]["proofs"].is_null());
    assert_eq!(attested.len(), 1);
    assert_eq!(denied["attestation_id"], attested[0]["attestation_id"]);
}

/// The chain and the event of each line.
fn recorded(scene: &Scene) -> Vec<(String, String)> {
    let text = |value: &Value, absent: &str| value.as_str().unwrap_or(absent).to_owned();
    let line = |line: &Value| (text(&line["chain"], "trail"), text(&line["event"], ""));
    scene.lines().iter().map(line).collect()
}

#[tokio::test]
async fn attestation_stands_beside_what_rests_on_it_in_both_chains() {
    let scene = Scene::new().await;
    let caller = scene.own();
    x509(&scene, &caller).await.unwrap_err();
    let of_callers = |event: &str| ("callers".to_owned(), event.to_owned());
    let of_trail = |event: &str| ("trail".to_owned(), event.to_owned());
    let denied = [of_callers("attested"), of_callers("denied")];
    assert_eq!(recorded(&scene), denied);
    // The same attestation serves, and has to be in the trail now.
    scene.register("a").await;
    for _ in 0..2 {
        assert_eq!(x509(&scene, &caller).await.unwrap(), 1);
    }
    let [attested, denied] = denied;
    let issued = [of_trail("attested"), of_trail("issued"), attested, denied];
    assert_eq!(recorded(&scene), issued);
    let ids = events(&scene, "attested");
    let issued = &events(&scene, "issued")[0];
    assert_eq!(issued["attestation_id"], ids[0]["attestation_id"]);
}

#[tokio::test]
async fn loss_of_the_socket_ends_what_was_proved_before() {
    for lost in [Held::Not("gone".into()), Held::Inheritable] {
        let scene = Scene::new().await;
        scene.register("a").await;
        let (caller, held) = holding(&scene, Held::CloseOnExec);
        assert_eq!(x509(&scene, &caller).await.unwrap(), 1);
        *held.lock() = lost;
        let denied = scene.workloads.x509(&caller, Asked::ByStream).await;
        let denied = denied.map(drop).unwrap_err();
        assert!(
            matches!(denied, Denial::Unproven(Unproven::NotHeld(_))),
            "{denied}"
        );
        assert!(has_ended(&caller));
        assert_eq!(reasons(&scene), ["not-held"]);
    }
}

#[tokio::test]
async fn loss_of_the_socket_while_an_answer_is_made_is_noticed() {
    let scene = Scene::new().await;
    scene.register("a").await;
    let (caller, held) = holding(&scene, Held::CloseOnExec);
    let signing = scene.authority.held.write().await;
    let call = x509(&scene, &caller);
    let lose = async {
        until(|| scene.lines().iter().any(|line| line["event"] == "attested")).await;
        *held.lock() = Held::Not("gone".into());
        drop(signing);
    };
    let (denied, ()) = tokio::join!(call, lose);
    assert!(matches!(denied, Err(Denial::Unproven(_))), "{denied:?}");
    assert_eq!(reasons(&scene), ["not-held"]);
}

#[tokio::test]
async fn loss_of_the_socket_ends_a_connection_on_which_nothing_is_pushed() {
    for lost in [Held::Not("gone".into()), Held::Inheritable] {
        let scene = Scene::new().await;
        scene.register("a").await;
        let (caller, held) = holding(&scene, Held::CloseOnExec);
        let (other, _) = holding(&scene, Held::CloseOnExec);
        let (silent, unproven) = holding(&scene, Held::CloseOnExec);
        assert_eq!(x509(&scene, &caller).await.unwrap(), 1);
        assert_eq!(x509(&scene, &other).await.unwrap(), 1);
        *held.lock() = Held::Unknown("it is looked for later".into());
        *unproven.lock() = lost.clone();
        assert!(scene.workloads.look_after(caller.process()));
        assert!(!has_ended(&caller));
        *held.lock() = lost;
        until_ended(&caller).await;
        assert!(scene.workloads.look_after(caller.process()));
        assert!(!has_ended(&other) && !has_ended(&silent));
        caller.left().await;
        until(|| !reasons(&scene).is_empty()).await;
        scene.close_trail().await;
        assert_eq!(reasons(&scene), ["not-held"]);
        let (denied, attested) = (&events(&scene, "denied")[0], &events(&scene, "attested")[0]);
        assert_eq!(denied["attestation_id"], attested["attestation_id"]);
    }
}

#[tokio::test]
async fn svid_that_is_kept_is_in_the_trail_with_the_evidence_of_each_who_gets_it() {
    let scene = Scene::new().await;
    scene.register("a").await;
    let (strong, _) = holding(&scene, Held::CloseOnExec);
    let (again, _) = holding(&scene, Held::CloseOnExec);
    let (weak, _) = holding(&scene, Held::Inheritable);
    let mut serials = Vec::new();
    for caller in [&strong, &again, &weak, &strong, &weak] {
        let svids = scene.workloads.x509(caller, Asked::ByCall).await.unwrap();
        serials.push(svids[0].serial.clone());
        let wit = scene.workloads.wit(caller, None, Asked::ByStream).await;
        assert_eq!(wit.unwrap().len(), 1);
    }
    serials.dedup();
    assert_eq!(serials.len(), 1, "one SVID for all streams of a process");
    let (attested, issued) = (events(&scene, "attested"), events(&scene, "issued"));
    assert_eq!((attested.len(), issued.len()), (2, 2));
    let delivered = events(&scene, "delivered");
    assert_eq!(delivered.len(), 2, "one for each kind: {delivered:#?}");
    for (issued, delivered) in issued.iter().zip(&delivered) {
        assert_eq!(issued["attestation_id"], attested[0]["attestation_id"]);
        assert_eq!(delivered["attestation_id"], attested[1]["attestation_id"]);
        for field in ["client", "client_version", "process", "spiffe_id"] {
            assert_eq!(delivered[field], issued[field], "{field}");
        }
        for field in ["kind", "not_after", "serial", "jti"] {
            let (issued, delivered) = (&issued["credential"], &delivered["credential"]);
            assert_eq!(delivered[field], issued[field], "{field}");
        }
    }
    assert_eq!(delivered[0]["credential"]["serial"], serials[0].as_str());
}

#[tokio::test]
async fn all_connections_have_their_turn_to_be_looked_at() {
    let scene = Scene::new().await;
    let callers = [scene.own(), scene.own(), scene.own()];
    let process = callers[0].process();
    let mut seen: Vec<_> = (0..3).flat_map(|_| process.next_open(1)).collect();
    seen.dedup_by(|a, b| Arc::ptr_eq(a, b));
    assert_eq!(seen.len(), 3);
    drop(callers);
    assert_eq!(scene.workloads.counts().0, 0);
}

#[tokio::test]
async fn inheritable_socket_is_a_weaker_word_that_a_client_can_refuse() {
    let scene = Scene::new().await;
    scene.register("a").await;
    let only = scene.register_as("b", without_inheritable()).await;
    let (weak, _) = holding(&scene, Held::Inheritable);
    let (strong, _) = holding(&scene, Held::CloseOnExec);
    assert_eq!(x509(&scene, &weak).await.unwrap(), 1);
    assert_eq!(x509(&scene, &strong).await.unwrap(), 2);
    let expected =
        ["inheritable", "close-on-exec"].map(|held| json!({"answered": "unasked", "held": held}));
    assert_eq!(proofs(&scene), expected);
    scene.suspend("a").await;
    let denied = x509(&scene, &weak).await;
    assert!(matches!(denied, Err(Denial::NoIdentity)), "{denied:?}");
    assert_eq!(reasons(&scene), ["inheritable-refused"]);
    assert!(!has_ended(&weak), "another registration may come");
    let issued = events(&scene, "issued");
    let of_b = issued
        .iter()
        .find(|line| line["client"] == only.name().as_str());
    let strong = &events(&scene, "attested")[1];
    assert_eq!(of_b.unwrap()["attestation_id"], strong["attestation_id"]);
}

#[tokio::test]
async fn connections_with_other_proofs_do_not_wake_each_other() {
    let scene = Scene::new().await;
    scene.register("a").await;
    scene.register_as("b", without_inheritable()).await;
    let (weak, _) = holding(&scene, Held::Inheritable);
    let (strong, _) = holding(&scene, Held::CloseOnExec);
    let pulse = weak.process().pulse();
    for _ in 0..3 {
        assert_eq!(x509(&scene, &weak).await.unwrap(), 1);
        assert_eq!(x509(&scene, &strong).await.unwrap(), 2);
    }
    scene.workloads.reconcile().await;
    assert!(!pulse.has_changed().unwrap());
    assert_eq!(proofs(&scene).len(), 2, "one record for each set of proofs");
    assert!(events(&scene, "withdrawn").is_empty());
}

#[tokio::test]
async fn inheritable_once_is_inheritable_for_ever() {
    let scene = Scene::new().await;
    scene.register_as("a", without_inheritable()).await;
    let (caller, held) = holding(&scene, Held::Inheritable);
    for now in [Held::Inheritable, Held::CloseOnExec] {
        *held.lock() = now;
        let denied = x509(&scene, &caller).await;
        assert!(matches!(denied, Err(Denial::NoIdentity)), "{denied:?}");
    }
}

#[tokio::test]
async fn configuration_can_refuse_inheritable_sockets() {
    let scene = Scene::new().await;
    scene.register("a").await;
    with_requirements(
        &scene,
        Requirements {
            held: HeldRequirement::CloseOnExec,
            ..Requirements::STANDARD
        },
    );
    let (weak, _) = holding(&scene, Held::Inheritable);
    let denied = x509(&scene, &weak).await;
    assert!(matches!(
        denied,
        Err(Denial::Unproven(Unproven::InheritableRefused))
    ));
    assert!(has_ended(&weak));
    assert_eq!(reasons(&scene), ["inheritable-refused"]);
    assert_eq!(x509(&scene, &scene.own()).await.unwrap(), 1);
}

#[tokio::test]
async fn what_cannot_be_found_out_is_denied_unless_it_is_not_required() {
    let scene = Scene::new().await;
    scene.register("a").await;
    scene.register_as("b", without_inheritable()).await;
    let (caller, held) = holding(&scene, Held::Unknown("too many descriptors".into()));
    let denied = x509(&scene, &caller).await;
    assert!(matches!(
        denied,
        Err(Denial::Unproven(Unproven::HeldUnknown(_)))
    ));
    assert!(!has_ended(&caller), "it may be found out later");
    assert_eq!(reasons(&scene), ["held-unknown"]);
    with_requirements(
        &scene,
        Requirements {
            held: HeldRequirement::None,
            ..Requirements::STANDARD
        },
    );
    assert_eq!(
        x509(&scene, &caller).await.unwrap(),
        1,
        "not the strict one"
    );
    // What is known to be wrong counts all the same.
    *held.lock() = Held::Not("nowhere".into());
    let denied = x509(&scene, &caller).await;
    assert!(matches!(
        denied,
        Err(Denial::Unproven(Unproven::NotHeld(_)))
    ));
}

#[tokio::test]
async fn what_is_found_out_later_is_served_at_the_next_try_on_the_connection() {
    let scene = Scene::new().await;
    scene.register("a").await;
    let (caller, held) = holding(&scene, Held::Unknown("the search goes on".into()));
    for _ in 0..2 {
        let denied = x509(&scene, &caller).await;
        assert!(matches!(
            denied,
            Err(Denial::Unproven(Unproven::HeldUnknown(_)))
        ));
    }
    *held.lock() = Held::CloseOnExec;
    assert_eq!(x509(&scene, &caller).await.unwrap(), 1);
    assert!(!has_ended(&caller));
    assert_eq!(reasons(&scene), ["held-unknown", "held-unknown"]);
}

#[tokio::test]
async fn call_waits_for_the_answer_and_is_denied_without_one() {
    let scene = Scene::new().await;
    scene.register("a").await;
    // Attested, so that nothing but the answer is waited for.
    x509(&scene, &scene.own()).await.unwrap();
    let caller = asked(&scene, Held::CloseOnExec);
    let call = x509(&scene, &caller);
    let answer = async {
        tokio::task::yield_now().await;
        caller.binding().hear(Heard::Answer);
    };
    let (issued, ()) = tokio::join!(call, answer);
    assert_eq!(issued.unwrap(), 1);
    assert_eq!(proofs(&scene)[1]["answered"], "stamped");
    caller.left().await;
    assert!(!has_ended(&caller));

    let silent = asked(&scene, Held::CloseOnExec);
    until_ended(&silent).await;
    let denied = timeout(LIMIT, x509(&scene, &silent)).await.unwrap();
    assert!(matches!(
        denied,
        Err(Denial::Unproven(Unproven::NotAnswered))
    ));
    silent.left().await;
    assert_eq!(reasons(&scene), ["not-answered"]);
}

#[tokio::test]
async fn silence_without_a_call_is_recorded_once() {
    let scene = Scene::new().await;
    let silent = asked(&scene, Held::CloseOnExec);
    silent.left().await;
    assert!(reasons(&scene).is_empty(), "it left in time");
    until_ended(&silent).await;
    for _ in 0..2 {
        silent.left().await;
    }
    assert_eq!(reasons(&scene), ["not-answered"]);
}

#[tokio::test]
async fn bytes_of_somebody_else_deny_all_and_are_recorded_once() {
    for (breach, word) in [
        (Breach::ForeignSender(7), "foreign-sender"),
        (Breach::ForeignNamespace, "foreign-sender"),
        (Breach::Unstamped, "foreign-sender"),
        (Breach::AncillaryData, "ancillary-data"),
    ] {
        let scene = Scene::new().await;
        scene.register("a").await;
        let caller = asked(&scene, Held::CloseOnExec);
        caller.binding().hear(Heard::Answer);
        assert_eq!(x509(&scene, &caller).await.unwrap(), 1);
        caller.binding().hear(Heard::Breach(breach));
        for _ in 0..2 {
            caller.left().await;
        }
        assert_eq!(reasons(&scene), [word]);
        let denied = x509(&scene, &caller).await;
        let why = Unproven::Breach(breach);
        assert!(matches!(denied, Err(Denial::Unproven(found)) if found == why));
        assert!(has_ended(&caller));
    }
}

#[tokio::test]
async fn forgeable_stamp_needs_a_socket_of_its_own_and_a_client_that_allows_it() {
    let scene = Scene::new().await;
    scene.register("a").await;
    let abroad = ClientDraft {
        allow_foreign_user_namespaces: true,
        ..draft()
    };
    let answered = |held| {
        let caller = asked(&scene, held);
        caller.binding().hear(Heard::Answer);
        let stamp = Stamp::Forgeable("a user namespace of its own".into());
        caller.binding().stamp_is(stamp);
        caller
    };
    let caller = answered(Held::CloseOnExec);
    let denied = x509(&scene, &caller).await;
    assert!(matches!(denied, Err(Denial::NoIdentity)), "{denied:?}");
    scene.register_as("b", abroad).await;
    assert_eq!(x509(&scene, &caller).await.unwrap(), 1);
    assert_eq!(proofs(&scene)[0]["answered"], "forgeable");
    let weak = answered(Held::Inheritable);
    let denied = x509(&scene, &weak).await;
    assert!(matches!(
        denied,
        Err(Denial::Unproven(Unproven::Forgeable(_)))
    ));
    assert!(has_ended(&weak));
    assert_eq!(reasons(&scene), ["forgeable", "forgeable"]);
}

#[tokio::test]
async fn registry_that_wants_to_know_more_has_processes_attested_anew_and_wakes_nobody() {
    let scene = Scene::new().await;
    scene.register("a").await;
    scene.run();
    let caller = scene.own();
    x509(&scene, &caller).await.unwrap();
    let pulse = caller.process().pulse();
    let elsewhere = ClientDraft {
        selector_sets: vec![vec!["systemd:id:elsewhere.service".to_owned()]],
        ..draft()
    };
    scene.register_as("b", elsewhere).await;
    let knows = || asked::of(&caller) == [Kind::Systemd];
    timeout(LIMIT, until(knows)).await.unwrap();
    assert!(!pulse.has_changed().unwrap());
    let svids = scene.workloads.x509(&caller, Asked::ByStream).await;
    assert_eq!(svids.unwrap().len(), 1);
    assert_eq!(proofs(&scene).len(), 2, "other facts, another record");
    assert_eq!(events(&scene, "issued").len(), 1, "the same SVID");
}

fn demanding(kind: Kind) -> ClientDraft {
    ClientDraft {
        required_attestors: vec![kind],
        ..draft()
    }
}

#[tokio::test]
async fn demanded_attestor_that_found_nothing_out_satisfies_nobody() {
    let scene = Scene::new().await;
    scene.register_as("a", demanding(Kind::Systemd)).await;
    let caller = scene.own();
    let issued = x509(&scene, &caller).await;
    let attestation = caller.process().attestation().unwrap();
    let mut kinds = attestation.selectors().iter().map(Kind::of);
    let found = kinds.any(|kind| kind == Some(Kind::Systemd));
    assert_eq!(issued.is_ok(), found, "{:?}", attestation.evidence());
    assert!(!attestation.has_facts_of(Kind::Code), "it was not asked");
}

/// Attestors seldom know all: a program that others can write is no trusted code.
#[tokio::test]
async fn demanded_attestor_that_found_something_out_is_enough() {
    let scene = Scene::new().await;
    scene.register_as("a", demanding(Kind::Code)).await;
    scene.register_as("b", demanding(Kind::Process)).await;
    let folder = tempfile::tempdir().unwrap();
    let actress = Actress::whom_others_can_write(folder.path());
    let caller = scene.admit(actress.pid());
    let issued = x509(&scene, &caller).await.unwrap();
    let attestation = caller.process().attestation().unwrap();
    let evidence = attestation.evidence();
    let is_trust = |u: &Unknown| u.selector == "code:trusted";
    assert!(evidence.unknown.iter().any(is_trust), "{evidence:?}");
    assert!(attestation.has_facts_of(Kind::Process), "{evidence:?}");
    // Its mappings are root's to look at.
    let expected = 1 + usize::from(attestation.has_facts_of(Kind::Code));
    assert_eq!(issued, expected, "{evidence:?}");
}

#[tokio::test]
async fn own_socket_is_seen_to_be_held_until_it_is_closed() {
    let scene = Scene::new().await;
    scene.register("a").await;
    let possible = Requirements::possible(&scene.attestor());
    let test = "own_socket_is_seen_to_be_held_until_it_is_closed";
    let held = possible.held == HeldRequirement::Any;
    if !crate::testing::can_run(test, held, "use a kernel with CONFIG_UNIX_DIAG") {
        return;
    }
    let require = Requirements {
        answered: false,
        ..possible
    };
    with_requirements(&scene, require);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let caller = scene.gate.admit(&ours).unwrap();
    assert_eq!(x509(&scene, &caller).await.unwrap(), 1);
    let expected = json!({"answered": "unasked", "held": "close-on-exec"});
    assert_eq!(proofs(&scene), [expected]);
    drop(theirs);
    let pushed = scene.workloads.x509(&caller, Asked::ByStream).await;
    assert!(matches!(pushed, Err(Denial::Unproven(Unproven::Closed))));
    caller.left().await;
    scene.close_trail().await;
    assert!(events(&scene, "denied").is_empty());
}

/// Nobody called, so nobody looks at the process unless the kernel tells of it.
#[tokio::test]
async fn exec_and_exit_are_noticed_at_once_where_the_kernel_tells() {
    let scene = Scene::new().await;
    let test = "exec_and_exit_are_noticed_at_once_where_the_kernel_tells";
    let events = scene.attestor().events();
    if !crate::testing::can_run(test, events.is_ok(), "run the tests as root of the host") {
        return;
    }
    let watch = Arc::clone(&scene.workloads).watch(events.unwrap());
    tokio::runtime::Handle::current().spawn(watch);
    let (mut executes, exits) = (Actress::enter(), Actress::enter());
    let callers = [&executes, &exits].map(|actress| scene.admit(actress.pid()));
    executes.exec();
    exits.exit();
    for caller in callers {
        timeout(LIMIT, caller.ended()).await.unwrap();
    }
    assert_eq!(scene.workloads.counts().0, 0);
}
