//! The public documents, as of now.

use super::ClientKeySets;
use crate::{
    authority::TrustBundle,
    canonical,
    client_keys::{NO_KEYS, wants_keys},
    metadata::{self, PublicUrl},
    registry::{Client, ClientName, ClientState, Registry, Snapshot},
};
use bytes::Bytes;
use serde::Serialize;
use std::{
    fmt::{self, Display, Formatter},
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;

/// Where OpenID clients look (OpenID Connect Discovery 1.0, section 4).
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// Where discovery says that the keys are.
const KEYS: &str = "/.well-known/jwks.json";

const BUNDLE: &str = "/bundle";

const CLIENTS: &str = "/clients/";

const CLIENT: &str = "/client.json";

const CLIENT_KEYS: &str = "/jwks.json";

/// One document's place. In the order in which they are written: keys before what names them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Page {
    /// The JWT authorities, for OpenID clients.
    Keys,
    /// The SPIFFE bundle.
    Bundle,
    /// A client's public keys.
    ClientKeys(ClientName),
    /// OpenID discovery.
    Discovery,
    /// A client's metadata document.
    Client(ClientName),
}

impl Page {
    /// The page with this path, by comparison alone: nothing is decoded or resolved.
    #[must_use]
    pub fn at(path: &str) -> Option<Self> {
        match path {
            DISCOVERY => Some(Self::Discovery),
            KEYS => Some(Self::Keys),
            BUNDLE => Some(Self::Bundle),
            _ => {
                let rest = path.strip_prefix(CLIENTS)?;
                let (name, page): (_, fn(ClientName) -> Self) = match rest.strip_suffix(CLIENT_KEYS)
                {
                    Some(name) => (name, Self::ClientKeys),
                    None => (rest.strip_suffix(CLIENT)?, Self::Client),
                };
                name.parse().ok().map(page)
            }
        }
    }

    /// The word for its kind in metrics.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Keys => "jwks",
            Self::Bundle => "bundle",
            Self::ClientKeys(_) => "client-jwks",
            Self::Discovery => "discovery",
            Self::Client(_) => "client",
        }
    }

    /// Whether it is a set of keys.
    #[must_use]
    pub const fn has_keys(&self) -> bool {
        match self {
            Self::Keys | Self::Bundle | Self::ClientKeys(_) => true,
            Self::Discovery | Self::Client(_) => false,
        }
    }

    /// The client that it is of.
    #[must_use]
    pub const fn client(&self) -> Option<&ClientName> {
        match self {
            Self::ClientKeys(name) | Self::Client(name) => Some(name),
            Self::Keys | Self::Bundle | Self::Discovery => None,
        }
    }
}

impl Display for Page {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys => f.write_str(KEYS),
            Self::Bundle => f.write_str(BUNDLE),
            Self::ClientKeys(name) => write!(f, "{CLIENTS}{name}{CLIENT_KEYS}"),
            Self::Discovery => f.write_str(DISCOVERY),
            Self::Client(name) => write!(f, "{CLIENTS}{name}{CLIENT}"),
        }
    }
}

/// A document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// JSON.
    pub body: Bytes,
    /// SHA-256 of it, in lower-case hexadecimal.
    pub digest: String,
    /// How long it may be kept.
    pub max_age: Duration,
}

/// What the operator decides about the documents.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Where the world finds the pages; its path is before theirs. Without one, clients have none.
    pub public_url: Option<PublicUrl>,
    /// The issuer of discovery; without one there is none.
    pub issuer: Option<PublicUrl>,
    /// How long documents may be kept at most.
    pub cache_max_age: Duration,
}

/// Why there can be no documents.
#[derive(Debug, thiserror::Error)]
pub enum DocumentsError {
    /// Bug: discovery cannot be written as JSON.
    #[error("OpenID discovery cannot be rendered: {0}")]
    Discovery(#[from] serde_json::Error),
}

/// All public documents.
#[derive(Debug)]
pub struct Documents {
    registry: Arc<Registry>,
    bundle: watch::Receiver<Arc<TrustBundle>>,
    keys: Arc<dyn ClientKeySets>,
    discovery: Option<Bytes>,
    public_url: Option<PublicUrl>,
    prefix: String,
    cache_max_age: Duration,
}

impl Documents {
    /// The documents that these sources come to.
    ///
    /// # Errors
    /// Where discovery cannot be rendered, which is a bug.
    pub fn new(
        registry: Arc<Registry>,
        bundle: watch::Receiver<Arc<TrustBundle>>,
        keys: Arc<dyn ClientKeySets>,
        settings: Settings,
    ) -> Result<Self, DocumentsError> {
        let discovery = settings.issuer.as_ref().map(discovery).transpose()?;
        let prefix = settings.public_url.as_ref().map(path).unwrap_or_default();
        Ok(Self {
            registry,
            bundle,
            keys,
            discovery,
            prefix: prefix.to_owned(),
            public_url: settings.public_url,
            cache_max_age: settings.cache_max_age,
        })
    }

