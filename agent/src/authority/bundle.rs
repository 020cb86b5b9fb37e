//! The trust bundle, and its documents rendered once for each change.
//!
//! Readers share one [`TrustBundle`] and hand its documents on without copying
//! them. The forms differ on purpose: `use` stands in the SPIFFE bundle alone
//! (`SPIFFE_Trust_Domain_and_Bundle.md`, section 4.2.2), because common JOSE
//! libraries find no key whose `use` they do not know.

use super::pem;
use crate::{
    canonical,
    svid::{
        Jwk, JwkSet,
        jws::{KeySet, VerifyingKey},
        jwt::{self, JwtError, JwtSvid},
        x509::{X509Error, certificates},
    },
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use serde::Serialize;
use spiffe::TrustDomain;
use std::time::{Duration, SystemTime};
use x509_parser::{
    certificate::X509Certificate,
    oid_registry::{OID_EC_P256, OID_NIST_EC_P384},
    public_key::PublicKey as CertificateKey,
};

/// An X.509 authority as verifiers know it: a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct X509Authority {
    der: Bytes,
    key: CertificateJwk,
}

impl X509Authority {
    /// Reads one DER certificate.
    ///
    /// # Errors
    /// [`X509Error::Malformed`] where it is not one, or its key is neither RSA nor P-256 nor P-384.
    pub fn new(der: Bytes) -> Result<Self, X509Error> {
        let key = match certificates(&der)?.as_slice() {
            [certificate] => CertificateJwk::of(certificate).ok_or(X509Error::Malformed)?,
            _ => return Err(X509Error::Malformed),
        };
        Ok(Self { der, key })
    }

    /// The certificate.
    #[must_use]
    pub const fn der(&self) -> &Bytes {
        &self.der
    }
}

/// What verifies the SVIDs of one trust domain, and the documents that say so.
#[derive(Debug)]
pub struct TrustBundle {
    trust_domain: TrustDomain,
    sequence: u64,
    refresh_hint: Duration,
    x509: Vec<X509Authority>,
    jwt: KeySet,
    wit: KeySet,
    x509_der: Bytes,
    x509_pem: Bytes,
    jwt_jwks: Bytes,
    wit_jwks: Bytes,
    openid_jwks: Bytes,
    spiffe_json: Bytes,
}

/// What a trust bundle holds, before it is rendered.
#[derive(Clone, Debug)]
pub struct BundleContents {
    /// The trust domain that it speaks for.
    pub trust_domain: TrustDomain,
    /// `spiffe_sequence`.
    pub sequence: u64,
    /// `spiffe_refresh_hint`, in whole seconds.
    pub refresh_hint: Duration,
    /// Authorities for X.509-SVIDs.
    pub x509: Vec<X509Authority>,
    /// Authorities for JWT-SVIDs.
    pub jwt: KeySet,
    /// Authorities for WIT-SVIDs.
    pub wit: KeySet,
}

impl BundleContents {
    /// SHA-256 of the SPIFFE bundle but for its sequence: another one is another bundle.
    pub(super) fn digest(&self) -> Result<String, serde_json::Error> {
        let document = SpiffeDocument {
            spiffe_sequence: 0,
            ..SpiffeDocument::of(self)
        };
        serde_json::to_vec(&document).map(|json| canonical::sha256_hex(&json))
    }
}

impl TrustBundle {
    /// Renders the documents.
    ///
    /// # Errors
    /// Where a document cannot be written as JSON, which is a bug.
    pub fn new(contents: BundleContents) -> Result<Self, serde_json::Error> {
        let spiffe = SpiffeDocument::of(&contents);
        let spiffe_json = serde_json::to_vec(&spiffe)?.into();
        Ok(Self {
            x509_der: contents.x509.iter().flat_map(|a| a.der.clone()).collect(),
            x509_pem: contents
                .x509
                .iter()
                .map(|authority| pem::certificate(&authority.der))
                .collect::<String>()
                .into(),
            jwt_jwks: jwks(&contents.jwt, None)?,
            wit_jwks: jwks(&contents.wit, None)?,
            openid_jwks: jwks(&contents.jwt, Some("sig"))?,
            spiffe_json,
            trust_domain: contents.trust_domain,
            sequence: contents.sequence,
            refresh_hint: contents.refresh_hint,
            x509: contents.x509,
            jwt: contents.jwt,
            wit: contents.wit,
        })
    }

    /// The trust domain that this bundle speaks for.
    #[must_use]
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// `spiffe_sequence`: grows with every change (`SPIFFE_Trust_Domain_and_Bundle.md`, section 4.1.1).
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// How often consumers shall ask again (the same, section 4.1.2).
    #[must_use]
    pub const fn refresh_hint(&self) -> Duration {
        self.refresh_hint
    }

    /// The X.509 authorities.
    #[must_use]
    pub fn x509_authorities(&self) -> &[X509Authority] {
        &self.x509
    }

    /// The JWT authorities, parsed.
    #[must_use]
    pub const fn jwt_keys(&self) -> &KeySet {
        &self.jwt
    }

    /// The WIT authorities, parsed.
    #[must_use]
    pub const fn wit_keys(&self) -> &KeySet {
        &self.wit
    }

    /// The JWT authority with this `kid`.
    #[must_use]
    pub fn find_jwt_key(&self, key_id: &str) -> Option<&VerifyingKey> {
        self.jwt.find(key_id)
    }

