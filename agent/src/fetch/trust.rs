//! Whom a TLS connection is trusted to reach.

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
};

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
}

/// Trusts the authorities of `ca_file`, or those of the system.
///
/// Reads files: at start only.
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

/// Trusts nobody: every connection fails.
///
/// # Errors
/// Where the TLS library refuses.
pub fn trusting_nobody() -> Result<Arc<ClientConfig>, TrustError> {
    let config = builder()?.with_root_certificates(RootCertStore::empty());
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
