//! What changes on one side, and what the other makes of it.

use std::collections::BTreeSet;

use serde_json::Value;
use symbolon_proto::workload::{JwtBundlesRequest, X509BundlesRequest, X509svidRequest};
use symbolon_tests::{Agent, Client, Workload, within};
use tonic::{Code, Streaming};

use super::register;
use super::stage::{Domain, OTHER, OURS, Profile, Web, bundle_event, federated, name_of, setup};

const FOREIGN: &str = "spiffe://other.example";

/// Until the rotating side has signed everything with other keys than at first: what its peers see.
async fn until_rotated(meeting: &mut Workload, names: [&str; 2]) {
    let first = meeting.event("met").await;
    loop {
        let now = meeting.event("met").await;
        if names.iter().all(|name| now[name] != first[name]) {
            return;
        }
    }
}

/// The times of the events of this kind that `which` picks; as text, they are in order.
fn times(events: &[Value], which: impl Fn(&Value) -> bool) -> Vec<(&Value, &str)> {
    let which = |event: &&Value| which(event);
    let found = events.iter().filter(which);
    found
        .map(|event| (event, event["time"].as_str().unwrap()))
        .collect()
}

/// Each key that signs was known here before it did, since it was fetched between the two.
async fn was_known_in_time(ours: &Agent, theirs: &Agent) {
    let (here, there) = (ours.audit().await, theirs.audit().await);
    let fetched = times(&here, |event| {
        event["event"] == "foreign_bundle" && event["outcome"] == "accepted"
    });
    let slot = |name: &'static str| {
        times(&there, move |event| {
            let authority = &event["authority"];
            let kind = authority["kind"] == "x509" || authority["kind"] == "jwt";
            event["event"] == "rotated" && kind && authority["slot"] == name
        })
    };
    let (prepared, active) = (slot("prepared"), slot("active"));
    let mut rotated = BTreeSet::new();
    for (event, published) in prepared {
        let key = &event["authority"]["key_id"];
        let signs = active
            .iter()
            .find(|(it, _)| it["authority"]["key_id"] == *key);
        let Some((_, signs)) = signs else { continue };
        let known = |(_, at): &(&Value, &str)| published <= *at && at <= signs;
        assert!(fetched.iter().any(known), "{event}: {fetched:?}");
        rotated.insert(event["authority"]["kind"].as_str());
    }
    assert_eq!(rotated, [Some("jwt"), Some("x509")].into(), "{active:?}");
}

/// The other side's authorities change while both sides meet as fast as they can.
async fn a_rotation_fails_no_handshake(profile: Profile) {
    let web = Web::new();
    let rotating = setup(OTHER, profile, &web)
        .set("authority", "x509_ca_ttl", "50s")
        .set("authority", "jwt_key_ttl", "50s")
        .set("svid", "x509_ttl", "4s")
        .set("svid", "jwt_ttl", "4s");
    let ours = Domain::start(OURS, profile, setup(OURS, profile, &web)).await;
    let theirs = Domain::start(OTHER, profile, rotating).await;
    let domains = [(&ours, OTHER), (&theirs, OURS)];
    let (mut programs, libraries) = (Vec::new(), [Client::Go, Client::Rust]);
    for library in libraries {
        let Some(peer) = register(library, domains).await else {
            return;
        };
        programs.push((peer, name_of(library)));
    }
    ours.federate(OTHER, &theirs).await;
    theirs.federate(OURS, &ours).await;
    let [(go, go_name), (rust, rust_name)] = *programs else {
        panic!("two programs");
    };
    let (served_by_go, go_address) = go.serve(&ours.agent, &theirs.id(rust_name)).await;
    let (served_by_rust, rust_address) = rust.serve(&theirs.agent, &ours.id(go_name)).await;
    let mut from_there = rust.meet(&theirs.agent, &go_address, &ours.id(go_name));
    let mut from_here = go.meet(&ours.agent, &rust_address, &theirs.id(rust_name));
    // A meeting that fails is another event, which neither expects.
    tokio::join!(
        until_rotated(&mut from_there, ["authority", "key"]),
        until_rotated(&mut from_here, ["peer_authority", "peer_key"]),
    );
    was_known_in_time(&ours.agent, &theirs.agent).await;
    drop((served_by_go, served_by_rust));
}

#[tokio::test]
async fn a_rotation_fails_no_handshake_by_https_web() {
    a_rotation_fails_no_handshake(Profile::Web).await;
}

