//! Programs that a C compiler makes for a test (`program.c`).

use crate::peer::{cannot_run, open_directory};
use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
};
use symbolon_attestors::{Attestor, PinnedPeer};
use tempfile::TempDir;

/// A library that does nothing, for whichever way it is loaded.
const LIBRARY: &str = "unsigned la_version(unsigned version) { return version; }";

/// What a compiler made, in a directory into which every user can go.
pub(crate) struct Built {
    directory: TempDir,
    pub(crate) program: PathBuf,
}

impl Built {
    /// Builds the program; `None` where there is no compiler.
    pub(crate) fn new(options: &[&str]) -> Option<Self> {
        let directory = open_directory();
        let program = directory.path().join("program");
        let built = Self { directory, program };
        built
            .compile(include_str!("program.c"), &built.program, options)
            .then_some(built)
    }

    /// Builds a library beside the program.
    pub(crate) fn library(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        assert!(self.compile(LIBRARY, &path, &["-shared", "-fPIC"]));
        path
    }

    fn compile(&self, source: &str, to: &Path, options: &[&str]) -> bool {
        let file = self.directory.path().join("source.c");
        fs::write(&file, source).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(options).arg("-o").args([to, &file]);
        let status = compiler.args(["-pthread", "-ldl"]).status();
        status.is_ok_and(|status| status.success())
            || cannot_run(&format!("a C compiler is needed: cc {}", options.join(" ")))
    }

    /// Starts the program.
    pub(crate) fn run(&self, arguments: &[&str]) -> Running {
        Running::start(Command::new(&self.program).args(arguments))
    }
}

/// A program that waits.
pub(crate) struct Running {
    child: Child,
    answers: BufReader<ChildStdout>,
    /// What it said when it was ready: a thread's number, or 0.
    pub(crate) number: u32,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut running = Self {
            answers: BufReader::new(child.stdout.take().unwrap()),
            child,
            number: 0,
        };
        running.number = running.heard();
        running
    }

    fn heard(&mut self) -> u32 {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let number = line.trim_end().strip_prefix("ready ");
        number.unwrap().parse().unwrap()
    }

    /// Has it do what it was started for.
    pub(crate) fn go_on(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        self.heard();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn pinned(&self, attestor: &Attestor) -> Arc<PinnedPeer> {
        Arc::new(attestor.pin_pid(self.pid()).unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
