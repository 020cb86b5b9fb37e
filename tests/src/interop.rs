//! The client programs under `interop/`, one for each library of the ecosystem.
//!
//! Each takes an audience as its argument and `SPIFFE_ENDPOINT_SOCKET` from the
//! environment, holds one X.509 stream open, and prints a line of JSON for each
//! event:
//!
//! * `{"event":"x509","spiffe_id":...,"serial":...}` for the first X.509-SVID and
//!   each pushed one, after checking it against its bundle; the serial number in
//!   32 hexadecimal digits;
//! * `{"event":"jwt","spiffe_id":...}` after the first of those, once it has
//!   fetched a JWT-SVID and validated it both against the JWT bundle and through
//!   the agent;
//! * `{"event":"ended","code":"PERMISSION_DENIED"}` when the agent ends the
//!   stream; then it exits with code 0.
//!
//! Anything else is a message on standard error and exit code 1.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::{AUDIENCE, Agent, Program, Workload, can_run, has_tool};

/// One client program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Client {
    /// The `spiffe` crate.
    Rust,
    /// The Python package `spiffe`.
    Python,
    /// go-spiffe.
    Go,
    /// java-spiffe.
    Java,
    /// @grpc/grpc-js with the standard's .proto file.
    Node,
}

impl Client {
    /// Whether it is installed; see [`can_run`] for what happens where it is not.
    #[must_use]
    pub fn is_installed(self) -> bool {
        let (name, runs) = match self {
            Self::Rust => return true,
            Self::Python => ("python", python().exists()),
            Self::Go => ("go", folder().join(".cache/go/peer").exists()),
            Self::Java => ("java", has_tool("java")),
            Self::Node => (
                "node",
                has_tool("node") && folder().join("node/dist/mcp_client.js").exists(),
            ),
        };
        let installed = folder().join(format!(".cache/{name}.installed")).exists();
        can_run(
            &format!("the {name} client"),
            installed && runs,
            &format!("tests/interop/install {name}"),
        )
    }

    /// The executable that runs, which an interpreter's registration is by.
    #[must_use]
    pub fn program(self) -> Program {
        match self {
            Self::Rust => Program::beside_the_tests("symbolon-test-workload"),
            Self::Python => Program::at(&python()),
            Self::Go => Program::at(&folder().join(".cache/go/workload")),
            Self::Java => Program::on_path("java"),
            Self::Node => Program::on_path("node"),
        }
    }

    /// Selectors that fit it: the digest of a compiled program, the path of an interpreter.
    #[must_use]
    pub fn selectors(self) -> Vec<String> {
        let program = self.program();
        match self {
            Self::Rust | Self::Go => program.selectors(),
            Self::Python | Self::Java | Self::Node => {
                vec![Program::uid_selector(), program.path_selector()]
            }
        }
    }

    /// Starts it as a workload of this agent.
    #[must_use]
    pub fn start(self, agent: &Agent) -> Workload {
        Workload::start(self.command(agent).arg(AUDIENCE))
    }

    /// A command that runs another file of its folder, for an interpreter.
    #[must_use]
    pub fn script(self, agent: &Agent, file: &str) -> Command {
        let (program, language) = match self {
            // Not its canonical path, by which it would not find its libraries.
            Self::Python => (python(), "python"),
            Self::Node => (self.program().path().to_owned(), "node"),
            Self::Rust | Self::Go | Self::Java => panic!("{self:?} runs no files"),
        };
        let mut command = agent.command(&program);
        command.arg(folder().join(language).join(file));
        command
    }

    fn command(self, agent: &Agent) -> Command {
        match self {
            Self::Rust | Self::Go => agent.command(self.program().path()),
            Self::Python => self.script(agent, "workload.py"),
            Self::Java => {
                let mut command = java(agent);
                command.arg("-jar");
                command.arg(folder().join(".cache/java/workload.jar"));
                command
            }
            Self::Node => self.script(agent, "workload.js"),
        }
    }
}

/// A program of `interop/python` that is no client of the agent; none where Python's packages are
/// not installed.
#[must_use]
pub fn python_program(file: &str) -> Option<Command> {
    if !Client::Python.is_installed() {
        return None;
    }
    let mut command = crate::command(&python());
    command.arg(folder().join("python").join(file));
    Some(command)
}

/// A JVM that starts soon, since it does not live long.
pub(crate) fn java(agent: &Agent) -> Command {
    let mut command = agent.command(Client::Java.program().path());
    command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]);
    command
}

/// A link to the interpreter that knows its libraries.
fn python() -> PathBuf {
    folder().join(".cache/python/bin/python3")
}

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop")
}
