//! One agent, one reference, and the programs that attack both.
//!
//! A program of `attacks/*.c` prints a line for each thing that happened, and
//! waits for the test where the order matters: after `ready` (its accomplice has
//! seen the `execve`) and `asked` (its last answer would complete the proof of
//! who it is). At `asked` the server is stopped, so that all that follows up to
//! `ready` has happened before it reads on; an attack may also be
//! [`Attack::unseen`], where the server is stopped from the start and accepts
//! the connection only when the attacker is what he wants to be taken for.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde_json::{Value, json};
use symbolon_tests::{Agent, Program, Setup, can_run, command, has_tool, is_root, within};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// The ordinary user who attacks.
pub(crate) const ATTACKER: u32 = 64_001;

/// The ordinary user whom the attacked client runs as.
pub(crate) const VICTIM: u32 = 64_002;

/// How long the trail may take to have a record.
const RECORDED_WITHIN: Duration = Duration::from_secs(20);

/// What comes of an attack: the lines of its program.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) lines: Vec<String>,
    /// What it wrote to its standard error, for a failed test to show.
    _messages: String,
}

impl Outcome {
    /// The SPIFFE ID that the attacker was given.
    pub(crate) fn credential(&self) -> Option<&str> {
        let mut lines = self.lines.iter();
        lines.find_map(|line| line.split_once("credential ").map(|(_, id)| id))
    }

    /// The attacker has the identity of the client `name`.
    pub(crate) fn stole(&self, name: &str) {
        assert_eq!(self.credential(), Some(id(name).as_str()), "{self:?}");
    }

    /// The attacker has nothing, and did get as far as to find that out.
    pub(crate) fn got_nothing(&self) {
        assert_eq!(self.credential(), None, "{self:?}");
        let ended = |line: &String| line.ends_with("refused") || line.ends_with("closed");
        assert!(self.lines.iter().any(ended), "no outcome: {self:?}");
    }
}

/// The SPIFFE ID of a client.
pub(crate) fn id(name: &str) -> String {
    format!(
        "spiffe://{}/mcp/client/{name}",
        symbolon_tests::TRUST_DOMAIN
    )
}

/// A program with what it is started with.
#[derive(Clone, Debug)]
pub(crate) struct Attack {
    wrapper: Vec<String>,
    words: Vec<String>,
    environment: Vec<(String, String)>,
    unseen: bool,
}

impl Attack {
    /// This program, by an ordinary user.
    pub(crate) fn with(program: &Program) -> Self {
        Self::of(&program.path().display().to_string())
    }

    /// [`Attack::with`] a program that is there only for the attacker.
    pub(crate) fn of(path: &str) -> Self {
        Self {
            wrapper: as_user(ATTACKER),
            words: vec![path.to_owned()],
            environment: Vec::new(),
            unseen: false,
        }
    }

    /// By this user.
    pub(crate) fn by(mut self, user: u32) -> Self {
        self.wrapper = as_user(user);
        self
    }

    /// With this argument; `SOCKET` stands for the one attacked.
    pub(crate) fn arg(mut self, word: impl Into<String>) -> Self {
        self.words.push(word.into());
        self
    }

    /// With these arguments.
    pub(crate) fn args<const N: usize>(mut self, words: [&str; N]) -> Self {
        self.words.extend(words.map(str::to_owned));
        self
    }

    /// With another program's path as an argument.
    pub(crate) fn program(self, program: &Program) -> Self {
        self.arg(program.path().display().to_string())
    }

    /// Through another program, which runs as the attacker.
    pub(crate) fn through<const N: usize>(mut self, words: [&str; N]) -> Self {
        self.wrapper.extend(words.map(str::to_owned));
        self
    }

    /// Through another program, which runs as this test does and makes the attacker of itself.
    pub(crate) fn prepared_by<const N: usize>(mut self, words: [&str; N]) -> Self {
        let words = words.map(str::to_owned).into_iter();
        self.wrapper = words.chain(self.wrapper).collect();
        self
    }

    /// With this variable; `SOCKET` stands for the one attacked.
    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// With the server stopped until the program says `ready`.
    pub(crate) const fn unseen(mut self) -> Self {
        self.unseen = true;
        self
    }
}

