//! The record of one attestation.
//!
//! Owns [`Evidence`], what was seen and what was not, and [`Attestation`],
//! which holds it with its name: the SHA-256 of its canonical JSON (RFC 8785;
//! strings and integers only). Fields stand in the order of their names, so
//! that writing them as they stand is the canonical form; a test compares.
//!
//! The evidence goes to the audit trail. It holds what the kernel and the
//! host's files said, never a command line, an environment or memory.

use crate::{
    findings::Reason,
    hex,
    image::Image,
    kinds::{Kind, Kinds},
    parse::CgroupLayout,
    proof::Proofs,
    selector::Selector,
};
use aws_lc_rs::digest::{SHA256, digest};
use serde::Serialize;
use std::sync::Arc;

/// A selector that could not be found out.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Unknown {
    /// Why, for an operator.
    pub reason: Reason,
    /// Type and key: `unix:path`.
    pub selector: &'static str,
}

/// What was seen of one process.
#[derive(Clone, Debug, Serialize)]
pub struct Evidence {
    /// The attestors that were asked beside `unix` and `cgroup`, by name.
    pub asked: Vec<Kind>,
    /// Where it is in the hierarchies.
    pub cgroup: Option<CgroupEvidence>,
    /// What it can execute, where that was asked.
    pub code: Option<CodeEvidence>,
    /// The container that it is in, where a runtime confirmed one.
    pub container: Option<ContainerEvidence>,
    /// The file that it runs.
    pub executable: Option<ExecutableEvidence>,
    /// Effective group ID.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Option<Vec<u32>>,
    /// Process ID, as the agent's PID namespace has it.
    pub pid: u32,
    /// How the process was pinned: `pidfd` or `pid-starttime`.
    pub pinned_by: &'static str,
    /// What was proved about the connection; none where an operator asked.
    pub proofs: Option<Proofs>,
    /// The facts as selectors, sorted.
    pub selectors: Arc<[Selector]>,
    /// When the process started, in clock ticks since boot.
    pub start_time: Option<u64>,
    /// When it was attested (RFC 3339, UTC, milliseconds).
    pub time: String,
    /// The process that traces it, where that is allowed.
    pub tracer: Option<u32>,
    /// Effective user ID.
    pub uid: u32,
    /// What could not be found out.
    pub unknown: Vec<Unknown>,
}

/// A process's place in the hierarchies.
#[derive(Clone, Debug, Serialize)]
pub struct CgroupEvidence {
    /// Its ID in the unified hierarchy, where the kernel tells it (Linux 6.13).
    pub id: Option<u64>,
    /// The host's layout.
    pub layout: CgroupLayout,
    /// Its path in the version 1 hierarchy `name=systemd`.
    pub systemd: Option<String>,
    /// Its path in the unified hierarchy.
    pub unified: Option<String>,
}

/// A process's container, confirmed by the runtime.
#[derive(Clone, Debug, Serialize)]
pub struct ContainerEvidence {
    /// Its ID.
    pub id: String,
    /// Digests of its image's manifests, where it came from a registry.
    pub image_digests: Vec<String>,
    /// Digest of its image's configuration.
    pub image_id: Option<String>,
    /// Its name.
    pub name: String,
    /// The pod, where the runtime has pods.
    pub pod: Option<PodEvidence>,
    /// `docker`, `podman`, `containerd` or `cri-o`.
    pub runtime: &'static str,
}

/// A container's pod.
#[derive(Clone, Debug, Serialize)]
pub struct PodEvidence {
    /// The container's name in the pod.
    pub container: String,
    /// The pod's name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its UID.
    pub uid: String,
}

/// What a process can execute.
#[derive(Clone, Debug, Serialize)]
pub struct CodeEvidence {
    /// How many files it has mapped executable.
    pub files: usize,
    /// SHA-256 that stands for those files (device, inode, size, times, owner, mode) and for
    /// whether there is executable memory beside them.
    pub mapped: Arc<str>,
    /// The first few that are not root's alone, and why.
    pub untrusted: Vec<String>,
}

/// The file that a process runs.
#[derive(Clone, Debug, Serialize)]
pub struct ExecutableEvidence {
    /// Its change time: seconds and nanoseconds since 1970, with a point between.
    pub changed: String,
    /// Its device: major and minor number, with a colon between.
    pub device: String,
    /// Its inode.
    pub inode: u64,
    /// Its path on the host.
    pub path: Option<String>,
    /// SHA-256 of its content.
    pub sha256: Option<Arc<str>>,
    /// Its size in bytes.
    pub size: u64,
}

/// A process, attested: facts about it that held together at one time.
#[derive(Clone, Debug)]
pub struct Attestation {
    evidence: Arc<Evidence>,
    id: Arc<str>,
    image: Image,
    kinds: Kinds,
}

