//! Makes the key, has the authority sign, and records it.

use super::{Entitlement, broker::with_resource};
use crate::{
    audit::{AuditError, Credential, Event, Kind, Process, Trail},
    authority::{
        Authority, AuthorityError, JwtRequest, SignedToken, TraceClaims, WitRequest, X509Request,
    },
    client_keys::ClientKeyError,
    clock::SharedClock,
    metadata::{self, PublicUrl},
    registry::ClientSpec,
    svid::{KeyError, PrivateKey, PublicKey, SecretText, jws::JwsError},
    telemetry::IssuanceMetrics,
    usage::Usage,
};
use arc_swap::ArcSwap;
use aws_lc_rs::rand;
use bytes::Bytes;
use spiffe::SpiffeId;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

/// Certificates and tokens carry whole seconds.
const WHOLE_SECOND: Duration = Duration::from_secs(1);

/// The default lifetimes, where a client's registration sets none.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// Of X.509-SVIDs and WIT-SVIDs.
    pub x509: Duration,
    /// Of JWT-SVIDs.
    pub jwt: Duration,
}

/// Why nothing was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The authority cannot sign.
    #[error("the authority cannot sign: {0}")]
    Authority(#[from] AuthorityError),
    /// No key could be made.
    #[error("no key: {0}")]
    Key(#[from] KeyError),
    /// It could not be recorded, so it was thrown away.
    #[error("not recorded: {0}")]
    Audit(#[from] AuditError),
    /// The registration ended while the decision was made.
    #[error("the registration has expired")]
    Expired,
    /// The system has no randomness.
    #[error("no randomness")]
    Randomness,
    /// There is no key of the client that signs.
    #[error("no assertion: {0}")]
    ClientKey(#[from] ClientKeyError),
    /// A proof could not be signed.
    #[error("no proof: {0}")]
    Proof(#[from] JwsError),
}

/// When an SVID that is kept began, should be renewed, and ends.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// When it was issued.
    pub issued_at: SystemTime,
    /// Half its life, moved by the jitter that was drawn at issue.
    pub renew_at: SystemTime,
    /// Its expiry.
    pub expires_at: SystemTime,
}

/// An X.509-SVID with its key.
#[derive(Debug)]
pub struct X509Svid {
    /// The identity.
    pub spiffe_id: SpiffeId,
    /// Leaf and intermediates, DER, concatenated.
    pub chain: Bytes,
    /// The workload's key.
    pub key: PrivateKey,
    /// Serial number, 32 hexadecimal digits.
    pub serial: String,
    /// What to call it; unique in an answer only after the endpoint made it so.
    pub hint: String,
    /// Its times.
    pub terms: Terms,
}

/// A WIT-SVID with its key.
#[derive(Debug)]
pub struct WitSvid {
    /// The identity.
    pub spiffe_id: SpiffeId,
    /// JWS compact serialization.
    pub token: SecretText,
    /// The workload's key as a private JWK.
    pub key_jwk: SecretText,
    /// The token's identifier.
    pub jti: String,
    /// What to call it.
    pub hint: String,
    /// Its times.
    pub terms: Terms,
}

/// A JWT-SVID.
#[derive(Debug)]
pub struct JwtSvid {
    /// The identity.
    pub spiffe_id: SpiffeId,
    /// JWS compact serialization.
    pub token: SecretText,
    /// The token's identifier.
    pub jti: String,
    /// When it was issued.
    pub issued_at: SystemTime,
    /// When it ends.
    pub expires_at: SystemTime,
    /// What to call it.
    pub hint: String,
}

/// Issues SVIDs to the entitled.
#[derive(Clone, Debug)]
pub struct Issuer {
    authority: Arc<dyn Authority>,
    trail: Trail,
    clock: SharedClock,
    lifetimes: Arc<ArcSwap<Lifetimes>>,
    metrics: IssuanceMetrics,
    usage: Usage,
    public_url: Option<PublicUrl>,
}

impl Issuer {
    /// An issuer that signs with `authority` and records in `trail`.
    #[must_use]
    pub fn new(
        authority: Arc<dyn Authority>,
        trail: Trail,
        clock: SharedClock,
        lifetimes: Lifetimes,
        metrics: IssuanceMetrics,
    ) -> Self {
        Self {
            usage: Usage::new(clock.now()),
            authority,
            trail,
            clock,
            lifetimes: Arc::new(ArcSwap::from_pointee(lifetimes)),
            metrics,
            public_url: None,
        }
    }

    /// The same, which names clients in JWT-SVIDs by their documents at `public_url`.
    #[must_use]
    pub fn naming_clients_at(self, public_url: Option<PublicUrl>) -> Self {
        Self { public_url, ..self }
    }

    /// Where clients' documents are found.
    #[must_use]
    pub const fn public_url(&self) -> Option<&PublicUrl> {
        self.public_url.as_ref()
    }

    /// The same, which notes uses in `usage`.
    #[must_use]
    pub fn noting_in(self, usage: Usage) -> Self {
        Self { usage, ..self }
    }

    /// When each client was used last.
    #[must_use]
    pub const fn usage(&self) -> &Usage {
        &self.usage
    }

    pub(super) fn now(&self) -> SystemTime {
        self.clock.now()
    }

    pub(super) const fn metrics(&self) -> &IssuanceMetrics {
        &self.metrics
    }

    /// Takes new default lifetimes for what is issued from now on.
    pub fn set_lifetimes(&self, lifetimes: Lifetimes) {
        self.lifetimes.store(Arc::new(lifetimes));
    }

    /// A fresh X.509-SVID; `kind` says whether it renews another.
    ///
    /// # Errors
    /// See [`IssueError`].
    pub async fn x509(
        &self,
        entitlement: &Entitlement,
        kind: Kind,
    ) -> Result<X509Svid, IssueError> {
        let begun = Instant::now();
        let spec = entitlement.client().spec();
        let key = PrivateKey::generate()?;
        let dns_names: Vec<_> = spec.dns_names().iter().map(ToString::to_string).collect();
        let signed = self
            .authority
            .sign_x509(X509Request {
                spiffe_id: spec.spiffe_id(),
                dns_names: &dns_names,
                public_key: key.public_key(),
                lifetime: self.lifetime(spec, spec.x509_ttl(), self.lifetimes.load().x509)?,
            })
            .await?;
        let credential = Credential::x509_svid(
            &*signed.serial_hex,
            key.public_key().thumbprint(),
            signed.not_after,
        )
        .signed_by(&*signed.key_id);
        let id = &*signed.serial_hex;
        self.record(entitlement, (kind, "x509-svid", id), credential)
            .await?;
        self.count("x509-svid", kind, begun);
        Ok(X509Svid {
            spiffe_id: spec.spiffe_id().clone(),
            chain: signed.chain,
            key,
            serial: signed.serial_hex,
            hint: hint(spec),
            terms: self.terms(spec, signed.not_after)?,
        })
    }

    /// A fresh WIT-SVID.
    ///
    /// # Errors
    /// See [`IssueError`].
    pub async fn wit(&self, entitlement: &Entitlement, kind: Kind) -> Result<WitSvid, IssueError> {
        let spec = entitlement.client().spec();
        let key = PrivateKey::generate()?;
        let signed = self.sign_wit(entitlement, kind, key.public_key()).await?;
        Ok(WitSvid {
            spiffe_id: spec.spiffe_id().clone(),
            terms: self.terms(spec, signed.not_after)?,
            token: signed.token,
            key_jwk: key.expose_jwk()?,
            jti: signed.jti,
            hint: hint(spec),
        })
    }

    /// A recorded WIT-SVID for this key.
    pub(super) async fn sign_wit(
        &self,
        entitlement: &Entitlement,
        kind: Kind,
        public_key: &PublicKey,
    ) -> Result<SignedToken, IssueError> {
        let begun = Instant::now();
        let spec = entitlement.client().spec();
        let signed = self
            .authority
            .sign_wit(WitRequest {
                spiffe_id: spec.spiffe_id(),
                public_key,
                lifetime: self.lifetime(spec, spec.x509_ttl(), self.lifetimes.load().x509)?,
                trace: trace(entitlement),
            })
            .await?;
        let credential =
            Credential::wit_svid(&*signed.jti, public_key.thumbprint(), signed.not_after)
                .signed_by(&*signed.key_id);
        self.record(entitlement, (kind, "wit-svid", &signed.jti), credential)
            .await?;
        self.count("wit-svid", kind, begun);
        Ok(signed)
    }

    /// A JWT-SVID for audiences that the client's registration was found to list.
    ///
    /// # Errors
    /// See [`IssueError`].
    pub async fn jwt(
        &self,
        entitlement: &Entitlement,
        audiences: &[String],
    ) -> Result<JwtSvid, IssueError> {
        self.jwt_within(entitlement, audiences, (Duration::MAX, None))
            .await
    }

    /// The same, that lives no longer than `most`, for a protected resource.
    pub(super) async fn jwt_within(
        &self,
        entitlement: &Entitlement,
        audiences: &[String],
        (most, resource): (Duration, Option<&str>),
    ) -> Result<JwtSvid, IssueError> {
        let begun = Instant::now();
        let spec = entitlement.client().spec();
        let client_id = metadata::client_id(entitlement.client(), self.public_url());
        let SignedToken {
            token,
            jti,
            not_after,
            key_id,
        } = self
            .authority
            .sign_jwt(JwtRequest {
                spiffe_id: spec.spiffe_id(),
                audiences,
                lifetime: self
                    .lifetime(spec, spec.jwt_ttl(), self.lifetimes.load().jwt)?
                    .min(most),
                trace: TraceClaims {
                    client_id: client_id.as_deref(),
                    ..trace(entitlement)
                },
            })
            .await?;
        let credential =
            Credential::jwt_svid(&*jti, audiences.to_vec(), not_after).signed_by(&*key_id);
        let event = describe(Event::new(Kind::Issued), entitlement).credential(credential);
        let event = with_resource(event, resource);
        self.record_event(entitlement, (Kind::Issued, "jwt-svid", &jti), event)
            .await?;
        self.count("jwt-svid", Kind::Issued, begun);
        Ok(JwtSvid {
            spiffe_id: spec.spiffe_id().clone(),
            token,
            jti,
            issued_at: self.clock.now(),
            expires_at: not_after,
            hint: hint(spec),
        })
    }

    fn count(&self, svid: &'static str, kind: Kind, begun: Instant) {
        let metrics = &self.metrics;
        metrics.issued.get_or_create(&svid.into()).inc();
        if kind == Kind::Renewed {
            metrics.renewed.get_or_create(&svid.into()).inc();
        }
        let seconds = begun.elapsed().as_secs_f64();
        metrics
            .duration
            .get_or_create(&svid.into())
            .observe(seconds);
    }

    async fn record(
        &self,
        entitlement: &Entitlement,
        what: (Kind, &'static str, &str),
        credential: Credential,
    ) -> Result<(), IssueError> {
        let event = describe(Event::new(what.0), entitlement).credential(credential);
        self.record_event(entitlement, what, event).await
    }

    /// Records, and notes the use.
    pub(super) async fn record_event(
        &self,
        entitlement: &Entitlement,
        (kind, svid, id): (Kind, &'static str, &str),
        event: Event,
    ) -> Result<(), IssueError> {
        self.trail.record(event).await?;
        let (client, presence) = (entitlement.client(), entitlement.presence());
        self.usage.note(client.name(), self.clock.now());
        tracing::debug!(
            pid = presence.pid,
            uid = presence.uid,
            client = client.name().as_str(),
            spiffe_id = %client.spec().spiffe_id(),
            attestation_id = presence.attestation.id(),
            kind = svid,
            id,
            event = kind.as_str(),
            "recorded"
        );
        Ok(())
    }

    /// The default, or the client's cap where that is shorter, and never beyond
    /// the registration's end: that is known now, unlike a suspension.
    pub(super) fn lifetime(
        &self,
        spec: &ClientSpec,
        cap: Option<Duration>,
        default: Duration,
    ) -> Result<Duration, IssueError> {
        let lifetime = cap.map_or(default, |cap| cap.min(default));
        let Some(end) = spec.expires_at() else {
            return Ok(lifetime);
        };
        match end.duration_since(self.clock.now()) {
            Ok(left) if !left.is_zero() => Ok(lifetime.min(left)),
            Ok(_) | Err(_) => Err(IssueError::Expired),
        }
    }

    /// What lives until its registration ends is not renewed: the next one would
    /// end then, too.
    pub(super) fn terms(
        &self,
        spec: &ClientSpec,
        expires_at: SystemTime,
    ) -> Result<Terms, IssueError> {
        let issued_at = self.clock.now();
        let life = expires_at.duration_since(issued_at).unwrap_or_default();
        let mut draw = [0_u8; 2];
        rand::fill(&mut draw).map_err(|_unspecified| IssueError::Randomness)?;
        let is_last = spec
            .expires_at()
            .is_some_and(|end| expires_at + WHOLE_SECOND > end);
        let renewal = issued_at + renewal_age(life, u16::from_ne_bytes(draw));
        Ok(Terms {
            issued_at,
            renew_at: if is_last { expires_at } else { renewal },
            expires_at,
        })
    }
}

/// Names the client, its identity and the process in an event.
pub(crate) fn describe(event: Event, entitlement: &Entitlement) -> Event {
    let client = entitlement.client();
    let presence = entitlement.presence();
    event
        .client(client.name().as_str(), client.version().number)
        .spiffe_id(client.spec().spiffe_id().to_string())
        .attestation(presence.attestation.id())
        .process(Process {
            gid: presence.gid,
            pid: presence.pid,
            uid: presence.uid,
        })
}

fn hint(spec: &ClientSpec) -> String {
    spec.hint().map(ToString::to_string).unwrap_or_default()
}

fn trace(entitlement: &Entitlement) -> TraceClaims<'_> {
    TraceClaims {
        nhi_version: Some(entitlement.client().version().number),
        attestation_id: Some(entitlement.presence().attestation.id()),
        client_id: None,
    }
}

/// Between 40 and 60 hundredths of `life`, evenly by `draw`.
fn renewal_age(life: Duration, draw: u16) -> Duration {
    life * 2 / 5 + life / 5 * u32::from(draw) / u32::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::renewal_age;
    use std::time::Duration;

    #[test]
    fn renewal_is_within_a_tenth_of_half_life() {
        let life = Duration::from_secs(3600);
        assert_eq!(renewal_age(life, 0), Duration::from_secs(1440));
        assert_eq!(renewal_age(life, u16::MAX), Duration::from_secs(2160));
        assert!(renewal_age(Duration::ZERO, 77).is_zero());
        let year = Duration::from_secs(86400 * 366);
        assert!(renewal_age(year, u16::MAX) < year);
    }
}
