//! An agent that runs without privilege: it serves its own user's processes fully.
//!
//! As root the tests run it as another user; as an ordinary user they run it as themselves.

use std::os::unix::fs::MetadataExt as _;

use symbolon_tests::{Agent, Output, Program, SOMEBODY_ELSE, Setup, Workload, is_root, symbolon};

/// The user that the agent runs as.
fn user() -> u32 {
    if is_root() {
        SOMEBODY_ELSE
    } else {
        rustix::process::geteuid().as_raw()
    }
}

async fn unprivileged_agent() -> Agent {
    let setup = Setup::new();
    let setup = if is_root() {
        setup.run_by(user())
    } else {
        setup
    };
    setup.start().await
}

/// Runs a copy of `symbolon` as the agent's user against the agent.
async fn run_as_its_user(agent: &Agent, program: &Program, arguments: &[&str]) -> Output {
    let mut command = agent.command(program.path());
    command.args(arguments);
    if is_root() {
        command.uid(user()).gid(user());
    }
    Workload::start(&mut command).end().await
}

#[tokio::test]
async fn an_ordinary_users_agent_serves_that_users_processes() {
    let agent = unprivileged_agent().await;
    let program = Program::at(symbolon()).copy_to(agent.setup().directory(), "workload");
    let uid = format!("unix:uid:{}", user());
    let (digest, path) = (program.digest_selector(), program.path_selector());
    let register = [
        "client",
        "register",
        "client",
        "--owner",
        "me",
        "--selector",
        &uid,
    ];
    let weak = ["--accept-weak", "a copy of symbolon"];
    let rest = ["--selector", &digest, "--selector", &path, weak[0], weak[1]];
    let registered = run_as_its_user(&agent, &program, &[&register[..], &rest].concat()).await;
    assert_eq!(registered.code, Some(0), "{registered:?}");
    let served = run_as_its_user(&agent, &program, &["svid", "x509"]).await;
    assert_eq!(served.code, Some(0), "{served:?}");

    let health = ["health", "--details", "--output", "json"];
    let health = run_as_its_user(&agent, &program, &health).await.json();
    let limitations = health["limitations"].as_array().expect("limitations");
    assert!(
        !limitations.is_empty(),
        "what it cannot do is not said: {health}"
    );
}

#[tokio::test]
async fn the_agents_memory_is_closed_to_processes_of_its_own_user() {
    let agent = unprivileged_agent().await;
    // The files of a process that is not dumpable belong to root, whoever runs it.
    let owner = std::fs::metadata(format!("/proc/{}/environ", agent.pid()))
        .unwrap()
        .uid();
    assert_eq!(owner, 0);
}
