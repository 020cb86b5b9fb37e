//! What `symbolon attest` tells an operator of a process in a pod.

use symbolon_tests::Setup;
use symbolon_tests::hosts::{Containerd, Image};

#[tokio::test]
async fn an_operator_sees_the_pod_of_a_process() {
    if !Containerd::can_run("an_operator_sees_the_pod_of_a_process") {
        return;
    }
    let containerd = Containerd::start().await;
    let image = Image::of_busybox("localhost/symbolon-test:1");
    containerd.import(&image).await;
    let pod = containerd
        .run_pod(containerd.pod("shop", "notes-0", "1"))
        .await;
    let container = containerd.container("main", &image);
    let container = containerd.run(&pod, container).await;

    let socket = containerd.socket().display().to_string();
    let agent = Setup::new()
        .set("attestation", "cri_socket", socket)
        .start()
        .await;
    let selectors = ["k8s:ns:shop", "k8s:pod-label:app:notes-0"].map(str::to_owned);
    agent.register("notes", &selectors).await;
    let pid = container.pid.to_string();
    let shown = agent.json(["attest", "--pid", &pid]).await;
    let text = shown.to_string();
    for expected in [
        "k8s:ns:shop",
        "k8s:pod-name:notes-0",
        "container:path:/bin/busybox",
        image.digest(),
        "only the Kubernetes API does",
    ] {
        assert!(text.contains(expected), "{expected}: {shown:#}");
    }
    let clients = shown["clients"].as_array().expect("a list");
    assert_eq!(clients.len(), 1, "{shown:#}");
    assert_eq!(clients[0]["fits"], true, "{shown:#}");
}
