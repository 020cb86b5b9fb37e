use super::{
    Outcome,
    agent::{Agent, State, client, spec},
    golden,
};
use serde_json::{Value, json};
use std::{fs, path::Path, process::ExitCode};
use symbolon_proto::admin::ClientSpec;

const DOCUMENTS: &str = "name: a\nowner: alice\nselector_sets: [[unix:uid:5], [unix:uid:6]]\n\
                         x509_ttl: 1h\n---\nname: b\nowner: bob\nselector_sets: [[unix:gid:7]]\n";

fn run(agent: &Agent, path: &Path, more: &[&str]) -> Outcome {
    let path = path.to_str().unwrap();
    agent.admin(&[&["client", "apply", "-f", path], more].concat())
}

fn apply(agent: &Agent, path: &Path, more: &[&str]) -> Value {
    let more = [&["--yes", "-o", "json"], more].concat();
    serde_json::from_str(&run(agent, path, &more).done()).unwrap()
}

/// Name, word and version of each client.
fn done(outcome: &Value) -> Vec<(&str, &str, u64)> {
    let clients = outcome["clients"].as_array().unwrap().iter();
    clients
        .map(|client| {
            let text = |field: &str| client[field].as_str().unwrap();
            let version = client["version"].as_u64().unwrap_or_default();
            (text("name"), text("done"), version)
        })
        .collect()
}

#[test]
fn documents_are_registered_once_and_updated_where_they_differ() {
    let agent = Agent::new(State::default());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clients.yaml");
    fs::write(&file, DOCUMENTS).unwrap();
    let dry = run(&agent, &file, &["--dry-run", "-o", "json"]);
    assert_eq!(dry.code, ExitCode::from(6), "{dry:?}");
    assert!(dry.err.contains("2 changes would be made"), "{dry:?}");
    let dry: Value = serde_json::from_str(&dry.out).unwrap();
    assert_eq!(done(&dry)[0], ("a", "registered", 1));
    assert_eq!(dry["dry_run"], true);
    assert!(agent.state.lock().clients.is_empty());
    let first = apply(&agent, folder.path(), &[]);
    assert_eq!(
        done(&first),
        [("a", "registered", 1), ("b", "registered", 1)]
    );
    let again = apply(&agent, &file, &["--dry-run"]);
    assert_eq!(done(&again)[1], ("b", "unchanged", 1));
    fs::write(&file, DOCUMENTS.replace("1h", "30m")).unwrap();
    let changed = apply(&agent, &file, &["--reason", "shorter"]);
    assert_eq!(done(&changed), [("a", "updated", 2), ("b", "unchanged", 1)]);
    assert_eq!(
        changed["clients"][0]["changes"],
        json!([{"field": "x509_ttl", "before": 3_600, "after": 1_800}])
    );
    golden(
        "client-apply.json",
        &(serde_json::to_string_pretty(&changed).unwrap() + "\n"),
    );
    let requests = agent.state.lock().requests.join("\n");
    assert!(requests.contains("expected_last_version: Some(1)"));
    // What is as it should be is not sent again.
    assert_eq!(requests.matches("shorter").count(), 1);
}

#[test]
fn a_plan_is_shown_and_carried_out_only_when_somebody_agrees() {
    let agent = Agent::new(State::default());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clients.toml");
    let document = "[[clients]]\nname = 'a'\nowner = 'alice'\nselector_sets = [['unix:uid:5']]\n";
    fs::write(&file, document).unwrap();
    let refused = run(&agent, &file, &[]).refused(2);
    assert!(refused.contains("nobody is there to agree"), "{refused}");
    let arguments = ["client", "apply", "-f", file.to_str().unwrap()];
    let no = agent.answering("n\n", &arguments).refused(1);
    assert!(no.contains("+ a: would be registered"), "{no}");
    assert!(no.contains("Make 1 change? [y/N]"), "{no}");
    assert!(no.contains("nothing was changed"), "{no}");
    assert!(agent.state.lock().clients.is_empty());
    let yes = agent.answering("y\n", &arguments).done();
    assert_eq!(yes, "+ a: is registered\n1 new.\n");
    // Nothing to do is nothing to ask about.
    assert_eq!(agent.answering("", &arguments).done(), "1 unchanged.\n");
}

#[test]
fn a_fault_anywhere_changes_nothing_and_all_are_told() {
    let agent = Agent::new(State::default());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clients.yaml");
    let documents = DOCUMENTS.replace("unix:gid:7", "unix:gid:x");
    fs::write(&file, documents + "---\ncolour: red\n").unwrap();
    // Not meant, and not read.
    fs::write(folder.path().join(".hidden.yaml"), "colour: red\n").unwrap();
    fs::write(folder.path().join("clients.yaml.orig"), "colour: red\n").unwrap();
    let twice = folder.path().join("twice.json");
    fs::write(
        &twice,
        r#"{"name": "a", "owner": "x", "selector_sets": [["unix:uid:5"]]}"#,
    )
    .unwrap();
    let told = run(&agent, folder.path(), &["--yes"]).refused(2);
    assert!(told.contains("clients.yaml:6: selector"), "{told}");
    assert!(told.contains("clients.yaml:10: unknown field"), "{told}");
    assert!(told.contains("twice.json:1: client a is in"), "{told}");
    assert!(!told.contains("hidden") && !told.contains("orig"), "{told}");
    assert!(agent.state.lock().clients.is_empty());
}

