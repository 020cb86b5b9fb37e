//! WIT-SVIDs: signed and validated.
//!
//! A [`Signer`] writes what `authority` was asked for. [`validate`] reads a
//! token that anybody may have sent and gives an [`UnprovenWit`]: a WIT-SVID
//! is no bearer token, and nobody may take it for an identity before its
//! holder has proved possession of the key in it (WIT-SVID.md, sections 4 and
//! 5). That proof belongs to the protocol that carries the token, so it is
//! left to the caller, and the type's name says so.
//!
//! Standards: WIT-SVID.md (incubating), draft-ietf-wimse-workload-creds, RFC
//! 7515, 7519 and 7800. Unknown header parameters and claims are ignored, as
//! the standard tells validators; `crit` is refused, since no extension is
//! understood. Confirmation keys are P-256; others are refused.

use super::{
    Jwk, KeyError, PrivateKey, PublicKey, SecretText,
    claims::{self, ClaimError},
    jws::{Compact, JwsError, KeySet, SigningKey, VerifyingKey, is_allowed_algorithm},
};
use crate::clock::unix_seconds;
use serde::Serialize;
use serde_json::{Map, Value};
use spiffe::{SpiffeId, TrustDomain};
use std::{sync::Arc, time::SystemTime};

/// Why a token is not a WIT-SVID of this trust domain now.
#[derive(Debug, thiserror::Error)]
pub enum WitError {
    /// Not a signed token of the trust domain.
    #[error("{0}")]
    Token(#[from] JwsError),
    /// `typ` is not `wit+jwt` (WIT-SVID.md, section 2.2).
    #[error("typ is not wit+jwt")]
    Type,
    /// `crit` names an extension, and none is understood (WIT-SVID.md, section 2.4).
    #[error("a critical header parameter is not understood")]
    Critical,
    /// A claim that all tokens have.
    #[error("{0}")]
    Claim(#[from] ClaimError),
    /// `aud` is there (WIT-SVID.md, section 3.8).
    #[error("a WIT-SVID has no aud")]
    Audience,
    /// `iss` could be an OpenID issuer (WIT-SVID.md, section 3.7).
    #[error("iss could be an OpenID issuer")]
    Issuer,
    /// No `cnf`, or none with a `jwk` (WIT-SVID.md, section 3.2).
    #[error("no cnf with a jwk")]
    NoConfirmation,
    /// `cnf.jwk.alg` is missing or not allowed (WIT-SVID.md, section 3.2).
    #[error("the alg of cnf.jwk is missing or not allowed")]
    ConfirmationAlgorithm,
    /// `cnf.jwk` is not a public P-256 key for ES256 (RFC 7800, section 3.2).
    #[error("cnf.jwk is not a public P-256 key")]
    ConfirmationKey,
}

/// A WIT-SVID whose holder has proved nothing yet.
#[derive(Clone, Debug)]
#[must_use = "it identifies nobody without a proof of possession"]
pub struct UnprovenWit {
    /// The workload (`sub`) that the holder of the key is.
    pub spiffe_id: SpiffeId,
    /// The key whose possession has to be proved (`cnf.jwk`).
    pub confirmation: VerifyingKey,
    /// The time in `exp`.
    pub expires_at: SystemTime,
    /// `jti`, if there is one.
    pub jti: Option<String>,
}

/// Validates a token against the WIT authorities of `trust_domain` at one time.
///
/// # Errors
/// The first rule that does not hold.
pub fn validate(
    token: &str,
    keys: &KeySet,
    trust_domain: &TrustDomain,
    at: SystemTime,
) -> Result<UnprovenWit, WitError> {
    let token = Compact::parse(token)?;
    if token.header_names().any(|name| name == "crit") {
        return Err(WitError::Critical);
    }
    if token.header_text("typ")? != Some("wit+jwt") {
        return Err(WitError::Type);
    }
    let claims = token.verify(keys)?;
    let spiffe_id = claims::subject(&claims, trust_domain)?;
    let expires_at = claims::validity(&claims, at)?;
    if claims.contains_key("aud") {
        return Err(WitError::Audience);
    }
    // OpenID Connect Discovery 1.0, section 3: an issuer is an https URL.
    if let Some(issuer) = claims.get("iss")
        && issuer.as_str().is_none_or(is_https)
    {
        return Err(WitError::Issuer);
    }
    Ok(UnprovenWit {
        spiffe_id,
        confirmation: confirmation(&claims)?,
        expires_at,
        jti: claims::token_id(&claims),
    })
}

fn is_https(url: &str) -> bool {
    url.get(..6)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"))
}

/// The key in `cnf.jwk`.
fn confirmation(claims: &Map<String, Value>) -> Result<VerifyingKey, WitError> {
    let jwk = claims
        .get("cnf")
        .and_then(|confirmation| confirmation.get("jwk"))
        .and_then(Value::as_object)
        .ok_or(WitError::NoConfirmation)?;
    let text = |name| jwk.get(name).and_then(Value::as_str);
    let alg = text("alg")
        .filter(|alg| is_allowed_algorithm(alg))
        .ok_or(WitError::ConfirmationAlgorithm)?;
    // A private key in a token is no secret any more (RFC 7800, section 3.2).
    if (alg, text("kty"), text("crv")) != ("ES256", Some("EC"), Some("P-256"))
        || jwk.contains_key("d")
    {
        return Err(WitError::ConfirmationKey);
    }
    let (Some(x), Some(y)) = (text("x"), text("y")) else {
        return Err(WitError::ConfirmationKey);
    };
    PublicKey::from_coordinates(x, y)
        .and_then(VerifyingKey::new)
        .map_err(|_unusable| WitError::ConfirmationKey)
}

/// What goes into a WIT-SVID.
#[derive(Clone, Copy, Debug)]
pub struct Claims<'a> {
    /// `sub`.
    pub spiffe_id: &'a SpiffeId,
    /// `cnf.jwk`.
    pub public_key: &'a PublicKey,
    /// `iat`, cut to whole seconds.
    pub issued_at: SystemTime,
    /// `exp`, cut to whole seconds.
    pub expires_at: SystemTime,
    /// `jti`.
    pub jti: &'a str,
    /// `att`.
    pub attestation_id: Option<&'a str>,
    /// `nhi_version`.
    pub nhi_version: Option<u64>,
}

/// A key that signs WIT-SVIDs and nothing else.
#[derive(Debug)]
pub struct Signer(SigningKey);

impl Signer {
    /// Makes `key` sign WIT-SVIDs.
    ///
    /// # Errors
    /// Where the cryptographic library refuses the key.
    pub fn new(key: &PrivateKey) -> Result<Self, KeyError> {
        SigningKey::new(key, "wit+jwt").map(Self)
    }

