use super::{
    MAX_CHAIN_CERTIFICATES, MAX_DER_BYTES, X509Error, X509Svid,
    leaf::{Leaf, LeafError, SignedLeaf},
    validate,
};
use crate::{
    svid::{PrivateKey, PublicKey},
    testing,
};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use spiffe::{SpiffeId, TrustDomain};
use std::{
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use time::{OffsetDateTime, macros::datetime};

const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
const SUBJECT_ALT_NAME: &[u64] = &[2, 5, 29, 17];
const NAME_CONSTRAINTS: &[u64] = &[2, 5, 29, 30];
const BEGIN: OffsetDateTime = datetime!(2026-11-20 00:00 UTC);
const END: OffsetDateTime = datetime!(2026-11-21 00:00 UTC);

fn at(time: OffsetDateTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(time.unix_timestamp().try_into().unwrap())
}

fn now() -> SystemTime {
    at(datetime!(2026-11-20 12:00 UTC))
}

fn files() -> SpiffeId {
    SpiffeId::new("spiffe://example.org/mcp/client/files").unwrap()
}

fn public_key() -> PublicKey {
    *PrivateKey::generate().unwrap().public_key()
}

fn trust_domain() -> TrustDomain {
    TrustDomain::new("example.org").unwrap()
}

/// A signing certificate of these tests.
struct Ca {
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = BEGIN;
    params.not_after = END;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.subject_alt_names = vec![uri("spiffe://example.org")];
    params
}

fn leaf_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = BEGIN;
    params.not_after = END;
    params.distinguished_name = DistinguishedName::new();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.subject_alt_names = vec![uri("spiffe://example.org/mcp/client/files")];
    params
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

impl Ca {
    fn root(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = ca_params("root");
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self {
            der,
            issuer: Issuer::new(params, key),
        }
    }

    fn intermediate(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = ca_params(name);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Self {
            der,
            issuer: Issuer::new(params, key),
        }
    }

    fn leaf(&self, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = leaf_params();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, &self.issuer).unwrap().der().to_vec()
    }
}

/// Validates a leaf that was changed from a good one.
fn changed(change: impl FnOnce(&mut CertificateParams)) -> Result<X509Svid, X509Error> {
    let root = Ca::root(|_| {});
    validate(&root.leaf(change), &root.der, &trust_domain(), now())
}

/// Validates a good leaf below a signing certificate that was changed from a good one, where that
/// is an intermediate and where it is the trust anchor.
fn changed_signing(change: impl Fn(&mut CertificateParams)) -> [Result<X509Svid, X509Error>; 2] {
    let root = Ca::root(|_| {});
    let intermediate = root.intermediate("intermediate", &change);
    let chain = [intermediate.leaf(|_| {}), intermediate.der].concat();
    let anchor = Ca::root(&change);
    [
        validate(&chain, &root.der, &trust_domain(), now()),
        validate(&anchor.leaf(|_| {}), &anchor.der, &trust_domain(), now()),
    ]
}

fn extension(oid: &[u64], critical: bool, content: &[u8]) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, content.to_vec());
    extension.set_criticality(critical);
    extension
}

/// Replaces the last `from` in `der`, which has to have one.
fn patched(der: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let found = der.windows(from.len()).rposition(|w| w == from).unwrap();
    let mut der = der.to_vec();
    der[found..found + to.len()].copy_from_slice(to);
    der
}

#[test]
fn a_good_chain_is_accepted() {
    let root = Ca::root(|_| {});
    let direct = root.leaf(|_| {});
    let svid = validate(&direct, &root.der, &trust_domain(), now()).unwrap();
    assert_eq!(
        svid.spiffe_id.to_string(),
        "spiffe://example.org/mcp/client/files"
    );
    assert_eq!((svid.not_before, svid.not_after), (at(BEGIN), at(END)));

    let middle = root.intermediate("middle", |_| {});
    let below = middle.intermediate("below", |_| {});
    let chain = [below.leaf(|_| {}), below.der, middle.der.clone()].concat();
    let bundle = [Ca::root(|_| {}).der, root.der].concat();
    validate(&chain, &bundle, &trust_domain(), now()).unwrap();
    // Any signing certificate may be the anchor; what lies above it does not count.
    validate(&chain, &middle.der, &trust_domain(), now()).unwrap();
}

