//! Who gets no identity, and who learns why.

use std::os::unix::process::CommandExt as _;

use symbolon_proto::workload::{JwtsvidRequest, X509svidRequest};
use symbolon_tests::{
    AUDIENCE, Agent, Client, Output, Program, SOMEBODY_ELSE, Setup, Workload, can_run, is_root,
    symbolon, within, workload_api,
};
use tonic::{Code, Status};

/// The status with which this process is refused an X.509-SVID.
async fn refusal(agent: &Agent) -> Status {
    let mut api = workload_api(agent).await;
    let mut stream = match within("an answer", api.fetch_x509svid(X509svidRequest {})).await {
        Ok(response) => response.into_inner(),
        Err(status) => return status,
    };
    within("a refusal", stream.message())
        .await
        .expect_err("a refusal")
}

/// Runs `symbolon svid x509` from this copy of it.
async fn fetch_with(agent: &Agent, program: &Program) -> Output {
    Workload::start(agent.command(program.path()).args(["svid", "x509"]))
        .end()
        .await
}

/// The last refusal in the audit trail.
async fn last_denial(agent: &Agent) -> serde_json::Value {
    let trail = agent.audit().await;
    let denial = trail.into_iter().rfind(|event| event["event"] == "denied");
    denial.expect("a refusal is recorded")
}

#[tokio::test]
async fn an_unregistered_process_is_denied_and_the_operator_sees_why() {
    let agent = Setup::new().start().await;
    let missing = "unix:path:/usr/bin/somebody-else";
    agent
        .register("other", &[Program::uid_selector(), missing.to_owned()])
        .await;

    let status = refusal(&agent).await;
    assert_eq!(status.code(), Code::PermissionDenied);
    for secret in ["other", "unix:", "selector"] {
        assert!(
            !status.message().contains(secret),
            "the answer tells: {status:?}"
        );
    }

    let pid = std::process::id();
    let denial = last_denial(&agent).await;
    assert_eq!(denial["process"]["pid"], pid, "{denial}");
    assert!(denial["reason"].is_string(), "{denial}");
    let seen = agent.json(["attest", "--pid", &pid.to_string()]).await;
    let selectors = seen["selectors"].as_array().expect("selectors");
    for selector in Program::itself().selectors() {
        assert!(
            selectors.iter().any(|have| *have == selector),
            "{selector}: {seen}"
        );
    }
    assert_eq!(seen["clients"][0]["name"], "other", "{seen}");
    assert_eq!(
        seen["clients"][0]["sets"][0]["missing"][0], missing,
        "{seen}"
    );
}

#[tokio::test]
async fn a_registered_path_with_one_changed_byte_is_denied() {
    let agent = Setup::new().start().await;
    let directory = agent.setup().directory().to_owned();
    let program = Program::at(symbolon()).copy_to(&directory, "workload");
    let selectors = [program.selectors(), vec![program.path_selector()]].concat();
    agent.register("client", &selectors).await;
    let served = fetch_with(&agent, &program).await;
    assert_eq!(served.code, Some(0), "{served:?}");

    let altered = program.alter_to(program.path());
    assert_eq!(altered.path(), program.path());
    let denied = fetch_with(&agent, &altered).await;
    assert_eq!(denied.code, Some(3), "{denied:?}");
    assert!(
        !denied.text().contains("unix:"),
        "the answer tells: {denied:?}"
    );
    last_denial(&agent).await;
}

#[tokio::test]
async fn the_registered_program_at_another_path_is_denied() {
    let agent = Setup::new().start().await;
    let directory = agent.setup().directory().to_owned();
    let program = Program::at(symbolon()).copy_to(&directory, "workload");
    let twin = program.copy_to(&directory, "twin");
    agent
        .register(
            "client",
            &[Program::uid_selector(), program.path_selector()],
        )
        .await;

    assert_eq!(fetch_with(&agent, &twin).await.code, Some(3));
    assert_eq!(fetch_with(&agent, &program).await.code, Some(0));
}

