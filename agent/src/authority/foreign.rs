//! The trust bundle of a foreign trust domain, read from its document.
//!
//! A SPIFFE bundle is a JWK Set of which only the public keys of known types
//! count (`SPIFFE_Trust_Domain_and_Bundle.md`, section 4). It says nothing of whose it
//! is; so it is read for one trust domain, by which its endpoint is known, and
//! speaks for no other (section 3). Whoever serves it is a stranger: sizes are
//! bounded, names are unique, and a document that breaks a rule is refused whole, so
//! that nothing is believed by halves. What readers have to ignore is ignored: unknown
//! types of keys, unknown uses, unknown parameters.

use crate::{
    canonical,
    svid::{
        foreign::{ForeignKey, ForeignKeys, JwkError},
        json,
        x509::{self, X509Error},
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::{Map, Value};
use spiffe::TrustDomain;
use std::{fmt, time::Duration};

/// Bytes of a bundle: some dozens of authorities. All of a client's go into one answer of 4 MiB.
pub const MAX_BUNDLE_BYTES: usize = 48 * 1024;
/// Keys in a bundle, known or not: rotation needs two or three of each kind.
const MAX_KEYS: usize = 64;

/// Why a document is not the bundle of this trust domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// More than [`MAX_BUNDLE_BYTES`].
    #[error("longer than {MAX_BUNDLE_BYTES} bytes")]
    TooLong,
    /// Not one JSON object with distinct names.
    #[error("not a JSON object with distinct names: {0}")]
    Json(String),
    /// No `keys`, or not a list (section 4.1.3).
    #[error("no keys")]
    NoKeys,
    /// More than 64.
    #[error("more than {MAX_KEYS} keys")]
    TooManyKeys,
    /// `spiffe_sequence` or `spiffe_refresh_hint` is not an integer (sections 4.1.1 and 4.1.2).
    #[error("{0} is not a 64-bit integer")]
    NotAnInteger(&'static str),
    /// A key without `kty` or `use` (sections 4.2.1 and 4.2.2), or not an object.
    #[error("key {0}: no kty or no use")]
    Unnamed(usize),
    /// A private or symmetric key: whoever publishes that has lost it.
    #[error("key {0}: a secret key")]
    Secret(usize),
    /// A malformed key.
    #[error("key {0}: {1}")]
    Key(usize, JwkError),
    /// Two keys of one use with one `kid`.
    #[error("key {0}: its kid stands twice")]
    Repeated(usize),
    /// Not exactly one certificate in `x5c` (X509-SVID.md, section 6.1).
    #[error("key {0}: x5c is not one certificate")]
    Certificate(usize),
    /// An authority that names another trust domain as its own.
    #[error("key {0}: the authority is of another trust domain")]
    OtherTrustDomain(usize),
}

/// What verifies the SVIDs of one foreign trust domain.
pub struct ForeignBundle {
    trust_domain: TrustDomain,
    sequence: Option<u64>,
    refresh_hint: Option<Duration>,
    x509_der: Bytes,
    x509_count: usize,
    jwt: ForeignKeys,
    wit_count: usize,
    jwt_jwks: Bytes,
    wit_jwks: Bytes,
    digest: String,
    /// SHA-256 of the keys that count, in whatever order they stand.
    keys: String,
}

impl fmt::Debug for ForeignBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignBundle")
            .field("trust_domain", &self.trust_domain)
            .field("sequence", &self.sequence)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

/// What is read so far.
#[derive(Default)]
struct Read {
    x509: Vec<Vec<u8>>,
    jwt: ForeignKeys,
    wit: ForeignKeys,
}

impl ForeignBundle {
    /// Reads the bundle of `trust_domain`.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn parse(trust_domain: &TrustDomain, document: &[u8]) -> Result<Self, BundleError> {
        if document.len() > MAX_BUNDLE_BYTES {
            return Err(BundleError::TooLong);
        }
        let set = json::object(document).map_err(|error| BundleError::Json(error.to_string()))?;
        let keys = set.get("keys").and_then(Value::as_array);
        let keys = keys.ok_or(BundleError::NoKeys)?;
        if keys.len() > MAX_KEYS {
            return Err(BundleError::TooManyKeys);
        }
        let mut read = Read::default();
        for (place, jwk) in keys.iter().enumerate() {
            let jwk = jwk.as_object().ok_or(BundleError::Unnamed(place))?;
            read.take(place, jwk, trust_domain)?;
        }
        // Nothing at all where there is no key: readers leave such a document out.
        let rendered = |keys: &ForeignKeys| {
            if keys.is_empty() {
                return Ok(Vec::new());
            }
            let jwks = keys.jwks();
            jwks.map_err(|error| BundleError::Json(error.to_string()))
        };
        // Publishers that know no sequences write 0.
        let sequence = integer(&set, "spiffe_sequence")?.filter(|sequence| *sequence != 0);
        let hint = integer(&set, "spiffe_refresh_hint")?.filter(|hint| *hint != 0);
        Ok(Self {
            trust_domain: trust_domain.clone(),
            sequence,
            refresh_hint: hint.map(Duration::from_secs),
            jwt_jwks: rendered(&read.jwt)?.into(),
            wit_jwks: rendered(&read.wit)?.into(),
            x509_der: read.x509.concat().into(),
            x509_count: read.x509.len(),
            wit_count: read.wit.len(),
            keys: read.digest(),
            jwt: read.jwt,
            digest: canonical::sha256_hex(document),
        })
    }

    /// The trust domain that this bundle speaks for.
    #[must_use]
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// `spiffe_sequence`, where it has one.
    #[must_use]
    pub const fn sequence(&self) -> Option<u64> {
        self.sequence
    }

    /// How often it shall be asked for (section 4.1.2), where it says so.
    #[must_use]
    pub const fn refresh_hint(&self) -> Option<Duration> {
        self.refresh_hint
    }

    /// The X.509 authorities as concatenated DER.
    #[must_use]
    pub const fn x509_der(&self) -> &Bytes {
        &self.x509_der
    }

    /// How many X.509, JWT and WIT authorities there are.
    #[must_use]
    pub const fn counts(&self) -> (usize, usize, usize) {
        (self.x509_count, self.jwt.len(), self.wit_count)
    }

    /// The JWT authorities, parsed.
    #[must_use]
    pub const fn jwt_keys(&self) -> &ForeignKeys {
        &self.jwt
    }

    /// The JWT authorities as a JWK Set, without `use`; empty where there are none.
    #[must_use]
    pub const fn jwt_jwks(&self) -> &Bytes {
        &self.jwt_jwks
    }

    /// The WIT authorities as a JWK Set, without `use`; empty where there are none.
    #[must_use]
    pub const fn wit_jwks(&self) -> &Bytes {
        &self.wit_jwks
    }

    /// Whether the other bundle has the same keys.
    #[must_use]
    pub fn has_keys_of(&self, other: &Self) -> bool {
        self.keys == other.keys
    }

    /// SHA-256 of the document, in lower-case hexadecimal.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

impl Read {
    fn digest(&self) -> String {
        let x509 = self.x509.iter();
        let x509 = x509.map(|der| format!("x509 {}", canonical::sha256_hex(der)));
        let jwt = self.jwt.iter().map(|key| format!("jwt {}", key.line()));
        let wit = self.wit.iter().map(|key| format!("wit {}", key.line()));
        let mut lines: Vec<_> = x509.chain(jwt).chain(wit).collect();
        lines.sort_unstable();
        canonical::sha256_hex(lines.join("\n").as_bytes())
    }

    fn take(
        &mut self,
        place: usize,
        jwk: &Map<String, Value>,
        trust_domain: &TrustDomain,
    ) -> Result<(), BundleError> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let (Some(kind), Some(usage)) = (text("kty"), text("use")) else {
            return Err(BundleError::Unnamed(place));
        };
        if kind == "oct" || jwk.contains_key("d") || jwk.contains_key("k") {
            return Err(BundleError::Secret(place));
        }
        match usage {
            "x509-svid" if matches!(kind, "EC" | "RSA") => {
                self.x509.push(authority(place, jwk, trust_domain)?);
                Ok(())
            }
            "jwt-svid" => add(&mut self.jwt, place, jwk),
            "wit-svid" => add(&mut self.wit, place, jwk),
            _ => Ok(()),
        }
    }
}

fn add(keys: &mut ForeignKeys, place: usize, jwk: &Map<String, Value>) -> Result<(), BundleError> {
    let key = ForeignKey::of(jwk).map_err(|error| BundleError::Key(place, error))?;
    match key.is_none_or(|key| keys.add(key)) {
        true => Ok(()),
        false => Err(BundleError::Repeated(place)),
    }
}

/// One certificate (X509-SVID.md, section 6.1), which may say whose it is, but nobody else's.
fn authority(
    place: usize,
    jwk: &Map<String, Value>,
    trust_domain: &TrustDomain,
) -> Result<Vec<u8>, BundleError> {
    let malformed = || BundleError::Certificate(place);
    let chain = jwk.get("x5c").and_then(Value::as_array);
    let [Value::String(certificate)] = chain.ok_or_else(malformed)?.as_slice() else {
        return Err(malformed());
    };
    let der = STANDARD
        .decode(certificate)
        .map_err(|_not_base64| malformed())?;
    let parsed = x509::certificates(&der).map_err(|_malformed| malformed())?;
    let [parsed] = parsed.as_slice() else {
        return Err(malformed());
    };
    match x509::signing_trust_domain(parsed) {
        Ok(None) => {}
        Ok(Some(own)) if own == *trust_domain => {}
        Ok(Some(_)) => return Err(BundleError::OtherTrustDomain(place)),
        Err(X509Error::SigningPath) => return Err(BundleError::OtherTrustDomain(place)),
        Err(_malformed) => return Err(malformed()),
    }
    Ok(der)
}

fn integer(set: &Map<String, Value>, name: &'static str) -> Result<Option<u64>, BundleError> {
    match set.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64() {
            Some(value) => Ok(Some(value)),
            None => Err(BundleError::NotAnInteger(name)),
        },
    }
}

#[cfg(test)]
mod tests;