impl Attestation {
    pub(crate) fn new(evidence: Evidence, image: Image) -> Result<Self, serde_json::Error> {
        let canonical = serde_json::to_vec(&evidence)?;
        Ok(Self {
            kinds: evidence.asked.iter().copied().collect(),
            id: hex(digest(&SHA256, &canonical).as_ref()),
            evidence: Arc::new(evidence),
            image,
        })
    }

    /// The same facts with what was proved about one connection: a record of its own.
    ///
    /// # Errors
    /// A bug: the record cannot be written.
    pub fn proven(&self, proofs: Proofs) -> Result<Self, serde_json::Error> {
        let evidence = Evidence {
            proofs: Some(proofs),
            ..Evidence::clone(&self.evidence)
        };
        Self::new(evidence, self.image.clone())
    }

    /// The image whose facts these are: they hold as long as the process shows it.
    #[must_use]
    pub const fn image(&self) -> &Image {
        &self.image
    }

    /// The attestors that were asked beside `unix` and `cgroup`.
    #[must_use]
    pub const fn kinds(&self) -> Kinds {
        self.kinds
    }

    /// Whether this attestor was asked, and found anything out. What it did not find out
    /// besides (a runtime knows nothing of service accounts) makes no difference.
    #[must_use]
    pub fn has_facts_of(&self, kind: Kind) -> bool {
        let of_kind = |selector: &Selector| Kind::of(selector) == Some(kind);
        self.kinds.has(kind) && self.selectors().iter().any(of_kind)
    }

    /// What holds of the process, sorted, each selector once.
    #[must_use]
    pub fn selectors(&self) -> &[Selector] {
        &self.evidence.selectors
    }

    /// The record.
    #[must_use]
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// The `attestation_id`: SHA-256 of the record's canonical JSON, in hexadecimal.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// SHA-256 of the program's file in hexadecimal, where it is known.
    #[must_use]
    pub fn executable_sha256(&self) -> Option<&str> {
        self.evidence.executable.as_ref()?.sha256.as_deref()
    }

    /// The program's path on the host, where it is known.
    #[must_use]
    pub fn executable_path(&self) -> Option<&str> {
        self.evidence.executable.as_ref()?.path.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        CgroupEvidence, CodeEvidence, ContainerEvidence, Evidence, ExecutableEvidence, PodEvidence,
        Unknown,
    };
    use crate::{
        kinds::Kind,
        parse::CgroupLayout,
        proof::{AnsweredWord, HeldWord, Proofs},
    };
    use std::collections::BTreeMap;

    /// Every object of `value` with its names in order.
    fn sorted(value: &serde_json::Value) -> String {
        match value {
            serde_json::Value::Object(map) => {
                let parts: BTreeMap<_, _> = map.iter().collect();
                let parts: Vec<_> = parts
                    .iter()
                    .map(|(name, value)| format!("\"{name}\":{}", sorted(value)))
                    .collect();
                format!("{{{}}}", parts.join(","))
            }
            serde_json::Value::Array(items) => {
                let items: Vec<_> = items.iter().map(sorted).collect();
                format!("[{}]", items.join(","))
            }
            other => other.to_string(),
        }
    }

    #[test]
    fn evidence_is_written_in_its_canonical_form() {
        let evidence = Evidence {
            asked: vec![Kind::Code],
            cgroup: Some(CgroupEvidence {
                id: Some(7),
                layout: CgroupLayout::Hybrid,
                systemd: Some("/a\"\\b".into()),
                unified: None,
            }),
            code: Some(CodeEvidence {
                files: 2,
                mapped: "00".into(),
                untrusted: vec!["/a belongs to user 7".into()],
            }),
            container: Some(ContainerEvidence {
                id: "i".into(),
                image_digests: vec!["sha256:d".into()],
                image_id: None,
                name: "n".into(),
                pod: Some(PodEvidence {
                    container: "c".into(),
                    name: "p".into(),
                    namespace: "s".into(),
                    uid: "u".into(),
                }),
                runtime: "containerd",
            }),
            executable: Some(ExecutableEvidence {
                changed: "1.000000002".into(),
                device: "254:0".into(),
                inode: 3,
                path: Some("/usr/bin/\u{e9}".into()),
                sha256: None,
                size: 4,
            }),
            gid: 1,
            groups: Some(vec![4, 27]),
            pid: 2,
            pinned_by: "pidfd",
            proofs: Some(Proofs {
                answered: AnsweredWord::Stamped,
                held: HeldWord::CloseOnExec,
            }),
            selectors: ["unix:uid:1000".parse().unwrap()].into(),
            start_time: Some(5),
            time: "2026-11-21T00:00:00.000Z".into(),
            tracer: Some(8),
            uid: 1000,
            unknown: vec![Unknown {
                reason: "because".into(),
                selector: "unix:path",
            }],
        };
        let written = serde_json::to_string(&evidence).unwrap();
        let value = serde_json::from_str(&written).unwrap();
        assert_eq!(written, sorted(&value));
    }
}
