//! The key and certificate that sign X.509-SVIDs.

use super::{AuthorityError, AuthorityKind, SignedX509, Window, X509Request};
use crate::{
    canonical,
    svid::x509::{
        X509Error, certificates,
        leaf::{Leaf, LeafError, date, serial},
        system_time,
    },
};
use aws_lc_rs::{
    digest,
    rand::SystemRandom,
    rsa,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _,
        RSA_PKCS1_SHA256,
    },
};
use bytes::Bytes;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyUsagePurpose,
    PublicKeyData, SanType, SerialNumber, SignatureAlgorithm, SigningKey,
};
use spiffe::TrustDomain;
use std::{
    fmt::{self, Debug, Formatter},
    sync::Arc,
    time::{Duration, SystemTime},
};
use x509_parser::{certificate::X509Certificate, extensions::ParsedExtension};

/// How far `notBefore` of a leaf lies back, for verifiers whose clocks are slow.
const LEAF_BACKDATE: Duration = Duration::from_secs(10);

/// Bytes of a key identifier (RFC 7093, section 2).
const KEY_ID_BYTES: usize = 20;

/// The attribute type `serialNumber` (X.520; RFC 5280, appendix A.1).
const SUBJECT_SERIAL_NUMBER: &[u64] = &[2, 5, 4, 5];

/// A private key that signs certificates. Its bytes stay in the cryptographic
/// library, which zeroes them.
pub(super) struct CaKey {
    pair: Pair,
    algorithm: &'static SignatureAlgorithm,
}

enum Pair {
    Ec(EcdsaKeyPair),
    Rsa(Box<rsa::KeyPair>),
}

impl CaKey {
    /// The key that `der` holds: P-256, P-384 or RSA, as PKCS#8, SEC 1 or PKCS#1.
    pub(super) fn from_der(der: &[u8]) -> Option<Self> {
        let ec = |signing, algorithm| {
            EcdsaKeyPair::from_private_key_der(signing, der)
                .ok()
                .map(|pair| Self {
                    pair: Pair::Ec(pair),
                    algorithm,
                })
        };
        let rsa = || {
            rsa::KeyPair::from_pkcs8(der)
                .or_else(|_other| rsa::KeyPair::from_der(der))
                .ok()
                .map(|pair| Self {
                    pair: Pair::Rsa(Box::new(pair)),
                    algorithm: &rcgen::PKCS_RSA_SHA256,
                })
        };
        ec(
            &ECDSA_P256_SHA256_ASN1_SIGNING,
            &rcgen::PKCS_ECDSA_P256_SHA256,
        )
        .or_else(|| {
            ec(
                &ECDSA_P384_SHA384_ASN1_SIGNING,
                &rcgen::PKCS_ECDSA_P384_SHA384,
            )
        })
        .or_else(rsa)
    }

    /// Whether `certificate` is for this key.
    pub(super) fn fits(&self, certificate: &X509Certificate<'_>) -> bool {
        *certificate.public_key().subject_public_key.data == *self.der_bytes()
    }
}

impl Debug for CaKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("CaKey")
    }
}

impl PublicKeyData for CaKey {
    fn der_bytes(&self) -> &[u8] {
        match &self.pair {
            Pair::Ec(pair) => pair.public_key().as_ref(),
            Pair::Rsa(pair) => pair.public_key().as_ref(),
        }
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

impl SigningKey for CaKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ec(pair) => pair
                .sign(&random, message)
                .map(|signature| signature.as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .map(|()| signature)
            }
        }
        .map_err(|_unspecified| rcgen::Error::RingUnspecified)
    }
}

/// A self-signed root for `key`: an X.509-SVID signing certificate (X509-SVID.md, section 3.2).
pub(super) fn self_signed_root(
    key: &CaKey,
    trust_domain: &TrustDomain,
    not_before: SystemTime,
    not_after: SystemTime,
) -> Result<Vec<u8>, LeafError> {
    let serial = serial()?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, "Symbolon X.509 authority");
    // Each root has a name of its own, so that nobody tries the wrong one.
    subject.push(
        DnType::CustomDnType(SUBJECT_SERIAL_NUMBER.to_vec()),
        canonical::hex(&serial),
    );
    // No path in a signing certificate's SPIFFE ID (X509-SVID.md, section 3.2).
    let uri = trust_domain
        .id_string()
        .try_into()
        .map_err(LeafError::Name)?;
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = date(not_before)?;
    params.not_after = date(not_after)?;
    params.distinguished_name = subject;
    params.subject_alt_names = vec![SanType::URI(uri)];
    // It signs leaves and nothing below which could sign (RFC 5280, section 4.2.1.9).
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    // X509-SVID.md, section 4.3.
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(key).map_err(LeafError::Sign)?;
    Ok(certificate.der().to_vec())
}

