//! Proofs that the holder of a key sends a request: DPoP proofs and workload proof tokens.
//!
//! A [`DpopSigner`] writes the proofs of RFC 9449, section 4.2, which carry their
//! public key; a [`WorkloadSigner`] writes those of draft-ietf-wimse-wpt, whose key
//! stands in a WIT-SVID. Both cover the address of a request and not its body. What
//! goes into them was parsed into the types here, so that no proof is signed for
//! something that is no address, method, nonce or hash.
//!
//! One key signs proofs of one kind; the servers that read them validate them.

use super::{
    KeyError, PrivateKey, SecretText,
    jws::{JwsError, SigningKey},
};
use crate::{clock::unix_seconds, uri::Uri};
use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use std::{collections::BTreeMap, str::FromStr, sync::Arc, time::SystemTime};

/// The longest address of a request: servers accept no longer ones in a request line.
pub const TARGET_BYTES: usize = 2048;

/// The longest method; the longest registered one has 17 bytes.
pub const METHOD_BYTES: usize = 32;

/// The longest nonce of a server.
pub const NONCE_BYTES: usize = 512;

/// Bytes of a SHA-256 in unpadded base64url.
const HASH_BYTES: usize = 43;

/// What a request for a proof has in place of what it should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {rule}")]
pub struct ProofInputError {
    what: &'static str,
    rule: &'static str,
}

type Check = Result<(), &'static str>;

macro_rules! input {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ProofInputError;

            fn from_str(text: &str) -> Result<Self, ProofInputError> {
                let check: fn(&str) -> Check = $check;
                match check(text) {
                    Ok(()) => Ok(Self(text.to_owned())),
                    Err(rule) => Err(ProofInputError { what: $what, rule }),
                }
            }
        }
    };
}

input!(
    /// The address of a request without query and fragment (RFC 9449, `htu`).
    Target,
    "the target URI",
    target
);

input!(
    /// The method of a request (RFC 9110, section 9.1; RFC 9449, `htm`).
    Method,
    "the method",
    |text| {
        let is_upper = |b: u8| b.is_ascii_uppercase() || b == b'-';
        if (1..=METHOD_BYTES).contains(&text.len()) && text.bytes().all(is_upper) {
            Ok(())
        } else {
            Err("has 1 to 32 of the characters A-Z and '-'")
        }
    }
);

input!(
    /// What a server gave to be repeated (RFC 9449, section 8.1: `1*NQCHAR`).
    Nonce,
    "the nonce",
    |text| {
        let is_nqchar = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
        if (1..=NONCE_BYTES).contains(&text.len()) && text.bytes().all(is_nqchar) {
            Ok(())
        } else {
            Err("has 1 to 512 visible characters, no quotes and backslashes")
        }
    }
);

input!(
    /// A SHA-256 in unpadded base64url (RFC 9449, `ath`; draft-ietf-wimse-wpt, `tth`, `oth`).
    Hash,
    "the hash",
    |text| match URL_SAFE_NO_PAD.decode(text) {
        Ok(bytes) if text.len() == HASH_BYTES && bytes.len() == digest::SHA256_OUTPUT_LEN => Ok(()),
        Ok(_) | Err(_) => Err("is no SHA-256 in unpadded base64url"),
    }
);

/// An https address with a host; http for loopback, where development servers are.
fn target(text: &str) -> Check {
    if text.len() > TARGET_BYTES {
        return Err("has more than 2,048 bytes");
    }
    let uri = Uri::parse(text).map_err(|_none| "is no URI")?;
    if uri.scheme != "https" && !(uri.scheme == "http" && uri.is_loopback()) {
        return Err("is no https URI; http is for loopback alone");
    }
    if uri.host().is_none_or(str::is_empty) || uri.has_user_info() {
        return Err("has no host, or user information");
    }
    // RFC 9449, section 4.2: without query and fragment parts.
    if uri.query.is_some() || uri.fragment.is_some() {
        return Err("has a query or a fragment");
    }
    Ok(())
}

/// The SHA-256 of a token's ASCII form in unpadded base64url.
#[must_use]
pub fn hash_of(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, token.as_bytes()))
}

