use super::{Document, Documents, Page, Settings};
use crate::{
    canonical,
    identity::testing::{
        MAX_AGE, StageKeys, documents, external, governed, register, settings, url,
    },
    registry::{ClientDraft, MetadataDraft},
    workloads::testing::{Scene, draft, name},
};
use serde_json::Value;
use std::time::Duration;

const SOME_KEYS: &str = r#"{"keys":[{"kid":"a"}]}"#;

fn json(document: &Document) -> Value {
    serde_json::from_slice(&document.body).unwrap()
}

fn found(documents: &Documents, path: &str) -> Option<Document> {
    documents.find(&documents.page_at(path)?)
}

#[test]
fn only_the_pages_themselves_are_pages() {
    let longest = format!("/clients/{}/jwks.json", "a".repeat(63));
    for path in [
        "/.well-known/openid-configuration",
        "/.well-known/jwks.json",
        "/bundle",
        "/clients/files/client.json",
        "/clients/a..b/jwks.json",
        &longest,
    ] {
        assert_eq!(Page::at(path).unwrap().to_string(), path);
    }
    let too_long = format!("/clients/{}/jwks.json", "a".repeat(64));
    for path in [
        "",
        "/",
        "*",
        "//bundle",
        "/bundle/",
        "/bundle/..",
        "/./bundle",
        "/Bundle",
        "/%62undle",
        "/bundle%00",
        "/bundle;a",
        "/.well-known/",
        "/.well-known/openid-configuration/",
        "/.well-known/../bundle",
        "/clients",
        "/clients/",
        "/clients//client.json",
        "/clients/./client.json",
        "/clients/../client.json",
        "/clients/%2e%2e/client.json",
        "/clients/../../etc/passwd",
        "/clients/a/b/client.json",
        "/clients/a\\b/client.json",
        "/clients/files/client.json/client.json",
        "/clients/files/jwks.json/client.json",
        "/clients/Files/client.json",
        "/clients/files/client.JSON",
        "/clients/files/client.json ",
        "/clients/files%2fclient.json",
        "/clients/f\u{ef}les/client.json",
        "/clients/files\0/client.json",
        "/clients/jwks.json",
        "clients/files/jwks.json",
        &too_long,
    ] {
        assert_eq!(Page::at(path), None, "{path:?}");
    }
}

#[tokio::test]
async fn discovery_has_what_the_standard_demands() {
    let scene = Scene::new().await;
    let documents = documents(&scene, &StageKeys::new(), settings());
    let discovery = found(&documents, "/.well-known/openid-configuration").unwrap();
    assert_eq!(
        str::from_utf8(&discovery.body).unwrap(),
        "{\"authorization_endpoint\":\"https://id.example.org/authorize\",\
         \"id_token_signing_alg_values_supported\":[\"ES256\"],\
         \"issuer\":\"https://id.example.org\",\
         \"jwks_uri\":\"https://id.example.org/.well-known/jwks.json\",\
         \"response_types_supported\":[\"id_token\"],\"subject_types_supported\":[\"public\"]}"
    );
    assert_eq!(discovery.digest, canonical::sha256_hex(&discovery.body));
    assert_eq!(discovery.max_age, MAX_AGE);
}

