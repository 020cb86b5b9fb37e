//! A trust domain speaks for itself alone, whatever its endpoint serves.
//!
//! The attacker has an agent of his own, whose identities claim to be of somebody else's trust
//! domain, and a federation under his own name.

use symbolon_tests::{AUDIENCE, Client, Judgement, Peer, Program};
use tonic::Code;

use super::stage::{
    Domain, OTHER, OURS, Profile, Web, authority, bundle_event, federated, setup, write,
};

const EVIL: &str = "evil.example";

/// An agent of the attacker, which calls itself `name`.
struct Mallory(Domain);

impl Mallory {
    /// Whether its authority names its trust domain is up to him.
    async fn start(name: &'static str, is_named: bool, web: &Web) -> Self {
        let setup = setup(name, Profile::Web, web);
        let setup = if is_named {
            setup
        } else {
            let ca = authority("mallory");
            let path = |name: &str| setup.directory().join(name).to_str().unwrap().to_owned();
            let (certificate, key) = (path("ca.pem"), path("ca-key.pem"));
            write(&certificate, &ca.pem());
            write(&key, &ca.key().serialize_pem());
            setup.set("authority", "certificate_file", certificate).set(
                "authority",
                "key_file",
                key,
            )
        };
        let domain = Domain::start(name, Profile::Web, setup).await;
        domain.agent.register_self("teller").await;
        Self(domain)
    }
}

/// A bundle that names another trust domain as its own is no bundle of this one.
#[tokio::test]
async fn a_bundle_with_the_authority_of_another_trust_domain_is_refused() {
    let web = Web::new();
    let (ours, theirs) = federated(Profile::Web, &web).await;
    let mut trail = ours.agent.follow_audit();
    for (claimed, agent) in [
        (OURS, &Mallory::start(OURS, true, &web).await.0),
        (OTHER, &Mallory::start(OTHER, true, &web).await.0),
        // Whoever serves what is public has no key, and is refused all the same.
        (OTHER, &theirs),
    ] {
        ours.propose(EVIL, agent).await;
        let refused = bundle_event(&mut trail, EVIL, "refused").await;
        let reason = refused["reason"].as_str().unwrap();
        assert!(
            reason.contains("of another trust domain"),
            "{claimed}: {reason}"
        );
        let shown = ours.agent.json(["federation", "show", EVIL]).await;
        assert_eq!(shown["bundle"], serde_json::Value::Null);
        assert_eq!(shown["failure"], reason);
        let remove = ["federation", "remove", EVIL, "--reason", "no bundle"];
        ours.agent.run(remove).await.success();
    }
}

/// His own authorities, which name nobody, are believed for his own trust domain, and what they
/// sign for another one is worth nothing: to the agent, and to a library that has all bundles.
async fn his_credentials_are_refused(claimed: &'static str, library: Client) {
    let (Some(peer), Some(go)) = (Peer::of(library), Peer::of(Client::Go)) else {
        return;
    };
    let web = Web::new();
    let (ours, theirs) = federated(Profile::Web, &web).await;
    let mallory = Mallory::start(claimed, false, &web).await.0;
    ours.federate(EVIL, &mallory).await;
    let both = ["--federates-with", OTHER, "--federates-with", EVIL];
    let both = [&["--audience", AUDIENCE][..], &both].concat();
    let update = [&["client", "update", "teller"][..], &both[2..]].concat();
    ours.agent.run_list(&update).await.success();
    let options: [&str; 6] = both.try_into().unwrap();
    ours.agent
        .register_with("server", &peer.selectors(), options)
        .await;
    let honest = if claimed == OURS { &ours } else { &theirs };
    let copy = ours.agent.setup().directory().join("visitor");
    let copy = go.program().alter_to(&copy);
    for agent in [&mallory.agent, &honest.agent] {
        agent.register("visitor", &copy.selectors()).await;
    }

    let (his, real) = (mallory.token().await, honest.token().await);
    assert_eq!(ours.validates(&his).await, Err(Code::InvalidArgument));
    assert_eq!(ours.validates(&real).await, Ok(honest.id("teller")));
    let judged = peer.judge(&ours.agent, &[&his, &real]).await;
    let taken = Judgement::both(&honest.id("teller"));
    assert_eq!(judged, [Judgement::refused(), taken]);

    // Whom the server lets in is just who the attacker says that he is.
    let (mut server, address) = peer.serve(&ours.agent, &honest.id("visitor")).await;
    assert!(Peer::force(&copy, &honest.agent, &address).await);
    assert!(!Peer::force(&copy, &mallory.agent, &address).await);
    server.event("refused").await;
}

#[tokio::test]
async fn a_foreign_bundle_cannot_speak_for_us() {
    his_credentials_are_refused(OURS, Client::Go).await;
}

#[tokio::test]
async fn a_foreign_bundle_cannot_speak_for_a_third_trust_domain() {
    his_credentials_are_refused(OTHER, Client::Go).await;
}

#[tokio::test]
async fn a_foreign_bundle_cannot_speak_for_others_to_the_rust_library() {
    his_credentials_are_refused(OURS, Client::Rust).await;
    his_credentials_are_refused(OTHER, Client::Rust).await;
}

/// Our own trust domain is nobody else's to serve.
#[tokio::test]
async fn our_own_trust_domain_cannot_be_federated_with() {
    let web = Web::new();
    let (ours, theirs) = federated(Profile::Web, &web).await;
    let url = theirs.url();
    let add = [
        "federation",
        "add",
        OURS,
        "--url",
        &url,
        "--profile",
        "https_web",
    ];
    let add = [&add[..], &["--reason", "a test"]].concat();
    let refused = ours.agent.run_list(&add).await;
    assert_ne!(refused.code, Some(0), "{refused:?}");
    let selectors = Program::itself().selectors();
    let list = [
        "client",
        "register",
        "self",
        "--owner",
        "a",
        "--federates-with",
        OURS,
    ];
    let mut list = list.to_vec();
    for selector in &selectors {
        list.extend(["--selector", selector]);
    }
    let refused = ours.agent.run_list(&list).await;
    assert_ne!(refused.code, Some(0), "{refused:?}");
}
