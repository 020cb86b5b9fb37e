//! An agent in a cgroup namespace of its own, and processes beside it.
//!
//! Root of a test machine may not look at its PID 1, so the agent gets a PID namespace whose PID 1
//! stays in the host's cgroup namespace: there it is what a container with the host's PIDs is on a
//! host with version 2 alone.

use crate::{
    machine::{own_cgroups, remove},
    peer::{binary, can_unshare, is_root, now},
};
use serde_json::Value;
use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
};
use symbolon_attestors::{Attestor, AttestorConfig, Kinds};

/// Has [`agent`] attest the process that the file named here tells.
const FILE: &str = "SYMBOLON_TEST_ATTEST_CGROUP_OF";

/// Cgroups of the test's own, gone with it.
struct Group {
    name: String,
    paths: Vec<PathBuf>,
}

impl Drop for Group {
    fn drop(&mut self) {
        for path in &self.paths {
            remove(path);
        }
    }
}

/// In the new PID namespace, whose PID 1 this is: a process in the cgroup `$1/beside`, and the
/// agent in `$1/agent`, in a cgroup namespace of its own and with the capabilities that `$2` leaves.
const SCRIPT: &str = r#"
    umount -R /sys/fs/cgroup
    mount -t cgroup2 none /sys/fs/cgroup
    mkdir "/sys/fs/cgroup$1/beside" "/sys/fs/cgroup$1/agent" "/sys/fs/cgroup$1/agent/below"
    sleep infinity >&- 2>&- & beside=$!
    sleep infinity >&- 2>&- & below=$!
    echo $beside > "/sys/fs/cgroup$1/beside/cgroup.procs"
    echo $below > "/sys/fs/cgroup$1/agent/below/cgroup.procs"
    export SYMBOLON_TEST_ATTEST_CGROUP_OF="$beside $below"
    sh -ec 'echo $$ > "/sys/fs/cgroup$1/agent/cgroup.procs"
        exec unshare -C setpriv --bounding-set "$2" --inh-caps "$2" \
            "$3" --exact cgroups::agent --nocapture' sh "$1" "$2" "$3"
"#;

/// What the agent says of the process beside it, and of the one below its own cgroup.
fn attested(test: &str, capabilities: &str) -> Option<(String, [Value; 3])> {
    if !is_root() || !can_unshare(&["-m", "-C", "--pid", "--fork", "--mount-proc"]) {
        return None;
    }
    let name = format!("symbolon-{test}-{}", std::process::id());
    let group = Group {
        paths: own_cgroups(&name),
        name: format!("/{name}"),
    };
    let output = Command::new("unshare")
        .args(["-m", "--pid", "--fork", "--mount-proc", "--kill-child"])
        .args(["sh", "-ec", SCRIPT, "sh", &group.name, capabilities])
        .arg(binary())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    let lines = said.lines().filter_map(|line| line.split_once("ANSWER "));
    let answers: Vec<Value> = lines
        .map(|(_, answer)| serde_json::from_str(answer).unwrap())
        .collect();
    let answers = answers.try_into();
    Some((
        group.name.clone(),
        answers.unwrap_or_else(|_| panic!("{said}{complaint}")),
    ))
}

/// Not a test, but the agent of the others.
#[tokio::test]
async fn agent() {
    #[expect(clippy::disallowed_methods, reason = "how a test talks to its child")]
    let Ok(pids) = std::env::var(FILE) else {
        return;
    };
    let attestor = Arc::new(Attestor::new(AttestorConfig::default()).unwrap());
    for pid in pids.split(' ') {
        let peer = Arc::new(attestor.pin_pid(pid.parse().unwrap()).unwrap());
        let attestor = Arc::clone(&attestor);
        // On another thread than the one that made the attestor.
        let attested = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_all().build().unwrap();
            let image = attestor.look(&peer)?;
            runtime.block_on(attestor.attest(&peer, &image, Kinds::NONE, now()))
        });
        let attestation = attested.join().unwrap().unwrap();
        let evidence = serde_json::to_string(attestation.evidence()).unwrap();
        println!("\nANSWER {evidence}");
    }
    let limitations = serde_json::to_string(attestor.limitations()).unwrap();
    println!("\nANSWER {limitations}");
}

