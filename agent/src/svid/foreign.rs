//! Keys of foreign trust domains: whatever the standard allows, under whatever `kid`.
//!
//! Our own keys are P-256 and named by their thumbprints; others may use any of the
//! nine algorithms (JWT-SVID.md, section 2.1). The key decides which of them it
//! verifies: the curve names one, an RSA key its six unless the key names one.

use super::{
    JwkSet,
    jws::{JwsError, Keys, is_allowed_algorithm},
};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt::{self, Debug, Formatter};

/// The longest `kid`: it stands in the header of every token.
const MAX_KEY_ID_BYTES: usize = 1_024;
/// Bytes of the modulus of an RSA key: 2,048 to 8,192 bits.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1_024;
/// Bytes of its exponent: no library makes longer ones, and they make verifying slow.
const MAX_EXPONENT_BYTES: usize = 8;

/// What is wrong with a JWK (RFC 7517, section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwkError {
    /// No `kid`, or not a text of 1 to 1,024 bytes.
    #[error("no kid")]
    NoKeyId,
    /// A member that the type of the key demands is missing, or is not what it has to be.
    #[error("a malformed public key")]
    Malformed,
}

/// A public key of a foreign trust domain that verifies tokens.
#[derive(Clone)]
pub struct ForeignKey {
    jwk: PublicJwk,
    material: Material,
}

/// The public members alone, without `use`, in the order of their names.
#[derive(Clone, Debug, Serialize)]
struct PublicJwk {
    #[serde(skip_serializing_if = "Option::is_none")]
    alg: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    crv: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<String>,
    kid: String,
    kty: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<String>,
}

#[derive(Clone)]
enum Material {
    Ec(&'static str, ParsedPublicKey),
    Rsa { n: Vec<u8>, e: Vec<u8> },
}

impl ForeignKey {
    /// Reads a JWK; `None` where its type or curve is one that this agent does not know, which
    /// readers ignore (`SPIFFE_Trust_Domain_and_Bundle.md`, section 4.2.1).
    ///
    /// # Errors
    /// See [`JwkError`].
    pub(crate) fn of(jwk: &Map<String, Value>) -> Result<Option<Self>, JwkError> {
        let kid = text(jwk, "kid").filter(|kid| (1..=MAX_KEY_ID_BYTES).contains(&kid.len()));
        let kid = kid.ok_or(JwkError::NoKeyId)?.to_owned();
        let material = match text(jwk, "kty") {
            Some("EC") => Material::ec(jwk)?,
            Some("RSA") => Some(Material::rsa(jwk)?),
            _ => None,
        };
        let Some(material) = material else {
            return Ok(None);
        };
        let own = |name: &str| text(jwk, name).map(str::to_owned);
        let is_ec = matches!(material, Material::Ec(..));
        let of_ec = |name: &str| own(name).filter(|_| is_ec);
        let of_rsa = |name: &str| own(name).filter(|_| !is_ec);
        let jwk = PublicJwk {
            alg: own("alg").filter(|alg| is_allowed_algorithm(alg)),
            crv: of_ec("crv"),
            e: of_rsa("e"),
            kid,
            kty: if is_ec { "EC" } else { "RSA" },
            n: of_rsa("n"),
            x: of_ec("x"),
            y: of_ec("y"),
        };
        Ok(Some(Self { jwk, material }))
    }

    /// The `kid`.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.jwk.kid
    }

    /// All that it says, in one line.
    pub(crate) fn line(&self) -> String {
        serde_json::to_string(&self.jwk).unwrap_or_default()
    }

    fn verify(&self, algorithm: &str, signed: &[u8], signature: &[u8]) -> Result<(), JwsError> {
        if self.jwk.alg.as_ref().is_some_and(|alg| alg != algorithm) {
            return Err(JwsError::OtherAlgorithm);
        }
        let verified = match &self.material {
            Material::Ec(own, _) if *own != algorithm => return Err(JwsError::OtherAlgorithm),
            Material::Ec(_, key) => key.verify_sig(signed, signature),
            Material::Rsa { n, e } => {
                let parameters = parameters(algorithm).ok_or(JwsError::OtherAlgorithm)?;
                RsaPublicKeyComponents { n, e }.verify(parameters, signed, signature)
            }
        };
        verified.map_err(|_unspecified| JwsError::Signature)
    }
}

