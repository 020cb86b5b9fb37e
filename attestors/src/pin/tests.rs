use super::{Key, PinMethod, PinnedPeer, ProcessKey, default_root, open_pidfd};
use crate::{AttestError, Attestor, AttestorConfig, Changed, Credentials, Kinds};
use rustix::io::Errno;
use std::{
    process::{Child, Command},
    sync::{Arc, OnceLock},
    time::UNIX_EPOCH,
};
use tokio::sync::OnceCell;

/// Ends its process when the test does.
struct Running(Child);

impl Running {
    fn start() -> Self {
        Self(Command::new("/bin/sleep").arg("1000").spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The pin of a process that is gone and whose number belongs to `pid` now.
fn of_reused_number(pid: u32) -> PinnedPeer {
    let gone = Running::start();
    let pidfd = open_pidfd(gone.0.id()).unwrap();
    drop(gone);
    PinnedPeer {
        pidfd: Arc::new(pidfd),
        credentials: Credentials {
            pid,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        },
        method: PinMethod::PidFd,
        key: ProcessKey(Key::StartTime { pid, ticks: 1 }),
        asked_about: false,
        directory: OnceLock::new(),
        exit: OnceCell::new(),
    }
}

#[test]
fn a_number_given_to_another_process_leads_nowhere() {
    let other = Running::start();
    let peer = of_reused_number(other.0.id());
    let root = default_root().unwrap();
    assert_eq!(peer.directory(&root).unwrap_err(), Errno::SRCH);
    assert!(peer.directory.get().is_none());
    assert!(!peer.is_alive());
}

#[tokio::test]
async fn a_process_that_got_the_number_is_never_attested() {
    let other = Running::start();
    let peer = Arc::new(of_reused_number(other.0.id()));
    let attestor = Attestor::new(AttestorConfig::default()).unwrap();
    let seen = attestor.look(&peer);
    assert!(matches!(seen, Err(AttestError::Gone)), "{seen:?}");
    let live = Arc::new(attestor.pin_pid(other.0.id()).unwrap());
    let image = attestor.look(&live).unwrap();
    let attested = attestor
        .attest(&peer, &image, Kinds::NONE, UNIX_EPOCH)
        .await;
    assert!(matches!(attested, Err(AttestError::Gone)), "{attested:?}");
    let attestation = attestor
        .attest(&live, &image, Kinds::NONE, UNIX_EPOCH)
        .await
        .unwrap();
    assert_eq!(
        attestor.unchanged(&peer, attestation.image()),
        Err(Changed::Process)
    );
}

#[test]
fn keys_of_one_number_differ_by_start_time() {
    let key = |ticks| ProcessKey(Key::StartTime { pid: 7, ticks });
    assert_eq!(key(1), key(1));
    assert_ne!(key(1), key(2));
}

#[test]
fn a_process_that_waits_to_be_reaped_is_not_alive() {
    let mut child = Running::start();
    let peer = PinnedPeer::of_pid(child.0.id()).unwrap();
    assert!(peer.is_alive());
    child.0.kill().unwrap();
    // Waits for the exit and leaves the zombie.
    let pid = rustix::process::Pid::from_child(&child.0);
    let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
    rustix::process::waitid(rustix::process::WaitId::Pid(pid), options).unwrap();
    assert!(!peer.is_alive());
}
