use super::Pages;
use crate::{
    canonical,
    identity::testing::{MAX_AGE, StageKeys, documents, register, settings},
    telemetry::IdentityMetrics,
    workloads::testing::Scene,
};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header::ALLOW};
use http_body_util::{BodyExt as _, Full};
use std::sync::Arc;

async fn pages() -> Pages {
    let scene = Scene::new().await;
    register(&scene, "files").await;
    register(&scene, "keyless").await;
    let keys = StageKeys::new();
    keys.set("files", r#"{"keys":[{"kid":"a"}]}"#);
    let documents = documents(&scene, &keys, settings());
    Pages::new(Arc::new(documents), IdentityMetrics::default())
}

fn get(pages: &Pages, uri: &str, header: Option<(&str, &str)>) -> Response<Full<Bytes>> {
    let request = Request::get(uri);
    let request = match header {
        Some((name, value)) => request.header(name, value),
        None => request,
    };
    pages.answer(&request.body(()).unwrap())
}

async fn body(answer: Response<Full<Bytes>>) -> Bytes {
    answer.into_body().collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn a_document_has_a_strong_tag_and_a_bounded_age() {
    let pages = pages().await;
    for path in [
        "/bundle",
        "/.well-known/jwks.json",
        "/.well-known/openid-configuration",
        "/clients/files/client.json",
        "/clients/files/jwks.json",
        // The authority is no matter: names and ports differ behind proxies.
        "https://elsewhere.example:1/bundle",
    ] {
        let answer = get(&pages, path, None);
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "application/json");
        assert_eq!(
            header("cache-control"),
            format!("public, max-age={}", MAX_AGE.as_secs())
        );
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert!(header("content-security-policy").contains("default-src 'none'"));
        assert_eq!(header("referrer-policy"), "no-referrer");
        let tag = header("etag");
        assert_eq!(
            tag,
            format!("\"{}\"", canonical::sha256_hex(&body(answer).await))
        );
    }
}

#[tokio::test]
async fn a_set_without_keys_is_not_kept() {
    let answer = get(&pages().await, "/clients/keyless/jwks.json", None);
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["cache-control"], "no-cache, max-age=0");
    assert_eq!(body(answer).await, r#"{"keys":[]}"#);
}

#[tokio::test]
async fn who_has_a_document_is_told_that_it_is_still_the_same() {
    let pages = pages().await;
    let known = get(&pages, "/bundle", None);
    let tag = known.headers()["etag"].to_str().unwrap().to_owned();
    let weak = format!("\"a\",  W/{tag}");
    let bare = tag.replace('"', "");
    for (asked, status) in [
        (&*tag, 304),
        (&weak, 304),
        ("*", 304),
        ("\"a\"", 200),
        (&bare, 200),
        ("", 200),
        ("\u{ff}", 200),
    ] {
        let answer = get(&pages, "/bundle", Some(("if-none-match", asked)));
        assert_eq!(answer.status(), status, "{asked}");
        assert_eq!(answer.headers()["etag"], *tag);
        assert!(answer.headers().contains_key("cache-control"));
        assert_eq!(body(answer).await.is_empty(), status == 304);
    }
}

#[tokio::test]
async fn everything_else_is_not_found_and_not_kept() {
    let pages = pages().await;
    for path in [
        "/",
        "/bundle?",
        "/bundle?a=b",
        "/clients/files/client.json?x",
        "/clients/keyless/client.json",
        "/clients/nobody/client.json",
        "/clients/nobody/jwks.json",
        "/metrics",
    ] {
        let answer = get(&pages, path, None);
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        assert_eq!(body(answer).await, "not found\n");
    }
}

#[tokio::test]
async fn other_methods_are_refused() {
    let pages = pages().await;
    for method in [
        "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PRI", "get",
    ] {
        let request = Request::builder().method(method).uri("/bundle").body(());
        let answer = pages.answer(&request.unwrap());
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(answer.headers()[ALLOW], "GET, HEAD");
    }
}
