//! Validating a chain as an X.509-SVID.

use super::{MAX_CHAIN_CERTIFICATES, MAX_DER_BYTES, X509Error, names};
use crate::canonical;
use spiffe::{SpiffeId, TrustDomain, spiffe_id::uri_has_spiffe_scheme};
use std::{
    collections::HashSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    oid_registry::{OID_PKCS1_SHA1WITHRSA, OID_SHA1_WITH_RSA},
    prelude::FromDer as _,
    time::ASN1Time,
    x509::X509Version,
};

/// What a validated chain says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct X509Svid {
    /// The leaf's SPIFFE ID.
    pub spiffe_id: SpiffeId,
    /// The leaf's serial number, in lower-case hexadecimal.
    pub serial_hex: String,
    /// The leaf's `notBefore`.
    pub not_before: SystemTime,
    /// The leaf's `notAfter`.
    pub not_after: SystemTime,
}

/// Validates `chain`, a leaf and the intermediates behind it, against `bundle`,
/// the authorities of `trust_domain`, at one time. Both are concatenated DER.
///
/// # Errors
/// The first rule that does not hold.
pub fn validate(
    chain: &[u8],
    bundle: &[u8],
    trust_domain: &TrustDomain,
    at: SystemTime,
) -> Result<X509Svid, X509Error> {
    let chain = certificates(chain)?;
    let bundle = certificates(bundle)?;
    let leaf = chain.first().ok_or(X509Error::Empty)?;
    if chain.len() > MAX_CHAIN_CERTIFICATES {
        return Err(X509Error::TooLong);
    }
    let spiffe_id = check_leaf(leaf)?;
    // The bundle of the SVID's own trust domain decides (`SPIFFE_Trust_Domain_and_Bundle.md`, section 3).
    if !spiffe_id.is_member_of(trust_domain) {
        return Err(X509Error::ForeignTrustDomain);
    }
    check_path(&chain, &bundle, at)?;
    Ok(X509Svid {
        spiffe_id,
        serial_hex: serial_hex(leaf),
        not_before: system_time(leaf.validity().not_before)?,
        not_after: system_time(leaf.validity().not_after)?,
    })
}

/// The certificates in `der`, one behind the other.
///
/// # Errors
/// [`X509Error::TooLong`], [`X509Error::Malformed`].
pub(crate) fn certificates(der: &[u8]) -> Result<Vec<X509Certificate<'_>>, X509Error> {
    if der.len() > MAX_DER_BYTES {
        return Err(X509Error::TooLong);
    }
    let mut rest = der;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (after, certificate) =
            X509Certificate::from_der(rest).map_err(|_malformed| X509Error::Malformed)?;
        found.push(certificate);
        rest = after;
    }
    Ok(found)
}