    /// The `kid`.
    #[must_use]
    pub const fn key_id(&self) -> &Arc<str> {
        self.0.key_id()
    }

    /// Signs a token.
    ///
    /// # Errors
    /// [`JwsError::TooLong`] where validators would refuse it, [`JwsError::Library`].
    pub fn sign(&self, claims: &Claims<'_>) -> Result<SecretText, JwsError> {
        // No `aud`, and no `iss` (WIT-SVID.md, sections 3.7 and 3.8).
        self.0.sign(&Payload {
            att: claims.attestation_id,
            cnf: Confirmation::of(claims.public_key),
            exp: unix_seconds(claims.expires_at),
            iat: unix_seconds(claims.issued_at),
            jti: claims.jti,
            nhi_version: claims.nhi_version,
            sub: &claims.spiffe_id.to_string(),
        })
    }
}

// Fields in alphabetical order.
#[derive(Serialize)]
struct Payload<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    att: Option<&'a str>,
    cnf: Confirmation,
    exp: u64,
    iat: u64,
    jti: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    nhi_version: Option<u64>,
    sub: &'a str,
}

/// RFC 7800, section 3.2.
#[derive(Serialize)]
struct Confirmation {
    jwk: Jwk,
}

impl Confirmation {
    fn of(key: &PublicKey) -> Self {
        Self {
            jwk: Jwk::of(key).es256(),
        }
    }
}

#[cfg(test)]
mod tests;
