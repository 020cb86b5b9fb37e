//! Fetches documents from other people's servers, within bounds.
//!
//! Owns every outgoing HTTP request of the agent: documents of clients that others host
//! (`drift`), trust bundles of other trust domains (`federation`), and those that the command
//! line makes for its user (`symbolon token`). What is asked for was named by a registration or
//! by another server, so neither the URL nor the answer is believed.
//!
//! Invariants of a guarded fetcher: `https` only; no redirect is followed; a name is resolved
//! once, all of its addresses are judged (RFC 6890, [`Reach`]), and the connection goes to one of
//! those that were judged. Addresses that are not public are refused unless the operator lists the
//! host or the network ([`Allowed`]); link-local ones and those where clouds keep credentials are
//! refused always. Each step and the whole have a time limit, head and body a size limit that
//! holds while reading; an encoded body (`Content-Encoding`) is refused, so that none can
//! be larger than it was on the wire. There is no pool, no cookie, no cache and no proxy: one
//! connection for each request.
//!
//! What servers say stands in errors only bounded and escaped. Left out on purpose: HTTP/2,
//! TLS 1.2, and every way to weaken TLS.

mod address;
mod allowed;
mod error;
mod exchange;
mod resolve;
mod trust;
mod url;

pub use address::{Network, Reach};
pub use allowed::{AllowError, Allowed};
pub use error::{FetchError, Step};
pub use exchange::Fetched;
pub use resolve::{Addresses, Resolve, SystemResolver};
pub use trust::{Roots, Trust, TrustError, trusting, trusting_roots};
pub use url::{FetchUrl, Host, UrlError};

use bytes::Bytes;
use exchange::Check;
use http::{
    HeaderMap, HeaderValue, Method, Request,
    header::{ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONNECTION, HOST, USER_AGENT},
};
use http_body_util::Full;
use rustls::pki_types::ServerName;
use std::{
    future::Future,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;

/// What one request may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For resolving the name.
    pub resolve: Duration,
    /// For reaching one of its addresses.
    pub connect: Duration,
    /// For the TLS handshake.
    pub tls: Duration,
    /// For everything, until the last byte of the body.
    pub total: Duration,
    /// Bytes of the body.
    pub bytes: usize,
    /// What the body has to be.
    pub media: Media,
}

impl Limits {
    /// For small JSON documents: client metadata, key sets, discovery.
    pub const DOCUMENT: Self = Self {
        resolve: Duration::from_secs(5),
        connect: Duration::from_secs(5),
        tls: Duration::from_secs(5),
        total: Duration::from_secs(10),
        bytes: 64 * 1024,
        media: Media::Json,
    };

    /// The same with another bound on the body.
    #[must_use]
    pub const fn with_bytes(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }
}

/// What a body has to be, by its `Content-Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// `application/json`, or another `application` type whose name ends in `+json` (RFC 6839,
    /// section 3.1).
    Json,
    /// Whatever it is.
    Any,
}

/// As whom a document is read. A server that answers differently shows a document to some that
/// others do not see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// As what this is.
    Agent,
    /// As authorization servers commonly ask.
    AuthorizationServer,
}

impl Reader {
    fn headers(self) -> HeaderMap {
        let (agent, accept, language) = match self {
            Self::Agent => (
                concat!("symbolon/", env!("CARGO_PKG_VERSION")),
                "application/json",
                None,
            ),
            // As those do that are written for Node.
            Self::AuthorizationServer => ("node", "application/json", Some("*")),
        };
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        if let Some(language) = language {
            headers.insert(ACCEPT_LANGUAGE, HeaderValue::from_static(language));
        }
        headers
    }
}

/// A request besides a plain GET.
#[derive(Clone, Debug)]
pub struct Ask {
    /// GET or POST.
    pub method: Method,
    /// Besides those that every request has.
    pub headers: HeaderMap,
    /// May be empty.
    pub body: Bytes,
}

/// Whom a fetcher may ask.
#[derive(Clone, Debug)]
enum Guard {
    /// Public addresses, and what the operator lists.
    Guarded(Arc<Allowed>),
    /// Anybody: a user's own process, which can open such a connection without us.
    Open,
}

/// Makes requests; cheap to clone.
#[derive(Clone, Debug)]
pub struct Fetcher {
    guard: Guard,
    trust: Trust,
    resolver: Arc<dyn Resolve>,
}

impl Fetcher {
    /// A fetcher that reaches public addresses and what is `allowed`, and trusts servers as
    /// `trust` says ([`Roots`], [`trusting_roots`], [`trusting`]).
    #[must_use]
    pub fn new(allowed: Allowed, trust: impl Into<Trust>) -> Self {
        Self {
            guard: Guard::Guarded(Arc::new(allowed)),
            trust: trust.into(),
            resolver: Arc::new(SystemResolver),
        }
    }

    /// A fetcher without a guard, for the process of a user who asks for himself.
    #[must_use]
    pub fn unguarded(trust: impl Into<Trust>) -> Self {
        Self {
            guard: Guard::Open,
            trust: trust.into(),
            resolver: Arc::new(SystemResolver),
        }
    }

    /// The same with another opinion of whom to trust.
    #[must_use]
    pub fn with_trust(&self, trust: impl Into<Trust>) -> Self {
        Self {
            trust: trust.into(),
            ..self.clone()
        }
    }

    /// The same with other names.
    #[must_use]
    pub fn with_resolver(&self, resolver: Arc<dyn Resolve>) -> Self {
        Self {
            resolver,
            ..self.clone()
        }
    }

