//! Owners, stale clients and holders.

use super::{
    agent::{Agent, State, client, spec},
    golden,
};

fn agent() -> Agent {
    Agent::new(State {
        clients: vec![client("payments", spec())],
        ..State::default()
    })
}

fn requests(agent: &Agent) -> String {
    agent.state.lock().requests.join("\n")
}

#[test]
fn owners_are_listed_orphans_first() {
    let agent = agent();
    let text = agent.admin(&["client", "owners"]).done();
    golden("client-owners.txt", &text);
    let json = agent.admin(&["client", "owners", "-o", "json"]).done();
    golden("client-owners.json", &json);
}

#[test]
fn stale_clients_are_listed_with_their_reasons() {
    let agent = agent();
    golden(
        "client-stale.txt",
        &agent.admin(&["client", "stale"]).done(),
    );
    let json = agent.admin(&["client", "stale", "-o", "json"]).done();
    golden("client-stale.json", &json);
    assert!(requests(&agent).contains("unused_for: 7776000, ends_within: 2592000"));
}

#[test]
fn what_counts_as_stale_can_be_said() {
    let agent = agent();
    let asked = "client stale --unused-for 7d --ends-within 1d --owner nobody";
    let asked: Vec<&str> = asked.split_whitespace().collect();
    assert_eq!(agent.admin(&asked).done(), "No client is stale.\n");
    let sent = requests(&agent);
    assert!(
        sent.contains(r#"unused_for: 604800, ends_within: 86400, owner: "nobody""#),
        "{sent}"
    );
    agent
        .admin(&["client", "stale", "--unused-for", "0s"])
        .refused(2);
}

#[test]
fn a_client_is_shown_with_the_processes_that_hold_its_identity() {
    let agent = agent();
    let show = ["client", "show", "payments", "--live"];
    golden("client-show-live.txt", &agent.admin(&show).done());
    let json = agent.admin(&[&show[..], &["-o", "json"]].concat()).done();
    golden("client-show-live.json", &json);
    // Nobody is asked who does not want to know.
    let agent = self::agent();
    agent.admin(&["client", "show", "payments"]).done();
    assert!(!requests(&agent).contains("ListHolders"));
}
