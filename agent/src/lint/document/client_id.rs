//! The URL that is the client's ID (Client ID Metadata Document, section 3), and the member that
//! repeats it (section 4.1).

use super::{Described, Sheet, Weakness, shown};
use crate::uri::Uri;
use serde_json::Value;

const POINTER: &str = "/client_id";

pub(super) fn judge(document: &Described, sheet: &mut Sheet) {
    let member = document.members.get("client_id");
    if document.url.is_some() || !document.is_governed {
        judge_member(document, member, sheet);
    }
    if let Some(url) = &document.url {
        judge_url(url, sheet);
    }
}

fn judge_member(document: &Described, member: Option<&Value>, sheet: &mut Sheet) {
    let text = match member {
        None => {
            let explanation = "it has no client_id, which every document must repeat";
            return sheet.forbid(Weakness::ClientIdMissing, POINTER, explanation);
        }
        Some(member) => member.as_str(),
    };
    match (text, document.url.as_deref()) {
        (Some(text), Some(url)) if text != url => sheet.forbid(
            Weakness::ClientIdMismatch,
            POINTER,
            format!(
                "client_id is {}, and the document is found at {}: they are compared character by \
                 character",
                shown(text),
                shown(url)
            ),
        ),
        // Of another type: the rule of types says so.
        _ => {}
    }
}

fn judge_url(url: &str, sheet: &mut Sheet) {
    let Ok(uri) = Uri::parse(url) else {
        let explanation = format!("{} is no URL", shown(url));
        return sheet.forbid(Weakness::ClientIdMalformed, POINTER, explanation);
    };
    // One way to write it, since it is compared character by character.
    if uri.scheme != "https" {
        let explanation = format!("its scheme is {}, and must be https", shown(uri.scheme));
        sheet.forbid(Weakness::ClientIdScheme, POINTER, explanation);
    } else if uri.host().is_none() {
        sheet.forbid(Weakness::ClientIdMalformed, POINTER, "it has no host");
    }
    if uri.path.is_empty() {
        sheet.forbid(
            Weakness::ClientIdPath,
            POINTER,
            "it has no path, and must have one",
        );
    }
    if uri.has_dot_segments() {
        let explanation = "its path has a segment '.' or '..', which readers remove";
        sheet.forbid(Weakness::ClientIdDotSegments, POINTER, explanation);
    }
    if uri.fragment.is_some() {
        let explanation = "it has a fragment, which is never sent";
        sheet.forbid(Weakness::ClientIdFragment, POINTER, explanation);
    }
    if uri.has_user_info() {
        let explanation = "it has a user name or a password";
        sheet.forbid(Weakness::ClientIdUserInfo, POINTER, explanation);
    }
    if uri.query.is_some() {
        let explanation = "it has a query, and should have none";
        sheet.note(Weakness::ClientIdQuery, POINTER, explanation);
    }
}
