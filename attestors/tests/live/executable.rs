//! Which program it runs.

use crate::peer::{
    Peer, attested, attestor, binary, cannot_run, copied, has, lacks, now, open_directory, sha256,
    tried,
};
use std::{
    fs, os::unix::fs::MetadataExt as _, path::Path, process::Command, sync::Arc, time::Duration,
};
use symbolon_attestors::{Attestor, AttestorConfig, Changed, PinnedPeer};

#[tokio::test]
async fn path_and_digest_are_those_of_the_program() {
    let peer = Peer::start();
    let attestor = attestor();
    let attestation = attested(&attestor, &peer.pinned()).await;
    let digest = sha256(&binary());
    assert_eq!(attestation.executable_sha256(), Some(&*digest));
    assert!(has(&attestation, &format!("unix:sha256:{digest}")));
    let path = binary().canonicalize().unwrap();
    assert_eq!(attestation.executable_path(), path.to_str());
    assert!(has(&attestation, &format!("unix:path:{}", path.display())));
    let selectors = attestation.selectors();
    assert!(selectors.is_sorted() && attestation.id().len() == 64);
    attestor
        .unchanged(&peer.pinned(), attestation.image())
        .unwrap();
}

#[tokio::test]
async fn a_program_run_after_connecting_takes_the_first_ones_place() {
    let mut peer = Peer::start();
    let attestor = attestor();
    let pinned = peer.pinned();
    let before = attested(&attestor, &pinned).await;
    peer.run(Path::new("/bin/cat"));
    assert_eq!(
        attestor.unchanged(&pinned, before.image()),
        Err(Changed::Executable)
    );
    // The connection is the same; what is attested is what runs now.
    let after = attested(&attestor, &pinned).await;
    let digest = sha256(Path::new("/bin/cat"));
    assert_eq!(after.executable_sha256(), Some(&*digest));
    let of_the_first = before.executable_sha256().unwrap();
    assert!(!has(&after, &format!("unix:sha256:{of_the_first}")));
    assert_ne!(after.id(), before.id());
}

#[tokio::test]
async fn a_copy_with_one_byte_more_has_another_digest() {
    let directory = open_directory();
    let copy = copied(&binary(), directory.path().join("peer"), b"\0");
    let peer = Peer::from_program(&copy);
    let attestation = attested(&attestor(), &peer.pinned()).await;
    assert_eq!(attestation.executable_sha256(), Some(&*sha256(&copy)));
    assert!(!has(
        &attestation,
        &format!("unix:sha256:{}", sha256(&binary()))
    ));
}

/// A store through a shared mapping whose pages were only read before leaves the
/// times of a file in memory as they were, so nothing tells the two apart but the
/// content.
#[tokio::test]
async fn a_program_rewritten_in_memory_without_a_trace_has_its_new_digest() {
    if !runs("python3", &["-c", "import mmap"]) && !cannot_run("python3 is needed") {
        return;
    }
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let program = copied(&binary(), directory.path().join("peer"), b"A");
    let attestor = attestor();
    // Old enough for its digest to be kept, if that were allowed.
    let later = now() + Duration::from_secs(60);
    let mut peer = Peer::from_program(&program);
    let before = tried(&attestor, &peer.pinned(), later).await.unwrap();
    peer.exit();
    let times = fs::metadata(&program).unwrap().ctime_nsec();
    let path = program.to_str().unwrap();
    assert!(runs("python3", &["-c", REWRITE_LAST_BYTE, path]));
    let altered = sha256(&program);
    assert_ne!(before.executable_sha256(), Some(&*altered));
    let unnoticed = fs::metadata(&program).unwrap().ctime_nsec() == times;
    let peer = Peer::from_program(&program);
    let after = tried(&attestor, &peer.pinned(), later).await.unwrap();
    let digest = after.executable_sha256();
    assert_eq!(digest, Some(&*altered), "times as before: {unnoticed}");
}

const REWRITE_LAST_BYTE: &str = "\
import mmap, sys
with open(sys.argv[1], 'r+b') as file, mmap.mmap(file.fileno(), 0) as content:
    for page in range(0, len(content), 4096):
        content[page]
    content[len(content) - 1] = ord('B')
";

fn runs(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program).args(arguments).status();
    status.is_ok_and(|status| status.success())
}

#[tokio::test]
async fn a_program_in_the_place_of_a_running_one_does_not_lend_it_path_or_digest() {
    let directory = open_directory();
    let path = copied(&binary(), directory.path().join("peer"), b"");
    let running = sha256(&path);
    let peer = Peer::from_program(&path);
    let new = copied(&binary(), directory.path().join("new"), b"other");
    fs::rename(&new, &path).unwrap();
    let attestation = attested(&attestor(), &peer.pinned()).await;
    assert_eq!(attestation.executable_sha256(), Some(&*running));
    assert_eq!(attestation.executable_path(), None);
    assert!(lacks(&attestation, "unix:path").contains("replaced"));
}

/// The kernel gives a file's times to nobody but for the modification time, so the cache is not
/// led astray by a rewrite that puts that one back.
#[tokio::test]
async fn a_program_rewritten_at_once_with_its_times_put_back_has_its_new_digest() {
    let directory = open_directory();
    let path = copied(&binary(), directory.path().join("peer"), b"0");
    let contents = [b"A", b"B"].map(|more| {
        let name = format!("content-{}", char::from(more[0]));
        copied(&binary(), directory.path().join(name), more)
    });
    let times = directory.path().join("times");
    let attestor = attestor();
    for round in 0..6 {
        // In place, within the same inode and length, and as old as before.
        let script = "touch -r \"$1\" \"$3\" && cat \"$2\" > \"$1\" && touch -r \"$3\" \"$1\"";
        let content = &contents[round % 2];
        let mut shell = Command::new("sh");
        shell
            .args(["-ec", script, "sh"])
            .args([&path, content, &times]);
        assert!(shell.status().unwrap().success());
        let mut peer = Peer::from_program(&path);
        let attestation = attested(&attestor, &peer.pinned()).await;
        assert_eq!(attestation.executable_sha256(), Some(&*sha256(content)));
        peer.exit();
    }
}

