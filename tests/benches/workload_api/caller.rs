//! Programs that play workloads, each sample in a process that the agent can tell apart.
//!
//! A caller is started as `PROGRAM JOB SOCKET [NUMBER]` and prints numbers, one
//! in a line, times in nanoseconds:
//!
//! | job | prints |
//! |---|---|
//! | `first` | the time from connecting to the first answer of `FetchX509SVID`, once |
//! | `fresh` | the same, NUMBER times, each on a new connection of a warm process |
//! | `jwt`, `validate` | the time of NUMBER calls of `FetchJWTSVID` or `ValidateJWTSVID` on one connection |
//! | `load` | `FetchJWTSVID` calls in a second, by 64 connections |
//! | `token` | as `fresh`, with `FetchJWTSVID` |
//! | `hold` | how long it took to open NUMBER streams on connections of their own, which it then holds |
//! | `peer` | `ready` once it has NUMBER more descriptors, the connection in the midst of them, all of which it holds |
//! | `flood` | each second, the time, how many `FetchJWTSVID` calls were answered and how many refused since it began, by 32 connections with 64 calls each |
//! | `storm` | each second, the time, how many connections were let in and how many refused since it began |
//!
//! The Rust caller is this benchmark's own binary. As `hold` it ends when all of
//! its streams have, and prints when the first and the last did (on the
//! monotonic clock); as `first` it rehearses on another socket, so that the
//! client's own cold start is not in the figure. The caller of grpc-go does
//! neither (SPIRE's figures hold a cold client too), and has no jobs from `token` on but `hold`.

use crate::samples::Samples;
use std::{
    fmt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use symbolon_tests::Workload;
use tokio::process::Command;

/// What a caller does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Job {
    First,
    Fresh,
    Jwt,
    Validate,
    Load,
    Token,
    Hold,
    Peer,
    Flood,
    Storm,
}

impl Job {
    const ALL: [Self; 10] = [
        Self::First,
        Self::Fresh,
        Self::Jwt,
        Self::Validate,
        Self::Load,
        Self::Token,
        Self::Hold,
        Self::Peer,
        Self::Flood,
        Self::Storm,
    ];

    /// The job of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|job| job.to_string() == name)
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First => "first",
            Self::Fresh => "fresh",
            Self::Jwt => "jwt",
            Self::Validate => "validate",
            Self::Load => "load",
            Self::Token => "token",
            Self::Hold => "hold",
            Self::Peer => "peer",
            Self::Flood => "flood",
            Self::Storm => "storm",
        })
    }
}

/// The first argument of this binary when it runs as a caller.
pub(crate) const ROLE: &str = "caller";

/// A program that does [`Job`]s.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    program: PathBuf,
    /// Where the Rust caller rehearses; none for other programs.
    rehearsal: Option<PathBuf>,
}

impl Caller {
    /// The Rust caller: `program` is this binary or a copy of it.
    pub(crate) fn rust(program: &Path, rehearsal: &Path) -> Self {
        Self {
            program: program.to_owned(),
            rehearsal: Some(rehearsal.to_owned()),
        }
    }

    /// The caller of `tests/benches/go`.
    pub(crate) fn go(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
            rehearsal: None,
        }
    }

    /// The executable.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// Starts a job.
    pub(crate) fn start(&self, job: Job, socket: &Path, number: usize) -> Workload {
        Workload::start(&mut self.command(job, socket, number))
    }

    /// Starts a job as another user, which takes root.
    pub(crate) fn start_as(&self, user: u32, job: Job, socket: &Path, number: usize) -> Workload {
        let mut command = self.command(job, socket, number);
        Workload::start(command.uid(user).gid(user))
    }

    fn command(&self, job: Job, socket: &Path, number: usize) -> Command {
        let mut command = Command::new(&self.program);
        if self.rehearsal.is_some() {
            command.arg(ROLE);
        }
        command
            .arg(job.to_string())
            .arg(socket)
            .arg(number.to_string());
        command.args(&self.rehearsal).stdin(Stdio::null());
        command
    }

    /// The times that a job prints.
    pub(crate) async fn times(&self, job: Job, socket: &Path, number: usize) -> Samples {
        let output = self.start(job, socket, number).end().await.success();
        output.lines().map(nanoseconds).collect()
    }

    /// The time of one never-seen process.
    pub(crate) async fn first(&self, socket: &Path) -> Duration {
        self.times(Job::First, socket, 1).await.p50()
    }

    /// JWT-SVIDs in a second.
    pub(crate) async fn load(&self, socket: &Path) -> f64 {
        let output = self.start(Job::Load, socket, 1).end().await.success();
        output.trim().parse().expect("a number")
    }
}

/// A time that a caller printed.
pub(crate) fn nanoseconds(text: &str) -> Duration {
    Duration::from_nanos(text.trim().parse().expect("nanoseconds"))
}
