//! The agent's image under containerd, as the `DaemonSet` in `deploy/kubernetes` says, and what it
//! sees of processes in other pods.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of a test fail it by panicking, and it shows the agent's log then"
)]

mod manifest;

use std::path::{Path, PathBuf};
use std::process::Command;

use manifest::{Manifest, Node};
use serde_json::{Value, json};
use symbolon_proto::cri::{KeyValue, Mount};
use symbolon_tests::hosts::{Container, Containerd, Image, Pod};
use symbolon_tests::{Program, can_run, within};

/// The user of the client's process, as in `client-pod.yaml`.
const CLIENT: i64 = 10_001;

/// A node with an agent, and how to reach it.
struct Fleet {
    containerd: Containerd,
    agent: Container,
    program: Program,
    manifest: Manifest,
    node: Node,
    _pod: Pod,
}

impl Drop for Fleet {
    /// A failing test shows the agent's log.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.manifest.log()).unwrap_or_default();
            println!("{log}");
        }
    }
}

impl Fleet {
    /// A node whose agent has these registrations.
    async fn start(registrations: impl FnOnce(&Program) -> String) -> Self {
        let containerd = Containerd::start_as_node().await;
        let image = built_image();
        let program = program_of(&image, containerd.scope().directory());
        containerd.import_archive(&image).await;
        let node = Node::new(containerd.scope().directory());
        let manifest = Manifest::read(&node, &registrations(&program));
        containerd.knows(manifest.image()).await;
        let config = manifest.pod(containerd.pod("symbolon", "symbolon-x", "a9e1"));
        let pod = containerd.run_pod(config).await;
        let agent = containerd.run(&pod, manifest.container()).await;
        let fleet = Self {
            containerd,
            agent,
            program,
            manifest,
            node,
            _pod: pod,
        };
        within("the startup probe", fleet.started()).await;
        fleet
    }

    /// What the kubelet does: the probe, again and again.
    async fn started(&self) {
        let probe = self.manifest.startup_probe();
        let probe: Vec<&str> = probe.iter().map(String::as_str).collect();
        while self.containerd.exec(&self.agent, &probe).await.exit_code != 0 {
            tokio::task::yield_now().await;
        }
    }

    /// An operator's command, by `kubectl exec`.
    async fn operator(&self, arguments: &[&str]) -> Value {
        let mut lines = self.operator_lines(arguments).await;
        assert_eq!(lines.len(), 1, "{arguments:?}: {lines:?}");
        lines.remove(0)
    }

    /// An operator's command that answers with one document after the other.
    async fn operator_lines(&self, arguments: &[&str]) -> Vec<Value> {
        let mut command = vec!["/symbolon"];
        command.extend(arguments);
        command.extend(["--output", "json"]);
        let done = self.containerd.exec(&self.agent, &command).await;
        let (out, err) = (text(&done.stdout), text(&done.stderr));
        assert_eq!(done.exit_code, 0, "{arguments:?}: {out}{err}");
        let documents = serde_json::Deserializer::from_str(&out).into_iter();
        documents.map(|document| document.expect("JSON")).collect()
    }

    /// Waits until the agent has suspended the client; each turn is a call that it answers.
    async fn suspended(&self, client: &str) {
        while self.operator(&["client", "show", client]).await["state"] != "suspended" {
            tokio::task::yield_now().await;
        }
    }

    /// Asks for an SVID as a client in a pod: the exit code, and what was said.
    async fn ask(&self, client: &Container) -> (i32, String) {
        let svid = ["/client", "svid", "x509", "--output", "json"];
        let done = self.containerd.exec(client, &svid).await;
        let said = text(&done.stdout) + &text(&done.stderr);
        (done.exit_code, said)
    }

    /// The agent has the node's processes before it, and nothing else in common with the client.
    fn keeps_apart(&self, client: &Container) {
        let (agent, client) = (
            self.host_pid("a9e1", &self.agent),
            self.host_pid("c1c1", client),
        );
        for namespace in ["mnt", "pid", "net", "cgroup"] {
            let of =
                |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/{namespace}")).expect("it");
            assert_ne!(of(agent), of(client), "{namespace}");
            assert_ne!(of(client), of(std::process::id()), "{namespace}");
        }
    }

    /// The number that this test has for a container's process: the node has a PID namespace.
    fn host_pid(&self, pod: &str, container: &Container) -> u32 {
        let cgroup = format!("kubepods/burstable/pod{pod}/{}", container.id);
        let procs = self
            .containerd
            .scope()
            .cgroup_directory(&cgroup)
            .join("cgroup.procs");
        let procs = std::fs::read_to_string(procs).expect("its processes");
        let first = procs.lines().next().and_then(|pid| pid.parse().ok());
        first.expect("a process")
    }

