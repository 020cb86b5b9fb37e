//! Validates JWT-SVIDs on behalf of an attested process.
//!
//! A token is judged by the keys of the trust domain that it claims to be of, and of no
//! other: ours, or that of a foreign one with which the caller's clients federate
//! (`SPIFFE_Trust_Domain_and_Bundle.md`, section 3). What it claims is only believed after that.
//!
//! Beyond the standard's rules (JWT-SVID.md, section 4) the registry has a
//! word: a token of our trust domain whose client is not active is refused,
//! although its signature holds. That its process has exited does not matter.

use super::{Caller, Denial, Federated, Process, Workloads, audit_process, proof::Sure};
use crate::{
    audit::{Credential, Event, Kind, Outcome},
    issuance::Presence,
    registry::{ClientState, limits},
    svid::jwt::{self, JwtError, JwtSvid},
};
use serde_json::Value;
use spiffe::TrustDomain;
use std::sync::Arc;

/// Characters of a stranger's `jti` that the trail repeats: identifiers are shorter.
const MAX_JTI: usize = 256;
/// Characters of a stranger's issuer or audience that the trail repeats: URLs are shorter.
const MAX_URL: usize = 1_024;
/// A stranger's audiences that the trail repeats: as many as a token of ours may have.
const MAX_AUDIENCES: usize = limits::AUDIENCES_PER_TOKEN as usize;

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// Names the token of a foreign trust domain in an event, and why it was accepted. What strangers
/// chose has bounds in it.
fn describe_foreign(event: Event, token: &JwtSvid, audience: &str) -> Event {
    let issuer = token.claims.get("iss").and_then(Value::as_str);
    let audiences = token.audiences.iter().take(MAX_AUDIENCES);
    let credential = Credential::foreign_jwt_svid(
        token.jti.as_deref().map(|jti| cut(jti, MAX_JTI)),
        issuer.map(|issuer| cut(issuer, MAX_URL)),
        audiences.map(|audience| cut(audience, MAX_URL)).collect(),
        token.expires_at,
    );
    let reason = format!("audience {:?}", cut(audience, MAX_URL));
    let reason = match token.audiences.len().saturating_sub(MAX_AUDIENCES) {
        0 => reason,
        more => format!("{reason}; {more} more audiences are not listed"),
    };
    event
        .spiffe_id(token.spiffe_id.to_string())
        .credential(credential)
        .reason(reason)
}

/// Names the token in an event: its identity, and its `jti` where it has one.
fn describe(event: Event, token: &JwtSvid) -> Event {
    let event = event.spiffe_id(token.spiffe_id.to_string());
    let Some(jti) = &token.jti else {
        return event;
    };
    let audiences = token.audiences.clone();
    event.credential(Credential::jwt_svid(jti, audiences, token.expires_at))
}

/// A token that holds.
#[derive(Debug)]
pub struct Validated(pub JwtSvid);

/// Why a token was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ValidationError {
    /// The caller may not ask.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// The token breaks a rule of the standard.
    #[error(transparent)]
    Token(#[from] JwtError),
    /// A token of a trust domain that the caller does not federate with.
    #[error("the token is of a trust domain that the caller's clients do not federate with")]
    NotFederated,
    /// The client that the token names is not active.
    #[error("the client of this identity is not active")]
    NotActive,
}

impl Workloads {
    /// Validates `token` for `audience`.
    ///
    /// # Errors
    /// See [`ValidationError`].
    pub async fn validate(
        self: &Arc<Self>,
        caller: &Caller,
        audience: &str,
        token: &str,
    ) -> Result<Validated, ValidationError> {
        let process = caller.process();
        let (presence, recorded) = self.presence(caller, Sure::Now).await?;
        let answer = async {
            let foreign = jwt::claimed_trust_domain(token)
                .filter(|domain| domain != self.bundle().trust_domain());
            let Some(domain) = foreign else {
                let verdict = self.judge(audience, token);
                self.record_validation(process, &presence, (audience, None), &verdict);
                return Ok(verdict);
            };
            let federated = self.federated_of(process, &presence)?;
            let verdict = self.judge_foreign(audience, token, &domain, &federated);
            let about = (audience, Some(&domain));
            self.record_validation(process, &presence, about, &verdict);
            Ok(verdict)
        };
        let verdict = self.announce(recorded, answer).await?;
        verdict.map(Validated)
    }

    fn judge(&self, audience: &str, token: &str) -> Result<JwtSvid, ValidationError> {
        let now = self.services.clock.now();
        let bundle = self.bundle();
        let claims = jwt::validate(
            token,
            bundle.jwt_keys(),
            bundle.trust_domain(),
            audience,
            now,
        )?;
        let snapshot = self.services.registry.snapshot();
        match snapshot.by_spiffe_id(&claims.spiffe_id) {
            Some(client) if snapshot.state_of(client) == ClientState::Active => Ok(claims),
            Some(_) | None => Err(ValidationError::NotActive),
        }
    }

    /// By the keys of the token's own trust domain alone, and only for who federates with it.
    fn judge_foreign(
        &self,
        audience: &str,
        token: &str,
        domain: &TrustDomain,
        federated: &Federated,
    ) -> Result<JwtSvid, ValidationError> {
        let bundle = federated.find(domain);
        let bundle = bundle.ok_or(ValidationError::NotFederated)?;
        let now = self.services.clock.now();
        let keys = bundle.jwt_keys();
        Ok(jwt::validate(
            token,
            keys,
            bundle.trust_domain(),
            audience,
            now,
        )?)
    }

    /// Nothing is issued, so the caller does not wait for the disk. The trust domain is that of a
    /// foreign token.
    fn record_validation(
        &self,
        process: &Process,
        presence: &Presence,
        (audience, foreign): (&str, Option<&TrustDomain>),
        verdict: &Result<JwtSvid, ValidationError>,
    ) {
        let event = Event::new(Kind::Validated)
            .process(audit_process(process))
            .attestation(presence.attestation.id());
        let event = match foreign {
            Some(domain) => event.trust_domain(domain.to_string()),
            None => event,
        };
        let (event, outcome) = match (verdict, foreign) {
            (Ok(token), Some(_)) => (describe_foreign(event, token, audience), "accepted"),
            (Ok(token), None) => {
                let event = describe(event, token).reason(format!("audience {audience:?}"));
                (event, "accepted")
            }
            (Err(error), _) => (event.reason(error.to_string()), "refused"),
        };
        let event = event.outcome(match verdict {
            Ok(_) => Outcome::Accepted,
            Err(_) => Outcome::Refused,
        });
        let metrics = &self.services.metrics.issuance;
        metrics.validations.get_or_create(&outcome.into()).inc();
        let cause = process.cause(Kind::Validated, outcome);
        drop(self.services.trail.of_caller(cause, || event));
    }
}

#[cfg(test)]
mod tests;
