//! runc alone: containers that no daemon knows, in cgroups of the test's choice.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use super::{Container, Scope, printed};
use crate::{Program, can_run, has_tool};

/// A place for containers.
#[derive(Debug)]
pub struct Runc {
    scope: Scope,
}

impl Default for Runc {
    fn default() -> Self {
        Self::new()
    }
}

impl Runc {
    /// Whether the test called `test` can have one here.
    #[must_use]
    pub fn can_run(test: &str) -> bool {
        let possible = Scope::is_possible() && has_tool("runc") && has_tool("busybox");
        can_run(
            test,
            possible,
            "run as root: apt-get install runc busybox-static",
        )
    }

    /// A new one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            scope: Scope::new(),
        }
    }

    /// Its directory and cgroup.
    #[must_use]
    pub const fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Starts a container that sleeps, in the cgroup `below` the scope's.
    pub async fn run(&self, name: &str, below: &str) -> Container {
        let bundle = self.scope.directory().join(name);
        let root = bundle.join("rootfs");
        for place in ["bin", "proc", "sys", "dev"] {
            fs::create_dir_all(root.join(place)).expect("a directory of the container");
        }
        fs::copy(Program::on_path("busybox").path(), root.join("bin/busybox"))
            .expect("the container's program");
        let mut spec = self.scope.command("runc");
        let _said = printed(spec.arg("spec").arg("--bundle").arg(&bundle)).await;
        let file = bundle.join("config.json");
        let text = fs::read_to_string(&file).expect("a configuration");
        let mut config: Value = serde_json::from_str(&text).expect("JSON");
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["/bin/busybox", "sleep", "100000"]);
        config["process"]["rlimits"] = json!([]);
        config["linux"]["cgroupsPath"] = json!(format!("{}/{below}", self.scope.cgroup()));
        fs::write(&file, config.to_string()).expect("a configuration");
        let pid = bundle.join("pid");
        let mut run = self.scope.command("runc");
        run.arg("--root")
            .arg(self.scope.directory().join("runc"))
            .args(["run", "--detach", "--pid-file"])
            .arg(&pid)
            .arg("--bundle")
            .arg(&bundle)
            .arg(name)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let status = run.status().await.expect("runc runs");
        assert!(status.success(), "runc: {status}");
        let pid = fs::read_to_string(pid).expect("a process ID");
        let pid = pid.parse().expect("a process ID");
        Container::started(name.to_owned(), pid, Path::new("/proc")).await
    }
}
