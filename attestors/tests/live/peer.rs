//! A process that connects and does as it is told.

use crate::doer::Doer;
use rustix::fd::{AsFd as _, OwnedFd};
use std::{
    fs,
    io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _},
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::SystemTime,
};
use symbolon_attestors::{AttestError, Attestation, Attestor, AttestorConfig, Kinds, PinnedPeer};
use tempfile::TempDir;

/// Names the socket to a peer. Its absence tells the test run's own process from a peer.
const SOCKET: &str = "SYMBOLON_TEST_PEER";

/// Tells a peer that it has executed itself: its standard input carries commands.
const AGAIN: &str = "SYMBOLON_TEST_PEER_AGAIN";

/// A process that has connected.
pub(crate) struct Peer {
    child: Child,
    /// Carries commands; closed when the peer runs another program.
    control: UnixStream,
    /// The connection whose peer is attested; outlives an `execve`.
    pub(crate) subject: UnixStream,
}

impl Peer {
    /// Starts the test binary as a peer.
    pub(crate) fn start() -> Self {
        Self::from_program(&binary())
    }

    /// Starts a copy of the test binary as a peer.
    pub(crate) fn from_program(program: &Path) -> Self {
        Self::from_command(Command::new(program))
    }

    /// Starts `command`, to which the arguments of a peer are added.
    pub(crate) fn from_command(mut command: Command) -> Self {
        let directory = open_directory();
        let path = directory.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        let child = command
            .args(["--exact", "peer::process", "--nocapture"])
            .env(SOCKET, &path)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let control = listener.accept().unwrap().0;
        let subject = listener.accept().unwrap().0;
        Self {
            child,
            control,
            subject,
        }
    }

