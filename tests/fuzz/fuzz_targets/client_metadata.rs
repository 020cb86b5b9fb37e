//! Metadata documents: whatever they say is judged within bounds, and what is accepted as a member
//! that is not known is accepted when it is read back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use symbolon_agent::{
    lint::document::{self, Policy},
    registry::{ClientDraft, MetadataDraft, fuzzing},
    uri::Uri,
};

fuzz_target!(|input: (&str, Vec<String>, bool)| {
    let (text, uris, is_external) = input;
    if let Ok(described) = document::parse(text.as_bytes(), uris.first().map(String::as_str)) {
        for finding in document::judge(&described, &Policy::default()) {
            assert!(finding.pointer.is_empty() || finding.pointer.starts_with('/'));
        }
    }
    for uri in &uris {
        if let Ok(parts) = Uri::parse(uri) {
            assert!(uri.starts_with(parts.scheme) && uri.contains(parts.path));
            assert!(parts.host().is_none_or(|host| uri.contains(host)));
        }
    }
    let id = uris.first().cloned().unwrap_or_default();
    fuzzing::draft(&ClientDraft {
        owner: "me".to_owned(),
        selector_sets: vec![vec!["unix:uid:1".to_owned()]],
        metadata: Some(MetadataDraft {
            hosting: if is_external { "external" } else { "" }.to_owned(),
            client_id: if is_external {
                id.clone()
            } else {
                String::new()
            },
            document_digest: if is_external {
                "ab".repeat(32)
            } else {
                String::new()
            },
            other: text.to_owned(),
            allowed_redirect_origins: uris.clone(),
            redirect_uris: uris.clone(),
            client_uri: id,
            ..MetadataDraft::default()
        }),
        authorization_servers: uris.clone(),
        federates_with: uris,
        ..ClientDraft::default()
    });
});