/// What signs X.509-SVIDs now.
pub(super) struct X509Signer {
    issuer: Issuer<'static, CaKey>,
    /// The certificates between the leaf and the one in the bundle, DER.
    intermediates: Bytes,
    window: Window,
    key_id: Arc<str>,
}

impl X509Signer {
    /// A signer for a chain that starts with the certificate of `key`; its last certificate is in
    /// the bundle.
    pub(super) fn new(key: CaKey, chain: &[Bytes]) -> Result<Self, X509Error> {
        let (issuing, above) = chain.split_first().ok_or(X509Error::Empty)?;
        let intermediates = if above.is_empty() {
            Bytes::new()
        } else {
            // All but the last.
            chain
                .iter()
                .take(chain.len() - 1)
                .flat_map(Bytes::clone)
                .collect()
        };
        Ok(Self {
            issuer: Issuer::from_ca_cert_der(&issuing.as_ref().into(), key)
                .map_err(|_unreadable| X509Error::Malformed)?,
            intermediates,
            window: window(chain)?,
            key_id: key_id(issuing)?,
        })
    }

    /// Signs an X.509-SVID at `now`, with at most `longest` to live.
    pub(super) fn sign(
        &self,
        request: &X509Request<'_>,
        longest: Duration,
        now: SystemTime,
    ) -> Result<SignedX509, AuthorityError> {
        let not_after = self
            .window
            .cut(now, request.lifetime.min(longest))
            .ok_or(AuthorityError::NoneValid(AuthorityKind::X509))?;
        let not_before = now
            .checked_sub(LEAF_BACKDATE)
            .unwrap_or(now)
            .max(self.window.not_before);
        let leaf = Leaf {
            spiffe_id: request.spiffe_id,
            dns_names: request.dns_names,
            public_key: request.public_key,
            not_before: super::whole_seconds(not_before),
            not_after,
        };
        let signed = leaf.sign(&self.issuer)?;
        let thumbprint = canonical::sha256_hex(&signed.der);
        let mut chain = signed.der;
        chain.extend_from_slice(&self.intermediates);
        Ok(SignedX509 {
            chain: chain.into(),
            serial_hex: signed.serial_hex,
            not_before: leaf.not_before,
            not_after,
            thumbprint,
            key_id: Arc::clone(&self.key_id),
        })
    }
}

impl Debug for X509Signer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("X509Signer").field(&self.key_id).finish()
    }
}

/// When all certificates of `chain` are valid.
pub(super) fn window(chain: &[Bytes]) -> Result<Window, X509Error> {
    let mut window = None::<Window>;
    for der in chain {
        for certificate in certificates(der)? {
            let validity = certificate.validity();
            let own = Window {
                not_before: system_time(validity.not_before)?,
                not_after: system_time(validity.not_after)?,
            };
            window = Some(window.map_or(own, |other| other.intersection(own)));
        }
    }
    window.ok_or(X509Error::Empty)
}

/// The subject key identifier in hexadecimal; where there is none, one made as RFC 7093 has it.
pub(super) fn key_id(der: &[u8]) -> Result<Arc<str>, X509Error> {
    let found = certificates(der)?;
    let certificate = found.first().ok_or(X509Error::Empty)?;
    let extension =
        certificate
            .iter_extensions()
            .find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => Some(canonical::hex(id.0)),
                _ => None,
            });
    let key_id = extension.unwrap_or_else(|| {
        let digest = digest::digest(&digest::SHA256, certificate.public_key().raw);
        canonical::hex(digest.as_ref().get(..KEY_ID_BYTES).unwrap_or_default())
    });
    Ok(key_id.into())
}
