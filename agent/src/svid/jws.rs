//! JWS compact serialization with ES256: what JWT-SVIDs and WIT-SVIDs share.
//!
//! A signing key is made for one type of token and writes no other, so one key
//! never signs two kinds. A [`VerifyingKey`] is parsed once and kept with
//! the trust bundle. [`Compact`] splits and bounds what came from outside; it
//! reads the header, and gives the claims away only to a key that has verified
//! the signature over them (RFC 7515, section 5.2; RFC 7519, section 7.2).

use super::{KeyError, PrivateKey, PublicKey, SecretText, json};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, ParsedPublicKey,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use serde_json::{Map, Value};
use std::{
    fmt::{self, Debug, Formatter},
    sync::Arc,
};

/// The longest token that is read or written. A SPIFFE ID has up to 2,048
/// bytes; more than 16 KiB fits no HTTP header that servers accept.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Bytes of an ES256 signature (RFC 7518, section 3.4).
const SIGNATURE_BYTES: usize = 64;

/// What is wrong with a token before its claims count.
#[derive(Debug, thiserror::Error)]
pub enum JwsError {
    /// More than [`MAX_TOKEN_BYTES`].
    #[error("longer than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    /// Not three parts (RFC 7515, section 3.1; JWT-SVID.md, section 5.1).
    #[error("not in JWS compact serialization")]
    NotCompact,
    /// A part that is not unpadded base64url (RFC 7515, section 2).
    #[error("not base64url: {0}")]
    Encoding(#[from] base64::DecodeError),
    /// A header or payload that is not one JSON object with distinct names.
    #[error("not a JSON object with distinct names: {0}")]
    Json(#[from] serde_json::Error),
    /// No `alg` (JWT-SVID.md, section 2.1; WIT-SVID.md, section 2.3).
    #[error("no alg in the header")]
    NoAlgorithm,
    /// An `alg` that the standards do not list, `none` and HMAC among them (the same sections).
    #[error("the alg is not allowed")]
    ForbiddenAlgorithm,
    /// An `alg` that the standards list, and that is not that of the key.
    #[error("the alg is not that of the key")]
    OtherAlgorithm,
    /// No `kid`, without which the key cannot be told (WIT-SVID.md, section 2.1).
    #[error("no kid in the header")]
    NoKeyId,
    /// A header parameter of the wrong JSON type.
    #[error("a header parameter is not a string")]
    HeaderType,
    /// No key of the trust bundle has this `kid`.
    #[error("no authority of the trust domain has this kid")]
    UnknownKey,
    /// The signature does not fit.
    #[error("the signature does not verify")]
    Signature,
    /// The key could not sign: a fault of the cryptographic library.
    #[error("the cryptographic library failed to sign")]
    Library,
}

/// A private key that signs tokens of one `typ` with ES256.
pub(super) struct SigningKey {
    pair: EcdsaKeyPair,
    key_id: Arc<str>,
    // The header never changes: base64url, with the full stop behind it.
    header: String,
}

impl SigningKey {
    /// Makes `key` sign tokens of one `typ`, which needs no JSON escapes. Its thumbprint becomes
    /// the `kid`.
    pub(super) fn new(key: &PrivateKey, typ: &str) -> Result<Self, KeyError> {
        let key_id = key.public_key().thumbprint();
        let header = format!(r#"{{"alg":"ES256","kid":"{key_id}","typ":"{typ}"}}"#);
        Self::with_header(key, key_id, &header)
    }

    /// The same, with the key itself in the header and no `kid` (RFC 7515, section 4.1.3).
    pub(super) fn showing_key(key: &PrivateKey, typ: &str) -> Result<Self, KeyError> {
        let public = key.public_key();
        let jwk = public.required_members();
        let header = format!(r#"{{"alg":"ES256","jwk":{jwk},"typ":"{typ}"}}"#);
        Self::with_header(key, public.thumbprint(), &header)
    }

    fn with_header(key: &PrivateKey, key_id: String, header: &str) -> Result<Self, KeyError> {
        Ok(Self {
            pair: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.expose_pkcs8())
                .map_err(KeyError::Private)?,
            key_id: key_id.into(),
            header: URL_SAFE_NO_PAD.encode(header) + ".",
        })
    }

    /// The `kid`.
    pub(super) const fn key_id(&self) -> &Arc<str> {
        &self.key_id
    }

    /// The token with these claims.
    pub(super) fn sign(&self, claims: &impl Serialize) -> Result<SecretText, JwsError> {
        let payload = serde_json::to_vec(claims)?;
        let signed = self.header.len() + encoded_length(payload.len());
        let whole = signed + 1 + encoded_length(SIGNATURE_BYTES);
        if whole > MAX_TOKEN_BYTES {
            return Err(JwsError::TooLong);
        }
        // Allocated once, so that no copy is left behind by growth.
        let mut token = String::with_capacity(whole);
        token.push_str(&self.header);
        URL_SAFE_NO_PAD.encode_string(&payload, &mut token);
        let signature = self
            .pair
            .sign(&SystemRandom::new(), token.as_bytes())
            .map_err(|_unspecified| JwsError::Library)?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        Ok(SecretText::new(token))
    }
}

impl Debug for SigningKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

const fn encoded_length(bytes: usize) -> usize {
    (bytes * 4).div_ceil(3)
}

/// A public key that is ready to verify ES256, with its `kid`.
#[derive(Clone)]
pub struct VerifyingKey {
    key_id: Arc<str>,
    public: PublicKey,
    parsed: ParsedPublicKey,
}

impl VerifyingKey {
    /// Parses `public`; its thumbprint is the `kid`.
    ///
    /// # Errors
    /// [`KeyError::Public`] where the point is not on the curve.
    pub fn new(public: PublicKey) -> Result<Self, KeyError> {
        Ok(Self {
            key_id: public.thumbprint().into(),
            parsed: ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public.point())
                .map_err(|_rejected| KeyError::Public)?,
            public,
        })
    }

    /// The `kid`.
    #[must_use]
    pub const fn key_id(&self) -> &Arc<str> {
        &self.key_id
    }

    /// The key itself.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.public
    }
}

impl Debug for VerifyingKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VerifyingKey").field(&self.key_id).finish()
    }
}

