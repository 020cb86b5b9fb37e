//! Whatever stands in a chain and a bundle: validation ends, and what it
//! accepts is the leaf that was signed. The input is edits of a good chain and
//! bundle, or both as they are.

#![no_main]

use libfuzzer_sys::fuzz_target;
use spiffe::TrustDomain;
use std::time::{Duration, UNIX_EPOCH};
use symbolon_agent::svid::x509::validate;

const CHAIN: &[u8] = include_bytes!("../seeds/x509_chain.der");
const BUNDLE: &[u8] = include_bytes!("../seeds/x509_bundle.der");
const ID: &str = "spiffe://example.org/mcp/client/files";

/// Within the validity of all three certificates.
const NOW: Duration = Duration::from_secs(1_800_000_000);

fuzz_target!(|input: (Vec<(u16, u8)>, Vec<(u16, u8)>, &[u8], &[u8])| {
    let (chain_edits, bundle_edits, chain, bundle) = input;
    let trust_domain = TrustDomain::new("example.org").unwrap();
    let now = UNIX_EPOCH + NOW;
    let edited = edit(CHAIN, &chain_edits);
    // The bundle is trusted, so only an unchanged one says whom it trusts.
    if let Ok(svid) = validate(&edited, BUNDLE, &trust_domain, now) {
        assert_eq!(svid.spiffe_id.to_string(), ID);
        assert!(svid.not_before <= now && now <= svid.not_after);
    } else {
        assert!(edited != CHAIN);
    }
    for (chain, bundle) in [
        (&edited[..], &edit(BUNDLE, &bundle_edits)[..]),
        (chain, bundle),
        (chain, BUNDLE),
    ] {
        if let Ok(svid) = validate(chain, bundle, &trust_domain, now) {
            assert!(svid.spiffe_id.is_member_of(&trust_domain));
            assert!(!svid.spiffe_id.path().is_empty());
        }
    }
});

fn edit(der: &[u8], edits: &[(u16, u8)]) -> Vec<u8> {
    let mut der = der.to_vec();
    for (at, to) in edits {
        let at = usize::from(*at) % der.len();
        der[at] = *to;
    }
    der
}
