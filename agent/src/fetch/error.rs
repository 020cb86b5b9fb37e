//! Why a request came to nothing.

use super::TrustError;
use http::StatusCode;
use std::{fmt, io, net::IpAddr, time::Duration};

/// A part of a request that takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The name.
    Resolve,
    /// The connection.
    Connect,
    /// The TLS handshake.
    Tls,
    /// The answer as a whole.
    Answer,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "resolving the name",
            Self::Connect => "the connection",
            Self::Tls => "the TLS handshake",
            Self::Answer => "the whole answer",
        })
    }
}

/// Why there is no answer. The server's fault, or that of whoever named it.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The name is unknown, or nobody who knows it answers.
    #[error("the name cannot be resolved: {0}")]
    Unresolved(#[source] io::Error),
    /// The name has no address.
    #[error("the name has no address")]
    NoAddress,
    /// An address that must not be reached.
    #[error("the address {address} is refused: {why}")]
    Refused {
        /// The address.
        address: IpAddr,
        /// What it is.
        why: &'static str,
    },
    /// A host that TLS cannot name.
    #[error("the host is no name that TLS knows")]
    NoServerName,
    /// Nobody can be trusted.
    #[error("no server can be trusted: {0}")]
    Trust(#[from] TrustError),
    /// A path that HTTP cannot ask for.
    #[error("the path is none that HTTP knows")]
    NoTarget,
    /// Nobody listens there.
    #[error("no connection: {0}")]
    Connect(#[source] io::Error),
    /// No TLS, or a server that is not who it says.
    #[error("no TLS connection: {0}")]
    Tls(#[source] io::Error),
    /// Something took too long.
    #[error("{step} took longer than {limit:?}")]
    TimedOut {
        /// What.
        step: Step,
        /// How long it may take.
        limit: Duration,
    },
    /// Not HTTP, or an answer that ended before its time.
    #[error("no HTTP answer: {0}")]
    Http(#[from] hyper::Error),
    /// An answer that sends elsewhere.
    #[error("the server redirects ({0}), which is not followed")]
    Redirected(StatusCode),
    /// Another status than 200.
    #[error("the server answered with status {0}")]
    Status(StatusCode),
    /// Another kind of document, or an unnamed one.
    #[error("the answer's content type is {0}, not JSON")]
    MediaType(String),
    /// A compressed body.
    #[error("the answer is encoded ({0})")]
    Encoded(String),
    /// A longer body than is read.
    #[error("the answer is longer than {0} bytes")]
    TooLarge(usize),
}

impl FetchError {
    /// One word for logs and metrics.
    #[must_use]
    pub const fn class(&self) -> &'static str {
        match self {
            Self::Unresolved(_) | Self::NoAddress => "unresolved",
            Self::Refused { .. } => "address",
            Self::NoServerName | Self::NoTarget => "url",
            Self::Connect(_) => "connect",
            Self::Tls(_) | Self::Trust(_) => "tls",
            Self::TimedOut { .. } => "timeout",
            Self::Http(_) => "http",
            Self::Redirected(_) => "redirect",
            Self::Status(_) => "status",
            Self::MediaType(_) => "media_type",
            Self::Encoded(_) => "encoding",
            Self::TooLarge(_) => "size",
        }
    }
}

/// The start of what a server sent, in printable characters.
pub(super) fn shown(bytes: &[u8]) -> String {
    const MOST_BYTES: usize = 80;
    let start = bytes.get(..MOST_BYTES).unwrap_or(bytes);
    let cut = if start.len() < bytes.len() { "..." } else { "" };
    format!("\"{}\"{cut}", start.escape_ascii())
}