/// The authorities for one type of token, parsed.
#[derive(Clone, Debug, Default)]
pub struct KeySet(Vec<VerifyingKey>);

impl KeySet {
    /// These keys, in this order.
    #[must_use]
    pub const fn new(keys: Vec<VerifyingKey>) -> Self {
        Self(keys)
    }

    /// The key with this `kid`, which is compared byte for byte. There are few, so it is a scan.
    #[must_use]
    pub fn find(&self, key_id: &str) -> Option<&VerifyingKey> {
        self.0.iter().find(|key| *key.key_id == *key_id)
    }

    /// All keys.
    pub fn iter(&self) -> std::slice::Iter<'_, VerifyingKey> {
        self.0.iter()
    }
}

/// Keys that verify tokens.
pub trait Keys {
    /// Whether a token with this `alg` can be one of theirs.
    ///
    /// # Errors
    /// [`JwsError::OtherAlgorithm`], [`JwsError::ForbiddenAlgorithm`].
    fn admits(&self, algorithm: &str) -> Result<(), JwsError>;

    /// Verifies the signature over `signed` by the key with this `kid`.
    ///
    /// # Errors
    /// Where there is no such key, it is of another algorithm, or the signature does not fit.
    fn verify(
        &self,
        algorithm: &str,
        key_id: &str,
        signed: &str,
        signature: &str,
    ) -> Result<(), JwsError>;
}

impl Keys for KeySet {
    fn admits(&self, algorithm: &str) -> Result<(), JwsError> {
        match algorithm {
            "ES256" => Ok(()),
            other if is_allowed_algorithm(other) => Err(JwsError::OtherAlgorithm),
            _ => Err(JwsError::ForbiddenAlgorithm),
        }
    }

    fn verify(&self, _: &str, key_id: &str, signed: &str, signature: &str) -> Result<(), JwsError> {
        let key = self.find(key_id).ok_or(JwsError::UnknownKey)?;
        let signature = URL_SAFE_NO_PAD.decode(signature)?;
        key.parsed
            .verify_sig(signed.as_bytes(), &signature)
            .map_err(|_unspecified| JwsError::Signature)
    }
}