    /// Validates a JWT-SVID of this trust domain for one audience, at one time.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn validate_jwt(
        &self,
        token: &str,
        audience: &str,
        at: SystemTime,
    ) -> Result<JwtSvid, JwtError> {
        jwt::validate(token, &self.jwt, &self.trust_domain, audience, at)
    }

    /// The X.509 authorities as concatenated DER.
    #[must_use]
    pub const fn x509_der(&self) -> &Bytes {
        &self.x509_der
    }

    /// The X.509 authorities as PEM.
    #[must_use]
    pub const fn x509_pem(&self) -> &Bytes {
        &self.x509_pem
    }

    /// The JWT authorities as a JWK Set, without `use` (RFC 7517, section 5).
    #[must_use]
    pub const fn jwt_jwks(&self) -> &Bytes {
        &self.jwt_jwks
    }

    /// The WIT authorities as a JWK Set, without `use`.
    #[must_use]
    pub const fn wit_jwks(&self) -> &Bytes {
        &self.wit_jwks
    }

    /// The JWT authorities as a JWK Set with the `use` that OpenID clients look for
    /// (OpenID Connect Discovery 1.0, section 3: `sig`).
    #[must_use]
    pub const fn openid_jwks(&self) -> &Bytes {
        &self.openid_jwks
    }

    /// The SPIFFE bundle (`SPIFFE_Trust_Domain_and_Bundle.md`, section 4).
    #[must_use]
    pub const fn spiffe_json(&self) -> &Bytes {
        &self.spiffe_json
    }
}

fn jwks(keys: &KeySet, usage: Option<&'static str>) -> Result<Bytes, serde_json::Error> {
    let keys = keys.iter().map(|key| token_jwk(key).es256().used_as(usage));
    Ok(JwkSet::document(keys)?.into())
}

/// An authority for tokens.
fn token_jwk(key: &VerifyingKey) -> Jwk {
    Jwk::of(key.public_key()).named(key.key_id().to_string())
}

/// The SPIFFE bundle. It has no parameters but those that the standards define (section 4.2).
#[derive(Serialize)]
struct SpiffeDocument<'a> {
    keys: Vec<SpiffeJwk<'a>>,
    spiffe_refresh_hint: u64,
    spiffe_sequence: u64,
}

#[derive(Serialize)]
#[serde(untagged)]
enum SpiffeJwk<'a> {
    X509(X509Jwk<'a>),
    Token(Jwk),
}

/// One CA certificate, without `kid` (X509-SVID.md, section 6.1).
#[derive(Serialize)]
struct X509Jwk<'a> {
    #[serde(flatten)]
    key: &'a CertificateJwk,
    #[serde(rename = "use")]
    usage: &'static str,
    x5c: [String; 1],
}

impl<'a> SpiffeDocument<'a> {
    fn of(contents: &'a BundleContents) -> Self {
        let x509 = contents.x509.iter().map(|authority| {
            SpiffeJwk::X509(X509Jwk {
                key: &authority.key,
                usage: "x509-svid",
                // Padded base64, not base64url (RFC 7517, section 4.7).
                x5c: [STANDARD.encode(&authority.der)],
            })
        });
        let tokens = [(&contents.jwt, "jwt-svid"), (&contents.wit, "wit-svid")]
            .into_iter()
            .flat_map(|(keys, usage)| keys.iter().map(move |key| (key, usage)))
            .map(|(key, usage)| SpiffeJwk::Token(token_jwk(key).used_as(Some(usage))));
        Self {
            keys: x509.chain(tokens).collect(),
            spiffe_refresh_hint: contents.refresh_hint.as_secs(),
            spiffe_sequence: contents.sequence,
        }
    }
}

/// The public key of a certificate as JWK members (RFC 7518, sections 6.2.1 and 6.3.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kty")]
enum CertificateJwk {
    #[serde(rename = "EC")]
    Ec {
        crv: &'static str,
        x: String,
        y: String,
    },
    #[serde(rename = "RSA")]
    Rsa { e: String, n: String },
}

impl CertificateJwk {
    fn of(certificate: &X509Certificate<'_>) -> Option<Self> {
        let spki = certificate.public_key();
        match spki.parsed().ok()? {
            CertificateKey::EC(point) => {
                let curve = spki.algorithm.parameters.as_ref()?.as_oid().ok()?;
                let crv = match curve {
                    curve if curve == OID_EC_P256 => "P-256",
                    curve if curve == OID_NIST_EC_P384 => "P-384",
                    _ => return None,
                };
                // Uncompressed: 4, then both coordinates (SEC 1, section 2.3.3).
                let coordinates = point.data().strip_prefix(&[4])?;
                let (x, y) = coordinates.split_at_checked(coordinates.len() / 2)?;
                Some(Self::Ec {
                    crv,
                    x: URL_SAFE_NO_PAD.encode(x),
                    y: URL_SAFE_NO_PAD.encode(y),
                })
            }
            CertificateKey::RSA(key) => Some(Self::Rsa {
                e: unsigned(key.exponent),
                n: unsigned(key.modulus),
            }),
            _ => None,
        }
    }
}

/// `Base64urlUInt`: no leading zeros (RFC 7518, section 2).
fn unsigned(bytes: &[u8]) -> String {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or_default();
    URL_SAFE_NO_PAD.encode(bytes.get(start..).unwrap_or_default())
}

#[cfg(test)]
mod tests;
