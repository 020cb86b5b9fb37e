//! Whether the kernel's stamp on a message can be forged.

use crate::peer::{Peer, attestor, can_unshare, is_root};
use std::process::Command;
use symbolon_attestors::Stamp;

fn inside(arguments: &[&str]) -> Option<Peer> {
    can_unshare(arguments).then(|| {
        let mut command = Command::new("unshare");
        command.args(arguments).arg(crate::peer::binary());
        Peer::from_command(command)
    })
}

#[test]
fn in_our_own_pid_namespace_it_cannot() {
    let attestor = attestor();
    assert_eq!(attestor.stamp(&Peer::start().pinned()), Stamp::Trusted);
    // A user namespace alone gives nobody power over our PID namespace.
    if let Some(peer) = inside(&["-Ur"]) {
        assert_eq!(attestor.stamp(&peer.pinned()), Stamp::Trusted);
    }
}

#[test]
fn in_a_pid_namespace_of_our_user_namespace_it_cannot() {
    if !is_root() {
        return;
    }
    let Some(peer) = inside(&["--pid", "--fork", "--kill-child"]) else {
        return;
    };
    assert_eq!(attestor().stamp(&peer.pinned()), Stamp::Trusted);
}

#[test]
fn in_a_pid_namespace_of_another_user_namespace_it_can() {
    let Some(peer) = inside(&["-Ur", "--pid", "--fork", "--kill-child"]) else {
        return;
    };
    let attestor = attestor();
    let stamp = attestor.stamp(&peer.pinned());
    assert!(
        matches!(&stamp, Stamp::Forgeable(reason) if reason.contains("user namespace")),
        "{stamp:?}"
    );
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!(attestor.accountable_uid(&peer.pinned()), uid);
}

#[test]
fn one_such_namespace_on_the_way_is_enough() {
    if !can_unshare(&["-Ur", "--pid", "--fork", "--kill-child"]) {
        return;
    }
    // The inner PID namespace belongs to the inner user namespace as well; the outer one to the
    // outer. Both are foreign.
    let mut command = Command::new("unshare");
    command
        .args(["-Ur", "--pid", "--fork", "--kill-child"])
        .args(["unshare", "--pid", "--fork", "--kill-child"])
        .arg(crate::peer::binary());
    let peer = Peer::from_command(command);
    let stamp = attestor().stamp(&peer.pinned());
    assert!(matches!(stamp, Stamp::Forgeable(_)), "{stamp:?}");
}

#[test]
fn of_a_process_that_has_exited_it_is_worth_nothing() {
    let mut peer = Peer::start();
    let pinned = peer.pinned();
    peer.exit();
    assert!(matches!(attestor().stamp(&pinned), Stamp::Forgeable(_)));
}
