//! URIs, taken apart as RFC 3986 writes them and never rewritten.
//!
//! Client IDs, issuers and redirect URIs are compared character by character
//! (Client ID Metadata Document, section 3; RFC 8414, section 3.3; RFC 9700,
//! section 4.1.3). A parser that repairs, lower-cases or percent-decodes would show
//! another URI than the one that is compared, so this one only finds the parts
//! and refuses what is none: characters outside of ASCII and of the grammar, half
//! escapes, ports beyond 65535, addresses in brackets that are none. Bounded by
//! its callers. It resolves nothing and knows no references that are relative.

mod hosts;

pub use hosts::{HostPattern, HostPatternError};

use std::{
    fmt::{self, Display, Formatter},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// An absolute URI, in parts of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uri<'a> {
    /// Before the first colon.
    pub scheme: &'a str,
    /// Behind `//`; `None` where there is none, as in `com.example.app:/callback`.
    pub authority: Option<Authority<'a>>,
    /// Behind the authority; may be empty.
    pub path: &'a str,
    /// Behind `?`.
    pub query: Option<&'a str>,
    /// Behind `#`.
    pub fragment: Option<&'a str>,
}

/// Who a URI leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// Before `@`.
    pub user_info: Option<&'a str>,
    /// As it is written; an IPv6 address with its brackets.
    pub host: &'a str,
    /// As a number; `None` where none is written.
    pub port: Option<u16>,
}

/// A text that is no absolute URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not an absolute URI as RFC 3986 writes it")]
pub struct UriError;

/// Scheme, host and port: what browsers call an origin (RFC 6454, section 4).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(String);

impl<'a> Uri<'a> {
    /// The parts of `text`.
    ///
    /// # Errors
    /// Where it is no absolute URI.
    pub fn parse(text: &'a str) -> Result<Self, UriError> {
        let (scheme, rest) = text.split_once(':').ok_or(UriError)?;
        if !is_scheme(scheme) || !is_written_well(rest) {
            return Err(UriError);
        }
        let (rest, fragment) = cut(rest, '#');
        let (rest, query) = cut(rest, '?');
        if fragment.is_some_and(|fragment| fragment.contains('#')) {
            return Err(UriError);
        }
        let (authority, path) = match rest.strip_prefix("//") {
            None => (None, rest),
            Some(rest) => {
                let end = rest.find('/').unwrap_or(rest.len());
                let (authority, path) = rest.split_at_checked(end).ok_or(UriError)?;
                (Some(Authority::parse(authority)?), path)
            }
        };
        let brackets = [Some(path), query, fragment];
        if brackets.into_iter().flatten().any(has_brackets) {
            return Err(UriError);
        }
        Ok(Self {
            scheme,
            authority,
            path,
            query,
            fragment,
        })
    }

    /// Whether the scheme is this one; schemes have no case (RFC 3986, section 3.1).
    #[must_use]
    pub const fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    /// The host, where there is one that is not empty.
    #[must_use]
    pub fn host(&self) -> Option<&'a str> {
        let host = self.authority?.host;
        (!host.is_empty()).then_some(host)
    }

    /// Whether the authority names a user.
    #[must_use]
    pub fn has_user_info(&self) -> bool {
        self.authority
            .is_some_and(|authority| authority.user_info.is_some())
    }

    /// Whether a segment of the path is `.` or `..`, also written with `%2e`.
    #[must_use]
    pub fn has_dot_segments(&self) -> bool {
        self.path.split('/').any(|segment| {
            let plain = segment.to_ascii_lowercase().replace("%2e", ".");
            plain == "." || plain == ".."
        })
    }

    /// Whether the host is this machine: an address of loopback, or `localhost`.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let Some(host) = self.host() else {
            return false;
        };
        match address(host) {
            Some(address) => address.is_loopback(),
            None => host.eq_ignore_ascii_case("localhost"),
        }
    }

    /// The origin; `None` without a host.
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        let host = self.host()?.to_ascii_lowercase();
        let scheme = self.scheme.to_ascii_lowercase();
        let usual = match scheme.as_str() {
            "https" => Some(443),
            "http" => Some(80),
            _ => None,
        };
        let port = self.authority?.port.filter(|port| Some(*port) != usual);
        Some(Origin(match port {
            None => format!("{scheme}://{host}"),
            Some(port) => format!("{scheme}://{host}:{port}"),
        }))
    }
}

impl<'a> Authority<'a> {
    fn parse(text: &'a str) -> Result<Self, UriError> {
        let (user_info, rest) = match text.rsplit_once('@') {
            None => (None, text),
            Some((user_info, rest)) => (Some(user_info), rest),
        };
        if user_info.is_some_and(|user| user.contains('@') || has_brackets(user)) {
            return Err(UriError);
        }
        let (host, port) = host_and_port(rest)?;
        if host.starts_with('[') && address(host).is_none() {
            return Err(UriError);
        }
        if user_info.is_none() && host.is_empty() && port.is_some() {
            return Err(UriError);
        }
        if !host.starts_with('[') && has_brackets(host) {
            return Err(UriError);
        }
        Ok(Self {
            user_info,
            host,
            port: port.map(port_of).transpose()?,
        })
    }
}