    /// The process's own ID, where it was started without a wrapper.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn tell(&mut self, command: &str) {
        // At once: who reads the word must not leave the line's end to whoever reads next.
        let line = format!("{command}\n");
        self.control.write_all(line.as_bytes()).unwrap();
    }

    /// Has it do something and say how that ended.
    pub(crate) fn ask(&mut self, command: &str) -> String {
        self.tell(command);
        self.heard()
    }

    pub(crate) fn heard(&self) -> String {
        let mut line = String::new();
        BufReader::new(&self.control).read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Has it run `cat` or a copy of it between the subject's two directions, and waits until it
    /// does.
    pub(crate) fn run(&mut self, program: &Path) {
        self.tell(&format!("run {}", program.display()));
        self.wait_for_end_of_control();
        echoes(&self.subject);
    }

    /// Has it run `cat` with the subject inherited on descriptor `number`, and waits until it does.
    pub(crate) fn inherit(&mut self, number: u32, program: &Path) {
        // Nothing more is read as a command then.
        assert_eq!(
            self.ask(&format!("inherit {number} {}", program.display())),
            "ready"
        );
        echoes(&self.control);
    }

    /// Has it run its own program again, with the subject inherited on descriptor `number` or
    /// closed, and waits until it does.
    pub(crate) fn run_again(&mut self, inherited: Option<u32>) {
        let number = inherited.unwrap_or(0);
        assert_eq!(self.ask(&format!("again {number}")), "again");
    }

    /// As [`run`](Self::run), as another user.
    pub(crate) fn run_as(&mut self, uid: u32, program: &Path) {
        self.tell(&format!("run-as {uid} {}", program.display()));
        self.wait_for_end_of_control();
        echoes(&self.subject);
    }

    fn wait_for_end_of_control(&mut self) {
        let mut rest = Vec::new();
        match self.control.read_to_end(&mut rest) {
            Ok(_) => assert_eq!(String::from_utf8_lossy(&rest), ""),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }

    /// Has it exit, and waits until nothing is left of it.
    pub(crate) fn exit(&mut self) {
        self.tell("exit");
        self.child.wait().unwrap();
    }

    /// Waits until the process that was started is gone; the peer may be another one.
    pub(crate) fn wait_for_wrapper(&mut self) {
        self.child.wait().unwrap();
    }

    pub(crate) fn pinned(&self) -> Arc<PinnedPeer> {
        Arc::new(PinnedPeer::of_socket(self.subject.as_fd()).unwrap())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The other side: not a test, but what [`Peer`] starts.
#[test]
fn process() {
    #[expect(clippy::disallowed_methods, reason = "how a test talks to its child")]
    let Ok(path) = std::env::var(SOCKET) else {
        return;
    };
    let is_again = std::env::var_os(AGAIN).is_some();
    let control = if is_again {
        UnixStream::from(io::stdin().as_fd().try_clone_to_owned().unwrap())
    } else {
        UnixStream::connect(&path).unwrap()
    };
    // Executed again it has the subject on a number that it does not know.
    let subject = (!is_again).then(|| UnixStream::connect(&path).unwrap());
    let mut answers = control.try_clone().unwrap();
    if is_again {
        writeln!(answers, "again").unwrap();
    }
    let mut doer = Doer::new(subject);
    for line in BufReader::new(control).lines() {
        let line = line.unwrap();
        let words: Vec<_> = line.split(' ').collect();
        match *words {
            ["run", program] => run(doer.subject(), Command::new(program)),
            ["run-as", uid, program] => {
                let mut command = Command::new(program);
                command.uid(uid.parse().unwrap());
                run(doer.subject(), command);
            }
            ["attest", pid] => {
                writeln!(answers, "{}", attest_by_pid(pid, Kinds::NONE)).unwrap();
            }
            ["attest-all", pid] => {
                writeln!(answers, "{}", attest_by_pid(pid, Kinds::ALL)).unwrap();
            }
            ["serve", path] => serve(path, &mut answers),
            ["inherit", number, program] => {
                writeln!(answers, "ready").unwrap();
                let control = answers.try_clone().unwrap();
                doer.inherit(number.parse().unwrap(), Command::new(program), control);
            }
            ["again", number] => doer.again(number.parse().unwrap(), answers.try_clone().unwrap()),
            [name, ref arguments @ ..] if doer.has_done(name, arguments) => {
                writeln!(answers, "done").unwrap();
            }
            _ => return,
        }
    }
}

/// Becomes `command` (a program that copies its input to its output), between the two directions
/// of `subject`.
fn run(subject: &UnixStream, mut command: Command) {
    let stream = || OwnedFd::from(subject.try_clone().unwrap());
    let error = command.stdin(stream()).stdout(stream()).exec();
    panic!("{error}");
}

/// Waits until a program runs that copies its input to its output.
fn echoes(mut stream: &UnixStream) {
    stream.write_all(b"?").unwrap();
    let mut answer = [0];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"?");
}

fn attest_by_pid(pid: &str, kinds: Kinds) -> String {
    let attestor = match Attestor::new(AttestorConfig::default()) {
        Ok(attestor) => attestor,
        Err(error) => return format!("{error:?}"),
    };
    let peer = Arc::new(attestor.pin_pid(pid.parse().unwrap()).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    match runtime.block_on(tried_with(&attestor, &peer, kinds, now())) {
        Ok(attestation) => serde_json::to_string(attestation.evidence()).unwrap(),
        Err(error) => format!("{error:?}"),
    }
}

fn serve(path: &str, answers: &mut UnixStream) {
    let listener = UnixListener::bind(path).unwrap();
    writeln!(answers, "ready").unwrap();
    let (connection, _) = listener.accept().unwrap();
    let pinned = PinnedPeer::of_socket(connection.as_fd()).map(|peer| peer.credentials());
    writeln!(answers, "{pinned:?}").unwrap();
}

pub(crate) fn binary() -> PathBuf {
    std::env::current_exe().unwrap()
}

pub(crate) fn attestor() -> Attestor {
    Attestor::new(AttestorConfig::default()).unwrap()
}

pub(crate) async fn attested(attestor: &Attestor, peer: &Arc<PinnedPeer>) -> Attestation {
    tried(attestor, peer, now()).await.unwrap()
}

/// Attests the image that the process shows at first.
pub(crate) async fn tried(
    attestor: &Attestor,
    peer: &Arc<PinnedPeer>,
    at: SystemTime,
) -> Result<Attestation, AttestError> {
    tried_with(attestor, peer, Kinds::NONE, at).await
}

/// The same, with the facts of the attestors in `kinds`.
pub(crate) async fn tried_with(
    attestor: &Attestor,
    peer: &Arc<PinnedPeer>,
    kinds: Kinds,
    at: SystemTime,
) -> Result<Attestation, AttestError> {
    let image = attestor.look(peer)?;
    attestor.attest(peer, &image, kinds, at).await
}

pub(crate) fn now() -> SystemTime {
    #[expect(clippy::disallowed_methods, reason = "real processes, real time")]
    SystemTime::now()
}

pub(crate) fn has(attestation: &Attestation, selector: &str) -> bool {
    attestation
        .selectors()
        .iter()
        .any(|held| held.as_str() == selector)
}

/// Why the selectors under `key` are unknown.
pub(crate) fn lacks(attestation: &Attestation, key: &str) -> String {
    let unknown = &attestation.evidence().unknown;
    let found = unknown.iter().find(|unknown| unknown.selector == key);
    found.unwrap().reason.to_string()
}

pub(crate) fn sha256(path: &Path) -> String {
    let content = fs::read(path).unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &content);
    digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

/// A directory into which every user can go.
pub(crate) fn open_directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

/// A copy of a program, with bytes at its end that change nothing but its digest.
pub(crate) fn copied(program: &Path, to: PathBuf, more: &[u8]) -> PathBuf {
    let mut content = fs::read(program).unwrap();
    content.extend_from_slice(more);
    let source = to.with_extension("content");
    fs::write(&source, content).unwrap();
    // By another process: a descriptor of ours that is open for writing would be inherited by
    // whatever other tests start meanwhile, and a program that is open for writing does not run.
    let mut install = Command::new("install");
    let status = install
        .args(["-m", "755", "-T"])
        .args([&source, &to])
        .status();
    assert!(status.unwrap().success());
    fs::remove_file(&source).unwrap();
    to
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root() || cannot_run("root is needed: run the tests with sudo")
}

/// Whether `unshare` with these arguments works here.
pub(crate) fn can_unshare(arguments: &[&str]) -> bool {
    let tried = Command::new("unshare")
        .args(arguments)
        .arg("true")
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
        || cannot_run(&format!(
            "`unshare {}` is needed: util-linux and unprivileged user namespaces",
            arguments.join(" ")
        ))
}

pub(crate) fn cannot_run(reason: &str) -> bool {
    let required = std::env::var_os("REQUIRE_ALL_TESTS").is_some_and(|value| value == "1");
    assert!(!required, "{reason}");
    // On the handle itself: the test runner hides what a passing test prints.
    let notice = format!("SKIPPED a test of live processes: {reason}\n");
    io::stderr().write_all(notice.as_bytes()).unwrap();
    false
}
