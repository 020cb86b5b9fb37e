//! Units of a real systemd, asked for inside of its machine and from outside.

use crate::{
    machine::{Hierarchies, Machine},
    peer::{binary, cannot_run, now},
};
use serde_json::Value;
use std::{path::PathBuf, sync::Arc};
use symbolon_attestors::{Attestation, Attestor, AttestorConfig, Kind, Kinds};

/// Names a process to [`inside`].
const PID: &str = "SYMBOLON_TEST_ATTEST_UNIT_OF";

const NOTES: &str = "\
[Service]
Type=exec
ExecStart=/bin/sleep infinity
Slice=agents.slice
Delegate=yes
";

/// Where the test binary is inside of a machine.
const PROGRAM: &str = "/symbolon-live-tests";

/// A machine, where this one can boot it.
fn boot(release: &str, hierarchies: Hierarchies) -> Option<Machine> {
    if let Some(enable) = Machine::lacking(release) {
        cannot_run(&format!("a systemd that boots is needed: {enable}"));
        return None;
    }
    Some(Machine::boot(release, hierarchies, (&binary(), PROGRAM)))
}

/// Starts a service in the machine.
fn start(machine: &Machine) -> u32 {
    machine.sh(&format!(
        "printf '{}' > /etc/systemd/system/notes.service; systemctl daemon-reload; \
         systemctl start notes.service",
        NOTES.replace('\n', "\\n")
    ));
    main_pid(machine, "notes.service")
}

fn main_pid(machine: &Machine, unit: &str) -> u32 {
    let pid = machine.sh(&format!("systemctl show -P MainPID {unit}"));
    pid.parse().unwrap()
}

fn invocation(machine: &Machine) -> String {
    machine.sh("systemctl show -P InvocationID notes.service")
}

/// What an agent of the machine's own says of one of its processes.
fn attested_inside(machine: &Machine, pid: u32) -> Value {
    let output = machine
        .command(PROGRAM)
        .args(["--exact", "systemd::inside", "--nocapture"])
        .env(PID, pid.to_string())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let evidence = said.lines().find_map(|line| line.split_once("EVIDENCE "));
    let complaint = String::from_utf8_lossy(&output.stderr);
    serde_json::from_str(evidence.unwrap_or_else(|| panic!("{said}{complaint}")).1).unwrap()
}

/// Not a test, but what [`attested_inside`] starts.
#[tokio::test]
async fn inside() {
    #[expect(clippy::disallowed_methods, reason = "how a test talks to its child")]
    let Ok(pid) = std::env::var(PID) else { return };
    let attestor = Attestor::new(AttestorConfig::default()).unwrap();
    let attestation = attest(&attestor, pid.parse().unwrap()).await;
    let evidence = serde_json::to_string(attestation.evidence()).unwrap();
    println!("EVIDENCE {evidence}");
}

async fn attest(attestor: &Attestor, pid: u32) -> Attestation {
    let peer = Arc::new(attestor.pin_pid(pid).unwrap());
    let kinds = Kinds::NONE.with(Kind::Systemd);
    let image = attestor.look(&peer).unwrap();
    let attested = attestor.attest(&peer, &image, kinds, now());
    attested.await.unwrap()
}

/// An agent on the test's own host that asks the machine's bus.
fn outside(machine: &Machine) -> Attestor {
    outside_at(machine.path("/run/dbus/system_bus_socket"))
}

fn outside_at(bus: PathBuf) -> Attestor {
    let config = AttestorConfig {
        systemd_bus: Some(bus),
        ..AttestorConfig::default()
    };
    Attestor::new(config).unwrap()
}

/// The `systemd:` selectors in evidence.
fn units(evidence: &Value) -> Vec<&str> {
    let selectors = evidence["selectors"].as_array().unwrap().iter();
    let selectors = selectors.map(|selector| selector.as_str().unwrap());
    selectors
        .filter(|selector| selector.starts_with("systemd:"))
        .collect()
}

/// Why each of the `systemd:` selectors that are unknown is.
fn unknown(evidence: &Value) -> Vec<&str> {
    let unknown = evidence["unknown"].as_array().unwrap().iter();
    let of =
        |unknown: &Value, field: &str| unknown.get(field).unwrap().as_str().unwrap().to_owned();
    unknown
        .filter(|unknown| of(unknown, "selector").starts_with("systemd:"))
        .map(|unknown| unknown["reason"].as_str().unwrap())
        .collect()
}

fn evidence_of(attestation: &Attestation) -> Value {
    serde_json::to_value(attestation.evidence()).unwrap()
}

fn expected(invocation: &str) -> [String; 4] {
    [
        "systemd:fragment_path:/etc/systemd/system/notes.service".into(),
        "systemd:id:notes.service".into(),
        format!("systemd:invocation_id:{invocation}"),
        "systemd:slice:agents.slice".into(),
    ]
}

