//! Foreign trust domains, as operators see them.

use super::{
    agent::{Agent, State, awaiting, federated},
    golden,
};

fn agent() -> Agent {
    Agent::new(State {
        trust_domains: vec![federated("other.example"), awaiting("third.example")],
        ..State::default()
    })
}

fn last_request(agent: &Agent) -> String {
    agent.state.lock().requests.last().cloned().unwrap()
}

#[test]
fn trust_domains_are_listed_and_shown() {
    let agent = agent();
    let list = agent.admin(&["federation", "list"]).done();
    golden("federation-list.txt", &list);
    let shown = agent.admin(&["federation", "show", "other.example"]).done();
    golden("federation-show.txt", &shown);
    let shown = ["federation", "show", "other.example", "-o", "json"];
    golden("federation-show.json", &agent.admin(&shown).done());
    let shown = agent.admin(&["federation", "show", "third.example"]).done();
    golden("federation-pending.txt", &shown);
    let unknown = agent.admin(&["federation", "show", "a.example"]).refused(4);
    assert!(unknown.contains("symbolon federation list"), "{unknown}");
    let none = Agent::new(State::default());
    let out = none.admin(&["federation", "list"]).done();
    assert_eq!(out, "There is no federation with any trust domain.\n");
}

#[test]
fn what_is_asked_for_reaches_the_agent() {
    let agent = agent();
    let bundle = agent.dir.path().join("bundle.json");
    std::fs::write(&bundle, "{\"keys\":[]}").unwrap();
    let added = agent.admin(&[
        "federation",
        "add",
        "third.example",
        "--url",
        "https://third.example/b",
        "--profile",
        "https_spiffe",
        "--endpoint-spiffe-id",
        "spiffe://third.example/b",
        "--bundle",
        bundle.to_str().unwrap(),
        "--reason",
        "because",
    ]);
    let digest = "e1".repeat(32);
    assert_eq!(
        added.done(),
        format!(
            "third.example awaits 2 approvals.\n\
             symbolon federation approve third.example --digest {digest}\n"
        )
    );
    let request = last_request(&agent);
    for part in [
        "https://third.example/b",
        "https_spiffe",
        "spiffe://third.example/b",
        "keys",
        "because",
        "replace: false",
    ] {
        assert!(request.contains(part), "{request}");
    }
    let approve = [
        "federation",
        "approve",
        "other.example",
        "--digest",
        &digest,
    ];
    assert_eq!(
        agent.admin(&approve).done(),
        "other.example is approved: its bundle is fetched.\n"
    );
    assert!(last_request(&agent).contains(&digest));
    let remove = ["federation", "remove", "other.example", "--reason", "gone"];
    assert_eq!(
        agent.admin(&remove).done(),
        "other.example is foreign again: no client has its bundle.\n"
    );
    assert!(last_request(&agent).contains("gone"));
}

#[test]
fn a_proposal_is_rejected_or_withdrawn() {
    let agent = agent();
    for (word, told) in [("reject", "rejected"), ("withdraw", "withdrawn")] {
        let digest = "e1".repeat(32);
        let options = ["--digest", &digest, "--reason", "not ours"];
        let declined = [&["federation", word, "other.example"], &options[..]].concat();
        let said = format!("other.example is {told}.\n");
        assert_eq!(agent.admin(&declined).done(), said);
        let request = last_request(&agent);
        assert!(request.contains(&digest) && request.contains("not ours"));
    }
}

#[test]
fn a_file_that_is_no_bundle_is_not_sent() {
    let agent = agent();
    let file = agent.dir.path().join("large.json");
    std::fs::write(&file, " ".repeat(128 * 1024)).unwrap();
    for path in [file.to_str().unwrap(), "/nowhere"] {
        let add = [
            "federation",
            "add",
            "a.example",
            "--url",
            "https://a.example/",
            "--profile",
            "https_web",
            "--bundle",
            path,
            "--reason",
            "because",
        ];
        agent.admin(&add).refused(2);
    }
    assert!(agent.state.lock().requests.is_empty());
}