#[test]
fn other_sans_and_a_subject_are_allowed() {
    changed(|p| {
        p.subject_alt_names
            .push(SanType::DnsName("a.example.org".try_into().unwrap()));
        p.distinguished_name.push(DnType::CommonName, "files");
    })
    .unwrap();
    // Extended key usage should be there, and need not (X509-SVID.md, section 4.4).
    changed(|p| p.extended_key_usages.clear()).unwrap();
}

#[test]
fn a_leaf_without_a_uri_san_is_refused() {
    for names in [vec![], vec![SanType::DnsName("a".try_into().unwrap())]] {
        let result = changed(|p| p.subject_alt_names = names);
        assert!(matches!(result, Err(X509Error::NoUriSan)), "{result:?}");
    }
}

#[test]
fn a_leaf_with_two_uri_sans_is_refused() {
    for second in ["spiffe://example.org/b", "https://example.org/"] {
        let result = changed(|p| p.subject_alt_names.push(uri(second)));
        assert!(matches!(result, Err(X509Error::ManyUriSans)), "{result:?}");
    }
}

#[test]
fn a_leaf_whose_uri_is_no_spiffe_id_is_refused() {
    for text in [
        "https://example.org/a",
        "spiffe://example.org/a/",
        "spiffe://example.org/a?b",
        "spiffe://example.org/%41",
        "spiffe:///a",
    ] {
        let result = changed(|p| p.subject_alt_names = vec![uri(text)]);
        assert!(matches!(result, Err(X509Error::SpiffeId(_))), "{text}");
    }
}

#[test]
fn a_leaf_without_a_path_is_refused() {
    let result = changed(|p| p.subject_alt_names = vec![uri("spiffe://example.org")]);
    assert!(matches!(result, Err(X509Error::NoPath)), "{result:?}");
}

#[test]
fn a_leaf_of_another_trust_domain_is_refused() {
    let result = changed(|p| p.subject_alt_names = vec![uri("spiffe://other.org/a")]);
    assert!(
        matches!(result, Err(X509Error::ForeignTrustDomain)),
        "{result:?}"
    );
}

#[test]
fn a_leaf_without_subject_needs_a_critical_san() {
    // GeneralNames with one uniformResourceIdentifier.
    let id = b"spiffe://example.org/a";
    let length = u8::try_from(id.len()).unwrap();
    let content = [&[0x30, length + 2, 0x86, length][..], id].concat();
    let san = |critical| extension(SUBJECT_ALT_NAME, critical, &content);
    let result = changed(|p| {
        p.subject_alt_names.clear();
        p.custom_extensions = vec![san(false)];
    });
    assert!(
        matches!(result, Err(X509Error::SanNotCritical)),
        "{result:?}"
    );
    changed(|p| {
        p.subject_alt_names.clear();
        p.custom_extensions = vec![san(true)];
    })
    .unwrap();
}

