//! Registrations in files, applied by hand: what they say reaches workloads, and what they leave out goes.

use std::{fs, path::PathBuf};

use serde_json::Value;
use symbolon_tests::{Agent, Output, Program, Setup, Workload, can_run, is_root, symbolon};
use toml::{Table, Value as Toml};

const SOURCE: &str = "git.example.org/mcp";

fn file(agent: &Agent, name: &str, text: &str) -> PathBuf {
    let path = agent.setup().directory().join(name);
    fs::write(&path, text).unwrap();
    path
}

/// A document for programs with these selectors.
fn document(name: &str, selectors: &[String]) -> String {
    let selectors = serde_json::to_string(selectors).unwrap();
    format!(
        "name: {name}\nowner: tests@example.org\nselector_sets: [{selectors}]\n\
         audiences: [https://mcp.example.org/]\naccept_weak: a test\n"
    )
}

/// A document for a user who does nothing here.
fn idle(name: &str, uid: usize) -> String {
    document(name, &[format!("unix:uid:{uid}")])
}

/// Name and word of each client.
fn done(outcome: &Value) -> Vec<(&str, &str)> {
    let clients = outcome["clients"].as_array().unwrap().iter();
    clients
        .map(|client| {
            (
                client["name"].as_str().unwrap(),
                client["done"].as_str().unwrap(),
            )
        })
        .collect()
}

#[tokio::test]
async fn what_documents_say_is_in_force_until_they_are_gone() {
    let agent = Setup::new().start().await;
    let caller = document("caller", &Program::at(symbolon()).selectors());
    let both = format!("{caller}---\n{}", idle("idle", 70_001));
    let path = file(&agent, "clients.yaml", &both);
    let path = path.to_str().unwrap();
    let token = ["svid", "jwt", "--audience", "https://mcp.example.org/"];
    assert_eq!(agent.run(token).await.code, Some(3));

    let plan = [
        "client",
        "apply",
        "-f",
        path,
        "--source",
        SOURCE,
        "--dry-run",
    ];
    let planned = agent.run(plan).await;
    assert_eq!(planned.code, Some(6), "{planned:?}");
    assert!(planned.stdout.ends_with("2 new.\n"), "{planned:?}");
    assert_eq!(agent.run(token).await.code, Some(3));
    let unasked = agent.run(["client", "apply", "-f", path]).await;
    assert_eq!(unasked.code, Some(2), "{unasked:?}");

    let apply = [
        "client", "apply", "-f", path, "--source", SOURCE, "--prune", "--yes",
    ];
    let applied = agent.json(apply).await;
    assert_eq!(
        done(&applied),
        [("caller", "registered"), ("idle", "registered")]
    );
    agent.run(token).await.success();
    assert_eq!(agent.run(plan).await.success(), "2 unchanged.\n");
    exports_apply_back(&agent).await;

    file(&agent, "clients.yaml", &idle("idle", 70_001));
    let applied = agent.json(apply).await;
    assert_eq!(
        done(&applied),
        [("idle", "unchanged"), ("caller", "suspended")]
    );
    assert_eq!(agent.run(token).await.code, Some(3));
    let trail = agent.audit().await;
    let of = |kind: &str| {
        let events = trail.iter().filter(|event| event["event"] == kind);
        let client = |event: &Value| event["client"].as_str().unwrap().to_owned();
        events.map(client).collect::<Vec<_>>()
    };
    assert_eq!(of("registered"), ["caller", "idle"]);
    assert_eq!(of("suspended"), ["caller"]);
}

async fn exports_apply_back(agent: &Agent) {
    for form in ["yaml", "json", "toml"] {
        let export = agent.run(["client", "export", "--format", form]).await;
        let path = file(agent, &format!("export.{form}"), &export.success());
        let path = path.to_str().unwrap();
        let again = agent.run(["client", "apply", "-f", path, "--yes"]).await;
        assert_eq!(again.success(), "2 unchanged.\n", "{form}");
    }
}

/// What cannot all be done is not begun.
#[tokio::test]
async fn a_weak_document_among_many_keeps_all_of_them_out() {
    let agent = Setup::new().start().await;
    let mut documents: Vec<_> = (0..600)
        .map(|number| idle(&format!("c{number}"), 71_000 + number))
        .collect();
    let weak = "name: weak\nowner: o\nselector_sets: [[\"unix:path:/bin/sh\"]]\n".to_owned();
    documents.push(weak);
    let path = file(&agent, "clients.yaml", &documents.join("---\n"));
    let apply = ["client", "apply", "--file", path.to_str().unwrap(), "--yes"];
    let refused = agent.run(apply).await;
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(
        refused.stdout.contains("weak: refused"),
        "{}",
        refused.stdout
    );
    let list = agent.json(["client", "list"]).await;
    assert_eq!(list["clients"], serde_json::json!([]));

    documents.pop();
    file(&agent, "clients.yaml", &documents.join("---\n"));
    let applied = agent.run(apply).await;
    assert!(
        applied.stderr.contains("600 of 600 applied"),
        "{}",
        applied.stderr
    );
    assert!(applied.success().ends_with("600 new.\n"));
    let list = agent.json(["client", "list"]).await;
    assert_eq!(list["clients"].as_array().unwrap().len(), 600);
    let trail = agent.audit().await;
    let registered = trail.iter().filter(|event| event["event"] == "registered");
    assert_eq!(registered.count(), 600);
    let agent = agent.crash().await.setup.start().await;
    let list = agent.json(["client", "list"]).await;
    assert_eq!(list["clients"].as_array().unwrap().len(), 600);
}

const AUTHOR: u32 = 31_102;
const READER: u32 = 31_101;

fn operator(name: &str, uid: u32) -> Toml {
    let mut table = Table::new();
    table.insert("name".to_owned(), name.into());
    table.insert("uid".to_owned(), i64::from(uid).into());
    table.insert("roles".to_owned(), Toml::Array(vec![name.into()]));
    Toml::Table(table)
}

#[tokio::test]
async fn authors_apply_and_only_responders_prune() {
    let test = "authors_apply_and_only_responders_prune";
    if !can_run(test, is_root(), "run the tests as root") {
        return;
    }
    let operators = vec![operator("author", AUTHOR), operator("reader", READER)];
    let setup = Setup::new().top("operators", Toml::Array(operators));
    let agent = setup.start().await;
    let program = Program::at(symbolon()).copy_to(agent.setup().directory(), "operator");
    let run = async |uid: u32, more: &[&str]| -> Output {
        let mut command = agent.command(program.path());
        command.args(["client", "apply", "-f", "clients.yaml", "--source", SOURCE]);
        command.args(more).uid(uid).gid(uid);
        Workload::start(&mut command).end().await
    };
    let both = format!("{}---\n{}", idle("a", 70_001), idle("b", 70_002));
    file(&agent, "clients.yaml", &both);
    for more in [["--yes"], ["--dry-run"]] {
        let refused = run(READER, &more).await;
        assert_eq!(refused.code, Some(3), "{refused:?}");
        assert!(
            refused.stderr.contains("may not call ApplyClients"),
            "{refused:?}"
        );
    }
    run(AUTHOR, &["--yes", "--prune"]).await.success();
    file(&agent, "clients.yaml", &idle("a", 70_001));
    let denied = run(AUTHOR, &["--yes", "--prune"]).await;
    assert_eq!(denied.code, Some(3), "{denied:?}");
    assert!(
        denied.stderr.contains("takes the role responder"),
        "{denied:?}"
    );
    assert_eq!(run(AUTHOR, &["--yes"]).await.success(), "1 unchanged.\n");
}
