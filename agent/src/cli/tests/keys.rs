use super::{
    agent::{Agent, State, client, key, spec},
    golden,
};
use symbolon_proto::admin::Client;

fn with_keys() -> Agent {
    let known = Client {
        keys: vec![key("old", "active"), key("next", "prepared")],
        jwks_digest: "e5".repeat(32),
        ..client("billing", spec())
    };
    Agent::new(State {
        clients: vec![known, client("plain", spec())],
        ..State::default()
    })
}

#[test]
fn the_keys_of_a_client_are_shown_with_where_they_stand() {
    let agent = with_keys();
    let show = ["client", "show", "billing"];
    golden("client-show-keys.txt", &agent.admin(&show).done());
    let json = agent.admin(&[&show[..], &["-o", "json"]].concat()).done();
    golden("client-show-keys.json", &json);
}

#[test]
fn a_key_is_replaced_with_a_reason() {
    let agent = with_keys();
    let replace = ["client", "replace-key", "billing"];
    let stolen = [&replace[..], &["--reason", "stolen"]].concat();
    golden("client-replace-key.txt", &agent.admin(&stolen).done());
    let asked = agent.state.lock().requests.join("\n");
    assert!(asked.contains("reason: \"stolen\""), "{asked}");
    agent.admin(&replace).refused(2);
}
