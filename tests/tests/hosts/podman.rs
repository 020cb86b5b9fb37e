//! Processes in Podman's containers.

use std::path::PathBuf;

use symbolon_tests::hosts::{Image, Podman};

use crate::attested::{
    assert_unconfirmed, attest, beside_docker, beside_podman, pid_inside, selectors,
};
use crate::docker::STAY;

#[tokio::test]
async fn podman_says_what_it_runs() {
    if !Podman::can_run("podman_says_what_it_runs") {
        return;
    }
    let mut podman = Podman::start().await;
    let image = Image::of_busybox("localhost/symbolon-test:1");
    podman.load(&image).await;
    let options = ["--name", "notes", "--label", "tier=backend"];
    let container = podman.run(&image, &options).await;
    let attestor = beside_podman(podman.socket());

    let first = attest(&attestor, container.pid).await;
    let expected = selectors(&first);
    for selector in [
        format!("container:id:{}", container.id),
        format!("container:image_id:{}", image.id()),
        "container:label:tier:backend".into(),
        "container:name:notes".into(),
        "container:path:/bin/busybox".into(),
        "container:runtime:podman".into(),
    ] {
        assert!(expected.contains(&selector), "{selector}: {expected:?}");
    }
    let digests = expected.iter();
    let digests = digests.filter(|text| text.starts_with("container:image_digest:sha256:"));
    assert_eq!(digests.count(), 1, "{expected:?}");

    // Behind the path that Docker's clients use, it is Podman all the same.
    let misnamed = attest(&beside_docker(podman.socket()), container.pid).await;
    assert_eq!(selectors(&misnamed), expected);

    let mut exec = vec!["exec", &container.id];
    exec.extend(STAY);
    let root = PathBuf::from(format!("/proc/{}/root", container.pid));
    let _client = podman.podman(&exec).spawn().unwrap();
    let pid = pid_inside(&root).await;
    assert_ne!(pid, container.pid);
    assert_eq!(selectors(&attest(&attestor, pid).await), expected, "exec");

    podman.stop_service().await;
    let late = attest(&attestor, container.pid).await;
    assert_unconfirmed(&late, "podman.sock: ");
}
