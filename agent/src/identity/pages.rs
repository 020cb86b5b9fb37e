//! What the identity port answers.

use super::{Document, Documents};
use crate::telemetry::IdentityMetrics;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
        REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    },
};
use http_body_util::Full;
use std::sync::Arc;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Answers requests with documents.
#[derive(Clone, Debug)]
pub struct Pages {
    documents: Arc<Documents>,
    metrics: IdentityMetrics,
}

impl Pages {
    /// Pages of these documents.
    #[must_use]
    pub const fn new(documents: Arc<Documents>, metrics: IdentityMetrics) -> Self {
        Self { documents, metrics }
    }

    /// The answer to `request`, of which the path and `If-None-Match` are looked at. For HEAD, `hyper`
    /// leaves the answer's body out.
    #[must_use]
    pub fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let (kind, answer) = self.find(request);
        let code = match answer.status() {
            StatusCode::OK => "200",
            StatusCode::NOT_MODIFIED => "304",
            StatusCode::METHOD_NOT_ALLOWED => "405",
            _ => "404",
        };
        self.metrics.count(kind, code);
        answer
    }

    fn find<B>(&self, request: &Request<B>) -> (&'static str, Response<Full<Bytes>>) {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut refusal = refusal(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD only\n");
            let allowed = HeaderValue::from_static("GET, HEAD");
            refusal.headers_mut().insert(ALLOW, allowed);
            return ("none", refusal);
        }
        let uri = request.uri();
        // A document has one URL: with a query, caches would keep many copies of it.
        let page = match uri.query() {
            None => self.documents.page_at(uri.path()),
            Some(_) => None,
        };
        let found = page.and_then(|page| Some((page.kind(), self.documents.find(&page)?)));
        match found {
            Some((kind, document)) => (kind, of(document, request.headers())),
            None => ("none", refusal(StatusCode::NOT_FOUND, "not found\n")),
        }
    }
}

fn of(document: Document, asked: &HeaderMap) -> Response<Full<Bytes>> {
    let is_known = matches_any(asked, &document.digest);
    let (status, body) = if is_known {
        (StatusCode::NOT_MODIFIED, Bytes::new())
    } else {
        (StatusCode::OK, document.body)
    };
    let mut response = page(status, body);
    let headers = response.headers_mut();
    if !is_known {
        headers.insert(CONTENT_TYPE, JSON);
    }
    let kept = match document.max_age.as_secs() {
        0 => "no-cache, max-age=0".to_owned(),
        seconds => format!("public, max-age={seconds}"),
    };
    let tag = format!("\"{}\"", document.digest);
    for (name, value) in [(CACHE_CONTROL, kept), (ETAG, tag)] {
        // Digits and hexadecimal digits are always a value.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    response
}

/// `If-None-Match` (RFC 9110, section 13.1.2): by weak comparison, as it says.
fn matches_any(asked: &HeaderMap, digest: &str) -> bool {
    let lists = asked.get_all(IF_NONE_MATCH).iter();
    let mut tags = lists
        .filter_map(|list| list.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(str::trim);
    tags.any(|tag| {
        let opaque = tag.strip_prefix("W/").unwrap_or(tag);
        let opaque = opaque
            .strip_prefix('"')
            .and_then(|tag| tag.strip_suffix('"'));
        tag == "*" || opaque == Some(digest)
    })
}

fn refusal(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = page(status, Bytes::from_static(text.as_bytes()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, TEXT);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What every answer has. Nothing here is for browsers: they are told to run, frame and guess nothing.
/// No `Strict-Transport-Security`, which would speak for other ports of the host.
fn page(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; sandbox");
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests;