/// What goes into a DPoP proof (RFC 9449, section 4.2).
#[derive(Clone, Copy, Debug)]
pub struct DpopClaims<'a> {
    /// `htm`.
    pub method: &'a Method,
    /// `htu`.
    pub target: &'a Target,
    /// `iat`, cut to whole seconds.
    pub issued_at: SystemTime,
    /// `jti`.
    pub jti: &'a str,
    /// `ath`: with an access token its hash.
    pub access_token_hash: Option<&'a Hash>,
    /// `nonce`: what the server gave.
    pub nonce: Option<&'a Nonce>,
}

/// A key that signs DPoP proofs and nothing else.
#[derive(Debug)]
pub struct DpopSigner(SigningKey);

impl DpopSigner {
    /// Makes `key` sign DPoP proofs.
    ///
    /// # Errors
    /// Where the cryptographic library refuses the key.
    pub fn new(key: &PrivateKey) -> Result<Self, KeyError> {
        SigningKey::showing_key(key, "dpop+jwt").map(Self)
    }

    /// The thumbprint of its key, which tokens are bound to (`cnf.jkt`).
    #[must_use]
    pub const fn thumbprint(&self) -> &Arc<str> {
        self.0.key_id()
    }

    /// Signs a proof.
    ///
    /// # Errors
    /// [`JwsError::TooLong`], [`JwsError::Library`].
    pub fn sign(&self, claims: &DpopClaims<'_>) -> Result<SecretText, JwsError> {
        self.0.sign(&DpopPayload {
            ath: claims.access_token_hash,
            htm: claims.method,
            htu: claims.target,
            iat: unix_seconds(claims.issued_at),
            jti: claims.jti,
            nonce: claims.nonce,
        })
    }
}

// Fields in alphabetical order.
#[derive(Serialize)]
struct DpopPayload<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    ath: Option<&'a Hash>,
    htm: &'a Method,
    htu: &'a Target,
    iat: u64,
    jti: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a Nonce>,
}

/// What goes into a workload proof token (draft-ietf-wimse-wpt, section 2).
#[derive(Clone, Copy, Debug)]
pub struct WorkloadClaims<'a> {
    /// `aud`.
    pub target: &'a Target,
    /// `exp`, cut to whole seconds.
    pub expires_at: SystemTime,
    /// `jti`.
    pub jti: &'a str,
    /// `wth`: that of the WIT-SVID whose key signs.
    pub wit_hash: &'a str,
    /// `ath`: with an access token its hash.
    pub access_token_hash: Option<&'a Hash>,
    /// `tth`: with a transaction token its hash.
    pub transaction_token_hash: Option<&'a Hash>,
    /// `oth`: hashes of other tokens, by the lower-case names of their header fields.
    pub other_hashes: &'a BTreeMap<String, Hash>,
}

/// A key that signs workload proof tokens and nothing else.
#[derive(Debug)]
pub struct WorkloadSigner(SigningKey);

impl WorkloadSigner {
    /// Makes `key` sign workload proof tokens.
    ///
    /// # Errors
    /// Where the cryptographic library refuses the key.
    pub fn new(key: &PrivateKey) -> Result<Self, KeyError> {
        SigningKey::new(key, "wpt+jwt").map(Self)
    }

    /// The thumbprint of its key, as in the WIT-SVID's `cnf`.
    #[must_use]
    pub const fn thumbprint(&self) -> &Arc<str> {
        self.0.key_id()
    }

    /// Signs a proof.
    ///
    /// # Errors
    /// [`JwsError::TooLong`], [`JwsError::Library`].
    pub fn sign(&self, claims: &WorkloadClaims<'_>) -> Result<SecretText, JwsError> {
        self.0.sign(&WorkloadPayload {
            ath: claims.access_token_hash,
            aud: claims.target,
            exp: unix_seconds(claims.expires_at),
            jti: claims.jti,
            oth: claims.other_hashes,
            tth: claims.transaction_token_hash,
            wth: claims.wit_hash,
        })
    }
}

// Fields in alphabetical order.
#[derive(Serialize)]
struct WorkloadPayload<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    ath: Option<&'a Hash>,
    aud: &'a Target,
    exp: u64,
    jti: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    oth: &'a BTreeMap<String, Hash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tth: Option<&'a Hash>,
    wth: &'a str,
}

#[cfg(test)]
mod tests;