fn path(evidence: &Value) -> Vec<&str> {
    let selectors = evidence["selectors"].as_array().unwrap().iter();
    selectors
        .filter_map(|selector| selector.as_str().unwrap().strip_prefix("cgroup:path:"))
        .collect()
}

fn reason<'a>(evidence: &'a Value, key: &str) -> &'a str {
    let mut unknown = evidence["unknown"].as_array().unwrap().iter();
    let unknown = unknown.find(|unknown| unknown["selector"] == key);
    unknown.unwrap()["reason"].as_str().unwrap()
}

#[test]
fn an_agent_in_a_private_namespace_joins_the_hosts() {
    let Some((group, [beside, below, limitations])) = attested("joins", "-sys_time") else {
        return;
    };
    // On a hybrid host name=systemd is a hierarchy too; nobody moved the processes in it.
    assert!(
        path(&beside).contains(&&*format!("{group}/beside")),
        "{beside}"
    );
    assert!(
        path(&below).contains(&&*format!("{group}/agent/below")),
        "{below}"
    );
    assert!(!limitations.to_string().contains("cgroup"), "{limitations}");
}

#[test]
fn without_the_right_to_join_cgroups_are_found_by_their_id() {
    let Some((group, [beside, below, limitations])) = attested("by-id", "-sys_admin") else {
        return;
    };
    assert_eq!(
        path(&beside),
        [format!("{group}/beside")],
        "{beside}{limitations}"
    );
    assert_eq!(path(&below), [format!("{group}/agent/below")]);
    assert!(
        limitations.to_string().contains("found by their ID"),
        "{limitations}"
    );
}

#[test]
fn without_either_right_no_path_is_believed() {
    let rights = "-sys_admin,-dac_read_search";
    let Some((_, [beside, below, limitations])) = attested("neither", rights) else {
        return;
    };
    for evidence in [&beside, &below] {
        assert_eq!(path(evidence), [""; 0]);
        assert!(reason(evidence, "cgroup:path").contains("private cgroup namespace"));
    }
    assert!(
        limitations
            .to_string()
            .contains("unknown for every process"),
        "{limitations}"
    );
}

#[tokio::test]
async fn a_path_of_many_kilobytes_is_one_path() {
    if !is_root() {
        return;
    }
    let name = format!("symbolon-deep-{}", std::process::id());
    let paths = own_cgroups(&name);
    let Some(mut path) = paths
        .iter()
        .find(|path| path.join("cgroup.kill").exists())
        .cloned()
    else {
        return;
    };
    let group = Group { name, paths };
    // As deep as the kernel makes paths: 4,096 bytes, relative as they must be.
    let part = "x".repeat(250);
    let mut depth = 0;
    while path.as_os_str().len() + part.len() + 20 < 4096
        && fs::create_dir(path.join(&part)).is_ok()
    {
        path.push(&part);
        depth += 1;
    }
    assert!(depth > 10);
    let mut child = Command::new("sleep").arg("infinity").spawn().unwrap();
    fs::write(path.join("cgroup.procs"), child.id().to_string()).unwrap();
    let attestor = Attestor::new(AttestorConfig::default()).unwrap();
    let peer = Arc::new(attestor.pin_pid(child.id()).unwrap());
    let image = attestor.look(&peer).unwrap();
    let attested = attestor.attest(&peer, &image, Kinds::NONE, now());
    let attestation = attested.await;
    child.kill().unwrap();
    child.wait().unwrap();
    let expected = format!(
        "cgroup:path:/{}{}",
        group.name,
        format!("/{part}").repeat(depth)
    );
    let attestation = attestation.unwrap();
    let selectors = attestation.selectors().iter();
    assert_eq!(
        selectors.filter(|held| held.as_str() == expected).count(),
        1
    );
}
