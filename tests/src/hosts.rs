//! Real container runtimes and hosts for tests, each in a directory and a
//! cgroup of the test's own.
//!
//! A [`Scope`] owns both: daemons are started in its cgroup, containers get
//! cgroups below it, and when it is dropped everything in it is killed,
//! unmounted and removed, whatever became of the daemon. Images are made here
//! from programs of the machine ([`Image`]); nothing is downloaded.

mod containerd;
mod docker;
mod image;
mod podman;
mod runc;
mod scope;

pub use containerd::{Containerd, Pod};
pub use docker::Docker;
pub use image::Image;
pub use podman::Podman;
pub use runc::Runc;
pub use scope::Scope;

use std::path::PathBuf;

use crate::within;
use tokio::process::Command;

/// A running container.
#[derive(Clone, Debug)]
pub struct Container {
    /// 64 hexadecimal digits, or what the test called it.
    pub id: String,
    /// Of its first process, here.
    pub pid: u32,
}

impl Container {
    /// One whose runtime says that it has started: its first process may still run the runtime's
    /// program, for the time that it takes to execute its own.
    async fn started(id: String, pid: u32) -> Self {
        within("the execution of a container's program", async {
            let link = format!("/proc/{pid}/exe");
            let is_runtime = |program: PathBuf| program.to_string_lossy().contains("runc");
            while std::fs::read_link(&link).is_ok_and(is_runtime) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        Self { id, pid }
    }
}

/// What a command that has to succeed prints, without the line's end.
async fn printed(command: &mut Command) -> String {
    let what = format!("{:?}", command.as_std());
    let output = within(&what, command.output()).await;
    let output = output.expect("the command runs");
    assert!(output.status.success(), "{what}: {output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    text.trim_end().to_owned()
}
