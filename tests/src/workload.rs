//! A workload in a process of its own, which prints a line of JSON for each event.

use std::fs::File;
use std::process::Stdio;

use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::{Output, within};

/// A running workload; killed when dropped.
#[derive(Debug)]
pub struct Workload {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    stderr: NamedTempFile,
}

impl Workload {
    /// Starts it.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let stderr = NamedTempFile::new().expect("a file for its messages");
        let handle: File = stderr.reopen().expect("a second handle");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(handle)
            .kill_on_drop(true)
            .spawn()
            .expect("the workload starts");
        let stdout = child.stdout.take().expect("it is piped");
        Self {
            child,
            lines: BufReader::new(stdout).lines(),
            stderr,
        }
    }

    /// Its process ID.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// The next line it prints; none once it has closed its output.
    pub async fn line(&mut self) -> Option<String> {
        within("a line of the workload", self.lines.next_line())
            .await
            .expect("text")
    }

    /// The next event, which must be of this kind.
    pub async fn event(&mut self, kind: &str) -> Value {
        let event = self.next_event().await;
        assert_eq!(event["event"], kind, "{event}");
        event
    }

    /// The next event that is not of this kind.
    pub async fn event_after(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next_event().await;
            if event["event"] != kind {
                return event;
            }
        }
    }

    /// The next event of this kind; others are passed over.
    pub async fn next_of_kind(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next_event().await;
            if event["event"] == kind {
                return event;
            }
        }
    }

    async fn next_event(&mut self) -> Value {
        let Some(line) = self.line().await else {
            panic!("the workload ended early: {:?}", self.messages());
        };
        serde_json::from_str(&line).unwrap_or_else(|fault| panic!("{fault}: {line}"))
    }

    /// Waits for its end, with the lines that nobody has read yet.
    pub async fn end(mut self) -> Output {
        let mut stdout = String::new();
        while let Some(line) = self.line().await {
            stdout.push_str(&line);
            stdout.push('\n');
        }
        let status = within("the workload's end", self.child.wait())
            .await
            .expect("its status");
        Output {
            code: status.code(),
            stdout,
            stderr: self.messages(),
        }
    }

    fn messages(&self) -> String {
        std::fs::read_to_string(self.stderr.path()).unwrap_or_default()
    }
}
