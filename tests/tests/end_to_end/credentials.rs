//! What is in the credentials and the bundles, as a workload and its libraries need it.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;
use spiffe::{BundleSource as _, JwtSource, TrustDomain, X509Source, X509SourceBuilder, X509Svid};
use symbolon_proto::workload::{
    JwtBundlesRequest, JwtsvidRequest, WitBundlesRequest, WitsvidRequest, X509BundlesRequest,
    X509svid, X509svidRequest, X509svidResponse,
};
use symbolon_tests::{AUDIENCE, Agent, Client, Program, Setup, within, workload_api};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

const SPIFFE_ID: &str = "spiffe://example.org/mcp/client/client";

async fn x509_svids(agent: &Agent) -> X509svidResponse {
    let mut api = workload_api(agent).await;
    let mut stream = api
        .fetch_x509svid(X509svidRequest {})
        .await
        .unwrap()
        .into_inner();
    within("the first answer", stream.message())
        .await
        .unwrap()
        .unwrap()
}

async fn jwt_svid(agent: &Agent) -> String {
    let mut api = workload_api(agent).await;
    let request = JwtsvidRequest {
        audience: vec![AUDIENCE.to_owned()],
        ..Default::default()
    };
    api.fetch_jwtsvid(request)
        .await
        .unwrap()
        .into_inner()
        .svids
        .remove(0)
        .svid
}

/// The header (0) or the claims (1) of a token.
pub(crate) fn part(token: &str, index: usize) -> Value {
    let encoded = token.split('.').nth(index).expect("three parts");
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(encoded).expect("base64url");
    serde_json::from_slice(&bytes).expect("JSON")
}

/// The serial number of a certificate, in hexadecimal without leading zeros.
pub(crate) fn serial(svid: &X509svid) -> String {
    let (_, leaf) = X509Certificate::from_der(&svid.x509_svid).unwrap();
    leaf.serial.to_str_radix(16)
}

#[tokio::test]
async fn one_process_sees_one_x509_svid_and_another_process_another() {
    let agent = Setup::new().start().await;
    agent.register("client", &[Program::uid_selector()]).await;
    let first = x509_svids(&agent).await;
    assert_eq!(
        x509_svids(&agent).await,
        first,
        "streams of one process differ"
    );

    let mut other = Client::Rust.start(&agent);
    let issued = other.event("x509").await;
    assert_eq!(issued["spiffe_id"], SPIFFE_ID);
    let theirs = issued["serial"].as_str().unwrap().trim_start_matches('0');
    assert_ne!(theirs, serial(&first.svids[0]));
}

#[tokio::test]
async fn an_x509_svid_keeps_to_its_profile() {
    let agent = Setup::new().start().await;
    let options = ["--dns-name", "client.example.org", "--x509-ttl", "30m"];
    agent
        .register_with("client", &Program::itself().selectors(), options)
        .await;
    let svid = x509_svids(&agent).await.svids.remove(0);
    assert_eq!(svid.spiffe_id, SPIFFE_ID);
    // Parses key and chain, and checks them as the library does.
    let parsed = X509Svid::parse_from_der(&svid.x509_svid, &svid.x509_svid_key).unwrap();
    assert_eq!(parsed.spiffe_id().to_string(), SPIFFE_ID);

    let (rest, leaf) = X509Certificate::from_der(&svid.x509_svid).unwrap();
    assert!(rest.is_empty(), "the root is in the chain");
    let names = &leaf
        .subject_alternative_name()
        .unwrap()
        .unwrap()
        .value
        .general_names;
    let uris: Vec<_> = names
        .iter()
        .filter(|name| matches!(name, GeneralName::URI(_)))
        .collect();
    assert_eq!(uris, [&GeneralName::URI(SPIFFE_ID)]);
    assert!(names.contains(&GeneralName::DNSName("client.example.org")));
    let usage = leaf.key_usage().unwrap().unwrap();
    assert!(
        usage.critical && usage.value.digital_signature(),
        "{usage:?}"
    );
    assert!(
        !usage.value.key_cert_sign() && !usage.value.crl_sign(),
        "{usage:?}"
    );
    let extended = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.server_auth && extended.client_auth, "{extended:?}");
    assert!(!leaf.basic_constraints().unwrap().unwrap().value.ca);
    let validity = leaf.validity();
    let lifetime = validity.not_after.timestamp() - validity.not_before.timestamp();
    assert_eq!(lifetime, 30 * 60 + 10, "the lifetime, and ten seconds back");
}

