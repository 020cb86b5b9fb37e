//! What the telemetry port answers.

use crate::telemetry::{Metrics, Readiness};
use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE},
};
use http_body_util::Full;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// What the telemetry port tells.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// Told by `/ready`.
    pub readiness: Readiness,
    /// Told by `/metrics`.
    pub metrics: Metrics,
}

impl Telemetry {
    /// The answer to `request`, whose body is not looked at. For HEAD, `hyper`
    /// leaves the answer's body out.
    pub(super) fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut refusal = page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET or HEAD only\n");
            refusal
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
        match request.uri().path() {
            "/live" => page(StatusCode::OK, TEXT, "live\n"),
            "/ready" => self.ready(),
            "/metrics" => self.metrics(),
            _ => page(StatusCode::NOT_FOUND, TEXT, "/live, /ready or /metrics\n"),
        }
    }

    fn ready(&self) -> Response<Full<Bytes>> {
        let reasons = self.readiness.reasons();
        let notes = self.readiness.notes();
        let notes: String = notes.iter().map(|note| format!("note: {note}\n")).collect();
        if reasons.is_empty() {
            return page(StatusCode::OK, TEXT, format!("ready\n{notes}"));
        }
        let text = format!("not ready: {}\n{notes}", reasons.join(", "));
        page(StatusCode::SERVICE_UNAVAILABLE, TEXT, text)
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        match self.metrics.text(self.readiness.is_ready()) {
            Ok(text) => page(StatusCode::OK, OPEN_METRICS, text),
            Err(error) => {
                tracing::error!(%error, "the metrics cannot be formatted");
                page(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "no metrics\n")
            }
        }
    }
}

fn page(
    status: StatusCode,
    content_type: HeaderValue,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::Telemetry;
    use crate::telemetry::{Block, Metrics, Readiness};
    use http::{Request, StatusCode, header::ALLOW};
    use http_body_util::BodyExt as _;

    fn telemetry() -> (Telemetry, Block) {
        let (readiness, block) = Readiness::blocked_by("starting");
        let metrics = Metrics::new("1.2.3");
        (Telemetry { readiness, metrics }, block)
    }

    async fn asked(telemetry: &Telemetry, method: &str, uri: &str) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(uri).body(());
        let answer = telemetry.answer(&request.unwrap());
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn ready_names_what_is_missing() {
        let (telemetry, block) = telemetry();
        let _audit = telemetry.readiness.block("audit");
        assert_eq!(
            asked(&telemetry, "GET", "/ready").await,
            (
                503.try_into().unwrap(),
                "not ready: starting, audit\n".into()
            )
        );
        drop(block);
        drop(_audit);
        assert_eq!(asked(&telemetry, "GET", "/ready").await.0, StatusCode::OK);
        let _note = telemetry.readiness.note("look here");
        let (status, text) = asked(&telemetry, "GET", "/ready").await;
        assert_eq!((status.as_u16(), &*text), (200, "ready\nnote: look here\n"));
    }

    #[tokio::test]
    async fn an_agent_that_is_not_ready_is_live() {
        let (telemetry, _block) = telemetry();
        assert_eq!(
            asked(&telemetry, "GET", "/live?x=1").await.0,
            StatusCode::OK
        );
    }

    #[tokio::test]
    async fn metrics_tell_readiness_and_build() {
        let (telemetry, _block) = telemetry();
        let (status, text) = asked(&telemetry, "GET", "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(
            text.contains("symbolon_build_info{version=\"1.2.3\"} 1\n"),
            "{text}"
        );
        assert!(text.contains("symbolon_ready 0\n"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }

    #[tokio::test]
    async fn other_methods_and_pages_are_refused() {
        let (telemetry, _block) = telemetry();
        assert_eq!(asked(&telemetry, "GET", "/").await.0, StatusCode::NOT_FOUND);
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT"] {
            let request = Request::builder().method(method).uri("/live").body(());
            let answer = telemetry.answer(&request.unwrap());
            assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!(answer.headers()[ALLOW], "GET, HEAD");
        }
    }
}
