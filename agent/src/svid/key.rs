//! P-256 keys: the private one that never prints, the public one that is published.

use crate::canonical;
use aws_lc_rs::{
    digest,
    encoding::AsBigEndian as _,
    pkcs8, rand,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use std::fmt::{self, Debug, Formatter};
use zeroize::Zeroizing;

/// Bytes of an uncompressed P-256 point (SEC 1, section 2.3.3).
const POINT_BYTES: usize = 65;
/// Bytes of one coordinate, and of the private scalar.
const SCALAR_BYTES: usize = 32;
/// The first byte of an uncompressed point.
const UNCOMPRESSED: u8 = 4;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The cryptographic library failed; nothing that a caller did.
    #[error("the cryptographic library could not make or write the key")]
    Library,
    /// The bytes are not a PKCS#8 P-256 private key.
    #[error("not a P-256 private key in PKCS#8: {0}")]
    Private(aws_lc_rs::error::KeyRejected),
    /// The bytes are not an uncompressed P-256 point.
    #[error("not an uncompressed P-256 point")]
    Public,
}

/// Random bytes.
///
/// # Errors
/// [`KeyError::Library`].
pub(super) fn random<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_unspecified| KeyError::Library)?;
    Ok(bytes)
}

/// A fresh identifier: 128 random bits in lower-case hexadecimal.
///
/// # Errors
/// [`KeyError::Library`].
pub(crate) fn fresh_id() -> Result<String, KeyError> {
    random::<16>().map(|bytes| canonical::hex(&bytes))
}

/// Text that is a secret: it is zeroed when dropped and never printed.
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes `text` in; no other copy of it may exist.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Debug for SecretText {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText")
    }
}

/// A P-256 private key with its public key.
pub struct PrivateKey {
    // Zeroed when dropped, by aws-lc-rs.
    pkcs8: pkcs8::Document,
    public: PublicKey,
}

impl PrivateKey {
    /// A fresh key.
    ///
    /// # Errors
    /// [`KeyError::Library`].
    pub fn generate() -> Result<Self, KeyError> {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .map_err(|_unspecified| KeyError::Library)
            .and_then(|pair| Self::of_pair(&pair))
    }

    /// The key that `der` holds as PKCS#8 (RFC 5208).
    ///
    /// # Errors
    /// [`KeyError::Private`] where it is anything else.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
            .map_err(KeyError::Private)
            .and_then(|pair| Self::of_pair(&pair))
    }

    fn of_pair(pair: &EcdsaKeyPair) -> Result<Self, KeyError> {
        Ok(Self {
            pkcs8: pair
                .to_pkcs8v1()
                .map_err(|_unspecified| KeyError::Library)?,
            public: PublicKey::from_point(pair.public_key().as_ref())?,
        })
    }

    /// The public key.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// The private key as PKCS#8 DER, not encrypted.
    #[must_use]
    pub fn expose_pkcs8(&self) -> &[u8] {
        self.pkcs8.as_ref()
    }

    /// The private key as a JWK with `alg` ES256 (RFC 7517; RFC 7518, section 6.2.2).
    ///
    /// # Errors
    /// [`KeyError::Library`].
    pub fn expose_jwk(&self) -> Result<SecretText, KeyError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, self.pkcs8.as_ref())
            .map_err(KeyError::Private)?;
        // The buffer of the scalar is zeroed when dropped, by aws-lc-rs.
        let scalar = pair
            .private_key()
            .as_be_bytes()
            .map_err(|_unspecified| KeyError::Library)?;
        let mut d = Zeroizing::new([0; SCALAR_BYTES.div_ceil(3) * 4]);
        let length = URL_SAFE_NO_PAD
            .encode_slice(scalar.as_ref(), d.as_mut_slice())
            .map_err(|_short| KeyError::Library)?;
        let d = d
            .get(..length)
            .and_then(|d| str::from_utf8(d).ok())
            .ok_or(KeyError::Library)?;
        // Allocated once, so that no copy is left behind by growth.
        let mut text = String::with_capacity(256);
        text.push_str(r#"{"alg":"ES256","crv":"P-256","d":""#);
        text.push_str(d);
        text.push_str(r#"","kty":"EC","x":""#);
        text.push_str(&self.public.x());
        text.push_str(r#"","y":""#);
        text.push_str(&self.public.y());
        text.push_str(r#""}"#);
        Ok(SecretText::new(text))
    }
}

impl Debug for PrivateKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey")
    }
}

/// A P-256 public key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; POINT_BYTES]);

impl PublicKey {
    /// The key at an uncompressed point (SEC 1, section 2.3.3).
    ///
    /// Whether the point lies on the curve is checked where the key is used to
    /// verify something, see [`VerifyingKey`](super::jws::VerifyingKey).
    ///
    /// # Errors
    /// [`KeyError::Public`].
    pub fn from_point(point: &[u8]) -> Result<Self, KeyError> {
        match <[u8; POINT_BYTES]>::try_from(point) {
            Ok(point) if point.first() == Some(&UNCOMPRESSED) => Ok(Self(point)),
            _ => Err(KeyError::Public),
        }
    }

