//! Whatever a bundle endpoint serves: reading it ends, what is read is bounded, its documents can be
//! read again, and it speaks for the trust domain that was asked for.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use spiffe::TrustDomain;
use std::time::{Duration, UNIX_EPOCH};
use symbolon_agent::{
    authority::{ForeignBundle, MAX_BUNDLE_BYTES},
    svid::{jwt, x509},
};

fuzz_target!(|input: (&[u8], &str)| {
    let (document, token) = input;
    let domain = TrustDomain::new("other.example").unwrap();
    let Ok(bundle) = ForeignBundle::parse(&domain, document) else {
        return;
    };
    assert!(document.len() <= MAX_BUNDLE_BYTES);
    assert!(*bundle.trust_domain() == domain && bundle.has_keys_of(&bundle));
    let (x509, jwt, wit) = bundle.counts();
    assert!(x509 + jwt + wit <= 64);
    assert!((x509 == 0) == bundle.x509_der().is_empty());
    for (keys, count) in [(bundle.jwt_jwks(), jwt), (bundle.wit_jwks(), wit)] {
        if count > 0 {
            let jwks: Value = serde_json::from_slice(keys).unwrap();
            let keys = jwks["keys"].as_array().unwrap();
            assert!(keys.len() == count);
            assert!(
                keys.iter()
                    .all(|key| key.get("d").is_none() && key.get("use").is_none())
            );
        }
    }
    let at = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    drop(x509::validate(
        bundle.x509_der(),
        bundle.x509_der(),
        &domain,
        at,
    ));
    if let Ok(svid) = jwt::validate(token, bundle.jwt_keys(), &domain, "a", at) {
        assert!(svid.spiffe_id.is_member_of(&domain));
    }
});
