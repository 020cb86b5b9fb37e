use super::agent::{Agent, State};
use serde_json::{Value, json};
use std::fs;

const DOCUMENTS: &str = "name: a\nowner: alice\nselector_sets: [[unix:uid:5], [unix:uid:6]]\n\
                         x509_ttl: 1h\n---\nname: b\nowner: bob\nselector_sets: [[unix:gid:7]]\n";

fn apply(agent: &Agent, path: &std::path::Path, more: &[&str]) -> Value {
    let path = path.to_str().unwrap();
    let mut arguments = vec!["client", "apply", "-f", path, "-o", "json"];
    arguments.extend(more);
    serde_json::from_str(&agent.admin(&arguments).done()).unwrap()
}

#[test]
fn documents_are_registered_once_and_updated_where_they_differ() {
    let agent = Agent::new(State::default());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clients.yaml");
    fs::write(&file, DOCUMENTS).unwrap();
    let done =
        |done: &str, name: &str, version| json!({"done": done, "name": name, "version": version});
    let dry = apply(&agent, &file, &["--dry-run"]);
    assert_eq!(dry["clients"][0], done("registered", "a", 1));
    assert!(agent.state.lock().clients.is_empty());
    let first = apply(&agent, folder.path(), &[]);
    assert_eq!(
        first["clients"],
        json!([done("registered", "a", 3), done("registered", "b", 3)])
    );
    let again = apply(&agent, &file, &[]);
    assert_eq!(again["clients"][1], done("unchanged", "b", 3));
    fs::write(&file, DOCUMENTS.replace("1h", "30m")).unwrap();
    let changed = apply(&agent, &file, &["--reason", "shorter"]);
    assert_eq!(
        changed["clients"],
        json!([done("updated", "a", 4), done("unchanged", "b", 3)])
    );
    let client = agent.state.lock().clients[0].clone();
    let spec = client.spec.unwrap();
    assert_eq!((spec.x509_ttl, spec.selector_sets.len()), (1_800, 2));
}

#[test]
fn a_fault_anywhere_changes_nothing_and_all_are_told() {
    let agent = Agent::new(State::default());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clients.yaml");
    fs::write(
        &file,
        DOCUMENTS.replace("unix:gid:7", "unix:gid:x") + "---\ncolour: red\n",
    )
    .unwrap();
    let told = agent
        .admin(&["client", "apply", "-f", file.to_str().unwrap()])
        .refused(2);
    assert!(told.contains("clients.yaml:6: selector"), "{told}");
    assert!(told.contains("clients.yaml:10: unknown field"), "{told}");
    assert!(agent.state.lock().clients.is_empty());
}