#[test]
fn what_the_agent_refuses_ends_it_before_anything_is_changed() {
    let agent = Agent::new(State::default());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clients.yaml");
    let documents = DOCUMENTS.replace("name: b", "name: weak");
    fs::write(&file, documents).unwrap();
    let told = run(&agent, &file, &["--yes"]);
    assert_eq!(told.code, ExitCode::from(1), "{told:?}");
    assert!(told.err.contains("1 of 2 documents"), "{told:?}");
    assert!(
        told.out.contains("clients.yaml:6: weak: refused"),
        "{told:?}"
    );
    assert!(told.out.contains("weak: interpreter"), "{told:?}");
    assert!(agent.state.lock().clients.is_empty());
}

#[test]
fn many_documents_go_in_batches_and_progress_is_told() {
    let agent = Agent::new(State::default());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clients.json");
    let document = |number| {
        format!(
            r#"{{"name": "c{number}", "owner": "x", "selector_sets": [["unix:uid:5"]], "spiffe_id": "spiffe://example.org/c/{number}"}}"#
        )
    };
    let documents: Vec<_> = (0..1_201).map(document).collect();
    fs::write(&file, documents.join("\n")).unwrap();
    let told = run(&agent, &file, &["--yes"]);
    assert!(told.err.contains("1000 of 1201 planned"), "{}", told.err);
    assert!(told.err.contains("1201 of 1201 applied"), "{}", told.err);
    let text = told.done();
    assert!(text.ends_with("1201 new.\n"), "{text}");
    assert_eq!(agent.state.lock().clients.len(), 1_201);
}

/// `name` as what `source` manages.
fn managed(name: &str, source: &str) -> symbolon_proto::admin::Client {
    client(
        name,
        ClientSpec {
            source: source.into(),
            spiffe_id: format!("spiffe://example.org/{name}"),
            ..spec()
        },
    )
}

#[test]
fn only_what_the_same_source_owns_is_pruned() {
    let state = |is_responder| State {
        clients: vec![managed("gone", "git"), managed("other", "cmdb")],
        is_responder,
        ..State::default()
    };
    let agent = Agent::new(state(true));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clients.yaml");
    fs::write(&file, DOCUMENTS).unwrap();
    let options = ["--source", "git", "--prune"];
    let pruned = apply(&agent, &file, &options);
    assert_eq!(done(&pruned)[2], ("gone", "suspended", 3));
    let clients = agent.state.lock().clients.clone();
    let of = |name: &str| clients.iter().find(|client| client.name == name).unwrap();
    assert_eq!(
        (&*of("gone").state, &*of("other").state),
        ("suspended", "active")
    );
    assert_eq!(of("gone").state_reason, "no longer in git");
    assert_eq!(of("a").spec.as_ref().unwrap().source, "git");
    // It is gone already; revoking is said by name.
    assert_eq!(done(&apply(&agent, &file, &options)).len(), 2);
    let revoked = apply(&agent, &file, &["--source", "git", "--prune=revoke"]);
    assert_eq!(done(&revoked)[2], ("gone", "revoked", 3));

    let without_source = run(&agent, &file, &["--prune", "--yes"]).refused(2);
    assert!(without_source.contains("--source"), "{without_source}");
    fs::write(folder.path().join("empty.yaml"), "").unwrap();
    let empty = folder.path().join("empty.yaml");
    let none = run(&agent, &empty, &["--yes", "--source", "git", "--prune"]).refused(2);
    assert!(none.contains("there are no documents"), "{none}");
    fs::write(&file, format!("source: cmdb\n{DOCUMENTS}")).unwrap();
    let foreign = run(&agent, &file, &["--yes", "--source", "git"]).refused(2);
    assert!(foreign.contains("source is cmdb, and not git"), "{foreign}");

    let author = Agent::new(state(false));
    fs::write(&file, DOCUMENTS).unwrap();
    let denied = run(&author, &file, &[&["--yes"][..], &options].concat()).refused(3);
    assert!(denied.contains("responder"), "{denied}");
    assert_eq!(author.state.lock().clients.len(), 2);
}

#[test]
fn what_is_exported_applies_back_unchanged() {
    let mut revoked = client("revoked", spec());
    revoked.state = "revoked".into();
    let mut payments = client("payments", spec());
    let content = payments.spec.as_mut().unwrap();
    // As an agent shows it: sorted.
    content.audiences.sort_unstable();
    content.selector_sets[0].selectors = vec!["unix:gid:7".into(), "unix:uid:1000".into()];
    let agent = Agent::new(State {
        clients: vec![managed("managed", "git"), payments, revoked],
        ..State::default()
    });
    for content in &mut agent.state.lock().clients {
        let content = content.spec.as_mut().unwrap();
        content.audiences.sort_unstable();
        content.selector_sets[0].selectors = vec!["unix:gid:7".into(), "unix:uid:1000".into()];
    }
    let folder = tempfile::tempdir().unwrap();
    for form in ["yaml", "json", "toml"] {
        let text = agent.admin(&["client", "export", "--format", form]).done();
        let file = folder.path().join(format!("clients.{form}"));
        fs::write(&file, text).unwrap();
        let plan = run(&agent, &file, &["--dry-run"]).done();
        assert_eq!(plan, "2 unchanged.\n", "{form}");
    }
    let yaml = agent.admin(&["client", "export", "payments"]).done();
    golden("client-export.yaml", &yaml);
    let json = agent.admin(&["client", "export", "--source", "git", "-o", "json"]);
    assert!(json.done().starts_with("{\n  \"name\": \"managed\","));
    agent.admin(&["client", "export", "nobody"]).refused(4);
    let revoked = agent.admin(&["client", "export", "revoked"]).refused(1);
    assert!(revoked.contains("no document brings it back"), "{revoked}");
}
