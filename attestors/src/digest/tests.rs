use super::{Content, Digest, DigestError, DigestLimits, Digests, Entry, PoolError, ReadPool};
use crate::{
    budget::Budget, executable::Executable, hex, host::Host, namespaces::accountable,
    pin::PinnedPeer, procfs::ProcRoot,
};
use aws_lc_rs::digest::{SHA256, digest};
use std::{
    fs,
    future::Future as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    pin::pin,
    process::{Child, Command},
    sync::Arc,
    task::Poll,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;

/// A process that runs a file of its own.
struct Program {
    child: Child,
    path: PathBuf,
    _directory: TempDir,
}

impl Program {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("program");
        copy(Path::new("/bin/sleep"), &path);
        Self {
            child: run(&path),
            path,
            _directory: directory,
        }
    }

    fn stop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    fn content(&self) -> Content {
        known(&hex(
            digest(&SHA256, &fs::read(&self.path).unwrap()).as_ref()
        ))
    }

    fn seen(&self) -> (Arc<Executable>, Arc<PinnedPeer>) {
        let root = ProcRoot::open(Path::new("/proc")).unwrap();
        let peer = PinnedPeer::of_pid(self.child.id()).unwrap();
        let executable = Executable::of_process(peer.directory(&root).unwrap()).unwrap();
        (Arc::new(executable), Arc::new(peer))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Copies a program with its times, in another process: a descriptor of ours that is open for
/// writing would be inherited by whatever other tests start meanwhile, and the kernel runs no
/// program that anybody has open for writing.
fn copy(from: &Path, to: &Path) {
    let mut command = Command::new("cp");
    let status = command
        .arg("--preserve=timestamps")
        .args([from, to])
        .status();
    assert!(status.unwrap().success());
}

fn run(path: &Path) -> Child {
    Command::new(path).arg("1000").spawn().unwrap()
}

fn known(sha256: &str) -> Content {
    Content {
        sha256: sha256.into(),
        has_capabilities: Ok(false),
    }
}

fn digests(max_bytes: u64, cache_entries: usize) -> Digests {
    let host = Host::survey(Path::new("/proc"), Path::new("/etc"), &mut Vec::new()).unwrap();
    let limits = DigestLimits {
        max_bytes,
        hash_remote: false,
        cache_entries,
        deadline: Duration::from_secs(60),
    };
    let pool = ReadPool::new(2, 2, limits.deadline);
    Digests::new(Arc::new(host), pool, limits)
}

/// Long after every file was changed, and a moment after this one was.
fn later() -> SystemTime {
    UNIX_EPOCH + Duration::from_hours(24 * 365 * 200)
}

fn soon(executable: &Executable) -> SystemTime {
    let (seconds, nanoseconds) = executable.identity.changed;
    UNIX_EPOCH + Duration::new(seconds.try_into().unwrap(), nanoseconds) + Duration::from_secs(1)
}

async fn ask(digests: &Digests, program: &Program, at: SystemTime) -> Digest {
    let (executable, peer) = program.seen();
    digests.of(&executable, &peer, || 1, at).await
}

#[tokio::test]
async fn a_settled_file_is_hashed_once() {
    let (digests, program) = (digests(1 << 30, 8), Program::start());
    let expected = program.content();
    assert_eq!(ask(&digests, &program, later()).await, Ok(expected.clone()));
    let identity = program.seen().0.identity;
    assert_eq!(digests.cache.lock().known(&identity), Some(expected));
}

#[tokio::test]
async fn a_file_changed_a_moment_ago_is_not_remembered() {
    let (digests, program) = (digests(1 << 30, 8), Program::start());
    let at = soon(&program.seen().0);
    ask(&digests, &program, at).await.unwrap();
    let identity = program.seen().0.identity;
    assert_eq!(digests.cache.lock().known(&identity), None);
}

#[tokio::test]
async fn what_is_remembered_is_used_while_nothing_changed_and_not_afterwards() {
    let (digests, program) = (digests(1 << 30, 8), Program::start());
    let identity = program.seen().0.identity;
    digests.cache.lock().keep(identity, known("known"));
    assert_eq!(ask(&digests, &program, later()).await, Ok(known("known")));
    // Changes the change time and nothing else.
    fs::set_permissions(&program.path, fs::Permissions::from_mode(0o711)).unwrap();
    let digest = ask(&digests, &program, later()).await;
    assert_eq!(digest, Ok(program.content()));
}

#[tokio::test]
async fn times_set_back_do_not_bring_an_old_digest_back() {
    let (digests, mut program) = (digests(1 << 30, 8), Program::start());
    let old = ask(&digests, &program, later()).await.unwrap();
    let before = program.seen().0.identity;
    let modified = fs::metadata(&program.path).unwrap().modified().unwrap();
    program.stop();
    let mut content = fs::read(&program.path).unwrap();
    *content.last_mut().unwrap() ^= 1;
    let altered = program.path.with_extension("altered");
    fs::write(&altered, content).unwrap();
    let file = fs::File::options().write(true).open(&altered).unwrap();
    file.set_modified(modified).unwrap();
    copy(&altered, &program.path);
    program.child = run(&program.path);
    let after = program.seen().0.identity;
    assert_eq!(
        (before.inode, before.size, before.modified),
        (after.inode, after.size, after.modified)
    );
    assert_ne!(ask(&digests, &program, later()).await, Ok(old));
}

#[tokio::test]
async fn a_file_over_the_limit_is_not_read() {
    let (digests, program) = (digests(10, 8), Program::start());
    let digest = ask(&digests, &program, later()).await;
    assert!(matches!(digest, Err(DigestError::Unknown(_))), "{digest:?}");
}

#[tokio::test]
async fn the_entry_longest_unused_makes_room() {
    let digests = digests(1 << 30, 2);
    let programs = [Program::start(), Program::start(), Program::start()];
    for program in &programs {
        ask(&digests, program, later()).await.unwrap();
    }
    let identities = programs.each_ref().map(|program| program.seen().0.identity);
    let known = identities.map(|identity| digests.cache.lock().known(&identity).is_some());
    assert_eq!(known, [false, true, true]);
}

/// A job at `program`'s file that is under way.
fn under_way(digests: &Digests, program: &Program) -> super::Flight {
    match digests.cache.lock().enter(program.seen().0.identity) {
        Entry::Ours(flight) => flight,
        Entry::Known(_) | Entry::Running(_) => panic!("somebody else was first"),
    }
}

#[tokio::test]
async fn whoever_finds_a_job_under_way_gets_its_answer() {
    let (digests, program) = (digests(1 << 30, 8), Program::start());
    let flight = under_way(&digests, &program);
    let mut asking = pin!(ask(&digests, &program, later()));
    std::future::poll_fn(|context| {
        assert!(asking.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
    flight.send_replace(Some(Ok(known("shared"))));
    assert_eq!(asking.await, Ok(known("shared")));
}

#[tokio::test]
async fn whoever_joined_a_job_that_broke_down_is_told_to_come_again() {
    let (digests, program) = (digests(1 << 30, 8), Program::start());
    drop(under_way(&digests, &program));
    let digest = ask(&digests, &program, later()).await;
    assert_eq!(digest, Err(DigestError::Pool(PoolError::Overloaded)));
}

#[tokio::test]
async fn nobody_joins_a_job_at_a_file_that_may_have_changed_since() {
    let (digests, program) = (digests(1 << 30, 8), Program::start());
    let _flight = under_way(&digests, &program);
    let at = soon(&program.seen().0);
    assert_eq!(ask(&digests, &program, at).await, Ok(program.content()));
}

#[tokio::test]
async fn a_file_that_changed_since_it_was_looked_at_is_refused() {
    let (digests, program) = (digests(1 << 30, 8), Program::start());
    let (executable, peer) = program.seen();
    fs::set_permissions(&program.path, fs::Permissions::from_mode(0o711)).unwrap();
    let digest = digests.of(&executable, &peer, || 1, later()).await;
    assert_eq!(digest, Err(DigestError::Changed));
    let identity = executable.identity;
    assert_eq!(digests.cache.lock().known(&identity), None);
}

#[test]
fn a_bucket_pays_for_the_largest_file() {
    assert_eq!(super::blocks(0), 0);
    assert_eq!(super::blocks(1), 1);
    assert_eq!(super::blocks(u64::MAX), super::BLOCKS);
}

#[tokio::test]
async fn who_has_spent_all_gets_no_more_hashed_and_others_do() {
    let (mut digests, program) = (digests(1 << 30, 8), Program::start());
    digests.budget = Arc::new(Budget::new(Duration::from_hours(1), 1));
    assert!(digests.budget.take(1, 1));
    let spent = ask(&digests, &program, later()).await;
    assert_eq!(spent, Err(DigestError::Pool(PoolError::Overloaded)));
    let (executable, peer) = program.seen();
    let digest = digests.of(&executable, &peer, || 2, later()).await;
    assert_eq!(digest, Ok(program.content()));
}

#[tokio::test]
async fn what_operators_ask_is_on_no_users_account() {
    let (mut digests, program) = (digests(1 << 30, 8), Program::start());
    digests.budget = Arc::new(Budget::new(Duration::from_hours(1), 2));
    let (executable, caller) = program.seen();
    let host = Arc::clone(&digests.host);
    let uid = accountable(&host, &caller);
    let asked = PinnedPeer::of_pid(program.child.id()).unwrap();
    let asked = Arc::new(asked.asked_about());
    let hash = async |peer: &Arc<PinnedPeer>| {
        // At once, so that nothing is remembered.
        let now = soon(&executable) - Duration::from_secs(1);
        let payer = || accountable(&host, peer);
        digests.of(&executable, peer, payer, now).await
    };
    // The users have all that is theirs when operators have asked too much.
    assert_eq!(hash(&asked).await, Ok(program.content()));
    assert_eq!(hash(&asked).await, Ok(program.content()));
    let spent = Err(DigestError::Pool(PoolError::Overloaded));
    assert_eq!(hash(&asked).await, spent);
    assert!(digests.budget.take(uid, 1));
    assert_eq!(hash(&caller).await, Ok(program.content()));
    assert_eq!(hash(&caller).await, spent);
}
