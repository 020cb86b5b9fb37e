//! Parents, namespaces and restrictions.

use crate::{
    peer::{Peer, attestor, binary, can_unshare, has, is_root, lacks, now, sha256, tried_with},
    program::{Built, Running},
};
use std::{path::Path, process::Command, sync::Arc};
use symbolon_attestors::{Attestation, Kind, Kinds, PinnedPeer};

async fn process(peer: &Arc<PinnedPeer>) -> Attestation {
    let kinds = Kinds::NONE.with(Kind::Process);
    tried_with(&attestor(), peer, kinds, now()).await.unwrap()
}

/// A peer that is started by a shell, which waits for it.
fn below_a_shell() -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$0\" \"$@\"; true"]).arg(binary());
    shell
}

fn shell() -> std::path::PathBuf {
    let path = Command::new("sh")
        .args(["-c", "command -v sh"])
        .output()
        .unwrap();
    Path::new(String::from_utf8(path.stdout).unwrap().trim_end())
        .canonicalize()
        .unwrap()
}

#[tokio::test]
async fn the_programs_above_are_known_by_path_and_digest() {
    let peer = Peer::from_command(below_a_shell());
    let attestation = process(&peer.pinned()).await;
    let shell = shell();
    let digest = sha256(&shell);
    assert!(has(
        &attestation,
        &format!("process:parent_path:{}", shell.display())
    ));
    assert!(has(
        &attestation,
        &format!("process:parent_sha256:{digest}")
    ));
    assert!(has(
        &attestation,
        &format!("process:ancestor_sha256:{digest}")
    ));
    // The test itself is above the shell.
    let digest = sha256(&binary());
    assert!(has(
        &attestation,
        &format!("process:ancestor_sha256:{digest}")
    ));
    assert!(!has(
        &attestation,
        &format!("process:parent_sha256:{digest}")
    ));
}

#[tokio::test]
async fn a_parent_that_has_exited_lends_nothing() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$0\" \"$@\" 0<&0 &"]).arg(binary());
    let mut peer = Peer::from_command(shell);
    peer.wait_for_wrapper();
    let attestation = process(&peer.pinned()).await;
    let digest = sha256(&crate::process::shell());
    assert!(!has(
        &attestation,
        &format!("process:parent_sha256:{digest}")
    ));
    let parent = parent_of(peer.pinned().credentials().pid);
    if parent == 1 {
        assert!(lacks(&attestation, "process:parent_sha256").contains("PID 1"));
        assert!(lacks(&attestation, "process:ancestor_sha256").contains("PID 1"));
    }
}

fn parent_of(pid: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    line.unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn a_long_chain_is_cut_and_says_so() {
    let script = "n=$1; shift; if [ $n -gt 0 ]; then sh -c \"$0\" \"$0\" $((n-1)) \"$@\"; \
        else \"$@\"; fi; true";
    let mut command = Command::new("sh");
    command.args(["-c", script, script, "20"]).arg(binary());
    let peer = Peer::from_command(command);
    let attestation = process(&peer.pinned()).await;
    let digest = sha256(&shell());
    assert!(has(
        &attestation,
        &format!("process:ancestor_sha256:{digest}")
    ));
    let above = sha256(&binary());
    assert!(!has(
        &attestation,
        &format!("process:ancestor_sha256:{above}")
    ));
    assert!(lacks(&attestation, "process:ancestor_sha256").contains("more than 16"));
}

#[tokio::test]
async fn the_chain_ends_at_the_border_of_a_pid_namespace() {
    if !is_root() || !can_unshare(&["--pid", "--fork"]) {
        return;
    }
    let mut first = Command::new("unshare");
    first.args(["--pid", "--fork"]).arg(binary());
    let peer = Peer::from_command(first);
    let attestation = process(&peer.pinned()).await;
    assert!(has(&attestation, "process:pid_namespace:own"));
    for key in [
        "process:parent_path",
        "process:parent_sha256",
        "process:ancestor_sha256",
    ] {
        assert!(lacks(&attestation, key).contains("another PID namespace"));
    }
    // Whoever lost its parent in there has the first process for one.
    let mut second = Command::new("unshare");
    second
        .args(["--pid", "--fork", "sh", "-c", "\"$0\" \"$@\"; true"])
        .arg(binary());
    let peer = Peer::from_command(second);
    let attestation = process(&peer.pinned()).await;
    assert!(lacks(&attestation, "process:parent_path").contains("PID 1 of its PID namespace"));
    // A shell below the first process is known.
    let mut third = Command::new("unshare");
    let script = "sh -c '\"$0\" \"$@\"; true' \"$0\" \"$@\"; true";
    third
        .args(["--pid", "--fork", "sh", "-c", script])
        .arg(binary());
    let peer = Peer::from_command(third);
    let attestation = process(&peer.pinned()).await;
    let digest = sha256(&shell());
    assert!(has(
        &attestation,
        &format!("process:parent_sha256:{digest}")
    ));
    let above = sha256(&binary());
    assert!(!has(
        &attestation,
        &format!("process:ancestor_sha256:{above}")
    ));
}

#[tokio::test]
async fn namespaces_are_the_hosts_or_the_processs_own() {
    if !is_root() {
        return;
    }
    for (flag, own) in [
        ("--mount", "mount"),
        ("--net", "network"),
        ("--cgroup", "cgroup"),
        ("--ipc", "ipc"),
        ("--uts", "uts"),
        ("--user", "user"),
    ] {
        if !can_unshare(&[flag]) {
            continue;
        }
        let mut command = Command::new("unshare");
        command.arg(flag).arg(binary());
        let peer = Peer::from_command(command);
        let attestation = process(&peer.pinned()).await;
        for kind in ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"] {
            let word = if kind == own { "own" } else { "host" };
            let selector = format!("process:{kind}_namespace:{word}");
            assert!(has(&attestation, &selector), "{flag}: {selector}");
        }
    }
}