/// RFC 5280, section 6.1, for `chain` up to an authority of `bundle`.
fn check_path(
    chain: &[X509Certificate<'_>],
    bundle: &[X509Certificate<'_>],
    at: SystemTime,
) -> Result<(), X509Error> {
    for (index, certificate) in chain.iter().enumerate() {
        check_validity(certificate, at)?;
        let (below, rest) = chain.split_at_checked(index + 1).unwrap_or((chain, &[]));
        if let Some(anchor) = anchor(certificate, bundle)? {
            check_validity(anchor, at)?;
            return check_signing(anchor, below);
        }
        let issuer = rest.first().ok_or(X509Error::UnknownIssuer)?;
        check_issued(certificate, issuer)?;
        check_signing(issuer, below)?;
    }
    Err(X509Error::UnknownIssuer)
}

/// The authority of the bundle that has signed `certificate`. Two may have one name.
fn anchor<'a, 'b>(
    certificate: &X509Certificate<'_>,
    bundle: &'b [X509Certificate<'a>],
) -> Result<Option<&'b X509Certificate<'a>>, X509Error> {
    let mut refused = None;
    for anchor in bundle {
        match check_issued(certificate, anchor) {
            Ok(()) => return Ok(Some(anchor)),
            Err(X509Error::UnknownIssuer) => {}
            Err(error) => refused = Some(error),
        }
    }
    refused.map_or(Ok(None), Err)
}

/// That `issuer` is named in `certificate` and has signed it (RFC 5280, section 6.1.3, a).
///
/// # Errors
/// [`X509Error::UnknownIssuer`], [`X509Error::Signature`].
pub(crate) fn check_issued(
    certificate: &X509Certificate<'_>,
    issuer: &X509Certificate<'_>,
) -> Result<(), X509Error> {
    if certificate.issuer().as_raw() != issuer.subject().as_raw() {
        return Err(X509Error::UnknownIssuer);
    }
    let algorithm = &certificate.signature_algorithm.algorithm;
    if *algorithm == OID_PKCS1_SHA1WITHRSA || *algorithm == OID_SHA1_WITH_RSA {
        // Collisions have been found for SHA-1 (RFC 9155 retires it in TLS too).
        return Err(X509Error::Signature);
    }
    certificate
        .verify_signature(Some(issuer.public_key()))
        .map_err(|_refused| X509Error::Signature)
}

/// RFC 5280, section 6.1.3, a.2; both ends are included (section 4.1.2.5).
///
/// # Errors
/// [`X509Error::NotYetValid`], [`X509Error::Expired`].
pub(crate) fn check_validity(
    certificate: &X509Certificate<'_>,
    at: SystemTime,
) -> Result<(), X509Error> {
    let validity = certificate.validity();
    if at < system_time(validity.not_before)? {
        return Err(X509Error::NotYetValid);
    }
    // The whole of the last second counts.
    if at >= system_time(validity.not_after)? + Duration::from_secs(1) {
        return Err(X509Error::Expired);
    }
    Ok(())
}

/// The rules for a signing certificate with `below` it, the leaf first.
///
/// # Errors
/// The first rule that does not hold.
pub(crate) fn check_signing(
    certificate: &X509Certificate<'_>,
    below: &[X509Certificate<'_>],
) -> Result<(), X509Error> {
    check_structure(certificate)?;
    let constraints = certificate
        .basic_constraints()
        .map_err(|_malformed| X509Error::Extension)?
        .filter(|constraints| constraints.value.ca)
        // X509-SVID.md, section 4.1; RFC 5280, section 6.1.4, k.
        .ok_or(X509Error::SigningNotCa)?;
    check_path_length(constraints.value.path_len_constraint, below)?;
    let is_svid = signing_trust_domain(certificate)?.is_some();
    let usage = certificate
        .key_usage()
        .map_err(|_malformed| X509Error::Extension)?
        .ok_or(X509Error::NoKeyUsage)?;
    // X509-SVID.md, section 4.3: critical on all SVIDs; other CA certificates
    // only should have it so (RFC 5280, section 4.2.1.3).
    if is_svid && !usage.critical {
        return Err(X509Error::KeyUsageNotCritical);
    }
    if !usage.value.key_cert_sign() {
        return Err(X509Error::NoCertSign);
    }
    let Some(constraints) = certificate
        .name_constraints()
        .map_err(|_malformed| X509Error::Extension)?
    else {
        return Ok(());
    };
    below
        .iter()
        .try_for_each(|below| names::check(constraints.value, below))
}

/// RFC 5280, section 6.1.4, l and m: self-issued certificates do not count, nor does the leaf.
fn check_path_length(limit: Option<u32>, below: &[X509Certificate<'_>]) -> Result<(), X509Error> {
    let intermediates = below
        .iter()
        .skip(1)
        .filter(|c| c.subject().as_raw() != c.issuer().as_raw())
        .count();
    match limit {
        Some(limit) if usize::try_from(limit).is_ok_and(|limit| intermediates > limit) => {
            Err(X509Error::PathLength)
        }
        _ => Ok(()),
    }
}

/// The trust domain of a signing certificate that is an SVID itself. Its SPIFFE ID must not have a
/// path (X509-SVID.md, section 3.2).
///
/// # Errors
/// [`X509Error::SpiffeId`], [`X509Error::SigningPath`], [`X509Error::ManyUriSans`].
pub(crate) fn signing_trust_domain(
    certificate: &X509Certificate<'_>,
) -> Result<Option<TrustDomain>, X509Error> {
    let uris = uris(certificate)?;
    let is_spiffe = |uri: &&str| uri_has_spiffe_scheme(uri);
    let Some(uri) = uris.iter().copied().find(is_spiffe) else {
        return Ok(None);
    };
    // X509-SVID.md, section 2, holds for every SVID.
    if uris.len() > 1 {
        return Err(X509Error::ManyUriSans);
    }
    let spiffe_id = SpiffeId::new(uri).map_err(X509Error::SpiffeId)?;
    if !spiffe_id.path().is_empty() {
        return Err(X509Error::SigningPath);
    }
    Ok(Some(spiffe_id.trust_domain().clone()))
}

/// The rules for a leaf; its SPIFFE ID.
fn check_leaf(leaf: &X509Certificate<'_>) -> Result<SpiffeId, X509Error> {
    check_structure(leaf)?;
    // X509-SVID.md, section 5.2. An absent extension means cA false (RFC 5280, section 4.2.1.9).
    if leaf.is_ca() {
        return Err(X509Error::LeafIsCa);
    }
    check_leaf_usage(leaf)?;
    let uris = uris(leaf)?;
    let uri = match uris.as_slice() {
        [] => return Err(X509Error::NoUriSan),
        [uri] => uri,
        _ => return Err(X509Error::ManyUriSans),
    };
    let spiffe_id = SpiffeId::new(uri).map_err(X509Error::SpiffeId)?;
    if spiffe_id.path().is_empty() {
        return Err(X509Error::NoPath);
    }
    let is_critical = leaf
        .subject_alternative_name()
        .map_err(|_malformed| X509Error::Extension)?
        .is_some_and(|names| names.critical);
    if leaf.subject().iter().next().is_none() && !is_critical {
        return Err(X509Error::SanNotCritical);
    }
    Ok(spiffe_id)
}

/// X509-SVID.md, sections 4.3, 4.4 and 5.2.
fn check_leaf_usage(leaf: &X509Certificate<'_>) -> Result<(), X509Error> {
    let usage = leaf
        .key_usage()
        .map_err(|_malformed| X509Error::Extension)?
        .ok_or(X509Error::NoKeyUsage)?;
    if !usage.critical {
        return Err(X509Error::KeyUsageNotCritical);
    }
    if usage.value.key_cert_sign() {
        return Err(X509Error::LeafCertSign);
    }
    if usage.value.crl_sign() {
        return Err(X509Error::LeafCrlSign);
    }
    if !usage.value.digital_signature() {
        return Err(X509Error::NoDigitalSignature);
    }
    let extended = leaf
        .extended_key_usage()
        .map_err(|_malformed| X509Error::Extension)?;
    match extended {
        Some(usage) if !(usage.value.server_auth && usage.value.client_auth) => {
            Err(X509Error::ExtendedKeyUsage)
        }
        _ => Ok(()),
    }
}

/// What RFC 5280 demands of every certificate (sections 4.1 and 4.2).
fn check_structure(certificate: &X509Certificate<'_>) -> Result<(), X509Error> {
    if certificate.version() != X509Version::V3 {
        return Err(X509Error::Version);
    }
    if certificate.signature_algorithm != certificate.tbs_certificate.signature {
        return Err(X509Error::AlgorithmMismatch);
    }
    let mut seen = HashSet::new();
    for extension in certificate.extensions() {
        let parsed = extension.parsed_extension();
        if parsed.error().is_some() || !seen.insert(extension.oid.as_bytes()) {
            return Err(X509Error::Extension);
        }
        if extension.critical && !is_processed(parsed) {
            return Err(X509Error::CriticalExtension);
        }
    }
    Ok(())
}

/// Whether this module acts on an extension, as a critical one demands.
const fn is_processed(extension: &ParsedExtension<'_>) -> bool {
    matches!(
        extension,
        ParsedExtension::BasicConstraints(_)
            | ParsedExtension::KeyUsage(_)
            | ParsedExtension::ExtendedKeyUsage(_)
            | ParsedExtension::SubjectAlternativeName(_)
            | ParsedExtension::NameConstraints(_)
    )
}

/// The URI SANs.
fn uris<'a>(certificate: &X509Certificate<'a>) -> Result<Vec<&'a str>, X509Error> {
    let Some(names) = certificate
        .subject_alternative_name()
        .map_err(|_malformed| X509Error::Extension)?
    else {
        return Ok(Vec::new());
    };
    let mut uris = Vec::new();
    for name in &names.value.general_names {
        match name {
            GeneralName::URI(uri) => uris.push(*uri),
            // A name that cannot be read might be a second URI.
            GeneralName::Invalid(..) => return Err(X509Error::Extension),
            _ => {}
        }
    }
    Ok(uris)
}

/// The serial number as everything of ours shows it: as many bytes as were drawn.
pub(crate) fn serial_hex(certificate: &X509Certificate<'_>) -> String {
    // A zero before a byte of 0x80 and more is DER's sign.
    let serial = certificate.raw_serial();
    canonical::hex(serial.strip_prefix(&[0]).unwrap_or(serial))
}

pub(crate) fn system_time(at: ASN1Time) -> Result<SystemTime, X509Error> {
    let offset = Duration::from_secs(at.timestamp().unsigned_abs());
    if at.timestamp() < 0 {
        UNIX_EPOCH.checked_sub(offset)
    } else {
        UNIX_EPOCH.checked_add(offset)
    }
    .ok_or(X509Error::Malformed)
}
