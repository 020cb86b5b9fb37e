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

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

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
    /// program, or be in the middle of executing its own, when this begins. `proc` numbers it `pid`.
    async fn started(id: String, pid: u32, proc: &Path) -> Self {
        let process = proc.join(pid.to_string());
        within("the execution of a container's program", async {
            while !has_executed(&process) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        Self { id, pid }
    }
}

/// Whether the process runs a program of its container, a file below its root, not the runtime's
/// (which may be a copy without a name), and waits for something: then its execution is over.
fn has_executed(process: &Path) -> bool {
    let waits_in_container = || -> std::io::Result<bool> {
        let program = fs::read_link(process.join("exe"))?;
        let inside = process.join("root");
        let inside = inside.join(program.strip_prefix("/").unwrap_or(&program));
        let (runs, inside) = (fs::metadata(process.join("exe"))?, fs::metadata(inside)?);
        Ok((runs.dev(), runs.ino()) == (inside.dev(), inside.ino())
            && !program.to_string_lossy().contains("runc")
            && waits(&fs::read_to_string(process.join("syscall"))?))
    };
    waits_in_container().unwrap_or(false)
}

/// Whether this is the `/proc/PID/syscall` of a process that waits in a system call, other than
/// those that execute a program: they too may have to wait, with half of the new image in place.
fn waits(syscall: &str) -> bool {
    let call = syscall.split_whitespace().next();
    let call = call.and_then(|call| call.parse::<libc::c_long>().ok());
    call.is_some_and(|call| call != libc::SYS_execve && call != libc::SYS_execveat)
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
