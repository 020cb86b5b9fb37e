//! What was loaded into a program.

use crate::{
    peer::{
        Peer, attestor, binary, can_unshare, cannot_run, copied, has, is_root, lacks, now,
        open_directory, sha256, tried_with,
    },
    program::{Built, Running},
};
use aws_lc_rs::digest::{SHA256, digest};
use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};
use symbolon_attestors::{
    AttestError, Attestation, Attestor, AttestorConfig, Changed, Kind, Kinds, PinnedPeer,
};

const NOBODY: u32 = 65_534;
const CODE: Kinds = Kinds::NONE.with(Kind::Code);

async fn code(attestor: &Attestor, peer: &Arc<PinnedPeer>) -> Attestation {
    tried_with(attestor, peer, CODE, now()).await.unwrap()
}

/// What follows `code:sha256:`.
fn digest_of(attestation: &Attestation) -> String {
    let mut selectors = attestation.selectors().iter();
    let found = selectors.find_map(|held| held.as_str().strip_prefix("code:sha256:"));
    found.unwrap().to_owned()
}

/// The digest of a set of files as `doc/code.md` defines it.
fn digest_of_files<'a, I: IntoIterator<Item = &'a Path>>(files: I) -> String {
    let digests: BTreeSet<_> = files.into_iter().map(sha256).collect();
    let text: String = digests.iter().map(|hex| format!("{hex}\n")).collect();
    let sum = digest(&SHA256, text.as_bytes());
    sum.as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The files that a process has mapped executable, by the names that it shows.
fn mapped(pid: u32) -> BTreeSet<PathBuf> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let lines = maps
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter(|fields| fields[1].contains('x') && fields.len() > 5 && fields[5].starts_with('/'))
        .map(|fields| fields[5].into())
        .collect()
}

#[tokio::test]
async fn a_program_as_it_was_installed_is_trusted() {
    let Some(built) = is_root().then(|| Built::new(&[])).flatten() else {
        return;
    };
    let (attestor, running) = (attestor(), built.run(&[]));
    let attestation = code(&attestor, &running.pinned(&attestor)).await;
    for selector in [
        "code:trusted:root",
        "code:trusted:owner",
        "code:jit:false",
        "code:static:false",
    ] {
        assert!(has(&attestation, selector), "{selector}");
    }
    let files = mapped(running.pid());
    assert!(files.len() > 1);
    let expected = digest_of_files(files.iter().map(PathBuf::as_path));
    assert_eq!(digest_of(&attestation), expected);
    let evidence = attestation.evidence().code.as_ref().unwrap();
    assert_eq!((evidence.files, evidence.untrusted.len()), (files.len(), 0));
}

