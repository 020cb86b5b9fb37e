//! Registrations as operators may send them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::time::{Duration, UNIX_EPOCH};
use symbolon_agent::registry::{ClientDraft, fuzzing};

type Texts = (String, String, Option<String>, Option<String>);
type Lists = (Vec<Vec<String>>, Vec<String>, Vec<String>);

fuzz_target!(
    |input: (Texts, Lists, Option<u32>, Option<u16>, Option<u32>)| {
        let ((owner, purpose, id, hint), (selector_sets, audiences, dns_names), count, ttl, expiry) =
            input;
        let seconds = |ttl: u16| Duration::from_secs(ttl.into());
        fuzzing::draft(&ClientDraft {
            owner,
            purpose,
            spiffe_id: id.map(|path| format!("spiffe://example.org/{path}")),
            selector_sets,
            audiences,
            max_audiences: count,
            x509_ttl: ttl.map(seconds),
            jwt_ttl: None,
            hint,
            dns_names,
            expires_at: expiry.map(|at| UNIX_EPOCH + Duration::from_secs(at.into())),
            ..ClientDraft::default()
        });
    }
);
