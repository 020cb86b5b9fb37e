//! Whom a TLS connection is trusted to reach.
//!
//! Authorities of the Web PKI are read again while they are used ([`Roots`]): certificates that
//! others serve are renewed, and so is who signs them.

use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier,
    client::{Resumption, danger::ServerCertVerifier},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
    version::TLS13,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Mutex, task::spawn_blocking, time::Instant};

/// How long authorities are used before they are read again.
const LOOK: Duration = Duration::from_secs(10);

/// Why there is nobody to trust. The operator's fault.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file of certificates that cannot be read.
    #[error("{} cannot be read as PEM certificates: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// Nobody is trusted.
    #[error("{place} has no certificate authority")]
    Empty {
        /// Where they were looked for.
        place: String,
    },
    /// The TLS library refuses.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// Bug: reading did not come back.
    #[error("reading was cut short: {0}")]
    Cut(#[from] tokio::task::JoinError),
}

/// The authorities of a file, or those of the system, as they are now.
///
/// Read when a connection is made, and not more often than every ten seconds. Where they cannot be
/// read, those that were read last stay in force, and the log says so.
#[derive(Debug)]
pub struct Roots {
    ca_file: Option<PathBuf>,
    last: Mutex<Option<Read>>,
}

#[derive(Debug)]
struct Read {
    at: Instant,
    tls: Arc<ClientConfig>,
}

impl Roots {
    /// Those of `ca_file`, or those of the system; not read yet.
    #[must_use]
    pub fn new(ca_file: Option<PathBuf>) -> Arc<Self> {
        let last = Mutex::new(None);
        Arc::new(Self { ca_file, last })
    }

    /// Trusts them.
    ///
    /// # Errors
    /// Where they cannot be read and never could.
    pub async fn current(&self) -> Result<Arc<ClientConfig>, TrustError> {
        let mut last = self.last.lock().await;
        if let Some(read) = &*last
            && read.at.elapsed() < LOOK
        {
            return Ok(Arc::clone(&read.tls));
        }
        let tls = match (self.read().await, &*last) {
            (Ok(tls), _) => tls,
            (Err(error), Some(read)) => {
                tracing::warn!(%error, "certificate authorities: those read last stay in force");
                Arc::clone(&read.tls)
            }
            (Err(error), None) => return Err(error),
        };
        *last = Some(Read {
            at: Instant::now(),
            tls: Arc::clone(&tls),
        });
        Ok(tls)
    }

    async fn read(&self) -> Result<Arc<ClientConfig>, TrustError> {
        let ca_file = self.ca_file.clone();
        spawn_blocking(move || trusting_roots(ca_file.as_deref())).await?
    }
}

/// Whom a fetcher trusts.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Always the same.
    Fixed(Arc<ClientConfig>),
    /// The authorities of the Web PKI.
    Roots(Arc<Roots>),
}

impl Trust {
    pub(super) async fn current(&self) -> Result<Arc<ClientConfig>, TrustError> {
        match self {
            Self::Fixed(tls) => Ok(Arc::clone(tls)),
            Self::Roots(roots) => roots.current().await,
        }
    }
}

impl From<Arc<ClientConfig>> for Trust {
    fn from(tls: Arc<ClientConfig>) -> Self {
        Self::Fixed(tls)
    }
}

impl From<Arc<Roots>> for Trust {
    fn from(roots: Arc<Roots>) -> Self {
        Self::Roots(roots)
    }
}

/// Trusts the authorities of `ca_file`, or those of the system.
///
/// Reads files, and so blocks.
///
/// # Errors
/// Where there are none.
pub fn trusting_roots(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TrustError> {
    let roots = match ca_file {
        Some(path) => roots_of(path)?,
        None => system_roots()?,
    };
    let config = builder()?.with_root_certificates(roots);
    Ok(finished(config.with_no_client_auth()))
}

/// Trusts whom `verifier` does.
///
/// # Errors
/// Where the TLS library refuses.
pub fn trusting(verifier: Arc<dyn ServerCertVerifier>) -> Result<Arc<ClientConfig>, TrustError> {
    let config = builder()?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    Ok(finished(config.with_no_client_auth()))
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, TrustError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    Ok(builder.with_protocol_versions(&[&TLS13])?)
}

/// Connections are too few to resume, and a ticket would tell the server who comes back.
fn finished(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

fn roots_of(path: &Path) -> Result<RootCertStore, TrustError> {
    let unread = |source| TrustError::File {
        path: path.to_owned(),
        source,
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(unread)? {
        roots.add(certificate.map_err(unread)?)?;
    }
    inhabited(roots, || path.display().to_string())
}

/// Certificates of the system that cannot be read are left out: distributions ship some that are
/// decades old.
fn system_roots() -> Result<RootCertStore, TrustError> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "some of the system's certificate authorities cannot be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    inhabited(roots, || "the system's trust store".to_owned())
}

fn inhabited(
    roots: RootCertStore,
    place: impl FnOnce() -> String,
) -> Result<RootCertStore, TrustError> {
    if roots.is_empty() {
        return Err(TrustError::Empty { place: place() });
    }
    Ok(roots)
}
