//! Running an agent: configuration, reload, telemetry, exit codes.

use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;
use symbolon_tests::{Agent, Output, Setup, command, symbolon, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

async fn run(arguments: &[&str], directory: &Path) -> Output {
    let mut command = command(symbolon());
    command.args(arguments).current_dir(directory);
    within("symbolon", command.output()).await.unwrap().into()
}

#[tokio::test]
async fn check_reports_every_fault_at_once_with_file_and_line() {
    let setup = Setup::new();
    let file = setup.config_file();
    let text = "trust_domain = \"Not A Domain\"\nnonsense = 1\n[svid]\nx509_tll = \"1h\"\n";
    std::fs::write(&file, text).unwrap();
    let path = file.to_str().unwrap();
    let checked = run(&["agent", "--check", "--config", path], setup.directory()).await;
    assert_ne!(checked.code, Some(0), "{checked:?}");
    for expected in ["agent.toml:1", "agent.toml:2", "agent.toml:4", "x509_ttl"] {
        assert!(checked.text().contains(expected), "{expected}: {checked:?}");
    }

    setup.write_config();
    let checked = run(&["agent", "--check", "--config", path], setup.directory()).await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(!setup.data().exists(), "a check leaves nothing behind");
}

#[tokio::test]
async fn exit_codes_tell_what_went_wrong() {
    let agent = Setup::new().start().await;
    for (arguments, code) in [
        (&["client", "list"][..], 0),
        (&["client", "register"], 2),
        (&["client", "show", "nobody"], 4),
        (&["svid", "x509"], 3),
        (&["client", "list", "--socket", "/nonexistent.sock"], 5),
        (&["health", "--socket", "/nonexistent.sock"], 5),
    ] {
        let output = agent.run_list(arguments).await;
        assert_eq!(output.code, Some(code), "{arguments:?}: {output:?}");
    }
}

#[tokio::test]
async fn lowered_floors_are_said_at_start() {
    let agent = Setup::new().start().await;
    let log = std::fs::read_to_string(agent.setup().log_file()).unwrap();
    assert!(log.contains("min_x509_ttl"), "{log}");
}

#[tokio::test]
async fn a_reload_takes_what_it_can_and_refuses_the_rest() {
    let agent = Setup::new().start().await;
    let file = agent.setup().config_file();
    let before = std::fs::read_to_string(&file).unwrap();
    let wait = before.replace(
        "[workload_api]",
        "[workload_api]\nwait_for_registration = \"50s\"",
    );
    std::fs::write(&file, &wait).unwrap();
    agent.signal(Signal::HUP);
    agent.notified("READY=1").await;

    let moved = wait.replace(
        "trust_domain = \"example.org\"",
        "trust_domain = \"moved.example\"",
    );
    std::fs::write(&file, moved).unwrap();
    agent.signal(Signal::HUP);
    agent.notified("READY=1").await;
    let log = std::fs::read_to_string(agent.setup().log_file()).unwrap();
    assert!(log.contains("trust_domain"), "{log}");
    let info = agent.json(["health", "--details"]).await;
    assert_eq!(info["trust_domain"], "example.org");
}

#[tokio::test]
async fn a_stop_is_announced_before_it_happens() {
    let agent = Setup::new().start().await;
    agent.signal(Signal::TERM);
    agent.notified("STOPPING=1").await;
    assert_eq!(agent.ended().await.status.code(), Some(0));
}

/// The address that the agent says it bound.
pub(crate) fn telemetry_address(agent: &Agent) -> String {
    let log = std::fs::read_to_string(agent.setup().log_file()).unwrap();
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut told = lines.filter(|line| line["message"] == "telemetry");
    let line = told.next().expect("the address is logged");
    line["address"].as_str().expect("an address").to_owned()
}

pub(crate) async fn get(address: &str, path: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("an answer", socket.read_to_string(&mut answer))
        .await
        .unwrap();
    answer
}

#[tokio::test]
async fn the_telemetry_port_tells_health_and_metrics() {
    let setup = Setup::new().set("telemetry", "address", "127.0.0.1:0");
    let agent = setup.start().await;
    let address = telemetry_address(&agent);
    for path in ["/live", "/ready"] {
        let answer = get(&address, path).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    agent.register_self("client").await;
    let metrics = get(&address, "/metrics").await;
    assert!(metrics.contains("\nsymbolon_"), "{metrics}");
    assert!(get(&address, "/other").await.starts_with("HTTP/1.1 404"));
}