#[tokio::test]
async fn a_process_of_another_user_is_denied() {
    let enable = "run the tests as root";
    if !can_run("a_process_of_another_user_is_denied", is_root(), enable) {
        return;
    }
    let agent = Setup::new().start().await;
    let program = Program::at(symbolon()).copy_to(agent.setup().directory(), "workload");
    agent.register("client", &program.selectors()).await;
    let mut command = agent.command(program.path());
    command.args(["svid", "x509"]);
    command.as_std_mut().uid(SOMEBODY_ELSE).gid(SOMEBODY_ELSE);

    let denied = Workload::start(&mut command).end().await;
    assert_eq!(denied.code, Some(3), "{denied:?}");
    assert_eq!(last_denial(&agent).await["process"]["uid"], SOMEBODY_ELSE);
    assert_eq!(fetch_with(&agent, &program).await.code, Some(0));
}

#[tokio::test]
async fn a_process_of_another_user_is_attested_by_what_it_is() {
    let enable = "run the tests as root";
    if !can_run(
        "a_process_of_another_user_is_attested_by_what_it_is",
        is_root(),
        enable,
    ) {
        return;
    }
    let agent = Setup::new().start().await;
    let program = Client::Rust
        .program()
        .copy_to(agent.setup().directory(), "workload");
    let selectors = [
        format!("unix:uid:{SOMEBODY_ELSE}"),
        program.digest_selector(),
        program.path_selector(),
    ];
    agent.register("client", &selectors).await;
    let mut command = agent.command(program.path());
    command
        .arg(AUDIENCE)
        .as_std_mut()
        .uid(SOMEBODY_ELSE)
        .gid(SOMEBODY_ELSE);

    let mut workload = Workload::start(&mut command);
    let issued = workload.event("x509").await;
    assert_eq!(
        issued["spiffe_id"],
        "spiffe://example.org/mcp/client/client"
    );
}

#[tokio::test]
async fn the_admin_socket_refuses_another_user() {
    let enable = "run the tests as root";
    if !can_run("the_admin_socket_refuses_another_user", is_root(), enable) {
        return;
    }
    let agent = Setup::new().start().await;
    let program = Program::at(symbolon()).copy_to(agent.setup().directory(), "operator");
    let mut command = agent.command(program.path());
    command
        .args(["client", "list"])
        .as_std_mut()
        .uid(SOMEBODY_ELSE)
        .gid(SOMEBODY_ELSE);

    let refused = Workload::start(&mut command).end().await;
    assert!(matches!(refused.code, Some(3 | 5)), "{refused:?}");
    assert_eq!(refused.stdout, "");
}

#[tokio::test]
async fn an_audience_that_is_not_registered_is_refused_with_the_command_that_allows_it() {
    let agent = Setup::new().start().await;
    agent.register_self("client").await;
    let mut api = workload_api(&agent).await;
    let request = JwtsvidRequest {
        audience: vec!["https://elsewhere.example.org/".to_owned()],
        spiffe_id: String::new(),
    };
    let status = api.fetch_jwtsvid(request.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(
        status.message().contains("symbolon client update"),
        "{status:?}"
    );

    agent
        .run(["client", "update", "client", "--audience", "*"])
        .await
        .success();
    let allowed = api.fetch_jwtsvid(request).await;
    assert!(allowed.is_ok(), "{allowed:?}");
    let shown = agent.json(["client", "show", "client"]).await;
    assert_ne!(
        shown["warnings"].as_array().map_or(0, Vec::len),
        0,
        "{shown}"
    );
}

#[tokio::test]
async fn more_audiences_than_allowed_are_refused() {
    let agent = Setup::new().start().await;
    let options = ["--audience", "one", "--audience", "two"];
    agent
        .register_with("client", &Program::itself().selectors(), options)
        .await;
    let mut api = workload_api(&agent).await;
    let request = JwtsvidRequest {
        audience: vec!["one".to_owned(), "two".to_owned()],
        spiffe_id: String::new(),
    };
    api.fetch_jwtsvid(request.clone()).await.unwrap_err();

    agent
        .run(["client", "update", "client", "--max-audiences", "2"])
        .await
        .success();
    api.fetch_jwtsvid(request).await.unwrap();
}
