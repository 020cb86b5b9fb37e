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
    registry::ClientState,
    svid::jwt::{self, JwtError, JwtSvid},
};
use serde_json::Value;
use spiffe::TrustDomain;
use std::sync::Arc;

/// Characters of an issuer that the trail repeats: RFC 9207 has no bound, and a URL is shorter.
const MAX_ISSUER: usize = 1_024;

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
                self.record_validation(process, &presence, audience, &verdict);
                return Ok(verdict);
            };
            let federated = self.federated_of(process, &presence)?;
            let verdict = self.judge_foreign(audience, token, &domain, &federated);
            let about = (audience, &domain);
            self.record_foreign(process, &presence, about, &verdict)
                .await?;
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

    /// What was accepted of strangers stands in the trail, each with issuer, audiences and trust
    /// domain, before the caller learns of it.
    async fn record_foreign(
        &self,
        process: &Process,
        presence: &Presence,
        (audience, domain): (&str, &TrustDomain),
        verdict: &Result<JwtSvid, ValidationError>,
    ) -> Result<(), Denial> {
        let event = Event::new(Kind::Validated)
            .process(audit_process(process))
            .attestation(presence.attestation.id())
            .trust_domain(domain.to_string());
        let metrics = &self.services.metrics.issuance;
        match verdict {
            Ok(token) => {
                let issuer = token.claims.get("iss").and_then(Value::as_str);
                let issuer = issuer.map(|issuer| issuer.chars().take(MAX_ISSUER).collect());
                let audiences = token.audiences.clone();
                let credential = Credential::foreign_jwt_svid(
                    token.jti.clone(),
                    issuer,
                    audiences,
                    token.expires_at,
                );
                let event = event
                    .spiffe_id(token.spiffe_id.to_string())
                    .credential(credential)
                    .outcome(Outcome::Accepted)
                    .reason(format!("audience {audience:?}"));
                metrics.validations.get_or_create(&"accepted".into()).inc();
                self.services.trail.record(event).await?;
            }
            Err(error) => {
                let event = event.outcome(Outcome::Refused).reason(error.to_string());
                metrics.validations.get_or_create(&"refused".into()).inc();
                let cause = process.cause(Kind::Validated, "refused");
                drop(self.services.trail.of_caller(cause, || event));
            }
        }
        Ok(())
    }

    /// Nothing is issued, so the caller does not wait for the disk.
    fn record_validation(
        &self,
        process: &Process,
        presence: &Presence,
        audience: &str,
        verdict: &Result<JwtSvid, ValidationError>,
    ) {
        let event = Event::new(Kind::Validated)
            .process(audit_process(process))
            .attestation(presence.attestation.id());
        let event = match verdict {
            Ok(token) => describe(event, token)
                .outcome(Outcome::Accepted)
                .reason(format!("audience {audience:?}")),
            Err(error) => event.outcome(Outcome::Refused).reason(error.to_string()),
        };
        let outcome = if verdict.is_ok() {
            "accepted"
        } else {
            "refused"
        };
        let metrics = &self.services.metrics.issuance;
        metrics.validations.get_or_create(&outcome.into()).inc();
        let cause = process.cause(Kind::Validated, outcome);
        drop(self.services.trail.of_caller(cause, || event));
    }
}
