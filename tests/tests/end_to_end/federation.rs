//! Two agents of two trust domains: their workloads prove to each other who they are, with the
//! libraries of the ecosystem as they come, and nobody speaks for anybody else.

mod attacks;
mod changes;
mod stage;

use symbolon_tests::{AUDIENCE, Client, Judgement, Peer, Program};

use self::stage::{Domain, OTHER, OURS, Profile, Web, bundle_event, federated};

/// Both have a client for this library's program, which federates with the other.
async fn register(library: Client, domains: [(&Domain, &str); 2]) -> Option<Peer> {
    let peer = Peer::of(library)?;
    for (domain, other) in domains {
        let name = stage::name_of(library);
        domain.register(name, &peer.selectors(), other).await;
    }
    Some(peer)
}

/// Mutual TLS, and both JWT-SVIDs, in both directions and with both libraries on either side.
async fn workloads_meet(profile: Profile) {
    let web = Web::new();
    let (ours, theirs) = federated(profile, &web).await;
    let domains = [(&ours, OTHER), (&theirs, OURS)];
    let Some(rust) = register(Client::Rust, domains).await else {
        return;
    };
    let Some(go) = register(Client::Go, domains).await else {
        return;
    };
    for (server, at, client, from) in [
        (rust, &ours, go, &theirs),
        (go, &ours, rust, &theirs),
        (rust, &theirs, rust, &ours),
        (go, &theirs, go, &ours),
    ] {
        let name = |peer| if peer == go { "go" } else { "rust" };
        let (server_id, client_id) = (at.id(name(server)), from.id(name(client)));
        let (_running, address) = server.serve(&at.agent, &client_id).await;
        let mut client = client.meet(&from.agent, &address, &server_id);
        client.event("met").await;
    }
}

#[tokio::test]
async fn workloads_of_two_trust_domains_meet_by_https_web() {
    workloads_meet(Profile::Web).await;
}

#[tokio::test]
async fn workloads_of_two_trust_domains_meet_by_https_spiffe() {
    workloads_meet(Profile::Spiffe).await;
}

/// By the stock library and by the agent alike, for the clients that federate and for nobody else.
async fn judges_tokens(library: Client) {
    let web = Web::new();
    let (ours, theirs) = federated(Profile::Web, &web).await;
    let domains = [(&ours, OTHER), (&theirs, OURS)];
    let Some(peer) = register(library, domains).await else {
        return;
    };
    let tokens = [theirs.token().await, ours.token().await];
    let tokens = tokens.each_ref().map(String::as_str);
    let judged = peer.judge(&ours.agent, &tokens).await;
    let ids = [theirs.id("teller"), ours.id("teller")];
    assert_eq!(judged, ids.map(|id| Judgement::both(&id)));
    let name = stage::name_of(library);
    for (domain, foreign) in [(&ours, &theirs), (&theirs, &ours)] {
        let update = ["client", "update", name, "--clear", "federates-with"];
        domain.agent.run(update).await.success();
        let tokens = [foreign.token().await, domain.token().await];
        let tokens = tokens.each_ref().map(String::as_str);
        let judged = peer.judge(&domain.agent, &tokens).await;
        let own = Judgement::both(&domain.id("teller"));
        assert_eq!(judged, [Judgement::refused(), own]);
    }
}

#[tokio::test]
async fn rust_spiffe_judges_foreign_tokens() {
    judges_tokens(Client::Rust).await;
}

#[tokio::test]
async fn python_spiffe_judges_foreign_tokens() {
    judges_tokens(Client::Python).await;
}

#[tokio::test]
async fn go_spiffe_judges_foreign_tokens() {
    judges_tokens(Client::Go).await;
}

#[tokio::test]
async fn java_spiffe_judges_foreign_tokens() {
    judges_tokens(Client::Java).await;
}

/// Who validated it stands there as with tokens of our own, and whose it was.
#[tokio::test]
async fn a_foreign_token_that_was_validated_stands_in_the_trail() {
    let web = Web::new();
    let (ours, theirs) = federated(Profile::Web, &web).await;
    let mut trail = ours.agent.follow_audit();
    assert_eq!(
        ours.validates(&theirs.token().await).await,
        Ok(theirs.id("teller"))
    );
    let validated = trail.next_of_kind("validated").await;
    assert_eq!(validated["outcome"], "accepted", "{validated}");
    assert_eq!(validated["trust_domain"], OTHER);
    assert_eq!(validated["spiffe_id"], theirs.id("teller"));
    assert_eq!(
        validated["credential"]["issuer"],
        format!("https://id.{OTHER}")
    );
    assert_eq!(validated["credential"]["audiences"][0], AUDIENCE);
    assert_eq!(validated["process"]["pid"], std::process::id());
}

/// What the command line shows of a federation that works.
#[tokio::test]
async fn a_federation_is_listed_with_what_was_fetched() {
    let web = Web::new();
    let (ours, theirs) = federated(Profile::Spiffe, &web).await;
    let list = ours.agent.json(["federation", "list"]).await;
    let [shown] = list["trust_domains"].as_array().unwrap().as_slice() else {
        panic!("{list}");
    };
    assert_eq!(shown["trust_domain"], OTHER);
    assert_eq!(
        (&shown["state"], &shown["clients"]),
        (&"active".into(), &1.into())
    );
    assert_eq!(shown["failure"], serde_json::Value::Null);
    assert_eq!(shown["bundle"]["jwt_authorities"], 1);
    let version = &shown["in_force"];
    assert_eq!(version["url"], theirs.url());
    assert_eq!(version["profile"], "https_spiffe");
    assert_eq!(
        version["endpoint_spiffe_id"],
        format!("spiffe://{OTHER}/symbolon/agent")
    );
    let selectors = Program::itself().selectors();
    ours.register("second", &selectors, OTHER).await;
    let shown = ours.agent.json(["federation", "show", OTHER]).await;
    assert_eq!(shown["clients"], 2);
    let mut trail = ours.agent.follow_audit();
    let accepted = bundle_event(&mut trail, OTHER, "accepted").await;
    assert_eq!(accepted["evidence"]["digest"], shown["bundle"]["digest"]);
}
