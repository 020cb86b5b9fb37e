//! `[svid]`: what is issued where a registration does not say otherwise.

use super::{
    key::Key,
    limits::{Limits, MAX_JWT_TTL, MAX_X509_TTL, MIN_JWT_TTL, MIN_X509_TTL},
    reader::Reader,
    setting::named_values,
    units::{HOUR, MINUTE},
};
use std::time::Duration;

/// Issued SVIDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Svid {
    /// The workload's key pair.
    pub key_type: KeyType,
    /// Lifetime of X.509-SVIDs and WIT-SVIDs.
    pub x509_ttl: Duration,
    /// Lifetime of JWT-SVIDs.
    pub jwt_ttl: Duration,
}

named_values! {
    /// A kind of key pair.
    pub enum KeyType {
        /// ECDSA on NIST P-256.
        EcP256 = "ec-p256",
    }
}

const KEY_TYPE: Key = Key::new(
    "svid",
    "key_type",
    "Key pairs made for workloads: \"ec-p256\".",
);
const X509_TTL: Key = Key::new(
    "svid",
    "x509_ttl",
    "Lifetime of X.509-SVIDs and WIT-SVIDs, where the registration does not cap it.",
)
.live();
const JWT_TTL: Key = Key::new(
    "svid",
    "jwt_ttl",
    "Lifetime of JWT-SVIDs, where the registration does not cap it.",
)
.live();

pub(super) const KEYS: &[&Key] = &[&KEY_TYPE, &X509_TTL, &JWT_TTL];

pub(super) fn read(reader: &mut Reader<'_>, limits: &Limits) -> Svid {
    let svid = Svid {
        key_type: reader.value(&KEY_TYPE, KeyType::EcP256),
        x509_ttl: reader.value(&X509_TTL, Duration::from_secs(HOUR)),
        jwt_ttl: reader.value(&JWT_TTL, Duration::from_secs(5 * MINUTE)),
    };
    reader.at_least(
        (&X509_TTL, svid.x509_ttl),
        (&MIN_X509_TTL, limits.min_x509_ttl),
    );
    reader.at_most(
        (&X509_TTL, svid.x509_ttl),
        (&MAX_X509_TTL, limits.max_x509_ttl),
    );
    reader.at_least((&JWT_TTL, svid.jwt_ttl), (&MIN_JWT_TTL, limits.min_jwt_ttl));
    reader.at_most((&JWT_TTL, svid.jwt_ttl), (&MAX_JWT_TTL, limits.max_jwt_ttl));
    svid
}