/// Words that make an ordinary user of what follows, where this is root.
fn as_user(user: u32) -> Vec<String> {
    if !is_root() {
        return Vec::new();
    }
    let (uid, gid) = (format!("--reuid={user}"), format!("--regid={user}"));
    let words = ["setpriv", &uid, &gid, "--clear-groups", "--"];
    words.map(str::to_owned).to_vec()
}

/// A server that is attacked.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    socket: PathBuf,
    pid: u32,
    /// Whether it asks with a PING.
    asks: bool,
}

impl Target {
    fn signal(&self, signal: Signal) {
        kill_process(raw(self.pid), signal).expect("the signal");
    }

    /// Stops it, and waits until it has stopped.
    fn freeze(&self) {
        self.signal(Signal::STOP);
        let id = WaitId::Pid(raw(self.pid));
        waitid(id, WaitIdOptions::STOPPED).expect("its stop");
    }

    fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Starts the program of an attack.
    pub(crate) fn launch(&self, attack: &Attack) -> Launched {
        let words: Vec<&String> = attack.wrapper.iter().chain(&attack.words).collect();
        let socket = self.socket.display().to_string();
        let mut program = command(Path::new(words[0]));
        for word in &words[1..] {
            program.arg(word.replace("SOCKET", &socket));
        }
        for (name, value) in &attack.environment {
            program.env(name, value.replace("SOCKET", &socket));
        }
        if self.asks {
            program.env("PINGED", "1");
        }
        Launched::start(&mut program)
    }

    /// Carries out an attack.
    pub(crate) async fn suffers(&self, attack: &Attack) -> Outcome {
        if attack.unseen {
            self.freeze();
        }
        let mut program = self.launch(attack);
        let mut lines = Vec::new();
        while let Some(line) = program.line().await {
            match line.as_str() {
                "asked" => {
                    self.freeze();
                    program.go().await;
                }
                "ready" => {
                    self.thaw();
                    program.go().await;
                }
                _ => {}
            }
            lines.push(line);
        }
        self.thaw();
        Outcome {
            lines,
            _messages: program.end().await,
        }
    }
}

fn raw(pid: u32) -> Pid {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.expect("a process ID")
}

