//! What signs: X.509, JWT and WIT authority, each with prepared, active and retired keys.
//!
//! Owns the trust domain's signing keys and its trust bundle. `issuance` asks
//! for signatures through the [`Authority`] trait; whoever serves bundles
//! watches [`Authority::bundle`]; `app` runs the rotation. Callers are trusted
//! to ask only for identities that were entitled; the authority still refuses
//! foreign trust domains, IDs without a path, and lifetimes beyond its own.
//!
//! Invariants: one key never signs two kinds of credential; nothing outlives
//! the authority that signed it; a key is in the published bundle before it
//! signs (unless no other can sign) and until all that it signed has expired;
//! what is published was durable first; `spiffe_sequence` only grows.
//!
//! Standards: X509-SVID.md, JWT-SVID.md, WIT-SVID.md and
//! `SPIFFE_Trust_Domain_and_Bundle.md` (sections 3 and 4). It fails closed: an
//! authority that cannot sign within its validity says so, and the caller
//! keeps what was issued before. Left out: revocation lists, taint by command
//! and authorities outside of this process (they implement the same trait).

mod bundle;
mod draft;
mod embedded;
mod error;
mod foreign;
#[cfg(fuzzing)]
pub mod fuzzing;
mod issuer;
mod key_directory;
mod operator;
mod pem;
pub(crate) mod schedule;
mod state;
mod vault;

pub use bundle::{BundleContents, TrustBundle, X509Authority};
pub use embedded::EmbeddedCa;
pub use error::AuthorityError;
pub use foreign::{BundleError, ForeignBundle, MAX_BUNDLE_BYTES};
pub(crate) use key_directory::KeyDirectory;
pub use key_directory::KeyDirectoryError;
pub use operator::OperatorCaError;
pub use pem::PemError;
pub use state::StateError;

use crate::{
    clock::unix_seconds,
    svid::{PublicKey, SecretText},
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use spiffe::SpiffeId;
use std::{
    fmt::{self, Debug, Display, Formatter},
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::sync::watch;

/// What signs SVIDs and publishes the trust bundle. The embedded CA is one; a fleet plugs in another.
pub trait Authority: Debug + Send + Sync {
    /// Signs an X.509-SVID for a key that the caller made.
    fn sign_x509<'a>(
        &'a self,
        request: X509Request<'a>,
    ) -> BoxFuture<'a, Result<SignedX509, AuthorityError>>;

    /// Signs a JWT-SVID.
    fn sign_jwt<'a>(
        &'a self,
        request: JwtRequest<'a>,
    ) -> BoxFuture<'a, Result<SignedToken, AuthorityError>>;

    /// Signs a WIT-SVID for a key that the caller made.
    fn sign_wit<'a>(
        &'a self,
        request: WitRequest<'a>,
    ) -> BoxFuture<'a, Result<SignedToken, AuthorityError>>;

    /// The trust bundle, now and whenever it changes.
    fn bundle(&self) -> watch::Receiver<Arc<TrustBundle>>;
}

/// What goes into an X.509-SVID.
#[derive(Clone, Copy, Debug)]
pub struct X509Request<'a> {
    /// The identity; of the authority's trust domain, with a path.
    pub spiffe_id: &'a SpiffeId,
    /// DNS names, validated when they were registered.
    pub dns_names: &'a [String],
    /// The workload's key.
    pub public_key: &'a PublicKey,
    /// From now; cut to what the authority has left.
    pub lifetime: Duration,
}

/// What goes into a JWT-SVID.
#[derive(Clone, Copy, Debug)]
pub struct JwtRequest<'a> {
    /// The identity; of the authority's trust domain, with a path.
    pub spiffe_id: &'a SpiffeId,
    /// At least one.
    pub audiences: &'a [String],
    /// From now; cut to what the authority has left.
    pub lifetime: Duration,
    /// Claims that let a server's log be traced back.
    pub trace: TraceClaims<'a>,
}

/// What goes into a WIT-SVID.
#[derive(Clone, Copy, Debug)]
pub struct WitRequest<'a> {
    /// The identity; of the authority's trust domain, with a path.
    pub spiffe_id: &'a SpiffeId,
    /// The workload's key, which becomes `cnf.jwk`.
    pub public_key: &'a PublicKey,
    /// From now; cut to what the authority has left.
    pub lifetime: Duration,
    /// Claims that let a server's log be traced back.
    pub trace: TraceClaims<'a>,
}

/// Our additional claims. All are optional and none bears on validity.
#[derive(Clone, Copy, Debug, Default)]
pub struct TraceClaims<'a> {
    /// `nhi_version`: the client's version in force.
    pub nhi_version: Option<u64>,
    /// `att`: the attestation's identifier.
    pub attestation_id: Option<&'a str>,
    /// `client_id`: the client's metadata document, in JWT-SVIDs alone.
    pub client_id: Option<&'a str>,
}

/// A signed X.509-SVID. There is nothing secret in it.
#[derive(Clone, Debug)]
pub struct SignedX509 {
    /// Leaf and intermediates, DER, concatenated; never the root.
    pub chain: Bytes,
    /// The leaf's serial number, 32 lower-case hexadecimal digits.
    pub serial_hex: String,
    /// The leaf's `notBefore`.
    pub not_before: SystemTime,
    /// The leaf's `notAfter`.
    pub not_after: SystemTime,
    /// SHA-256 of the leaf, in lower-case hexadecimal.
    pub thumbprint: String,
    /// Which authority signed.
    pub key_id: Arc<str>,
}

