//! Processes in Docker's containers.

use std::path::PathBuf;

use symbolon_tests::hosts::{Docker, Image};

use crate::attested::{assert_unconfirmed, attest, beside_docker, pid_inside, selectors, unknown};

/// Says who it is, and stays: a shell that waits for another program and executes none itself.
pub(crate) const STAY: [&str; 4] = [
    "/bin/busybox",
    "sh",
    "-c",
    "echo $$ > /tmp/pid; /bin/busybox sleep 100000; :",
];

#[tokio::test]
async fn docker_says_what_it_runs() {
    if !Docker::can_run("docker_says_what_it_runs") {
        return;
    }
    let docker = Docker::start().await;
    let image = Image::of_busybox("localhost/symbolon-test:1");
    docker.load(&image).await;
    let options = ["--name", "notes", "--label", "tier=back:end"];
    let container = docker.run(&image, &options).await;
    let attestor = beside_docker(docker.socket());

    let first = attest(&attestor, container.pid).await;
    let expected = [
        format!("container:id:{}", container.id),
        format!("container:image_id:{}", image.id()),
        "container:label:image:label".into(),
        "container:label:tier:back:end".into(),
        "container:name:notes".into(),
        "container:path:/bin/busybox".into(),
        "container:runtime:docker".into(),
    ];
    assert_eq!(selectors(&first), expected);
    let digest = unknown(&first, "container:image_digest").unwrap();
    assert!(digest.contains("never pulled"), "{digest}");
    let evidence = serde_json::to_value(first.evidence()).unwrap();
    assert_eq!(evidence["container"]["name"], "notes");
    assert!(!evidence.to_string().contains("not-to-be-read"));

    let mut exec = vec!["exec", &container.id];
    exec.extend(STAY);
    let root = PathBuf::from(format!("/proc/{}/root", container.pid));
    let _client = docker.docker(&exec).spawn().unwrap();
    let pid = pid_inside(&root).await;
    assert_ne!(pid, container.pid);
    let second = attest(&attestor, pid).await;
    assert_eq!(selectors(&second), expected, "docker exec");
}

#[tokio::test]
async fn a_docker_that_is_gone_confirms_nothing() {
    if !Docker::can_run("a_docker_that_is_gone_confirms_nothing") {
        return;
    }
    let docker = Docker::start().await;
    let image = Image::of_busybox("localhost/symbolon-test:1");
    docker.load(&image).await;
    let container = docker.run(&image, &[]).await;
    let attestor = beside_docker(docker.scope().directory().join("nobody.sock"));
    let attestation = attest(&attestor, container.pid).await;
    assert_unconfirmed(&attestation, "nobody.sock: No such file or directory");
}
