//! Public keys as JSON Web Keys, for whoever publishes or shows one.

use super::PublicKey;
use serde::Serialize;

/// A P-256 public key as a JWK (RFC 7517, section 4; RFC 7518, section 6.2.1), its members in the
/// order of their names.
#[derive(Clone, Debug, Serialize)]
pub struct Jwk {
    #[serde(skip_serializing_if = "Option::is_none")]
    alg: Option<&'static str>,
    crv: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    kty: &'static str,
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    usage: Option<&'static str>,
    x: String,
    y: String,
}

impl Jwk {
    /// The members that every P-256 key has.
    #[must_use]
    pub fn of(key: &PublicKey) -> Self {
        Self {
            alg: None,
            crv: "P-256",
            kid: None,
            kty: "EC",
            usage: None,
            x: key.x(),
            y: key.y(),
        }
    }

    /// The same, for ES256 alone.
    #[must_use]
    pub fn es256(self) -> Self {
        Self {
            alg: Some("ES256"),
            ..self
        }
    }

    /// The same, with this `kid`.
    #[must_use]
    pub fn named(self, kid: impl Into<String>) -> Self {
        Self {
            kid: Some(kid.into()),
            ..self
        }
    }

    /// The same, with this `use`, if any.
    #[must_use]
    pub fn used_as(self, usage: Option<&'static str>) -> Self {
        Self { usage, ..self }
    }
}

/// A JWK Set (RFC 7517, section 5).
#[derive(Debug, Serialize)]
pub(crate) struct JwkSet<K> {
    keys: Vec<K>,
}

impl<K: Serialize> JwkSet<K> {
    /// The document with these keys, in their order.
    pub(crate) fn document(keys: impl Iterator<Item = K>) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Self {
            keys: keys.collect(),
        })
    }
}
