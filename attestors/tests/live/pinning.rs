//! Which process a connection belongs to.

use crate::peer::{Peer, attested, attestor, can_unshare, has, now, open_directory, tried};
use rustix::fd::AsFd as _;
use std::{
    net::{TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    process::Command,
    sync::Arc,
};
use symbolon_attestors::{
    AttestError, Attestor, AttestorConfig, Changed, PinError, PinMethod, PinnedPeer,
};

#[test]
fn the_peer_is_the_process_that_connected() {
    let peer = Peer::start();
    let pinned = peer.pinned();
    assert_eq!(pinned.credentials().pid, peer.pid());
    assert!(pinned.is_alive());
    if UnixStream::pair().is_ok_and(|(a, _)| symbolon_syscalls::peer_pidfd(a.as_fd()).is_ok()) {
        assert_eq!(pinned.method(), PinMethod::PidFd);
    }
}

#[test]
fn a_process_has_one_key_on_all_ways_to_it() {
    let (one, two) = (Peer::start(), Peer::start());
    assert_eq!(one.pinned().key(), one.pinned().key());
    assert_eq!(
        one.pinned().key(),
        PinnedPeer::of_pid(one.pid()).unwrap().key()
    );
    assert_ne!(one.pinned().key(), two.pinned().key());
}

#[test]
fn a_key_outlives_an_exec_and_a_method_does_not_mix_with_another() {
    let mut peer = Peer::start();
    let before = peer.pinned().key();
    peer.run(Path::new("/bin/cat"));
    assert_eq!(peer.pinned().key(), before);
    let fallback = weak().pin(peer.subject.as_fd()).unwrap();
    assert_ne!(fallback.key(), before);
}

fn weak() -> Attestor {
    Attestor::new(AttestorConfig {
        force_fallback_pin: true,
        ..AttestorConfig::default()
    })
    .unwrap()
}

#[tokio::test]
async fn the_fallback_pins_by_start_time_and_says_so() {
    let peer = Peer::start();
    let attestor = weak();
    let pinned = Arc::new(attestor.pin(peer.subject.as_fd()).unwrap());
    assert_eq!(pinned.method(), PinMethod::PidStartTime);
    assert_eq!(
        pinned.key(),
        attestor.pin(peer.subject.as_fd()).unwrap().key()
    );
    let attestation = attested(&attestor, &pinned).await;
    assert_eq!(attestation.evidence().pinned_by, "pid-starttime");
    assert!(
        attestor
            .limitations()
            .iter()
            .any(|sentence| sentence.contains("start time"))
    );
}

#[tokio::test]
async fn an_exit_is_noticed_by_all_who_wait_and_ends_what_was_attested() {
    let mut peer = Peer::start();
    let attestor = attestor();
    let pinned = peer.pinned();
    let attestation = attested(&attestor, &pinned).await;
    attestor.unchanged(&pinned, attestation.image()).unwrap();
    let waiters = async { tokio::try_join!(pinned.exited(), pinned.exited()) };
    let (ended, ()) = tokio::join!(waiters, async { peer.exit() });
    ended.unwrap();
    pinned.exited().await.unwrap();
    assert!(!pinned.is_alive());
    assert_eq!(
        attestor.unchanged(&pinned, attestation.image()),
        Err(Changed::Exited)
    );
    let again = tried(&attestor, &pinned, now()).await;
    assert!(matches!(again, Err(AttestError::Gone)), "{again:?}");
}

#[tokio::test]
async fn the_peer_of_a_connection_that_was_passed_on_stays_the_one_that_connected() {
    let mut peer = Peer::start();
    peer.exit();
    // Whoever holds the connection now: the process that made it is gone.
    match PinnedPeer::of_socket(peer.subject.as_fd()) {
        Ok(pinned) => {
            assert!(!pinned.is_alive());
            let attested = tried(&attestor(), &Arc::new(pinned), now()).await;
            assert!(matches!(attested, Err(AttestError::Gone)), "{attested:?}");
        }
        Err(error) => assert!(matches!(error, PinError::Gone), "{error:?}"),
    }
    let fallback = weak().pin(peer.subject.as_fd());
    assert!(matches!(fallback, Err(PinError::Gone)), "{fallback:?}");
}

#[tokio::test]
async fn an_attestation_is_good_for_its_own_process_only() {
    let (one, two) = (Peer::start(), Peer::start());
    let attestor = attestor();
    let attestation = attested(&attestor, &one.pinned()).await;
    assert_eq!(
        attestor.unchanged(&two.pinned(), attestation.image()),
        Err(Changed::Process)
    );
}

#[test]
fn what_is_no_process_cannot_be_pinned() {
    for pid in [0, u32::MAX, 1 << 30] {
        let pinned = PinnedPeer::of_pid(pid);
        assert!(matches!(pinned, Err(PinError::Gone)), "{pinned:?}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let pinned = PinnedPeer::of_socket(client.as_fd());
    assert!(matches!(pinned, Err(PinError::ForeignPidNamespace)));
}

/// A peer inside a new PID namespace, which has a `/proc` of its own.
fn inside() -> Option<Peer> {
    let arguments: &[&str] = if rustix::process::geteuid().is_root() {
        &["--pid", "--fork", "--mount-proc", "--kill-child"]
    } else {
        &["-Ur", "--pid", "--fork", "--mount-proc", "--kill-child"]
    };
    can_unshare(arguments).then(|| {
        let mut command = Command::new("unshare");
        command.args(arguments).arg(crate::peer::binary());
        Peer::from_command(command)
    })
}

#[test]
fn a_peer_outside_of_our_pid_namespace_is_refused() {
    let Some(mut agent) = inside() else { return };
    let directory = open_directory();
    let path = directory.path().join("inside");
    assert_eq!(agent.ask(&format!("serve {}", path.display())), "ready");
    let _outside = UnixStream::connect(&path).unwrap();
    assert_eq!(agent.heard(), "Err(ForeignPidNamespace)");
}

#[tokio::test]
async fn a_peer_in_a_pid_namespace_below_ours_is_attested_by_our_number() {
    let Some(peer) = inside() else { return };
    let attestor = attestor();
    let attestation = attested(&attestor, &peer.pinned()).await;
    let evidence = attestation.evidence();
    assert!(evidence.pid > 1);
    assert!(has(
        &attestation,
        &format!("unix:uid:{}", rustix::process::geteuid().as_raw())
    ));
}

#[test]
fn a_proc_of_another_pid_namespace_is_refused() {
    // Without --mount-proc the process inside still sees our /proc.
    if !rustix::process::geteuid().is_root() || !can_unshare(&["--pid", "--fork"]) {
        return;
    }
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--fork", "--kill-child"])
        .arg(crate::peer::binary());
    let mut agent = Peer::from_command(command);
    assert_eq!(agent.ask("attest 1"), "ForeignProc(\"/proc\")");
}
