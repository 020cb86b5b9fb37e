//! containerd with its CRI plugin, as a kubelet uses it.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use symbolon_proto::cri::{
    ContainerConfig, ContainerMetadata, ContainerStatusRequest, CreateContainerRequest,
    ExecSyncRequest, ExecSyncResponse, ImageSpec, ImageStatusRequest, LinuxPodSandboxConfig,
    LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption, PodSandboxConfig,
    PodSandboxMetadata, RunPodSandboxRequest, StartContainerRequest,
    image_service_client::ImageServiceClient, runtime_service_client::RuntimeServiceClient,
};
use tokio::net::UnixStream;
use tokio::process::Child;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use super::{Container, Image, Scope, printed};
use crate::notify::Notifications;
use crate::{can_run, has_tool, within};

/// What every pod's first container runs: it sleeps.
const PAUSE_IMAGE: &str = "localhost/symbolon-pause:1";

/// A running containerd; it, its pods and all that they mounted end with this.
#[derive(Debug)]
pub struct Containerd {
    daemon: Child,
    channel: Channel,
    scope: Scope,
}

/// A pod's sandbox.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Of the sandbox, not of the pod: that is `config.metadata.uid`.
    pub id: String,
    /// As it was made.
    pub config: PodSandboxConfig,
}

impl Containerd {
    /// Whether the test called `test` can have one here.
    #[must_use]
    pub fn can_run(test: &str) -> bool {
        let tools = ["containerd", "ctr", "runc", "busybox", "tar"];
        let possible = Scope::is_possible() && tools.iter().all(|tool| has_tool(tool));
        can_run(
            test,
            possible,
            "run as root: apt-get install containerd runc busybox-static",
        )
    }

    /// Starts it, with an image for pods' sandboxes.
    pub async fn start() -> Self {
        Self::start_as(&["containerd"]).await
    }

    /// Whether the test called `test` can have one with [`Self::start_as_node`].
    #[must_use]
    pub fn can_run_as_node(test: &str) -> bool {
        let has_tools = ["unshare", "mount", "jq"].iter().all(|tool| has_tool(tool));
        Self::can_run(test) && can_run(test, has_tools, "apt-get install util-linux mount jq")
    }

    /// Starts it as on a node of its own: as the first process of a PID namespace, which is then the
    /// host's for a pod with the host's PIDs, and with cgroups of version 2 alone, so that each
    /// container gets a cgroup namespace.
    pub async fn start_as_node() -> Self {
        let command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
        let command = [&command[..], &["sh", "-c", NODE, "containerd"]].concat();
        Self::start_as(&command).await
    }

    async fn start_as(command: &[&str]) -> Self {
        let scope = Scope::new();
        write_configuration(scope.directory());
        let daemon = launch(&scope, command).await;
        let channel = connect(&scope.directory().join("containerd.sock")).await;
        let containerd = Self {
            daemon,
            channel,
            scope,
        };
        containerd.initialized().await;
        containerd.import(&Image::of_busybox(PAUSE_IMAGE)).await;
        containerd
    }