#[test]
fn a_leaf_that_is_a_ca_is_refused() {
    let result = changed(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert!(matches!(result, Err(X509Error::LeafIsCa)), "{result:?}");
}

#[test]
fn the_key_usage_of_a_leaf_is_checked() {
    let usages = |usages: Vec<KeyUsagePurpose>| changed(|p| p.key_usages = usages);
    let signature = KeyUsagePurpose::DigitalSignature;
    let result = usages(vec![]);
    assert!(matches!(result, Err(X509Error::NoKeyUsage)), "{result:?}");
    let result = usages(vec![signature, KeyUsagePurpose::KeyCertSign]);
    assert!(matches!(result, Err(X509Error::LeafCertSign)), "{result:?}");
    let result = usages(vec![signature, KeyUsagePurpose::CrlSign]);
    assert!(matches!(result, Err(X509Error::LeafCrlSign)), "{result:?}");
    let result = usages(vec![KeyUsagePurpose::KeyAgreement]);
    assert!(
        matches!(result, Err(X509Error::NoDigitalSignature)),
        "{result:?}"
    );
    usages(vec![signature, KeyUsagePurpose::KeyAgreement]).unwrap();
}

#[test]
fn the_key_usage_has_to_be_critical() {
    // A BIT STRING with digitalSignature.
    let content = [3, 2, 7, 0x80];
    let result = changed(|p| {
        p.key_usages.clear();
        p.custom_extensions = vec![extension(KEY_USAGE, false, &content)];
    });
    assert!(
        matches!(result, Err(X509Error::KeyUsageNotCritical)),
        "{result:?}"
    );
    // With keyCertSign, in a signing certificate that is an SVID.
    for result in changed_signing(|p| {
        p.key_usages.clear();
        p.custom_extensions = vec![extension(KEY_USAGE, false, &[3, 2, 2, 4])];
    }) {
        assert!(
            matches!(result, Err(X509Error::KeyUsageNotCritical)),
            "{result:?}"
        );
    }
    // Other CA certificates only should have it critical (RFC 5280, section 4.2.1.3).
    for result in changed_signing(|p| {
        p.key_usages.clear();
        p.subject_alt_names.clear();
        p.custom_extensions = vec![extension(KEY_USAGE, false, &[3, 2, 2, 4])];
    }) {
        result.unwrap();
    }
}

#[test]
fn one_extended_key_usage_alone_is_refused() {
    for only in [
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
        ExtendedKeyUsagePurpose::CodeSigning,
    ] {
        let result = changed(|p| p.extended_key_usages = vec![only]);
        assert!(
            matches!(result, Err(X509Error::ExtendedKeyUsage)),
            "{result:?}"
        );
    }
}

#[test]
fn signing_certificates_have_to_be_cas() {
    for result in changed_signing(|p| p.is_ca = IsCa::ExplicitNoCa) {
        assert!(matches!(result, Err(X509Error::SigningNotCa)), "{result:?}");
    }
}

#[test]
fn signing_certificates_need_key_cert_sign() {
    for result in changed_signing(|p| p.key_usages = vec![KeyUsagePurpose::CrlSign]) {
        assert!(matches!(result, Err(X509Error::NoCertSign)), "{result:?}");
    }
    for result in changed_signing(|p| p.key_usages.clear()) {
        assert!(matches!(result, Err(X509Error::NoKeyUsage)), "{result:?}");
    }
}

#[test]
fn a_signing_certificates_spiffe_id_has_no_path_and_no_company() {
    for result in changed_signing(|p| p.subject_alt_names = vec![uri("spiffe://example.org/ca")]) {
        assert!(matches!(result, Err(X509Error::SigningPath)), "{result:?}");
    }
    for result in changed_signing(|p| p.subject_alt_names.push(uri("https://example.org/"))) {
        assert!(matches!(result, Err(X509Error::ManyUriSans)), "{result:?}");
    }
    for result in changed_signing(|p| p.subject_alt_names = vec![uri("spiffe://a b")]) {
        assert!(matches!(result, Err(X509Error::SpiffeId(_))), "{result:?}");
    }
    // Not an SVID, and of another trust domain: both are allowed (X509-SVID.md, section 3.2).
    for names in [vec![], vec![uri("spiffe://other.org")]] {
        for result in changed_signing(|p| p.subject_alt_names = names.clone()) {
            result.unwrap();
        }
    }
}

#[test]
fn path_length_constraints_are_kept() {
    let root = Ca::root(|p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    validate(&root.leaf(|_| {}), &root.der, &trust_domain(), now()).unwrap();
    let middle = root.intermediate("middle", |_| {});
    let chain = [middle.leaf(|_| {}), middle.der].concat();
    let result = validate(&chain, &root.der, &trust_domain(), now());
    assert!(matches!(result, Err(X509Error::PathLength)), "{result:?}");
}

#[test]
fn name_constraints_are_kept() {
    // NameConstraints with one permitted uniformResourceIdentifier.
    let permitted = |host: &str| {
        let length = u8::try_from(host.len()).unwrap();
        let head = [
            0x30,
            length + 6,
            0xa0,
            length + 4,
            0x30,
            length + 2,
            0x86,
            length,
        ];
        [&head[..], host.as_bytes()].concat()
    };
    for result in changed_signing(|p| {
        p.custom_extensions = vec![extension(NAME_CONSTRAINTS, true, &permitted("example.org"))];
    }) {
        result.unwrap();
    }
    for result in changed_signing(|p| {
        p.custom_extensions = vec![extension(NAME_CONSTRAINTS, true, &permitted("other.org"))];
    }) {
        assert!(
            matches!(result, Err(X509Error::NameConstraints)),
            "{result:?}"
        );
    }
}

#[test]
fn validity_is_checked_for_every_certificate() {
    let second = Duration::from_secs(1);
    let root = Ca::root(|p| {
        p.not_before = datetime!(2026-11-20 01:00 UTC);
        p.not_after = datetime!(2026-11-20 23:00 UTC);
    });
    let long = root.leaf(|_| {});
    let short = root.leaf(|p| {
        p.not_before = datetime!(2026-11-20 02:00 UTC);
        p.not_after = datetime!(2026-11-20 22:00 UTC);
    });
    for (leaf, from, to) in [(long, 1, 23), (short, 2, 22)] {
        let (from, to) = (
            at(BEGIN) + from * 3600 * second,
            at(BEGIN) + to * 3600 * second,
        );
        let result = |when| validate(&leaf, &root.der, &trust_domain(), when);
        assert!(matches!(result(from - second), Err(X509Error::NotYetValid)));
        result(from).unwrap();
        result(to).unwrap();
        assert!(matches!(result(to + second), Err(X509Error::Expired)));
    }
}

#[test]
fn an_unknown_issuer_is_refused() {
    let (root, other) = (Ca::root(|_| {}), Ca::root(|p| *p = ca_params("other")));
    let leaf = root.leaf(|_| {});
    for bundle in [&other.der[..], &[]] {
        let result = validate(&leaf, bundle, &trust_domain(), now());
        assert!(
            matches!(result, Err(X509Error::UnknownIssuer)),
            "{result:?}"
        );
    }
    // The intermediate that would be needed is missing.
    let middle = root.intermediate("middle", |_| {});
    let result = validate(&middle.leaf(|_| {}), &root.der, &trust_domain(), now());
    assert!(
        matches!(result, Err(X509Error::UnknownIssuer)),
        "{result:?}"
    );
}

#[test]
fn a_forged_signature_is_refused() {
    let root = Ca::root(|_| {});
    // An authority of the same name.
    let forged = Ca::root(|_| {}).leaf(|_| {});
    let result = validate(&forged, &root.der, &trust_domain(), now());
    assert!(matches!(result, Err(X509Error::Signature)), "{result:?}");
    // A certificate that was changed afterwards.
    let changed = patched(&root.leaf(|_| {}), b"/client/", b"/cl1ent/");
    let result = validate(&changed, &root.der, &trust_domain(), now());
    assert!(matches!(result, Err(X509Error::Signature)), "{result:?}");
    // A leaf cannot sign another leaf, even with a chain that looks right.
    let middle = root.intermediate("middle", |p| {
        p.is_ca = IsCa::ExplicitNoCa;
        p.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        p.subject_alt_names = vec![uri("spiffe://example.org/a")];
    });
    let chain = [middle.leaf(|_| {}), middle.der].concat();
    let result = validate(&chain, &root.der, &trust_domain(), now());
    assert!(matches!(result, Err(X509Error::SigningNotCa)), "{result:?}");
}

#[test]
fn malformed_certificates_are_refused() {
    let root = Ca::root(|_| {});
    let leaf = root.leaf(|_| {});
    let check = |chain: &[u8]| validate(chain, &root.der, &trust_domain(), now());
    assert!(matches!(check(&[]), Err(X509Error::Empty)));
    assert!(matches!(check(b"nothing"), Err(X509Error::Malformed)));
    assert!(matches!(check(&leaf[1..]), Err(X509Error::Malformed)));
    assert!(matches!(
        check(&[&leaf[..], b"x"].concat()),
        Err(X509Error::Malformed)
    ));
    assert!(matches!(
        check(&vec![0; MAX_DER_BYTES + 1]),
        Err(X509Error::TooLong)
    ));
    assert!(matches!(
        check(&leaf.repeat(MAX_CHAIN_CERTIFICATES + 1)),
        Err(X509Error::TooLong)
    ));
    // [0] EXPLICIT version, 2 for v3.
    let version = patched(&leaf, &[0xa0, 3, 2, 1, 2], &[0xa0, 3, 2, 1, 1]);
    assert!(matches!(check(&version), Err(X509Error::Version)));
    // ecdsa-with-SHA256, and SHA384 in its place outside of the signed part.
    let sha256 = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let sha384 = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
    let algorithm = patched(&leaf, &sha256, &sha384);
    assert!(matches!(
        check(&algorithm),
        Err(X509Error::AlgorithmMismatch)
    ));
}

#[test]
fn extensions_that_are_unknown_doubled_or_malformed_are_refused() {
    let private = [1, 3, 6, 1, 4, 1, 99_999, 1];
    let result = changed(|p| p.custom_extensions = vec![extension(&private, true, &[5, 0])]);
    assert!(
        matches!(result, Err(X509Error::CriticalExtension)),
        "{result:?}"
    );
    changed(|p| p.custom_extensions = vec![extension(&private, false, &[5, 0])]).unwrap();
    for result in [
        changed(|p| p.custom_extensions = vec![extension(&private, false, &[5, 0]); 2]),
        changed(|p| p.custom_extensions = vec![extension(KEY_USAGE, true, &[3, 2, 7, 0x80])]),
        changed(|p| {
            p.key_usages.clear();
            p.custom_extensions = vec![extension(KEY_USAGE, true, b"?")];
        }),
    ] {
        assert!(matches!(result, Err(X509Error::Extension)), "{result:?}");
    }
}

fn our_leaf(root: &Ca, dns_names: &[String]) -> Result<SignedLeaf, LeafError> {
    Leaf {
        spiffe_id: &files(),
        dns_names,
        public_key: &public_key(),
        not_before: now() - Duration::from_secs(10),
        not_after: now() + Duration::from_secs(3600),
    }
    .sign(&root.issuer)
}

#[test]
fn what_we_build_is_an_x509_svid() {
    let root = Ca::root(|_| {});
    let leaf = our_leaf(&root, &["a.example.org".to_owned()]).unwrap();
    let svid = validate(&leaf.der, &root.der, &trust_domain(), now()).unwrap();
    assert_eq!(svid.serial_hex, leaf.serial_hex);
    assert_eq!(leaf.serial_hex.len(), 32);
    assert_eq!(svid.not_before, now() - Duration::from_secs(10));
    assert_eq!(svid.not_after, now() + Duration::from_secs(3600));
}

#[test]
fn serial_numbers_differ_and_names_have_to_be_ascii() {
    let root = Ca::root(|_| {});
    let serials: std::collections::HashSet<_> = (0..100)
        .map(|_| our_leaf(&root, &[]).unwrap().serial_hex)
        .collect();
    assert_eq!(serials.len(), 100);
    let error = our_leaf(&root, &["\u{e4}.example.org".to_owned()]).unwrap_err();
    assert!(matches!(error, LeafError::Name(_)), "{error:?}");
}

#[test]
fn openssl_shows_the_profile_that_the_standard_demands() {
    if !testing::has_openssl("openssl_shows_the_profile_that_the_standard_demands") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leaf.der");
    let leaf = our_leaf(&Ca::root(|_| {}), &["a.example.org".to_owned()]).unwrap();
    std::fs::write(&path, &leaf.der).unwrap();
    let output = Command::new("openssl")
        .args(["x509", "-inform", "DER", "-noout", "-text", "-in"])
        .arg(&path)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for expected in [
        "Version: 3 (0x2)",
        "Subject: \n",
        "X509v3 Subject Alternative Name: critical\n                URI:spiffe://example.org/mcp/client/files, DNS:a.example.org\n",
        "X509v3 Key Usage: critical\n                Digital Signature\n",
        "TLS Web Server Authentication, TLS Web Client Authentication\n",
        "X509v3 Basic Constraints: critical\n                CA:FALSE\n",
        "X509v3 Subject Key Identifier:",
        "X509v3 Authority Key Identifier:",
    ] {
        assert!(text.contains(expected), "{expected} is missing in\n{text}");
    }
}