    /// The document at `url`: a GET that was answered with 200 and what `limits` asks for.
    ///
    /// # Errors
    /// [`FetchError`], by the step that failed.
    pub async fn get(&self, url: &FetchUrl, limits: Limits) -> Result<Fetched, FetchError> {
        self.get_as(Reader::Agent, url, limits).await
    }

    /// As [`Self::get`], with the headers of another reader.
    ///
    /// # Errors
    /// [`FetchError`], by the step that failed.
    pub async fn get_as(
        &self,
        reader: Reader,
        url: &FetchUrl,
        limits: Limits,
    ) -> Result<Fetched, FetchError> {
        let ask = Ask {
            method: Method::GET,
            headers: reader.headers(),
            body: Bytes::new(),
        };
        self.within(url, ask, limits, Check::Document).await
    }

    /// The answer to `ask`, whatever its status is; only redirects are errors.
    ///
    /// # Errors
    /// [`FetchError`], by the step that failed.
    pub async fn send(
        &self,
        url: &FetchUrl,
        ask: Ask,
        limits: Limits,
    ) -> Result<Fetched, FetchError> {
        self.within(url, ask, limits, Check::Answer).await
    }

    async fn within(
        &self,
        url: &FetchUrl,
        ask: Ask,
        limits: Limits,
        check: Check,
    ) -> Result<Fetched, FetchError> {
        // Large, and callers make several of them at once.
        let whole = Box::pin(self.converse(url, ask, limits, check));
        step(Step::Answer, limits.total, whole).await?
    }

    async fn converse(
        &self,
        url: &FetchUrl,
        ask: Ask,
        limits: Limits,
        check: Check,
    ) -> Result<Fetched, FetchError> {
        let request = request(url, ask)?;
        let addresses = self.addresses(url, limits).await?;
        let stream = connect(&addresses, url.port(), limits.connect).await?;
        if url.is_plain() {
            return exchange::exchange(stream, request, limits, check).await;
        }
        let connector = TlsConnector::from(self.trust.current().await?);
        let handshake = connector.connect(server_name(url)?, stream);
        let stream = step(Step::Tls, limits.tls, handshake)
            .await?
            .map_err(FetchError::Tls)?;
        exchange::exchange(stream, request, limits, check).await
    }

    /// The addresses of the host, none of which is refused.
    async fn addresses(&self, url: &FetchUrl, limits: Limits) -> Result<Vec<IpAddr>, FetchError> {
        let addresses = match url.host() {
            Host::Address(address) => vec![*address],
            Host::Name(name) => {
                let resolved = self.resolver.resolve(name);
                step(Step::Resolve, limits.resolve, resolved)
                    .await?
                    .map_err(FetchError::Unresolved)?
            }
        };
        if addresses.is_empty() {
            return Err(FetchError::NoAddress);
        }
        let addresses: Vec<IpAddr> = addresses.iter().map(IpAddr::to_canonical).collect();
        for address in &addresses {
            self.judge(url, *address)?;
        }
        Ok(addresses)
    }

    fn judge(&self, url: &FetchUrl, address: IpAddr) -> Result<(), FetchError> {
        if url.is_plain() && !address.is_loopback() {
            return Err(FetchError::Refused {
                address,
                why: "plain http leaves this machine",
            });
        }
        match &self.guard {
            Guard::Open => Ok(()),
            Guard::Guarded(allowed) => allowed
                .judge(url.host(), address)
                .map_err(|why| FetchError::Refused { address, why }),
        }
    }
}

/// Most addresses of a name that are tried.
const MAX_ATTEMPTS: usize = 4;

/// A connection to the first of these addresses that takes it. Each gets its share of the time,
/// so that one that never answers leaves some to the next.
async fn connect(
    addresses: &[IpAddr],
    port: u16,
    limit: Duration,
) -> Result<TcpStream, FetchError> {
    let end = Instant::now() + limit;
    let attempts = addresses.len().min(MAX_ATTEMPTS);
    let mut failure = FetchError::NoAddress;
    for (index, address) in addresses.iter().take(attempts).enumerate() {
        let left = end.saturating_duration_since(Instant::now());
        let share = u32::try_from(attempts.saturating_sub(index)).unwrap_or(1);
        let attempt = TcpStream::connect(SocketAddr::new(*address, port));
        let share = left.checked_div(share).unwrap_or(left);
        match step(Step::Connect, share, attempt).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failure = FetchError::Connect(error),
            Err(elapsed) => failure = elapsed,
        }
    }
    Err(failure)
}

async fn step<T>(
    step: Step,
    limit: Duration,
    work: impl Future<Output = T>,
) -> Result<T, FetchError> {
    timeout(limit, work)
        .await
        .map_err(|_elapsed| FetchError::TimedOut { step, limit })
}

fn server_name(url: &FetchUrl) -> Result<ServerName<'static>, FetchError> {
    match url.host() {
        Host::Address(address) => Ok(ServerName::IpAddress((*address).into())),
        Host::Name(name) => {
            ServerName::try_from(name.clone()).map_err(|_invalid| FetchError::NoServerName)
        }
    }
}

fn request(url: &FetchUrl, ask: Ask) -> Result<Request<Full<Bytes>>, FetchError> {
    let mut request = Request::new(Full::new(ask.body));
    *request.method_mut() = ask.method;
    *request.uri_mut() = url
        .target()
        .parse()
        .map_err(|_invalid| FetchError::NoTarget)?;
    let host =
        HeaderValue::from_str(url.authority()).map_err(|_invalid| FetchError::NoServerName)?;
    let headers = request.headers_mut();
    *headers = ask.headers;
    headers.insert(HOST, host);
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(request)
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
