//! Whether the attested image holds the connection, and attacks on the answer.

use crate::peer::{Peer, attestor, can_unshare, cannot_run, is_root, open_directory};
use rustix::{
    fd::AsFd as _,
    process::{Resource, getrlimit},
};
use std::{
    io::{Read as _, Write as _},
    os::unix::{
        net::{UnixListener, UnixStream},
        process::CommandExt as _,
    },
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
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

/// One with more descriptors than a user may have looked at at once, and with its connection in the
/// midst of them, at no likely number.
fn with_many_descriptors() -> Option<Peer> {
    let most = getrlimit(Resource::Nofile).maximum;
    if most.is_some_and(|most| most < 20_000) {
        cannot_run("20,000 descriptors are needed: raise the hard limit (ulimit -Hn)");
        return None;
    }
    let mut peer = Peer::start();
    for step in ["open 11500", "move 12500", "open 7500"] {
        assert_eq!(peer.ask(step), "done");
    }
    Some(peer)
}

/// In this time a user may have looked at 1,000 descriptors more.
const A_MOMENT: Duration = Duration::from_millis(200);

async fn steps_until_held(attestor: &Attestor, pinned: &PinnedPeer, end: &PeerEnd) -> usize {
    let mut steps = 0;
    while attestor.held(pinned, end) != Held::CloseOnExec {
        tokio::time::advance(A_MOMENT).await;
        steps += 1;
        assert!(steps < 100);
    }
    steps
}

#[tokio::test(start_paused = true)]
async fn a_search_that_the_budget_interrupts_goes_on_where_it_stopped() {
    let Some(peer) = with_many_descriptors() else {
        return;
    };
    let attestor = attestor();
    let (pinned, end) = end_of(&attestor, &peer.subject);
    let first = attestor.held(&pinned, &end);
    assert!(
        matches!(&first, Held::Unknown(why) if why.contains("the search goes on")),
        "{first:?}"
    );
    assert_eq!(attestor.held(&pinned, &end), first);
    // 10,000 at once, and then 1,000 each time.
    assert_eq!(steps_until_held(&attestor, &pinned, &end).await, 3);
    // From now on it is free.
    assert_eq!(attestor.held(&pinned, &end), Held::CloseOnExec);
    // An end that nothing is known of has the whole way before it.
    let (pinned, fresh) = end_of(&attestor, &peer.subject);
    assert!(matches!(attestor.held(&pinned, &fresh), Held::Unknown(_)));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_found_in_several_steps_is_not_said_to_be_nowhere() {
    let Some(mut peer) = with_many_descriptors() else {
        return;
    };
    let attestor = attestor();
    let (pinned, end) = end_of(&attestor, &peer.subject);
    peer.ask("hand-over");
    for _ in 0..30 {
        let held = attestor.held(&pinned, &end);
        assert!(matches!(held, Held::Unknown(_)), "{held:?}");
        tokio::time::advance(A_MOMENT).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_moved_to_where_the_search_was_before_is_found_by_the_next_pass() {
    let Some(mut peer) = with_many_descriptors() else {
        return;
    };
    let attestor = attestor();
    let (pinned, end) = end_of(&attestor, &peer.subject);
    assert_eq!(peer.ask("move 19500"), "done");
    assert!(matches!(attestor.held(&pinned, &end), Held::Unknown(_)));
    assert_eq!(peer.ask("close-other 50"), "done");
    assert_eq!(peer.ask("move 20"), "done");
    // The other 9,000 of this pass first, and then 50 of the next.
    assert_eq!(steps_until_held(&attestor, &pinned, &end).await, 10);
}

#[tokio::test(start_paused = true)]
async fn one_whole_pass_behind_an_interrupted_one_says_nowhere() {
    let (mut peer, attestor) = (Peer::start(), attestor());
    peer.ask("open 3000");
    peer.ask("move 4000");
    let (pinned, end) = end_of(&attestor, &peer.subject);
    for _ in 0..3 {
        let (pinned, other) = end_of(&attestor, &peer.subject);
        assert_eq!(attestor.held(&pinned, &other), Held::CloseOnExec);
    }
    assert!(matches!(attestor.held(&pinned, &end), Held::Unknown(_)));
    peer.ask("hand-over");
    // Enough for the rest of that pass, and for another one.
    tokio::time::advance(10 * A_MOMENT).await;
    is_not(&attestor.held(&pinned, &end), "not among");
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

#[tokio::test]
async fn a_caller_in_a_network_namespace_of_its_own_is_seen() {
    if !is_root() {
        return;
    }
    let attestor = attestor();
    let each: [&[&str]; 2] = [&["-n"], &["-Urn"]];
    for arguments in each {
        if !can_unshare(arguments) {
            continue;
        }
        let mut peer = in_a_network_of_its_own(arguments, None);
        let (pinned, end) = end_of(&attestor, &peer.subject);
        // Nobody waited for that.
        assert!(!end.is_named());
        let held = attestor.held(&pinned, &end);
        assert!(
            matches!(&held, Held::Unknown(why) if why.contains("not asked")),
            "{held:?}"
        );
        let pinned = Arc::new(pinned);
        attestor.name_end(&pinned, &end).await;
        assert_eq!(attestor.held(&pinned, &end), Held::CloseOnExec);
        // The next is named at once.
        assert_eq!(self::held(&attestor, &peer), Held::CloseOnExec);
        peer.ask("inheritable");
        assert_eq!(attestor.held(&pinned, &end), Held::Inheritable);
        drop(end);
        assert!(!end_of(&attestor, &peer.subject).1.is_named());
    }
}

#[tokio::test]
async fn a_user_who_makes_networks_leaves_anothers_kept() {
    let own = ["-Urn"];
    if !is_root() || !can_unshare(&own) {
        return;
    }
    let attestor = attestor();
    let named = async |peer: &Peer| {
        let (pinned, end) = end_of(&attestor, &peer.subject);
        let pinned = Arc::new(pinned);
        attestor.name_end(&pinned, &end).await;
        assert_eq!(attestor.held(&pinned, &end), Held::CloseOnExec);
        end
    };
    let victim = in_a_network_of_its_own(&["-n"], None);
    let kept = named(&victim).await;
    let mut attacks = Vec::new();
    for _ in 0..100 {
        let attacker = in_a_network_of_its_own(&own, Some(ATTACKER));
        let end = named(&attacker).await;
        attacks.push((attacker, end));
    }
    assert!(end_of(&attestor, &victim.subject).1.is_named());
    let is_named = |(attacker, _): &(Peer, PeerEnd)| {
        let (pinned, end) = end_of(&attestor, &attacker.subject);
        assert_eq!(attestor.accountable_uid(&pinned), ATTACKER);
        end.is_named()
    };
    assert_eq!(attacks.iter().filter(|one| is_named(one)).count(), 63);
    drop(kept);
}

/// An ordinary user.
const ATTACKER: u32 = 64_123;

fn in_a_network_of_its_own(arguments: &[&str], uid: Option<u32>) -> Peer {
    let mut command = Command::new("unshare");
    command.args(arguments).arg(crate::peer::binary());
    if let Some(uid) = uid {
        command.uid(uid).gid(uid);
    }
    Peer::from_command(command)
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

#[tokio::test]
async fn what_is_no_connection_has_no_other_end() {
    let (peer, attestor) = (Peer::start(), attestor());
    let pinned = Arc::new(attestor.pin(peer.subject.as_fd()).unwrap());
    let file = std::fs::File::open("/proc/self/stat").unwrap();
    attestor.peer_end(file.as_fd(), &pinned).unwrap_err();
    // It might be a connection of another network namespace.
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let end = attestor.peer_end(socket.as_fd(), &pinned).unwrap();
    attestor.name_end(&pinned, &end).await;
    assert!(!end.is_named());
    assert!(!attestor.is_closed(&end));
    let held = attestor.held(&pinned, &end);
    assert!(
        matches!(&held, Held::Unknown(why) if why.contains("network namespace")),
        "{held:?}"
    );
}
