//! The manifests in `deploy/kubernetes` are what they say, above all in what they do not allow.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use symbolon_agent::{
    config::{Config, Sources},
    registrations::{Form, parse},
    registry::SpecRules,
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes")
}

fn documents(file: &str) -> Vec<Value> {
    let text = fs::read_to_string(folder().join(file)).expect("a manifest");
    serde_saphyr::from_multiple(&text).expect("YAML")
}

fn document(file: &str) -> Value {
    let mut documents = documents(file);
    assert_eq!(documents.len(), 1, "{file}");
    documents.remove(0)
}

fn pod() -> Value {
    document("daemonset.yaml")["spec"]["template"]["spec"].clone()
}

fn texts(value: &Value) -> Vec<String> {
    let list = value.as_array().expect("a list").iter();
    let text = |item: &Value| item.as_str().expect("a text").to_owned();
    list.map(text).collect()
}

fn map(name: &str, file: &str) -> String {
    let maps = documents("configmap.yaml");
    let map = maps.iter().find(|map| map["metadata"]["name"] == name);
    let text = map.expect("the ConfigMap")["data"][file].as_str();
    text.expect("the file").to_owned()
}

#[test]
fn every_manifest_is_applied_and_none_gives_rights_at_the_api_server() {
    let kinds = [
        ("namespace.yaml", "Namespace"),
        ("serviceaccount.yaml", "ServiceAccount"),
        ("networkpolicy.yaml", "NetworkPolicy"),
        ("priorityclass.yaml", "PriorityClass"),
        ("configmap.yaml", "ConfigMap"),
        ("daemonset.yaml", "DaemonSet"),
    ];
    let applied = texts(&document("kustomization.yaml")["resources"]);
    assert_eq!(applied, kinds.map(|(file, _)| file.to_owned()));
    for (file, kind) in kinds {
        assert!(documents(file).iter().all(|each| each["kind"] == kind));
    }
    let mut others = BTreeSet::from(["README.md", "client-pod.yaml", "kustomization.yaml"]);
    for entry in fs::read_dir(folder()).expect("the folder") {
        let name = entry.expect("an entry").file_name();
        let name = name.to_str().expect("text");
        assert!(
            applied.iter().any(|file| file == name) || others.remove(name),
            "{name}"
        );
    }
    let account = document("serviceaccount.yaml");
    assert_eq!(account["automountServiceAccountToken"], false);
    assert_eq!(pod()["automountServiceAccountToken"], false);
    assert_eq!(pod()["serviceAccountName"], account["metadata"]["name"]);
    let class = document("priorityclass.yaml");
    assert_eq!(pod()["priorityClassName"], class["metadata"]["name"]);
}

