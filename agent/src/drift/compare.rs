//! What differs between an approved document and the one that is served.

use super::class::{Class, Finding};
use crate::{canonical, registry::Digest};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Keys of a set that are looked at; more are no set of a client.
const MAX_KEYS: usize = 64;
/// Differences of one look that are told.
const MAX_FINDINGS: usize = 32;

/// Members whose order says nothing, and that may as well be absent as empty (RFC 7591).
const SETS: [&str; 4] = ["contacts", "grant_types", "redirect_uris", "response_types"];
/// Members that demand more of the client where they are true (RFC 9449, 8705, 9101, 9126).
const DEMANDS: [&str; 4] = [
    "dpop_bound_access_tokens",
    "require_pushed_authorization_requests",
    "require_signed_request_object",
    "tls_client_certificate_bound_access_tokens",
];

/// How much a method of client authentication proves; of one that is not known nothing.
fn strength(method: Option<&str>) -> u8 {
    match method {
        Some(
            "private_key_jwt"
            | "tls_client_auth"
            | "self_signed_tls_client_auth"
            | "spiffe_jwt"
            | "spiffe_x509"
            | "attest_jwt_client_auth",
        ) => 2,
        Some("client_secret_jwt" | "client_secret_post" | "client_secret_basic") => 1,
        _ => 0,
    }
}

/// The differences; `found` has other bytes than what was approved.
pub(super) fn documents(approved: &Map<String, Value>, found: &Map<String, Value>) -> Vec<Finding> {
    let mut findings = BTreeSet::new();
    let names: BTreeSet<&String> = approved.keys().chain(found.keys()).collect();
    for name in names {
        let (before, after) = (approved.get(name), found.get(name));
        member(name, before, after, &mut findings);
    }
    if findings.is_empty() {
        findings.insert(Finding::new(
            Class::Rewritten,
            "the same content in other bytes",
        ));
    }
    findings.into_iter().take(MAX_FINDINGS).collect()
}

fn member(name: &str, before: Option<&Value>, after: Option<&Value>, to: &mut BTreeSet<Finding>) {
    if is_same(name, before, after) {
        return;
    }
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let (old, new) = (text(before), text(after));
    let class = match name {
        "redirect_uris" => return redirect_uris(before, after, to),
        "jwks" => return to.extend(inline_keys(before, after)),
        // CIMD, section 4.1: nobody may take it.
        "client_id" => Class::Invalid,
        "token_endpoint_auth_method" if strength(new.as_deref()) < strength(old.as_deref()) => {
            Class::AuthenticationDowngraded
        }
        "token_endpoint_auth_signing_alg" if is_weak(new.as_deref()) => {
            Class::AuthenticationDowngraded
        }
        "client_secret" | "client_secret_expires_at" => Class::AuthenticationDowngraded,
        // Whoever serves the other address has the keys.
        "jwks_uri" if new.is_some() => Class::KeyAdded,
        "jwks_uri" => Class::KeyRemoved,
        _ if DEMANDS.contains(&name) && before == Some(&Value::Bool(true)) => {
            Class::AuthenticationDowngraded
        }
        _ => Class::OtherField,
    };
    to.insert(Finding::new(class, name));
}

/// No algorithm, or one with a shared secret.
fn is_weak(alg: Option<&str>) -> bool {
    alg.is_some_and(|alg| alg == "none" || alg.starts_with("HS"))
}

fn is_same(name: &str, before: Option<&Value>, after: Option<&Value>) -> bool {
    if !SETS.contains(&name) {
        return before == after;
    }
    match (texts(before), texts(after)) {
        (Some(before), Some(after)) => before == after,
        _ => before == after,
    }
}

/// A list of texts; nothing is an empty one.
fn texts(value: Option<&Value>) -> Option<BTreeSet<&str>> {
    match value {
        None => Some(BTreeSet::new()),
        Some(Value::Array(items)) => items.iter().map(Value::as_str).collect(),
        Some(_) => None,
    }
}

