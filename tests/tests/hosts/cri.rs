//! Processes in pods of containerd.

use std::path::PathBuf;

use symbolon_proto::cri::{NamespaceMode, NamespaceOption, PodSandboxConfig};
use symbolon_tests::hosts::{Containerd, Image};

use crate::attested::{assert_unconfirmed, attest, beside_cri, pid_inside, selectors, unknown};

fn sharing_pids(mut pod: PodSandboxConfig) -> PodSandboxConfig {
    let linux = pod.linux.as_mut().unwrap();
    let security = linux.security_context.as_mut().unwrap();
    security.namespace_options = Some(NamespaceOption {
        pid: NamespaceMode::Node.into(),
        ..NamespaceOption::default()
    });
    pod
}

#[tokio::test]
async fn containerd_says_what_it_runs() {
    if !Containerd::can_run("containerd_says_what_it_runs") {
        return;
    }
    let mut containerd = Containerd::start().await;
    let image = Image::of_busybox("localhost/symbolon-test:1");
    containerd.import(&image).await;
    let pod = containerd.pod("shop", "notes-0", "0a1b-2c");
    let pod = containerd.run_pod(pod).await;
    let container = containerd.container("main", &image);
    let container = containerd.run(&pod, container).await;
    let attestor = beside_cri(containerd.socket());

    let attestation = attest(&attestor, container.pid).await;
    let expected = [
        format!("container:id:{}", container.id),
        format!("container:image_digest:{}", image.digest()),
        format!("container:image_id:{}", image.id()),
        "container:label:io.kubernetes.container.name:main".into(),
        "container:name:main".into(),
        "container:path:/bin/busybox".into(),
        "container:runtime:containerd".into(),
        format!("k8s:container-image:{}", image.name()),
        format!(
            "k8s:container-image:{}@{}",
            image.repository(),
            image.digest()
        ),
        "k8s:container-name:main".into(),
        "k8s:ns:shop".into(),
        "k8s:pod-label:app:notes-0".into(),
        "k8s:pod-name:notes-0".into(),
        "k8s:pod-uid:0a1b-2c".into(),
    ];
    assert_eq!(selectors(&attestation), expected);
    let account = unknown(&attestation, "k8s:sa").unwrap();
    assert!(account.contains("Kubernetes API"), "{account}");
    let evidence = serde_json::to_value(attestation.evidence()).unwrap();
    assert_eq!(evidence["container"]["pod"]["uid"], "0a1b-2c");
    assert!(!evidence.to_string().contains("not-to-be-read"));

    containerd.stop_daemon().await;
    let late = attest(&attestor, container.pid).await;
    assert_unconfirmed(&late, "containerd.sock: ");
    containerd.start_daemon().await;
    let again = attest(&attestor, container.pid).await;
    assert_eq!(selectors(&again), expected);
}

#[tokio::test]
async fn a_pod_with_the_host_s_pids_is_told_by_its_cgroup() {
    if !Containerd::can_run("a_pod_with_the_host_s_pids_is_told_by_its_cgroup") {
        return;
    }
    let containerd = Containerd::start().await;
    let image = Image::of_busybox("localhost/symbolon-test:1");
    containerd.import(&image).await;
    let pod = sharing_pids(containerd.pod("kube-system", "agent", "77"));
    let pod = containerd.run_pod(pod).await;
    let container = containerd.container("main", &image);
    let container = containerd.run(&pod, container).await;
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap();
    assert_eq!(namespace(&container.pid.to_string()), namespace("self"));
    let attestor = beside_cri(containerd.socket());
    let attestation = attest(&attestor, container.pid).await;
    let selectors = selectors(&attestation);
    assert!(
        selectors.contains(&"k8s:pod-uid:77".into()),
        "{selectors:?}"
    );

    // A process of the host is in the same PID namespace, and in no pod.
    let outside = attest(&attestor, std::process::id()).await;
    assert!(crate::attested::selectors(&outside).is_empty());
}

#[tokio::test]
async fn a_command_in_a_container_is_in_it() {
    if !Containerd::can_run("a_command_in_a_container_is_in_it") {
        return;
    }
    let containerd = Containerd::start().await;
    let image = Image::of_busybox("localhost/symbolon-test:1");
    containerd.import(&image).await;
    let pod = containerd.run_pod(containerd.pod("shop", "a", "1")).await;
    let container = containerd.container("main", &image);
    let container = containerd.run(&pod, container).await;
    let attestor = beside_cri(containerd.socket());
    let expected = selectors(&attest(&attestor, container.pid).await);
    let _output = containerd
        .exec(
            &container,
            &[
                "/bin/busybox",
                "sh",
                "-c",
                "/bin/busybox sh -c 'echo $$ > /tmp/pid; /bin/busybox sleep 100000; :' >/dev/null 2>&1 &",
            ],
        )
        .await;
    let root = PathBuf::from(format!("/proc/{}/root", container.pid));
    let pid = pid_inside(&root).await;
    assert_ne!(pid, container.pid);
    assert_eq!(selectors(&attest(&attestor, pid).await), expected);
}

#[tokio::test]
async fn a_path_in_mounts_of_the_process_s_own_is_unknown() {
    if !Containerd::can_run("a_path_in_mounts_of_the_process_s_own_is_unknown") {
        return;
    }
    let containerd = Containerd::start().await;
    let image = Image::of_busybox("localhost/symbolon-test:1");
    containerd.import(&image).await;
    let pod = containerd.run_pod(containerd.pod("shop", "a", "1")).await;
    let container = containerd.container("main", &image);
    let container = containerd.run(&pod, container).await;
    let attestor = beside_cri(containerd.socket());
    // A copy of the program over a path that another program would be registered by.
    let command = "/bin/busybox cp /bin/busybox /tmp/own; /bin/busybox touch /bin/notes; \
        /bin/busybox unshare -r -m /bin/busybox sh -c \
        '/bin/busybox mount --bind /tmp/own /bin/notes; \
        exec -a sh /bin/notes -c \"echo \\$\\$ > /tmp/pid; /bin/busybox sleep 100000; :\"' \
        >/tmp/log 2>&1 &";
    let _output = containerd
        .exec(&container, &["/bin/busybox", "sh", "-c", command])
        .await;
    let root = PathBuf::from(format!("/proc/{}/root", container.pid));
    let pid = pid_inside(&root).await;
    let link = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    assert_eq!(link, PathBuf::from("/bin/notes"), "as the kernel writes it");
    let attestation = attest(&attestor, pid).await;
    let known = selectors(&attestation);
    assert!(known.contains(&"k8s:pod-uid:1".into()), "{known:?}");
    assert!(
        !known.iter().any(|text| text.starts_with("container:path:")),
        "{known:?}"
    );
    let reason = unknown(&attestation, "container:path").unwrap();
    assert!(reason.contains("mount namespace of its own"), "{reason}");
}