#[tokio::test]
async fn a_rotation_fails_no_handshake_by_https_spiffe() {
    a_rotation_fails_no_handshake(Profile::Spiffe).await;
}

/// Nothing is lost but news, also over a restart, and an operator sees it.
#[tokio::test]
async fn a_lost_endpoint_leaves_the_last_bundle_and_says_so() {
    let web = Web::new();
    let (ours, theirs) = federated(Profile::Spiffe, &web).await;
    let token = theirs.token().await;
    let teller = theirs.id("teller");
    let known = ours.agent.json(["federation", "show", OTHER]).await;
    let mut trail = ours.agent.follow_audit();
    theirs.agent.stop().await;
    let lost = bundle_event(&mut trail, OTHER, "failed").await;
    drop(trail);

    let shown = ours.agent.json(["federation", "show", OTHER]).await;
    // It is asked again meanwhile, and may fail in another way.
    assert_ne!(lost["reason"], Value::Null, "{lost}");
    assert_ne!(shown["failure"], Value::Null, "{shown}");
    assert_ne!(shown["failing_since"], Value::Null, "{shown}");
    assert_eq!(shown["bundle"], known["bundle"]);
    let text = ours
        .agent
        .run(["federation", "show", OTHER])
        .await
        .success();
    assert!(text.contains("the last bundle stays in force"), "{text}");
    let list = ours.agent.json(["federation", "list"]).await;
    assert_ne!(list["trust_domains"][0]["failure"], Value::Null, "{list}");
    assert_eq!(ours.validates(&token).await, Ok(teller.clone()));

    let again = ours.agent.crash().await.setup;
    let ours = Domain::start(OURS, Profile::Spiffe, again).await;
    assert_eq!(ours.validates(&token).await, Ok(teller));
    let shown = ours.agent.json(["federation", "show", OTHER]).await;
    assert_eq!(shown["bundle"], known["bundle"]);
}

async fn pushed<T>(stream: &mut Streaming<T>) -> T {
    let message = within("a push", stream.message()).await;
    message.unwrap().expect("not the end")
}

/// All that is open learns it at once: streams, connections to come, and tokens.
#[tokio::test]
async fn a_removed_federation_leaves_the_open_streams() {
    let web = Web::new();
    let (ours, theirs) = federated(Profile::Web, &web).await;
    let Some(go) = register(Client::Go, [(&ours, OTHER), (&theirs, OURS)]).await else {
        return;
    };
    let mut api = ours.api().await;
    let svids = within("a stream", api.fetch_x509svid(X509svidRequest {})).await;
    let x509 = within("a stream", api.fetch_x509_bundles(X509BundlesRequest {})).await;
    let jwt = within("a stream", api.fetch_jwt_bundles(JwtBundlesRequest {})).await;
    let (mut svids, mut x509, mut jwt) = (
        svids.unwrap().into_inner(),
        x509.unwrap().into_inner(),
        jwt.unwrap().into_inner(),
    );
    assert!(
        pushed(&mut svids)
            .await
            .federated_bundles
            .contains_key(FOREIGN)
    );
    assert!(pushed(&mut x509).await.bundles.contains_key(FOREIGN));
    assert!(pushed(&mut jwt).await.bundles.contains_key(FOREIGN));
    let token = theirs.token().await;
    let (mut server, address) = go.serve(&ours.agent, &theirs.id("go")).await;
    let mut meeting = go.meet(&theirs.agent, &address, &ours.id("go"));
    meeting.event("met").await;

    let remove = [
        "federation",
        "remove",
        OTHER,
        "--reason",
        "not ours any more",
    ];
    ours.agent.run(remove).await.success();
    assert!(pushed(&mut svids).await.federated_bundles.is_empty());
    let x509 = pushed(&mut x509).await.bundles;
    assert_eq!(
        x509.keys().collect::<Vec<_>>(),
        [&format!("spiffe://{OURS}")]
    );
    let jwt = pushed(&mut jwt).await.bundles;
    assert_eq!(
        jwt.keys().collect::<Vec<_>>(),
        [&format!("spiffe://{OURS}")]
    );
    assert_eq!(ours.validates(&token).await, Err(Code::InvalidArgument));
    server.event("refused").await;
    meeting.next_of_kind("failed").await;
    let shown = ours.agent.json(["federation", "show", OTHER]).await;
    assert_eq!(
        (&shown["state"], &shown["bundle"]),
        (&"removed".into(), &Value::Null)
    );
}
