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
use tokio::{
    sync::Mutex,
    task::{JoinHandle, spawn_blocking},
    time::{Instant, timeout},
};

/// How long authorities are used before they are read again.
const LOOK: Duration = Duration::from_secs(10);

/// How long a request waits for them to be read.
const PATIENCE: Duration = Duration::from_secs(2);

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
    /// The file system does not answer.
    #[error("reading takes longer than {PATIENCE:?}")]
    Slow,
    /// Bug: reading did not come back.
    #[error("reading was cut short: {0}")]
    Cut(#[from] tokio::task::JoinError),
}

/// The authorities of a file, or those of the system, as they are now.
///
/// Read when a connection is made, and not more often than every ten seconds. Where they cannot be
/// read, or not in time, those that were read last stay in force, and the log says so; but not where
/// the file says that there are none.
#[derive(Debug)]
pub struct Roots {
    ca_file: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Read>,
    /// Under way; never two of them, since what cannot be read may keep its thread for ever.
    reading: Option<JoinHandle<Result<Arc<ClientConfig>, TrustError>>>,
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
        Self::begin(ca_file, State::default())
    }

    /// The same, where `tls` trusts those that were read just now.
    #[must_use]
    pub fn read_before(ca_file: Option<PathBuf>, tls: Arc<ClientConfig>) -> Arc<Self> {
        let at = Instant::now();
        let state = State {
            last: Some(Read { at, tls }),
            reading: None,
        };
        Self::begin(ca_file, state)
    }

    fn begin(ca_file: Option<PathBuf>, state: State) -> Arc<Self> {
        let state = Mutex::new(state);
        Arc::new(Self { ca_file, state })
    }

    /// Trusts them.
    ///
    /// # Errors
    /// Where they cannot be read and never could.
    pub async fn current(&self) -> Result<Arc<ClientConfig>, TrustError> {
        let mut state = self.state.lock().await;
        let State { last, reading } = &mut *state;
        if let Some(read) = last
            && read.at.elapsed() < LOOK
        {
            return Ok(Arc::clone(&read.tls));
        }
        let task = reading.get_or_insert_with(|| {
            let ca_file = self.ca_file.clone();
            spawn_blocking(move || trusting_roots(ca_file.as_deref()))
        });
        let read = match timeout(PATIENCE, task).await {
            Ok(read) => {
                *reading = None;
                read.map_err(TrustError::Cut).flatten()
            }
            Err(_elapsed) => Err(TrustError::Slow),
        };
        let tls = match (read, last.take()) {
            (Ok(tls), _) => tls,
            (Err(error), Some(before)) if !self.says_nobody(&error) => {
                tracing::warn!(%error, "certificate authorities: those read last stay in force");
                before.tls
            }
            (Err(error), _) => return Err(error),
        };
        *last = Some(Read {
            at: Instant::now(),
            tls: Arc::clone(&tls),
        });
        Ok(tls)
    }

    /// Whether it was read, and the operator's file names nobody.
    const fn says_nobody(&self, error: &TrustError) -> bool {
        matches!(error, TrustError::Empty { .. }) && self.ca_file.is_some()
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
