//! Attesting a process, and what tests ask of the result.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use symbolon_attestors::{
    Attestation, Attestor, AttestorConfig, Kind, Kinds, RuntimeSocket, RuntimeSockets,
};
use symbolon_tests::within;

/// No runtime but these.
pub(crate) fn sockets() -> RuntimeSockets {
    RuntimeSockets {
        docker: RuntimeSocket::Off,
        podman: RuntimeSocket::Off,
        cri: RuntimeSocket::Off,
    }
}

/// The attestor of an agent that asks a Docker engine.
pub(crate) fn beside_docker(socket: PathBuf) -> Attestor {
    beside(RuntimeSockets {
        docker: RuntimeSocket::At(socket),
        ..sockets()
    })
}

/// The attestor of an agent that asks Podman.
pub(crate) fn beside_podman(socket: PathBuf) -> Attestor {
    beside(RuntimeSockets {
        podman: RuntimeSocket::At(socket),
        ..sockets()
    })
}

/// The attestor of an agent that asks a CRI runtime.
pub(crate) fn beside_cri(socket: PathBuf) -> Attestor {
    beside(RuntimeSockets {
        cri: RuntimeSocket::At(socket),
        ..sockets()
    })
}

/// The attestor of an agent that asks these runtimes.
pub(crate) fn beside(runtime_sockets: RuntimeSockets) -> Attestor {
    let config = AttestorConfig {
        runtime_sockets,
        ..AttestorConfig::default()
    };
    Attestor::new(config).unwrap()
}

/// Attests the process `pid`.
#[expect(
    clippy::disallowed_methods,
    reason = "containers start on the machine's clock"
)]
pub(crate) async fn attest(attestor: &Attestor, pid: u32) -> Attestation {
    let peer = Arc::new(attestor.pin_pid(pid).unwrap());
    let kinds = Kinds::NONE.with(Kind::Container);
    let image = attestor.look(&peer).unwrap();
    let attested = attestor.attest(&peer, &image, kinds, SystemTime::now());
    let attestation = attested.await;
    attestation.unwrap()
}

/// The selectors of the container and the pod.
pub(crate) fn selectors(attestation: &Attestation) -> Vec<String> {
    let all = attestation.selectors().iter();
    all.map(ToString::to_string)
        .filter(|text| text.starts_with("container:") || text.starts_with("k8s:"))
        .collect()
}

/// Why the selectors that begin with `key` are unknown.
pub(crate) fn unknown(attestation: &Attestation, key: &str) -> Option<String> {
    let unknown = &attestation.evidence().unknown;
    let found = unknown.iter().find(|unknown| unknown.selector == key)?;
    Some(found.reason.to_string())
}

/// That nothing is known of a container, all of it unknown for this reason.
pub(crate) fn assert_unconfirmed(attestation: &Attestation, reason: &str) {
    assert_eq!(selectors(attestation), [""; 0]);
    assert!(attestation.evidence().container.is_none());
    for key in [
        "container:id",
        "container:image_digest",
        "container:image_id",
        "container:label",
        "container:name",
        "container:path",
        "container:runtime",
        "k8s:ns",
        "k8s:pod-name",
        "k8s:pod-uid",
    ] {
        let said = unknown(attestation, key).unwrap_or_default();
        assert!(said.contains(reason), "{key}: {said}");
    }
}

/// The number here of the process that has written its number in the container whose root this is
/// into the file `tmp/pid` there.
pub(crate) async fn pid_inside(root: &Path) -> u32 {
    within("a process in the container", async {
        loop {
            let content = tokio::fs::read_to_string(root.join("tmp/pid")).await;
            match content.ok().and_then(|text| text.trim().parse().ok()) {
                Some(inner) => return host_pid(root, inner),
                None => tokio::task::yield_now().await,
            }
        }
    })
    .await
}

/// The number here of the process that its PID namespace (that of the process whose root this is)
/// numbers `inner`.
fn host_pid(root: &Path, inner: u32) -> u32 {
    let namespace = |process: &Path| std::fs::metadata(process.join("ns/pid"));
    let wanted = namespace(root.parent().unwrap()).unwrap().ino();
    let here = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    here.filter(|entry| namespace(&entry.path()).is_ok_and(|space| space.ino() == wanted))
        .find_map(|entry| {
            let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
            let pids = status
                .lines()
                .find_map(|line| line.strip_prefix("NSpid:"))?;
            let numbers: Vec<u32> = pids.split_whitespace().flat_map(str::parse).collect();
            (numbers.last() == Some(&inner)).then(|| numbers.first().copied())?
        })
        .unwrap()
}