    /// Its CRI plugin comes to life after the daemon has said that it is ready, and tells nobody:
    /// each turn here is a call that it answers.
    async fn initialized(&self) {
        let asked = ContainerStatusRequest {
            container_id: "none".into(),
            verbose: false,
        };
        within("the CRI plugin's start", async {
            loop {
                let answer = self.runtime().container_status(asked.clone()).await;
                let error = answer.expect_err("there is no such container");
                if !error.message().contains("not initialized") {
                    return;
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Its directory and cgroup.
    #[must_use]
    pub const fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Its socket, which also serves the CRI.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.scope.directory().join("containerd.sock")
    }

    /// Its runtime service.
    #[must_use]
    pub fn runtime(&self) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(self.channel.clone())
    }

    /// Its image service.
    #[must_use]
    pub fn images(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone())
    }

    /// Imports an image under its name and its digest, as a pull does.
    pub async fn import(&self, image: &Image) {
        self.import_archive(image.archive()).await;
        let by_digest = format!("{}@{}", image.repository(), image.digest());
        self.ctr(&["images", "tag", image.name(), &by_digest]).await;
        for name in [image.name(), &by_digest] {
            self.knows(name).await;
        }
    }

    /// Imports an image that another program made, which it names itself.
    pub async fn import_archive(&self, archive: &Path) {
        self.ctr(&["images", "import", &archive.display().to_string()])
            .await;
    }

    /// Waits until an imported image is known to the CRI plugin, which follows containerd's events:
    /// each turn is a call that it answers.
    pub async fn knows(&self, image: &str) {
        within("the image in the CRI plugin", async {
            while !self.has_image(image).await {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    async fn has_image(&self, name: &str) -> bool {
        let image = Some(ImageSpec { image: name.into() });
        let mut images = self.images();
        let answer = images.image_status(ImageStatusRequest { image }).await;
        let answer = answer.expect("the image service answers");
        answer.into_inner().image.is_some()
    }

    async fn ctr(&self, arguments: &[&str]) {
        let mut command = self.scope.command("ctr");
        command
            .arg("--address")
            .arg(self.socket())
            .args(["--namespace", "k8s.io"])
            .args(arguments);
        let _said = printed(&mut command).await;
    }

    /// A pod's configuration: namespaces of its own, and the cgroup that a kubelet would choose
    /// (driver cgroupfs), below the scope's.
    #[must_use]
    pub fn pod(&self, namespace: &str, name: &str, uid: &str) -> PodSandboxConfig {
        let labels = [
            ("app", name),
            ("io.kubernetes.pod.name", name),
            ("io.kubernetes.pod.namespace", namespace),
            ("io.kubernetes.pod.uid", uid),
        ];
        PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.into(),
                uid: uid.into(),
                namespace: namespace.into(),
                attempt: 0,
            }),
            hostname: name.into(),
            labels: texts(&labels),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: format!("{}/kubepods/burstable/pod{uid}", self.scope.cgroup()),
                security_context: Some(LinuxSandboxSecurityContext {
                    namespace_options: Some(NamespaceOption {
                        pid: NamespaceMode::Container.into(),
                        ..NamespaceOption::default()
                    }),
                    ..LinuxSandboxSecurityContext::default()
                }),
            }),
            ..PodSandboxConfig::default()
        }
    }

    /// Makes and starts a pod's sandbox.
    pub async fn run_pod(&self, config: PodSandboxConfig) -> Pod {
        let request = RunPodSandboxRequest {
            config: Some(config.clone()),
            runtime_handler: String::new(),
        };
        let mut runtime = self.runtime();
        let answer = within("a pod's start", runtime.run_pod_sandbox(request)).await;
        Pod {
            id: answer.expect("a pod").into_inner().pod_sandbox_id,
            config,
        }
    }

    /// A container's configuration: the image's own command.
    #[must_use]
    pub fn container(&self, name: &str, image: &Image) -> ContainerConfig {
        ContainerConfig {
            metadata: Some(ContainerMetadata {
                name: name.into(),
                attempt: 0,
            }),
            image: Some(ImageSpec {
                image: image.name().into(),
            }),
            labels: texts(&[("io.kubernetes.container.name", name)]),
            ..ContainerConfig::default()
        }
    }

    /// Makes and starts a container in a pod.
    pub async fn run(&self, pod: &Pod, config: ContainerConfig) -> Container {
        let mut runtime = self.runtime();
        let request = CreateContainerRequest {
            pod_sandbox_id: pod.id.clone(),
            config: Some(config),
            sandbox_config: Some(pod.config.clone()),
        };
        let made = within("a container", runtime.create_container(request)).await;
        let id = made.expect("a container").into_inner().container_id;
        let request = StartContainerRequest {
            container_id: id.clone(),
        };
        let started = within("a container's start", runtime.start_container(request)).await;
        let _empty = started.expect("it starts");
        let pid = self.pid(&id).await;
        Container::started(id, pid, &self.proc()).await
    }

    /// Where processes have the numbers that the daemon says.
    fn proc(&self) -> PathBuf {
        let daemon = self.daemon.id().expect("it runs");
        PathBuf::from(format!("/proc/{daemon}/root/proc"))
    }

    async fn pid(&self, container: &str) -> u32 {
        let request = ContainerStatusRequest {
            container_id: container.into(),
            verbose: true,
        };
        let answer = self.runtime().container_status(request).await;
        let answer = answer.expect("its status").into_inner();
        let info: Value = serde_json::from_str(&answer.info["info"]).expect("JSON");
        let pid = info["pid"].as_u64().and_then(|pid| pid.try_into().ok());
        pid.expect("a process ID")
    }

    /// Runs a command in a container to its end.
    pub async fn exec(&self, container: &Container, command: &[&str]) -> ExecSyncResponse {
        let request = ExecSyncRequest {
            container_id: container.id.clone(),
            cmd: command.iter().map(|&text| text.into()).collect(),
            timeout: 0,
        };
        let mut runtime = self.runtime();
        let answer = within("a command in a container", runtime.exec_sync(request)).await;
        answer.expect("it runs").into_inner()
    }

    /// Ends the daemon; its containers go on.
    pub async fn stop_daemon(&mut self) {
        let pid = self.daemon.id().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.and_then(Pid::from_raw).expect("it runs");
        kill_process(pid, Signal::TERM).expect("the signal");
        let _status = within("containerd's end", self.daemon.wait()).await;
    }

    /// Starts the daemon again after it was ended; not on a node, whose processes have ended with it.
    pub async fn start_daemon(&mut self) {
        self.daemon = launch(&self.scope, &["containerd"]).await;
        self.channel = connect(&self.socket()).await;
        self.initialized().await;
    }
}

/// Starts the daemon and waits until it is ready.
async fn launch(scope: &Scope, command: &[&str]) -> Child {
    let directory = scope.directory();
    let notify = directory.join("notify.sock");
    let notifications = Notifications::listen(&notify);
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(directory.join("containerd.log"))
        .expect("a log");
    let (program, arguments) = command.split_first().expect("a program");
    let daemon = scope
        .command(program)
        .args(arguments)
        .arg("--config")
        .arg(directory.join("config.toml"))
        .env("NOTIFY_SOCKET", &notify)
        .stderr(log)
        .spawn()
        .expect("containerd starts");
    within("containerd's start", notifications.wait_for("READY=1")).await;
    daemon
}

/// A channel to a CRI socket.
async fn connect(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    let connector = service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://containerd")
        .connect_with_connector(connector)
        .await
        .expect("containerd answers")
}

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
    pairs.iter().map(owned).collect()
}

