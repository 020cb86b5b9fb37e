//! A directory and a cgroup that a test has for itself.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::mount::{UnmountFlags, unmount};
use tempfile::TempDir;
use tokio::process::Command;

use crate::is_root;

/// Moves itself into the cgroup that is its first argument, and executes the rest.
const ENTER: &str = r#"echo $$ > "$0/cgroup.procs" && exec "$@""#;

/// A directory and a cgroup, emptied and removed when dropped.
#[derive(Debug)]
pub struct Scope {
    directory: TempDir,
    name: String,
    unified: PathBuf,
}

impl Scope {
    /// Whether the machine has what it takes: root, and the unified cgroup hierarchy.
    #[must_use]
    pub fn is_possible() -> bool {
        is_root() && unified_mount().is_some_and(|unified| unified.join("cgroup.procs").exists())
    }

    /// A new one.
    #[must_use]
    pub fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("symbolon-")
            .tempdir()
            .expect("a directory");
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755))
            .expect("its permissions");
        let name = directory.path().file_name().and_then(OsStr::to_str);
        let name = name.expect("a name in ASCII").to_owned();
        let unified = unified_mount().expect("is_possible was asked before");
        fs::create_dir_all(unified.join(&name).join("daemon")).expect("a cgroup");
        Self {
            directory,
            name,
            unified,
        }
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The cgroup's path in every hierarchy: `/symbolon-...`.
    #[must_use]
    pub fn cgroup(&self) -> String {
        format!("/{}", self.name)
    }

    /// The directory of a cgroup below it in the unified hierarchy, made where it is missing.
    #[must_use]
    pub fn cgroup_directory(&self, below: &str) -> PathBuf {
        let directory = self.unified.join(&self.name).join(below);
        fs::create_dir_all(&directory).expect("a cgroup");
        directory
    }

    /// A command that runs in the cgroup `daemon` below it.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        self.command_in("daemon", program)
    }

    /// A command that runs in a cgroup below it, in the unified hierarchy alone.
    #[must_use]
    pub fn command_in(&self, below: &str, program: &str) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", ENTER])
            .arg(self.cgroup_directory(below))
            .arg(program)
            .kill_on_drop(true);
        command
    }

    /// Kills everything in the cgroup and waits until it is empty.
    fn kill(&self) -> std::io::Result<()> {
        let group = self.unified.join(&self.name);
        fs::write(group.join("cgroup.kill"), "1")?;
        let events = fs::File::open(group.join("cgroup.events"))?;
        loop {
            let content = fs::read_to_string(group.join("cgroup.events"))?;
            if content.contains("populated 0") {
                return Ok(());
            }
            // The kernel says when the file's content changes (cgroup-v2, "cgroup.events").
            let _ready = poll(&mut [PollFd::new(&events, PollFlags::PRI)], None)?;
        }
    }
}

impl Default for Scope {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scope {
    #[expect(
        clippy::print_stderr,
        reason = "the test runner shows it with the test"
    )]
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("{} may have processes left: {error}", self.name);
        }
        for hierarchy in mounts(|kind| kind.starts_with("cgroup")) {
            remove_groups(&hierarchy.join(&self.name));
        }
        let mut mounts = mounts(|_| true);
        mounts.retain(|mount| mount.starts_with(self.directory.path()));
        for mount in mounts.iter().rev() {
            if let Err(error) = unmount(mount, UnmountFlags::DETACH) {
                eprintln!("{} stays mounted: {error}", mount.display());
            }
        }
    }
}

/// Removes empty cgroups, the innermost first.
fn remove_groups(group: &Path) {
    let Ok(entries) = fs::read_dir(group) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_groups(&entry.path());
        }
    }
    drop(fs::remove_dir(group));
}

fn unified_mount() -> Option<PathBuf> {
    mounts(|kind| kind == "cgroup2").into_iter().next()
}

/// Where file systems of these types are mounted, in the order of their mounting.
fn mounts(wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mount = |line: &str| {
        let (front, back) = line.split_once(" - ")?;
        let kind = back.split(' ').next()?;
        wanted(kind).then(|| front.split(' ').nth(4).map(PathBuf::from))?
    };
    table.lines().filter_map(mount).collect()
}
