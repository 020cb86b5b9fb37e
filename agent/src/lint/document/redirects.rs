//! Where people are sent back to with a code, which is worth a session.
//!
//! MCP demands the member; OAuth 2.1 and RFC 9700 exact comparison and TLS but
//! for loopback; RFC 8252 says what native programs may have. What governance
//! adds: the document's own origin, unless others are allowed by name.

use super::{Described, Sheet, Weakness, shown};
use crate::uri::Uri;
use serde_json::Value;

/// Schemes that a browser itself acts on.
const ACTIVE: [&str; 6] = ["about", "blob", "data", "file", "javascript", "vbscript"];

pub(super) fn judge(document: &Described, sheet: &mut Sheet) {
    let member = "/redirect_uris";
    match document.members.get("redirect_uris").map(Value::as_array) {
        None => {
            let explanation = "it has no redirect_uris, which MCP demands";
            sheet.forbid(Weakness::RedirectUrisMissing, member, explanation);
        }
        Some(Some(list)) if list.is_empty() && document.uses_codes() => sheet.forbid(
            Weakness::RedirectUrisEmpty,
            member,
            "the grant authorization_code sends people back, and there is no place to",
        ),
        Some(_) => {}
    }
    let place = Place::of(document);
    for (pointer, text) in document.texts("redirect_uris") {
        place.judge(&pointer, text, sheet);
    }
}

/// What redirect URIs are compared with.
struct Place<'a> {
    is_native: bool,
    own: Option<String>,
    allowed: &'a [String],
}

impl<'a> Place<'a> {
    fn of(document: &'a Described) -> Self {
        let url = document.url.as_deref();
        let own = url.and_then(|url| Uri::parse(url).ok()?.origin());
        Self {
            is_native: document.text("application_type") == Some("native"),
            own: own.map(|origin| origin.to_string()),
            allowed: &document.allowed_origins,
        }
    }

    fn judge(&self, pointer: &str, text: &str, sheet: &mut Sheet) {
        let is_wild = text.contains('*');
        if is_wild {
            let explanation = format!("{} has a '*': it is compared exactly", shown(text));
            sheet.forbid(Weakness::RedirectUriWildcard, pointer, explanation);
        }
        let Ok(uri) = Uri::parse(text) else {
            if !is_wild {
                let explanation = format!("{} is not an absolute URI", shown(text));
                sheet.forbid(Weakness::RedirectUriMalformed, pointer, explanation);
            }
            return;
        };
        if uri.fragment.is_some() {
            let explanation = format!("{} has a fragment", shown(text));
            sheet.forbid(Weakness::RedirectUriFragment, pointer, explanation);
        }
        if uri.has_user_info() {
            let explanation = format!("{} has a user name or a password", shown(text));
            sheet.forbid(Weakness::RedirectUriUserInfo, pointer, explanation);
        }
        if ACTIVE.into_iter().any(|scheme| uri.is(scheme)) {
            let explanation = format!("{}: is for the browser itself to act on", shown(uri.scheme));
            sheet.forbid(Weakness::RedirectUriScheme, pointer, explanation);
        } else if uri.is("https") || uri.is("http") {
            self.judge_web(pointer, &uri, text, sheet);
        } else {
            self.judge_private(pointer, &uri, sheet);
        }
    }

    fn judge_web(&self, pointer: &str, uri: &Uri<'_>, text: &str, sheet: &mut Sheet) {
        let Some(host) = uri.host() else {
            let explanation = format!("{} has no host", shown(text));
            return sheet.forbid(Weakness::RedirectUriMalformed, pointer, explanation);
        };
        if uri.is_loopback() {
            if !self.is_native {
                sheet.warn(
                    Weakness::RedirectUriLoopback,
                    pointer,
                    format!(
                        "{host} is whoever's machine it is: only a native client has its own there"
                    ),
                );
            }
            if host.eq_ignore_ascii_case("localhost") {
                let explanation = "localhost can be another machine's name; addresses cannot";
                sheet.note(Weakness::RedirectUriLocalhost, pointer, explanation);
            }
            return;
        }
        if uri.is("http") {
            let explanation = format!("codes for {} travel in the clear", shown(text));
            sheet.forbid(Weakness::RedirectUriPlainHttp, pointer, explanation);
        }
        let Some(origin) = uri.origin() else { return };
        let own = self.own.as_deref();
        let is_known = own.is_none_or(|own| own == origin.as_str())
            || self.allowed.iter().any(|known| known == origin.as_str());
        if !is_known {
            let own = own.unwrap_or_default();
            let explanation = format!("{origin} is not the document's origin {own}, nor allowed");
            sheet.warn(Weakness::RedirectUriOrigin, pointer, explanation);
        }
    }

    /// RFC 8252, section 7.1: schemes of native programs, named after a domain in reverse.
    fn judge_private(&self, pointer: &str, uri: &Uri<'_>, sheet: &mut Sheet) {
        let scheme = shown(uri.scheme);
        if !self.is_native {
            let explanation = format!("{scheme}: leads to a program on whoever's machine it is");
            sheet.warn(Weakness::RedirectUriPrivateScheme, pointer, explanation);
        } else if !uri.scheme.contains('.') {
            let explanation =
                format!("{scheme}: is not named after a domain: any program claims it");
            sheet.warn(Weakness::RedirectUriPrivateScheme, pointer, explanation);
        }
    }
}
