use super::CredentialsApi;
use crate::{
    issuance::BrokerSettings,
    registry::ClientDraft,
    server::SideServices,
    svid::{
        PublicKey,
        jws::{KeySet, VerifyingKey, verified},
        proof::hash_of,
        wit,
    },
    telemetry::Metrics,
    workload_api::{WorkloadApi, WorkloadRoutes},
    workloads::{
        Caller,
        testing::{Actress, Scene, draft, draft_with_key, name},
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http_body_util::Full;
use serde_json::{Value, json};
use spiffe::TrustDomain;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use symbolon_proto::credentials::{
    ClientCredentialUse, FetchClientCredentialRequest, MintClientAssertionRequest,
    MintClientAssertionResponse, SignDpopProofRequest, SignWorkloadProofRequest,
    credentials_server::Credentials as _,
};
use tonic::{Code, Request, Status, body::Body};
use tower::Service as _;

const SERVER: &str = "https://as.example";

const CLIENT_ID: &str = "https://id.example.org/clients/a/client.json";

fn request<T>(caller: &Caller, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(caller.clone());
    request
}

fn api(scene: &Scene) -> CredentialsApi {
    CredentialsApi::new(Arc::clone(&scene.workloads))
}

async fn ready(client: &str, draft: ClientDraft) -> Scene {
    let scene = Scene::new().await;
    scene.register_as(client, draft).await;
    follow(&scene).await;
    scene
}

async fn follow(scene: &Scene) {
    scene.keys.follow_once(&scene.registry).await;
}

async fn mint(
    scene: &Scene,
    caller: &Caller,
    server: &str,
) -> Result<MintClientAssertionResponse, Status> {
    let wanted = MintClientAssertionRequest {
        authorization_server: server.to_owned(),
        ..MintClientAssertionRequest::default()
    };
    let api = api(scene);
    let made = api.mint_client_assertion(request(caller, wanted));
    made.await.map(tonic::Response::into_inner)
}

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test]
async fn an_assertion_is_for_one_listed_server_and_verifies_by_the_jwks() {
    let servers = [SERVER, "https://other.example"];
    let scene = ready("a", draft_with_key(&servers)).await;
    let caller = scene.own();
    let made = mint(&scene, &caller, SERVER).await.unwrap();
    let published = scene.keys.published();
    let jwks: Value = serde_json::from_slice(published.borrow().jwks(&name("a")).unwrap()).unwrap();
    let key = &jwks["keys"][0];
    let text = |name: &str| key[name].as_str().unwrap();
    let key = PublicKey::from_coordinates(text("x"), text("y")).unwrap();
    let keys = KeySet::new(vec![VerifyingKey::new(key).unwrap()]);
    let claims = verified(&made.client_assertion, &keys).unwrap();
    assert_eq!(
        part(&made.client_assertion, 0)["typ"],
        "client-authentication+jwt"
    );
    assert_eq!(claims["iss"], CLIENT_ID);
    assert_eq!(claims["sub"], CLIENT_ID);
    assert_eq!(claims["aud"], SERVER);
    assert_eq!(claims["jti"], made.jti);
    let life = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
    assert!(life <= 60, "{life}");
    assert_eq!(made.client_id, CLIENT_ID);
    assert_eq!(
        made.client_assertion_type,
        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    );
    let again = mint(&scene, &caller, SERVER).await.unwrap();
    assert_ne!(again.jti, made.jti);
    // As the operator says of this one.
    let other = mint(&scene, &caller, servers[1]).await.unwrap();
    assert_eq!(
        part(&other.client_assertion, 1)["aud"],
        "https://other.example/token"
    );
}

#[tokio::test]
async fn nobody_else_and_no_other_server_gets_an_assertion() {
    let scene = ready("a", draft_with_key(&[SERVER])).await;
    let caller = scene.own();
    // Compared exactly.
    for other in [
        "https://evil.example",
        "https://as.example/",
        "https://as.example:443",
        "https://AS.example",
        "https://as.example/token",
    ] {
        let refused = mint(&scene, &caller, other).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{other}");
        assert!(!refused.message().contains("evil"), "{refused}");
    }
    let stranger = Actress::enter();
    let selectors = vec![vec!["unix:uid:4294900000".to_owned()]];
    scene
        .update(
            "a",
            ClientDraft {
                selector_sets: selectors,
                ..draft_with_key(&[SERVER])
            },
        )
        .await;
    follow(&scene).await;
    let refused = mint(&scene, &scene.admit(stranger.pid()), SERVER).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    scene.close_trail().await;
    let lines = scene.lines();
    assert!(lines.iter().all(|line| line["event"] != "issued"));
    let reasons: Vec<_> = lines
        .iter()
        .filter(|line| line["event"] == "denied")
        .map(|line| line["reason"].as_str().unwrap())
        .collect();
    assert!(
        reasons[0].starts_with("authorization-server: "),
        "{reasons:?}"
    );
    assert!(
        reasons.last().unwrap().starts_with("no-match: "),
        "{reasons:?}"
    );
}

#[tokio::test]
async fn a_suspended_or_revoked_client_gets_nothing_at_once() {
    let scene = ready("a", draft_with_key(&[SERVER])).await;
    let caller = scene.own();
    mint(&scene, &caller, SERVER).await.unwrap();
    // Also before the keys have followed.
    scene.suspend("a").await;
    let refused = mint(&scene, &caller, SERVER).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let proof = SignDpopProofRequest {
        method: "POST".to_owned(),
        target: "https://as.example/token".to_owned(),
        ..SignDpopProofRequest::default()
    };
    let api = api(&scene);
    let refused = api.sign_dpop_proof(request(&caller, proof));
    assert_eq!(refused.await.unwrap_err().code(), Code::PermissionDenied);
    scene.resume("a").await;
    follow(&scene).await;
    mint(&scene, &caller, SERVER).await.unwrap();
    scene.revoke("a").await;
    let refused = mint(&scene, &caller, SERVER).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_client_without_metadata_or_key_gets_no_assertion() {
    let listed = ClientDraft {
        authorization_servers: vec![SERVER.to_owned()],
        ..draft()
    };
    let scene = ready("a", listed).await;
    let caller = scene.own();
    let refused = mint(&scene, &caller, SERVER).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    // Its keys are not there yet, and nobody makes them.
    scene.update("a", draft_with_key(&[SERVER])).await;
    tokio::time::pause();
    let refused = mint(&scene, &caller, SERVER).await.unwrap_err();
    tokio::time::resume();
    assert_eq!(refused.code(), Code::Unavailable);
    follow(&scene).await;
    mint(&scene, &caller, SERVER).await.unwrap();
}

#[tokio::test]
async fn where_several_fit_the_oldest_that_may_is_taken_or_the_one_that_is_named() {
    let scene = ready("a", draft()).await;
    scene.register_as("b", draft_with_key(&[SERVER])).await;
    scene.register_as("c", draft_with_key(&[SERVER])).await;
    follow(&scene).await;
    let caller = scene.own();
    let made = mint(&scene, &caller, SERVER).await.unwrap();
    assert_eq!(made.spiffe_id, "spiffe://example.org/mcp/client/b");
    for (id, code) in [("c", None), ("a", Some(Code::PermissionDenied))] {
        let wanted = MintClientAssertionRequest {
            authorization_server: SERVER.to_owned(),
            spiffe_id: format!("spiffe://example.org/mcp/client/{id}"),
            ..MintClientAssertionRequest::default()
        };
        let api = api(&scene);
        let made = api.mint_client_assertion(request(&caller, wanted));
        assert_eq!(made.await.err().map(|status| status.code()), code, "{id}");
    }
}

#[tokio::test]
async fn a_jwt_svid_for_a_server_has_one_audience_and_five_minutes_at_most() {
    let scene = ready("a", draft_with_key(&[SERVER])).await;
    let caller = scene.own();
    let fetch = async |server: &str, used: ClientCredentialUse| {
        let wanted = FetchClientCredentialRequest {
            authorization_server: server.to_owned(),
            r#use: used.into(),
            resource: "https://mcp.example/mcp".to_owned(),
            ..FetchClientCredentialRequest::default()
        };
        let api = api(&scene);
        let made = api.fetch_client_credential(request(&caller, wanted));
        made.await.map(tonic::Response::into_inner)
    };
    let assertion = fetch(SERVER, ClientCredentialUse::ClientAssertion)
        .await
        .unwrap();
    assert!(assertion.client_assertion_type.ends_with(":jwt-spiffe"));
    assert_eq!(assertion.grant_type, "");
    let claims = part(&assertion.token, 1);
    assert_eq!(claims["aud"], json!([SERVER]));
    assert_eq!(claims["sub"], "spiffe://example.org/mcp/client/a");
    assert!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap() <= 300);
    let grant = fetch(SERVER, ClientCredentialUse::Grant).await.unwrap();
    assert!(grant.grant_type.ends_with(":jwt-bearer"));
    assert_eq!(grant.client_assertion_type, "");
    let refused = fetch("https://evil.example", ClientCredentialUse::Grant).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    let refused = fetch(SERVER, ClientCredentialUse::Unspecified).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    scene.close_trail().await;
    let lines = scene.lines();
    let issued = lines.iter().find(|line| line["event"] == "issued").unwrap();
    assert_eq!(issued["reason"], "resource \"https://mcp.example/mcp\"");
    assert_eq!(issued["credential"]["jti"], assertion.jti);
}

#[tokio::test]
async fn a_grant_needs_an_issuer() {
    let scene = ready("a", draft_with_key(&[SERVER])).await;
    scene.workloads.broker().set_settings(BrokerSettings {
        assertion_ttl: Duration::from_secs(60),
        token_endpoints: BTreeMap::new(),
        names_issuer: false,
    });
    let caller = scene.own();
    for (used, code) in [
        (ClientCredentialUse::Grant, Some(Code::FailedPrecondition)),
        (ClientCredentialUse::ClientAssertion, None),
    ] {
        let wanted = FetchClientCredentialRequest {
            authorization_server: SERVER.to_owned(),
            r#use: used.into(),
            ..FetchClientCredentialRequest::default()
        };
        let api = api(&scene);
        let made = api.fetch_client_credential(request(&caller, wanted)).await;
        assert_eq!(made.err().map(|status| status.code()), code);
    }
}

fn dpop(target: &str, nonce: &str) -> SignDpopProofRequest {
    SignDpopProofRequest {
        method: "POST".to_owned(),
        target: target.to_owned(),
        nonce: nonce.to_owned(),
        ..SignDpopProofRequest::default()
    }
}

#[tokio::test]
async fn process_and_client_have_one_dpop_key_of_their_own() {
    let scene = ready("a", draft()).await;
    scene.register("b").await;
    let api = api(&scene);
    let (own, other) = (scene.own(), Actress::enter());
    let sign = async |caller: &Caller, id: &str| {
        let mut wanted = dpop("https://as.example/token", "n-1");
        wanted.access_token_hash = hash_of("t");
        wanted.spiffe_id = format!("spiffe://example.org/mcp/client/{id}");
        let made = api.sign_dpop_proof(request(caller, wanted)).await.unwrap();
        made.into_inner()
    };
    let first = sign(&own, "a").await;
    let claims = part(&first.proof, 1);
    assert_eq!(claims["htm"], "POST");
    assert_eq!(claims["nonce"], "n-1");
    assert_eq!(claims["ath"], hash_of("t"));
    let jwk = &part(&first.proof, 0)["jwk"];
    let text = |name: &str| jwk[name].as_str().unwrap();
    let key = PublicKey::from_coordinates(text("x"), text("y")).unwrap();
    assert_eq!(key.thumbprint(), first.key_thumbprint);
    assert!(jwk.get("d").is_none());
    let again = sign(&scene.own(), "a").await;
    assert_eq!(
        again.key_thumbprint, first.key_thumbprint,
        "on another connection"
    );
    assert_ne!(again.jti, first.jti);
    assert_ne!(sign(&own, "b").await.key_thumbprint, first.key_thumbprint);
    let theirs = sign(&scene.admit(other.pid()), "a").await;
    assert_ne!(theirs.key_thumbprint, first.key_thumbprint);
    // Who loses the client loses the key.
    scene.suspend("a").await;
    scene.resume("a").await;
    scene.workloads.reconcile_now().await;
    scene.suspend("a").await;
    scene.workloads.reconcile_now().await;
    scene.resume("a").await;
    assert_ne!(sign(&own, "a").await.key_thumbprint, first.key_thumbprint);
}

#[tokio::test]
async fn a_workload_proof_goes_with_a_wit_svid_whose_key_stays() {
    let scene = ready("a", draft()).await;
    let caller = scene.own();
    let sign = async || {
        let wanted = SignWorkloadProofRequest {
            target: "https://mcp.example/mcp".to_owned(),
            access_token_hash: hash_of("t"),
            other_token_hashes: BTreeMap::from([("x-token".to_owned(), hash_of("o"))]),
            ..SignWorkloadProofRequest::default()
        };
        let api = api(&scene);
        let made = api.sign_workload_proof(request(&caller, wanted));
        made.await.unwrap().into_inner()
    };
    let made = sign().await;
    let bundle = scene.workloads.bundle();
    let domain = TrustDomain::new("example.org").unwrap();
    let now = crate::clock::Clock::now(&*scene.clock);
    let unproven = wit::validate(&made.wit_svid, bundle.wit_keys(), &domain, now).unwrap();
    let keys = KeySet::new(vec![unproven.confirmation]);
    assert_eq!(part(&made.proof, 0)["typ"], "wpt+jwt");
    let claims = verified(&made.proof, &keys).unwrap();
    assert_eq!(claims["wth"], hash_of(&made.wit_svid));
    assert_eq!(claims["aud"], "https://mcp.example/mcp");
    assert_eq!(claims["oth"]["x-token"], hash_of("o"));
    let again = sign().await;
    assert_eq!(again.wit_svid, made.wit_svid);
    assert_ne!(again.jti, made.jti);
    // A new version of the client has a new WIT-SVID: it names the version.
    scene
        .update(
            "a",
            ClientDraft {
                purpose: "other".to_owned(),
                ..draft()
            },
        )
        .await;
    assert_ne!(sign().await.wit_svid, made.wit_svid);
}

#[tokio::test]
async fn what_is_no_server_or_resource_is_refused_before_anybody_is_attested() {
    let scene = ready("a", draft_with_key(&[SERVER])).await;
    let caller = scene.own();
    let api = api(&scene);
    let long = format!("https://as.example/{}", "x".repeat(3000));
    for server in [
        "",
        "as.example",
        "http://as.example",
        &long,
        "https://as.example?x=1",
    ] {
        let refused = mint(&scene, &caller, server).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{server}");
    }
    for resource in ["https://mcp.example/#x", "https://u:secret@mcp.example/"] {
        let wanted = MintClientAssertionRequest {
            authorization_server: SERVER.to_owned(),
            resource: resource.to_owned(),
            ..MintClientAssertionRequest::default()
        };
        let refused = api.mint_client_assertion(request(&caller, wanted)).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{resource}");
        assert!(!refused.message().contains("secret"), "{refused}");
    }
    scene.close_trail().await;
    assert!(scene.lines().iter().all(|line| line["event"] != "attested"));
}

#[tokio::test]
async fn what_is_no_address_method_nonce_or_hash_is_refused_before_anybody_is_attested() {
    let scene = ready("a", draft_with_key(&[SERVER])).await;
    let caller = scene.own();
    let api = api(&scene);
    let long = format!("https://as.example/{}", "x".repeat(3000));
    let good = "https://as.example/token";
    let mut bad = vec![
        dpop("", ""),
        dpop(&long, ""),
        dpop(good, "a b"),
        dpop(good, &"n".repeat(600)),
    ];
    bad.push(SignDpopProofRequest {
        method: "post".to_owned(),
        ..dpop(good, "")
    });
    bad.push(SignDpopProofRequest {
        access_token_hash: "x".to_owned(),
        ..dpop(good, "")
    });
    bad.push(SignDpopProofRequest {
        spiffe_id: "https://example.org".to_owned(),
        ..dpop(good, "")
    });
    for wanted in bad {
        let shown = format!("{wanted:?}");
        let refused = api.sign_dpop_proof(request(&caller, wanted)).await;
        assert_eq!(
            refused.unwrap_err().code(),
            Code::InvalidArgument,
            "{shown}"
        );
    }
    let hash = |name: &str| (name.to_owned(), hash_of("o"));
    let many: BTreeMap<_, _> = (0..9).map(|n| hash(&format!("x-{n}"))).collect();
    for others in [many, [hash("X-Token")].into(), [hash("")].into()] {
        let wanted = SignWorkloadProofRequest {
            target: good.to_owned(),
            other_token_hashes: others,
            ..SignWorkloadProofRequest::default()
        };
        let refused = api.sign_workload_proof(request(&caller, wanted)).await;
        assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    }
    let none = api.sign_dpop_proof(Request::new(dpop(good, ""))).await;
    assert_eq!(none.unwrap_err().code(), Code::Internal, "no caller");
    scene.close_trail().await;
    assert!(scene.lines().iter().all(|line| line["event"] != "attested"));
}

#[tokio::test]
async fn nothing_leaves_that_cannot_be_recorded_and_what_leaves_is_found_by_its_jti() {
    let scene = ready("a", draft_with_key(&[SERVER])).await;
    let caller = scene.own();
    let made = mint(&scene, &caller, SERVER).await.unwrap();
    let api = api(&scene);
    let proof = api.sign_dpop_proof(request(&caller, dpop("https://as.example/token", "")));
    let proof = proof.await.unwrap().into_inner();
    scene.close_trail().await;
    let refused = mint(&scene, &caller, SERVER).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    let lines = scene.lines();
    let find = |jti: &str| {
        let line = lines.iter().find(|line| line["credential"]["jti"] == jti);
        line.unwrap().clone()
    };
    let line = find(&made.jti);
    assert_eq!(line["event"], "issued");
    assert_eq!(line["client"], "a");
    assert_eq!(line["client_version"], 1);
    assert_eq!(line["credential"]["kind"], "client-assertion");
    assert_eq!(line["credential"]["audiences"], json!([SERVER]));
    let set = scene.keys.of(&name("a")).unwrap();
    assert_eq!(line["credential"]["authority_key_id"], set.keys()[0].key_id);
    let attested = lines
        .iter()
        .find(|line| line["event"] == "attested")
        .unwrap();
    assert!(line["attestation_id"].is_string() && attested["attestation_id"].is_string());
    let line = find(&proof.jti);
    assert_eq!(line["credential"]["kind"], "dpop-proof");
    assert_eq!(line["credential"]["key_thumbprint"], proof.key_thumbprint);
    assert_eq!(line["reason"], "method POST");
    let text = serde_json::to_string(&lines).unwrap();
    let signature = made.client_assertion.rsplit('.').next().unwrap();
    assert!(!text.contains(signature), "no token stands in the trail");
}

#[tokio::test]
async fn the_security_header_is_demanded_and_other_paths_are_not_ours() {
    let scene = ready("a", draft_with_key(&[SERVER])).await;
    let code = async |path: &str, header: Option<&str>| {
        let metrics = Metrics::new("test").workload.calls;
        let workload = WorkloadApi::new(Arc::clone(&scene.workloads));
        let routes = WorkloadRoutes::new(workload, SideServices::default(), metrics);
        let mut routes = routes.with_credentials(api(&scene));
        let mut request = http::Request::post(path).header("content-type", "application/grpc");
        if let Some(header) = header {
            request = request.header("workload.spiffe.io", header);
        }
        let empty = Full::new(Bytes::from_static(&[0; 5]));
        let mut request = request.body(Body::new(empty)).unwrap();
        request.extensions_mut().insert(scene.own());
        let response = routes.call(request).await.unwrap();
        Code::from_bytes(response.headers()["grpc-status"].as_bytes())
    };
    let path = "/symbolon.credentials.v1.Credentials/MintClientAssertion";
    for header in [None, Some("false"), Some("True")] {
        assert_eq!(
            code(path, header).await,
            Code::InvalidArgument,
            "{header:?}"
        );
    }
    for other in [
        "/symbolon.credentials.v1.Credentials/FetchKeys",
        "/symbolon.credentials.v1.Credentialsx/MintClientAssertion",
        "//symbolon.credentials.v1.Credentials/MintClientAssertion",
        "/symbolon.admin.v1.Admin/ReplaceClientKey",
    ] {
        assert_eq!(
            code(other, Some("true")).await,
            Code::Unimplemented,
            "{other}"
        );
    }
    assert!(scene.lines().iter().all(|line| line["event"] != "attested"));
}
