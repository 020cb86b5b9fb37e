//! The fields of requests for assertions and proofs.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use symbolon_agent::credentials_api::fuzzing::{Fields, request};

type Texts<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str, &'a str);

/// A SHA-256 in base64url, so that what lies behind it is reached.
const HASH: &str = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";

fuzz_target!(|input: (Texts<'_>, BTreeMap<String, Option<String>>)| {
    let ((server, resource, method, hash, nonce, id), others) = input;
    let others: BTreeMap<String, String> = others
        .into_iter()
        .map(|(name, hash)| (name, hash.unwrap_or_else(|| HASH.to_owned())))
        .collect();
    let raw = Fields {
        server,
        resource,
        method,
        hash,
        nonce,
        spiffe_id: id,
    };
    request(raw, &others);
    let (server, resource, id) = (
        format!("https://{server}"),
        format!("https://{resource}"),
        format!("spiffe://{id}"),
    );
    let made = Fields {
        server: &server,
        resource: &resource,
        method: "POST",
        hash: HASH,
        nonce,
        spiffe_id: &id,
    };
    request(made, &others);
});