/// A CNI plugin under both names that containerd asks for: a pod gets its loopback device, and
/// containerd the address that it insists on.
const NETWORK_PLUGIN: &str = r#"#!/bin/sh
result() {
  printf '{"cniVersion": "0.4.0", "interfaces": [{"name": "%s", "sandbox": "%s"}],' "$1" "$CNI_NETNS"
  printf ' "ips": [{"version": "4", "interface": 0, "address": "%s"}]}' "$2"
}
case $CNI_COMMAND in
  ADD)
    busybox nsenter --net="$CNI_NETNS" busybox ip link set lo up
    if [ "$CNI_IFNAME" = lo ]; then result lo 127.0.0.1/8; else result "$CNI_IFNAME" 192.0.2.2/24; fi
    ;;
  VERSION) printf '{"cniVersion": "0.4.0", "supportedVersions": ["0.3.1", "0.4.0"]}' ;;
esac
"#;

fn write_network_plugin(directory: &Path) {
    let network =
        r#"{"cniVersion": "0.4.0", "name": "test", "plugins": [{"type": "pod-network"}]}"#;
    let cni = directory.join("cni");
    fs::create_dir(&cni).expect("a directory");
    fs::write(cni.join("10-test.conflist"), network).expect("a network configuration");
    for name in ["loopback", "pod-network"] {
        let plugin = cni.join(name);
        write_program(&plugin, NETWORK_PLUGIN);
    }
}

/// Shows version 2 alone at the usual place, and becomes containerd.
const NODE: &str = r#"
mount --make-rshared / && umount --recursive /sys/fs/cgroup &&
mount -t cgroup2 none /sys/fs/cgroup && exec "$0" "$@"
"#;

/// runc on a machine whose version 2 hierarchy may lack the controllers that containerd sets limits
/// with, because version 1 has them: without these limits.
const RUNTIME: &str = r#"#!/bin/sh
bundle= before=
for argument; do
  [ "$before" != --bundle ] || bundle=$argument
  before=$argument
done
if [ -n "$bundle" ] && [ ! -d /sys/fs/cgroup/memory ]; then
  jq '.linux.resources |= {devices}' "$bundle/config.json" >"$bundle/config.json.new"
  mv "$bundle/config.json.new" "$bundle/config.json"
fi
exec runc "$@"
"#;

fn write_program(path: &Path, text: &str) {
    fs::write(path, text).expect("a program");
    fs::set_permissions(path, Permissions::from_mode(0o755)).expect("its permissions");
}

/// What containerd needs to work without `CAP_SYS_RESOURCE` and without `AppArmor`.
fn write_configuration(directory: &Path) {
    write_network_plugin(directory);
    write_program(&directory.join("runtime"), RUNTIME);
    let configuration = format!(
        r#"version = 2
root = "{0}/root"
state = "{0}/state"

[grpc]
address = "{0}/containerd.sock"

[plugins."io.containerd.internal.v1.opt"]
path = "{0}/opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
restrict_oom_score_adj = true
disable_apparmor = true
disable_hugetlb_controller = true
netns_mounts_under_state_dir = true
stream_server_address = "127.0.0.1"
stream_server_port = "0"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "{0}/runtime"
Root = "{0}/runc"

[plugins."io.containerd.grpc.v1.cri".cni]
conf_dir = "{0}/cni"
bin_dir = "{0}/cni"
"#,
        directory.display()
    );
    fs::write(directory.join("config.toml"), configuration).expect("a configuration");
}
