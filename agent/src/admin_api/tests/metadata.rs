//! Client metadata over the calls that operators make.

use super::{api, registration, request};
use crate::workloads::testing::{Scene, name};
use prost::Message as _;
use symbolon_proto::admin::{
    ClientMetadata, GetClientRequest, ListClientsRequest, RegisterClientRequest,
    UpdateClientRequest, WeakRegistration, admin_server::Admin as _,
};
use tonic::{Code, Status};

fn metadata() -> ClientMetadata {
    ClientMetadata {
        client_name: "Web search".into(),
        redirect_uris: vec!["https://id.example.org/cb".into()],
        ..ClientMetadata::default()
    }
}

fn with(client: &str, metadata: ClientMetadata) -> RegisterClientRequest {
    let mut request = registration(client);
    request.spec.as_mut().unwrap().metadata = Some(metadata);
    request
}

fn found(refused: &Status) -> Vec<(String, String)> {
    let details = WeakRegistration::decode(refused.details()).unwrap();
    let findings = details.findings.into_iter();
    let wrong = findings.filter(|finding| !finding.pointer.is_empty());
    wrong.map(|finding| (finding.id, finding.pointer)).collect()
}

fn finding(id: &str, pointer: &str) -> (String, String) {
    (id.to_owned(), pointer.to_owned())
}

#[tokio::test]
async fn a_client_is_shown_with_its_id_and_its_document() {
    let scene = Scene::new().await;
    let api = api(&scene);
    let registered = api.register_client(request(&scene, with("web", metadata())));
    let client = registered.await.unwrap().into_inner();
    let id = "https://id.example.org/clients/web/client.json";
    assert_eq!(client.client_id, id);
    let spec = client.spec.unwrap();
    let metadata = spec.metadata.unwrap();
    assert_eq!(metadata.hosting, "governed");
    assert_eq!(metadata.token_endpoint_auth_method, "private_key_jwt");

    let asked = GetClientRequest { name: "web".into() };
    let shown = api.get_client(request(&scene, asked)).await.unwrap();
    let document: serde_json::Value = serde_json::from_str(&shown.into_inner().document).unwrap();
    assert_eq!(document["client_id"], id);
    // Lists of a thousand do without.
    let listed = api.list_clients(request(&scene, ListClientsRequest::default()));
    let listed = listed.await.unwrap().into_inner();
    assert_eq!(listed.clients[0].client_id, id);
    assert_eq!(listed.clients[0].document, "");
}

#[tokio::test]
async fn no_reason_outweighs_a_standard() {
    let scene = Scene::new().await;
    let api = api(&scene);
    let wrong = ClientMetadata {
        client_name: String::new(),
        redirect_uris: vec!["https://id.example.org/*".into(), "/cb".into()],
        token_endpoint_auth_method: "client_secret_basic".into(),
        ..metadata()
    };
    let request = request(&scene, with("web", wrong));
    assert_eq!(request.get_ref().accept_weak, "a test");
    let refused = api.register_client(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let message = refused.message();
    assert!(message.contains("no reason outweighs"), "{message}");
    let found = found(&refused);
    for expected in [
        finding("client-name-missing", "/client_name"),
        finding("redirect-uri-wildcard", "/redirect_uris/0"),
        finding("redirect-uri-malformed", "/redirect_uris/1"),
        finding("symmetric-method", "/token_endpoint_auth_method"),
    ] {
        assert!(found.contains(&expected), "{expected:?}: {found:?}");
    }
    assert_eq!(scene.registry.snapshot().len(), 0);
}

#[tokio::test]
async fn what_was_accepted_of_one_document_is_not_accepted_of_another() {
    let scene = Scene::new().await;
    let api = api(&scene);
    let away = |host: &str| ClientMetadata {
        redirect_uris: vec![format!("https://{host}/cb")],
        ..metadata()
    };
    let registered = api.register_client(request(&scene, with("web", away("a.example"))));
    registered.await.unwrap();
    let update = |metadata: ClientMetadata, purpose: &str, accept_weak: &str| {
        let mut spec = with("web", metadata).spec.unwrap();
        spec.purpose = purpose.into();
        let message = UpdateClientRequest {
            name: "web".into(),
            spec: Some(spec),
            accept_weak: accept_weak.into(),
            ..UpdateClientRequest::default()
        };
        api.update_client(request(&scene, message))
    };
    // The same document, and something else changes: what was accepted holds.
    update(away("a.example"), "another", "").await.unwrap();
    let refused = update(away("evil.example"), "another", "").await;
    let refused = refused.unwrap_err();
    assert_eq!(
        found(&refused),
        [finding("redirect-uri-origin", "/redirect_uris/0")]
    );
    update(away("evil.example"), "another", "it is ours")
        .await
        .unwrap();
    let snapshot = scene.registry.snapshot();
    let client = snapshot.client(&name("web")).unwrap();
    assert_eq!(client.version().number, 3);
    let accepted = client.spec().accepted_weaknesses().unwrap();
    assert!(accepted.covers("redirect-uri-origin"));
}

#[tokio::test]
async fn two_clients_are_not_sent_to_the_same_place() {
    let scene = Scene::new().await;
    let api = api(&scene);
    let first = api.register_client(request(&scene, with("first", metadata())));
    first.await.unwrap();
    let mut second = with("second", metadata());
    second.accept_weak.clear();
    let refused = api.register_client(request(&scene, second)).await;
    let found = found(&refused.unwrap_err());
    assert_eq!(found, [finding("redirect-uri-shared", "/redirect_uris/0")]);
}