/// Everything that is to hold of a systemd; `root` is where the machine has its unified hierarchy.
fn tried(machine: &Machine, root: &str) {
    let pid = start(machine);
    let first = invocation(machine);
    let evidence = attested_inside(machine, pid);
    assert_eq!(units(&evidence), expected(&first));

    // Below its own cgroup, as it may, since that is delegated to it.
    let own = format!("{root}/agents.slice/notes.service");
    machine.sh(&format!(
        "mkdir {own}/sub; echo {pid} > {own}/sub/cgroup.procs"
    ));
    assert_eq!(units(&attested_inside(machine, pid)), expected(&first));

    // Started anew: another one.
    machine.sh("systemctl restart notes.service");
    let second = invocation(machine);
    assert_ne!(first, second);
    let pid = main_pid(machine, "notes.service");
    assert_eq!(units(&attested_inside(machine, pid)), expected(&second));

    // Moved out of the unit: systemd still calls it the unit's main process.
    machine.sh(&format!(
        "mkdir {root}/elsewhere; echo {pid} > {root}/elsewhere/cgroup.procs"
    ));
    assert_eq!(main_pid(machine, "notes.service"), pid);
    let evidence = attested_inside(machine, pid);
    assert_eq!(units(&evidence), [""; 0], "{evidence}");

    // A cgroup with the unit's name somewhere else.
    let forged = format!("{root}/elsewhere/agents.slice/notes.service");
    machine.sh(&format!(
        "mkdir -p {forged}; echo {pid} > {forged}/cgroup.procs"
    ));
    let evidence = attested_inside(machine, pid);
    assert_eq!(units(&evidence), [""; 0], "{evidence}");
    let held = evidence.get("selectors").unwrap().as_array().unwrap();
    assert!(held.contains(&"cgroup:path:/elsewhere/agents.slice/notes.service".into()));
}

#[tokio::test]
async fn a_unit_is_what_systemd_and_the_kernel_say() {
    let Some(machine) = boot("bookworm", Hierarchies::Host) else {
        return;
    };
    let root = machine
        .sh("test -d /sys/fs/cgroup/unified && echo /sys/fs/cgroup/unified || echo /sys/fs/cgroup");
    tried(&machine, &root);

    // Before systemd 255 units are found by number, and ours is another process's there, if any.
    machine.sh("systemctl restart notes.service");
    let pid = machine.outside(main_pid(&machine, "notes.service"));
    let evidence = evidence_of(&attest(&outside(&machine), pid).await);
    assert_eq!(units(&evidence), [""; 0], "{evidence}");
}

#[tokio::test]
async fn a_unit_is_found_by_pidfd() {
    let Some(machine) = boot("trixie", Hierarchies::Unified) else {
        return;
    };
    tried(&machine, "/sys/fs/cgroup");

    // A pidfd means the same process also in another PID namespace.
    machine.sh("systemctl restart notes.service");
    let pid = machine.outside(main_pid(&machine, "notes.service"));
    let attestor = outside(&machine);
    let evidence = evidence_of(&attest(&attestor, pid).await);
    assert_eq!(units(&evidence), expected(&invocation(&machine)));

    // The manager's connection to the bus is made anew, and ours with it.
    machine.sh(
        "systemctl restart dbus.service
         timeout 60 sh -c 'until busctl status org.freedesktop.systemd1; do :; done' >/dev/null 2>&1",
    );
    let evidence = evidence_of(&attest(&attestor, pid).await);
    assert_eq!(
        units(&evidence),
        expected(&invocation(&machine)),
        "{evidence}"
    );
}

#[tokio::test]
async fn a_unit_of_a_users_own_manager_is_that_users_word() {
    let Some(machine) = boot("trixie", Hierarchies::Unified) else {
        return;
    };
    machine.sh("useradd --uid 1000 --create-home jo; systemctl start user@1000.service");
    let user =
        "setpriv --reuid=1000 --regid=1000 --clear-groups env XDG_RUNTIME_DIR=/run/user/1000";
    machine.sh(&format!(
        "{user} systemd-run --user --unit=notes --service-type=exec --collect /bin/sleep infinity"
    ));
    let pid = machine.sh(&format!(
        "{user} systemctl --user show -P MainPID notes.service"
    ));
    let pid: u32 = pid.parse().unwrap();
    let evidence = attested_inside(&machine, pid);
    let found = units(&evidence);
    assert!(
        found.contains(&"systemd:id:user@1000.service"),
        "{evidence}"
    );
    assert!(
        found.contains(&"systemd:user_unit:notes.service"),
        "{evidence}"
    );
    assert!(!found.contains(&"systemd:id:notes.service"));

    // Another unit's process, put there by root, is neither the one nor the other.
    let cgroup = machine.sh(&format!("sed -n s/^0::// /proc/{pid}/cgroup"));
    machine.sh("systemd-run --unit=other --service-type=exec --collect /bin/sleep infinity");
    let other = main_pid(&machine, "other.service");
    machine.sh(&format!(
        "echo {other} > /sys/fs/cgroup{cgroup}/cgroup.procs"
    ));
    let evidence = attested_inside(&machine, other);
    assert_eq!(units(&evidence), [""; 0], "{evidence}");
}

#[tokio::test]
async fn without_a_bus_every_selector_is_unknown() {
    let directory = tempfile::tempdir().unwrap();
    let attestor = outside_at(directory.path().join("none"));
    let evidence = evidence_of(&attest(&attestor, std::process::id()).await);
    let reasons = unknown(&evidence);
    assert_eq!(reasons.len(), 5);
    assert!(
        reasons.iter().all(|reason| reason.contains("No such file")),
        "{evidence}"
    );
    assert_eq!(units(&evidence), [""; 0]);
}
