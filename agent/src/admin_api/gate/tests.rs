use super::{MAX_CONNECTIONS, OperatorGate, OperatorPolicy, shares_namespace};
use crate::{
    server::{Admit as _, Refused},
    workloads::testing::{Actress, Scene},
};
use std::{env, process};
use tokio::net::UnixStream;

fn policy() -> OperatorPolicy {
    OperatorPolicy {
        own_uid: rustix::process::geteuid().as_raw(),
        group_configured: false,
        allow_foreign_namespaces: false,
    }
}

#[tokio::test]
async fn own_user_is_an_operator() {
    let scene = Scene::new().await;
    let gate = OperatorGate::new(policy(), scene.trail);
    let (socket, _peer) = UnixStream::pair().unwrap();
    let operator = gate.admit(&socket).unwrap();
    assert_eq!(operator.pid, process::id());
    assert_eq!(operator.label(), format!("uid:{}", policy().own_uid));
}

#[tokio::test]
async fn operators_are_capped_and_places_given_back() {
    let scene = Scene::new().await;
    let gate = OperatorGate::new(policy(), scene.trail);
    let (socket, _peer) = UnixStream::pair().unwrap();
    let operators: Vec<_> = (0..MAX_CONNECTIONS)
        .map(|_| gate.admit(&socket).unwrap())
        .collect();
    let refused = gate.admit(&socket);
    assert!(matches!(refused, Err(Refused::Overloaded(_))));
    drop(operators);
    gate.admit(&socket).unwrap();
}

#[tokio::test]
async fn another_user_is_refused_unless_a_group_is_configured() {
    if !rustix::process::geteuid().is_root() {
        assert!(env::var_os("REQUIRE_ALL_TESTS").is_none(), "needs root");
        eprintln!("SKIPPED: only root can start a process of another user");
        return;
    }
    let scene = Scene::new().await;
    let stranger = Actress::of_user(65_534);
    let peer = scene.pin(stranger.pid());
    let gate = OperatorGate::new(policy(), scene.trail.clone());
    assert!(matches!(gate.check(&peer), Err(Refused::Forbidden(_))));
    let with_group = OperatorPolicy {
        group_configured: true,
        ..policy()
    };
    let gate = OperatorGate::new(with_group, scene.trail);
    gate.check(&peer).unwrap();
    stranger.exit();
    assert!(matches!(gate.check(&peer), Err(Refused::Forbidden(_))));
}

#[tokio::test]
async fn refusal_is_in_the_trail_before_the_next_connection() {
    let scene = Scene::new().await;
    let gate = OperatorGate::new(policy(), scene.trail.clone());
    gate.refused(&Refused::Forbidden(
        "uid 7 (pid 8) is no operator".to_owned(),
    ))
    .await;
    // What comes later is recorded after it.
    scene.register("a").await;
    let caller = scene.own();
    let asked = crate::workloads::Asked::ByCall;
    scene.workloads.x509(&caller, asked).await.unwrap();
    assert_eq!(scene.events()[0], "refused");
}

#[test]
fn namespaces_are_compared_by_what_the_kernel_says() {
    for namespace in super::NAMESPACES {
        assert!(shares_namespace(process::id(), namespace));
        assert!(!shares_namespace(0, namespace), "nothing can be read");
    }
    assert!(!shares_namespace(process::id(), "none"));
}
