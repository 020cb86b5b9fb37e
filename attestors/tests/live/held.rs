//! Whether the attested image holds the connection, and attacks on the answer.

use crate::peer::{Peer, attestor, can_unshare, cannot_run, is_root, open_directory};
use rustix::fd::AsFd as _;
use std::{
    io::{Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    process::{Command, Stdio},
};
use symbolon_attestors::{Attestor, Changed, Held, PeerEnd, PinnedPeer};

const CAT: &str = "/bin/cat";

/// A free number above those that a peer has open.
const FREE: u32 = 40;

fn end_of(attestor: &Attestor, socket: &UnixStream) -> (PinnedPeer, PeerEnd) {
    let peer = attestor.pin(socket.as_fd()).unwrap();
    let end = attestor.peer_end(socket.as_fd(), &peer).unwrap();
    (peer, end)
}

fn held(attestor: &Attestor, peer: &Peer) -> Held {
    let (pinned, end) = end_of(attestor, &peer.subject);
    attestor.held(&pinned, &end)
}

fn is_not(held: &Held, why: &str) {
    assert!(
        matches!(held, Held::Not(reason) if reason.contains(why)),
        "{held:?}"
    );
}

#[test]
fn what_the_image_opened_is_held_with_close_on_exec() {
    let (peer, attestor) = (Peer::start(), attestor());
    let (pinned, end) = end_of(&attestor, &peer.subject);
    assert_eq!(attestor.held(&pinned, &end), Held::CloseOnExec);
    assert_eq!(attestor.held(&pinned, &end), Held::CloseOnExec);
}

#[test]
fn a_flag_that_changes_is_noticed_on_the_remembered_descriptor() {
    let (mut peer, attestor) = (Peer::start(), attestor());
    let (pinned, end) = end_of(&attestor, &peer.subject);
    assert_eq!(attestor.held(&pinned, &end), Held::CloseOnExec);
    peer.ask("inheritable");
    assert_eq!(attestor.held(&pinned, &end), Held::Inheritable);
    assert_eq!(held(&attestor, &peer), Held::Inheritable);
    peer.ask("close-on-exec");
    assert_eq!(attestor.held(&pinned, &end), Held::CloseOnExec);
}

#[test]
fn the_weaker_of_two_descriptors_counts() {
    let (mut peer, attestor) = (Peer::start(), attestor());
    peer.ask("copy 3");
    assert_eq!(held(&attestor, &peer), Held::Inheritable);
}

#[test]
fn a_standard_stream_does_not_count() {
    let (mut peer, attestor) = (Peer::start(), attestor());
    let (pinned, end) = end_of(&attestor, &peer.subject);
    assert_eq!(attestor.held(&pinned, &end), Held::CloseOnExec);
    peer.run(Path::new(CAT));
    is_not(&attestor.held(&pinned, &end), "standard stream");
    is_not(&held(&attestor, &peer), "standard stream");
}

#[test]
fn a_closed_connection_is_not_held() {
    let (mut peer, attestor) = (Peer::start(), attestor());
    let (pinned, end) = end_of(&attestor, &peer.subject);
    peer.ask("close");
    is_not(&attestor.held(&pinned, &end), "not among");
    attestor
        .peer_end(peer.subject.as_fd(), &pinned)
        .unwrap_err();
}

#[test]
fn a_connection_that_was_handed_over_is_not_held() {
    let (mut peer, attestor) = (Peer::start(), attestor());
    let (pinned, end) = end_of(&attestor, &peer.subject);
    assert_eq!(attestor.held(&pinned, &end), Held::CloseOnExec);
    peer.ask("hand-over");
    is_not(&attestor.held(&pinned, &end), "not among");
    // Its other end is still there.
    is_not(&held(&attestor, &peer), "not among");
}

#[test]
fn a_descriptor_that_moved_is_found_again() {
    let (mut peer, attestor) = (Peer::start(), attestor());
    let (pinned, end) = end_of(&attestor, &peer.subject);
    for number in [500, 3, 15, 16, 900] {
        peer.ask("open 3");
        peer.ask(&format!("move {number}"));
        assert_eq!(attestor.held(&pinned, &end), Held::CloseOnExec, "{number}");
        assert_eq!(attestor.held(&pinned, &end), Held::CloseOnExec, "{number}");
    }
}

#[test]
fn it_is_found_among_a_thousand_others() {
    let (mut peer, attestor) = (Peer::start(), attestor());
    assert_eq!(peer.ask("open 1000"), "done");
    assert_eq!(held(&attestor, &peer), Held::CloseOnExec);
    // Neither at the lower end nor where a table without gaps would end.
    assert_eq!(peer.ask("open 1000"), "done");
    assert_eq!(peer.ask("move 1500"), "done");
    assert_eq!(peer.ask("open 500"), "done");
    assert_eq!(held(&attestor, &peer), Held::CloseOnExec);
}

#[test]
fn who_has_everything_searched_again_and_again_is_unknown_and_not_refused() {
    let (mut peer, attestor) = (Peer::start(), attestor());
    peer.ask("open 2000");
    peer.ask("move 3000");
    let (pinned, remembering) = end_of(&attestor, &peer.subject);
    assert_eq!(attestor.held(&pinned, &remembering), Held::CloseOnExec);
    let fresh = || {
        let (pinned, end) = end_of(&attestor, &peer.subject);
        attestor.held(&pinned, &end)
    };
    let last = (0..100)
        .map(|_| fresh())
        .find(|held| *held != Held::CloseOnExec);
    assert!(matches!(last, Some(Held::Unknown(_))), "{last:?}");
    // Neither where it was found before, nor an ordinary client of the same user.
    assert_eq!(attestor.held(&pinned, &remembering), Held::CloseOnExec);
    assert_eq!(held(&attestor, &Peer::start()), Held::CloseOnExec);
}

#[test]
fn after_an_execve_only_what_was_inherited_is_held_and_the_image_is_another() {
    let attestor = attestor();
    let mut peer = Peer::start();
    let (pinned, end) = end_of(&attestor, &peer.subject);
    let image = attestor.look(&pinned).unwrap();
    peer.inherit(FREE, Path::new(CAT));
    assert_eq!(attestor.held(&pinned, &end), Held::Inheritable);
    let changed = attestor.unchanged(&pinned, &image);
    assert_eq!(changed, Err(Changed::Executable));
}

#[test]
fn after_an_execve_of_the_same_file_too() {
    let attestor = attestor();
    for inherited in [Some(FREE), None] {
        let mut peer = Peer::start();
        // Keeps the connection alive, whoever holds it.
        let (pinned, end) = end_of(&attestor, &peer.subject);
        let image = attestor.look(&pinned).unwrap();
        attestor.unchanged(&pinned, &image).unwrap();
        peer.run_again(inherited);
        let held = attestor.held(&pinned, &end);
        if inherited.is_some() {
            assert_eq!(held, Held::Inheritable);
        } else {
            is_not(&held, "not among");
        }
        let changed = attestor.unchanged(&pinned, &image);
        assert_eq!(changed, Err(Changed::Executed));
    }
}

#[test]
fn a_caller_in_a_network_namespace_of_its_own_is_seen() {
    if !is_root() {
        return;
    }
    let attestor = attestor();
    let each: [&[&str]; 2] = [&["-n"], &["-Urn"]];
    for arguments in each {
        if !can_unshare(arguments) {
            continue;
        }
        let mut command = Command::new("unshare");
        command.args(arguments).arg(crate::peer::binary());
        let mut peer = Peer::from_command(command);
        let (pinned, end) = end_of(&attestor, &peer.subject);
        assert_eq!(attestor.held(&pinned, &end), Held::CloseOnExec);
        assert_eq!(held(&attestor, &peer), Held::CloseOnExec);
        peer.ask("inheritable");
        assert_eq!(attestor.held(&pinned, &end), Held::Inheritable);
    }
}

#[test]
fn a_thread_with_a_table_of_its_own_does_not_count() {
    let (mut peer, attestor) = (Peer::start(), attestor());
    let directory = open_directory();
    let path = directory.path().join("apart");
    let listener = UnixListener::bind(&path).unwrap();
    let asked = peer.ask(&format!("reconnect-apart {}", path.display()));
    assert_eq!(asked, "done");
    let (accepted, _) = listener.accept().unwrap();
    let (pinned, end) = end_of(&attestor, &accepted);
    assert_eq!(pinned.credentials().pid, peer.pid());
    is_not(&attestor.held(&pinned, &end), "not among");
}

/// Connects, makes a child that shares the descriptor table, and executes `cat`; the child reports
/// on the commands' connection, and stays.
const SHARER: &str = r#"
import ctypes, os, platform, socket, sys
path, flag = os.environ["SYMBOLON_TEST_PEER"], sys.argv[1]
control = socket.socket(socket.AF_UNIX); control.connect(path)
subject = socket.socket(socket.AF_UNIX)
subject.set_inheritable(flag == "inheritable")
subject.connect(path)
control.recv(16)
clone = {"x86_64": 56, "aarch64": 220}[platform.machine()]
CLONE_FILES, SIGCHLD = 0x400, 17
read, write = os.pipe()
if ctypes.CDLL(None).syscall(clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0) == 0:
    os.read(read, 1)
    # In the table that both had: the one who executed has left it.
    subject.set_inheritable(False)
    os.write(control.fileno(), b"child\n")
    subject.recv(1)
    os._exit(0)
os.dup2(control.fileno(), 0); os.dup2(control.fileno(), 1)
os.set_inheritable(write, True)
# Of two digits bash alone makes a descriptor.
os.execv("/bin/bash", ["bash", "-c", f"echo go >&{write}; exec {write}>&-; exec cat"])
"#;

#[test]
fn who_shares_the_table_with_an_accomplice_stops_doing_so_when_it_executes() {
    let python = Command::new("python3")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if !python.is_ok_and(|status| status.success()) {
        cannot_run("python3 is needed");
        return;
    }
    let attestor = attestor();
    for flag in ["close-on-exec", "inheritable"] {
        let mut command = Command::new("python3");
        command.args(["-c", SHARER, flag]);
        let mut peer = Peer::from_command(command);
        let (pinned, end) = end_of(&attestor, &peer.subject);
        let before = attestor.held(&pinned, &end);
        let image = attestor.look(&pinned).unwrap();
        peer.tell("go");
        assert_eq!(peer.heard(), "child");
        let after = attestor.held(&pinned, &end);
        if flag == "inheritable" {
            assert_eq!((before, after), (Held::Inheritable, Held::Inheritable));
        } else {
            assert_eq!(before, Held::CloseOnExec);
            is_not(&after, "not among");
        }
        attestor.unchanged(&pinned, &image).unwrap_err();
        // The accomplice ends with its connection.
        (&peer.subject).write_all(b"x").unwrap();
    }
}

#[test]
fn a_peer_that_has_exited_holds_nothing() {
    let (mut peer, attestor) = (Peer::start(), attestor());
    let (pinned, end) = end_of(&attestor, &peer.subject);
    let image = attestor.look(&pinned).unwrap();
    assert_eq!(attestor.held(&pinned, &end), Held::CloseOnExec);
    peer.exit();
    is_not(&attestor.held(&pinned, &end), "exited");
    assert_eq!(attestor.unchanged(&pinned, &image), Err(Changed::Exited));
    attestor
        .peer_end(peer.subject.as_fd(), &pinned)
        .unwrap_err();
    attestor.look(&pinned).unwrap_err();
    assert_eq!((&peer.subject).read(&mut [0]).unwrap_or(0), 0);
}

#[test]
fn what_is_no_connection_has_no_other_end() {
    let (peer, attestor) = (Peer::start(), attestor());
    let pinned = attestor.pin(peer.subject.as_fd()).unwrap();
    let file = std::fs::File::open("/proc/self/stat").unwrap();
    attestor.peer_end(file.as_fd(), &pinned).unwrap_err();
}
