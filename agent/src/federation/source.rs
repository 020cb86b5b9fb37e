//! Where bundles come from: the seam between what is kept and the network.

use super::verifier::SvidVerifier;
use crate::{
    authority::MAX_BUNDLE_BYTES,
    fetch::{self, FetchError, FetchUrl, Fetcher, Limits, Media, TrustError, UrlError},
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use spiffe::{SpiffeId, TrustDomain};
use std::{fmt::Debug, sync::Arc};

/// A bundle that is asked for.
#[derive(Clone, Debug)]
pub struct BundleRequest {
    /// The endpoint.
    pub url: Arc<str>,
    /// How it proves who it is.
    pub proof: Proof,
}

/// How an endpoint proves who it is.
#[derive(Clone, Debug)]
pub enum Proof {
    /// `https_web`: by the Web PKI.
    Web,
    /// `https_spiffe`: by this ID under these authorities, concatenated DER.
    Svid(SpiffeId, Bytes),
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A URL that the fetcher does not take.
    #[error("the URL {0}")]
    Url(#[from] UrlError),
    /// Nobody answered, or not as asked.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The endpoint cannot be verified at all.
    #[error("TLS: {0}")]
    Trust(#[from] TrustError),
    /// There are no authorities to verify the endpoint's SVID with.
    #[error("the bundle of {0}, of which the endpoint is, is not known")]
    NoAuthorities(TrustDomain),
}

/// Fetches bundle documents.
pub trait BundleSource: Debug + Send + Sync {
    /// The document at an endpoint that has proved who it is.
    ///
    /// # Errors
    /// Where there is none.
    fn fetch(&self, request: BundleRequest) -> BoxFuture<'_, Result<Bytes, SourceError>>;
}

/// The network.
#[derive(Debug)]
pub struct WebSource {
    /// Trusts the Web PKI.
    web: Fetcher,
}

impl WebSource {
    /// Reaches what `web` does, and for `https_web` trusts whom it trusts.
    #[must_use]
    pub const fn new(web: Fetcher) -> Self {
        Self { web }
    }
}

impl BundleSource for WebSource {
    fn fetch(&self, request: BundleRequest) -> BoxFuture<'_, Result<Bytes, SourceError>> {
        Box::pin(async move {
            let url: FetchUrl = request.url.parse()?;
            let limits = Limits {
                bytes: MAX_BUNDLE_BYTES,
                // Endpoints only should name it (`SPIFFE_Federation.md`, section 5.2.1.3).
                media: Media::Any,
                ..Limits::DOCUMENT
            };
            let fetched = match request.proof {
                Proof::Web => self.web.get(&url, limits).await?,
                Proof::Svid(id, authorities) => {
                    let tls = fetch::trusting(SvidVerifier::new(id, authorities))?;
                    self.web.with_trust(tls).get(&url, limits).await?
                }
            };
            Ok(fetched.body)
        })
    }
}