    /// The registry that they are made from.
    #[must_use]
    pub(super) const fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The trust bundle, and its changes.
    pub(super) fn bundle(&self) -> watch::Receiver<Arc<TrustBundle>> {
        self.bundle.clone()
    }

    /// The keys of clients.
    pub(super) fn keys(&self) -> &dyn ClientKeySets {
        &*self.keys
    }

    /// The page that a request's path names.
    #[must_use]
    pub fn page_at(&self, path: &str) -> Option<Page> {
        Page::at(path.strip_prefix(self.prefix.as_str())?)
    }

    /// What is at this page now.
    #[must_use]
    pub fn find(&self, page: &Page) -> Option<Document> {
        match page.client() {
            None => self.of_agent(page),
            Some(name) => {
                let snapshot = self.registry.snapshot();
                let client = snapshot.client(name)?;
                self.of_client(page, client, snapshot.state_of(client))
            }
        }
    }

    /// The pages that do not depend on clients, in their order.
    pub(super) const OF_AGENT: [Page; 3] = [Page::Keys, Page::Bundle, Page::Discovery];

    fn of_agent(&self, page: &Page) -> Option<Document> {
        let bundle = Arc::clone(&self.bundle.borrow());
        let (body, max_age) = match page {
            Page::Keys => (bundle.openid_jwks().clone(), self.cache_max_age),
            Page::Bundle => {
                let hint = bundle.refresh_hint();
                (bundle.spiffe_json().clone(), self.cache_max_age.min(hint))
            }
            Page::Discovery => (self.discovery.clone()?, self.cache_max_age),
            Page::ClientKeys(_) | Page::Client(_) => return None,
        };
        Some(document(body, max_age))
    }

    /// What is public of a client in this state: all while it is active, and after that
    /// that it has no keys. A document that names a key set waits until there is a key in it,
    /// and an empty set is not to be kept: the next one may be there in a moment.
    pub(super) fn of_client(
        &self,
        page: &Page,
        client: &Client,
        state: ClientState,
    ) -> Option<Document> {
        if !client.has_version_in_force() {
            return None;
        }
        let public_url = self.public_url.as_ref()?;
        let is_active = state == ClientState::Active;
        let wants_keys = wants_keys(client);
        let keys = || is_active.then(|| self.keys.jwks(client.name())).flatten();
        let keys = || keys().filter(|keys| keys != NO_KEYS);
        let (body, max_age) = match page {
            Page::Client(_) if is_active && (!wants_keys || keys().is_some()) => {
                (metadata::document(client, public_url)?, self.cache_max_age)
            }
            Page::ClientKeys(_) if wants_keys => match keys() {
                Some(keys) => (keys, self.cache_max_age),
                None => (Bytes::from_static(NO_KEYS), Duration::ZERO),
            },
            Page::Client(_) | Page::ClientKeys(_) | Page::Keys | Page::Bundle | Page::Discovery => {
                return None;
            }
        };
        Some(document(body, max_age))
    }

    /// Whether the client has pages at all: a document that is hosted here, or keys.
    pub(super) fn has_pages(&self, client: &Client) -> bool {
        let metadata = client.spec().metadata();
        let is_hosted = metadata.is_some_and(|it| !it.is_external());
        client.has_version_in_force() && (is_hosted || wants_keys(client))
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.registry.snapshot()
    }
}

/// The path of a public URL: empty, or `/` and more.
fn path(url: &PublicUrl) -> &str {
    let rest = url.as_str().strip_prefix("https://").unwrap_or_default();
    rest.find('/')
        .and_then(|at| rest.get(at..))
        .unwrap_or_default()
}

fn document(body: Bytes, max_age: Duration) -> Document {
    Document {
        digest: canonical::sha256_hex(&body),
        body,
        max_age,
    }
}

/// OpenID Connect Discovery 1.0, section 3: all members that it demands. Nobody logs in here;
/// the endpoint for that is named because verifiers refuse documents without one.
#[derive(Serialize)]
struct Discovery<'a> {
    authorization_endpoint: String,
    id_token_signing_alg_values_supported: [&'static str; 1],
    issuer: &'a str,
    jwks_uri: String,
    response_types_supported: [&'static str; 1],
    subject_types_supported: [&'static str; 1],
}

fn discovery(issuer: &PublicUrl) -> Result<Bytes, serde_json::Error> {
    let document = Discovery {
        authorization_endpoint: format!("{issuer}/authorize"),
        id_token_signing_alg_values_supported: ["ES256"],
        issuer: issuer.as_str(),
        jwks_uri: format!("{issuer}{KEYS}"),
        response_types_supported: ["id_token"],
        subject_types_supported: ["public"],
    };
    Ok(serde_json::to_vec(&document)?.into())
}

#[cfg(test)]
mod tests;
