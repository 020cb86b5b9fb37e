//! What two clients must not share: an ID, a key, a place to send people back to.

use super::{Described, Policy, Sheet, Weakness, keys::keys};
use crate::{
    lint::{Finding, Subject},
    registry::{ClientIdUrl, ClientName, ClientState, RedirectUri, Snapshot},
};
use serde_json::{Map, Value};

/// Findings after which no more clients are compared: a refusal is an answer, not a list.
const ENOUGH: usize = 16;

/// What of another client's document is compared; borrowed, since there are many.
struct Other<'a> {
    name: &'a ClientName,
    id: Option<&'a str>,
    redirects: Redirects<'a>,
    /// Where `jwks` and `jwks_uri` stand.
    members: &'a Map<String, Value>,
}

enum Redirects<'a> {
    /// Sorted.
    Checked(&'a [RedirectUri]),
    Asked(&'a Map<String, Value>),
}

impl Redirects<'_> {
    fn have(&self, uri: &str) -> bool {
        match self {
            Self::Checked(uris) => uris.binary_search_by(|own| own.as_str().cmp(uri)).is_ok(),
            Self::Asked(members) => {
                let uris = members.get("redirect_uris").and_then(Value::as_array);
                let mut uris = uris.into_iter().flatten();
                uris.any(|own| own.as_str() == Some(uri))
            }
        }
    }
}

/// What `document` shares with a client that is registered.
pub(in crate::lint) fn judge(
    subject: &Subject,
    document: &Described,
    snapshot: &Snapshot,
    policy: &Policy,
) -> Vec<Finding> {
    let mut sheet = Sheet::default();
    let own = document.url.as_deref().filter(|_| !document.is_governed);
    if let (Some(id), Some(public)) = (own, &policy.public_url)
        && id
            .strip_prefix(public.as_str())
            .is_some_and(|rest| rest.starts_with("/clients/"))
    {
        let explanation = "the agent itself has its clients' documents there";
        sheet.forbid(Weakness::ClientIdTaken, "/client_id", explanation);
    }
    for client in snapshot.iter() {
        let Some(metadata) = client.spec().metadata() else {
            continue;
        };
        let is_over = || {
            let state = snapshot.state_of(client);
            matches!(state, ClientState::Revoked | ClientState::Expired)
        };
        if Some(client.name()) == subject.name.as_ref() || is_over() {
            continue;
        }
        let other = Other {
            name: client.name(),
            id: metadata.client_id().map(ClientIdUrl::as_str),
            redirects: Redirects::Checked(metadata.redirect_uris()),
            members: metadata.other(),
        };
        compare(document, &other, &mut sheet);
        if sheet.0.len() >= ENOUGH {
            break;
        }
    }
    sheet.0
}

/// As [`judge`], with registrations that are about to be made.
pub(in crate::lint) fn among(
    subject: &Subject,
    document: &Described,
    made: &[(ClientName, Described)],
) -> Vec<Finding> {
    let mut sheet = Sheet::default();
    for (name, other) in made {
        if Some(name) != subject.name.as_ref() {
            let other = Other {
                name,
                id: other.url.as_deref().filter(|_| !other.is_governed),
                redirects: Redirects::Asked(&other.members),
                members: &other.members,
            };
            compare(document, &other, &mut sheet);
        }
        if sheet.0.len() >= ENOUGH {
            break;
        }
    }
    sheet.0
}

fn compare(document: &Described, other: &Other<'_>, sheet: &mut Sheet) {
    let name = other.name;
    let own = document.url.as_deref().filter(|_| !document.is_governed);
    if own.is_some() && own == other.id {
        let explanation = format!("{name} has the same client_id: one could speak for the other");
        sheet.forbid(Weakness::ClientIdTaken, "/client_id", explanation);
    }
    for (pointer, uri) in document.texts("redirect_uris") {
        if other.redirects.have(uri) {
            let explanation = format!("{name} gets people sent back to the same place");
            sheet.warn(Weakness::RedirectUriShared, &pointer, explanation);
        }
    }
    let linked = document.text("jwks_uri").filter(|_| !document.is_governed);
    if linked.is_some() && linked == other.members.get("jwks_uri").and_then(Value::as_str) {
        let explanation = format!("{name} has the same keys: one could speak for the other");
        sheet.warn(Weakness::KeyShared, "/jwks_uri", explanation);
    }
    for (number, key) in keys(&document.members).enumerate() {
        if keys(other.members).any(|other| is_same(key, other)) {
            let pointer = format!("/jwks/keys/{number}");
            let explanation = format!("{name} has the same key: one could speak for the other");
            sheet.warn(Weakness::KeyShared, &pointer, explanation);
        }
    }
}

/// Whether two public keys are the same, whatever they are called (RFC 7638, section 3.2).
fn is_same(a: &Value, b: &Value) -> bool {
    let parts = ["kty", "crv", "x", "y", "n", "e"];
    a.get("kty").is_some() && parts.iter().all(|part| a.get(part) == b.get(part))
}
