//! JWT-SVIDs: signed and validated.
//!
//! A [`Signer`] writes what `authority` was asked for, with claims in
//! alphabetical order. [`validate`] reads a token that anybody may have sent:
//! it has the size that a token may have, its header has nothing but what the
//! standard permits, one of the trust domain's JWT authorities has signed it,
//! and only then its claims are read.
//!
//! Invariants: what is signed here is accepted by [`validate`] until it
//! expires; a key signs JWT-SVIDs only if it was made a [`Signer`].
//!
//! Standards: JWT-SVID.md and RFC 7515, 7518 and 7519. Stricter than they are
//! where they leave a choice: `kid` is demanded (as go-spiffe and SPIRE do),
//! times are whole seconds, the algorithm is ES256. The uniqueness of `jti` is
//! not tracked (JWT-SVID.md, section 7.1).

use super::{
    KeyError, PrivateKey, SecretText,
    claims::{self, ClaimError},
    jws::{Compact, JwsError, Keys, SigningKey},
};
use crate::clock::unix_seconds;
use serde::Serialize;
use serde_json::{Map, Value};
use spiffe::{SpiffeId, TrustDomain};
use std::{sync::Arc, time::SystemTime};

/// Why a token is not a JWT-SVID of this trust domain for this audience now.
#[derive(Debug, thiserror::Error)]
pub enum JwtError {
    /// Not a signed token of the trust domain.
    #[error("{0}")]
    Token(#[from] JwsError),
    /// A header parameter other than `alg`, `kid` and `typ` (JWT-SVID.md, section 2).
    #[error("a header parameter other than alg, kid and typ")]
    Header,
    /// A `typ` that is neither `JWT` nor `JOSE` (JWT-SVID.md, section 2.3).
    #[error("typ is neither JWT nor JOSE")]
    Type,
    /// A claim that all tokens have.
    #[error("{0}")]
    Claim(#[from] ClaimError),
    /// No `aud`, or one without a value, or not of strings (JWT-SVID.md, section 3.2).
    #[error("no aud")]
    NoAudience,
    /// Not for this audience (JWT-SVID.md, section 3.2).
    #[error("for another audience")]
    OtherAudience,
}

/// What a validated JWT-SVID says.
#[derive(Clone, Debug)]
pub struct JwtSvid {
    /// The workload (`sub`).
    pub spiffe_id: SpiffeId,
    /// All audiences.
    pub audiences: Vec<String>,
    /// The time in `exp`.
    pub expires_at: SystemTime,
    /// `jti`, if there is one.
    pub jti: Option<String>,
    /// Every claim.
    pub claims: Map<String, Value>,
}

/// The trust domain that `token` claims to be of. Nothing is verified: it only says by whose keys
/// the token has to be judged (`SPIFFE_Trust_Domain_and_Bundle.md`, section 3).
#[must_use]
pub fn claimed_trust_domain(token: &str) -> Option<TrustDomain> {
    let claims = Compact::parse(token).ok()?.unverified_claims().ok()?;
    let subject = claims.get("sub")?.as_str()?;
    let spiffe_id = SpiffeId::new(subject).ok()?;
    Some(spiffe_id.trust_domain().clone())
}

/// Validates a token against the JWT authorities of `trust_domain`, for one audience, at one time.
///
/// # Errors
/// The first rule that does not hold.
pub fn validate(
    token: &str,
    keys: &impl Keys,
    trust_domain: &TrustDomain,
    audience: &str,
    at: SystemTime,
) -> Result<JwtSvid, JwtError> {
    let token = Compact::parse(token)?;
    if token
        .header_names()
        .any(|name| !matches!(name, "alg" | "kid" | "typ"))
    {
        return Err(JwtError::Header);
    }
    if !matches!(token.header_text("typ")?, None | Some("JWT" | "JOSE")) {
        return Err(JwtError::Type);
    }
    let claims = token.verify(keys)?;
    let spiffe_id = claims::subject(&claims, trust_domain)?;
    let expires_at = claims::validity(&claims, at)?;
    let audiences = audiences(&claims)?;
    if !audiences.iter().any(|candidate| candidate == audience) {
        return Err(JwtError::OtherAudience);
    }
    Ok(JwtSvid {
        spiffe_id,
        audiences,
        expires_at,
        jti: claims::token_id(&claims),
        claims,
    })
}

/// One string, or an array of them (RFC 7519, section 4.1.3).
fn audiences(claims: &Map<String, Value>) -> Result<Vec<String>, JwtError> {
    let audiences = match claims.get("aud") {
        Some(Value::String(audience)) => vec![audience.clone()],
        Some(Value::Array(audiences)) => audiences
            .iter()
            .map(|audience| audience.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or(JwtError::NoAudience)?,
        _ => return Err(JwtError::NoAudience),
    };
    if audiences.is_empty() {
        return Err(JwtError::NoAudience);
    }
    Ok(audiences)
}

/// What goes into a JWT-SVID.
#[derive(Clone, Copy, Debug)]
pub struct Claims<'a> {
    /// `sub`.
    pub spiffe_id: &'a SpiffeId,
    /// `aud`.
    pub audiences: &'a [String],
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
    /// `client_id`.
    pub client_id: Option<&'a str>,
    /// `iss`.
    pub issuer: Option<&'a str>,
}

/// A key that signs JWT-SVIDs and nothing else.
#[derive(Debug)]
pub struct Signer(SigningKey);

impl Signer {
    /// Makes `key` sign JWT-SVIDs.
    ///
    /// # Errors
    /// Where the cryptographic library refuses the key.
    pub fn new(key: &PrivateKey) -> Result<Self, KeyError> {
        SigningKey::new(key, "JWT").map(Self)
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
        self.0.sign(&Payload {
            att: claims.attestation_id,
            aud: claims.audiences,
            client_id: claims.client_id,
            exp: unix_seconds(claims.expires_at),
            iat: unix_seconds(claims.issued_at),
            iss: claims.issuer,
            jti: claims.jti,
            nhi_version: claims.nhi_version,
            sub: &claims.spiffe_id.to_string(),
        })
    }
}

// Fields in alphabetical order. `aud` is always an array, as SPIRE writes it.
#[derive(Serialize)]
struct Payload<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    att: Option<&'a str>,
    aud: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    exp: u64,
    iat: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    jti: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    nhi_version: Option<u64>,
    sub: &'a str,
}

#[cfg(test)]
mod tests;
