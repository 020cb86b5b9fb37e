use super::{LIMITS, OperatorGate, OperatorPolicy, UNKNOWN_LIMITS, Visitor, shares_namespace};
use crate::{
    admin_api::roles::TABLE,
    operators::{Entry, Role, Roles, Roster, Whose},
    server::{Admit as _, Caller as _, Refused},
    supervisor::Supervisor,
    workloads::testing::{Actress, Scene},
};
use serde_json::Value;
use std::{process, sync::Arc};
use symbolon_attestors::{Held, PinnedPeer};
use tokio::{net::UnixStream, runtime::Handle, sync::watch};
use tonic::Code;

pub(crate) fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// A gate, and what says who may pass it.
pub(crate) struct Door {
    pub(crate) gate: OperatorGate,
    pub(crate) roster: watch::Sender<Arc<Roster>>,
}

impl Door {
    pub(crate) fn of(scene: &Scene, roster: Roster) -> Self {
        let roster = watch::Sender::new(Arc::new(roster));
        let policy = OperatorPolicy {
            allow_foreign_namespaces: false,
            approvals: false,
        };
        let supervisor = Supervisor::new(Handle::current());
        let gate = OperatorGate::new(
            policy,
            roster.subscribe(),
            scene.trail.clone(),
            supervisor,
            Arc::clone(&scene.workloads),
        );
        Self { gate, roster }
    }

    /// One that knows the test's own user by these roles.
    pub(crate) fn for_own(scene: &Scene, roles: Roles) -> Self {
        Self::of(scene, named("me", Whose::User(own_uid()), roles))
    }

    pub(crate) fn enter(&self) -> Visitor {
        let (socket, _peer) = UnixStream::pair().unwrap();
        self.gate.admit(&socket).unwrap()
    }

    fn try_enter(&self, peer: PinnedPeer, groups: &[u32]) -> Result<Visitor, Refused> {
        // No programs are named.
        let program = |_: &_| Err(Refused::NotServing);
        self.gate.admit_peer(peer, groups.to_vec(), program)
    }
}

fn named(name: &str, whose: Whose, roles: Roles) -> Roster {
    let entry = Entry {
        name: name.into(),
        whose,
        roles,
    };
    Roster::of(own_uid(), vec![entry])
}

fn roles(roles: &[Role]) -> Roles {
    roles.iter().copied().collect()
}

fn path(method: &str) -> String {
    format!("/symbolon.admin.v1.Admin/{method}")
}

#[tokio::test]
async fn where_nobody_is_named_the_own_user_may_do_everything() {
    let scene = Scene::new().await;
    let door = Door::of(&scene, Roster::nobody(own_uid(), false));
    let visitor = door.enter();
    for rule in TABLE {
        let operator = visitor.authorize(&path(rule.method)).await.unwrap();
        assert_eq!(operator.label(), format!("uid:{}", own_uid()));
        assert_eq!((operator.pid, operator.uid), (process::id(), own_uid()));
    }
}

