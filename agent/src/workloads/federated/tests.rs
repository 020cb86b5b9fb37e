//! Whose bundles a caller sees, and by whose keys a token is judged.

use super::Federated;
use crate::{
    authority::ForeignBundle,
    clock::SharedClock,
    federation::{ForeignBundles, testing::Stranger},
    registry::ClientDraft,
    workload_api::WorkloadApi,
    workloads::{
        Caller, ValidationError,
        testing::{Scene, draft},
    },
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use symbolon_proto::workload::{
    JwtBundlesRequest, X509BundlesRequest, X509svidRequest,
    spiffe_workload_api_server::SpiffeWorkloadApi as _,
};
use tokio::time::timeout;
use tonic::Request;

const LIMIT: Duration = Duration::from_secs(30);

fn federating(with: &[&str]) -> ClientDraft {
    ClientDraft {
        federates_with: with.iter().map(ToString::to_string).collect(),
        ..draft()
    }
}

fn stranger(scene: &Scene, name: &str) -> Stranger {
    let clock: SharedClock = Arc::<crate::clock::ManualClock>::clone(&scene.clock);
    Stranger::new(name, &clock)
}

fn publish(scene: &Scene, strangers: &[&Stranger]) {
    let bundles = strangers.iter().map(|stranger| stranger.bundle());
    let bundles = ForeignBundles::of(bundles);
    scene.federation.send_replace(Arc::new(bundles));
}

#[test]
fn what_is_too_long_for_an_answer_is_left_out_longest_first() {
    let document = |length: usize| Bytes::from(vec![b'a'; length]);
    let all: BTreeMap<_, _> = [("a", 50), ("b", 10), ("c", 30), ("d", 40)]
        .map(|(name, length)| (name.to_owned(), document(length)))
        .into();
    let names = |room: usize| {
        let (fitting, left_out) = super::fitting(all.clone(), room);
        assert_eq!(fitting.len() + left_out.len(), all.len());
        fitting.into_keys().collect::<Vec<_>>().concat()
    };
    assert_eq!(names(134), "abcd");
    assert_eq!(names(133), "bcd");
    assert_eq!(names(82), "bc");
    assert_eq!(names(10), "");
}

#[tokio::test]
async fn what_is_left_out_is_counted_by_its_trust_domain() {
    let scene = Scene::new().await;
    let (short, long) = (
        stranger(&scene, "o.example"),
        stranger(&scene, "other.example"),
    );
    let federated = Federated {
        bundles: [&short, &long].map(Stranger::bundle).into(),
        metrics: Some(scene.federation_metrics()),
    };
    let all = federated.keyed(ForeignBundle::jwt_jwks);
    let length = |(name, document): (&String, &Bytes)| name.len() + document.len();
    let room = all.iter().map(length).sum::<usize>();
    let counts = || {
        [&short, &long].map(|stranger| {
            let name = stranger.bundle().trust_domain().clone();
            scene.workloads.bundles_left_out(&name)
        })
    };
    let fitting = federated.keyed_within(ForeignBundle::jwt_jwks, room);
    assert_eq!((fitting.len(), counts()), (2, [0, 0]));
    for answers in [1, 2] {
        let fitting = federated.keyed_within(ForeignBundle::jwt_jwks, room - 1);
        let names: Vec<_> = fitting.into_keys().collect();
        assert_eq!(names, ["spiffe://o.example"]);
        assert_eq!(counts(), [0, answers]);
    }
}

fn request<T>(caller: &Caller, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(caller.clone());
    request
}

#[tokio::test]
async fn only_the_listed_bundles_are_in_the_answers_and_changes_are_pushed() {
    let scene = Scene::new().await;
    scene.run();
    scene.register_as("a", federating(&["other.example"])).await;
    let (other, third) = (
        stranger(&scene, "other.example"),
        stranger(&scene, "third.example"),
    );
    publish(&scene, &[&other, &third]);
    let api = WorkloadApi::new(Arc::clone(&scene.workloads));
    let caller = scene.own();
    let x509 = api.fetch_x509svid(request(&caller, X509svidRequest {}));
    let mut x509 = x509.await.unwrap().into_inner();
    let bundles = api.fetch_x509_bundles(request(&caller, X509BundlesRequest {}));
    let mut bundles = bundles.await.unwrap().into_inner();
    let jwt = api.fetch_jwt_bundles(request(&caller, JwtBundlesRequest {}));
    let mut jwt = jwt.await.unwrap().into_inner();
    let first = x509.next().await.unwrap().unwrap();
    assert_eq!(first.federated_bundles.len(), 1);
    let id = "spiffe://other.example";
    let der = other.bundle().x509_der().clone();
    assert_eq!(first.federated_bundles[id], der);
    let all = bundles.next().await.unwrap().unwrap().bundles;
    assert_eq!(all.keys().collect::<Vec<_>>(), ["spiffe://example.org", id]);
    assert_eq!(all[id], der);
    let all = jwt.next().await.unwrap().unwrap().bundles;
    assert_eq!(all[id], *other.bundle().jwt_jwks());
    assert_eq!(all.len(), 2);

    // Another bundle, of the same trust domain.
    let rotated = stranger(&scene, "other.example");
    publish(&scene, &[&rotated, &third]);
    let pushed = timeout(LIMIT, x509.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(pushed.federated_bundles[id], *rotated.bundle().x509_der());
    assert_eq!(pushed.svids[0].x509_svid, first.svids[0].x509_svid);
    let pushed = timeout(LIMIT, bundles.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(pushed.bundles[id], *rotated.bundle().x509_der());
    timeout(LIMIT, jwt.next()).await.unwrap().unwrap().unwrap();

    // Its relationship ends, and then the client's interest in the third begins.
    publish(&scene, &[&third]);
    let pushed = timeout(LIMIT, x509.next()).await.unwrap().unwrap().unwrap();
    assert!(pushed.federated_bundles.is_empty());
    scene.update("a", federating(&["third.example"])).await;
    let pushed = timeout(LIMIT, x509.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(
        pushed.federated_bundles.keys().collect::<Vec<_>>(),
        ["spiffe://third.example"]
    );
}

#[tokio::test]
async fn a_foreign_token_is_judged_by_its_own_trust_domains_keys_alone() {
    let scene = Scene::new().await;
    let with = ["other.example", "third.example"];
    scene.register_as("a", federating(&with)).await;
    let (other, third, unknown) = (
        stranger(&scene, "other.example"),
        stranger(&scene, "third.example"),
        stranger(&scene, "unknown.example"),
    );
    publish(&scene, &[&other, &third, &unknown]);
    let caller = scene.own();
    let validate = async |token: &str, audience: &str| {
        scene.workloads.validate(&caller, audience, token).await
    };
    let token = other.token("/server");
    let valid = validate(&token, "a").await.unwrap().0;
    assert_eq!(valid.spiffe_id, other.id("/server"));
    assert!(matches!(
        validate(&token, "b").await,
        Err(ValidationError::Token(_))
    ));
    // The client does not federate with everybody whose bundle is known.
    let astray = validate(&unknown.token("/server"), "a").await;
    assert!(matches!(astray, Err(ValidationError::NotFederated)));
    // Somebody else with the same name, and a bundle that names a third's or our keys its own.
    let impostor = stranger(&scene, "other.example");
    let forged = validate(&impostor.token("/server"), "a").await;
    assert!(matches!(forged, Err(ValidationError::Token(_))));
    let ours = stranger(&scene, "example.org");
    let third_as_ours = validate(&ours.token("/mcp/client/a"), "a").await;
    assert!(matches!(third_as_ours, Err(ValidationError::Token(_))));
    for (keys, claimed) in [(&third, "other.example"), (&other, "third.example")] {
        let swapped = stranger(&scene, claimed);
        assert_ne!(swapped.bundle().jwt_jwks(), keys.bundle().jwt_jwks());
        let forged = validate(&swapped.token("/server"), "a").await;
        assert!(matches!(forged, Err(ValidationError::Token(_))));
    }
    // Once the federation is over, so is the token.
    publish(&scene, &[&third]);
    let over = validate(&token, "a").await;
    assert!(matches!(over, Err(ValidationError::NotFederated)));
    scene.close_trail().await;
    let lines = scene.lines();
    let accepted: Vec<_> = lines
        .iter()
        .filter(|line| line["event"] == "validated" && line["outcome"] == "accepted")
        .collect();
    assert_eq!(accepted.len(), 1);
    assert_eq!(accepted[0]["trust_domain"], "other.example");
    assert_eq!(accepted[0]["spiffe_id"], "spiffe://other.example/server");
    assert_eq!(accepted[0]["credential"]["audiences"][0], "a");
    assert_eq!(accepted[0]["chain"], "callers");
}

#[tokio::test]
async fn who_has_no_identity_has_no_foreign_bundles() {
    let scene = Scene::new().await;
    scene
        .workloads
        .set_settings(crate::workloads::WorkloadSettings {
            bundles_for_any: true,
            ..crate::workloads::testing::settings()
        });
    let other = stranger(&scene, "other.example");
    publish(&scene, &[&other]);
    let caller = scene.own();
    let api = WorkloadApi::new(Arc::clone(&scene.workloads));
    let bundles = api.fetch_x509_bundles(request(&caller, X509BundlesRequest {}));
    let mut bundles = bundles.await.unwrap().into_inner();
    let all = bundles.next().await.unwrap().unwrap().bundles;
    assert_eq!(all.keys().collect::<Vec<_>>(), ["spiffe://example.org"]);
    let token = other.token("/server");
    let validated = scene.workloads.validate(&caller, "a", &token).await;
    assert!(matches!(validated, Err(ValidationError::NotFederated)));
}
