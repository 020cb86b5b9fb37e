//! Telling a program that its SVID files have changed: a command or a signal.

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, ValueEnum};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::process::Command;

/// A command that hangs must not keep the next renewal waiting for ever.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
/// A PID file holds a number.
const MAX_PID_FILE: u64 = 64;

/// What to do after the files were replaced.
#[derive(Args, Debug, Default)]
pub(super) struct NotifyArgs {
    /// Run this shell command after each replacement (`$SYMBOLON_SVID_DIR` is DIR), for at most 60s
    #[arg(
        long,
        value_name = "CMD",
        requires = "write",
        conflicts_with = "signal"
    )]
    exec: Option<String>,
    /// Send this signal after each replacement, to the process in --pid-file
    #[arg(long, value_name = "SIG", value_enum, ignore_case = true, requires_all = ["write", "pid_file"])]
    signal: Option<SignalName>,
    /// File with the process ID that gets the signal
    #[arg(long, value_name = "FILE", requires = "signal")]
    pid_file: Option<PathBuf>,
}

/// The signals that servers reload on.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum SignalName {
    #[value(alias = "SIGHUP")]
    Hup,
    #[value(alias = "SIGINT")]
    Int,
    #[value(alias = "SIGQUIT")]
    Quit,
    #[value(alias = "SIGTERM")]
    Term,
    #[value(alias = "SIGUSR1")]
    Usr1,
    #[value(alias = "SIGUSR2")]
    Usr2,
    #[value(alias = "SIGWINCH")]
    Winch,
}

impl SignalName {
    const fn signal(self) -> Signal {
        match self {
            Self::Hup => Signal::HUP,
            Self::Int => Signal::INT,
            Self::Quit => Signal::QUIT,
            Self::Term => Signal::TERM,
            Self::Usr1 => Signal::USR1,
            Self::Usr2 => Signal::USR2,
            Self::Winch => Signal::WINCH,
        }
    }
}

impl NotifyArgs {
    /// Tells the program that the files in `directory` are new.
    pub(super) async fn run(&self, directory: &Path) -> Result<()> {
        if let Some(command) = &self.exec {
            run_command(command, directory).await?;
        }
        if let (Some(name), Some(file)) = (self.signal, &self.pid_file) {
            let pid = read_pid(file)?;
            kill_process(pid, name.signal())
                .with_context(|| format!("cannot signal process {}", pid.as_raw_nonzero()))?;
        }
        Ok(())
    }
}

async fn run_command(command: &str, directory: &Path) -> Result<()> {
    let child = Command::new("/bin/sh")
        .args(["-c", command])
        .env("SYMBOLON_SVID_DIR", directory)
        .stdin(Stdio::null())
        // Standard output is for our own result.
        .stdout(std::io::stderr())
        .kill_on_drop(true)
        .spawn()
        .context("cannot run /bin/sh")?;
    let Ok(output) = tokio::time::timeout(COMMAND_LIMIT, child.wait_with_output()).await else {
        bail!(
            "`{command}` did not end within {} s and was killed",
            COMMAND_LIMIT.as_secs()
        );
    };
    let status = output?.status;
    ensure!(status.success(), "`{command}` ended with {status}");
    Ok(())
}

/// Only one process ever: 0 and negative numbers, which mean groups, are refused.
fn read_pid(file: &Path) -> Result<Pid> {
    let mut text = String::new();
    std::fs::File::open(file)
        .and_then(|file| file.take(MAX_PID_FILE).read_to_string(&mut text))
        .with_context(|| format!("cannot read {}", file.display()))?;
    text.trim()
        .parse::<i32>()
        .ok()
        .filter(|pid| *pid > 0)
        .and_then(Pid::from_raw)
        .with_context(|| format!("{} holds no process ID", file.display()))
}

#[cfg(test)]
mod tests {
    use super::{NotifyArgs, read_pid};
    use std::fs;

    #[tokio::test]
    async fn the_command_learns_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let notify = NotifyArgs {
            exec: Some("touch \"$SYMBOLON_SVID_DIR/told\"".to_owned()),
            ..NotifyArgs::default()
        };
        notify.run(dir.path()).await.unwrap();
        assert!(dir.path().join("told").exists());
    }

    #[tokio::test]
    async fn a_command_that_fails_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let notify = NotifyArgs {
            exec: Some("exit 7".to_owned()),
            ..NotifyArgs::default()
        };
        let failure = notify.run(dir.path()).await.unwrap_err().to_string();
        assert!(failure.contains("exit status: 7"), "{failure}");
    }

    #[test]
    fn groups_and_nonsense_are_no_process_id() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        for text in ["0", "-1", "", "x", "99999999999"] {
            fs::write(&file, text).unwrap();
            assert!(read_pid(&file).is_err(), "{text}");
        }
        fs::write(&file, " 4711\n").unwrap();
        assert_eq!(read_pid(&file).unwrap().as_raw_nonzero().get(), 4711);
    }
}