#[tokio::test]
async fn a_jwt_svid_names_the_registration_and_the_attestation_behind_it() {
    let agent = Setup::new().start().await;
    agent.register_self("client").await;
    let (first, second) = (jwt_svid(&agent).await, jwt_svid(&agent).await);
    let header = part(&first, 0);
    assert_eq!(header["alg"], "ES256");
    assert!(
        header["typ"].is_null() || header["typ"] == "JWT",
        "{header}"
    );
    assert!(header["kid"].is_string(), "{header}");
    let claims = part(&first, 1);
    assert_eq!(claims["sub"], SPIFFE_ID);
    assert!(
        claims["aud"] == AUDIENCE || claims["aud"][0] == AUDIENCE,
        "{claims}"
    );
    assert_eq!(
        claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(),
        300
    );
    assert_eq!(claims["nhi_version"].to_string().trim_matches('"'), "1");
    assert_ne!(
        claims["jti"],
        part(&second, 1)["jti"],
        "each token has its own"
    );

    let trail = agent.audit().await;
    let issued = trail
        .iter()
        .find(|event| event["credential"]["jti"] == claims["jti"]);
    let issued = issued.expect("the token is in the audit trail");
    assert_eq!(issued["event"], "issued");
    assert_eq!(issued["attestation_id"], claims["att"]);
    assert_eq!(issued["spiffe_id"], SPIFFE_ID);
    let text = trail.iter().map(Value::to_string).collect::<String>();
    assert!(!text.contains(&first), "a token is in the audit trail");
}

#[tokio::test]
async fn a_wit_svid_is_bound_to_the_key_that_comes_with_it() {
    let agent = Setup::new().start().await;
    agent.register_self("client").await;
    let mut api = workload_api(&agent).await;
    let mut stream = api
        .fetch_witsvid(WitsvidRequest::default())
        .await
        .unwrap()
        .into_inner();
    let svid = stream.message().await.unwrap().unwrap().svids.remove(0);
    assert_eq!(svid.spiffe_id, SPIFFE_ID);
    let header = part(&svid.wit_svid, 0);
    assert_eq!(header["typ"], "wit+jwt");
    let claims = part(&svid.wit_svid, 1);
    assert_eq!(claims["sub"], SPIFFE_ID);
    assert!(claims["aud"].is_null(), "{claims}");
    let bound = &claims["cnf"]["jwk"];
    assert_eq!(bound["alg"], "ES256");
    assert!(bound["d"].is_null(), "the private key is in the token");
    let key: Value = serde_json::from_str(&svid.wit_svid_key).unwrap();
    assert!(key["d"].is_string());
    assert_eq!((&key["x"], &key["y"]), (&bound["x"], &bound["y"]));

    let mut stream = api
        .fetch_wit_bundles(WitBundlesRequest {})
        .await
        .unwrap()
        .into_inner();
    let bundles = stream.message().await.unwrap().unwrap().bundles;
    let jwks: Value = serde_json::from_str(&bundles["spiffe://example.org"]).unwrap();
    assert!(
        key_ids(&jwks).contains(&header["kid"].as_str().unwrap()),
        "{jwks}"
    );
}

fn key_ids(jwks: &Value) -> Vec<&str> {
    jwks["keys"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|key| key["kid"].as_str())
        .collect()
}