/// A running program of an attack.
#[derive(Debug)]
pub(crate) struct Launched {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Launched {
    fn start(program: &mut Command) -> Self {
        let mut child = program
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let input = child.stdin.take().expect("it is piped");
        let output = child.stdout.take().expect("it is piped");
        Self {
            child,
            input,
            lines: BufReader::new(output).lines(),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// The next line that it prints.
    pub(crate) async fn line(&mut self) -> Option<String> {
        let line = within("a line of the attacker", self.lines.next_line()).await;
        line.expect("text")
    }

    /// The next line, which must be this one.
    pub(crate) async fn says(&mut self, expected: &str) {
        assert_eq!(self.line().await.as_deref(), Some(expected));
    }

    /// Tells it to go on.
    pub(crate) async fn go(&mut self) {
        // Whoever has ended needs no word.
        drop(self.input.write_all(b"\n").await);
    }

    /// Tells it to go on; what comes of it.
    pub(crate) async fn finish(mut self) -> Outcome {
        self.go().await;
        self.outcome().await
    }

    /// What comes of it; it is told to go on at each `ready`.
    pub(crate) async fn outcome(mut self) -> Outcome {
        let mut lines = Vec::new();
        while let Some(line) = self.line().await {
            if line == "ready" {
                self.go().await;
            }
            lines.push(line);
        }
        Outcome {
            lines,
            _messages: self.end().await,
        }
    }

    /// Waits for its end; what it wrote to its standard error.
    pub(crate) async fn end(self) -> String {
        drop(self.input);
        let output = within("the attacker's end", self.child.wait_with_output()).await;
        String::from_utf8_lossy(&output.expect("its end").stderr).into_owned()
    }
}

/// A running reference; ended when dropped.
#[derive(Debug)]
struct Reference {
    _child: Child,
    target: Target,
}

/// One agent and what is registered with it.
#[derive(Debug)]
pub(crate) struct Stage {
    agent: Agent,
    entries: Vec<(String, Vec<String>)>,
    containers: Vec<(String, Vec<String>)>,
}

impl Stage {
    /// An agent with its defaults, where this machine can run `test`: it takes root to be
    /// several users, and a C compiler to build what they run.
    pub(crate) async fn set(test: &str) -> Option<Self> {
        Self::set_with(test, Setup::new()).await
    }

    /// [`Stage::set`] with this configuration.
    pub(crate) async fn set_with(test: &str, setup: Setup) -> Option<Self> {
        let able = is_root() && has_tool("cc") && has_tool("setpriv") && has_tool("unshare");
        let enable = "run the tests as root; apt-get install gcc util-linux";
        if !can_run(test, able, enable) {
            return None;
        }
        // An unregistered caller is not kept waiting for a registration.
        let setup = setup.set("workload_api", "wait_for_registration", "0s");
        Some(Self {
            agent: setup.start().await,
            entries: Vec::new(),
            containers: Vec::new(),
        })
    }

    /// The number of the agent's process, whatever it was started through.
    pub(crate) fn innermost_pid(&self) -> u32 {
        descendant(self.agent.pid())
    }

    pub(crate) const fn agent(&self) -> &Agent {
        &self.agent
    }

    /// A directory that every user can read.
    pub(crate) fn directory(&self) -> &Path {
        self.agent.setup().directory()
    }

    /// Builds the program `attacks/NAME.c`.
    pub(crate) fn build(&self, name: &str) -> Program {
        self.build_as(name, name, &[])
    }

    /// Builds the program `attacks/NAME.c` as `target` with more options of the compiler.
    pub(crate) fn build_as(&self, name: &str, target: &str, options: &[&str]) -> Program {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("attacks/{name}.c"));
        let target = self.directory().join(target);
        let mut compiler = std::process::Command::new("cc");
        compiler
            .args(["-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"])
            .arg(&target)
            .arg(source)
            .args(options)
            .stdin(Stdio::null());
        let status = compiler.status().expect("the compiler runs");
        assert!(status.success(), "{name} does not compile");
        Program::at(&target)
    }

    /// Registers the client `name` with the agent and the reference.
    pub(crate) async fn register(&mut self, name: &str, selectors: &[String]) {
        self.register_with(name, selectors, []).await;
    }

    /// [`Stage::register`] with more options for the agent.
    pub(crate) async fn register_with<const N: usize>(
        &mut self,
        name: &str,
        selectors: &[String],
        options: [&str; N],
    ) {
        let mut arguments = vec!["client", "register", name, "--owner", "tests@example.org"];
        for selector in selectors {
            arguments.extend(["--selector", selector]);
        }
        arguments.extend(options);
        let help = self
            .agent
            .run(["client", "register", "--help"])
            .await
            .text();
        if help.contains("--accept-weak") {
            arguments.extend(["--accept-weak", "a test"]);
        }
        self.agent.run_list(&arguments).await.success();
        if !self.entries.iter().any(|(known, _)| *known == id(name)) {
            self.entries.push((id(name), selectors.to_vec()));
        }
    }

    /// Registers the client `name` with the reference alone, in SPIRE's words for the same facts.
    pub(crate) fn register_for_spire(&mut self, name: &str, selectors: &[String]) {
        self.entries.push((id(name), selectors.to_vec()));
    }

    /// These selectors are not registered without a reason, for this serious weakness.
    pub(crate) async fn refuses_as(&self, selectors: &[String], weakness: &str) {
        let mut arguments = vec!["client", "register", "weak", "--owner", "tests@example.org"];
        for selector in selectors {
            arguments.extend(["--selector", selector]);
        }
        let refused = self.agent.run_list(&arguments).await;
        assert_ne!(refused.code, Some(0), "{refused:?}");
        assert!(refused.text().contains(weakness), "{refused:?}");
    }

    /// What Docker answers the reference about a container.
    pub(crate) fn docker_knows(&mut self, container: &str, selector: &str) {
        let entry = (container.to_owned(), vec![selector.to_owned()]);
        self.containers.push(entry);
    }

    /// The agent, to be attacked.
    pub(crate) fn target(&self) -> Target {
        Target {
            socket: self.agent.setup().workload_socket(),
            pid: self.agent.pid(),
            asks: asks(),
        }
    }

    /// The agent's admin socket, to be attacked.
    pub(crate) fn admin_target(&self) -> Target {
        Target {
            socket: self.agent.setup().admin_socket(),
            ..self.target()
        }
    }

    /// Carries out an attack on the agent.
    pub(crate) async fn symbolon(&self, attack: &Attack) -> Outcome {
        self.target().suffers(attack).await
    }

    /// Carries out an attack on the checks of SPIRE's agent.
    pub(crate) async fn spire(&self, attack: &Attack) -> Outcome {
        let reference = self.reference().await;
        reference.target.suffers(attack).await
    }

    async fn reference(&self) -> Reference {
        let socket = self
            .directory()
            .join(format!("spire-{}.sock", fresh_number()));
        let words = self.spire_command(&socket);
        let mut program = command(Path::new(&words[0]));
        program.args(&words[1..]);
        let mut child = program
            .stdout(Stdio::piped())
            .spawn()
            .expect("the reference");
        let output = child.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(output).lines();
        let line = within("the reference's start", lines.next_line()).await;
        assert_eq!(line.expect("text").as_deref(), Some("ready"));
        let pid = child.id().expect("it runs");
        Reference {
            _child: child,
            target: Target {
                socket,
                pid,
                asks: false,
            },
        }
    }

    /// The argument of the reference.
    fn entries_json(&self) -> String {
        let map = |list: &[(String, Vec<String>)]| -> Value {
            list.iter()
                .map(|(key, words)| (key.clone(), json!(words)))
                .collect()
        };
        json!({"entries": map(&self.entries), "containers": map(&self.containers)}).to_string()
    }

    /// Ends the agent and starts it anew through these words.
    pub(crate) async fn restarted_in(self, words: Vec<&str>) -> Self {
        let Self {
            agent,
            entries,
            containers,
        } = self;
        // What it is wrapped in does not pass signals on.
        kill_process(raw(descendant(agent.pid())), Signal::TERM).expect("a signal");
        let setup = agent.ended().await.setup.wrapped_in(words);
        Self {
            agent: setup.start().await,
            entries,
            containers,
        }
    }

    /// The command that serves SPIRE's checks on this socket.
    pub(crate) fn spire_command(&self, socket: &Path) -> Vec<String> {
        let socket = socket.display().to_string();
        let program = env!("CARGO_BIN_EXE_symbolon-test-spire-reference");
        vec![program.to_owned(), socket, self.entries_json()]
    }

    /// Waits until the trail has a denial for one of these reasons.
    pub(crate) async fn denied_as(&self, words: &[&str]) -> Value {
        let mut trail = self.agent.follow_audit();
        let mut seen = Vec::new();
        let found = tokio::time::timeout(RECORDED_WITHIN, async {
            loop {
                let event = trail.next_of_kind("denied").await;
                let reason = event["reason"].as_str().unwrap_or_default();
                if words.iter().any(|word| is_reason(reason, word)) {
                    return event;
                }
                seen.push(reason.to_owned());
            }
        });
        match found.await {
            Ok(event) => event,
            Err(_) => panic!("no denial for any of {words:?}, but for {seen:?}"),
        }
    }

    /// The attack fails against the agent, and the trail has one of these reasons.
    pub(crate) async fn withstands(&self, attack: &Attack, words: &[&str]) {
        let outcome = self.symbolon(attack).await;
        outcome.got_nothing();
        self.denied_as(words).await;
    }

    /// The attack fails as in [`Stage::withstands`], and would succeed against SPIRE's checks.
    pub(crate) async fn withstands_unlike_spire(&self, attack: &Attack, words: &[&str]) {
        self.spire(attack).await.stole("victim");
        self.withstands(attack, words).await;
    }
}

/// The last of the processes that were started through this one.
pub(crate) fn descendant(mut pid: u32) -> u32 {
    loop {
        let children = format!("/proc/{pid}/task/{pid}/children");
        let children = std::fs::read_to_string(children).unwrap_or_default();
        let Some(child) = children.split_ascii_whitespace().next() else {
            return pid;
        };
        pid = child.parse().expect("a process ID");
    }
}

/// A number that no other call gives.
fn fresh_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Whether the agent asks each connection with a PING.
const fn asks() -> bool {
    true
}

/// Whether a recorded reason is the one that this word names; what follows is for people.
fn is_reason(reason: &str, word: &str) -> bool {
    reason.split(':').next() == Some(word)
}