fn as_nobody(built: &Built, wrapper: &[&str], what: &str) -> Running {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .args(wrapper)
        .arg(&built.program)
        .arg(what);
    Running::start(&mut command)
}

#[tokio::test]
async fn whether_a_process_can_be_looked_into_is_told_by_the_owner_of_its_files() {
    let Some(built) = is_root().then(|| Built::new(&[])).flatten() else {
        return;
    };
    let attestor = attestor();
    for (what, expected) in [("", "false"), ("undumpable", "true")] {
        let running = as_nobody(&built, &[], what);
        let attestation = process(&running.pinned(&attestor)).await;
        assert!(has(&attestation, &format!("process:undumpable:{expected}")));
    }
    // Whoever gave up root by itself was root's a moment ago, and is guarded until it executes.
    let running = built.run(&["setuid"]);
    let attestation = process(&running.pinned(&attestor)).await;
    assert!(has(&attestation, "process:undumpable:true"));
    let running = built.run(&["undumpable"]);
    let attestation = process(&running.pinned(&attestor)).await;
    assert!(lacks(&attestation, "process:undumpable").contains("root's processes"));
}

#[tokio::test]
async fn in_a_user_namespace_of_its_own_that_cannot_be_told() {
    let Some(built) = is_root().then(|| Built::new(&[])).flatten() else {
        return;
    };
    if !can_unshare(&["-Ur"]) {
        return;
    }
    let attestor = attestor();
    for what in ["", "undumpable"] {
        let running = as_nobody(&built, &["unshare", "-Ur"], what);
        let attestation = process(&running.pinned(&attestor)).await;
        assert!(has(&attestation, "process:user_namespace:own"));
        assert!(lacks(&attestation, "process:undumpable").contains("user namespace"));
    }
}

#[tokio::test]
async fn what_a_process_gave_up_is_known() {
    let Some(built) = Built::new(&[]) else {
        return;
    };
    let attestor = attestor();
    for (what, seccomp, no_new_privs) in [
        ("", "disabled", false),
        ("filter", "filter", true),
        ("strict", "strict", false),
    ] {
        let running = built.run(&[what]);
        let attestation = process(&running.pinned(&attestor)).await;
        assert!(
            has(&attestation, &format!("process:seccomp:{seccomp}")),
            "{what}"
        );
        let bit = format!("process:no_new_privs:{no_new_privs}");
        assert!(has(&attestation, &bit), "{what}");
    }
}

#[tokio::test]
async fn a_label_is_known_or_its_absence_explained() {
    let peer = Peer::start();
    let attestation = process(&peer.pinned()).await;
    let mut selectors = attestation.selectors().iter();
    match selectors.find(|held| held.as_str().starts_with("process:security_label:")) {
        Some(label) => assert!(label.value().len() > "security_label:".len()),
        None => assert!(lacks(&attestation, "process:security_label").contains("module")),
    }
}