/// A signed JWT-SVID or WIT-SVID.
#[derive(Debug)]
pub struct SignedToken {
    /// JWS compact serialization.
    pub token: SecretText,
    /// The fresh `jti`, 32 lower-case hexadecimal digits.
    pub jti: String,
    /// The time in `exp`.
    pub not_after: SystemTime,
    /// The `kid` of the authority that signed.
    pub key_id: Arc<str>,
}

/// What an authority signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AuthorityKind {
    /// X.509-SVIDs.
    X509,
    /// JWT-SVIDs.
    Jwt,
    /// WIT-SVIDs.
    Wit,
}

impl AuthorityKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::X509, Self::Jwt, Self::Wit];

    /// `x509`, `jwt` or `wit`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X509 => "x509",
            Self::Jwt => "jwt",
            Self::Wit => "wit",
        }
    }
}

impl Display for AuthorityKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where an authority stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// Published, and not signing yet.
    Prepared,
    /// Signing.
    Active,
    /// Published until all that it signed has expired.
    Retired,
}

impl Slot {
    /// `prepared`, `active` or `retired`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }
}

impl Display for Slot {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One authority, for listings and events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityInfo {
    /// What it signs.
    pub kind: AuthorityKind,
    /// Where it stands.
    pub slot: Slot,
    /// `kid` of a token authority; subject key identifier in hexadecimal of an X.509 authority.
    pub key_id: Arc<str>,
    /// From when it may sign.
    pub not_before: SystemTime,
    /// When it ends; nothing that it signs lives longer.
    pub not_after: SystemTime,
    /// Whether an operator supplied it; then it is not rotated here.
    pub operator_supplied: bool,
}

/// What the rotation did, or failed to do.
#[derive(Clone, Debug)]
pub enum AuthorityEvent {
    /// A new authority is published and waits for its time.
    Prepared(AuthorityInfo),
    /// An authority signs from now on.
    Activated {
        /// Which.
        authority: AuthorityInfo,
        /// It was not published long enough before: nothing else could sign.
        early: bool,
    },
    /// An authority does not sign any more.
    Retired(AuthorityInfo),
    /// An authority and its key are gone.
    Removed(AuthorityInfo),
    /// An operator's authority has less than a third of its life left.
    NearExpiry(AuthorityInfo),
    /// The rotation could not be written down; everything is as before, and it is tried again.
    Failed(Arc<AuthorityError>),
}

/// The embedded CA's settings.
#[derive(Clone, Debug)]
pub struct AuthorityConfig {
    /// The trust domain; kept with the keys, a change is refused.
    pub trust_domain: spiffe::TrustDomain,
    /// Life of an X.509 authority (90 days).
    pub x509_ca_ttl: Duration,
    /// Life of a JWT authority (30 days).
    pub jwt_key_ttl: Duration,
    /// Life of a WIT authority (30 days).
    pub wit_key_ttl: Duration,
    /// How often bundle consumers shall ask again (5 minutes).
    pub refresh_hint: Duration,
    /// How long HTTP caches may keep the published JWKS (5 minutes).
    pub jwks_cache: Duration,
    /// The longest X.509-SVID and WIT-SVID (24 hours); longer requests are cut.
    pub max_x509_ttl: Duration,
    /// The longest JWT-SVID (1 hour); longer requests are cut.
    pub max_jwt_ttl: Duration,
    /// `iss` of JWT-SVIDs, where their keys are published by OpenID discovery; never of WIT-SVIDs.
    pub issuer: Option<String>,
    /// The operator's CA, in place of a self-signed root.
    pub operator: Option<OperatorCa>,
}

impl AuthorityConfig {
    /// The life of an authority.
    const fn ttl(&self, kind: AuthorityKind) -> Duration {
        match kind {
            AuthorityKind::X509 => self.x509_ca_ttl,
            AuthorityKind::Jwt => self.jwt_key_ttl,
            AuthorityKind::Wit => self.wit_key_ttl,
        }
    }

    /// How long an authority is published before it signs, so that every verifier knows it: who
    /// asks again as the hint says has asked, whatever a cache held back.
    const fn overlap(&self) -> Duration {
        self.refresh_hint
            .saturating_mul(2)
            .saturating_add(self.jwks_cache)
    }
}

/// Where an operator's CA lies.
#[derive(Clone, Debug)]
pub struct OperatorCa {
    /// PEM: the issuing certificate, then those above it, in order.
    pub certificate_file: PathBuf,
    /// PEM: the issuing certificate's private key, PKCS#8.
    pub key_file: PathBuf,
}

/// From when to when an authority is valid.
#[derive(Clone, Copy, Debug)]
struct Window {
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Window {
    /// When both are valid.
    fn intersection(self, other: Self) -> Self {
        Self {
            not_before: self.not_before.max(other.not_before),
            not_after: self.not_after.min(other.not_after),
        }
    }

    /// When a credential ends that is issued at `now` for `lifetime`: never after the authority,
    /// and nothing at all outside of its validity.
    fn cut(self, now: SystemTime, lifetime: Duration) -> Option<SystemTime> {
        let asked = now.checked_add(lifetime).unwrap_or(self.not_after);
        let end = whole_seconds(asked.min(self.not_after));
        (self.not_before <= now && now < end).then_some(end)
    }
}

/// `at` without its fraction of a second, as certificates and tokens write it.
fn whole_seconds(at: SystemTime) -> SystemTime {
    from_seconds(unix_seconds(at))
}

/// The time at a number of seconds since 1970; times beyond what the system knows are 1970.
fn from_seconds(seconds: u64) -> SystemTime {
    UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .unwrap_or(UNIX_EPOCH)
}
