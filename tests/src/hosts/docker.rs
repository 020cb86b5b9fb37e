//! Docker.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::{Container, Image, Scope, printed};
use crate::notify::Notifications;
use crate::{can_run, has_tool, within};

/// A running dockerd, with a containerd of its own.
#[derive(Debug)]
pub struct Docker {
    daemon: Child,
    scope: Scope,
}

impl Docker {
    /// Whether the test called `test` can have one here.
    #[must_use]
    pub fn can_run(test: &str) -> bool {
        let tools = ["dockerd", "docker", "containerd", "runc", "busybox", "tar"];
        let possible = Scope::is_possible() && tools.iter().all(|tool| has_tool(tool));
        can_run(
            test,
            possible,
            "run as root: apt-get install docker.io busybox-static",
        )
    }

    /// Starts it, without any network.
    pub async fn start() -> Self {
        let scope = Scope::new();
        let directory = scope.directory();
        let notify = directory.join("notify.sock");
        let notifications = Notifications::listen(&notify);
        let log = fs::File::create(directory.join("dockerd.log")).expect("a log");
        let configuration = directory.join("daemon.json");
        fs::write(&configuration, "{}").expect("a configuration");
        let daemon = scope
            .command("dockerd")
            .arg("--config-file")
            .arg(configuration)
            .arg("--data-root")
            .arg(directory.join("data"))
            .arg("--exec-root")
            .arg(directory.join("exec"))
            .arg("--pidfile")
            .arg(directory.join("docker.pid"))
            .arg("--host")
            .arg(format!("unix://{}/docker.sock", directory.display()))
            .args(["--bridge", "none", "--iptables=false", "--ip6tables=false"])
            .args(["--exec-opt", "native.cgroupdriver=cgroupfs"])
            .arg("--cgroup-parent")
            .arg(format!("{}/docker", scope.cgroup()))
            .env("NOTIFY_SOCKET", &notify)
            .stderr(log)
            .spawn()
            .expect("dockerd starts");
        within("dockerd's start", notifications.wait_for("READY=1")).await;
        Self { daemon, scope }
    }

    /// Its directory and cgroup.
    #[must_use]
    pub const fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.scope.directory().join("docker.sock")
    }

    /// A command of its command line.
    #[must_use]
    pub fn docker(&self, arguments: &[&str]) -> Command {
        let mut command = self.scope.command("docker");
        command
            .arg("--host")
            .arg(format!("unix://{}", self.socket().display()))
            .args(arguments);
        command
    }

    /// Loads an image.
    pub async fn load(&self, image: &Image) {
        let archive = image.archive().display().to_string();
        let _said = printed(&mut self.docker(&["load", "--input", &archive])).await;
    }

    /// Starts a container with these options of `docker run`.
    pub async fn run(&self, image: &Image, options: &[&str]) -> Container {
        let mut arguments = vec!["run", "--detach", "--network", "none"];
        arguments.extend(options);
        arguments.push(image.name());
        let id = printed(&mut self.docker(&arguments)).await;
        let pid = ["inspect", "--format", "{{.State.Pid}}", &id];
        let pid = printed(&mut self.docker(&pid)).await;
        let pid = pid.parse().expect("a process ID");
        Container::started(id, pid, Path::new("/proc")).await
    }

    /// Ends the daemon, and its containers with it.
    pub async fn stop_daemon(&mut self) {
        let pid = self.daemon.id().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.and_then(Pid::from_raw).expect("it runs");
        kill_process(pid, Signal::TERM).expect("the signal");
        let _status = within("dockerd's end", self.daemon.wait()).await;
    }
}