#[tokio::test]
async fn the_key_set_has_jwt_authorities_alone_and_the_bundle_all() {
    let scene = Scene::new().await;
    let documents = documents(&scene, &StageKeys::new(), settings());
    let keys = json(&found(&documents, "/.well-known/jwks.json").unwrap());
    let keys = keys["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0]["use"], "sig");
    assert_eq!(keys[0]["alg"], "ES256");
    assert_eq!(keys[0].get("d"), None);
    let bundle = json(&found(&documents, "/bundle").unwrap());
    let uses = bundle["keys"].as_array().unwrap().iter();
    let uses: Vec<_> = uses.map(|key| key["use"].as_str().unwrap()).collect();
    assert_eq!(uses, ["x509-svid", "jwt-svid", "wit-svid"]);

    scene.authority.publish_other_jwt_keys();
    let other = json(&found(&documents, "/.well-known/jwks.json").unwrap());
    assert_ne!(other["keys"][0]["kid"], keys[0]["kid"]);
}

#[tokio::test]
async fn the_bundle_is_kept_no_longer_than_its_hint() {
    let scene = Scene::new().await;
    let settings = Settings {
        cache_max_age: Duration::from_secs(86_400),
        ..settings()
    };
    let documents = documents(&scene, &StageKeys::new(), settings);
    let age = |path: &str| found(&documents, path).unwrap().max_age.as_secs();
    assert_eq!(age("/bundle"), 300);
    assert_eq!(age("/.well-known/jwks.json"), 86_400);
}

#[tokio::test]
async fn pages_lie_below_the_path_of_the_public_url() {
    let scene = Scene::new().await;
    let settings = Settings {
        public_url: Some(url("https://example.org/id/a")),
        issuer: None,
        ..settings()
    };
    let documents = documents(&scene, &StageKeys::new(), settings);
    assert!(found(&documents, "/id/a/bundle").is_some());
    for path in ["/bundle", "/id/abundle", "/id/bundle", "/id/a//bundle"] {
        assert_eq!(found(&documents, path), None, "{path}");
    }
    // There is no issuer.
    let discovery = "/id/a/.well-known/openid-configuration";
    assert_eq!(found(&documents, discovery), None);
}

#[tokio::test]
async fn a_client_has_pages_while_it_is_active_and_no_keys_afterwards() {
    const DOCUMENT: &str = "/clients/files/client.json";
    const KEYS: &str = "/clients/files/jwks.json";
    let (scene, keys) = (Scene::new().await, StageKeys::new());
    let documents = documents(&scene, &keys, settings());
    assert_eq!(found(&documents, DOCUMENT), None);
    assert_eq!(found(&documents, KEYS), None);

    register(&scene, "files").await;
    // A document without keys behind it would be learnt, and its empty set.
    let published = || found(&documents, KEYS).map(|it| it.body);
    let max_age = || found(&documents, KEYS).map(|it| it.max_age);
    for empty in [None, Some(r#"{"keys":[]}"#)] {
        if let Some(empty) = empty {
            keys.set("files", empty);
        }
        assert_eq!(found(&documents, DOCUMENT), None);
        assert_eq!(published().unwrap(), r#"{"keys":[]}"#);
        assert_eq!(max_age(), Some(Duration::ZERO));
    }
    keys.set("files", SOME_KEYS);
    assert_eq!(published().unwrap(), SOME_KEYS);
    assert_eq!(max_age(), Some(MAX_AGE));
    let document = json(&found(&documents, DOCUMENT).unwrap());
    assert_eq!(
        document["client_id"],
        format!("https://id.example.org{DOCUMENT}")
    );
    assert_eq!(
        document["jwks_uri"],
        format!("https://id.example.org{KEYS}")
    );

    // Whoever holds the keys need not have noticed yet.
    scene.suspend("files").await;
    assert_eq!(found(&documents, DOCUMENT), None);
    assert_eq!(published().unwrap(), r#"{"keys":[]}"#);
    assert_eq!(max_age(), Some(Duration::ZERO));
    scene.resume("files").await;
    assert!(found(&documents, DOCUMENT).is_some());
    assert_eq!(published().unwrap(), SOME_KEYS);

    let revoked = scene.registry.revoke(
        name("files"),
        "uid:0".parse().unwrap(),
        "a test".parse().unwrap(),
    );
    revoked.await.unwrap();
    assert_eq!(found(&documents, DOCUMENT), None);
    assert_eq!(published().unwrap(), r#"{"keys":[]}"#);
}

#[tokio::test]
async fn an_expired_client_has_neither_document_nor_keys() {
    let (scene, keys) = (Scene::new().await, StageKeys::new());
    let documents = documents(&scene, &keys, settings());
    keys.set("files", SOME_KEYS);
    let expires_at = Some(crate::clock::Clock::now(&*scene.clock) + Duration::from_secs(60));
    let draft = ClientDraft {
        expires_at,
        ..governed()
    };
    scene.register_as("files", draft).await;
    assert!(found(&documents, "/clients/files/client.json").is_some());
    scene.clock.advance(Duration::from_secs(60));
    assert_eq!(found(&documents, "/clients/files/client.json"), None);
    let keys = found(&documents, "/clients/files/jwks.json").unwrap();
    assert_eq!(keys.body, r#"{"keys":[]}"#);
}

#[tokio::test]
async fn what_is_not_approved_or_not_ours_is_not_published() {
    let (scene, keys) = (Scene::requiring(1).await, StageKeys::new());
    keys.set("files", SOME_KEYS);
    let documents = documents(&scene, &keys, settings());
    register(&scene, "files").await;
    assert_eq!(found(&documents, "/clients/files/client.json"), None);
    assert_eq!(found(&documents, "/clients/files/jwks.json"), None);
}

#[tokio::test]
async fn clients_without_a_document_of_ours_have_no_pages() {
    let (scene, keys) = (Scene::new().await, StageKeys::new());
    for client in ["plain", "external", "public", "files"] {
        keys.set(client, SOME_KEYS);
    }
    scene.register_as("plain", draft()).await;
    let public = MetadataDraft {
        client_name: "Public".to_owned(),
        token_endpoint_auth_method: "none".to_owned(),
        ..MetadataDraft::default()
    };
    let public = ClientDraft {
        metadata: Some(public),
        ..draft()
    };
    scene.register_as("public", public).await;
    register(&scene, "files").await;
    let documents = documents(&scene, &keys, settings());
    for path in ["/clients/plain/client.json", "/clients/plain/jwks.json"] {
        assert_eq!(found(&documents, path), None, "{path}");
    }
    assert!(found(&documents, "/clients/public/client.json").is_some());
    // It has no keys to be known by.
    assert_eq!(found(&documents, "/clients/public/jwks.json"), None);
    // The document that others host may point to the keys here.
    let client = scene.register_as("external", external()).await;
    assert!(documents.has_pages(&client));
    assert_eq!(found(&documents, "/clients/external/client.json"), None);
    let keys_of_external = found(&documents, "/clients/external/jwks.json").unwrap();
    assert_eq!(keys_of_external.body, SOME_KEYS);

    let settings = Settings {
        public_url: None,
        ..settings()
    };
    let documents = super::super::testing::documents(&scene, &keys, settings);
    for path in ["/clients/files/client.json", "/clients/files/jwks.json"] {
        assert_eq!(found(&documents, path), None, "{path}");
    }
}
