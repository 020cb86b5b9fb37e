//! Building a leaf to the X.509-SVID profile.

use super::super::{PublicKey, key::random};
use crate::{canonical, clock::unix_seconds};
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm, SigningKey,
};
use spiffe::SpiffeId;
use std::time::SystemTime;
use time::OffsetDateTime;

/// Bytes of a serial number: 128 random bits (RFC 5280, section 4.1.2.2, allows up to 20 bytes).
const SERIAL_BYTES: usize = 16;

/// Why a certificate was not built.
#[derive(Debug, thiserror::Error)]
pub enum LeafError {
    /// Caller: a name that is not ASCII.
    #[error("a name cannot stand in a certificate: {0}")]
    Name(#[source] rcgen::Error),
    /// Caller: a time before 1970 or beyond what certificates can say.
    #[error("a time cannot stand in a certificate")]
    Time,
    /// Bug: the cryptographic library gave no random bytes.
    #[error("no random bytes")]
    Random,
    /// Bug: the issuer could not sign.
    #[error("the certificate could not be signed: {0}")]
    Sign(#[source] rcgen::Error),
}

/// What goes into a leaf.
#[derive(Clone, Copy, Debug)]
pub struct Leaf<'a> {
    /// The one URI SAN.
    pub spiffe_id: &'a SpiffeId,
    /// DNS SANs behind it.
    pub dns_names: &'a [String],
    /// The workload's key.
    pub public_key: &'a PublicKey,
    /// `notBefore`, cut to whole seconds.
    pub not_before: SystemTime,
    /// `notAfter`, cut to whole seconds.
    pub not_after: SystemTime,
}

/// A leaf that has been signed.
#[derive(Clone, Debug)]
pub struct SignedLeaf {
    /// The certificate.
    pub der: Vec<u8>,
    /// 32 lower-case hexadecimal digits.
    pub serial_hex: String,
}

impl Leaf<'_> {
    /// Signs the leaf.
    ///
    /// # Errors
    /// [`LeafError`].
    pub fn sign(&self, issuer: &Issuer<'_, impl SigningKey>) -> Result<SignedLeaf, LeafError> {
        let serial = serial()?;
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.not_before = date(self.not_before)?;
        params.not_after = date(self.not_after)?;
        // Without a subject rcgen marks the SAN critical (X509-SVID.md, section 3.1).
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = self.names()?;
        // Present, with cA false, so that nobody has to guess (X509-SVID.md, section 4.1).
        params.is_ca = IsCa::ExplicitNoCa;
        // Written critical (X509-SVID.md, section 4.3).
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // Both (X509-SVID.md, section 4.4).
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let certificate = params
            .signed_by(&LeafKey(self.public_key), issuer)
            .map_err(LeafError::Sign)?;
        Ok(SignedLeaf {
            der: certificate.der().to_vec(),
            serial_hex: canonical::hex(&serial),
        })
    }

    fn names(&self) -> Result<Vec<SanType>, LeafError> {
        // Exactly one URI (X509-SVID.md, section 2), any number of DNS names.
        let uri = self.spiffe_id.to_string().try_into().map(SanType::URI);
        let dns = self
            .dns_names
            .iter()
            .map(|name| name.as_str().try_into().map(SanType::DnsName));
        std::iter::once(uri)
            .chain(dns)
            .collect::<Result<_, _>>()
            .map_err(LeafError::Name)
    }
}

/// A random serial number that is never zero (RFC 5280, section 4.1.2.2). Its
/// first byte is not zero, so that all tools print it with the same length.
///
/// # Errors
/// [`LeafError::Random`].
pub(crate) fn serial() -> Result<[u8; SERIAL_BYTES], LeafError> {
    let mut serial = random::<SERIAL_BYTES>().map_err(|_library| LeafError::Random)?;
    if let Some(first) = serial.first_mut() {
        *first = (*first).max(1);
    }
    Ok(serial)
}

/// `at` as certificates write it, in whole seconds.
///
/// # Errors
/// [`LeafError::Time`].
pub(crate) fn date(at: SystemTime) -> Result<OffsetDateTime, LeafError> {
    i64::try_from(unix_seconds(at))
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .ok_or(LeafError::Time)
}

struct LeafKey<'a>(&'a PublicKey);

impl PublicKeyData for LeafKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.point()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}
