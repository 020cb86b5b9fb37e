//! From a confirmed container to selectors.

use super::{
    KEYS, POD_KEYS,
    runtime::{Claim, Description},
};
use crate::{
    attestor::Subject,
    evidence::{ContainerEvidence, PodEvidence},
    findings::{Fact, Findings, Reason, unread},
    mounts::{self, MAX_MOUNTINFO_BYTES},
    namespaces::{NamespaceId, mounts_are_ours},
    pin::PinnedPeer,
    procfs::ReadError,
    selector::is_path,
};
use std::collections::BTreeMap;

/// Labels that become selectors; Kubernetes and Compose set some ten.
const MAX_LABELS: usize = 256;

/// A container that the subject was confirmed to be in.
#[derive(Debug)]
pub(super) struct Confirmed {
    pub(super) claim: Claim,
    pub(super) description: Description,
    /// The container's first process.
    pub(super) init: PinnedPeer,
}

impl Confirmed {
    /// Reports its selectors.
    pub(super) fn report(self, subject: &Subject<'_>, findings: &mut Findings) {
        let Self {
            claim,
            description,
            init,
        } = self;
        findings.know("container:runtime", claim.runtime);
        findings.know("container:id", &claim.id);
        if claim.name.is_empty() {
            findings.lack("container:name", "the runtime names none".into());
        } else {
            findings.know("container:name", &claim.name);
        }
        labels("container:label", &claim.labels, findings);
        let image_id = description.image_id.as_ref();
        findings.report("container:image_id", image_id.map_err(Clone::clone));
        match &description.image_digests {
            Ok(digests) => {
                for digest in digests {
                    findings.know("container:image_digest", digest);
                }
            }
            Err(reason) => findings.lack("container:image_digest", reason.clone()),
        }
        findings.report("container:path", path(subject, &init));
        let pod = description.pod;
        if let (Some(pod), Some(claimed)) = (&pod, &claim.pod) {
            report_pod(pod, &claim.name, &claimed.images, findings);
        }
        findings.container = Some(ContainerEvidence {
            id: claim.id,
            image_digests: description.image_digests.unwrap_or_default(),
            image_id: description.image_id.ok(),
            name: claim.name,
            pod: pod.and_then(Result::ok).map(|(pod, _labels)| pod),
            runtime: claim.runtime,
        });
    }
}

fn report_pod(
    pod: &Fact<(PodEvidence, BTreeMap<String, String>)>,
    container: &str,
    images: &[String],
    findings: &mut Findings,
) {
    findings.know("k8s:container-name", container);
    for image in images {
        findings.know("k8s:container-image", image);
    }
    match pod {
        Ok((pod, pod_labels)) => {
            findings.know("k8s:ns", &pod.namespace);
            findings.know("k8s:pod-name", &pod.name);
            findings.know("k8s:pod-uid", &pod.uid);
            labels("k8s:pod-label", pod_labels, findings);
        }
        Err(reason) => {
            for key in POD_KEYS {
                findings.lack(key, reason.clone());
            }
        }
    }
    for key in [
        "k8s:node-name",
        "k8s:pod-image",
        "k8s:pod-image-count",
        "k8s:pod-init-image",
        "k8s:pod-init-image-count",
        "k8s:pod-owner",
        "k8s:pod-owner-uid",
        "k8s:sa",
    ] {
        findings.lack(
            key,
            "the container runtime does not know it, only the Kubernetes API does".into(),
        );
    }
}

fn labels(key: &'static str, labels: &BTreeMap<String, String>, findings: &mut Findings) {
    if labels.len() > MAX_LABELS {
        return findings.lack(key, format!("more than {MAX_LABELS} labels").into());
    }
    for (name, value) in labels {
        if name.is_empty() || name.contains(':') {
            // a:b with the value c, and a with the value b:c, would be one selector.
            let name: String = name.chars().take(64).collect();
            findings.lack(key, format!("a label's name has a colon: {name:?}").into());
        } else {
            findings.know(key, format_args!("{name}:{value}"));
        }
    }
}

/// The program's path as the container sees it.
///
/// In the container's mount namespace that is the path that the kernel writes:
/// it ends at the container's root. A process with mounts of its own, also one
/// in the container, sees whatever it mounted there; and anybody who may make
/// user namespaces has such mounts, the container's first process included.
fn path(subject: &Subject<'_>, init: &PinnedPeer) -> Fact<String> {
    let root = &subject.host.root;
    let executable = subject.facts.executable.as_ref().map_err(Clone::clone)?;
    let gone = |error| unread("ns/mnt", ReadError::System(error));
    let directory = subject.peer.directory(root).map_err(gone)?;
    let own = NamespaceId::of_process(directory, "mnt").map_err(gone)?;
    let first = init
        .directory(root)
        .and_then(|directory| NamespaceId::of_process(directory, "mnt"))
        .map_err(gone)?;
    if own != first {
        return Err("the process has a mount namespace of its own in the container".into());
    }
    if !mounts_are_ours(directory, subject.host.user_namespace) {
        return Err("the container's mounts belong to a user namespace of its own".into());
    }
    let mount = executable
        .mountinfo_id()
        .ok_or("the kernel does not tell the executable's mount (before Linux 5.8)")?;
    let mut bytes = Vec::new();
    directory
        .read("mountinfo", MAX_MOUNTINFO_BYTES, &mut bytes)
        .map_err(|error| unread("mountinfo", error))?;
    if mounts::find(&bytes, mount).is_none() {
        return Err("the executable's mount is not among the container's".into());
    }
    let path = executable
        .path(root)
        .map_err(|error| unread("exe", error.into()))?;
    let path = String::from_utf8(path).map_err(|_utf8| "the path is no text")?;
    if path.ends_with(" (deleted)") {
        return Err("the executable was removed or replaced since it was started".into());
    }
    if is_path(&path) && path != "/" {
        Ok(path)
    } else {
        Err("the path is not plain and absolute".into())
    }
}

/// Says that nothing of all this could be found out.
pub(super) fn lack(reason: &Reason, findings: &mut Findings) {
    for key in KEYS.into_iter().chain(POD_KEYS) {
        findings.lack(key, reason.clone());
    }
}
