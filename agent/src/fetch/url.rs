//! URLs that are fetched.

use crate::uri;
use std::{fmt, net::IpAddr, str::FromStr};

/// Long enough for every URL that people register; short enough for logs.
const MAX_BYTES: usize = 2_048;
/// RFC 1035, section 2.3.4.
const MAX_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

/// An absolute `https` URL without user information and fragment.
///
/// It is kept as it was written: client IDs and issuers are compared as strings. What cannot be
/// in a URL (RFC 3986, appendix A) is refused and not repaired, so that nobody can read it in
/// another way than this.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FetchUrl {
    text: String,
    host: Host,
    port: u16,
    is_plain: bool,
    /// Where the authority starts, and where the path does.
    authority: (usize, usize),
}

/// Who serves it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A DNS name, in lower case.
    Name(String),
    /// An address.
    Address(IpAddr),
}

/// Why a text is no such URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Longer than any URL that is fetched.
    #[error("longer than {MAX_BYTES} bytes")]
    TooLong,
    /// Another scheme.
    #[error("does not start with https://")]
    Scheme,
    /// Not `https` and not on this machine.
    #[error("plain http is for loopback addresses and localhost only")]
    PlainHttp,
    /// A name or password.
    #[error("has user information")]
    UserInfo,
    /// Something behind `#`.
    #[error("has a fragment")]
    Fragment,
    /// No host, or none that DNS can have.
    #[error("has no valid host")]
    Host,
    /// A port that there is not.
    #[error("has no valid port")]
    Port,
    /// A character that has to be percent-encoded.
    #[error("has a character that no URL has")]
    Character,
}

impl FetchUrl {
    /// As [`str::parse`], and `http` where the host is a loopback address or `localhost`: for
    /// users who try things out on their machine.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn or_loopback(text: &str) -> Result<Self, UrlError> {
        let Some(rest) = text.strip_prefix("http://") else {
            return text.parse();
        };
        let url = Self::read(text, rest, true)?;
        url.is_loopback().then_some(url).ok_or(UrlError::PlainHttp)
    }

    /// Whether its host is a loopback address or `localhost`.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Address(address) => address.is_loopback(),
            Host::Name(name) => name == "localhost",
        }
    }

    /// The URL as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Who serves it.
    #[must_use]
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// Where, 443 where nothing is written.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as they were written.
    #[must_use]
    pub fn authority(&self) -> &str {
        let (start, end) = self.authority;
        self.text.get(start..end).unwrap_or_default()
    }

    /// Scheme, host and port as they were written.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.text.get(..self.authority.1).unwrap_or_default()
    }

    /// The path as it was written, without the query; may be empty.
    #[must_use]
    pub fn path(&self) -> &str {
        let rest = self.text.get(self.authority.1..).unwrap_or_default();
        rest.split_once('?').map_or(rest, |(path, _query)| path)
    }

    /// The query as it was written, with its `?`; empty where there is none.
    #[must_use]
    pub fn query(&self) -> &str {
        let at = self.text.find('?').unwrap_or(self.text.len());
        self.text.get(at..).unwrap_or_default()
    }

    /// Path and query as HTTP asks for them.
    pub(super) fn target(&self) -> String {
        let rest = self.text.get(self.authority.1..).unwrap_or_default();
        let root = if rest.starts_with('/') { "" } else { "/" };
        format!("{root}{rest}")
    }

    /// Without TLS.
    pub(super) const fn is_plain(&self) -> bool {
        self.is_plain
    }

    fn read(text: &str, rest: &str, is_plain: bool) -> Result<Self, UrlError> {
        if text.len() > MAX_BYTES {
            return Err(UrlError::TooLong);
        }
        if rest.contains('#') {
            return Err(UrlError::Fragment);
        }
        let length = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(length).unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err(UrlError::UserInfo);
        }
        if !path_is_valid(path) {
            return Err(UrlError::Character);
        }
        let (host, port) = uri::host_and_port(authority).map_err(|_malformed| UrlError::Host)?;
        let default = if is_plain { 80 } else { 443 };
        let start = text.len().saturating_sub(rest.len());
        Ok(Self {
            text: text.to_owned(),
            host: host.parse()?,
            port: port.map_or(Ok(default), read_port)?,
            is_plain,
            authority: (start, start.saturating_add(length)),
        })
    }
}

impl FromStr for FetchUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let rest = text.strip_prefix("https://").ok_or(UrlError::Scheme)?;
        Self::read(text, rest, false)
    }
}

impl fmt::Display for FetchUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for FetchUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl FromStr for Host {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if let Some(address) = uri::address(text) {
            return Ok(Self::Address(address));
        }
        name_is_valid(text)
            .then(|| Self::Name(text.to_ascii_lowercase()))
            .ok_or(UrlError::Host)
    }
}

fn read_port(text: &str) -> Result<u16, UrlError> {
    uri::port_of(text).map_err(|_malformed| UrlError::Port)
}

