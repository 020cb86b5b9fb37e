//! Whatever a resource and an authorization server say to `symbolon token`: as bytes, and as
//! documents that say what they have to, about others.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use symbolon_agent::cli::token_fuzzing::{Said, conversation};

type Addresses<'a> = (&'a str, &'a str, &'a str, &'a str);
type Documents<'a> = (&'a [u8], &'a [u8], &'a [u8]);

fuzz_target!(
    |input: (Addresses<'_>, Vec<&[u8]>, Documents<'_>, Vec<&str>, bool)| {
        let ((url, wider, issuer, endpoint), challenges, documents, texts, dpop) = input;
        let raw = Said {
            challenges: &challenges,
            resource: documents.0,
            server: documents.1,
            token: (200, documents.2),
        };
        // Most addresses that are made of nothing are none.
        let secure = format!("https://{url}");
        for url in [url, &secure, "http://localhost/a/b?c"] {
            conversation(url, wider, dpop, raw);
            let named = format!("https://{issuer}");
            for (resource, issuer, endpoint) in [
                (url, "https://as.example/x", "https://as.example/token"),
                (wider, issuer, endpoint),
                (url, &*named, endpoint),
                (url, "http://localhost/", endpoint),
            ] {
                let resource = json!({
                    "resource": resource,
                    "authorization_servers": [issuer],
                    "scopes_supported": texts,
                });
                let server = json!({
                    "issuer": issuer,
                    "token_endpoint": endpoint,
                    "dpop_signing_alg_values_supported": ["ES256"],
                });
                let token = json!({
                    "access_token": texts.first(),
                    "token_type": if dpop { "DPoP" } else { "Bearer" },
                    "scope": texts.get(1),
                    "expires_in": texts.len(),
                });
                let status = if texts.len() % 3 == 2 { 400 } else { 200 };
                let [resource, server, token] = [resource, server, token].map(|v| v.to_string());
                let said = Said {
                    challenges: &challenges,
                    resource: resource.as_bytes(),
                    server: server.as_bytes(),
                    token: (status, token.as_bytes()),
                };
                conversation(url, wider, dpop, said);
            }
        }
    }
);