#[tokio::test]
async fn bundles_are_keyed_by_trust_domain_and_one_key_signs_one_kind() {
    let agent = Setup::new().start().await;
    agent.register_self("client").await;
    let mut api = workload_api(&agent).await;
    let mut stream = api
        .fetch_x509_bundles(X509BundlesRequest {})
        .await
        .unwrap()
        .into_inner();
    let x509 = stream.message().await.unwrap().unwrap().bundles;
    assert_eq!(x509.keys().collect::<Vec<_>>(), ["spiffe://example.org"]);
    assert_eq!(
        x509["spiffe://example.org"],
        x509_svids(&agent).await.svids[0].bundle
    );
    let mut stream = api
        .fetch_jwt_bundles(JwtBundlesRequest {})
        .await
        .unwrap()
        .into_inner();
    let jwt = stream.message().await.unwrap().unwrap().bundles;
    let jwks: Value = serde_json::from_slice(&jwt["spiffe://example.org"]).unwrap();
    let mut stream = api
        .fetch_wit_bundles(WitBundlesRequest {})
        .await
        .unwrap()
        .into_inner();
    let wit = stream.message().await.unwrap().unwrap().bundles;
    let wit: Value = serde_json::from_str(&wit["spiffe://example.org"]).unwrap();

    for key in jwks["keys"]
        .as_array()
        .unwrap()
        .iter()
        .chain(wit["keys"].as_array().unwrap())
    {
        assert!(
            key["kid"].is_string() && key["use"].is_null() && key["d"].is_null(),
            "{key}"
        );
    }
    assert!(key_ids(&jwks).iter().all(|id| !key_ids(&wit).contains(id)));
}

#[tokio::test]
async fn the_operator_sees_the_bundle_in_three_formats() {
    let agent = Setup::new().start().await;
    let spiffe = agent
        .run(["bundle", "show", "--format", "spiffe"])
        .await
        .json();
    let uses: Vec<_> = spiffe["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| &key["use"])
        .collect();
    assert_eq!(uses, ["x509-svid", "jwt-svid", "wit-svid"], "{spiffe}");
    assert!(spiffe["spiffe_sequence"].is_u64() && spiffe["spiffe_refresh_hint"] == 300);
    let jwks = agent
        .run(["bundle", "show", "--format", "jwks"])
        .await
        .json();
    assert!(jwks["keys"][0]["use"].is_null(), "{jwks}");
    let pem = agent
        .run(["bundle", "show", "--format", "pem"])
        .await
        .success();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{pem}");
}

#[tokio::test]
async fn rust_sources_follow_a_renewal() {
    let agent = Setup::renewing().start().await;
    agent.register_self("client").await;
    let client = spiffe::WorkloadApiClient::connect_to(agent.endpoint())
        .await
        .unwrap();
    assert_eq!(
        client
            .fetch_x509_svid()
            .await
            .unwrap()
            .spiffe_id()
            .to_string(),
        SPIFFE_ID
    );
    let builder = X509SourceBuilder::new().endpoint(agent.endpoint());
    let x509: X509Source = within("the X.509 source", builder.build()).await.unwrap();
    let jwt = JwtSource::builder().endpoint(agent.endpoint()).build();
    let jwt = within("the JWT source", jwt).await.unwrap();

    let before = x509.svid().unwrap();
    within("a renewal", x509.updated().changed()).await.unwrap();
    let after = x509.svid().unwrap();
    assert_ne!(before.leaf(), after.leaf());
    assert_ne!(
        before.private_key().as_bytes(),
        after.private_key().as_bytes()
    );

    let trust_domain = TrustDomain::new("example.org").unwrap();
    let bundle = jwt.bundle_for_trust_domain(&trust_domain).unwrap().unwrap();
    let token = jwt.fetch_jwt_svid([AUDIENCE]).await.unwrap();
    assert!(bundle.find_jwt_authority(token.key_id()).is_some());
    x509.shutdown().await;
    jwt.shutdown().await;
}
