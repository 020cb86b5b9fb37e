//! The port's certificate: from files that the operator renews, or the agent's own SVID.
//!
//! A certificate is checked before it is shown: that it can be read, and that the
//! key is its own. One that is not keeps the one before it in force, which is
//! said. Connections that are open keep what they began with.

use crate::{
    audit::{AuditError, Credential, Event, Kind, Trail},
    authority::{Authority, AuthorityError, X509Request},
    canonical,
    clock::{SharedClock, unix_seconds},
    svid::{KeyError, PrivateKey},
    telemetry::IdentityMetrics,
};
use arc_swap::ArcSwap;
use rustix::fs::OFlags;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _},
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
    version::TLS13,
};
use spiffe::SpiffeId;
use std::{
    fs::OpenOptions,
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{sync::Notify, task::spawn_blocking, time::sleep};
use x509_parser::parse_x509_certificate;
use zeroize::Zeroizing;

/// How often the files are read again.
const LOOK: Duration = Duration::from_secs(10);

/// How soon it is tried again to issue what could not be.
const AGAIN: Duration = Duration::from_secs(10);

/// Longest pause until the own SVID is looked at again: the wall clock may be set.
const MOST_PAUSE: Duration = Duration::from_secs(60);

/// Least time between two own SVIDs.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// Bytes of a file: a key, or a chain with more certificates than any has.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// Certificates of a chain.
const MAX_CHAIN: usize = 16;

/// Mode bits by which everybody could read the key, or others change it.
const TOO_WIDE: u32 = 0o027;

/// What clients of both versions of HTTP ask for (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why there is no certificate to show.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Operator or disk.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Operator: larger than any, or no regular file.
    #[error("{0} is not a file of at most 256 KiB")]
    NotAFile(PathBuf),
    /// Operator: the key can be read by everybody, or changed by others.
    #[error("{path} can be read by everybody or changed by others (mode {mode:04o}); chmod 600 it")]
    Wide {
        /// The key's file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Operator: not PEM with what belongs there.
    #[error("{0} has no PEM with what belongs there")]
    NotPem(PathBuf),
    /// Operator: key and certificate do not belong together, or cannot be used.
    #[error("the certificate and its key cannot be used: {0}")]
    Tls(#[from] rustls::Error),
    /// The authority cannot sign.
    #[error("the authority cannot sign: {0}")]
    Authority(#[from] AuthorityError),
    /// No key could be made.
    #[error("no key: {0}")]
    Key(#[from] KeyError),
    /// It could not be recorded, so it was thrown away.
    #[error("not recorded: {0}")]
    Audit(#[from] AuditError),
    /// Bug: the certificate that was issued cannot be read.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// Bug: reading did not come back.
    #[error("reading was cut short: {0}")]
    Cut(#[from] tokio::task::JoinError),
}

/// The certificate that is shown now.
#[derive(Debug)]
pub struct Certificates {
    current: ArcSwap<CertifiedKey>,
    metrics: IdentityMetrics,
}

impl Certificates {
    /// Shows this one.
    #[must_use]
    pub fn new(first: CertifiedKey, metrics: IdentityMetrics) -> Arc<Self> {
        show_end(&first, &metrics);
        Arc::new(Self {
            current: ArcSwap::from_pointee(first),
            metrics,
        })
    }

    /// Shows another one from now on.
    fn replace(&self, next: CertifiedKey) {
        show_end(&next, &self.metrics);
        self.current.store(Arc::new(next));
    }

    /// TLS 1.3 with it, without tickets, early data or client certificates: nothing is kept of
    /// a peer, and nothing is believed of him.
    ///
    /// # Errors
    /// Where the cryptographic library lacks TLS 1.3, which is a bug.
    pub fn server_config(self: Arc<Self>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(self);
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

fn show_end(shown: &CertifiedKey, metrics: &IdentityMetrics) {
    let end = shown.cert.first().and_then(|leaf| {
        let (_, certificate) = parse_x509_certificate(leaf).ok()?;
        Some(certificate.validity().not_after.timestamp())
    });
    metrics.certificate_not_after.set(end.unwrap_or_default());
}

/// Certificate and key in two PEM files.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The certificate, then its issuers.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl CertificateFiles {
    /// Reads and checks both. This waits for the disk.
    ///
    /// # Errors
    /// Where one cannot be read, is none, or both do not belong together.
    pub fn load(&self) -> Result<CertifiedKey, CertificateError> {
        let (chain, key) = (read(&self.certificate, 0)?, read(&self.key, TOO_WIDE)?);
        self.parse(&chain, &key)
    }

    fn parse(&self, chain: &[u8], key: &[u8]) -> Result<CertifiedKey, CertificateError> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .take(MAX_CHAIN)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_damaged| CertificateError::NotPem(self.certificate.clone()))?;
        if chain.is_empty() {
            return Err(CertificateError::NotPem(self.certificate.clone()));
        }
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_damaged| CertificateError::NotPem(self.key.clone()))?;
        certified(chain, &key)
    }

    /// Shows what the files have from now on: looks every few seconds, and when told to, for ever.
    pub async fn keep(self, certificates: Arc<Certificates>, reload: Arc<Notify>) {
        let mut seen = None;
        loop {
            let files = self.clone();
            let looked = spawn_blocking(move || files.look()).await;
            let (found, loaded) = match looked.map_err(CertificateError::from).flatten() {
                Ok(found) => found,
                Err(error) => (error.to_string(), Err(error)),
            };
            // Once for what it is, and again when it is something else.
            if seen.replace(found.clone()) != Some(found) {
                match loaded {
                    Ok(next) => {
                        certificates.replace(next);
                        tracing::info!("identity port: certificate read");
                    }
                    Err(error) => {
                        tracing::error!(%error, "the identity port's certificate stays");
                    }
                }
            }
            tokio::select! {
                () = sleep(LOOK) => {}
                () = reload.notified() => {}
            }
        }
    }

    /// What is in the files, with a digest that tells whether it is something new.
    fn look(&self) -> Result<(String, Result<CertifiedKey, CertificateError>), CertificateError> {
        let (chain, key) = (read(&self.certificate, 0)?, read(&self.key, TOO_WIDE)?);
        let digest = [&**chain, &**key].map(canonical::sha256_hex).concat();
        Ok((digest, self.parse(&chain, &key)))
    }
}

/// The file as a whole; a link is followed, as those who renew certificates make them.
fn read(path: &Path, refused: u32) -> Result<Zeroizing<Vec<u8>>, CertificateError> {
    let error = |source| CertificateError::Io {
        path: path.to_owned(),
        source,
    };
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).map_err(|error_| error(io::Error::other(error_)))?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = file.map_err(error)?;
    let found = file.metadata().map_err(error)?;
    if !found.is_file() || found.len() > MAX_FILE_BYTES {
        return Err(CertificateError::NotAFile(path.to_owned()));
    }
    if found.mode() & refused != 0 {
        return Err(CertificateError::Wide {
            path: path.to_owned(),
            mode: found.mode() & 0o7777,
        });
    }
    // Room for all of it, so that no copy of a key is left behind by growth.
    let room = usize::try_from(MAX_FILE_BYTES).unwrap_or_default();
    let mut content = Zeroizing::new(Vec::with_capacity(room));
    let mut limited = file.take(MAX_FILE_BYTES);
    limited.read_to_end(&mut content).map_err(error)?;
    Ok(content)
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: &PrivateKeyDer<'_>,
) -> Result<CertifiedKey, CertificateError> {
    let certified = CertifiedKey::new(chain, aws_lc_rs::sign::any_supported_type(key)?);
    certified.keys_match()?;
    Ok(certified)
}

/// The agent's own X.509-SVID, of which every one has a fresh key.
#[derive(Clone, Debug)]
pub struct OwnSvid {
    /// What signs it.
    pub authority: Arc<dyn Authority>,
    /// The agent's identity.
    pub spiffe_id: SpiffeId,
    /// The host of the public URL, where that is a name.
    pub dns_names: Vec<String>,
    /// How long one lives.
    pub lifetime: Duration,
    /// Where each is recorded before it is shown.
    pub trail: Trail,
    /// Tells when it is time for the next.
    pub clock: SharedClock,
}

impl OwnSvid {
    /// A fresh one, and when to replace it.
    ///
    /// # Errors
    /// Where it can be neither signed nor recorded.
    pub async fn issue(&self) -> Result<(CertifiedKey, SystemTime), CertificateError> {
        let key = PrivateKey::generate()?;
        let request = X509Request {
            spiffe_id: &self.spiffe_id,
            dns_names: &self.dns_names,
            public_key: key.public_key(),
            lifetime: self.lifetime,
        };
        let signed = self.authority.sign_x509(request).await?;
        let chain = chain(&signed.chain)?;
        let pkcs8 = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.expose_pkcs8()));
        let certified = certified(chain, &pkcs8)?;
        let thumbprint = key.public_key().thumbprint();
        let credential = Credential::x509_svid(signed.serial_hex, thumbprint, signed.not_after);
        let event = Event::new(Kind::Published)
            .spiffe_id(self.spiffe_id.to_string())
            .credential(credential.signed_by(&*signed.key_id))
            .reason("the certificate of the identity port");
        self.trail.record(event).await?;
        let left = signed.not_after.duration_since(self.clock.now());
        Ok((certified, self.clock.now() + left.unwrap_or_default() / 2))
    }

    /// Replaces it at half its life, for ever.
    pub async fn keep(self, certificates: Arc<Certificates>, mut renew_at: SystemTime) {
        loop {
            let now = self.clock.now();
            if let Ok(left) = renew_at.duration_since(now)
                && !left.is_zero()
            {
                sleep(left.min(MOST_PAUSE)).await;
                continue;
            }
            match self.issue().await {
                Ok((next, then)) => {
                    certificates.replace(next);
                    renew_at = then;
                    let until = unix_seconds(then);
                    tracing::debug!(until, "identity port: own SVID renewed");
                }
                Err(error) => {
                    tracing::error!(%error, "the identity port's certificate could not be renewed");
                    sleep(AGAIN).await;
                }
            }
            // An authority near its end gives no more than moments.
            sleep(LEAST_PAUSE).await;
        }
    }
}

/// Concatenated certificates, one by one.
fn chain(mut der: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let mut chain = Vec::new();
    while !der.is_empty() {
        let (rest, _) =
            parse_x509_certificate(der).map_err(|_damaged| CertificateError::Unreadable)?;
        let length = der.len() - rest.len();
        let (one, _) = der
            .split_at_checked(length)
            .ok_or(CertificateError::Unreadable)?;
        chain.push(CertificateDer::from(one.to_vec()));
        der = rest;
    }
    Ok(chain)
}

#[cfg(test)]
mod tests;
