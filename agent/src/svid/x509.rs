//! X.509-SVIDs: a leaf built to the profile, and a chain validated against a trust bundle.
//!
//! [`leaf`] writes what `authority` signs. [`validate`] reads what came from
//! outside: a leaf with the intermediates behind it, and the trust bundle's
//! certificates, both as concatenated DER, which is how the Workload API
//! delivers them. The bundle is trusted, the chain is not: its size and length
//! are bounded before anything is parsed, each certificate is signed by the
//! next, the last by one of the bundle.
//!
//! Invariants: exactly one error variant for each rule; an extension that
//! cannot be parsed, stands twice, or is critical and unknown is refused,
//! never skipped. Standards: X509-SVID.md, sections 2 to 5, and the path
//! validation of RFC 5280, section 6.1. Left out on purpose: revocation lists
//! and policies, unordered chains, name constraints of other types than URI
//! and DNS (a chain that carries them is refused).

pub mod leaf;
mod names;
mod validate;

pub use validate::{X509Svid, validate};
pub(crate) use validate::{certificates, serial_hex, signing_trust_domain, system_time};

use spiffe::SpiffeIdError;

/// The most DER that a chain or a bundle may have. A certificate has about 1
/// KB; this leaves room for many authorities and RSA.
pub const MAX_DER_BYTES: usize = 256 * 1024;

/// The most certificates in a chain, the leaf included: each costs a signature
/// verification, and real hierarchies have two to four.
pub const MAX_CHAIN_CERTIFICATES: usize = 8;

/// Why a chain is not an X.509-SVID of this trust domain now.
#[derive(Debug, thiserror::Error)]
pub enum X509Error {
    /// More than [`MAX_DER_BYTES`], or more than [`MAX_CHAIN_CERTIFICATES`].
    #[error("too many bytes or certificates")]
    TooLong,
    /// No certificate at all.
    #[error("no certificate")]
    Empty,
    /// Not DER certificates, one behind the other (RFC 5280, section 4.1).
    #[error("not DER X.509 certificates")]
    Malformed,
    /// Not version 3 (RFC 5280, section 4.1.2.1: extensions demand it).
    #[error("not an X.509 version 3 certificate")]
    Version,
    /// The two signature algorithm fields differ (RFC 5280, section 4.1.1.2).
    #[error("the certificate names two signature algorithms")]
    AlgorithmMismatch,
    /// An extension cannot be parsed, or stands twice (RFC 5280, section 4.2).
    #[error("an extension is malformed or stands twice")]
    Extension,
    /// A critical extension is not understood (RFC 5280, section 4.2).
    #[error("a critical extension is not understood")]
    CriticalExtension,

    /// The leaf has no URI SAN (X509-SVID.md, section 2).
    #[error("the leaf has no URI SAN")]
    NoUriSan,
    /// The leaf has more than one URI SAN (X509-SVID.md, sections 2 and 5.2).
    #[error("the leaf has more than one URI SAN")]
    ManyUriSans,
    /// The URI SAN is not a SPIFFE ID, its scheme included (X509-SVID.md, section 5.2).
    #[error("the URI SAN is not a SPIFFE ID: {0}")]
    SpiffeId(#[source] SpiffeIdError),
    /// The leaf's SPIFFE ID has no path (X509-SVID.md, sections 3.1 and 5.2).
    #[error("the leaf's SPIFFE ID has no path")]
    NoPath,
    /// The SPIFFE ID is of another trust domain than the bundle (`SPIFFE_Trust_Domain_and_Bundle.md`, section 3).
    #[error("the SPIFFE ID is of another trust domain")]
    ForeignTrustDomain,
    /// The subject is empty and the SAN not critical (X509-SVID.md, section 3.1).
    #[error("the SAN is not critical although the subject is empty")]
    SanNotCritical,
    /// `cA` is set on the leaf (X509-SVID.md, sections 4.1 and 5.2).
    #[error("the leaf is a CA certificate")]
    LeafIsCa,
    /// The leaf's key usage has `keyCertSign` (X509-SVID.md, sections 4.3 and 5.2).
    #[error("the leaf's key usage has keyCertSign")]
    LeafCertSign,
    /// The leaf's key usage has `cRLSign` (X509-SVID.md, sections 4.3 and 5.2).
    #[error("the leaf's key usage has cRLSign")]
    LeafCrlSign,
    /// The leaf's key usage lacks `digitalSignature` (X509-SVID.md, section 4.3).
    #[error("the leaf's key usage lacks digitalSignature")]
    NoDigitalSignature,
    /// Extended key usage without both serverAuth and clientAuth (X509-SVID.md, section 4.4).
    #[error("the leaf's extended key usage lacks serverAuth or clientAuth")]
    ExtendedKeyUsage,

    /// No key usage extension (X509-SVID.md, section 4.3).
    #[error("a certificate has no key usage")]
    NoKeyUsage,
    /// The key usage extension is not critical (X509-SVID.md, section 4.3).
    #[error("a certificate's key usage is not critical")]
    KeyUsageNotCritical,
    /// A signing certificate without `cA` (X509-SVID.md, section 4.1).
    #[error("a signing certificate is not a CA certificate")]
    SigningNotCa,
    /// A signing certificate without `keyCertSign` (X509-SVID.md, section 4.3).
    #[error("a signing certificate's key usage lacks keyCertSign")]
    NoCertSign,
    /// A signing certificate's SPIFFE ID has a path (X509-SVID.md, section 3.2).
    #[error("a signing certificate's SPIFFE ID has a path")]
    SigningPath,
    /// More certificates below a signing certificate than it allows (RFC 5280, section 4.2.1.9).
    #[error("the chain is longer than a path length constraint allows")]
    PathLength,
    /// A name below a signing certificate that its constraints exclude (X509-SVID.md, section 4.2).
    #[error("a name is excluded by name constraints")]
    NameConstraints,
    /// Name constraints of types that are not processed here (RFC 5280, section 4.2.1.10).
    #[error("name constraints of other types than URI and DNS are not supported")]
    UnsupportedConstraint,

    /// Before a certificate's `notBefore` (RFC 5280, section 6.1.3).
    #[error("a certificate is not valid yet")]
    NotYetValid,
    /// After a certificate's `notAfter` (RFC 5280, section 6.1.3).
    #[error("a certificate has expired")]
    Expired,
    /// The issuer is neither the next certificate nor in the bundle (RFC 5280, section 6.1.3).
    #[error("no authority of the trust domain has issued the chain")]
    UnknownIssuer,
    /// A signature does not verify (RFC 5280, section 6.1.3).
    #[error("a certificate's signature does not verify")]
    Signature,
}

#[cfg(test)]
mod tests;
