//! The `unix` attestor: whose process it is and which program it runs.
//!
//! Selectors as SPIRE's attestor of that name has them: `unix:uid`, `user`,
//! `gid`, `group`, `supplementary_gid`, `supplementary_group`, `path` and
//! `sha256`; beside them `privileged_file`, for set-user-ID programs and the like. IDs are effective ones, names come from the host's files, the
//! path is given only where it means the same on the host, and the digest only
//! of content that the kernel vouches for. `doc/unix.md` has each fact's
//! source and how it can be abused.

use crate::{
    accounts::{NameFile, Names},
    digest::Content,
    executable::Executable,
    findings::{Fact, Findings, Reason, unread},
    host::Host,
    namespaces::NamespaceId,
    parse::{Groups, MAX_SUPPLEMENTARY_GROUPS},
    pin::Credentials,
    procfs::ProcDir,
    selector::is_path,
};
use std::{sync::Arc, time::SystemTime};

/// Reports user and groups.
pub(crate) fn report_credentials(
    host: &Host,
    credentials: Credentials,
    groups: &Fact<Groups>,
    at: SystemTime,
    findings: &mut Findings,
) {
    let users = host.accounts.users.names(at);
    let names = Ids {
        file: &host.accounts.users,
        names: &users,
        nobody: host.nobody.uid,
    };
    names.report(["unix:uid", "unix:user"], credentials.uid, findings);
    let group_names = host.accounts.groups.names(at);
    let names = Ids {
        file: &host.accounts.groups,
        names: &group_names,
        nobody: host.nobody.gid,
    };
    names.report(["unix:gid", "unix:group"], credentials.gid, findings);
    report_groups(&names, groups, findings);
}

const SUPPLEMENTARY: [&str; 2] = ["unix:supplementary_gid", "unix:supplementary_group"];

fn report_groups(names: &Ids<'_>, groups: &Fact<Groups>, findings: &mut Findings) {
    let reason = match groups {
        Ok(Groups::Known(groups)) => {
            for &group in groups {
                names.report(SUPPLEMENTARY, group, findings);
            }
            return;
        }
        Ok(Groups::TooMany) => {
            format!("more than {MAX_SUPPLEMENTARY_GROUPS} supplementary groups").into()
        }
        Err(reason) => reason.clone(),
    };
    for key in SUPPLEMENTARY {
        findings.lack(key, reason.clone());
    }
}

/// Numbers of one kind, with their names.
struct Ids<'a> {
    file: &'a NameFile,
    names: &'a Fact<Arc<Names>>,
    nobody: Option<u32>,
}

impl Ids<'_> {
    fn report(&self, [number, name]: [&'static str; 2], id: u32, findings: &mut Findings) {
        if self.nobody == Some(id) {
            let reason: Reason = "without a mapping in the agent's user namespace".into();
            findings.lack(number, reason.clone());
            return findings.lack(name, reason);
        }
        findings.know(number, id);
        match self.names {
            Ok(names) => findings.report(name, self.file.name(names, id)),
            Err(reason) => findings.lack(name, reason.clone()),
        }
    }
}

const PRIVILEGED: &str = "unix:privileged_file";

/// Reports what the program's file gives to whoever runs it.
pub(crate) fn report_privileges(
    executable: &Fact<Arc<Executable>>,
    content: &Fact<Content>,
    findings: &mut Findings,
) {
    let bits = executable
        .as_ref()
        .map_err(Clone::clone)
        .and_then(|executable| {
            let bits = executable.privilege_bits();
            bits.map_err(|error| unread("the executable", error.into()))
        });
    let capabilities = content
        .as_ref()
        .map_err(Clone::clone)
        .and_then(|content| content.has_capabilities.clone());
    match bits {
        Ok(bits) => {
            for (word, is_set) in [("setuid", bits.setuid), ("setgid", bits.setgid)] {
                if is_set {
                    findings.know(PRIVILEGED, word);
                }
            }
        }
        Err(reason) => return findings.lack(PRIVILEGED, reason),
    }
    match capabilities {
        Ok(true) => findings.know(PRIVILEGED, "capabilities"),
        Ok(false) => {}
        Err(reason) => findings.lack(PRIVILEGED, reason),
    }
}

/// The program's path, where it names the program on the host.
///
/// In a mount namespace of its own a process sees whatever its maker mounted
/// over the path. And a process of the host's namespace can run a file through
/// another one's (`/proc/PID/root/...`): the kernel writes the path of that
/// mount then, so the mount has to be among the host's.
pub(crate) fn path(host: &Host, directory: &ProcDir, executable: &Executable) -> Fact<String> {
    let (namespace, mounts) = host.mounts.as_ref().map_err(Clone::clone)?;
    let own = NamespaceId::of_process(directory, "mnt")
        .map_err(|error| unread("ns/mnt", error.into()))?;
    if own != *namespace {
        return Err("the process has a mount namespace of its own".into());
    }
    let mount = executable
        .mountinfo_id()
        .ok_or("the kernel does not tell the executable's mount (before Linux 5.8)")?;
    if mounts.find(mount).is_none() {
        return Err("the executable's mount is not among the host's".into());
    }
    let path = executable
        .path(&host.root)
        .map_err(|error| unread("exe", error.into()))?;
    let path = String::from_utf8(path).map_err(|_utf8| "the path is no text")?;
    if path.ends_with(" (deleted)") {
        return Err("the executable was removed or replaced since it was started".into());
    }
    if !is_path(&path) {
        return Err("the path is not plain and absolute".into());
    }
    Ok(path)
}