/// Labels of letters, digits, `-` and `_`. The last one is no number: resolvers read `0x7f.1`
/// and `2130706433` as addresses.
fn name_is_valid(name: &str) -> bool {
    let is_label = |label: &str| {
        let ends = !label.starts_with('-') && !label.ends_with('-');
        let bytes = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.len() <= MAX_LABEL_BYTES && ends && label.bytes().all(bytes)
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = last.starts_with(|first: char| first.is_ascii_digit());
    name.len() <= MAX_NAME_BYTES && name.split('.').all(is_label) && !is_number
}

/// RFC 3986, sections 3.3 and 3.4.
fn path_is_valid(path: &str) -> bool {
    uri::is_written_well(path) && !uri::has_brackets(path)
}

#[cfg(test)]
mod tests {
    use super::{FetchUrl, Host, UrlError};

    #[test]
    fn parts_are_as_written() {
        for (text, host, port, path, target) in [
            ("https://a.example", "a.example", 443, "", "/"),
            ("https://A.example/", "a.example", 443, "/", "/"),
            (
                "https://a.example:8443/c/%2e?x=1/2",
                "a.example",
                8443,
                "/c/%2e",
                "/c/%2e?x=1/2",
            ),
            ("https://a.example?x", "a.example", 443, "", "/?x"),
            ("https://192.0.2.1:1/a", "192.0.2.1", 1, "/a", "/a"),
            ("https://[2001:db8::1]/a", "[2001:db8::1]", 443, "/a", "/a"),
            ("https://[::1]:65535/", "[::1]", 65535, "/", "/"),
            (
                "https://x_1.a-b.example/a",
                "x_1.a-b.example",
                443,
                "/a",
                "/a",
            ),
        ] {
            let url: FetchUrl = text.parse().unwrap();
            assert_eq!(url.as_str(), text);
            assert_eq!(url.host().to_string(), host, "{text}");
            assert_eq!(
                (url.port(), url.path(), &*url.target()),
                (port, path, target)
            );
            assert!(text.starts_with(url.origin()) && url.origin().ends_with(url.authority()));
            assert_eq!([url.origin(), url.path(), url.query()].concat(), text);
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let long = format!("https://a.example/{}", "a".repeat(2_048));
        let label = format!("https://{}.example/", "a".repeat(64));
        for (text, error) in [
            ("http://a.example/", UrlError::Scheme),
            ("HTTPS://a.example/", UrlError::Scheme),
            ("//a.example/", UrlError::Scheme),
            ("https:a.example", UrlError::Scheme),
            ("", UrlError::Scheme),
            (&long, UrlError::TooLong),
            ("https://user@a.example/", UrlError::UserInfo),
            ("https://a.example#@b.example/", UrlError::Fragment),
            ("https://a.example/#", UrlError::Fragment),
            ("https://", UrlError::Host),
            ("https:///a", UrlError::Host),
            ("https://a..example/", UrlError::Host),
            ("https://a.example./", UrlError::Host),
            ("https://-a.example/", UrlError::Host),
            ("https://a b.example/", UrlError::Host),
            ("https://a.example\\@b.example/", UrlError::UserInfo),
            ("https://a.example\\b/", UrlError::Host),
            ("https://b\u{fc}cher.example/", UrlError::Host),
            ("https://a.example%00.b/", UrlError::Host),
            (&label, UrlError::Host),
            ("https://2130706433/", UrlError::Host),
            ("https://0x7f.0.0.1/", UrlError::Host),
            ("https://127.1/", UrlError::Host),
            ("https://127.0.0.01/", UrlError::Host),
            ("https://0177.0.0.1/", UrlError::Host),
            ("https://[::1", UrlError::Host),
            ("https://[::1]a/", UrlError::Host),
            ("https://[fe80::1%25eth0]/", UrlError::Host),
            ("https://::1/", UrlError::Host),
            ("https://a.example:/", UrlError::Port),
            ("https://a.example:0/", UrlError::Port),
            ("https://a.example:0443/", UrlError::Port),
            ("https://a.example:65536/", UrlError::Port),
            ("https://a.example:+443/", UrlError::Port),
            ("https://a.example/a b", UrlError::Character),
            ("https://a.example/\r\nHost: b", UrlError::Character),
            ("https://a.example/%2", UrlError::Character),
            ("https://a.example/%zz", UrlError::Character),
            ("https://a.example/\u{fc}", UrlError::Character),
            ("https://a.example/\\", UrlError::Character),
        ] {
            assert_eq!(text.parse::<FetchUrl>(), Err(error), "{text}");
        }
    }

    #[test]
    fn plain_http_stays_on_the_machine() {
        for text in [
            "http://localhost:8080/a",
            "http://127.0.0.9/",
            "http://[::1]:1/",
        ] {
            let url = FetchUrl::or_loopback(text).unwrap();
            assert!(url.is_plain() && url.is_loopback(), "{text}");
        }
        let secure = FetchUrl::or_loopback("https://a.example/").unwrap();
        assert!(!secure.is_plain() && !secure.is_loopback());
        assert_eq!(secure.host(), &Host::Name("a.example".to_owned()));
        for text in [
            "http://a.example/",
            "http://10.0.0.1/",
            "http://localhost.example/",
        ] {
            assert_eq!(
                FetchUrl::or_loopback(text),
                Err(UrlError::PlainHttp),
                "{text}"
            );
        }
        assert_eq!(
            FetchUrl::or_loopback("ftp://localhost/"),
            Err(UrlError::Scheme)
        );
    }
}
