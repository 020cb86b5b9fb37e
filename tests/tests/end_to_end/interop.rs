//! A stock client of each library lives through issuance, renewal and revocation.

use serde_json::json;
use symbolon_proto::workload::{X509svid, X509svidRequest, X509svidResponse};
use symbolon_tests::{AUDIENCE, Agent, Client, Envoy, Setup, within};
use tonic::{Code, Status, Streaming};

/// Every attestation on which an SVID was issued names the same proofs: the
/// client answered the PING without noticing, and its library opened the socket
/// with close-on-exec or without.
async fn was_proved(agent: &Agent, held: &str) {
    let events = agent.audit().await;
    let of = |event: &str| {
        let lines = events.iter().filter(move |line| line["event"] == event);
        lines.collect::<Vec<_>>()
    };
    assert!(!of("issued").is_empty());
    for issued in of("issued") {
        let on = &issued["attestation_id"];
        let attested = of("attested");
        let evidence = attested.iter().find(|line| line["attestation_id"] == *on);
        let proofs = &evidence.expect("its evidence")["evidence"]["proofs"];
        assert_eq!(*proofs, json!({"answered": "stamped", "held": held}));
    }
}

async fn lives_through_renewal_and_revocation(client: Client, held: &str) {
    if !client.is_installed() {
        return;
    }
    let agent = Setup::renewing().start().await;
    agent.register("stock", &client.selectors()).await;

    let mut workload = client.start(&agent);
    let issued = workload.event("x509").await;
    assert_eq!(issued["spiffe_id"], "spiffe://example.org/mcp/client/stock");
    let token = workload.event("jwt").await;
    assert_eq!(token["spiffe_id"], issued["spiffe_id"]);
    let renewed = workload.event("x509").await;
    assert_eq!(renewed["spiffe_id"], issued["spiffe_id"]);
    assert_ne!(renewed["serial"], issued["serial"]);

    was_proved(&agent, held).await;
    agent.revoke("stock").await;
    let ended = workload.event_after("x509").await;
    assert_eq!(ended["code"], "PERMISSION_DENIED");
    let end = workload.end().await;
    assert_eq!(end.code, Some(0), "{end:?}");

    let refused = client.start(&agent).end().await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert_eq!(refused.stdout, "");
}

#[tokio::test]
async fn rust_spiffe_lives_through_renewal_and_revocation() {
    lives_through_renewal_and_revocation(Client::Rust, "close-on-exec").await;
}

#[tokio::test]
async fn python_spiffe_lives_through_renewal_and_revocation() {
    lives_through_renewal_and_revocation(Client::Python, "close-on-exec").await;
}

#[tokio::test]
async fn go_spiffe_lives_through_renewal_and_revocation() {
    lives_through_renewal_and_revocation(Client::Go, "close-on-exec").await;
}

#[tokio::test]
async fn java_spiffe_lives_through_renewal_and_revocation() {
    lives_through_renewal_and_revocation(Client::Java, "inheritable").await;
}

#[tokio::test]
async fn grpc_for_node_lives_through_renewal_and_revocation() {
    lives_through_renewal_and_revocation(Client::Node, "close-on-exec").await;
}

/// The stream of X.509-SVIDs through Envoy, or why there is none.
async fn stream_through(envoy: &Envoy) -> Result<Streaming<X509svidResponse>, Status> {
    let mut api = envoy.workload_api().await;
    let answer = within("an answer", api.fetch_x509svid(X509svidRequest {})).await;
    Ok(answer?.into_inner())
}

async fn next(stream: &mut Streaming<X509svidResponse>) -> Result<X509svid, Status> {
    let message = within("an X.509-SVID", stream.message()).await?;
    let svids = message.expect("a stream without end").svids;
    Ok(svids.into_iter().next().expect("one X.509-SVID"))
}

/// Whose identity it is: that of the process that is connected, not of whoever calls through it.
#[tokio::test]
async fn envoy_lives_through_renewal_and_revocation() {
    if !Envoy::is_installed() {
        return;
    }
    let agent = Setup::renewing().start().await;
    agent.register("envoy", &Envoy::program().selectors()).await;

    let envoy = Envoy::start(&agent).await;
    let mut stream = stream_through(&envoy).await.unwrap();
    let issued = next(&mut stream).await.unwrap();
    assert_eq!(issued.spiffe_id, "spiffe://example.org/mcp/client/envoy");
    let renewed = next(&mut stream).await.unwrap();
    assert_eq!(renewed.spiffe_id, issued.spiffe_id);
    assert_ne!(renewed.x509_svid, issued.x509_svid);

    was_proved(&agent, "inheritable").await;
    agent.revoke("envoy").await;
    let ended = loop {
        if let Err(status) = next(&mut stream).await {
            break status;
        }
    };
    assert_eq!(ended.code(), Code::PermissionDenied, "{ended:?}");
}

#[tokio::test]
async fn envoy_gets_nothing_where_its_socket_must_not_be_inheritable() {
    if !Envoy::is_installed() {
        return;
    }
    let agent = Setup::new().start().await;
    let selectors = Envoy::program().selectors();
    let options = ["--audience", AUDIENCE, "--forbid-inheritable"];
    agent.register_with("envoy", &selectors, options).await;

    let envoy = Envoy::start(&agent).await;
    let refused = match stream_through(&envoy).await {
        Ok(mut stream) => next(&mut stream).await.map(drop),
        Err(status) => Err(status),
    };
    let refused = refused.expect_err("a refusal");
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    let mut trail = agent.follow_audit();
    let denied = trail.next_of_kind("denied").await;
    let reason = denied["reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("inheritable-refused"), "{denied}");
}
