//! Client assertions: how an OAuth client proves to an authorization server who it is.
//!
//! A [`Signer`] writes the JWT of RFC 7523, section 3, as its successor
//! (draft-ietf-oauth-rfc7523bis) narrows it: typed `client-authentication+jwt`, the
//! client in `iss` and in `sub`, and one audience, which is a string and not an
//! array. A key signs assertions of one client and nothing else. The server that
//! reads them validates them; nothing here does.

use super::{
    KeyError, PrivateKey, SecretText,
    jws::{JwsError, SigningKey},
};
use crate::clock::unix_seconds;
use serde::Serialize;
use std::{sync::Arc, time::SystemTime};

/// What goes into a client assertion.
#[derive(Clone, Copy, Debug)]
pub struct Claims<'a> {
    /// `iss` and `sub`.
    pub client_id: &'a str,
    /// `aud`.
    pub audience: &'a str,
    /// `iat`, cut to whole seconds.
    pub issued_at: SystemTime,
    /// `exp`, cut to whole seconds.
    pub expires_at: SystemTime,
    /// `jti`.
    pub jti: &'a str,
}

/// A key that signs client assertions and nothing else.
#[derive(Debug)]
pub struct Signer(SigningKey);

impl Signer {
    /// Makes `key` sign client assertions.
    ///
    /// # Errors
    /// Where the cryptographic library refuses the key.
    pub fn new(key: &PrivateKey) -> Result<Self, KeyError> {
        SigningKey::new(key, "client-authentication+jwt").map(Self)
    }

    /// The `kid`, as the client's JWKS has it.
    #[must_use]
    pub const fn key_id(&self) -> &Arc<str> {
        self.0.key_id()
    }

    /// Signs an assertion.
    ///
    /// # Errors
    /// [`JwsError::TooLong`], [`JwsError::Library`].
    pub fn sign(&self, claims: &Claims<'_>) -> Result<SecretText, JwsError> {
        self.0.sign(&Payload {
            aud: claims.audience,
            exp: unix_seconds(claims.expires_at),
            iat: unix_seconds(claims.issued_at),
            iss: claims.client_id,
            jti: claims.jti,
            sub: claims.client_id,
        })
    }
}

// Fields in alphabetical order.
#[derive(Serialize)]
struct Payload<'a> {
    aud: &'a str,
    exp: u64,
    iat: u64,
    iss: &'a str,
    jti: &'a str,
    sub: &'a str,
}

#[cfg(test)]
mod tests {
    use super::{Claims, Signer};
    use crate::svid::{
        PrivateKey,
        jws::{Compact, KeySet, VerifyingKey},
    };
    use serde_json::json;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn an_assertion_names_the_client_twice_and_one_audience() {
        let key = PrivateKey::generate().unwrap();
        let signer = Signer::new(&key).unwrap();
        let at = UNIX_EPOCH + Duration::from_millis(1_795_000_000_900);
        let token = signer.sign(&Claims {
            client_id: "https://id.example/clients/a/client.json",
            audience: "https://as.example",
            issued_at: at,
            expires_at: at + Duration::from_secs(60),
            jti: "j",
        });
        let token = token.unwrap();
        let keys = KeySet::new(vec![VerifyingKey::new(*key.public_key()).unwrap()]);
        let compact = Compact::parse(token.expose()).unwrap();
        let typ = compact.header_text("typ").unwrap();
        assert_eq!(typ, Some("client-authentication+jwt"));
        let kid = compact.header_text("kid").unwrap();
        assert_eq!(kid, Some(&**signer.key_id()));
        let claims = serde_json::Value::Object(compact.verify(&keys).unwrap());
        let expected = json!({
            "aud": "https://as.example",
            "exp": 1_795_000_060,
            "iat": 1_795_000_000,
            "iss": "https://id.example/clients/a/client.json",
            "jti": "j",
            "sub": "https://id.example/clients/a/client.json",
        });
        assert_eq!(claims, expected);
    }
}
