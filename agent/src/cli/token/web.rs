//! Requests of one command, and what to say where they fail.

use crate::{
    cli::{
        failure::{Exit, Failure},
        output::printable,
    },
    fetch::{Ask, FetchUrl, Fetched, Fetcher, Limits, Media},
    svid::json,
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, USER_AGENT},
};
use serde_json::{Map, Value};

/// Characters of what a server answered that are shown.
const MAX_SHOWN: usize = 300;

/// Tokens can be long, other answers are documents.
const LIMITS: Limits = Limits {
    media: Media::Any,
    ..Limits::DOCUMENT
};

/// Makes requests.
#[derive(Debug)]
pub(super) struct Web {
    fetcher: Fetcher,
}

/// What of a body may be shown.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shown {
    /// How it begins: it is a document that everybody gets.
    Start,
    /// The members of an OAuth error, and nothing of a success: it may be a token, however it
    /// is written.
    Error,
}

/// An answer, and who gave it at which step.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) step: &'static str,
    pub(super) shown: Shown,
    pub(super) url: FetchUrl,
    pub(super) fetched: Fetched,
}

impl Web {
    pub(super) const fn new(fetcher: Fetcher) -> Self {
        Self { fetcher }
    }

    pub(super) async fn get(&self, step: &'static str, url: &FetchUrl) -> Result<Answer, Failure> {
        let headers = HeaderMap::new();
        let ask = Ask {
            method: Method::GET,
            headers,
            body: Bytes::new(),
        };
        self.send(step, url, ask, Shown::Start).await
    }

    /// Sends a form (RFC 6749, appendix B). The answer is taken for a secret.
    pub(super) async fn post(
        &self,
        step: &'static str,
        url: &FetchUrl,
        mut headers: HeaderMap,
        form: &[(&str, &str)],
    ) -> Result<Answer, Failure> {
        let content_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, content_type);
        let ask = Ask {
            method: Method::POST,
            headers,
            body: encoded(form).into(),
        };
        self.send(step, url, ask, Shown::Error).await
    }

    async fn send(
        &self,
        step: &'static str,
        url: &FetchUrl,
        mut ask: Ask,
        shown: Shown,
    ) -> Result<Answer, Failure> {
        let agent = concat!("symbolon/", env!("CARGO_PKG_VERSION"));
        let accept = HeaderValue::from_static("application/json");
        ask.headers
            .insert(USER_AGENT, HeaderValue::from_static(agent));
        ask.headers.insert(ACCEPT, accept);
        let fetched = Box::pin(self.fetcher.send(url, ask, LIMITS)).await;
        let fetched = fetched.map_err(|error| failed(step, url.as_str(), &error.to_string()))?;
        Ok(Answer {
            step,
            shown,
            url: url.clone(),
            fetched,
        })
    }
}

impl Answer {
    pub(super) fn is_ok(&self) -> bool {
        self.fetched.status == StatusCode::OK
    }

    /// The JSON object that it is.
    pub(super) fn object(&self) -> Result<Map<String, Value>, Failure> {
        json::object(&self.fetched.body)
            .map_err(|_error| self.refuse("which is not one JSON object with distinct names"))
    }

    /// A failure of this step, with what may be shown of the answer.
    pub(super) fn refuse(&self, why: &str) -> Failure {
        let status = self.fetched.status;
        let said = self.said();
        failed(
            self.step,
            self.url.as_str(),
            &format!("answered {status}{said}, {why}"),
        )
    }

    /// A failure of this step about what the answer says.
    pub(super) fn wrong(&self, why: &str) -> Failure {
        failed(self.step, self.url.as_str(), why)
    }

    /// OAuth errors by their members (RFC 6749, section 5.2), others by how they begin, if they
    /// cannot be a token.
    fn said(&self) -> String {
        if matches!(self.shown, Shown::Error) && self.fetched.status.is_success() {
            return String::new();
        }
        let object = json::object(&self.fetched.body).unwrap_or_default();
        let text = |name: &str| object.get(name).and_then(Value::as_str);
        let said = match (text("error"), text("error_description"), self.shown) {
            (Some(error), Some(why), _) => format!("{error}: {why}"),
            (Some(error), None, _) => error.to_owned(),
            (None, _, Shown::Error) => String::new(),
            (None, _, Shown::Start) => String::from_utf8_lossy(&self.fetched.body).into_owned(),
        };
        let bounded: String = said.trim().chars().take(MAX_SHOWN).collect();
        let shown = printable(&bounded);
        if shown.is_empty() {
            return shown;
        }
        format!(" ({shown})")
    }
}

/// A failure at `step`.
pub(super) fn failed(step: &str, url: &str, why: &str) -> Failure {
    Failure::new(Exit::Failed, format!("{step}: {url}: {why}"))
}

fn encoded(form: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in form {
        if !text.is_empty() {
            text.push('&');
        }
        encode(name, &mut text);
        text.push('=');
        encode(value, &mut text);
    }
    text
}

fn encode(part: &str, to: &mut String) {
    for byte in part.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                to.push(char::from(byte));
            }
            byte => to.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn forms_are_encoded() {
        let form = [("a", "b c"), ("resource", "https://x/?a=b&c#\u{e9}+")];
        let text = "a=b%20c&resource=https%3A%2F%2Fx%2F%3Fa%3Db%26c%23%C3%A9%2B";
        assert_eq!(encoded(&form), text);
    }
}