/// A token from outside, split, its header read, nothing verified.
#[derive(Debug)]
pub(super) struct Compact<'a> {
    header: Map<String, Value>,
    signed: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> Compact<'a> {
    /// Splits `token`.
    pub(super) fn parse(token: &'a str) -> Result<Self, JwsError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(JwsError::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(JwsError::NotCompact)?;
        let (header, payload) = signed.split_once('.').ok_or(JwsError::NotCompact)?;
        if payload.contains('.') {
            return Err(JwsError::NotCompact);
        }
        Ok(Self {
            header: json::object(&URL_SAFE_NO_PAD.decode(header)?)?,
            signed,
            payload,
            signature,
        })
    }

    /// The names of the header's parameters.
    pub(super) fn header_names(&self) -> impl Iterator<Item = &str> {
        self.header.keys().map(String::as_str)
    }

    /// A parameter of the header that has to be a string if it is there.
    pub(super) fn header_text(&self, name: &str) -> Result<Option<&str>, JwsError> {
        match self.header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(JwsError::HeaderType),
        }
    }

    /// The claims, after the signature has been verified by the key that the header names.
    pub(super) fn verify(&self, keys: &impl Keys) -> Result<Map<String, Value>, JwsError> {
        let algorithm = self.header_text("alg")?.ok_or(JwsError::NoAlgorithm)?;
        // The key decides on the algorithm, the header only has to agree (RFC 8725, section 3.1).
        keys.admits(algorithm)?;
        let key_id = self.header_text("kid")?.ok_or(JwsError::NoKeyId)?;
        keys.verify(algorithm, key_id, self.signed, self.signature)?;
        self.unverified_claims()
    }

    /// The claims as anybody may have written them: good for finding the keys, and for nothing else.
    pub(super) fn unverified_claims(&self) -> Result<Map<String, Value>, JwsError> {
        Ok(json::object(&URL_SAFE_NO_PAD.decode(self.payload)?)?)
    }
}

/// Whether `alg` is among the nine that both standards allow (JWT-SVID.md,
/// section 2.1; WIT-SVID.md, sections 2.3 and 3.2).
pub(super) fn is_allowed_algorithm(alg: &str) -> bool {
    matches!(
        alg,
        "RS256" | "RS384" | "RS512" | "ES256" | "ES384" | "ES512" | "PS256" | "PS384" | "PS512"
    )
}

/// Signs a header and claims as they are, JSON or not: for tests and fuzz targets.
///
/// # Errors
/// [`JwsError::Library`].
#[cfg(any(test, fuzzing))]
pub fn sign_anything(key: &PrivateKey, header: &str, claims: &str) -> Result<String, JwsError> {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let signed = format!(
        "{}.{}",
        encode(header.as_bytes()),
        encode(claims.as_bytes())
    );
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.expose_pkcs8())
        .map_err(|_rejected| JwsError::Library)?;
    let signature = pair
        .sign(&SystemRandom::new(), signed.as_bytes())
        .map_err(|_unspecified| JwsError::Library)?;
    Ok(format!("{signed}.{}", encode(signature.as_ref())))
}

/// The claims of a token that one of these keys has signed, whatever its kind is.
#[cfg(test)]
pub(crate) fn verified(token: &str, keys: &KeySet) -> Result<Value, JwsError> {
    Compact::parse(token)?.verify(keys).map(Value::Object)
}

/// Tokens with any header and claims, for the tests of both kinds.
#[cfg(test)]
pub(super) mod testing {
    use super::{KeySet, VerifyingKey, sign_anything};
    use crate::svid::PrivateKey;
    use serde_json::{Value, json};

    /// Signs whatever it is given.
    pub(in crate::svid) struct Forge(PrivateKey);

    impl Forge {
        pub(in crate::svid) fn new() -> Self {
            Self(PrivateKey::generate().unwrap())
        }

        pub(in crate::svid) fn keys(&self) -> KeySet {
            KeySet::new(vec![VerifyingKey::new(*self.0.public_key()).unwrap()])
        }

        pub(in crate::svid) fn token(&self, header: &Value, claims: &Value) -> String {
            self.raw(&header.to_string(), &claims.to_string())
        }

        pub(in crate::svid) fn raw(&self, header: &str, claims: &str) -> String {
            sign_anything(&self.0, header, claims).unwrap()
        }
    }

    /// A good header.
    pub(in crate::svid) fn header(forge: &Forge, typ: &str) -> Value {
        json!({"alg": "ES256", "kid": forge.0.public_key().thumbprint(), "typ": typ})
    }
}
