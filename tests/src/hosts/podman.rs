//! Podman, with its API service.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::{Container, Image, Scope, printed};
use crate::notify::Notifications;
use crate::{can_run, has_tool, within};

/// What Podman needs to work without `CAP_SYS_RESOURCE`, and beside another Podman.
const CONFIGURATION: &str = r#"[containers]
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]

[engine]
lock_type = "file"
"#;

/// A running API service.
#[derive(Debug)]
pub struct Podman {
    service: Child,
    scope: Scope,
}

impl Podman {
    /// Whether the test called `test` can have one here.
    #[must_use]
    pub fn can_run(test: &str) -> bool {
        let tools = ["podman", "conmon", "runc", "busybox", "tar"];
        let possible = Scope::is_possible() && tools.iter().all(|tool| has_tool(tool));
        can_run(
            test,
            possible,
            "run as root: apt-get install podman conmon runc busybox-static",
        )
    }

    /// Starts it.
    pub async fn start() -> Self {
        let scope = Scope::new();
        let directory = scope.directory();
        fs::write(directory.join("containers.conf"), CONFIGURATION).expect("a configuration");
        let notify = directory.join("notify.sock");
        let notifications = Notifications::listen(&notify);
        let log = fs::File::create(directory.join("podman.log")).expect("a log");
        let socket = format!("unix://{}/podman.sock", directory.display());
        let service = podman(&scope, &["system", "service", "--time", "0", &socket])
            .env("NOTIFY_SOCKET", &notify)
            .stderr(log)
            .spawn()
            .expect("podman starts");
        within("podman's start", notifications.wait_for("READY=1")).await;
        Self { service, scope }
    }

    /// Its directory and cgroup.
    #[must_use]
    pub const fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.scope.directory().join("podman.sock")
    }

    /// A command of its command line.
    #[must_use]
    pub fn podman(&self, arguments: &[&str]) -> Command {
        podman(&self.scope, arguments)
    }

    /// Loads an image.
    pub async fn load(&self, image: &Image) {
        let archive = image.archive().display().to_string();
        let _said = printed(&mut self.podman(&["load", "--input", &archive])).await;
    }

    /// Starts a container with these options of `podman run`.
    pub async fn run(&self, image: &Image, options: &[&str]) -> Container {
        let parent = format!("{}/libpod_parent", self.scope.cgroup());
        let mut arguments = vec!["run", "--detach", "--network", "none"];
        arguments.extend(["--cgroup-parent", &parent]);
        arguments.extend(options);
        arguments.push(image.name());
        let id = printed(&mut self.podman(&arguments)).await;
        let pid = ["inspect", "--format", "{{.State.Pid}}", &id];
        let pid = printed(&mut self.podman(&pid)).await;
        let pid = pid.parse().expect("a process ID");
        Container::started(id, pid, Path::new("/proc")).await
    }

    /// Ends the service; its containers go on.
    pub async fn stop_service(&mut self) {
        let pid = self.service.id().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.and_then(Pid::from_raw).expect("it runs");
        kill_process(pid, Signal::TERM).expect("the signal");
        let _status = within("podman's end", self.service.wait()).await;
    }
}

fn podman(scope: &Scope, arguments: &[&str]) -> Command {
    let directory = scope.directory();
    let mut command = scope.command("podman");
    command
        .env("CONTAINERS_CONF", directory.join("containers.conf"))
        .arg("--root")
        .arg(directory.join("root"))
        .arg("--runroot")
        .arg(directory.join("runroot"))
        .arg("--tmpdir")
        .arg(directory.join("tmp"))
        .args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"])
        .args(["--events-backend", "file", "--runtime", "runc"])
        .arg("--runtime-flag")
        .arg(format!("root={}/runc", directory.display()))
        .args(arguments);
    command
}