    /// A pod of its own that sleeps, with the mount of `client-pod.yaml` and this program in it.
    async fn client(&self, name: &str) -> Container {
        let image = Image::of_programs(
            &format!("localhost/{name}:1"),
            &[
                ("bin/busybox", Program::on_path("busybox").path()),
                ("client", self.program.path()),
            ],
            &["/bin/busybox", "sleep", "100000"],
        );
        self.containerd.import(&image).await;
        let pod = self.containerd.pod("default", name, "c1c1");
        let pod = self.containerd.run_pod(pod).await;
        let mut config = self.containerd.container("client", &image);
        config.mounts.push(Mount {
            container_path: "/run/symbolon/workload".into(),
            host_path: self.node.path("/run/symbolon/workload"),
            readonly: true,
            ..Mount::default()
        });
        config.envs.push(KeyValue {
            key: "SPIFFE_ENDPOINT_SOCKET".into(),
            value: "unix:///run/symbolon/workload/workload.sock".into(),
        });
        config.linux = Some(manifest::as_user(CLIENT));
        self.containerd.run(&pod, config).await
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What `deploy/container/build` makes: of these sources, or, where `SYMBOLON_STATIC_BIN` names a
/// static binary, of that.
fn built_image() -> PathBuf {
    static IMAGE: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    IMAGE
        .get_or_init(|| {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
            let output = root.join("target/container/test.tar");
            let mut build = Command::new(root.join("deploy/container/build"));
            build.arg("--output").arg(&output);
            if let Some(binary) = std::env::var_os("SYMBOLON_STATIC_BIN") {
                build.arg("--binary").arg(binary);
            }
            assert!(build.status().expect("it runs").success());
            output
        })
        .clone()
}

/// The binary of the image, to put into clients' images.
fn program_of(image: &Path, directory: &Path) -> Program {
    let index: Value = from_archive(image, "index.json");
    let manifest = from_archive(image, &blob(&index["manifests"][0]));
    let layer = blob(&manifest["layers"][0]);
    let extract = "tar -xOf \"$0\" \"$1\" | tar -xf - -C \"$2\" symbolon";
    let status = Command::new("sh")
        .args(["-c", extract])
        .arg(image)
        .arg(layer)
        .arg(directory)
        .status();
    assert!(status.expect("tar runs").success());
    Program::at(&directory.join("symbolon"))
}

fn blob(descriptor: &Value) -> String {
    let digest = descriptor["digest"].as_str().expect("a digest");
    format!("blobs/{}", digest.replace(':', "/"))
}

fn from_archive(archive: &Path, file: &str) -> Value {
    let output = Command::new("tar")
        .arg("-xOf")
        .arg(archive)
        .arg(file)
        .output();
    serde_json::from_slice(&output.expect("tar runs").stdout).expect("JSON")
}

fn can_run_here(test: &str) -> bool {
    Containerd::can_run_as_node(test)
        && can_run(
            test,
            // Whoever asks for all tests waits for the release build too.
            std::env::var_os("SYMBOLON_STATIC_BIN").is_some()
                || std::env::var_os("REQUIRE_ALL_TESTS").is_some_and(|value| value == "1"),
            "SYMBOLON_STATIC_BIN=FILE, a static binary; REQUIRE_ALL_TESTS=1 builds one",
        )
}

/// In its own mount, PID, network and cgroup namespaces, in another pod than the agent.
#[tokio::test]
async fn a_process_in_another_pod_is_attested_from_within_the_daemonset() {
    let test = "a_process_in_another_pod_is_attested_from_within_the_daemonset";
    if !can_run_here(test) {
        return;
    }
    let fleet = Fleet::start(|program| {
        format!(
            "name: client\nowner: tests\nrequired_attestors: [container]\nselector_sets: \
             [[unix:uid:{CLIENT}, {}, k8s:ns:default, k8s:container-name:client]]\n",
            program.digest_selector()
        )
    })
    .await;
    let client = fleet.client("one").await;
    fleet.keeps_apart(&client);

    let (code, svid) = fleet.ask(&client).await;
    assert_eq!(code, 0, "{svid}");
    assert!(
        svid.contains("spiffe://example.org/mcp/client/client"),
        "{svid}"
    );

    let trail = fleet
        .operator_lines(&["audit", "tail", "--last", "1000"])
        .await;
    let attested = trail.iter().rfind(|line| line["event"] == "attested");
    let attested = attested.expect("the client's attestation");
    let proofs = &attested["evidence"]["proofs"];
    let expected = json!({"answered": "stamped", "held": "close-on-exec"});
    assert_eq!(*proofs, expected, "{attested:#}");

    let pid = client.pid.to_string();
    let seen = fleet.operator(&["attest", "--pid", &pid]).await;
    let selectors = seen["selectors"].to_string();
    for expected in [
        format!("container:id:{}", client.id),
        "k8s:pod-uid:c1c1".to_owned(),
        "k8s:pod-name:one".to_owned(),
        format!("/kubepods/burstable/podc1c1/{}", client.id),
    ] {
        assert!(selectors.contains(&expected), "{expected}: {seen:#}");
    }
    let unknown = seen["unknown"].to_string();
    // The runtime is not asked for more of a pod than it knows.
    for kind in [
        "container:",
        "k8s:ns\"",
        "k8s:pod-uid",
        "cgroup:",
        "unix:sha256",
    ] {
        assert!(!unknown.contains(kind), "{seen:#}");
    }

    let alive = fleet.manifest.liveness_probe();
    let alive: Vec<&str> = alive.iter().map(String::as_str).collect();
    let alive = fleet.containerd.exec(&fleet.agent, &alive).await;
    assert_eq!(alive.exit_code, 0, "{}", text(&alive.stderr));

    // The ConfigMap without the client: the kubelet swaps it, and the agent notices.
    fleet.node.swap_config_map("registrations", &[]);
    within("the suspension", fleet.suspended("client")).await;
    let (code, denied) = fleet.ask(&client).await;
    assert_eq!(code, 3, "{denied}");
}
