//! Processes that make up what they are seen by: mounts, file systems, users.

use crate::peer::{
    Peer, attested, attestor, binary, can_unshare, copied, has, lacks, open_directory, sha256,
};
use std::{path::Path, process::Command};

/// How an ordinary user, and root, gets a mount namespace.
fn mount_namespace() -> Option<&'static [&'static str]> {
    let arguments: &[&str] = if rustix::process::geteuid().is_root() {
        &["-m"]
    } else {
        &["-Urm"]
    };
    can_unshare(arguments).then_some(arguments)
}

/// A peer that runs `script` inside of new namespaces first; `$1` and `$2` are given.
fn after(arguments: &[&str], script: &str, one: &Path, two: &Path) -> Peer {
    let mut command = Command::new("unshare");
    command
        .args(arguments)
        .args(["sh", "-ec", script, "sh"])
        .args([one, two]);
    Peer::from_command(command)
}

#[tokio::test]
async fn a_program_mounted_over_a_path_does_not_get_the_path() {
    let Some(arguments) = mount_namespace() else {
        return;
    };
    let directory = open_directory();
    let victim = copied(&binary(), directory.path().join("victim"), b"good");
    let evil = copied(&binary(), directory.path().join("evil"), b"evil");
    let script = r#"mount --bind "$2" "$1"; victim=$1; shift 2; exec "$victim" "$@""#;
    let peer = after(arguments, script, &victim, &evil);
    let attestation = attested(&attestor(), &peer.pinned()).await;
    assert!(lacks(&attestation, "unix:path").contains("mount namespace of its own"));
    assert!(!has(
        &attestation,
        &format!("unix:path:{}", victim.display())
    ));
    assert_eq!(attestation.executable_sha256(), Some(&*sha256(&evil)));
}

#[tokio::test]
async fn a_program_run_through_another_processes_root_does_not_get_its_path_there() {
    let Some(arguments) = mount_namespace() else {
        return;
    };
    let directory = open_directory();
    let victim = copied(&binary(), directory.path().join("victim"), b"good");
    let evil = copied(&binary(), directory.path().join("evil"), b"evil");
    let script = r#"mount --bind "$2" "$1"; shift 2; exec "$0" "$@""#;
    let script = script.replace("$0", binary().to_str().unwrap());
    let holder = after(arguments, &script, &victim, &evil);
    let holder_pid = holder.pinned().credentials().pid;
    // In the host's mount namespace, but the file is on the other one's mount.
    let through = format!("/proc/{holder_pid}/root{}", victim.display());
    let peer = Peer::from_program(Path::new(&through));
    let attestation = attested(&attestor(), &peer.pinned()).await;
    assert!(lacks(&attestation, "unix:path").contains("not among the host's"));
    assert_eq!(attestation.executable_path(), None);
    assert!(!has(
        &attestation,
        &format!("unix:sha256:{}", sha256(&victim))
    ));
}

#[tokio::test]
async fn an_overlay_of_ones_own_gives_no_digest() {
    if !can_unshare(&["-Urm"]) {
        return;
    }
    let directory = open_directory();
    let program = copied(&binary(), directory.path().join("peer"), b"");
    let script = r#"
        mount -t tmpfs none "$1"
        mkdir "$1/lower" "$1/upper" "$1/work" "$1/merged"
        cp "$2" "$1/lower/peer"
        mount -t overlay none -o "userxattr,lowerdir=$1/lower,upperdir=$1/upper,workdir=$1/work" \
            "$1/merged"
        program=$1/merged/peer; shift 2; exec "$program" "$@""#;
    let mount_point = open_directory();
    let copy = open_directory();
    let program = {
        let outside = copy.path().join("peer");
        std::fs::rename(&program, &outside).unwrap();
        outside
    };
    let peer = after(&["-Urm"], script, mount_point.path(), &program);
    let attestation = attested(&attestor(), &peer.pinned()).await;
    assert!(lacks(&attestation, "unix:sha256").contains("overlay"));
    assert_eq!(attestation.executable_sha256(), None);
}

#[tokio::test]
async fn a_container_on_an_ordinary_file_system_has_a_digest() {
    let Some(arguments) = mount_namespace() else {
        return;
    };
    let directory = open_directory();
    let program = copied(&binary(), directory.path().join("peer"), b"inside");
    let inside = open_directory();
    let script = r#"
        mount -t tmpfs none "$1"; cp "$2" "$1/peer"
        program=$1/peer; shift 2; exec "$program" "$@""#;
    let peer = after(arguments, script, inside.path(), &program);
    let attestation = attested(&attestor(), &peer.pinned()).await;
    assert_eq!(attestation.executable_sha256(), Some(&*sha256(&program)));
    assert_eq!(attestation.executable_path(), None);
}

#[tokio::test]
async fn root_inside_of_a_user_namespace_is_the_user_outside() {
    if !crate::peer::is_root() || !can_unshare(&["-Ur"]) {
        return;
    }
    let directory = open_directory();
    let copy = copied(&binary(), directory.path().join("peer"), b"");
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .args(["unshare", "-Ur"])
        .arg(copy);
    let peer = Peer::from_command(command);
    let attestation = attested(&attestor(), &peer.pinned()).await;
    assert!(has(&attestation, "unix:uid:65534"));
    assert!(!has(&attestation, "unix:uid:0"));
}
