//! The agent under its own unit file, in a machine with a systemd of its own.

use symbolon_tests::{can_run, symbolon};

#[path = "../../../attestors/tests/live/machine.rs"]
#[expect(dead_code, reason = "the attestors' own tests use the rest")]
mod machine;

use machine::{Hierarchies, Machine};

const UNIT: &str = include_str!("../../../deploy/systemd/symbolon.service");

/// The machine shares the network of its host, so the telemetry port may be taken.
const CONFIG: &str = "trust_domain = \"example.org\"\n[telemetry]\naddress = \"off\"\n";

/// A machine in which the agent runs as it is shipped; `None` where this one cannot boot it.
fn machine_with_agent(test: &str, hierarchies: Hierarchies) -> Option<Machine> {
    let lacking = Machine::lacking("bookworm");
    if !can_run(test, lacking.is_none(), lacking.unwrap_or_default()) {
        return None;
    }
    let program = (symbolon(), "/usr/bin/symbolon");
    let machine = Machine::boot("bookworm", hierarchies, program);
    write(&machine, "/etc/systemd/system/symbolon.service", UNIT);
    write(&machine, "/etc/symbolon/agent.toml", CONFIG);
    machine.sh("systemctl daemon-reload");
    machine.sh("systemctl start symbolon.service || { journalctl -u symbolon >&2; exit 1; }");
    Some(machine)
}

#[test]
fn the_unit_file_gives_the_agent_what_it_takes_to_know_other_units() {
    let test = "the_unit_file_gives_the_agent_what_it_takes_to_know_other_units";
    let Some(machine) = machine_with_agent(test, Hierarchies::Host) else {
        return;
    };
    machine.sh(
        "symbolon client register notes --owner tests --selector systemd:id:notes.service \
         --selector unix:uid:0",
    );
    let fetch = |unit: &str| {
        format!("systemd-run --quiet --wait --pipe --unit={unit} symbolon svid x509 -o json 2>&1")
    };
    let said = machine.sh(&fetch("notes.service"));
    assert!(
        said.contains("spiffe://example.org/mcp/client/notes"),
        "{said}"
    );
    let refused = machine.sh(&format!("{} || test $? = 3", fetch("other.service")));
    assert!(
        !refused.contains("spiffe://example.org/mcp/client/notes"),
        "{refused}"
    );
    let explained =
        machine.sh("symbolon attest --pid $(systemctl show -P MainPID symbolon) -o json");
    assert!(
        explained.contains("systemd:id:symbolon.service"),
        "{explained}"
    );
    let started = machine.sh("journalctl -u symbolon -o cat");
    assert!(!started.contains("cgroup:path is unknown"), "{started}");
}

/// The unit hides `/proc/sys` from the agent (`ProcSubset=pid`), where the host says whether it
/// randomizes addresses. That it does not know makes no limitation, and each caller is looked at.
#[test]
fn caller_without_random_addresses_is_refused_also_under_the_unit_file() {
    let test = "caller_without_random_addresses_is_refused_also_under_the_unit_file";
    let Some(machine) = machine_with_agent(test, Hierarchies::Host) else {
        return;
    };
    machine.sh("nsenter -m -t $(systemctl show -P MainPID symbolon) -- \
         sh -c '! test -e /proc/sys && test -e /proc/self/status'");
    let started = machine.sh("journalctl -u symbolon -o cat");
    assert!(started.contains("INFO"), "{started}");
    for word in ["randomize_va_space", "random", "told from one"] {
        assert!(!started.contains(word), "{started}");
    }
    machine
        .sh("symbolon client register all --owner tests --selector unix:uid:0 --accept-weak tests");
    let fetch = "symbolon svid x509 -o json";
    let said = machine.sh(fetch);
    assert!(
        said.contains("spiffe://example.org/mcp/client/all"),
        "{said}"
    );
    let refused = machine.sh(&format!("! setarch -R {fetch} 2>&1"));
    assert!(!refused.contains("spiffe://"), "{refused}");
    let last = machine.sh("symbolon audit tail -n 1");
    assert!(last.contains("denied"), "{last}");
    assert!(
        last.contains("runs without address space layout randomization"),
        "{last}"
    );
}

/// Writes a file inside of the machine.
fn write(machine: &Machine, path: &str, content: &str) {
    let mut command = machine.command("sh");
    let script = "mkdir -p \"${1%/*}\"; printf %s \"$2\" > \"$1\"";
    let status = command.args(["-ec", script, "sh", path, content]).status();
    assert!(status.unwrap().success(), "{path}");
}
