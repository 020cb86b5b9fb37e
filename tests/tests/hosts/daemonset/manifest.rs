//! From the `DaemonSet` to what a kubelet asks the CRI for.
//!
//! Whatever the manifest says of a pod that the CRI has a word for is passed on; a key that is not
//! known here fails the test, so that nothing in the manifest goes untested by oversight.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of a test fail it by panicking"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use serde_json::Value;
use symbolon_proto::cri::{
    Capability, ContainerConfig, ContainerMetadata, ImageSpec, Int64Value, LinuxContainerConfig,
    LinuxContainerSecurityContext, Mount, MountPropagation, NamespaceMode, NamespaceOption,
    PodSandboxConfig, SecurityProfile, security_profile::ProfileType,
};

/// Where the directories of a node lie that pods mount.
pub(super) struct Node(PathBuf);

/// The `DaemonSet`'s pod, its volumes made.
pub(super) struct Manifest {
    pod: Value,
    mounts: Vec<Mount>,
    logs: PathBuf,
}

impl Node {
    /// A node whose `/run/containerd` is `directory`.
    pub(super) fn new(directory: &Path) -> Self {
        Self(directory.to_owned())
    }

    /// Where the node has this path.
    pub(super) fn path(&self, path: &str) -> String {
        let place = match path {
            "/run/containerd" => self.0.clone(),
            path => self.0.join("node").join(path.trim_start_matches('/')),
        };
        place.display().to_string()
    }

    /// A volume's directory, as a kubelet makes it: all of it is made for the pod alone.
    fn volume(&self, name: &str) -> PathBuf {
        let directory = self.0.join("volumes").join(name);
        fs::create_dir_all(&directory).expect("a directory");
        fs::set_permissions(&directory, Permissions::from_mode(0o777)).expect("its mode");
        directory
    }

    /// A `ConfigMap`'s volume: files in a directory that a link names.
    fn config_map(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let directory = self.volume(name);
        for (file, _) in files {
            symlink(Path::new("..data").join(file), directory.join(file)).expect("a link");
        }
        self.swap_config_map(name, files);
        directory
    }

    /// Puts these files in the place of a `ConfigMap`'s.
    pub(super) fn swap_config_map(&self, name: &str, files: &[(&str, &str)]) {
        let directory = self.volume(name);
        let data = tempfile::Builder::new()
            .prefix("..2026_")
            .tempdir_in(&directory);
        let data = data.expect("a directory").keep();
        fs::set_permissions(&data, Permissions::from_mode(0o755)).expect("its mode");
        for (file, text) in files {
            fs::write(data.join(file), text).expect("a file");
        }
        let next = directory.join("..data_tmp");
        symlink(data.file_name().expect("a name"), &next).expect("a link");
        fs::rename(next, directory.join("..data")).expect("the swap");
    }
}

impl Manifest {
    /// Reads `deploy/kubernetes`, with these registrations instead of its example.
    pub(super) fn read(node: &Node, registrations: &str) -> Self {
        let daemonset = documents("daemonset.yaml").remove(0);
        let pod = daemonset["spec"]["template"]["spec"].clone();
        let known = [
            "automountServiceAccountToken",
            "containers",
            "enableServiceLinks",
            "hostPID",
            "nodeSelector",
            "priorityClassName",
            "securityContext",
            "serviceAccountName",
            "terminationGracePeriodSeconds",
            "tolerations",
            "volumes",
        ];
        for key in pod.as_object().expect("a mapping").keys() {
            assert!(known.contains(&key.as_str()), "{key} is not passed on");
        }
        let maps = documents("configmap.yaml");
        let mut manifest = Self {
            mounts: Vec::new(),
            logs: node.volume("logs"),
            pod,
        };
        let mounts = list(&manifest.main()["volumeMounts"]);
        let mounts = mounts.iter().map(|mount| {
            let volumes = list(&manifest.pod["volumes"]);
            let volume = volumes.iter().find(|v| v["name"] == mount["name"]);
            let volume = volume.expect("a volume for each mount");
            cri_mount(mount, &host_path(node, volume, &maps, registrations))
        });
        manifest.mounts = mounts.collect();
        manifest
    }

    fn main(&self) -> &Value {
        &self.pod["containers"][0]
    }

    pub(super) fn image(&self) -> &str {
        self.main()["image"].as_str().expect("an image")
    }

    pub(super) fn startup_probe(&self) -> Vec<String> {
        texts(&self.main()["startupProbe"]["exec"]["command"])
    }

    pub(super) fn liveness_probe(&self) -> Vec<String> {
        texts(&self.main()["livenessProbe"]["exec"]["command"])
    }

    /// The agent's log, in the CRI's form.
    pub(super) fn log(&self) -> PathBuf {
        self.logs.join("agent.log")
    }

    /// The pod's sandbox; `base` has its name and cgroup.
    pub(super) fn pod(&self, mut base: PodSandboxConfig) -> PodSandboxConfig {
        base.log_directory = self.logs.display().to_string();
        let linux = base.linux.as_mut().expect("it is of Linux");
        let context = linux.security_context.get_or_insert_default();
        context.namespace_options = Some(self.namespaces());
        context.seccomp = Some(self.seccomp());
        context.run_as_user = int(&self.pod["securityContext"]["runAsUser"]);
        base
    }