fn redirect_uris(before: Option<&Value>, after: Option<&Value>, to: &mut BTreeSet<Finding>) {
    let (Some(before), Some(after)) = (texts(before), texts(after)) else {
        to.insert(Finding::new(Class::Invalid, "redirect_uris"));
        return;
    };
    let added = after.difference(&before);
    to.extend(added.map(|uri| Finding::new(Class::RedirectUriWidened, uri)));
    if before.difference(&after).next().is_some() {
        to.insert(Finding::new(Class::OtherField, "redirect_uris"));
    }
}

fn inline_keys(before: Option<&Value>, after: Option<&Value>) -> Vec<Finding> {
    let keys = |value: Option<&Value>| match value {
        None => Some(BTreeSet::new()),
        Some(Value::Object(set)) => thumbprints(set),
        Some(_) => None,
    };
    match (keys(before), keys(after)) {
        (Some(before), Some(after)) => key_sets(&before, &after),
        _ => vec![Finding::new(Class::Invalid, "jwks")],
    }
}

/// The differences of two sets of keys; one at least, as their bytes are not the same.
pub(super) fn key_sets(before: &BTreeSet<String>, after: &BTreeSet<String>) -> Vec<Finding> {
    let added = after.difference(before);
    let removed = before.difference(after);
    let mut findings: Vec<Finding> = added
        .map(|key| Finding::new(Class::KeyAdded, key))
        .chain(removed.map(|key| Finding::new(Class::KeyRemoved, key)))
        .take(MAX_FINDINGS)
        .collect();
    if findings.is_empty() {
        findings.push(Finding::new(
            Class::Rewritten,
            "the same keys in other bytes",
        ));
    }
    findings
}

/// What tells the keys of a set apart: SHA-256 of each as canonical JSON, with all that it says.
/// `None` for what is no set of public keys.
pub(super) fn thumbprints(set: &Map<String, Value>) -> Option<BTreeSet<String>> {
    let keys = set.get("keys")?.as_array()?;
    let thumbprint = |key: &Value| {
        let is_public =
            key.get("kty")?.is_string() && key.get("d").is_none() && key.get("k").is_none();
        let bytes = canonical::to_vec(key).ok()?;
        is_public.then(|| Digest::of(&bytes).to_string())
    };
    if keys.len() > MAX_KEYS {
        return None;
    }
    keys.iter().map(thumbprint).collect()
}

#[cfg(test)]
mod tests {
    use super::{documents, key_sets, thumbprints};
    use serde_json::{Map, Value, json};

    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn found(change: impl FnOnce(&mut Map<String, Value>)) -> Vec<String> {
        let approved = object(&json!({
            "client_id": "https://app.example/client.json",
            "client_name": "App",
            "dpop_bound_access_tokens": true,
            "grant_types": ["authorization_code", "refresh_token"],
            "jwks": {"keys": [{"kty": "EC", "x": "1"}, {"kty": "EC", "x": "2"}]},
            "redirect_uris": ["https://app.example/a", "https://app.example/b"],
            "token_endpoint_auth_method": "private_key_jwt",
            "token_endpoint_auth_signing_alg": "ES256",
        }));
        let mut served = approved.clone();
        change(&mut served);
        let findings = documents(&approved, &served);
        findings.iter().map(ToString::to_string).collect()
    }

    fn with(name: &str, value: Value) -> Vec<String> {
        found(|document| drop(document.insert(name.to_owned(), value)))
    }

