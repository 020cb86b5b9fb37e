//! Which members there must be, of which type, and what OAuth says about their values.

use super::{Described, PAGES, Sheet, Weakness, shown};
use crate::uri::Uri;
use serde_json::Value;

const TEXTS: [&str; 16] = [
    "application_type",
    "client_id",
    "client_name",
    "client_uri",
    "jwks_uri",
    "logo_uri",
    "policy_uri",
    "scope",
    "software_id",
    "software_statement",
    "software_version",
    "spiffe_id",
    "subject_type",
    "token_endpoint_auth_method",
    "token_endpoint_auth_signing_alg",
    "tos_uri",
];

const LISTS: [&str; 4] = ["contacts", "grant_types", "redirect_uris", "response_types"];

pub(super) fn judge(document: &Described, sheet: &mut Sheet) {
    types(document, sheet);
    let name = document.text("client_name");
    if name.is_none_or(|name| name.trim().is_empty()) {
        let explanation = "it has no client_name, which MCP demands: people are asked by it";
        sheet.forbid(Weakness::ClientNameMissing, "/client_name", explanation);
    }
    for page in PAGES {
        let Some(text) = document.text(page) else {
            continue;
        };
        let uri = Uri::parse(text).ok();
        if !uri.is_some_and(|uri| uri.scheme == "https" && uri.host().is_some()) {
            let explanation = format!("{page} is {}, and must be an https URL", shown(text));
            sheet.forbid(Weakness::UrlNotHttps, &format!("/{page}"), explanation);
        }
    }
    grants(document, sheet);
}

/// RFC 7591, section 2, says of which type each member is.
fn types(document: &Described, sheet: &mut Sheet) {
    let mut wrong = |name: &str, pointer: String, wanted: &str| {
        let explanation = format!("{name} must be {wanted}");
        sheet.forbid(Weakness::MemberType, &pointer, explanation);
    };
    for (name, value) in &document.members {
        let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        if TEXTS.contains(&name.as_str()) && !value.is_string() {
            wrong(name, pointer, "a text");
        } else if LISTS.contains(&name.as_str()) {
            let Some(items) = value.as_array() else {
                wrong(name, pointer, "a list of texts");
                continue;
            };
            let odd = items.iter().position(|item| !item.is_string());
            if let Some(number) = odd {
                wrong(name, format!("{pointer}/{number}"), "a list of texts");
            }
        } else if name == "jwks" && !value.get("keys").is_some_and(Value::is_array) {
            wrong(name, pointer, "a key set, {\"keys\": [...]}");
        }
    }
    let kind = document.text("application_type");
    if kind.is_some_and(|kind| !matches!(kind, "web" | "native")) {
        let (name, pointer) = ("application_type", "/application_type".to_owned());
        wrong(name, pointer, "web or native");
    }
}

fn grants(document: &Described, sheet: &mut Sheet) {
    for (pointer, grant) in document.texts("grant_types") {
        if matches!(grant, "implicit" | "password") {
            let explanation = format!("OAuth 2.1, on which MCP rests, has no grant {grant}");
            sheet.warn(Weakness::GrantObsolete, &pointer, explanation);
        }
    }
    for (pointer, kind) in document.texts("response_types") {
        if kind
            .split(' ')
            .any(|word| matches!(word, "token" | "id_token"))
        {
            let explanation = format!("response type {} shows tokens to the browser", shown(kind));
            sheet.warn(Weakness::GrantObsolete, &pointer, explanation);
        }
    }
    // RFC 7591, section 2.1: they go together.
    let asks_for_code = match document.members.get("response_types") {
        None => document.uses_codes(),
        Some(_) => document
            .texts("response_types")
            .any(|(_, kind)| kind.split(' ').any(|word| word == "code")),
    };
    if asks_for_code != document.uses_codes() {
        sheet.note(
            Weakness::GrantWithoutResponse,
            "/response_types",
            "grant type authorization_code and response type code go together, and one is missing",
        );
    }
}
