//! The `process` attestor: parents, namespaces, and what a process gave up.
//!
//! Facts about the process beside its user and its program: which programs
//! started it, whether it sees the host's namespaces or ones of its own, the
//! label that a security module gave it, `no_new_privs`, its seccomp mode, and
//! whether others of its user can read its memory. All from `/proc`, which the
//! kernel makes up; `doc/process.md` has each fact's source, and how it can be
//! abused.

use crate::{
    attestor::Subject,
    findings::{Fact, Findings, unread},
    namespaces::{NAMESPACES, NamespaceId},
    parse::{self, Restrictions, Seccomp},
    pin::MAX_STATUS_BYTES,
    procfs::{ProcDir, ReadError},
    selector::is_label,
};
use rustix::{fs::StatxFlags, io::Errno};

mod ancestors;

const LABEL: &str = "process:security_label";
const NO_NEW_PRIVS: &str = "process:no_new_privs";
const SECCOMP: &str = "process:seccomp";
const UNDUMPABLE: &str = "process:undumpable";

/// Where security modules show a process's label. The first ones are there where several are
/// active; the last one is what a single one has.
const LABELS: [&str; 3] = [
    "attr/apparmor/current",
    "attr/smack/current",
    "attr/current",
];

/// Most of a label that is read.
const MAX_LABEL_BYTES: usize = 4096;

/// Reports all selectors of the kind.
pub(crate) async fn report(subject: &Subject<'_>, findings: &mut Findings) {
    match subject.peer.directory(&subject.host.root) {
        Ok(directory) => {
            report_namespaces(subject, directory, findings);
            report_restrictions(directory, findings);
            report_labels(directory, findings);
            let uid = subject.peer.credentials().uid;
            let is_ours =
                NamespaceId::of_process(directory, "user").ok() == subject.host.user_namespace;
            findings.report(UNDUMPABLE, undumpable(directory, uid, is_ours));
        }
        Err(error) => {
            let reason = unread("/proc", error.into());
            let namespaces = NAMESPACES.iter().map(|namespace| namespace.selector);
            for key in namespaces.chain([LABEL, NO_NEW_PRIVS, SECCOMP, UNDUMPABLE]) {
                findings.lack(key, reason.clone());
            }
        }
    }
    ancestors::report(subject, findings).await;
}

fn report_namespaces(subject: &Subject<'_>, directory: &ProcDir, findings: &mut Findings) {
    for (namespace, host) in NAMESPACES.iter().zip(&subject.host.namespaces) {
        let own = NamespaceId::of_process(directory, namespace.name)
            .map_err(|error| unread("ns", error.into()));
        let word = match (host, own) {
            (Ok(host), Ok(own)) if *host == own => Ok("host"),
            (Ok(_), Ok(_)) => Ok("own"),
            (Err(reason), _) => Err(reason.clone()),
            (_, Err(reason)) => Err(reason),
        };
        findings.report(namespace.selector, word);
    }
}

fn report_restrictions(directory: &ProcDir, findings: &mut Findings) {
    let mut bytes = Vec::new();
    let read = directory.read("status", MAX_STATUS_BYTES, &mut bytes);
    let found = read
        .map_err(|error| unread("status", error))
        .and_then(|()| parse::restrictions(&bytes).map_err(|error| error.0.into()));
    let (bit, mode) = match found {
        Ok(found) => words(found),
        Err(reason) => (Err(reason.clone()), Err(reason)),
    };
    findings.report(NO_NEW_PRIVS, bit);
    findings.report(SECCOMP, mode);
}

fn words(found: Restrictions) -> (Fact<bool>, Fact<&'static str>) {
    let bit = found
        .no_new_privs
        .ok_or_else(|| "the kernel does not tell (before Linux 4.10)".into());
    let mode = found
        .seccomp
        .map(Seccomp::as_str)
        .ok_or_else(|| "the kernel has no seccomp".into());
    (bit, mode)
}

fn report_labels(directory: &ProcDir, findings: &mut Findings) {
    let mut bytes = Vec::new();
    let mut is_known = false;
    for file in LABELS {
        match directory.read(file, MAX_LABEL_BYTES, &mut bytes) {
            Ok(()) => {}
            // No such module, or none that labels processes.
            Err(ReadError::System(Errno::NOENT | Errno::INVAL)) => continue,
            Err(error) => return findings.lack(LABEL, unread(file, error)),
        }
        match label(&bytes) {
            Some(label) => findings.know(LABEL, label),
            None => return findings.lack(LABEL, "the label is no plain text".into()),
        }
        is_known = true;
    }
    if !is_known {
        findings.lack(LABEL, "no active security module labels processes".into());
    }
}

fn label(bytes: &[u8]) -> Option<&str> {
    let text = str::from_utf8(bytes).ok()?;
    Some(text.trim_end_matches(['\n', '\0'])).filter(|label| is_label(label))
}

/// Files of a process that is not dumpable belong to root: nobody of the process's own user can
/// trace it or read its memory. (Its directory itself belongs to its user all the same.) Root is
/// that of the user namespace in which it executed its program, who may be that user himself.
fn undumpable(directory: &ProcDir, uid: u32, is_ours: bool) -> Fact<bool> {
    if uid == 0 {
        return Err("the files of root's processes belong to root either way".into());
    }
    let stat = directory
        .stat("stat", StatxFlags::UID)
        .map_err(|error| unread("stat", error.into()))?;
    match stat.stx_uid {
        0 => Ok(true),
        owner if owner == uid && is_ours => Ok(false),
        _ => Err("root of its user namespace is not root here".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::label;

    #[test]
    fn labels_come_with_a_line_end_or_a_nul() {
        assert_eq!(
            label(b"docker-default (enforce)\n"),
            Some("docker-default (enforce)")
        );
        assert_eq!(
            label(b"system_u:system_r:init_t:s0\0"),
            Some("system_u:system_r:init_t:s0")
        );
        for text in [&b""[..], b"\n", b"a\xff", b"a\nb", b"a\x1bb"] {
            assert_eq!(label(text), None);
        }
    }
}
