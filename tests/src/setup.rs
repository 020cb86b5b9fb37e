//! An agent that is configured and not (or no longer) running.

use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::Command;
use toml::{Table, Value};

use crate::notify::Notifications;
use crate::{Agent, Output, Program, command, symbolon, within};

/// The trust domain of every agent under test.
pub const TRUST_DOMAIN: &str = "example.org";

/// The audience that clients are registered for unless a test names others.
pub const AUDIENCE: &str = "https://mcp.example.org/";

/// A directory of its own, with the configuration for an agent in it.
#[derive(Debug)]
pub struct Setup {
    directory: TempDir,
    config: Table,
    wrapper: Vec<OsString>,
    user: Option<u32>,
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

impl Setup {
    /// The agent's defaults, but with lifetimes of seconds allowed and no telemetry port.
    #[must_use]
    pub fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("symbolon-")
            .tempdir()
            .expect("a directory");
        // Workloads of other users have to reach the socket in it.
        std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755))
            .expect("its permissions");
        let setup = Self {
            directory,
            config: Table::new(),
            wrapper: Vec::new(),
            user: None,
        };
        let (data, workload, admin) = (setup.data(), setup.workload_socket(), setup.admin_socket());
        setup
            .top("trust_domain", TRUST_DOMAIN)
            .top("data_dir", text(&data))
            .set("workload_api", "socket", text(&workload))
            .set("admin_api", "socket", text(&admin))
            .set("telemetry", "address", "off")
            .set("log", "level", "debug")
            .set("limits", "min_x509_ttl", "1s")
            .set("limits", "min_jwt_ttl", "1s")
    }

    /// [`Setup::new`] with X.509-SVIDs that are renewed every four seconds.
    #[must_use]
    pub fn renewing() -> Self {
        Self::new().set("svid", "x509_ttl", "8s")
    }

    /// Sets a key outside of all sections.
    #[must_use]
    pub fn top(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.config.insert(key.to_owned(), value.into());
        self
    }

    /// Sets a key of a section.
    #[must_use]
    pub fn set(mut self, section: &str, key: &str, value: impl Into<Value>) -> Self {
        self.config
            .entry(section)
            .or_insert_with(|| Value::Table(Table::new()))
            .as_table_mut()
            .expect("a section")
            .insert(key.to_owned(), value.into());
        self
    }

    /// Starts the agent through another program, which must `exec` it.
    #[must_use]
    pub fn wrapped_in(mut self, command: Vec<&str>) -> Self {
        self.wrapper = command.into_iter().map(OsString::from).collect();
        self
    }

    /// Runs the agent as this user, which takes root.
    #[must_use]
    pub fn run_by(mut self, user: u32) -> Self {
        let _copy = Program::at(symbolon()).copy_to(self.directory(), "symbolon");
        chown(self.directory(), Some(user), Some(user)).expect("its directory");
        self.user = Some(user);
        self
    }

    /// The directory that everything of this agent lies in.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.directory().join("data")
    }

    /// Its workload socket.
    #[must_use]
    pub fn workload_socket(&self) -> PathBuf {
        self.directory().join("run/workload/workload.sock")
    }

    /// Its admin socket.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        self.directory().join("run/admin/admin.sock")
    }

    /// Its configuration file.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.directory().join("agent.toml")
    }

    /// Where what it writes to its standard error goes.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.directory().join("agent.log")
    }

    /// Writes the configuration as it stands now.
    pub fn write_config(&self) {
        let document = toml::to_string(&self.config).expect("a TOML document");
        std::fs::write(self.config_file(), document).expect("the configuration file");
    }

    /// Starts the agent and waits until it is ready.
    pub async fn start(self) -> Agent {
        let mut agent = self.launch();
        agent.ready().await;
        agent
    }

    /// Starts the agent, and waits for nothing.
    #[must_use]
    pub fn launch(self) -> Agent {
        let notifications = Notifications::listen(&self.directory().join("notify.sock"));
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_file())
            .expect("a log");
        let child = self
            .agent_command()
            .env("NOTIFY_SOCKET", self.directory().join("notify.sock"))
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .spawn()
            .expect("the agent starts");
        Agent::new(self, child, notifications)
    }

    /// Starts the agent where it must refuse to start, and waits for its end.
    pub async fn refused(&self) -> Output {
        let output = within("the agent's refusal", self.agent_command().output()).await;
        let output = Output::from(output.expect("the agent runs"));
        assert_ne!(output.code, Some(0), "it started: {output:?}");
        output
    }

    fn agent_command(&self) -> Command {
        self.write_config();
        let own_copy = self.directory().join("symbolon");
        let binary = if self.user.is_some() {
            &own_copy
        } else {
            symbolon()
        };
        let mut command = match self.wrapper.split_first() {
            Some((program, arguments)) => {
                let mut command = command(Path::new(program));
                command.args(arguments).arg(binary);
                command
            }
            None => command(binary),
        };
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
            // It reads every variable with this prefix as a key of its configuration.
            .env_remove("SYMBOLON_BIN")
            .args(["agent", "--config"])
            .arg(self.config_file())
            .current_dir(self.directory())
            .stdin(Stdio::null());
        command
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("temporary paths are text").to_owned()
}
