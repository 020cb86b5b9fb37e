//! A stock client of each library lives through issuance, renewal and revocation.

use symbolon_tests::{Client, Setup};

async fn lives_through_renewal_and_revocation(client: Client) {
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
    lives_through_renewal_and_revocation(Client::Rust).await;
}

#[tokio::test]
async fn python_spiffe_lives_through_renewal_and_revocation() {
    lives_through_renewal_and_revocation(Client::Python).await;
}

#[tokio::test]
async fn go_spiffe_lives_through_renewal_and_revocation() {
    lives_through_renewal_and_revocation(Client::Go).await;
}

#[tokio::test]
async fn java_spiffe_lives_through_renewal_and_revocation() {
    lives_through_renewal_and_revocation(Client::Java).await;
}

#[tokio::test]
async fn grpc_for_node_lives_through_renewal_and_revocation() {
    lives_through_renewal_and_revocation(Client::Node).await;
}