#[tokio::test]
async fn code_is_looked_at_only_where_it_is_asked_for() {
    let (attestor, peer) = (attestor(), Peer::start());
    let attestation = tried_with(&attestor, &peer.pinned(), Kinds::NONE, now())
        .await
        .unwrap();
    assert!(attestation.evidence().code.is_none());
    assert!(
        !attestation
            .selectors()
            .iter()
            .any(|held| held.kind() == "code")
    );
    attestor
        .code_unchanged(&peer.pinned(), &attestation)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_library_of_a_user_that_was_loaded_first_ends_the_trust() {
    let Some(built) = is_root().then(|| Built::new(&[])).flatten() else {
        return;
    };
    let library = built.library("evil.so");
    chown(&library, Some(NOBODY), Some(NOBODY)).unwrap();
    let attestor = attestor();
    let plain = code(&attestor, &Peer::start().pinned()).await;
    for variable in ["LD_PRELOAD", "LD_AUDIT"] {
        let mut command = Command::new(binary());
        command.env(variable, &library);
        let peer = Peer::from_command(command);
        let attestation = code(&attestor, &peer.pinned()).await;
        // The program is the same, what runs in it is not.
        assert_eq!(attestation.executable_sha256(), plain.executable_sha256());
        assert_ne!(digest_of(&attestation), digest_of(&plain), "{variable}");
        let reason = lacks(&attestation, "code:trusted");
        let expected = format!("{} belongs to user {NOBODY}", library.display());
        assert_eq!(reason, expected, "{variable}");
        assert!(!has(&attestation, "code:trusted:root"));
        assert!(!has(&attestation, "code:trusted:owner"));
        let evidence = attestation.evidence().code.as_ref().unwrap();
        assert_eq!(evidence.untrusted, [expected]);
    }
}

#[tokio::test]
async fn a_library_that_others_can_write_is_not_trusted() {
    let Some(built) = is_root().then(|| Built::new(&[])).flatten() else {
        return;
    };
    let library = built.library("shared.so");
    let attestor = attestor();
    for (mode, is_trusted) in [(0o755, true), (0o775, false), (0o757, false)] {
        fs::set_permissions(&library, fs::Permissions::from_mode(mode)).unwrap();
        let mut running = built.run(&["load", library.to_str().unwrap()]);
        running.go_on();
        let attestation = code(&attestor, &running.pinned(&attestor)).await;
        assert_eq!(
            has(&attestation, "code:trusted:root"),
            is_trusted,
            "{mode:o}"
        );
    }
}

#[tokio::test]
async fn the_owner_of_the_program_is_told_from_root() {
    let Some(built) = is_root().then(|| Built::new(&[])).flatten() else {
        return;
    };
    chown(&built.program, Some(NOBODY), None).unwrap();
    let (attestor, running) = (attestor(), built.run(&[]));
    let attestation = code(&attestor, &running.pinned(&attestor)).await;
    assert!(has(&attestation, "code:trusted:owner"));
    assert!(!has(&attestation, "code:trusted:root"));
}

#[tokio::test]
async fn memory_that_is_no_files_is_seen_wherever_it_comes_from() {
    let Some(built) = is_root().then(|| Built::new(&[])).flatten() else {
        return;
    };
    let attestor = attestor();
    // Whether the files are still root's alone: what is shared by a descriptor is nobody's.
    for (what, is_trusted) in [
        ("private", true),
        ("written", true),
        ("shared", false),
        ("memfd", false),
        ("zero", false),
    ] {
        let running = built.run(&[what]);
        let attestation = code(&attestor, &running.pinned(&attestor)).await;
        assert!(has(&attestation, "code:jit:true"), "{what}");
        assert!(!has(&attestation, "code:jit:false"), "{what}");
        assert_eq!(has(&attestation, "code:trusted:root"), is_trusted, "{what}");
        if !is_trusted {
            assert!(lacks(&attestation, "code:trusted").contains("memory shared"));
            assert!(!lacks(&attestation, "code:sha256").is_empty());
        }
    }
}

#[tokio::test]
async fn an_interpreter_that_makes_code_is_seen() {
    let script = "import ctypes, mmap, sys\n\
        code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)\n\
        print('ready 0', flush=True); sys.stdin.read()";
    let mut python = Command::new("python3");
    python.args(["-c", script]);
    let is_there = Command::new("python3").arg("-V").output().is_ok();
    if !is_root() || (!is_there && !cannot_run("python3 is needed")) {
        return;
    }
    let attestor = attestor();
    let running = Running::start(&mut python);
    let attestation = code(&attestor, &running.pinned(&attestor)).await;
    assert!(has(&attestation, "code:jit:true"));
}

#[tokio::test]
async fn a_static_program_is_told_from_one_that_loads() {
    if !is_root() {
        return;
    }
    let attestor = attestor();
    for options in [&["-static"][..], &["-static-pie", "-fPIE"]] {
        let Some(built) = Built::new(options) else {
            return;
        };
        let running = built.run(&[]);
        let attestation = code(&attestor, &running.pinned(&attestor)).await;
        assert!(has(&attestation, "code:static:true"), "{options:?}");
        assert!(has(&attestation, "code:trusted:root"));
        assert!(has(&attestation, "code:jit:false"));
        let expected = digest_of_files([built.program.as_path()]);
        assert_eq!(digest_of(&attestation), expected);
        // Not even asked to does it load anything.
        let mut command = Command::new(&built.program);
        command.env("LD_PRELOAD", built.library("evil.so"));
        let running = Running::start(&mut command);
        let attestation = code(&attestor, &running.pinned(&attestor)).await;
        assert!(has(&attestation, "code:static:true"));
    }
}

#[tokio::test]
async fn a_library_that_was_removed_or_replaced_is_still_what_is_loaded() {
    let Some(built) = is_root().then(|| Built::new(&[])).flatten() else {
        return;
    };
    let (attestor, library) = (attestor(), built.library("plugin.so"));
    let mut running = built.run(&["load", library.to_str().unwrap()]);
    running.go_on();
    let files = mapped(running.pid());
    let expected = digest_of_files(files.iter().map(PathBuf::as_path));
    let pinned = running.pinned(&attestor);
    let before = code(&attestor, &pinned).await;
    assert_eq!(digest_of(&before), expected);
    fs::rename(built.library("other.so"), &library).unwrap();
    // Its last name is gone, which is a change of the file; its content is what it was.
    let refused = attestor.code_unchanged(&pinned, &before).await;
    assert!(matches!(refused, Err(AttestError::Changed(Changed::Code))));
    let after = code(&attestor, &pinned).await;
    assert_eq!(digest_of(&after), expected);
    assert!(has(&after, "code:trusted:root"));
}

#[tokio::test]
async fn a_library_overwritten_in_place_is_another_one() {
    let Some(built) = is_root().then(|| Built::new(&[])).flatten() else {
        return;
    };
    let (attestor, library) = (attestor(), built.library("plugin.so"));
    let mut running = built.run(&["load", library.to_str().unwrap()]);
    running.go_on();
    let pinned = running.pinned(&attestor);
    let before = code(&attestor, &pinned).await;
    let mut content = fs::OpenOptions::new().append(true).open(&library).unwrap();
    content.write_all(b"more").unwrap();
    let refused = attestor.code_unchanged(&pinned, &before).await;
    assert!(matches!(refused, Err(AttestError::Changed(Changed::Code))));
    let after = code(&attestor, &pinned).await;
    let files = mapped(running.pid());
    let expected = digest_of_files(files.iter().map(PathBuf::as_path));
    assert_eq!(digest_of(&after), expected);
    assert_ne!(digest_of(&before), expected);
}

/// In a user namespace of one's own files can be made to belong to root in there, and a file system
/// of one's own can say of its files what it likes.
#[tokio::test]
async fn a_library_of_root_in_a_user_namespace_is_its_users() {
    let Some(built) = is_root().then(|| Built::new(&[])).flatten() else {
        return;
    };
    if !can_unshare(&["-Urm"]) {
        return;
    }
    let (library, place) = (built.library("evil.so"), open_directory());
    let script = "mount -t tmpfs none \"$1\"; cp \"$2\" \"$1/evil.so\"; chmod 755 \"$1/evil.so\"; \
        LD_PRELOAD=\"$1/evil.so\" exec \"$3\"";
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .args(["unshare", "-Urm", "sh", "-ec", script, "sh"])
        .args([place.path(), &library, &built.program]);
    let (attestor, running) = (attestor(), Running::start(&mut command));
    let attestation = code(&attestor, &running.pinned(&attestor)).await;
    assert!(lacks(&attestation, "code:trusted").contains("belongs to user 65534"));
}

#[tokio::test]
async fn an_overlay_of_ones_own_is_not_believed_whose_files_it_has() {
    let Some(built) = is_root().then(|| Built::new(&[])).flatten() else {
        return;
    };
    if !can_unshare(&["-Urm"]) {
        return;
    }
    let (library, place) = (built.library("root.so"), open_directory());
    // A lower file of root's stays root's.
    let script = "mount -t tmpfs none \"$1\"; mkdir \"$1/upper\" \"$1/work\" \"$1/merged\"; \
        mount -t overlay none -o \"userxattr,lowerdir=${2%/*},upperdir=$1/upper,workdir=$1/work\" \
            \"$1/merged\"; \
        LD_PRELOAD=\"$1/merged/root.so\" exec \"$3\"";
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .args(["unshare", "-Urm", "sh", "-ec", script, "sh"])
        .args([place.path(), &library, &built.program]);
    let (attestor, running) = (attestor(), Running::start(&mut command));
    let attestation = code(&attestor, &running.pinned(&attestor)).await;
    assert!(lacks(&attestation, "code:trusted").contains("overlay"));
}

#[tokio::test]
async fn code_that_comes_after_the_attestation_is_noticed() {
    let Some(built) = is_root().then(|| Built::new(&[])).flatten() else {
        return;
    };
    let (attestor, library) = (attestor(), built.library("late.so"));
    for what in ["load", "write"] {
        let mut running = built.run(&[what, library.to_str().unwrap()]);
        let pinned = running.pinned(&attestor);
        let before = code(&attestor, &pinned).await;
        attestor.code_unchanged(&pinned, &before).await.unwrap();
        running.go_on();
        attestor.unchanged(&pinned, before.image()).unwrap();
        let refused = attestor.code_unchanged(&pinned, &before).await;
        assert!(
            matches!(refused, Err(AttestError::Changed(Changed::Code))),
            "{what}: {refused:?}"
        );
        let after = code(&attestor, &pinned).await;
        attestor.code_unchanged(&pinned, &after).await.unwrap();
    }
}

#[tokio::test]
async fn the_code_of_another_process_is_not_confirmed() {
    let Some(built) = is_root().then(|| Built::new(&[])).flatten() else {
        return;
    };
    let attestor = attestor();
    let [one, other] = [built.run(&[]), built.run(&[])];
    let before = code(&attestor, &one.pinned(&attestor)).await;
    let refused = attestor
        .code_unchanged(&other.pinned(&attestor), &before)
        .await;
    assert!(matches!(
        refused,
        Err(AttestError::Changed(Changed::Process))
    ));
    let pinned = one.pinned(&attestor);
    drop(one);
    let refused = attestor.code_unchanged(&pinned, &before).await;
    assert!(matches!(refused, Err(AttestError::Gone)), "{refused:?}");
}

#[tokio::test]
async fn files_too_large_together_have_no_digest() {
    let Some(built) = is_root().then(|| Built::new(&[])).flatten() else {
        return;
    };
    let attestor = Attestor::new(AttestorConfig {
        max_binary_bytes: 1_000_000,
        ..AttestorConfig::default()
    });
    let (attestor, running) = (attestor.unwrap(), built.run(&[]));
    let attestation = code(&attestor, &running.pinned(&attestor)).await;
    assert!(lacks(&attestation, "code:sha256").contains("together"));
    assert!(has(&attestation, "code:trusted:root"));
}

#[tokio::test]
async fn an_agent_without_privilege_knows_no_code_and_says_so() {
    if !is_root() {
        return;
    }
    let directory = open_directory();
    let copy = copied(&binary(), directory.path().join("peer"), b"");
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(copy);
    let mut agent = Peer::from_command(command);
    let own = agent.pid();
    let evidence = agent.ask(&format!("attest-all {own}"));
    let evidence: serde_json::Value = serde_json::from_str(&evidence).unwrap();
    assert_eq!(evidence["code"], serde_json::Value::Null);
    let unknown = evidence["unknown"].to_string();
    for key in ["code:trusted", "code:static", "code:jit", "code:sha256"] {
        assert!(unknown.contains(key), "{unknown}");
    }
    assert!(unknown.contains("CAP_CHECKPOINT_RESTORE"));
}
