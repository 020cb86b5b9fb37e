//! The machine that registrations are judged against: accounts, files, programs.
//!
//! Reads files, so it is called on a blocking thread only. What cannot be read
//! says nothing: a judgement without `passwd` knows root alone.

use super::{
    Subject,
    accounts::Accounts,
    files::{self, Verdict},
    finding::{Finding, Findings, Severity, Weakness},
    meaning::{self, Meaning},
    programs::{Digests, Programs},
    set::{self, Knowledge},
};
use crate::registry::SelectorSet;
use parking_lot::Mutex;
use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use symbolon_attestors::Selector;
use tokio::time::Instant;

/// How long one look at the known programs serves.
const FRESH: Duration = Duration::from_secs(1);

/// Most of `passwd` and `group` that is read, as the attestors do.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Where cgroups are seen: the unified hierarchy, a hybrid one's, and systemd's of version 1.
const HIERARCHIES: [&str; 3] = [
    "sys/fs/cgroup",
    "sys/fs/cgroup/unified",
    "sys/fs/cgroup/systemd",
];

/// The host, below a root.
#[derive(Debug)]
pub(super) struct Machine {
    root: PathBuf,
    programs: Programs,
    /// Held while programs are hashed, by threads that may block: the others want the result.
    digests: Mutex<Option<(Instant, Arc<Digests>)>>,
}

impl Machine {
    /// The host as the agent sees it: its own root, or PID 1's where the agent runs in a mount
    /// namespace of its own with the host's processes.
    pub(super) fn host() -> Self {
        let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
        let elsewhere = namespace("1").is_some_and(|first| Some(first) != namespace("self"));
        let host = Path::new("/proc/1/root/");
        // A root that cannot be entered shows nothing at all.
        if elsewhere && host.join("etc/passwd").exists() {
            Self::below(host)
        } else {
            Self::below(Path::new("/"))
        }
    }

    pub(super) fn below(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            programs: Programs::default(),
            digests: Mutex::default(),
        }
    }

    /// Judges every set of `subject` in itself and against the machine.
    pub(super) fn judge(&self, subject: &Subject) -> Vec<Finding> {
        let known = self.knowledge(subject);
        let sets = subject.sets.iter();
        sets.flat_map(|set| {
            let mut found = set::judge(set, &known);
            found.extend(self.judge_paths(set, &known.accounts));
            found
        })
        .collect()
    }

    fn knowledge(&self, subject: &Subject) -> Knowledge {
        let selectors = || subject.sets.iter().flat_map(SelectorSet::selectors);
        let wants_digests =
            selectors().any(|selector| matches!(meaning::of(selector), Meaning::Digest(_)));
        let cgroups = selectors().filter_map(|selector| match meaning::of(selector) {
            Meaning::Cgroup(path) => Some(path),
            _ => None,
        });
        Knowledge {
            accounts: self.accounts(),
            digests: if wants_digests {
                self.digests()
            } else {
                Arc::default()
            },
            own_path: fs::read_link("/proc/self/exe")
                .ok()
                .and_then(|path| path.into_os_string().into_string().ok()),
            delegated: cgroups
                .filter(|path| self.is_delegated(path))
                .map(ToOwned::to_owned)
                .collect(),
        }
    }

    fn digests(&self) -> Arc<Digests> {
        let mut digests = self.digests.lock();
        if let Some((at, known)) = &*digests
            && at.elapsed() < FRESH
        {
            return Arc::clone(known);
        }
        let known = Arc::new(self.programs.digests(&self.root));
        *digests = Some((Instant::now(), Arc::clone(&known)));
        known
    }

    fn accounts(&self) -> Accounts {
        let read = |name: &str| read(&self.root.join("etc").join(name)).unwrap_or_default();
        Accounts::parse(&read("passwd"), &read("group"))
    }

    /// Whether the cgroup, or one above it, belongs to somebody other than root.
    fn is_delegated(&self, path: &str) -> bool {
        let path = Path::new(path.trim_start_matches('/'));
        let hierarchies = HIERARCHIES
            .iter()
            .map(|hierarchy| self.root.join(hierarchy));
        let mut places = hierarchies
            .flat_map(|hierarchy| path.ancestors().map(move |part| hierarchy.join(part)));
        places.any(|place| fs::symlink_metadata(place).is_ok_and(|found| found.uid() != 0))
    }

    fn judge_paths(&self, set: &SelectorSet, accounts: &Accounts) -> Vec<Finding> {
        let selectors = set.selectors();
        let mut findings = Findings::about(selectors);
        let has_digest = selectors
            .iter()
            .any(|s| matches!(meaning::of(s), Meaning::Digest(_)));
        let allowed = users(selectors, accounts);
        let paths = selectors
            .iter()
            .filter_map(|selector| match meaning::of(selector) {
                Meaning::Path(path) => Some(path),
                _ => None,
            });
        for path in paths {
            let verdict = files::judge(&self.root, path, &allowed, accounts);
            tell(verdict, path, has_digest, &mut findings);
        }
        findings.into_vec()
    }
}

fn tell(verdict: Verdict, path: &str, has_digest: bool, findings: &mut Findings<'_>) {
    match verdict {
        Verdict::Firm => {}
        Verdict::Missing => findings.add(
            Weakness::MissingPath,
            Severity::Notice,
            format!("there is no {path} on this machine now"),
        ),
        Verdict::Link(link) => findings.add(
            Weakness::SymlinkPath,
            Severity::Notice,
            format!(
                "{} is a symbolic link, and the kernel shows a program by the file that it leads \
                 to: the set never fits",
                link.display()
            ),
        ),
        Verdict::Writable { place, by } => {
            let severity = if has_digest {
                Severity::Notice
            } else {
                Severity::Serious
            };
            let place = place.display();
            findings.add(
                Weakness::WritablePath,
                severity,
                format!("{by} can write to {place}, and so replace the program {path}"),
            );
        }
    }
}

/// The users that the set names.
fn users(selectors: &[Selector], accounts: &Accounts) -> Vec<u32> {
    let uid = |selector| match meaning::of(selector) {
        Meaning::Uid(uid) => Some(uid),
        Meaning::User(name) => accounts.uid(name),
        _ => None,
    };
    selectors.iter().filter_map(uid).collect()
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_FILE_BYTES)
        .read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests;
