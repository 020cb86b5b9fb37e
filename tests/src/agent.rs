//! A running agent, and what its operator does to it.

use std::path::Path;
use std::process::ExitStatus;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::notify::Notifications;
use crate::{AUDIENCE, Output, Program, Setup, Workload, command, symbolon, within};

/// How many of the last lines of its log a failing test shows.
const SHOWN_LOG_LINES: usize = 60;

/// A running agent; killed when dropped.
#[derive(Debug)]
pub struct Agent {
    setup: Option<Setup>,
    child: Child,
    notifications: Notifications,
}

/// An agent that has ended.
#[derive(Debug)]
pub struct Stopped {
    /// How it ended.
    pub status: ExitStatus,
    /// What is left of it, to start again.
    pub setup: Setup,
}

impl Agent {
    pub(crate) const fn new(setup: Setup, child: Child, notifications: Notifications) -> Self {
        Self {
            setup: Some(setup),
            child,
            notifications,
        }
    }

    /// Waits until the agent says that it is ready.
    pub(crate) async fn ready(&mut self) {
        let Self {
            notifications,
            child,
            ..
        } = self;
        let status = within("the agent's start", async {
            tokio::select! {
                () = notifications.wait_for("READY=1") => None,
                status = child.wait() => Some(status),
            }
        })
        .await;
        assert!(
            status.is_none(),
            "the agent ended instead of becoming ready: {status:?}"
        );
    }

    /// Waits for a message with this line on the notification socket.
    pub async fn notified(&self, line: &str) {
        within(line, self.notifications.wait_for(line)).await;
    }

    /// Its configuration and paths.
    #[must_use]
    pub const fn setup(&self) -> &Setup {
        self.setup.as_ref().expect("taken when it stops only")
    }

    /// The value of `SPIFFE_ENDPOINT_SOCKET` for its workloads.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.setup().workload_socket().display())
    }

    /// Its process ID.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// A command that talks to this agent.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = command(program);
        command
            .env("SPIFFE_ENDPOINT_SOCKET", self.endpoint())
            .env("SYMBOLON_ADMIN_SOCKET", self.setup().admin_socket())
            .current_dir(self.setup().directory());
        command
    }

    /// Runs `symbolon` with these arguments against this agent.
    pub async fn run<const N: usize>(&self, arguments: [&str; N]) -> Output {
        self.run_list(&arguments).await
    }

    /// [`Agent::run`], and the JSON that it prints.
    pub async fn json<const N: usize>(&self, arguments: [&str; N]) -> Value {
        let mut all = arguments.to_vec();
        all.extend(["--output", "json"]);
        self.run_list(&all).await.json()
    }

    /// [`Agent::run`] with as many arguments as it takes.
    pub async fn run_list(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(symbolon());
        command.args(arguments);
        let output = within(&format!("symbolon {arguments:?}"), command.output()).await;
        Output::from(output.expect("the command line runs"))
    }

    /// Registers `name` for these selectors and [`AUDIENCE`].
    pub async fn register(&self, name: &str, selectors: &[String]) {
        self.register_with(name, selectors, ["--audience", AUDIENCE])
            .await;
    }

    /// Registers `name` for this process itself.
    pub async fn register_self(&self, name: &str) {
        self.register(name, &Program::itself().selectors()).await;
    }

    /// Registers `name` for these selectors, with more options.
    pub async fn register_with<const N: usize>(
        &self,
        name: &str,
        selectors: &[String],
        options: [&str; N],
    ) {
        let mut arguments = vec!["client", "register", name, "--owner", "tests@example.org"];
        for selector in selectors {
            arguments.extend(["--selector", selector]);
        }
        arguments.extend(options);
        // Tests run as root or as whoever develops, and register themselves.
        arguments.extend(["--accept-weak", "a test"]);
        self.run_list(&arguments).await.success();
    }

    /// Suspends a client.
    pub async fn suspend(&self, name: &str) {
        self.run(["client", "suspend", name, "--reason", "a test"])
            .await
            .success();
    }

    /// Revokes a client.
    pub async fn revoke(&self, name: &str) {
        self.run(["client", "revoke", name, "--reason", "a test"])
            .await
            .success();
    }

    /// Follows the audit trail: a line for each event from the start of it.
    #[must_use]
    pub fn follow_audit(&self) -> Workload {
        let mut command = self.command(symbolon());
        Workload::start(command.args(["audit", "tail", "--follow", "--output", "json"]))
    }

    /// The events in the audit trail, oldest first; readings of it aside, of which each test has its own.
    pub async fn audit(&self) -> Vec<Value> {
        let lines = self
            .run(["audit", "tail", "--last", "10000", "--output", "json"])
            .await
            .success();
        lines
            .lines()
            .map(|line| serde_json::from_str(line).expect("a line of JSON"))
            .filter(|event: &Value| event["event"] != "read")
            .collect()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a process ID");
        kill_process(pid, signal).expect("the signal");
    }

    /// Asks it to stop, and waits for its end.
    pub async fn stop(self) -> Stopped {
        self.signal(Signal::TERM);
        self.ended().await
    }

    /// Kills it as a crash would.
    pub async fn crash(self) -> Stopped {
        self.signal(Signal::KILL);
        self.ended().await
    }

    /// Waits for its end.
    pub async fn ended(mut self) -> Stopped {
        let status = within("the agent's end", self.child.wait())
            .await
            .expect("its exit status");
        Stopped {
            status,
            setup: self.setup.take().expect("taken here only"),
        }
    }
}

impl Drop for Agent {
    #[expect(
        clippy::print_stderr,
        reason = "the test runner shows it with the failed test"
    )]
    fn drop(&mut self) {
        let Some(setup) = self.setup.as_ref().filter(|_| std::thread::panicking()) else {
            return;
        };
        let log = std::fs::read_to_string(setup.log_file()).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let shown = lines
            .iter()
            .skip(lines.len().saturating_sub(SHOWN_LOG_LINES));
        eprintln!("--- the last lines of the agent's log");
        shown.for_each(|line| eprintln!("{line}"));
    }
}