    /// The key of a JWK's coordinates, in unpadded base64url (RFC 7518, section 6.2.1).
    ///
    /// # Errors
    /// [`KeyError::Public`].
    pub fn from_coordinates(x: &str, y: &str) -> Result<Self, KeyError> {
        let mut point = Vec::with_capacity(POINT_BYTES);
        point.push(UNCOMPRESSED);
        for coordinate in [x, y] {
            let bytes = URL_SAFE_NO_PAD
                .decode(coordinate)
                .map_err(|_malformed| KeyError::Public)?;
            // Full size, leading zeros included (RFC 7518, section 6.2.1.2).
            if bytes.len() != SCALAR_BYTES {
                return Err(KeyError::Public);
            }
            point.extend_from_slice(&bytes);
        }
        Self::from_point(&point)
    }

    /// The uncompressed point.
    #[must_use]
    pub const fn point(&self) -> &[u8] {
        &self.0
    }

    /// The `x` of a JWK.
    #[must_use]
    pub fn x(&self) -> String {
        self.coordinate(1)
    }

    /// The `y` of a JWK.
    #[must_use]
    pub fn y(&self) -> String {
        self.coordinate(1 + SCALAR_BYTES)
    }

    fn coordinate(&self, at: usize) -> String {
        let bytes = self.0.get(at..at + SCALAR_BYTES).unwrap_or_default();
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The JWK thumbprint (RFC 7638): SHA-256 in unpadded base64url. It is also the key's `kid`.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        let input = self.required_members();
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, input.as_bytes()))
    }

    /// The JWK with the required members alone, sorted, without white space (RFC 7638, section 3).
    pub(super) fn required_members(&self) -> String {
        let (x, y) = (self.x(), self.y());
        format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#)
    }
}

impl Debug for PublicKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PublicKey")
            .field(&self.thumbprint())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyError, PrivateKey, PublicKey};

    #[test]
    fn private_keys_and_secrets_never_print() {
        let key = PrivateKey::generate().unwrap();
        assert_eq!(format!("{key:?}"), "PrivateKey");
        assert_eq!(format!("{:?}", key.expose_jwk().unwrap()), "SecretText");
    }

    #[test]
    fn a_private_key_survives_pkcs8() {
        let key = PrivateKey::generate().unwrap();
        let again = PrivateKey::from_pkcs8(key.expose_pkcs8()).unwrap();
        assert_eq!(again.public_key(), key.public_key());
        assert_eq!(again.expose_pkcs8(), key.expose_pkcs8());
    }

    #[test]
    fn bytes_that_are_no_key_are_refused() {
        let key = PrivateKey::generate().unwrap();
        let cut = &key.expose_pkcs8()[1..];
        assert!(matches!(
            PrivateKey::from_pkcs8(cut),
            Err(KeyError::Private(_))
        ));
        for point in [&[][..], &[4; 64], &[2; 65]] {
            assert!(matches!(
                PublicKey::from_point(point),
                Err(KeyError::Public)
            ));
        }
    }

    #[test]
    fn a_private_jwk_names_the_same_key() {
        let key = PrivateKey::generate().unwrap();
        let jwk: serde_json::Value =
            serde_json::from_str(key.expose_jwk().unwrap().expose()).unwrap();
        assert_eq!(jwk["x"], key.public_key().x());
        assert_eq!(jwk["y"], key.public_key().y());
        assert_eq!(jwk["d"].as_str().unwrap().len(), 43);
        assert_eq!(jwk["alg"], "ES256");
    }

    #[test]
    fn coordinates_make_the_same_key() {
        let key = *PrivateKey::generate().unwrap().public_key();
        assert_eq!(
            PublicKey::from_coordinates(&key.x(), &key.y()).unwrap(),
            key
        );
        PublicKey::from_coordinates(&key.x(), "").unwrap_err();
        PublicKey::from_coordinates(&format!("{}=", key.x()), &key.y()).unwrap_err();
    }

    // The example key of WIT-SVID.md, appendix A; its thumbprint by another implementation.
    #[test]
    fn the_thumbprint_is_that_of_rfc_7638() {
        let key = PublicKey::from_coordinates(
            "rzP7mLCKAHWmsM6X0EwVISC_hI3ujcu95ffUkyeDGGo",
            "uOrfDljtX9m3jY-hsyhLJYaxtGkzDv5e5kmCe58Z97g",
        )
        .unwrap();
        assert_eq!(
            key.thumbprint(),
            "Grk4Vdzhzi-BkgaiR69rJo0cUyISWUMNcKaUVzrUa5Y"
        );
    }
}
