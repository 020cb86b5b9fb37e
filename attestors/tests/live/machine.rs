//! A Debian system whose systemd runs in `systemd-nspawn`, with namespaces of its own.
//!
//! `tests/hosts/systemd` makes the systems. They boot with a volatile overlay and in cgroups of
//! their own, and are gone when the [`Machine`] is dropped.

use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    os::unix::{fs::MetadataExt as _, net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// No boot takes as long; one that hangs fails the test.
const BOOT: Duration = Duration::from_secs(180);

/// A booted system.
pub(crate) struct Machine {
    nspawn: Child,
    /// Its PID 1, by our number.
    pub(crate) leader: u32,
    cgroups: Vec<PathBuf>,
    /// Says when it has booted, and keeps its name and what nspawn says.
    notices: (UnixDatagram, TempDir),
    name: String,
}

/// Which hierarchies it finds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Hierarchies {
    /// Those of the test's own host.
    Host,
    /// Version 2 alone.
    Unified,
}

impl Machine {
    /// What it takes, where this machine cannot boot `release`.
    pub(crate) fn lacking(release: &str) -> Option<&'static str> {
        let tool = Command::new("systemd-nspawn").arg("--version").output();
        let can = rustix::process::geteuid().is_root() && system(release).is_dir() && tool.is_ok();
        (!can).then_some("as root, REQUIRE_ALL_TESTS=1 tests/hosts/install")
    }

    /// Boots `release`, in which `program` lies at the path `inside`.
    pub(crate) fn boot(
        release: &str,
        hierarchies: Hierarchies,
        (program, inside): (&Path, &str),
    ) -> Self {
        let notices = tempfile::tempdir().unwrap();
        let socket = notices.path().join("notify");
        let receiver = UnixDatagram::bind(&socket).unwrap();
        receiver.set_read_timeout(Some(BOOT)).unwrap();
        // Not so that two machines manage one cgroup.
        let unique = notices.path().file_name().unwrap().to_str().unwrap();
        let name = format!("symbolon-{}-{release}", unique.trim_start_matches(".tmp"));
        let cgroups = own_cgroups(&name);
        let mut script = String::new();
        for cgroup in &cgroups {
            script += &format!("echo $$ > {}/cgroup.procs\n", cgroup.display());
        }
        if hierarchies == Hierarchies::Unified {
            script += "umount -R /sys/fs/cgroup\nmount -t cgroup2 none /sys/fs/cgroup\n";
        }
        script += "exec systemd-nspawn \"$@\"";
        let nspawn = Command::new("unshare")
            .args(["-m", "sh", "-ec", &script, "sh", "--directory"])
            .arg(system(release))
            .args([
                "--boot",
                "--volatile=overlay",
                "--register=no",
                "--keep-unit",
            ])
            .args(["--notify-ready=yes", "--console=pipe", "--quiet"])
            .arg(format!("--machine={name}"))
            .arg(format!("--bind-ro={}:{inside}", program.display()))
            .env("NOTIFY_SOCKET", &socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(notices.path().join("said")).unwrap())
            .spawn()
            .unwrap();
        let mut machine = Self {
            nspawn,
            leader: 0,
            cgroups,
            notices: (receiver, notices),
            name,
        };
        machine.wait();
        machine
    }

    fn wait(&mut self) {
        let mut notice = [0; 4096];
        loop {
            let received = self.notices.0.recv(&mut notice);
            let said = || fs::read_to_string(self.notices.1.path().join("said"));
            assert!(
                received.is_ok(),
                "{} does not boot: {:?}",
                self.name,
                said()
            );
            let length = received.unwrap();
            let text = String::from_utf8_lossy(notice.get(..length).unwrap());
            for line in text.lines() {
                if let Some(pid) = line.strip_prefix("X_NSPAWN_LEADER_PID=") {
                    self.leader = pid.parse().unwrap();
                }
            }
            if text.lines().any(|line| line == "READY=1") && self.leader != 0 {
                return;
            }
        }
    }

    /// A command that will run inside, in all of the machine's namespaces.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["-a", "-t", &self.leader.to_string(), "--", program])
            .env_remove("TMPDIR");
        command
    }

    /// Runs a shell script inside, and returns what it says.
    pub(crate) fn sh(&self, script: &str) -> String {
        let output = self.command("sh").args(["-ec", script]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {said}{complaint}");
        said.trim_end().to_owned()
    }

    /// The machine's file at `path`, as seen from outside.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.leader))
    }

    /// The number outside of the process that has the number `pid` inside.
    pub(crate) fn outside(&self, pid: u32) -> u32 {
        let namespace = |pid: &str| fs::metadata(format!("/proc/{pid}/ns/pid")).unwrap().ino();
        let own = namespace(&self.leader.to_string());
        let found = fs::read_dir("/proc").unwrap().find_map(|entry| {
            let name = entry.unwrap().file_name().into_string().ok()?;
            let status = fs::read_to_string(format!("/proc/{name}/status")).ok()?;
            let pids = status
                .lines()
                .find_map(|line| line.strip_prefix("NSpid:"))?;
            let inner = pids.split_whitespace().last()?.parse() == Ok(pid);
            (inner && namespace(&name) == own).then(|| name.parse().unwrap())
        });
        found.unwrap()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // With its PID 1 everything in it ends, and then nspawn puts away what it made.
        let leader = i32::try_from(self.leader).ok().and_then(Pid::from_raw);
        let killed = match leader {
            Some(leader) => kill_process(leader, Signal::KILL).map_err(Into::into),
            None => self.nspawn.kill(),
        };
        drop(killed);
        drop(self.nspawn.wait());
        for cgroup in &self.cgroups {
            remove(cgroup);
        }
        // Where /run is no file system of its own, nspawn does not dare to.
        let propagated = Path::new("/run/systemd/nspawn/propagate").join(&self.name);
        drop(fs::remove_dir(propagated));
    }
}

/// Where `tests/hosts/systemd` makes a system.
fn system(release: &str) -> PathBuf {
    let attestors_or_tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    attestors_or_tests.join("../target/hosts").join(release)
}

/// New cgroups in each hierarchy that systemd manages.
pub(crate) fn own_cgroups(name: &str) -> Vec<PathBuf> {
    let roots = [
        "/sys/fs/cgroup",
        "/sys/fs/cgroup/unified",
        "/sys/fs/cgroup/systemd",
    ];
    let roots = roots.iter().map(Path::new);
    let made = roots.filter(|root| root.join("cgroup.procs").exists());
    made.map(|root| root.join(name))
        .inspect(|cgroup| fs::create_dir(cgroup).unwrap())
        .collect()
}

/// Removes a cgroup with those below it. What still has processes stays.
pub(crate) fn remove(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    drop(fs::remove_dir(cgroup));
}
