//! Whose process it is.

use crate::peer::{Peer, attested, attestor, has, is_root, lacks, now, tried};
use std::{path::Path, process::Command, sync::Arc};
use symbolon_attestors::{AttestError, Changed, PinnedPeer};

/// A user that every distribution has and that owns nothing.
const NOBODY: u32 = 65_534;

#[tokio::test]
async fn user_and_groups_are_the_processes_own() {
    let peer = Peer::start();
    let attestation = attested(&attestor(), &peer.pinned()).await;
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    assert!(has(&attestation, &format!("unix:uid:{uid}")));
    assert!(has(&attestation, &format!("unix:gid:{gid}")));
    let groups = rustix::process::getgroups().unwrap();
    for group in groups {
        let selector = format!("unix:supplementary_gid:{}", group.as_raw());
        assert!(has(&attestation, &selector));
    }
}

#[tokio::test]
async fn another_users_process_has_his_uid() {
    if !is_root() {
        return;
    }
    let peer = as_nobody();
    let attestation = attested(&attestor(), &peer.pinned()).await;
    assert!(has(&attestation, "unix:uid:65534"));
    assert!(!has(&attestation, "unix:uid:0"));
}

/// A peer that runs as nobody from a place where nobody may read.
fn as_nobody() -> Peer {
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--inh-caps=-all",
    ]);
    let directory = crate::peer::open_directory();
    let copy = directory.path().join("peer");
    crate::peer::copied(&crate::peer::binary(), copy.clone(), b"");
    command.arg(copy);
    Peer::from_command(command)
}

#[tokio::test]
async fn a_process_that_changes_its_user_after_connecting_is_refused() {
    if !is_root() {
        return;
    }
    let mut peer = Peer::start();
    let attestor = attestor();
    let pinned = peer.pinned();
    let before = attested(&attestor, &pinned).await;
    peer.run_as(NOBODY, Path::new("/bin/cat"));
    for pinned in [Arc::clone(&pinned), peer.pinned()] {
        let refused = tried(&attestor, &pinned, now()).await;
        assert!(
            matches!(refused, Err(AttestError::Changed(Changed::Credentials))),
            "{refused:?}"
        );
    }
    assert_eq!(
        attestor.unchanged(&pinned, before.image()),
        Err(Changed::Credentials)
    );
}

#[tokio::test]
async fn an_operator_who_asks_by_number_gets_the_user_of_now() {
    if !is_root() {
        return;
    }
    let mut peer = Peer::start();
    peer.run_as(NOBODY, Path::new("/bin/cat"));
    let pinned = Arc::new(PinnedPeer::of_pid(peer.pid()).unwrap());
    let attestation = attested(&attestor(), &pinned).await;
    assert!(has(&attestation, "unix:uid:65534"));
}

#[tokio::test]
async fn an_agent_without_privilege_says_what_it_cannot_see() {
    if !is_root() {
        return;
    }
    let mut agent = as_nobody();
    let other = Peer::start();
    let evidence = agent.ask(&format!("attest {}", other.pid()));
    let evidence: serde_json::Value = serde_json::from_str(&evidence).unwrap();
    assert_eq!(evidence["executable"], serde_json::Value::Null);
    let selectors = evidence["selectors"].to_string();
    assert!(selectors.contains("unix:uid:0") && selectors.contains("cgroup:path:"));
    assert!(!selectors.contains("unix:path") && !selectors.contains("unix:sha256"));
    let unknown = evidence["unknown"].to_string();
    assert!(unknown.contains("unix:path") && unknown.contains("unix:sha256"));
    assert!(unknown.contains("CAP_SYS_PTRACE"));
}

#[tokio::test]
async fn an_id_without_entry_has_no_name_and_says_so() {
    if !is_root() {
        return;
    }
    let mut peer = Peer::start();
    peer.run_as(3_999_999_999, Path::new("/bin/cat"));
    let pinned = Arc::new(PinnedPeer::of_pid(peer.pid()).unwrap());
    let attestation = attested(&attestor(), &pinned).await;
    assert!(has(&attestation, "unix:uid:3999999999"));
    assert!(lacks(&attestation, "unix:user").contains("no entry for 3999999999"));
}
