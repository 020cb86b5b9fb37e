//! Connections that end by themselves, and those that only seem to be held.

use super::{events, holding, reasons, until_ended, x509};
use crate::{
    server::Caller as _,
    workloads::{
        Denial, Requirements, Unproven,
        binding::{Binding, Far},
        keeper::LOOKED_AT_ONCE,
        testing::{Scene, until},
    },
};
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use std::sync::Arc;
use symbolon_attestors::Held;

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
    caller.left().await;
    until_ended(&caller).await;
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
