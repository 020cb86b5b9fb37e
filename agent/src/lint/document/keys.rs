//! How the client authenticates itself: with a key that is published, never with a secret
//! (Client ID Metadata Document, sections 4.1 and 8.2).

use super::{Described, Sheet, Weakness, shown};
use serde_json::{Map, Value};

/// What of a key must never leave its owner (RFC 7518, section 6).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

pub(super) fn judge(document: &Described, sheet: &mut Sheet) {
    secrets(document, sheet);
    let method = document.text("token_endpoint_auth_method");
    if let Some(method) = method.filter(|method| method.starts_with("client_secret")) {
        sheet.forbid(
            Weakness::SymmetricMethod,
            "/token_endpoint_auth_method",
            format!("{} rests on a secret that both sides share", shown(method)),
        );
    }
    let alg = document.text("token_endpoint_auth_signing_alg");
    if let Some(alg) = alg.filter(|alg| *alg == "none" || alg.starts_with("HS")) {
        sheet.forbid(
            Weakness::SymmetricAlgorithm,
            "/token_endpoint_auth_signing_alg",
            format!("{} has no public key", shown(alg)),
        );
    }
    // RFC 7591 has a method with a secret where none is said; documents are read as `none` then.
    if matches!(method, None | Some("none")) {
        sheet.note(
            Weakness::NoClientAuthentication,
            "/token_endpoint_auth_method",
            "whoever says the client_id is the client: nothing authenticates it",
        );
    }
    published(document, sheet);
}

fn secrets(document: &Described, sheet: &mut Sheet) {
    for name in ["client_secret", "client_secret_expires_at"] {
        if document.members.contains_key(name) {
            let explanation = format!("{name} must not stand in a document that everybody reads");
            sheet.forbid(Weakness::SecretInDocument, &format!("/{name}"), explanation);
        }
    }
    for (number, key) in keys(&document.members).enumerate() {
        let Some(key) = key.as_object() else { continue };
        let is_symmetric = key.get("kty").and_then(Value::as_str) == Some("oct");
        if is_symmetric || PRIVATE.iter().any(|name| key.contains_key(*name)) {
            sheet.forbid(
                Weakness::PrivateKey,
                &format!("/jwks/keys/{number}"),
                "the key has its private part, or is a shared secret",
            );
        }
    }
}

/// RFC 7591, section 2: one of `jwks` and `jwks_uri`.
fn published(document: &Described, sheet: &mut Sheet) {
    let members = &document.members;
    let (inline, linked) = (
        members.contains_key("jwks"),
        members.contains_key("jwks_uri"),
    );
    if inline && linked {
        let explanation = "it has jwks and jwks_uri, and must have one of them";
        sheet.forbid(Weakness::KeysTwice, "/jwks_uri", explanation);
    }
    // Where the agent hosts it, it adds its own.
    if document.uses_private_key_jwt() && !inline && !linked && !document.is_governed {
        sheet.forbid(
            Weakness::KeysMissing,
            "/jwks_uri",
            "private_key_jwt needs jwks or jwks_uri: nobody could verify an assertion",
        );
    }
    if linked && !document.is_governed && !document.has_pinned_keys {
        sheet.note(
            Weakness::KeysNotPinned,
            "/jwks_uri",
            "the keys behind jwks_uri are not pinned: whoever changes them is the client",
        );
    }
}

/// The keys in the document itself.
pub(super) fn keys(members: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    let keys = members.get("jwks").and_then(|set| set.get("keys"));
    keys.and_then(Value::as_array).into_iter().flatten()
}
