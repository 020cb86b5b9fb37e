//! The SVID formats: X.509-SVID, JWT-SVID and WIT-SVID, built and validated as their standards demand.
//!
//! This owns the formats and nothing else: which identity a process has, how
//! long a credential lives and which key signs it is decided by the callers,
//! `issuance` and `authority`. Everything that is validated here may come from
//! an attacker: it is bounded before it is parsed, signatures are checked
//! before claims are read, and each rule of a standard has one error variant,
//! with its section cited beside the check. Nothing is repaired or ignored
//! that a standard does not tell validators to ignore.
//!
//! Standards (July 2026): X509-SVID.md, JWT-SVID.md, WIT-SVID.md and
//! SPIFFE-ID.md of SPIFFE, RFC 5280, RFC 7515 to 7519, RFC 7638 and RFC 7800.
//! Signatures are ES256 (P-256) alone, whether made or accepted, but for
//! X.509 chains, whose authorities an operator may supply, and for tokens of
//! foreign trust domains. Encrypted tokens,
//! JWS JSON serialization, revocation lists and X.509 path building through
//! unordered certificates are left out.
//!
//! Beside the SVIDs stand the tokens that are only signed here, for others to
//! validate: client assertions ([`assertion`]) and proofs of possession ([`proof`]).

pub mod assertion;
mod claims;
pub mod foreign;
pub(crate) mod json;
mod jwk;
pub mod jws;
pub mod jwt;
mod key;
pub mod proof;
pub mod wit;
pub mod x509;

pub use claims::ClaimError;
pub use jwk::Jwk;
pub(crate) use jwk::JwkSet;
pub(crate) use key::fresh_id;
pub use key::{KeyError, PrivateKey, PublicKey, SecretText};
