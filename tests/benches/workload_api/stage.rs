//! What is measured: agents, bare servers, and the memory that they take.

use crate::{
    caller::{Caller, Job, nanoseconds},
    stub,
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use symbolon_proto::admin::{ChangeStateRequest, admin_client::AdminClient};
use symbolon_tests::{Agent, Program, Setup, Workload, channel};
use tempfile::TempDir;
use tokio::process::Command;
use tonic::transport::Channel;

/// The client that callers are registered as.
const CLIENT: &str = "bench";

/// When an audit record counts as recorded.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Durability {
    Sync,
    Write,
}

/// An agent as it is shipped, but for its audit's durability, and for its caps on calls.
pub(crate) async fn agent(durability: Durability) -> Agent {
    uncapped(durability).start().await
}

/// The same, which demands these proofs of a connection.
pub(crate) async fn agent_requiring(durability: Durability, proofs: &[&str]) -> Agent {
    let setup = uncapped(durability).set("attestation", "require", proofs.to_vec());
    setup.start().await
}

/// An agent as it is shipped, with its caps.
pub(crate) async fn capped_agent() -> Agent {
    Setup::new().set("log", "level", "info").start().await
}

fn uncapped(durability: Durability) -> Setup {
    let durability = match durability {
        Durability::Sync => "sync",
        Durability::Write => "write",
    };
    Setup::new()
        .set("audit", "durability", durability)
        // One caller makes all the calls: what is measured is the agent, not its caps.
        .set("limits", "calls_per_second_per_uid", 10_000_000)
        .set("limits", "connections_per_second_per_uid", 10_000_000)
        .set("log", "level", "info")
}

/// Registers a caller by its user.
pub(crate) async fn register_by_uid(agent: &Agent) {
    agent.register(CLIENT, &[Program::uid_selector()]).await;
}

/// Registers a caller by its user and its digest.
pub(crate) async fn register_by_digest(agent: &Agent, caller: &Caller) {
    let selectors = Program::at(caller.program()).selectors();
    agent.register(CLIENT, &selectors).await;
}

/// The admin API of an agent.
pub(crate) async fn admin(agent: &Agent) -> AdminClient<Channel> {
    AdminClient::new(channel(&agent.setup().admin_socket()).await)
}

/// Suspends the callers' client.
pub(crate) async fn suspend(admin: &mut AdminClient<Channel>) {
    admin.suspend_client(change()).await.expect("suspended");
}

fn change() -> ChangeStateRequest {
    ChangeStateRequest {
        name: CLIENT.to_owned(),
        reason: "a benchmark".to_owned(),
    }
}

/// A bare server in a process of its own.
#[derive(Debug)]
pub(crate) struct Bare {
    directory: TempDir,
    process: Workload,
}

/// The first argument of this binary when it runs as a bare server.
pub(crate) const BARE_ROLE: &str = "bare";

impl Bare {
    /// Stock tonic.
    pub(crate) async fn stock() -> Self {
        Self::start("stock").await
    }

    /// With the agent's frame layer between the socket and tonic.
    pub(crate) async fn guarded() -> Self {
        Self::start("guarded").await
    }

    async fn start(kind: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = Command::new(std::env::current_exe().expect("this binary"));
        command
            .arg(BARE_ROLE)
            .arg(kind)
            .arg(directory.path().join("bare.sock"));
        let mut process = Workload::start(&mut command);
        assert_eq!(process.line().await.as_deref(), Some("ready"));
        Self { directory, process }
    }

    /// Does the work of that process.
    pub(crate) async fn run(kind: &str, socket: &Path) {
        stub::serve(socket, kind == "guarded").await;
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("bare.sock")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Ends all streams.
    pub(crate) fn end_streams(&self) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process"), Signal::TERM).expect("the signal");
    }
}

/// Callers that hold streams, and how long they took to open them.
#[derive(Debug)]
pub(crate) struct Held {
    callers: Vec<Workload>,
    pub(crate) opened: Duration,
}

impl Held {
    /// `streams` streams, in `processes` processes, one after the other.
    pub(crate) async fn open(
        caller: &Caller,
        socket: &Path,
        streams: usize,
        processes: usize,
    ) -> Self {
        let mut held = Self {
            callers: Vec::new(),
            opened: Duration::ZERO,
        };
        for _ in 0..processes {
            let mut process = caller.start(Job::Hold, socket, streams / processes);
            held.opened += nanoseconds(&process.line().await.expect("it opens them"));
            held.callers.push(process);
        }
        held
    }

    /// When the first and the last stream were ended by the server.
    pub(crate) async fn ended(mut self) -> (Duration, Duration) {
        let (mut first, mut last) = (Duration::MAX, Duration::ZERO);
        for caller in &mut self.callers {
            let line = caller.line().await.expect("they end");
            let (begin, end) = line.split_once(' ').expect("two times");
            first = first.min(nanoseconds(begin));
            last = last.max(nanoseconds(end));
        }
        (first, last)
    }
}

/// Bytes of memory that a process has resident, which nobody else shares.
pub(crate) fn memory(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|text| text.trim().strip_suffix(" kB"));
    let kilobytes: f64 = kilobytes.and_then(|k| k.parse().ok()).expect("kilobytes");
    kilobytes * 1024.0
}
