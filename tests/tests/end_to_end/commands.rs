//! The commands that scripts rely on, from the arguments to the JSON.

use symbolon_tests::{AUDIENCE, Program, Setup, symbolon, within};

#[tokio::test]
async fn a_token_fetched_on_the_command_line_is_validated_there() {
    let agent = Setup::new().start().await;
    agent
        .register("cli", &Program::at(symbolon()).selectors())
        .await;
    let token = agent
        .run(["svid", "jwt", "--audience", AUDIENCE, "--raw"])
        .await
        .success();
    let valid = agent
        .json(["jwt", "validate", "--audience", AUDIENCE, token.trim()])
        .await;
    assert_eq!(
        valid["spiffe_id"], "spiffe://example.org/mcp/client/cli",
        "{valid}"
    );
    let elsewhere = ["jwt", "validate", "--audience", "elsewhere", token.trim()];
    let refused = agent.run(elsewhere).await;
    assert_ne!(refused.code, Some(0), "{refused:?}");
    assert!(
        !refused.text().contains(token.trim()),
        "the token is in the message"
    );

    let wit = agent.json(["svid", "wit"]).await;
    assert_eq!(
        wit["svids"][0]["spiffe_id"], "spiffe://example.org/mcp/client/cli",
        "{wit}"
    );
    assert!(
        wit["svids"][0]["private_jwk"].is_null(),
        "the key is shown without being asked for"
    );
}

#[tokio::test]
async fn a_running_process_proposes_its_own_registration() {
    let agent = Setup::new().start().await;
    let pid = std::process::id().to_string();
    let register = [
        "client",
        "register",
        "proposed",
        "--owner",
        "tests@example.org",
    ];
    let from = ["--from-pid", &pid, "--yes", "--audience", AUDIENCE];
    agent
        .run_list(&[&register[..], &from].concat())
        .await
        .success();
    let shown = agent.json(["client", "show", "proposed"]).await;
    let selectors = shown["selector_sets"][0].as_array().expect("a set");
    for selector in Program::itself().selectors() {
        assert!(
            selectors.iter().any(|have| *have == selector),
            "{selector}: {shown}"
        );
    }
}

#[tokio::test]
async fn the_demo_succeeds_without_configuration() {
    let setup = Setup::new();
    let mut command = tokio::process::Command::new(symbolon());
    command
        .arg("demo")
        .current_dir(setup.directory())
        .env_clear();
    let output = within("the demo", command.output()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
}