#[tokio::test]
async fn places_are_capped_for_each_user_and_given_back() {
    let scene = Scene::new().await;
    let door = Door::of(&scene, Roster::nobody(own_uid(), false));
    let visitors: Vec<_> = (0..LIMITS.max_connections_per_uid)
        .map(|_| door.enter())
        .collect();
    let (socket, _peer) = UnixStream::pair().unwrap();
    let refused = door.gate.admit(&socket);
    assert!(matches!(refused, Err(Refused::Overloaded(_))));
    drop(visitors);
    door.gate.admit(&socket).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_without_the_role_is_refused_and_recorded_by_name_and_method() {
    let scene = Scene::new().await;
    for role in Role::ALL {
        let door = Door::for_own(&scene, roles(&[role]));
        let visitor = door.enter();
        for rule in TABLE {
            let before = scene.lines().len();
            let authorized = visitor.authorize(&path(rule.method)).await;
            let may = rule.who.includes(roles(&[role]), false);
            assert_eq!(authorized.is_ok(), may, "{role} {}", rule.method);
            let lines = scene.lines();
            let Err(status) = authorized else {
                assert_eq!(lines.len(), before);
                continue;
            };
            assert_eq!(status.code(), Code::PermissionDenied);
            let line = lines.last().unwrap();
            assert_eq!(lines.len(), before + 1, "{line}");
            assert_eq!(line["event"], "refused");
            assert_eq!(line["operator"], "me");
            assert_eq!(line["operation"], rule.method);
            assert_eq!(line["process"]["uid"], own_uid());
            assert_eq!(line["process"]["pid"], process::id());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_method_without_a_row_is_refused_to_everybody() {
    let scene = Scene::new().await;
    let door = Door::for_own(&scene, Roles::ALL);
    let visitor = door.enter();
    for wrong in [
        "/symbolon.admin.v1.Admin/Invented",
        "/symbolon.admin.v1.Admin/getinfo",
        "/symbolon.admin.v1.Admin/GetInfo/",
        "/symbolon.admin.v1.Admin//GetInfo",
        "/symbolon.admin.v1.Admin/",
        "/symbolon.admin.v1.Admin/Get%49nfo",
        "//symbolon.admin.v1.Admin/GetInfo",
        "/symbolon.admin.v1.Admin",
        "GetInfo",
        "",
    ] {
        let refused = visitor.authorize(wrong).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{wrong}");
        // What a caller makes up does not get into the trail.
        assert_eq!(scene.lines().last().unwrap()["operation"], "unknown method");
    }
}

/// Calls that are given up at once do not pile up, and none is forgotten.
#[tokio::test(start_paused = true)]
async fn refusals_that_nobody_waits_for_are_counted() {
    let scene = Scene::new().await;
    let door = Door::for_own(&scene, Roles::NONE);
    let visitor = door.enter();
    let wrong = path("GetClient");
    for _ in 0..1_000 {
        tokio::select! {
            biased;
            _ = visitor.authorize(&wrong) => panic!("it is answered at once"),
            () = std::future::ready(()) => {}
        }
    }
    let mut made = 1_000;
    let lines = loop {
        let refused = visitor.authorize(&path("RevokeClient")).await;
        refused.unwrap_err();
        made += 1;
        let lines = scene.lines();
        // Counted like the others, until there is a place behind all that stand in line.
        if lines.iter().any(|line| line["operation"] == "RevokeClient") {
            break lines;
        }
    };
    let told: u64 = lines
        .iter()
        .filter_map(|line| line["reason"].as_str()?.split_once("; "))
        .filter_map(|(_, more)| more.split_once(' ')?.0.parse::<u64>().ok())
        .sum();
    assert!(told > 900, "{told}");
    assert_eq!(told + u64::try_from(lines.len()).unwrap(), made);
}

#[tokio::test]
async fn a_role_that_is_taken_away_is_gone_on_open_connections() {
    let scene = Scene::new().await;
    let door = Door::for_own(&scene, roles(&[Role::Author]));
    let visitor = door.enter();
    visitor.authorize(&path("UpdateClient")).await.unwrap();
    let other = named("me", Whose::User(own_uid()), roles(&[Role::Reader]));
    door.roster.send_replace(Arc::new(other));
    let refused = visitor.authorize(&path("UpdateClient")).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    // And the connection ends, with the streams that are open on it.
    visitor.ended().await;
    let nobody = named("other", Whose::User(4711), Roles::ALL);
    door.roster.send_replace(Arc::new(nobody));
    let refused = visitor.authorize(&path("GetClient")).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_connection_does_not_outlive_the_process_that_made_it() {
    let scene = Scene::new().await;
    let door = Door::of(&scene, Roster::nobody(own_uid(), false));
    let actress = Actress::enter();
    let visitor = door.try_enter(scene.pin(actress.pid()), &[]).unwrap();
    actress.exit();
    visitor.ended().await;
}

#[tokio::test(start_paused = true)]
async fn the_superuser_is_let_in_and_may_only_ask_who_it_is() {
    let scene = Scene::new().await;
    let door = Door::of(&scene, named("other", Whose::User(4711), Roles::ALL));
    let visitor = door.enter();
    let info = visitor.authorize(&path("GetInfo")).await.unwrap();
    assert_eq!(info.label(), format!("uid:{}", own_uid()));
    assert!(info.roles.is_empty());
    for rule in TABLE.iter().filter(|rule| rule.method != "GetInfo") {
        let refused = visitor.authorize(&path(rule.method)).await;
        assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    }
}

#[tokio::test(start_paused = true)]
async fn a_program_is_nobody_without_both_proofs() {
    let scene = Scene::new().await;
    let uid = format!("unix:uid:{}", own_uid());
    let set = crate::registry::SelectorSet::parse(&[uid]).unwrap();
    let door = Door::of(&scene, named("job", Whose::Program(set), Roles::ALL));
    let enter = |held: Held| {
        let held = Arc::new(parking_lot::Mutex::new(held));
        let program = |_: &_| scene.admit_holding(process::id(), held, None);
        let peer = scene.pin(process::id());
        door.gate.admit_peer(peer, Vec::new(), program).unwrap()
    };
    // Nobody was asked, or the socket is not held: its selectors alone do not make it one.
    for held in [
        Held::CloseOnExec,
        Held::Inheritable,
        Held::Not("a test".into()),
    ] {
        let visitor = enter(held);
        // The test's own user is let in anyway, and has no role by that.
        let operator = visitor.authorize(&path("GetInfo")).await.unwrap();
        assert_eq!(
            (&*operator.name, operator.roles),
            (&*format!("uid:{}", own_uid()), Roles::NONE)
        );
        let refused = visitor.authorize(&path("GetClient")).await;
        assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    }
}

#[tokio::test]
async fn another_user_is_let_in_by_name_or_group_alone() {
    let test = "another_user_is_let_in_by_name_or_group_alone";
    let root = rustix::process::geteuid().is_root();
    if !crate::testing::can_run(test, root, "run the tests as root") {
        return;
    }
    const STRANGER: u32 = 31_007;
    let scene = Scene::new().await;
    let actress = Actress::of_user(STRANGER);
    let admit = |roster: Roster, groups: &[u32]| {
        let door = Door::of(&scene, roster);
        door.try_enter(scene.pin(actress.pid()), groups).is_ok()
    };
    let user = |uid| named("a", Whose::User(uid), Roles::ALL);
    let group = |gid| named("a", Whose::Group(gid), Roles::ALL);
    assert!(!admit(Roster::nobody(own_uid(), false), &[]));
    assert!(admit(Roster::nobody(own_uid(), true), &[]));
    assert!(admit(user(STRANGER), &[]));
    assert!(!admit(user(STRANGER + 1), &[STRANGER + 1]));
    assert!(admit(group(70), &[60, 70]));
    assert!(!admit(group(STRANGER), &[60]));
    let peer = scene.pin(actress.pid());
    actress.exit();
    let door = Door::of(&scene, user(STRANGER));
    let refused = door.try_enter(peer, &[]);
    assert!(matches!(refused, Err(Refused::Forbidden(_))));
}

#[tokio::test]
async fn strangers_are_recorded_one_by_one_up_to_a_rate_and_then_counted() {
    let scene = Scene::new().await;
    let door = Door::of(&scene, named("a", Whose::User(4711), Roles::ALL));
    tokio::time::pause();
    let process = |uid| {
        let process = crate::audit::Process {
            gid: 7,
            pid: 8,
            uid,
        };
        Some(process)
    };
    let refused = Refused::Forbidden("uid 7 (pid 8) is no operator".to_owned());
    for _ in 0..1_000 {
        door.gate.0.note(process(7), &refused);
    }
    // Another's is there, whatever that one does.
    door.gate.0.note(process(9), &refused);
    tokio::time::resume();
    scene.close_trail().await;
    let lines = scene.lines();
    let of = |event: &str, uid: u32| -> Vec<_> {
        let is_it = |line: &&Value| line["event"] == event && line["process"]["uid"] == uid;
        lines.iter().filter(is_it).collect()
    };
    assert_eq!((of("refused", 7).len(), of("refused", 9).len()), (100, 1));
    let summaries = of("summarized", 7);
    let counts = summaries
        .iter()
        .map(|line| line["summary"]["count"].as_u64());
    assert_eq!(counts.sum::<Option<u64>>(), Some(900));
    for line in summaries {
        assert_eq!(line["summary"]["uid"], 7);
        assert_eq!(line["summary"]["reason"], "connect");
    }
}

#[tokio::test]
async fn refused_connection_is_in_the_trail() {
    let scene = Scene::new().await;
    let door = Door::of(&scene, named("a", Whose::User(4711), Roles::ALL));
    let refused = Refused::Forbidden("uid 7 (pid 8) is no operator".to_owned());
    door.gate.0.note(None, &refused);
    scene.close_trail().await;
    assert_eq!(scene.events(), ["refused"]);
}

#[test]
fn namespaces_are_compared_by_what_the_kernel_says() {
    for namespace in super::NAMESPACES {
        assert!(shares_namespace(process::id(), namespace));
        assert!(!shares_namespace(0, namespace), "nothing can be read");
    }
    assert!(!shares_namespace(process::id(), "none"));
}

/// Where programs are operators anybody may connect: what that causes is bounded, and apart.
#[tokio::test(start_paused = true)]
async fn calls_of_those_who_are_no_operators_are_not_in_the_trail_of_operators() {
    let test = "calls_of_those_who_are_no_operators_are_not_in_the_trail_of_operators";
    let root = rustix::process::geteuid().is_root();
    if !crate::testing::can_run(test, root, "run the tests as root") {
        return;
    }
    const STRANGER: u32 = 31_008;
    let scene = Scene::new().await;
    let set = crate::registry::SelectorSet::parse(&["unix:uid:4711".to_owned()]).unwrap();
    let door = Door::of(&scene, named("job", Whose::Program(set), Roles::ALL));
    let actress = Actress::of_user(STRANGER);
    let held = Arc::new(parking_lot::Mutex::new(Held::CloseOnExec));
    let program = |_: &_| scene.admit_holding(actress.pid(), held, None);
    let peer = scene.pin(actress.pid());
    let visitor = door.gate.admit_peer(peer, Vec::new(), program).unwrap();
    let wrong = path("GetClient");
    let begun = tokio::time::Instant::now();
    let calls = (0..300).map(|_| visitor.authorize(&wrong));
    for refused in futures_util::future::join_all(calls).await {
        assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    }
    // The clock goes on while the trail is waited for.
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap();
    drop(visitor);
    scene.close_trail().await;
    let lines = scene.lines();
    let of = |event: &str| -> Vec<_> {
        let is_it = |line: &&Value| line["event"] == event;
        lines.iter().filter(is_it).collect()
    };
    let refused = of("refused");
    for line in &refused {
        assert_eq!(line["chain"], "callers", "{line}");
        assert_eq!(line["operator"], format!("uid:{STRANGER}"));
        assert_eq!(line["operation"], "GetClient");
        assert_eq!(line["process"]["uid"], STRANGER);
    }
    let summaries = of("summarized");
    let counted = summaries.iter().map(|line| &line["summary"]);
    let counted: u64 = counted
        .filter(|summary| summary["reason"] == "call" && summary["uid"] == STRANGER)
        .filter_map(|summary| summary["count"].as_u64())
        .sum();
    let most = 110 + 10 * seconds;
    assert!((1..=most).contains(&refused.len()), "{}", refused.len());
    assert!(counted > 0);
    assert_eq!(u64::try_from(refused.len()).unwrap() + counted, 300);
}

/// The attack: who may be a program that is named is let in, and asks for health for ever.
#[tokio::test(start_paused = true)]
async fn those_who_may_be_programs_call_at_a_rate() {
    let scene = Scene::new().await;
    let set = crate::registry::SelectorSet::parse(&["unix:uid:4711".to_owned()]).unwrap();
    let door = Door::of(&scene, named("job", Whose::Program(set), Roles::ALL));
    let held = Arc::new(parking_lot::Mutex::new(Held::CloseOnExec));
    let program = |gate: &_| scene.admit_through(gate, process::id(), held, None);
    let peer = scene.pin(process::id());
    let visitor = door.gate.admit_peer(peer, Vec::new(), program).unwrap();
    let rate = usize::try_from(UNKNOWN_LIMITS.calls_per_second).unwrap();
    let begun = (0..4 * rate).filter(|_| visitor.enter().is_ok()).count();
    assert!((1..=rate).contains(&begun), "{begun}");
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    visitor.enter().unwrap();
    // One who is named is not held up.
    let known = Door::for_own(&scene, Roles::ALL).enter();
    assert!((0..4 * rate).all(|_| known.enter().is_ok()));
}
