//! Files of registrations: whatever is taken fits the rules, and faults are on one line each.

#![no_main]

use libfuzzer_sys::fuzz_target;
use spiffe::TrustDomain;
use std::{sync::LazyLock, time::Duration};
use symbolon_agent::{
    registrations::{Form, parse},
    registry::SpecRules,
};

static RULES: LazyLock<SpecRules> = LazyLock::new(|| SpecRules {
    trust_domain: TrustDomain::new("example.org").unwrap(),
    x509_ttl: Duration::from_secs(300)..=Duration::from_secs(86_400),
    jwt_ttl: Duration::from_secs(30)..=Duration::from_secs(3_600),
});

fuzz_target!(|text: &str| {
    for form in [Form::Yaml, Form::Json, Form::Toml] {
        let (entries, faults) = parse("fuzz", text, form, &RULES);
        for entry in entries {
            assert!(entry.spec.spiffe_id().is_member_of(&RULES.trust_domain));
            assert!(!entry.spec.selector_sets().is_empty());
        }
        for fault in faults {
            assert!(!fault.to_string().is_empty());
        }
    }
});
