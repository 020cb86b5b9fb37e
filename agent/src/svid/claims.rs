//! The claims that JWT-SVIDs and WIT-SVIDs share.

use crate::clock::unix_seconds;
use serde_json::{Map, Value};
use spiffe::{SpiffeId, SpiffeIdError, TrustDomain};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What is wrong with a claim that both kinds of token have.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// No `sub`, or one that is not a string (JWT-SVID.md, section 3.1; WIT-SVID.md, section 3.1).
    #[error("no sub")]
    NoSubject,
    /// `sub` is not a SPIFFE ID (the same sections).
    #[error("sub is not a SPIFFE ID: {0}")]
    SpiffeId(#[source] SpiffeIdError),
    /// `sub` is of another trust domain than the keys (`SPIFFE_Workload_API.md`, section 6.3).
    #[error("sub is of another trust domain")]
    ForeignTrustDomain,
    /// No `exp`, or one that is not whole seconds (JWT-SVID.md, section 3.3; WIT-SVID.md, section 3.4).
    #[error("no exp in whole seconds")]
    NoExpiry,
    /// The time in `exp` has come (the same sections; RFC 7519, section 4.1.4).
    #[error("expired")]
    Expired,
    /// `nbf` is not whole seconds (RFC 7519, section 4.1.5).
    #[error("nbf is not in whole seconds")]
    NotBefore,
    /// The time in `nbf` has not come (RFC 7519, section 4.1.5; WIT-SVID.md, section 3.5).
    #[error("not valid yet")]
    NotYetValid,
}

/// The workload in `sub`, which has to be of `trust_domain`.
pub(super) fn subject(
    claims: &Map<String, Value>,
    trust_domain: &TrustDomain,
) -> Result<SpiffeId, ClaimError> {
    let subject = claims
        .get("sub")
        .and_then(Value::as_str)
        .ok_or(ClaimError::NoSubject)?;
    let spiffe_id = SpiffeId::new(subject).map_err(ClaimError::SpiffeId)?;
    if spiffe_id.is_member_of(trust_domain) {
        Ok(spiffe_id)
    } else {
        Err(ClaimError::ForeignTrustDomain)
    }
}

/// The time in `exp`, after it and `nbf` have been held against `at`. There is
/// no leeway: who issued the token and who validates it share a clock.
pub(super) fn validity(
    claims: &Map<String, Value>,
    at: SystemTime,
) -> Result<SystemTime, ClaimError> {
    let now = unix_seconds(at);
    let expiry = claims
        .get("exp")
        .and_then(Value::as_u64)
        .ok_or(ClaimError::NoExpiry)?;
    if now >= expiry {
        return Err(ClaimError::Expired);
    }
    if let Some(not_before) = claims.get("nbf")
        && not_before.as_u64().ok_or(ClaimError::NotBefore)? > now
    {
        return Err(ClaimError::NotYetValid);
    }
    UNIX_EPOCH
        .checked_add(Duration::from_secs(expiry))
        .ok_or(ClaimError::NoExpiry)
}

/// The `jti`, if there is one.
pub(super) fn token_id(claims: &Map<String, Value>) -> Option<String> {
    claims.get("jti").and_then(Value::as_str).map(str::to_owned)
}