    /// A member, its new value, and what is found.
    const CASES: &[(&str, &str, &str)] = &[
        (
            "redirect_uris",
            r#"["https://app.example/b", "https://app.example/a"]"#,
            "rewritten (the same content in other bytes)",
        ),
        (
            "redirect_uris",
            r#"["https://app.example/a", "https://app.example/b", "https://evil.example/"]"#,
            "redirect_uri_widened (https://evil.example/)",
        ),
        (
            "redirect_uris",
            r#"["https://app.example/a"]"#,
            "other_field (redirect_uris)",
        ),
        ("redirect_uris", r#""x""#, "invalid (redirect_uris)"),
        ("redirect_uris", "[1]", "invalid (redirect_uris)"),
        (
            "token_endpoint_auth_method",
            r#""none""#,
            "authentication_downgraded (token_endpoint_auth_method)",
        ),
        (
            "token_endpoint_auth_method",
            r#""client_secret_basic""#,
            "authentication_downgraded (token_endpoint_auth_method)",
        ),
        (
            "token_endpoint_auth_method",
            r#"["private_key_jwt"]"#,
            "authentication_downgraded (token_endpoint_auth_method)",
        ),
        (
            "token_endpoint_auth_method",
            r#""tls_client_auth""#,
            "other_field (token_endpoint_auth_method)",
        ),
        (
            "token_endpoint_auth_signing_alg",
            r#""HS256""#,
            "authentication_downgraded (token_endpoint_auth_signing_alg)",
        ),
        (
            "token_endpoint_auth_signing_alg",
            r#""RS256""#,
            "other_field (token_endpoint_auth_signing_alg)",
        ),
        (
            "dpop_bound_access_tokens",
            "false",
            "authentication_downgraded (dpop_bound_access_tokens)",
        ),
        (
            "client_secret",
            r#""s""#,
            "authentication_downgraded (client_secret)",
        ),
        (
            "client_id",
            r#""https://app.example/""#,
            "invalid (client_id)",
        ),
        (
            "jwks_uri",
            r#""https://x.example/""#,
            "key_added (jwks_uri)",
        ),
        ("jwks", r#"{"keys": 1}"#, "invalid (jwks)"),
        (
            "jwks",
            r#"{"keys": [{"kty": "oct", "k": "x"}]}"#,
            "invalid (jwks)",
        ),
        ("client_name", r#""Other""#, "other_field (client_name)"),
        ("scope", r#""admin""#, "other_field (scope)"),
        ("new\u{202e}", "1", "other_field (new\\u{202e})"),
        (
            "contacts",
            "[]",
            "rewritten (the same content in other bytes)",
        ),
    ];

    #[test]
    fn each_difference_has_its_class() {
        for (name, value, expected) in CASES {
            let value = serde_json::from_str(value).unwrap();
            assert_eq!(with(name, value), [*expected], "{name}");
        }
        let gone = found(|document| drop(document.remove("token_endpoint_auth_method")));
        assert_eq!(
            gone,
            ["authentication_downgraded (token_endpoint_auth_method)"]
        );
        assert_eq!(found(|_same| ()).len(), 1);
    }

    #[test]
    fn keys_are_told_apart() {
        let keys = |value: Value| thumbprints(&object(&value));
        let one = json!({"kty": "EC", "x": "1"});
        let (a, b) = (
            keys(json!({"keys": [one, {"kty": "EC", "x": "2"}]})).unwrap(),
            keys(json!({"keys": [{"kty": "EC", "x": "3"}, {"x": "1", "kty": "EC"}]})).unwrap(),
        );
        let classes: Vec<&str> = key_sets(&a, &b).iter().map(|f| f.class.as_str()).collect();
        assert_eq!(classes, ["key_added", "key_removed"]);
        assert_eq!(key_sets(&a, &a)[0].class.as_str(), "rewritten");
        for value in [
            json!({}),
            json!({"keys": {}}),
            json!({"keys": [1]}),
            json!({"keys": [{"x": "1"}]}),
            json!({"keys": [{"kty": "EC", "d": "1"}]}),
            json!({"keys": vec![one; 65]}),
        ] {
            assert_eq!(keys(value), None);
        }
    }

    #[test]
    fn what_documents_say_is_bounded() {
        let many: Vec<String> = (0..100).map(|n| format!("https://x.example/{n}")).collect();
        assert_eq!(with("redirect_uris", json!(many)).len(), 32);
        let long = with("redirect_uris", json!(["\n".repeat(9_000)]));
        assert!(long.iter().all(|text| text.len() < 250), "{long:?}");
    }
}
