//! Registrations that others could have: refused, or recorded with the reason.

use serde_json::Value;
use symbolon_tests::{Agent, Output, Program, Setup, symbolon};

/// Registers `name` as an operator would, without accepting anything.
async fn register(agent: &Agent, name: &str, selectors: &[&str], more: &[&str]) -> Output {
    let mut arguments = vec!["client", "register", name, "--owner", "tests@example.org"];
    for selector in selectors {
        arguments.extend(["--selector", selector]);
    }
    arguments.extend(more);
    agent.run_list(&arguments).await
}

/// The words of what is found in `report`.
fn ids(findings: &Value) -> Vec<&str> {
    let findings = findings.as_array().expect("findings");
    let ids = findings.iter().map(|finding| finding["id"].as_str());
    ids.map(|id| id.expect("a word")).collect()
}

#[tokio::test]
async fn a_program_that_anybody_may_run_needs_a_reason() {
    let agent = Setup::new().start().await;
    let digest = Program::itself().digest_selector();
    let refused = register(&agent, "client", &[&digest], &[]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("anybody-runs-it"), "{refused:?}");
    assert!(
        refused.stderr.contains("--accept-weak REASON"),
        "{refused:?}"
    );
    assert_eq!(agent.run(["client", "show", "client"]).await.code, Some(4));

    let reason = ["--accept-weak", "a test of what is weak"];
    let told = register(&agent, "client", &[&digest], &reason).await;
    assert!(
        told.stderr.contains("weak, accepted: anybody-runs-it"),
        "{told:?}"
    );
    told.success();
    let shown = agent.json(["client", "show", "client"]).await;
    let accepted = &shown["accepted_weaknesses"];
    assert_eq!(accepted["reason"], "a test of what is weak", "{shown}");
    assert_eq!(accepted["findings"][0], "anybody-runs-it", "{shown}");

    let trail = agent.audit().await;
    let event = |name: &str| trail.iter().find(|line| line["event"] == name);
    let refused = event("refused").expect("the refusal");
    let why = refused["reason"].as_str().unwrap_or_default();
    assert!(why.contains("anybody-runs-it"), "{refused}");
    let registered = event("registered").expect("the registration");
    assert_eq!(registered["accepted_weaknesses"], *accepted, "{registered}");
}

#[tokio::test]
async fn what_was_accepted_holds_for_the_same_selectors_only() {
    let agent = Setup::new().start().await;
    let digest = Program::itself().digest_selector();
    let reason = ["--accept-weak", "first"];
    register(&agent, "client", &[&digest], &reason)
        .await
        .success();
    let update = async |more: &[&str]| {
        agent
            .run_list(&[&["client", "update", "client"][..], more].concat())
            .await
    };
    update(&["--jwt-ttl", "2m"]).await.success();
    let shown = agent.json(["client", "show", "client"]).await;
    assert_eq!(shown["accepted_weaknesses"]["reason"], "first", "{shown}");

    let path = Program::itself().path_selector();
    let other = update(&["--selector", &path]).await;
    assert_eq!(other.code, Some(1), "{other:?}");
    update(&["--selector", &path, "--accept-weak", "second"])
        .await
        .success();
    let shown = agent.json(["client", "show", "client"]).await;
    assert_eq!(shown["accepted_weaknesses"]["reason"], "second", "{shown}");

    update(&["--selector", "unix:uid:12345"]).await.success();
    let shown = agent.json(["client", "show", "client"]).await;
    assert_eq!(shown["accepted_weaknesses"], Value::Null, "{shown}");
}

#[tokio::test]
async fn lint_judges_what_is_registered() {
    let agent = Setup::new().start().await;
    register(&agent, "strong", &["unix:uid:12345"], &[])
        .await
        .success();
    let fine = agent.run(["client", "lint"]).await;
    assert_eq!(
        fine.clone().success(),
        "Nothing was found about 1 client.\n",
        "{fine:?}"
    );

    let python = "unix:path:/usr/bin/python3";
    register(&agent, "script", &[python], &["--accept-weak", "a test"])
        .await
        .success();
    let found = agent.run(["client", "lint", "--output", "json"]).await;
    assert_eq!(found.code, Some(1), "{found:?}");
    let report: Value = serde_json::from_str(&found.stdout).expect("a report");
    assert_eq!(report["judged"], 2, "{report}");
    assert_eq!(report["clients"][0]["name"], "script", "{report}");
    let ids = ids(&report["clients"][0]["findings"]);
    assert!(
        ids.contains(&"interpreter") && ids.contains(&"anybody-runs-it"),
        "{ids:?}"
    );
    agent
        .run(["client", "lint", "--ignore-accepted"])
        .await
        .success();
    agent.run(["client", "lint", "strong"]).await.success();
    assert_eq!(agent.run(["client", "lint", "nobody"]).await.code, Some(4));
}

#[tokio::test]
async fn symbolon_itself_is_no_client() {
    let agent = Setup::new().start().await;
    let digest = Program::at(symbolon()).digest_selector();
    let refused = register(&agent, "client", &[&digest], &[]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("own-binary"), "{refused:?}");
}

#[tokio::test]
async fn what_attest_suggests_registers_the_process() {
    let agent = Setup::new().start().await;
    let pid = std::process::id().to_string();
    let seen = agent.json(["attest", "--pid", &pid]).await;
    let command = seen["proposal"]["command"].as_str().expect("a command");
    let command = command
        .replace("NAME", "suggested")
        .replace("OWNER", "me")
        .replace("REASON", "test");
    let arguments: Vec<&str> = command.split(' ').skip(1).collect();
    agent.run_list(&arguments).await.success();
    let seen = agent
        .json(["attest", "--pid", &pid, "--client", "suggested"])
        .await;
    assert_eq!(seen["clients"][0]["entitled"], true, "{seen}");
}
