//! Where the world finds the agent's documents.

use crate::{registry::ClientName, uri::Uri};
use std::{
    fmt::{self, Display, Formatter},
    str::FromStr,
    sync::Arc,
};

/// Bytes of a public URL: it is in every document several times.
const MOST_BYTES: usize = 256;

/// An https origin with an optional path and no slash at its end; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PublicUrl(Arc<str>);

/// A text that is no public URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a public URL {0}")]
pub struct PublicUrlError(&'static str);

impl PublicUrl {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The URL of a client's document, which is its `client_id`.
    #[must_use]
    pub fn document(&self, name: &ClientName) -> String {
        format!("{self}/clients/{name}/client.json")
    }

    /// The URL of a client's keys.
    #[must_use]
    pub fn keys(&self, name: &ClientName) -> String {
        format!("{self}/clients/{name}/jwks.json")
    }
}

impl FromStr for PublicUrl {
    type Err = PublicUrlError;

    fn from_str(text: &str) -> Result<Self, PublicUrlError> {
        let refused = |rule| Err(PublicUrlError(rule));
        if text.len() > MOST_BYTES {
            return refused("has at most 256 bytes");
        }
        let Ok(uri) = Uri::parse(text) else {
            return refused("is an absolute URL as RFC 3986 writes it");
        };
        if uri.scheme != "https" || uri.host().is_none() {
            return refused("begins with https:// and a host");
        }
        // Compared character by character by others: one way to write it.
        if uri
            .host()
            .is_some_and(|h| h.bytes().any(|b| b.is_ascii_uppercase()))
        {
            return refused("has its host in lower case");
        }
        if uri.authority.and_then(|a| a.port) == Some(443) {
            return refused("leaves out port 443");
        }
        if uri.has_user_info() || uri.query.is_some() || uri.fragment.is_some() {
            return refused("has no user, query or fragment");
        }
        if text.ends_with('/') || uri.path.contains("//") || uri.has_dot_segments() {
            return refused(
                "has a path without empty segments, '.' and '..', and no slash at its end",
            );
        }
        Ok(Self(text.into()))
    }
}

impl Display for PublicUrl {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::PublicUrl;

    #[test]
    fn a_public_url_has_one_way_to_be_written() {
        for good in [
            "https://id.example.org",
            "https://id.example.org:8443",
            "https://example.org/symbolon/a",
            "https://[2001:db8::1]",
        ] {
            assert_eq!(good.parse::<PublicUrl>().unwrap().to_string(), good);
        }
        let long = format!("https://a/{}", "x".repeat(256));
        for bad in [
            "",
            "https://",
            "http://id.example.org",
            "HTTPS://id.example.org",
            "https://Id.example.org",
            "https://id.example.org/",
            "https://id.example.org/a/",
            "https://id.example.org//a",
            "https://id.example.org/a/../b",
            "https://id.example.org/%2e%2e/b",
            "https://id.example.org:443",
            "https://u@id.example.org",
            "https://id.example.org?a",
            "https://id.example.org#a",
            "https://id.example.org/\u{e9}",
            &long,
        ] {
            assert!(bad.parse::<PublicUrl>().is_err(), "{bad}");
        }
    }
}
