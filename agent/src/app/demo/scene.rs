//! The demo's stage: a directory, an agent, and commands run against it.

use super::DemoError;
use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    net::UnixDatagram,
    process::{Child, ChildStdout, Command},
    time::{Instant, timeout},
};

/// Nothing in the demo takes this long unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

/// Prints a line for people.
#[expect(clippy::print_stdout, reason = "the demo's output is for people")]
pub(super) fn say(text: &str) {
    println!("{text}");
    // A closed output is no reason to leave an agent behind.
    std::io::stdout().flush().unwrap_or_default();
}

/// A private directory and what runs in it.
#[derive(Debug)]
pub(super) struct Scene {
    directory: PathBuf,
    symbolon: PathBuf,
    agent: Option<Child>,
    step: u32,
    begun: Instant,
}

/// What a command said.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) err: String,
}

impl Told {
    /// Its JSON, if it succeeded.
    pub(super) fn json(&self) -> Result<Value, DemoError> {
        if self.code != Some(0) {
            bail!(
                "the command failed with exit code {:?}: {}",
                self.code,
                self.err.trim()
            );
        }
        serde_json::from_str(&self.out).context("the command printed no JSON")
    }
}

impl Scene {
    pub(super) fn new() -> Result<Self, DemoError> {
        let symbolon = std::env::current_exe().context("where is this program?")?;
        let mut unique = [0_u8; 8];
        aws_lc_rs::rand::fill(&mut unique).map_err(|_e| anyhow::anyhow!("no randomness"))?;
        let name = format!("symbolon-demo-{}", crate::canonical::hex(&unique));
        let directory = std::env::temp_dir().join(name);
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        Ok(Self {
            directory,
            symbolon,
            agent: None,
            step: 0,
            begun: Instant::now(),
        })
    }

    /// Announces a step, and forgets the time of the one before.
    pub(super) fn begin(&mut self, title: &str) {
        self.step += 1;
        self.begun = Instant::now();
        say(&format!("\n{}. {title}", self.step));
    }

    /// Tells that the step held, and how long it took.
    pub(super) fn held(&self, what: &str) {
        let elapsed = self.begun.elapsed();
        say(&format!(
            "   ok: {what} ({:.1} ms)",
            elapsed.as_secs_f64() * 1000.0
        ));
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(super) fn workload_socket(&self) -> PathBuf {
        self.path("workload").join("workload.sock")
    }

    fn admin_socket(&self) -> PathBuf {
        self.path("admin").join("admin.sock")
    }

    /// Copies this program under another name, so that it is another binary
    /// with `extra` bytes at its end.
    pub(super) fn copy_program(&self, name: &str, extra: &[u8]) -> Result<PathBuf, DemoError> {
        let path = self.path(name);
        let mut bytes = fs::read(&self.symbolon).context("cannot read this program")?;
        bytes.extend_from_slice(extra);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
        Ok(path)
    }

    /// Starts the agent and waits until it is ready.
    pub(super) async fn start_agent(&mut self, config: &str) -> Result<(), DemoError> {
        let file = self.path("agent.toml");
        fs::write(&file, config)?;
        let notify = self.path("notify.sock");
        let ready = UnixDatagram::bind(&notify)?;
        let log = fs::File::create(self.path("agent.log"))?;
        let agent = Command::new(&self.symbolon)
            .arg("agent")
            .arg("--config")
            .arg(&file)
            .env_clear()
            .env("NOTIFY_SOCKET", &notify)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the agent")?;
        let agent = self.agent.insert(agent);
        let mut message = [0_u8; 256];
        tokio::select! {
            received = timeout(PATIENCE, ready.recv(&mut message)) => {
                received.context("the agent did not become ready")??;
                Ok(())
            }
            status = agent.wait() => bail!("the agent ended at once: {}", status?),
        }
    }

    /// A command that talks to the demo's agent.
    fn command(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .env(
                "SPIFFE_ENDPOINT_SOCKET",
                format!("unix://{}", self.workload_socket().display()),
            )
            .env("SYMBOLON_ADMIN_SOCKET", self.admin_socket())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs an operator's command to its end, showing it.
    pub(super) async fn symbolon(&self, args: &[&str]) -> Result<Told, DemoError> {
        say(&format!("   $ symbolon {}", args.join(" ")));
        self.run(&self.symbolon, args).await
    }

    /// Runs a program to its end.
    pub(super) async fn run(&self, program: &Path, args: &[&str]) -> Result<Told, DemoError> {
        let output = self.command(program, args).output();
        let output = timeout(PATIENCE, output)
            .await
            .context("the command hangs")??;
        Ok(Told {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Starts a program that goes on printing lines.
    pub(super) fn start(&self, program: &Path, args: &[&str]) -> Result<Running, DemoError> {
        let mut child = self
            .command(program, args)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let out = child.stdout.take().context("no output")?;
        Ok(Running {
            child,
            lines: BufReader::new(out).lines(),
        })
    }

    /// Shows the end of the agent's log, after something went wrong.
    pub(super) fn show_log(&self) {
        if let Ok(log) = fs::read_to_string(self.path("agent.log")) {
            let lines: Vec<&str> = log.lines().collect();
            let from = lines.len().saturating_sub(20);
            say("\nThe last lines of the agent's log:");
            for line in lines.get(from..).unwrap_or_default() {
                say(&format!("   {line}"));
            }
        }
    }

    /// Tells how to talk to the agent, and waits until interrupted.
    pub(super) async fn stay(&self) -> Result<(), DemoError> {
        say("\nThe agent goes on until you press Ctrl-C. In another terminal:");
        say(&format!(
            "   export SPIFFE_ENDPOINT_SOCKET=unix://{}",
            self.workload_socket().display()
        ));
        say(&format!(
            "   export SYMBOLON_ADMIN_SOCKET={}",
            self.admin_socket().display()
        ));
        say(&format!("   {} client list", self.symbolon.display()));
        say(&format!("   {} audit tail", self.symbolon.display()));
        Ok(tokio::signal::ctrl_c().await?)
    }

    /// Stops the agent in an orderly way.
    pub(super) async fn end(mut self) -> Result<(), DemoError> {
        let Some(mut agent) = self.agent.take() else {
            return Ok(());
        };
        let pid = agent
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        kill_process(pid.context("the agent has ended by itself")?, Signal::TERM)?;
        let status = timeout(PATIENCE, agent.wait())
            .await
            .context("the agent does not stop")??;
        if !status.success() {
            bail!("the agent ended with {status}");
        }
        Ok(())
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // Nothing can be done about what cannot be removed.
        fs::remove_dir_all(&self.directory).unwrap_or_default();
    }
}

/// A program that goes on printing lines.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    pub(super) fn pid(&self) -> Result<u32, DemoError> {
        self.child.id().context("the program has ended")
    }

    /// The next line, as JSON.
    pub(super) async fn next(&mut self) -> Result<Value, DemoError> {
        let line = timeout(PATIENCE, self.lines.next_line()).await;
        let line = line
            .context("nothing came")??
            .context("the program ended")?;
        serde_json::from_str(&line).context("the program printed no JSON")
    }

    /// Its exit code.
    pub(super) async fn ended(mut self) -> Result<Option<i32>, DemoError> {
        let status = timeout(PATIENCE, self.child.wait()).await;
        Ok(status.context("the program goes on")??.code())
    }
}
