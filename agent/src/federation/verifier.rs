//! Whether a TLS server is the bundle endpoint with a registered SPIFFE ID.
//!
//! The name in the URL says nothing here (`SPIFFE_Federation.md`, section 5.2.2.4): the
//! certificate has to be an X.509-SVID with exactly the registered ID, under the
//! authorities of that ID's trust domain and of no other.

use crate::svid::x509;
use bytes::Bytes;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{
        WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use spiffe::SpiffeId;
use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

/// Trusts one SPIFFE ID.
#[derive(Debug)]
pub(super) struct SvidVerifier {
    id: SpiffeId,
    authorities: Bytes,
    algorithms: WebPkiSupportedAlgorithms,
}

impl SvidVerifier {
    /// Trusts `id` under `authorities`, those of its own trust domain as concatenated DER.
    pub(super) fn new(id: SpiffeId, authorities: Bytes) -> Arc<Self> {
        Arc::new(Self {
            id,
            authorities,
            algorithms: aws_lc_rs::default_provider().signature_verification_algorithms,
        })
    }
}

impl ServerCertVerifier for SvidVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain: Vec<u8> = std::iter::once(leaf)
            .chain(intermediates)
            .flat_map(|certificate| certificate.iter().copied())
            .collect();
        let at = UNIX_EPOCH
            .checked_add(Duration::from_secs(now.as_secs()))
            .ok_or(Error::FailedToGetCurrentTime)?;
        let domain = self.id.trust_domain();
        let svid = x509::validate(&chain, &self.authorities, domain, at)
            .map_err(|error| Error::General(format!("not an X.509-SVID of {domain}: {error}")))?;
        if svid.spiffe_id == self.id {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::NotValidForName.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
