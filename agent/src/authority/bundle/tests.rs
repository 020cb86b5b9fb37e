use super::{BundleContents, TrustBundle, X509Authority};
use crate::{
    authority::pem,
    svid::{
        PublicKey,
        jws::{KeySet, VerifyingKey},
        x509::X509Error,
    },
};
use bytes::Bytes;
use spiffe::TrustDomain;
use std::time::Duration;

const CERTIFICATES: [&str; 3] = [
    include_str!("golden/p256.pem"),
    include_str!("golden/p384.pem"),
    include_str!("golden/rsa.pem"),
];

fn der(text: &str) -> Bytes {
    Bytes::copy_from_slice(&pem::blocks(text).unwrap()[0].content)
}

fn key(x: &str, y: &str) -> KeySet {
    let public = PublicKey::from_coordinates(x, y).unwrap();
    KeySet::new(vec![VerifyingKey::new(public).unwrap()])
}

fn contents() -> BundleContents {
    BundleContents {
        trust_domain: TrustDomain::new("example.org").unwrap(),
        sequence: 42,
        refresh_hint: Duration::from_secs(300),
        x509: CERTIFICATES
            .iter()
            .map(|text| X509Authority::new(der(text)).unwrap())
            .collect(),
        // The keys of WIT-SVID.md, appendix A, and of RFC 7515, appendix A.3.1.
        jwt: key(
            "rzP7mLCKAHWmsM6X0EwVISC_hI3ujcu95ffUkyeDGGo",
            "uOrfDljtX9m3jY-hsyhLJYaxtGkzDv5e5kmCe58Z97g",
        ),
        wit: key(
            "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        ),
    }
}

// The golden files were made from the certificates and keys with OpenSSL and Python.
#[test]
fn the_documents_are_the_golden_ones() {
    let bundle = TrustBundle::new(contents()).unwrap();
    for (document, golden) in [
        (bundle.spiffe_json(), include_str!("golden/spiffe.json")),
        (bundle.jwt_jwks(), include_str!("golden/jwt.json")),
        (bundle.wit_jwks(), include_str!("golden/wit.json")),
        (bundle.openid_jwks(), include_str!("golden/openid.json")),
    ] {
        assert_eq!(str::from_utf8(document).unwrap(), golden.trim_end());
    }
    let pem = str::from_utf8(bundle.x509_pem()).unwrap();
    assert_eq!(pem, CERTIFICATES.concat());
    assert_eq!(*bundle.x509_der(), CERTIFICATES.map(der).concat());
}

#[test]
fn of_what_workloads_get_only_the_spiffe_bundle_says_what_a_key_is_for() {
    let bundle = TrustBundle::new(contents()).unwrap();
    for jwks in [bundle.jwt_jwks(), bundle.wit_jwks()] {
        let jwks: serde_json::Value = serde_json::from_slice(jwks).unwrap();
        assert_eq!(jwks["keys"].as_array().unwrap().len(), 1);
        assert!(jwks["keys"][0].get("use").is_none());
        assert!(jwks["keys"][0]["kid"].is_string());
    }
}

// X509-SVID.md, section 6.1; SPIFFE_Trust_Domain_and_Bundle.md, section 4.1.3.
#[test]
fn no_x509_key_has_a_kid_and_an_empty_bundle_has_keys() {
    let bundle = TrustBundle::new(contents()).unwrap();
    let spiffe: serde_json::Value = serde_json::from_slice(bundle.spiffe_json()).unwrap();
    for key in spiffe["keys"].as_array().unwrap() {
        assert_eq!(key.get("kid").is_none(), key["use"] == "x509-svid");
    }
    let empty = BundleContents {
        x509: Vec::new(),
        jwt: KeySet::default(),
        wit: KeySet::default(),
        ..contents()
    };
    let bundle = TrustBundle::new(empty).unwrap();
    assert_eq!(bundle.jwt_jwks(), r#"{"keys":[]}"#);
    assert!(bundle.spiffe_json().starts_with(br#"{"keys":[],"#));
    assert!(bundle.x509_der().is_empty());
}

#[test]
fn the_digest_leaves_out_the_sequence_alone() {
    let digest = |change: fn(&mut BundleContents)| {
        let mut contents = contents();
        change(&mut contents);
        contents.digest().unwrap()
    };
    let same = digest(|_| {});
    assert_eq!(digest(|c| c.sequence = 43), same);
    assert_ne!(digest(|c| c.refresh_hint *= 2), same);
    assert_ne!(digest(|c| c.x509.truncate(1)), same);
    assert_ne!(digest(|c| std::mem::swap(&mut c.jwt, &mut c.wit)), same);
}

#[test]
fn what_is_not_one_certificate_is_no_authority() {
    let two = Bytes::from([der(CERTIFICATES[0]), der(CERTIFICATES[1])].concat());
    for bytes in [Bytes::new(), Bytes::from_static(b"x"), two] {
        assert!(matches!(
            X509Authority::new(bytes),
            Err(X509Error::Malformed)
        ));
    }
}
