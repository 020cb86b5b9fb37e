//! Connections that end by themselves, and those that only seem to be held.

use super::{events, has_ended, holding, reasons, until_ended, with_requirements, x509};
use crate::{
    server::{Admit as _, Caller as _},
    workloads::{
        Asked, Denial, HeldRequirement, Requirements, Unproven,
        binding::{Binding, Far},
        keeper::LOOKED_AT_ONCE,
        testing::{Scene, until},
    },
};
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use std::{
    os::{fd::OwnedFd, unix::net::UnixStream as PlainStream},
    process::{Command, Stdio},
    sync::Arc,
};
use symbolon_attestors::Held;
use tokio::net::UnixStream;

#[tokio::test]
async fn peer_that_closes_its_end_is_denied_nothing() {
    for soon in [false, true] {
        let scene = Scene::new().await;
        scene.register("a").await;
        let (caller, held) = holding(&scene, Held::CloseOnExec);
        assert_eq!(x509(&scene, &caller).await.unwrap(), 1);
        // The descriptor is off the table before the kernel tells of the end.
        *held.lock() = Held::Not("gone".into());
        let close = async {
            if soon {
                tokio::task::yield_now().await;
            }
            caller.binding().close();
        };
        if !soon {
            caller.binding().close();
        }
        assert!(scene.workloads.look_after(caller.process()));
        let (denied, ()) = tokio::join!(x509(&scene, &caller), close);
        let closed = matches!(denied, Err(Denial::Unproven(Unproven::Closed)));
        assert!(closed, "{denied:?}");
        assert!(scene.workloads.look_after(caller.process()));
        caller.left().await;
        scene.close_trail().await;
        assert!(events(&scene, "denied").is_empty());
    }
}

/// Whoever has a copy of the descriptor can shut the connection down, and still has it.
#[tokio::test]
async fn loss_is_recorded_also_where_the_connection_is_shut_down() {
    for with_call in [false, true] {
        let scene = Scene::new().await;
        scene.register("a").await;
        let (caller, held) = holding(&scene, Held::CloseOnExec);
        assert_eq!(x509(&scene, &caller).await.unwrap(), 1);
        *held.lock() = Held::Not("passed on".into());
        caller.binding().shut_down();
        if with_call {
            let denied = x509(&scene, &caller).await;
            let unheld = matches!(denied, Err(Denial::Unproven(Unproven::NotHeld(_))));
            assert!(unheld, "{denied:?}");
        } else {
            // Given up before anything of it is in the trail.
            assert!(x509(&scene, &caller).now_or_never().is_none());
        }
        caller.left().await;
        scene.close_trail().await;
        assert_eq!(reasons(&scene), ["not-held"]);
    }
}

/// Also when he shuts it down.
#[tokio::test]
async fn socket_that_somebody_else_has_is_not_held_and_not_closed() {
    let test = "socket_that_somebody_else_has_is_not_held_and_not_closed";
    for shut_down in [false, true] {
        let scene = Scene::new().await;
        scene.register("a").await;
        let possible = Requirements::possible(&scene.attestor());
        let held = possible.held == HeldRequirement::Any;
        if !crate::testing::can_run(test, held, "use a kernel with CONFIG_UNIX_DIAG") {
            return;
        }
        let require = Requirements {
            answered: false,
            ..possible
        };
        with_requirements(&scene, require);
        let (ours, theirs) = PlainStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let ours = UnixStream::from_std(ours).unwrap();
        let caller = scene.gate.admit(&ours).unwrap();
        assert_eq!(x509(&scene, &caller).await.unwrap(), 1);
        let mut keeper = Command::new("cat")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        if shut_down {
            caller.binding().shut_down();
        }
        let pushed = scene.workloads.x509(&caller, Asked::ByStream).await;
        let unheld = matches!(pushed, Err(Denial::Unproven(Unproven::NotHeld(_))));
        assert!(unheld, "{pushed:?}");
        assert!(has_ended(&caller));
        caller.left().await;
        scene.close_trail().await;
        assert_eq!(reasons(&scene), ["not-held"]);
        keeper.kill().unwrap();
        keeper.wait().unwrap();
    }
}

#[tokio::test]
async fn loss_that_its_finder_does_not_wait_for_is_recorded_when_the_connection_ends() {
    let scene = Scene::new().await;
    scene.register("a").await;
    let (caller, held) = holding(&scene, Held::CloseOnExec);
    assert_eq!(x509(&scene, &caller).await.unwrap(), 1);
    *held.lock() = Held::Not("gone".into());
    assert!(x509(&scene, &caller).now_or_never().is_none());
    // It is not taken back.
    *held.lock() = Held::CloseOnExec;
    until_ended(&caller).await;
    caller.left().await;
    let denied = x509(&scene, &caller).await;
    let unheld = matches!(denied, Err(Denial::Unproven(Unproven::NotHeld(_))));
    assert!(unheld, "{denied:?}");
    assert_eq!(reasons(&scene), ["not-held", "not-held"]);
}

/// A process that has so many connections that not all are looked at each time, opens more and
/// closes some, cannot keep one of them from being looked at.
#[tokio::test]
async fn lost_connection_is_found_behind_any_number_of_good_ones() {
    const GOOD: usize = 200;
    let scene = Scene::new().await;
    scene.register("a").await;
    let caller = scene.own();
    x509(&scene, &caller).await.unwrap();
    let process = caller.process();
    let presence = caller.binding().presence().unwrap();
    let open = |held| {
        let far = Far::Staged(Arc::new(Mutex::new(held)));
        let image = process.image().clone();
        let binding = Arc::new(Binding::new(image, far, None).unwrap());
        binding.note_presence(&presence);
        process.connected(&binding);
        binding
    };
    let mut good: Vec<_> = (0..GOOD).map(|_| open(Held::CloseOnExec)).collect();
    let lost = open(Held::Not("passed on".into()));
    let rounds = (GOOD + 2).div_ceil(LOOKED_AT_ONCE);
    for round in 0..rounds {
        assert!(reasons(&scene).is_empty(), "{round}");
        assert!(scene.workloads.look_after(process));
        // Some of those that were looked at, and of those that were not.
        for place in [0, 100] {
            let closed = std::mem::replace(&mut good[place], open(Held::CloseOnExec));
            process.disconnected(&closed);
        }
    }
    assert!(matches!(
        lost.proofs(&scene.attestor(), process.peer(), Requirements::STANDARD),
        Err(Unproven::NotHeld(_))
    ));
    until(|| !reasons(&scene).is_empty()).await;
    assert_eq!(reasons(&scene), ["not-held"]);
    drop(good);
}

#[tokio::test]
async fn loss_of_the_socket_is_seen_before_anything_else_is_refused() {
    let audiences = ["nobody-lists-this".to_owned()];
    for is_registered in [true, false] {
        let scene = Scene::new().await;
        scene.register("a").await;
        let (caller, held) = holding(&scene, Held::CloseOnExec);
        assert_eq!(x509(&scene, &caller).await.unwrap(), 1);
        if !is_registered {
            scene.suspend("a").await;
        }
        *held.lock() = Held::Inheritable;
        let denied = Box::pin(scene.workloads.jwt(&caller, &audiences, None)).await;
        let denied = denied.map(drop).unwrap_err();
        assert!(
            matches!(denied, Denial::Unproven(Unproven::NotHeld(_))),
            "{denied}"
        );
        assert!(has_ended(&caller));
        assert_eq!(reasons(&scene), ["not-held"]);
    }
}
