//! What an image is told by.

use crate::peer::{Peer, attestor, binary, cannot_run, is_root, tried};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};
use symbolon_attestors::{AttestError, Changed, PinnedPeer};

#[tokio::test]
async fn facts_are_of_the_image_that_was_seen_before() {
    let attestor = attestor();
    let mut peer = Peer::start();
    let pinned = peer.pinned();
    let image = attestor.look(&pinned).unwrap();
    peer.run_again(None);
    let attested = attestor
        .attest(
            &pinned,
            &image,
            symbolon_attestors::Kinds::NONE,
            crate::peer::now(),
        )
        .await;
    assert!(
        matches!(attested, Err(AttestError::Changed(Changed::Executed))),
        "{attested:?}"
    );
}

#[test]
fn an_image_is_the_same_until_an_execve() {
    let attestor = attestor();
    let mut peer = Peer::start();
    let pinned = peer.pinned();
    let image = attestor.look(&pinned).unwrap();
    assert!(image.tells_runs_apart());
    peer.ask("open 100");
    assert_eq!(attestor.look(&pinned).unwrap(), image);
    peer.run_again(None);
    let next = attestor.look(&pinned).unwrap();
    assert_ne!(next, image);
    assert_eq!(attestor.look(&pinned).unwrap(), next);
}

#[test]
fn what_is_compared_is_never_shown() {
    let image = attestor().look(&Peer::start().pinned()).unwrap();
    let shown = format!("{image:?}");
    assert!(shown.contains("Some(Fingerprint)"), "{shown}");
}

#[test]
fn a_program_without_random_addresses_is_refused() {
    let setting = fs::read("/proc/sys/kernel/randomize_va_space").unwrap();
    if setting.starts_with(b"0") {
        cannot_run("kernel.randomize_va_space is 0");
        return;
    }
    let mut command = Command::new("setarch");
    command.arg("-R").arg(binary());
    let peer = Peer::from_command(command);
    let seen = attestor().look(&peer.pinned());
    assert!(
        matches!(seen, Err(AttestError::Changed(Changed::Unrandomized))),
        "{seen:?}"
    );
}

/// The unified hierarchy, if it can be written to.
fn unified() -> Option<PathBuf> {
    ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.join("cgroup.procs").exists() && path.join("cgroup.controllers").exists())
}

struct Cgroup(PathBuf);

impl Cgroup {
    fn create(name: &str) -> Option<Self> {
        let made = unified().map(|root| root.join(format!("{name}-{}", std::process::id())));
        match made {
            Some(path) if fs::create_dir(&path).is_ok() => Some(Self(path)),
            _ => {
                cannot_run("a unified cgroup hierarchy that can be written to is needed");
                None
            }
        }
    }

    fn take(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        drop(fs::remove_dir(&self.0));
    }
}

#[tokio::test]
async fn a_process_that_is_moved_to_another_cgroup_is_no_longer_the_same() {
    if !is_root() {
        return;
    }
    let Some(cgroup) = Cgroup::create("symbolon-moved") else {
        return;
    };
    let attestor = attestor();
    let mut peer = Peer::start();
    let pinned = peer.pinned();
    let before = tried(&attestor, &pinned, crate::peer::now()).await.unwrap();
    cgroup.take(peer.pid());
    assert_eq!(
        attestor.unchanged(&pinned, before.image()),
        Err(Changed::Cgroup)
    );
    // As it is now, it may be attested again.
    let after = tried(&attestor, &pinned, crate::peer::now()).await.unwrap();
    attestor.unchanged(&pinned, after.image()).unwrap();
    peer.exit();
}

#[test]
fn a_set_user_id_program_is_another_image() {
    if !is_root() {
        return;
    }
    let attestor = attestor();
    let mut peer = Peer::start();
    let pinned = peer.pinned();
    let image = attestor.look(&pinned).unwrap();
    peer.run_as(65_534, Path::new("/bin/cat"));
    assert_eq!(
        attestor.unchanged(&pinned, &image),
        Err(Changed::Credentials)
    );
}

#[test]
fn an_operator_may_look_too() {
    let peer = Peer::start();
    let attestor = attestor();
    let by_number = Arc::new(PinnedPeer::of_pid(peer.pid()).unwrap());
    let image = attestor.look(&by_number).unwrap();
    attestor.unchanged(&peer.pinned(), &image).unwrap();
}