impl Origin {
    /// The text, in lower case and without a scheme's usual port.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for Origin {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A host, an IPv6 address with its brackets, and what stands behind its colon.
pub(crate) fn host_and_port(text: &str) -> Result<(&str, Option<&str>), UriError> {
    let Some(inner) = text.strip_prefix('[') else {
        return Ok(cut(text, ':'));
    };
    let (inside, behind) = inner.split_once(']').ok_or(UriError)?;
    let host = text.get(..inside.len() + 2).ok_or(UriError)?;
    match behind.strip_prefix(':') {
        Some(port) => Ok((host, Some(port))),
        None if behind.is_empty() => Ok((host, None)),
        None => Err(UriError),
    }
}

/// The address that a host is written as; `None` for a name.
#[must_use]
pub fn address(host: &str) -> Option<IpAddr> {
    let inside = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    match inside {
        Some(inside) => inside.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

fn cut(text: &str, at: char) -> (&str, Option<&str>) {
    match text.split_once(at) {
        None => (text, None),
        Some((before, behind)) => (before, Some(behind)),
    }
}

fn is_scheme(text: &str) -> bool {
    let ok = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.bytes().all(ok)
}

/// Whether all of it is of RFC 3986's characters, and every `%` begins an escape.
pub(crate) fn is_written_well(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let ok = match byte {
            b'%' => {
                let digits = (bytes.next(), bytes.next());
                matches!(digits, (Some(a), Some(b)) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
            }
            _ => byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=".contains(&byte),
        };
        if !ok {
            return false;
        }
    }
    true
}

pub(crate) fn has_brackets(text: &str) -> bool {
    text.contains(['[', ']'])
}

/// A port in digits, without zeros before it: who reads `:0443` and who does not would differ.
pub(crate) fn port_of(text: &str) -> Result<u16, UriError> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    match text.parse() {
        Ok(port) if plain => Ok(port),
        _ => Err(UriError),
    }
}

#[cfg(test)]
mod tests {
    use super::Uri;

    #[test]
    fn the_parts_are_found() {
        let uri = Uri::parse("https://u:p@[::1]:8443/a/b?c=d#e").unwrap();
        let authority = uri.authority.unwrap();
        assert_eq!(authority.user_info, Some("u:p"));
        assert_eq!((authority.host, authority.port), ("[::1]", Some(8443)));
        assert_eq!((uri.path, uri.query), ("/a/b", Some("c=d")));
        assert_eq!(uri.fragment, Some("e"));
        let app = Uri::parse("com.example.app:/callback").unwrap();
        assert_eq!((app.authority, app.path), (None, "/callback"));
        assert_eq!(app.origin(), None);
    }

    #[test]
    fn what_is_no_uri_is_refused() {
        for text in [
            "",
            "a",
            "/a",
            "1http://a",
            "https://a b",
            "https://a\\b",
            "https://a/\u{e9}",
            "https://a/%",
            "https://a/%2",
            "https://a/%zz",
            "https://a:/",
            "https://a:0443/",
            "https://a:65536/",
            "https://a:1a/",
            "https://[::1/",
            "https://[::1]x/",
            "https://[127.0.0.1]/",
            "https://::1/",
            "https://a@b@c/",
            "https://a/[b]",
            "https://a/#b#c",
            "https://:443/",
            "https://a/\n",
        ] {
            assert!(Uri::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn dot_segments_are_seen_however_they_are_written() {
        for path in ["/.", "/a/..", "/%2e", "/a/%2E%2e/b", "/.%2e/"] {
            let text = format!("https://a{path}");
            assert!(Uri::parse(&text).unwrap().has_dot_segments(), "{path}");
        }
        for path in ["/a.b", "/...", "/.a", "/%252e"] {
            let text = format!("https://a{path}");
            assert!(!Uri::parse(&text).unwrap().has_dot_segments(), "{path}");
        }
    }

    #[test]
    fn loopback_and_origins() {
        for (text, loopback) in [
            ("http://127.0.0.1:3000/cb", true),
            ("http://127.9.9.9/cb", true),
            ("http://[::1]/cb", true),
            ("http://LOCALHOST/cb", true),
            ("http://localhost.example/cb", false),
            ("http://127.0.0.1.example/cb", false),
            ("http://10.0.0.1/", false),
            ("http:/cb", false),
        ] {
            assert_eq!(Uri::parse(text).unwrap().is_loopback(), loopback, "{text}");
        }
        let origin = |text| Uri::parse(text).unwrap().origin().unwrap().to_string();
        assert_eq!(origin("HTTPS://A.example:443/x"), "https://a.example");
        assert_eq!(origin("https://a.example:8443"), "https://a.example:8443");
        assert_eq!(origin("http://a.example:443/"), "http://a.example:443");
    }
}
