use super::agent::{Agent, Push, State, issued};
use std::{fs, os::unix::process::ExitStatusExt as _, path::Path, process::Command};
use symbolon_proto::workload::{X509svid, X509svidResponse};
use tonic::Status;

fn push(svid: X509svid) -> Push {
    Ok(X509svidResponse {
        svids: vec![svid],
        ..X509svidResponse::default()
    })
}

fn withdrawn() -> Push {
    Err(Status::permission_denied("no identity issued"))
}

fn watching(streams: Vec<Vec<Push>>) -> Agent {
    Agent::new(State {
        streams,
        ..State::default()
    })
}

fn key(dir: &Path) -> Vec<u8> {
    let pem = fs::read_to_string(dir.join("key.pem")).unwrap();
    rcgen::KeyPair::from_pem(&pem).unwrap().serialize_der()
}

/// A self-signed stand-in for a renewed SVID.
fn renewed() -> X509svid {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::default()
        .self_signed(&key)
        .unwrap();
    X509svid {
        x509_svid: certificate.der().to_vec().into(),
        x509_svid_key: key.serialize_der().into(),
        ..issued("payments")
    }
}

#[test]
fn files_are_replaced_at_each_renewal_until_the_identity_is_withdrawn() {
    let second = renewed();
    let agent = watching(vec![vec![
        push(issued("payments")),
        push(second.clone()),
        withdrawn(),
    ]]);
    let dir = agent.path("svid");
    let outcome = agent.workload(&[
        "svid",
        "x509",
        "--watch",
        "--write",
        dir.to_str().unwrap(),
        "-o",
        "json",
        "--exec",
        "cat \"$SYMBOLON_SVID_DIR/key.pem\" >> \"$SYMBOLON_SVID_DIR/seen\"",
    ]);
    assert_eq!(outcome.code, std::process::ExitCode::from(3), "{outcome:?}");
    assert_eq!(outcome.out.lines().count(), 2, "a JSON line each");
    assert_eq!(key(&dir), second.x509_svid_key);
    let seen = fs::read_to_string(dir.join("seen")).unwrap();
    assert_eq!(seen.matches("BEGIN PRIVATE KEY").count(), 2);
}

#[test]
fn a_restart_of_the_agent_is_outlived() {
    let second = renewed();
    let agent = watching(vec![
        vec![
            push(issued("payments")),
            Err(Status::unavailable("stopping")),
        ],
        vec![Err(Status::unavailable("starting"))],
        vec![push(second.clone())],
        vec![push(second.clone()), withdrawn()],
    ]);
    let dir = agent.path("svid");
    let outcome = agent.workload(&["svid", "x509", "--watch", "--write", dir.to_str().unwrap()]);
    assert_eq!(outcome.code, std::process::ExitCode::from(3), "{outcome:?}");
    assert!(outcome.err.contains("the agent is back"), "{}", outcome.err);
    assert_eq!(key(&dir), second.x509_svid_key);
}

#[test]
fn a_hook_that_fails_does_not_end_the_watch() {
    let agent = watching(vec![vec![
        push(issued("payments")),
        push(renewed()),
        withdrawn(),
    ]]);
    let dir = agent.path("svid");
    let dir = dir.to_str().unwrap();
    let outcome = agent.workload(&[
        "svid", "x509", "--watch", "--write", dir, "--exec", "exit 7",
    ]);
    assert_eq!(
        outcome.err.matches("exit status: 7").count(),
        2,
        "{}",
        outcome.err
    );
    assert_eq!(outcome.code, std::process::ExitCode::from(3));
}

#[test]
fn the_process_in_the_pid_file_gets_the_signal() {
    let agent = watching(vec![vec![push(issued("payments"))]]);
    let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
    let pid_file = agent.path("pid");
    fs::write(&pid_file, child.id().to_string()).unwrap();
    let dir = agent.path("svid");
    let outcome = agent.workload(&[
        "svid",
        "x509",
        "--write",
        dir.to_str().unwrap(),
        "--signal",
        "SIGTERM",
        "--pid-file",
        pid_file.to_str().unwrap(),
    ]);
    outcome.done();
    assert_eq!(child.wait().unwrap().signal(), Some(15));
}

#[test]
fn a_wrong_socket_is_told_at_once() {
    watching(vec![])
        .workload(&["svid", "x509", "--watch"])
        .refused(3);
    super::symbolon(&["svid", "x509", "--watch", "--socket", "/nonexistent/w.sock"]).refused(5);
}