impl Material {
    /// None of a curve that is not known.
    fn ec(jwk: &Map<String, Value>) -> Result<Option<Self>, JwkError> {
        let Some(curve) = text(jwk, "crv").and_then(Curve::named) else {
            return Ok(None);
        };
        let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
        if x.len() != curve.coordinate || y.len() != curve.coordinate {
            return Err(JwkError::Malformed);
        }
        // Uncompressed: 4, then both coordinates (SEC 1, section 2.3.3).
        let point = [&[4], &*x, &*y].concat();
        let parsed = ParsedPublicKey::new(curve.verification, point)
            .map_err(|_not_on_the_curve| JwkError::Malformed)?;
        Ok(Some(Self::Ec(curve.algorithm, parsed)))
    }

    /// Without leading zeros (RFC 7518, section 6.3.1).
    fn rsa(jwk: &Map<String, Value>) -> Result<Self, JwkError> {
        let (n, e) = (bytes(jwk, "n")?, bytes(jwk, "e")?);
        let starts = |bytes: &[u8]| bytes.first().is_some_and(|first| *first != 0);
        let is_odd = n.last().is_some_and(|last| last % 2 == 1);
        let fits = MODULUS_BYTES.contains(&n.len()) && e.len() <= MAX_EXPONENT_BYTES;
        match starts(&n) && starts(&e) && is_odd && fits {
            true => Ok(Self::Rsa { n, e }),
            false => Err(JwkError::Malformed),
        }
    }
}

fn text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    jwk.get(name).and_then(Value::as_str)
}

fn bytes(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, JwkError> {
    let text = text(jwk, name).ok_or(JwkError::Malformed)?;
    let decoded = URL_SAFE_NO_PAD.decode(text);
    decoded.map_err(|_not_base64url| JwkError::Malformed)
}

impl Debug for ForeignKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ForeignKey").field(&self.jwk.kid).finish()
    }
}

/// A curve that tokens are signed with (RFC 7518, sections 3.4 and 6.2.1.1).
struct Curve {
    algorithm: &'static str,
    verification: &'static aws_lc_rs::signature::EcdsaVerificationAlgorithm,
    coordinate: usize,
}

impl Curve {
    fn named(name: &str) -> Option<Self> {
        let (algorithm, verification, coordinate) = match name {
            "P-256" => ("ES256", &ECDSA_P256_SHA256_FIXED, 32),
            "P-384" => ("ES384", &ECDSA_P384_SHA384_FIXED, 48),
            "P-521" => ("ES512", &ECDSA_P521_SHA512_FIXED, 66),
            _ => return None,
        };
        Some(Self {
            algorithm,
            verification,
            coordinate,
        })
    }
}

fn parameters(algorithm: &str) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        "RS256" => &RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &RSA_PSS_2048_8192_SHA256,
        "PS384" => &RSA_PSS_2048_8192_SHA384,
        "PS512" => &RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

/// The authorities of a foreign trust domain for one type of token.
#[derive(Clone, Debug, Default)]
pub struct ForeignKeys(Vec<ForeignKey>);

impl ForeignKeys {
    /// Adds a key; `false` where there is one with its `kid`.
    pub(crate) fn add(&mut self, key: ForeignKey) -> bool {
        let is_new = self.0.iter().all(|known| known.key_id() != key.key_id());
        if is_new {
            self.0.push(key);
        }
        is_new
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All keys.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, ForeignKey> {
        self.0.iter()
    }

    /// The JWK Set, without `use`.
    pub(crate) fn jwks(&self) -> Result<Vec<u8>, serde_json::Error> {
        JwkSet::document(self.0.iter().map(|key| &key.jwk))
    }
}

impl Keys for ForeignKeys {
    fn admits(&self, algorithm: &str) -> Result<(), JwsError> {
        match is_allowed_algorithm(algorithm) {
            true => Ok(()),
            false => Err(JwsError::ForbiddenAlgorithm),
        }
    }

    fn verify(
        &self,
        algorithm: &str,
        key_id: &str,
        signed: &str,
        signature: &str,
    ) -> Result<(), JwsError> {
        let key = self.0.iter().find(|key| key.key_id() == key_id);
        let key = key.ok_or(JwsError::UnknownKey)?;
        let signature = URL_SAFE_NO_PAD.decode(signature)?;
        key.verify(algorithm, signed.as_bytes(), &signature)
    }
}

#[cfg(test)]
mod tests;