    fn namespaces(&self) -> NamespaceOption {
        let pid = match self.pod["hostPID"].as_bool() {
            Some(true) => NamespaceMode::Node,
            _ => NamespaceMode::Container,
        };
        NamespaceOption {
            pid: pid.into(),
            ..NamespaceOption::default()
        }
    }

    fn seccomp(&self) -> SecurityProfile {
        let profile = &self.pod["securityContext"]["seccompProfile"]["type"];
        assert_eq!(profile, "RuntimeDefault");
        SecurityProfile {
            profile_type: ProfileType::RuntimeDefault.into(),
            ..SecurityProfile::default()
        }
    }

    /// The agent's container.
    pub(super) fn container(&self) -> ContainerConfig {
        let container = self.main();
        let (context, pod) = (&container["securityContext"], &self.pod["securityContext"]);
        ContainerConfig {
            metadata: Some(ContainerMetadata {
                name: "agent".into(),
                attempt: 0,
            }),
            image: Some(ImageSpec {
                image: self.image().into(),
            }),
            args: texts(&container["args"]),
            mounts: self.mounts.clone(),
            log_path: "agent.log".into(),
            linux: Some(LinuxContainerConfig {
                security_context: Some(LinuxContainerSecurityContext {
                    capabilities: Some(Capability {
                        add_capabilities: texts(&context["capabilities"]["add"]),
                        drop_capabilities: texts(&context["capabilities"]["drop"]),
                    }),
                    privileged: flag(context, "privileged"),
                    namespace_options: Some(self.namespaces()),
                    run_as_user: int(&pod["runAsUser"]),
                    run_as_group: int(&pod["runAsGroup"]),
                    readonly_rootfs: flag(context, "readOnlyRootFilesystem"),
                    no_new_privs: !flag(context, "allowPrivilegeEscalation"),
                    seccomp: Some(self.seccomp()),
                }),
            }),
            ..ContainerConfig::default()
        }
    }
}

/// What `client-pod.yaml` says of its container, as this user.
pub(super) fn as_user(user: i64) -> LinuxContainerConfig {
    let all = Capability {
        drop_capabilities: vec!["ALL".into()],
        ..Capability::default()
    };
    LinuxContainerConfig {
        security_context: Some(LinuxContainerSecurityContext {
            capabilities: Some(all),
            namespace_options: Some(NamespaceOption {
                pid: NamespaceMode::Container.into(),
                ..NamespaceOption::default()
            }),
            run_as_user: Some(Int64Value { value: user }),
            run_as_group: Some(Int64Value { value: user }),
            readonly_rootfs: true,
            no_new_privs: true,
            ..LinuxContainerSecurityContext::default()
        }),
    }
}

/// What a kubelet makes of a volume on the node.
fn host_path(node: &Node, volume: &Value, maps: &[Value], registrations: &str) -> String {
    let name = volume["name"].as_str().expect("a name");
    if let Some(path) = volume["hostPath"]["path"].as_str() {
        let place = node.path(path);
        if volume["hostPath"]["type"] == "DirectoryOrCreate" {
            fs::create_dir_all(&place).expect("a directory");
            fs::set_permissions(&place, Permissions::from_mode(0o755)).expect("its mode");
        }
        assert!(Path::new(&place).is_dir(), "{path}");
        return place;
    }
    let directory = if let Some(map) = volume["configMap"]["name"].as_str() {
        let map = maps.iter().find(|other| other["metadata"]["name"] == map);
        let data = map.expect("the ConfigMap")["data"].as_object();
        let files = data.expect("its data").iter().map(|(file, text)| {
            let text = text.as_str().expect("a text");
            let is_example = name == "registrations";
            (file.as_str(), if is_example { registrations } else { text })
        });
        node.config_map(name, &files.collect::<Vec<_>>())
    } else {
        assert!(volume["emptyDir"].is_object(), "{volume}");
        node.volume(name)
    };
    directory.display().to_string()
}

fn cri_mount(mount: &Value, host_path: &str) -> Mount {
    let propagation = match mount["mountPropagation"].as_str() {
        None => MountPropagation::PropagationPrivate,
        Some("HostToContainer") => MountPropagation::PropagationHostToContainer,
        Some(other) => panic!("{other} is not passed on"),
    };
    Mount {
        container_path: mount["mountPath"].as_str().expect("a path").into(),
        host_path: host_path.into(),
        readonly: flag(mount, "readOnly"),
        propagation: propagation.into(),
    }
}

/// The documents of a file of `deploy/kubernetes`.
fn documents(file: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes");
    let text = fs::read_to_string(folder.join(file)).expect("a manifest");
    serde_saphyr::from_multiple(&text).expect("YAML")
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn texts(value: &Value) -> Vec<String> {
    let texts = list(value);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    texts.iter().map(text).collect()
}

fn flag(value: &Value, key: &str) -> bool {
    value[key].as_bool().unwrap_or(false)
}

fn int(value: &Value) -> Option<Int64Value> {
    value.as_i64().map(|value| Int64Value { value })
}
