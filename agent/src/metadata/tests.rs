//! The documents, byte by byte, and when there is none.

use super::{PublicUrl, client_id, document};
use crate::{
    registry::{ClientDraft, ClientName, MetadataDraft},
    workloads::testing::{Scene, draft, name},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

fn public() -> PublicUrl {
    "https://id.example.org".parse().unwrap()
}

fn metadata() -> MetadataDraft {
    MetadataDraft {
        client_name: "Web search".into(),
        redirect_uris: vec![
            "https://id.example.org/search/cb".into(),
            "https://id.example.org/admin/cb".into(),
        ],
        grant_types: vec!["client_credentials".into(), "authorization_code".into()],
        response_types: vec!["code".into()],
        scope: "tools:read tools:call".into(),
        contacts: vec!["search@example.org".into()],
        client_uri: "https://example.org/search".into(),
        software_id: "search".into(),
        application_type: "web".into(),
        other: r#"{"zone": {"tier": [1, true]}, "dpop_bound_access_tokens": true}"#.into(),
        ..MetadataDraft::default()
    }
}

fn with(metadata: MetadataDraft) -> ClientDraft {
    ClientDraft {
        metadata: Some(metadata),
        audiences: vec!["https://mcp.example.org".into()],
        ..draft()
    }
}

#[tokio::test]
async fn a_document_has_its_golden_form() {
    let scene = Scene::new().await;
    let client = scene.register_as("search", with(metadata())).await;
    let bytes = document(&client, &public()).unwrap();
    let golden = include_str!("golden/document.json").trim_end();
    assert_eq!(std::str::from_utf8(&bytes).unwrap(), golden);
    let id = client_id(&client, Some(&public())).unwrap();
    let value: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(value["client_id"], json!(id));
}

#[tokio::test]
async fn the_version_in_force_is_told_and_no_other() {
    let scene = Scene::requiring(1).await;
    let client = scene.register_as("search", with(metadata())).await;
    assert!(!client.has_version_in_force());
    assert_eq!(document(&client, &public()), None);

    let scene = Scene::new().await;
    scene.register_as("search", with(metadata())).await;
    let renamed = MetadataDraft {
        client_name: "Another".into(),
        ..metadata()
    };
    scene.update("search", with(renamed)).await;
    let snapshot = scene.registry.snapshot();
    let client = snapshot.client(&name("search")).unwrap();
    let bytes = document(client, &public()).unwrap();
    let value: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(value["client_name"], "Another");
    assert_eq!(value["software_version"], "2");
}

#[tokio::test]
async fn public_clients_have_no_keys_and_others_documents_are_not_ours() {
    let scene = Scene::new().await;
    let open = MetadataDraft {
        token_endpoint_auth_method: "none".into(),
        ..metadata()
    };
    let client = scene.register_as("open", with(open)).await;
    let bytes = document(&client, &public()).unwrap();
    let value: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(value["token_endpoint_auth_method"], "none");
    assert_eq!(value.get("jwks_uri"), None);
    assert_eq!(value.get("token_endpoint_auth_signing_alg"), None);

    let theirs = MetadataDraft {
        hosting: "external".into(),
        client_id: "https://app.example.net/client.json".into(),
        document_digest: "ab".repeat(32),
        ..metadata()
    };
    let client = scene.register_as("theirs", with(theirs)).await;
    assert_eq!(document(&client, &public()), None);
    let id = Some("https://app.example.net/client.json".to_owned());
    assert_eq!(client_id(&client, None), id);
    assert_eq!(client_id(&client, Some(&public())), id);

    let plain = scene.register_as("plain", draft()).await;
    assert_eq!(document(&plain, &public()), None);
    assert_eq!(client_id(&plain, Some(&public())), None);
}

#[tokio::test]
async fn jwt_svids_name_the_client_by_its_document() {
    let scene = Scene::new().await;
    scene.register_as("search", with(metadata())).await;
    let audience = ["https://mcp.example.org".to_owned()];
    let caller = scene.own();
    let svids = scene.workloads.jwt(&caller, &audience, None).await.unwrap();
    let claims = |token: &str| -> Value {
        let body = token.split('.').nth(1).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).unwrap()).unwrap()
    };
    let claims = claims(svids[0].token.expose());
    let expected = "https://id.example.org/clients/search/client.json";
    assert_eq!(claims["client_id"], expected);
    assert_eq!(claims["sub"], "spiffe://example.org/mcp/client/search");
}

#[test]
fn every_name_of_a_client_is_a_path_of_its_own() {
    for text in ["a", "web-search", "a.b_c", "9.", &"x".repeat(63)] {
        let name: ClientName = text.parse().unwrap();
        let url = public().document(&name);
        assert_eq!(
            url,
            format!("https://id.example.org/clients/{text}/client.json")
        );
        let uri = crate::uri::Uri::parse(&url).unwrap();
        assert!(!uri.has_dot_segments());
    }
}
