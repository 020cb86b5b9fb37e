//! Processes to serve.

use std::{
    ffi::OsStr,
    fs::{self, Permissions},
    io::{BufRead as _, BufReader, Write as _},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A child process that waits, and executes a program when told to.
pub(crate) struct Actress(Child);

impl Actress {
    /// A shell.
    pub(crate) fn enter() -> Self {
        Self::on_stage(script("/bin/sh").spawn().unwrap())
    }

    /// A shell whose file, in this folder, anybody can write.
    pub(crate) fn whom_others_can_write(folder: &Path) -> Self {
        let shell = folder.join("sh");
        // Not by this process: a child of another test would have it open to write.
        let copied = Command::new("cp").arg("/bin/sh").arg(&shell).status();
        assert!(copied.unwrap().success());
        fs::set_permissions(&shell, Permissions::from_mode(0o777)).unwrap();
        Self::on_stage(script(shell).spawn().unwrap())
    }

    /// A shell, and its own copy of the C library, in this folder.
    pub(crate) fn with_library_of(folder: &Path) -> (Self, PathBuf) {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let files = maps.split_whitespace();
        let library = files
            .map(Path::new)
            .find(|file| file.ends_with("libc.so.6"));
        let copy = folder.join("libc.so.6");
        fs::copy(library.unwrap(), &copy).unwrap();
        let mut script = script("/bin/sh");
        script.env("LD_LIBRARY_PATH", folder);
        (Self::on_stage(script.spawn().unwrap()), copy)
    }

    /// A shell of another user.
    pub(crate) fn of_user(uid: u32) -> Self {
        Self::on_stage(script("/bin/sh").uid(uid).spawn().unwrap())
    }

    /// Waits until the shell runs: a program that is still being executed is no image yet.
    fn on_stage(child: Child) -> Self {
        let mut actress = Self(child);
        actress.hear("here\n");
        actress
    }

    fn hear(&mut self, expected: &str) {
        let mut heard = String::new();
        let mut output = BufReader::new(self.0.stdout.as_mut().unwrap());
        output.read_line(&mut heard).unwrap();
        assert_eq!(heard, expected);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Executes `cat` and waits until that runs: it repeats what it hears.
    pub(crate) fn exec(&mut self) {
        let input = self.0.stdin.as_mut().unwrap();
        input.write_all(b"cue\nhello\n").unwrap();
        self.hear("hello\n");
    }

    /// Exits.
    pub(crate) fn exit(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Actress {
    fn drop(&mut self) {
        // It may have left already.
        self.0.kill().unwrap_or_default();
        self.0.wait().map(drop).unwrap_or_default();
    }
}

fn script(shell: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(shell);
    command
        .args(["-c", "echo here; read cue; exec cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}
