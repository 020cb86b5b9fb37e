//! Calls of a socket by other users than the test's, and by other programs.

use std::path::Path;
use std::process::Stdio;

use prost::Message;
use serde_json::{Value, json};
use symbolon_tests::{Agent, Program, within};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

/// The admin service, as paths have it.
pub(crate) const SERVICE: &str = "/symbolon.admin.v1.Admin/";

/// The status of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) code: String,
    pub(crate) message: String,
}

/// A process of another user with one connection to an agent's admin socket; ended when dropped.
#[derive(Debug)]
pub(crate) struct Caller {
    _child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

/// The program that callers run, where every user can reach it.
pub(crate) fn program(agent: &Agent) -> Program {
    let built = env!("CARGO_BIN_EXE_symbolon-test-operator");
    let directory = agent.setup().directory();
    match directory.join("caller") {
        copied if copied.exists() => Program::at(&copied),
        _ => Program::at(built.as_ref()).copy_to(directory, "caller"),
    }
}

impl Caller {
    pub(crate) fn start(agent: &Agent, program: &Program, uid: u32) -> Self {
        Self::start_at(&agent.setup().admin_socket(), agent, program, uid)
    }

    pub(crate) fn start_at(socket: &Path, agent: &Agent, program: &Program, uid: u32) -> Self {
        let mut command = agent.command(program.path());
        let mut child = command
            .arg(socket)
            .uid(uid)
            .gid(uid)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the caller starts");
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self {
            _child: child,
            input,
            lines: BufReader::new(output).lines(),
        }
    }

    /// Makes a call; none where the caller has ended.
    pub(crate) async fn call(&mut self, method: &str, message: &impl Message) -> Option<Status> {
        self.call_path(&format!("{SERVICE}{method}"), message).await
    }

    /// The same, of any service.
    pub(crate) async fn call_path(&mut self, path: &str, message: &impl Message) -> Option<Status> {
        let mut line = json!({"path": path, "message": message.encode_to_vec()}).to_string();
        line.push('\n');
        self.input.write_all(line.as_bytes()).await.ok()?;
        let answer = within("an answer to a caller", self.lines.next_line()).await;
        let answer: Value = serde_json::from_str(&answer.expect("text")?).expect("JSON");
        let text = |field: &str| answer[field].as_str().expect("text").to_owned();
        Some(Status {
            code: text("code"),
            message: text("message"),
        })
    }
}

impl Status {
    pub(crate) fn is_ok(&self) -> bool {
        self.code == "Ok"
    }
}
