//! Validates JWT-SVIDs on behalf of an attested process.
//!
//! Beyond the standard's rules (JWT-SVID.md, section 4) the registry has a
//! word: a token of our trust domain whose client is not active is refused,
//! although its signature holds. That its process has exited does not matter.

use super::{Caller, Denial, Process, Workloads, audit_process, proof::Sure};
use crate::{
    audit::{Credential, Event, Kind, Outcome},
    issuance::Presence,
    registry::ClientState,
    svid::jwt::{self, JwtError, JwtSvid},
};
use std::sync::Arc;

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
            let verdict = self.judge(audience, token);
            self.record_validation(process, &presence, audience, &verdict);
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