#[tokio::test]
async fn a_program_that_was_removed_is_hashed_through_its_handle() {
    let directory = open_directory();
    let path = copied(&binary(), directory.path().join("peer"), b"removed");
    let digest = sha256(&path);
    let peer = Peer::from_program(&path);
    fs::remove_file(&path).unwrap();
    let attestation = attested(&attestor(), &peer.pinned()).await;
    assert_eq!(attestation.executable_sha256(), Some(&*digest));
    assert_eq!(attestation.executable_path(), None);
    assert!(lacks(&attestation, "unix:path").contains("removed"));
}

#[tokio::test]
async fn a_program_that_gives_privileges_is_named_as_such() {
    if !crate::peer::is_root() {
        return;
    }
    let directory = open_directory();
    let attestor = attestor();
    for (mode, words) in [
        ("0755", &[][..]),
        ("4755", &["setuid"]),
        ("2755", &["setgid"]),
        // Without the group's right to execute the bit has another meaning.
        ("2745", &[]),
        ("6755", &["setuid", "setgid"]),
    ] {
        let path = copied(&binary(), directory.path().join("peer"), b"");
        assert!(runs("chmod", &[mode, path.to_str().unwrap()]));
        let peer = Peer::from_program(&path);
        let attestation = attested(&attestor, &peer.pinned()).await;
        for word in ["setuid", "setgid", "capabilities"] {
            let selector = format!("unix:privileged_file:{word}");
            assert_eq!(
                has(&attestation, &selector),
                words.contains(&word),
                "{mode}"
            );
        }
    }
}

#[tokio::test]
async fn a_program_with_capabilities_is_named_as_such_and_for_as_long() {
    let directory = open_directory();
    let path = copied(&binary(), directory.path().join("peer"), b"");
    let text = path.to_str().unwrap();
    if !crate::peer::is_root()
        || (!runs("setcap", &["cap_net_bind_service=ep", text])
            && !cannot_run("setcap is needed: libcap2-bin"))
    {
        return;
    }
    let attestor = attestor();
    // Old enough for what was read to be kept.
    let later = now() + Duration::from_secs(60);
    for (option, expected) in [("", true), ("-r", false)] {
        assert!(option.is_empty() || runs("setcap", &[option, text]));
        let peer = Peer::from_program(&path);
        for _ in 0..2 {
            let attestation = tried(&attestor, &peer.pinned(), later).await;
            let held = has(&attestation.unwrap(), "unix:privileged_file:capabilities");
            assert_eq!(held, expected);
        }
    }
}

#[tokio::test]
async fn a_removed_program_is_no_longer_what_was_attested() {
    let directory = open_directory();
    let path = copied(&binary(), directory.path().join("peer"), b"");
    let peer = Peer::from_program(&path);
    let attestor = attestor();
    let attestation = attested(&attestor, &peer.pinned()).await;
    fs::remove_file(&path).unwrap();
    assert_eq!(
        attestor.unchanged(&peer.pinned(), attestation.image()),
        Err(Changed::Executable)
    );
}

#[tokio::test]
async fn a_path_with_hidden_characters_is_unknown() {
    let directory = open_directory();
    let name = directory.path().join("pe\u{202e}er");
    let peer = Peer::from_program(&copied(&binary(), name, b""));
    let attestation = attested(&attestor(), &peer.pinned()).await;
    assert!(lacks(&attestation, "unix:path").contains("plain"));
    assert!(attestation.executable_sha256().is_some());
}

#[tokio::test]
async fn a_program_over_the_limit_has_an_unknown_digest() {
    let config = AttestorConfig {
        max_binary_bytes: 1000,
        ..AttestorConfig::default()
    };
    let peer = Peer::start();
    let attestor = Attestor::new(config).unwrap();
    let attestation = attested(&attestor, &peer.pinned()).await;
    assert_eq!(attestation.executable_sha256(), None);
    assert!(lacks(&attestation, "unix:sha256").contains("larger than 1000 bytes"));
    assert!(attestation.executable_path().is_some());
}

#[tokio::test]
async fn many_processes_of_one_program_are_attested_at_once() {
    let peers: Vec<_> = (0..12).map(|_| Peer::start()).collect();
    let attestor = Arc::new(attestor());
    let mut tasks = tokio::task::JoinSet::new();
    for peer in &peers {
        let (attestor, pinned) = (Arc::clone(&attestor), peer.pinned());
        tasks.spawn(async move { tried(&attestor, &pinned, now()).await.unwrap() });
    }
    let digest = sha256(&binary());
    for attestation in tasks.join_all().await {
        assert_eq!(attestation.executable_sha256(), Some(&*digest));
    }
}

#[tokio::test]
async fn a_kernel_thread_runs_no_file() {
    // PID 2 is kthreadd where the host's processes are to be seen.
    let is_kernel_thread = fs::read("/proc/2/cgroup").is_ok()
        && fs::read("/proc/2/cmdline").is_ok_and(|line| line.is_empty());
    if !is_kernel_thread || !crate::peer::is_root() {
        return;
    }
    let pinned = Arc::new(PinnedPeer::of_pid(2).unwrap());
    let attestation = attested(&attestor(), &pinned).await;
    assert!(has(&attestation, "unix:uid:0"));
    assert_eq!(attestation.executable_sha256(), None);
    lacks(&attestation, "unix:sha256");
}
