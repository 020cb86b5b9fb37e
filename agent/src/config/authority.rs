//! `[authority]`: the embedded CA and the token authorities.

use super::{
    fault::Problem,
    key::Key,
    reader::Reader,
    svid::KeyType,
    units::{DAY, MINUTE},
};
use std::{path::PathBuf, time::Duration};

/// What signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The authorities' key pairs.
    pub key_type: KeyType,
    /// Lifetime of an X.509 authority.
    pub x509_ca_ttl: Duration,
    /// Lifetime of a JWT authority.
    pub jwt_key_ttl: Duration,
    /// Lifetime of a WIT authority.
    pub wit_key_ttl: Duration,
    /// How often consumers of the trust bundle are asked to fetch it anew.
    pub refresh_hint: Duration,
    /// How long consumers may keep a published JWKS.
    pub jwks_cache: Duration,
    /// The operator's own CA, used instead of a self-signed one.
    pub operator_ca: Option<OperatorCa>,
}

/// A CA that the operator supplies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorCa {
    /// PEM file with the CA certificate, then its issuers.
    pub certificate_file: PathBuf,
    /// PEM file with its private key.
    pub key_file: PathBuf,
}

/// Shortest authority worth having: below it, rotation would be all there is.
const LEAST_TTL: Duration = Duration::from_secs(10);
/// Longest authority: ten years.
const MOST_TTL: Duration = Duration::from_secs(10 * 365 * DAY);
const LEAST_HINT: Duration = Duration::from_secs(1);
const MOST_HINT: Duration = Duration::from_secs(DAY);

const KEY_TYPE: Key = Key::new(
    "authority",
    "key_type",
    "Key pairs of the authorities: \"ec-p256\". JWT-SVIDs and WIT-SVIDs are signed with ES256.",
);
const X509_CA_TTL: Key = Key::new(
    "authority",
    "x509_ca_ttl",
    "Lifetime of an X.509 authority. The next one is prepared and published at half of it.",
);
const JWT_KEY_TTL: Key = Key::new("authority", "jwt_key_ttl", "Lifetime of a JWT authority.");
const WIT_KEY_TTL: Key = Key::new("authority", "wit_key_ttl", "Lifetime of a WIT authority.");
const REFRESH_HINT: Key = Key::new(
    "authority",
    "refresh_hint",
    "How often consumers of the trust bundle are asked to fetch it (spiffe_refresh_hint). A new \
     authority signs only after two of these and one jwks_cache.",
);
pub(super) const JWKS_CACHE: Key = Key::new(
    "authority",
    "jwks_cache",
    "How long consumers may keep a published JWKS.",
);
const CERTIFICATE_FILE: Key = Key::new(
    "authority",
    "certificate_file",
    "PEM file of a CA certificate of your own, then its issuers, instead of a self-signed root. \
     Needs key_file.",
)
.without_default("/etc/symbolon/ca.pem");
pub(super) const KEY_FILE: Key = Key::new(
    "authority",
    "key_file",
    "PEM file of that CA's private key: mode 0600, owned by the agent's user. Needs \
     certificate_file.",
)
.without_default("/etc/symbolon/ca-key.pem");

pub(super) const KEYS: &[&Key] = &[
    &KEY_TYPE,
    &X509_CA_TTL,
    &JWT_KEY_TTL,
    &WIT_KEY_TTL,
    &REFRESH_HINT,
    &JWKS_CACHE,
    &CERTIFICATE_FILE,
    &KEY_FILE,
];

pub(super) fn read(reader: &mut Reader<'_>) -> Authority {
    let days = |days| Duration::from_secs(days * DAY);
    let hint = Duration::from_secs(5 * MINUTE);
    let authority = Authority {
        key_type: reader.value(&KEY_TYPE, KeyType::EcP256),
        x509_ca_ttl: reader.within(&X509_CA_TTL, days(90), LEAST_TTL..=MOST_TTL),
        jwt_key_ttl: reader.within(&JWT_KEY_TTL, days(30), LEAST_TTL..=MOST_TTL),
        wit_key_ttl: reader.within(&WIT_KEY_TTL, days(30), LEAST_TTL..=MOST_TTL),
        refresh_hint: reader.within(&REFRESH_HINT, hint, LEAST_HINT..=MOST_HINT),
        jwks_cache: reader.within(&JWKS_CACHE, hint, LEAST_HINT..=MOST_HINT),
        operator_ca: operator_ca(reader),
    };
    for (key, ttl) in [
        (&X509_CA_TTL, authority.x509_ca_ttl),
        (&JWT_KEY_TTL, authority.jwt_key_ttl),
        (&WIT_KEY_TTL, authority.wit_key_ttl),
    ] {
        leaves_room_for_rotation(reader, key, ttl, &authority);
    }
    authority
}

fn operator_ca(reader: &mut Reader<'_>) -> Option<OperatorCa> {
    let certificate_file = reader.optional(&CERTIFICATE_FILE);
    let key_file = reader.optional(&KEY_FILE);
    reader.together(&CERTIFICATE_FILE, &KEY_FILE);
    Some(OperatorCa {
        certificate_file: certificate_file?,
        key_file: key_file?,
    })
}

/// The next authority is prepared at half life and signs once everybody can know it; that has to
/// happen while the present one still has some life left.
fn leaves_room_for_rotation(
    reader: &mut Reader<'_>,
    key: &'static Key,
    ttl: Duration,
    authority: &Authority,
) {
    let announced = authority.refresh_hint * 2 + authority.jwks_cache;
    if ttl / 2 <= announced {
        reader.refuse(
            key,
            Problem::NoRoomForRotation {
                key: key.path(),
                ttl,
                least: announced * 2,
            },
        );
    }
}