#[test]
fn the_agent_has_what_attestation_needs_and_nothing_more() {
    let pod = pod();
    assert_eq!(pod["hostPID"], true);
    for absent in [
        "hostNetwork",
        "hostIPC",
        "hostUsers",
        "shareProcessNamespace",
        "initContainers",
    ] {
        assert!(pod[absent].is_null(), "{absent}");
    }
    let containers = pod["containers"].as_array().expect("a list");
    assert_eq!(containers.len(), 1);
    let context = &containers[0]["securityContext"];
    assert_eq!(
        *context,
        json!({
            "privileged": false,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {
                "drop": ["ALL"],
                "add": ["SYS_PTRACE", "DAC_READ_SEARCH", "SYS_ADMIN"],
            },
        })
    );
    assert_eq!(
        pod["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    assert!(containers[0]["ports"].is_null() && containers[0]["env"].is_null());
    let resources = &containers[0]["resources"];
    assert!(resources["limits"]["cpu"].is_null() && resources["limits"]["memory"].is_string());
    let policy = document("networkpolicy.yaml");
    let policy = policy["spec"].as_object().expect("a mapping");
    assert_eq!(policy["policyTypes"], json!(["Ingress", "Egress"]));
    assert!(!policy.contains_key("ingress") && !policy.contains_key("egress"));
}

/// For each volume its kind, and how it is mounted.
fn mounts() -> Vec<(String, Value, Value)> {
    let pod = pod();
    let volumes = pod["volumes"].as_array().expect("a list").iter();
    let mounts = pod["containers"][0]["volumeMounts"]
        .as_array()
        .expect("a list");
    assert_eq!(volumes.len(), mounts.len());
    let mount = |volume: &Value| {
        let found = mounts.iter().find(|mount| mount["name"] == volume["name"]);
        let name = volume["name"].as_str().expect("a name").to_owned();
        (
            name,
            volume.clone(),
            found.expect("a mount for each volume").clone(),
        )
    };
    volumes.map(mount).collect()
}

#[test]
fn other_pods_can_mount_the_workload_socket_alone() {
    let on_the_host = ["workload-socket", "data", "cri", "dbus"];
    for (name, volume, mount) in mounts() {
        let is_on_the_host = !volume["hostPath"].is_null();
        assert_eq!(is_on_the_host, on_the_host.contains(&&*name), "{name}");
        let is_read_only = mount["readOnly"] == true;
        let is_written = ["workload-socket", "data", "admin-socket"].contains(&&*name);
        assert_ne!(is_read_only, is_written, "{name}");
        assert!(mount["mountPropagation"] != "Bidirectional", "{name}");
        match &*name {
            "admin-socket" => {
                assert!(volume["emptyDir"].is_object());
                assert_eq!(mount["mountPath"], "/run/symbolon/admin");
            }
            "workload-socket" => {
                assert_eq!(volume["hostPath"]["path"], "/run/symbolon/workload");
                assert_eq!(mount["mountPath"], "/run/symbolon/workload");
            }
            "cri" => assert_eq!(mount["mountPropagation"], "HostToContainer"),
            _ => {}
        }
    }
}

#[test]
fn the_configuration_fits_the_mounts_and_the_example_registers() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), map("symbolon-agent", "agent.toml")).expect("written");
    let config = Config::load(&Sources {
        file: Some(file.path().to_owned()),
        ..Sources::default()
    })
    .expect("it loads");
    let place = |name: &str| {
        let mounts = mounts();
        let (.., mount) = mounts
            .iter()
            .find(|(volume, ..)| volume == name)
            .expect(name);
        PathBuf::from(mount["mountPath"].as_str().expect("a path"))
    };
    assert_eq!(config.registry.apply_dir, Some(place("registrations")));
    assert_eq!(
        config.workload_api.socket.parent(),
        Some(&*place("workload-socket"))
    );
    assert_eq!(
        config.admin_api.socket.parent(),
        Some(&*place("admin-socket"))
    );
    // Made by the agent below a directory that the kubelet makes too wide.
    assert_eq!(config.data_dir.parent(), Some(&*place("data")));
    let pod = pod();
    let grace = pod["terminationGracePeriodSeconds"]
        .as_u64()
        .expect("seconds");
    assert!(config.shutdown.grace < Duration::from_secs(grace));
    let arguments = texts(&pod["containers"][0]["args"]);
    let config_file = place("config").join("agent.toml");
    assert_eq!(arguments.last().map(Path::new), Some(&*config_file));

    let rules = SpecRules {
        trust_domain: config.trust_domain.clone(),
        x509_ttl: config.limits.min_x509_ttl..=config.limits.max_x509_ttl,
        jwt_ttl: config.limits.min_jwt_ttl..=config.limits.max_jwt_ttl,
    };
    let text = map("symbolon-registrations", "clients.yaml");
    let (entries, faults) = parse("clients.yaml", &text, Form::Yaml, &rules);
    assert!(faults.is_empty(), "{faults:?}");
    assert_eq!(entries.len(), 1);
}

#[test]
fn a_client_needs_one_mount_and_no_privilege() {
    let client = document("client-pod.yaml");
    let pod = &client["spec"];
    for absent in ["hostPID", "hostNetwork", "hostIPC", "serviceAccountName"] {
        assert!(pod[absent].is_null(), "{absent}");
    }
    assert_eq!(pod["automountServiceAccountToken"], false);
    let volumes = pod["volumes"].as_array().expect("a list");
    assert_eq!(volumes.len(), 1);
    assert_eq!(volumes[0]["hostPath"]["path"], "/run/symbolon/workload");
    let container = &pod["containers"][0];
    assert_eq!(container["volumeMounts"][0]["readOnly"], true);
    assert_eq!(
        container["securityContext"]["capabilities"],
        json!({"drop": ["ALL"]})
    );
    let endpoint = format!("unix://{}/workload.sock", "/run/symbolon/workload");
    assert_eq!(container["env"][0]["value"], Value::from(endpoint));
    // The example registration is about this very pod.
    let registration = map("symbolon-registrations", "clients.yaml");
    let user = pod["securityContext"]["runAsUser"]
        .as_u64()
        .expect("a number");
    let (namespace, name) = (&client["metadata"]["namespace"], &container["name"]);
    for selector in [
        format!("unix:uid:{user}"),
        format!("k8s:ns:{}", namespace.as_str().expect("text")),
        format!("k8s:container-name:{}", name.as_str().expect("text")),
    ] {
        assert!(registration.contains(&selector), "{selector}");
    }
}
