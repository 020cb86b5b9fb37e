//! What is wrong with a client's metadata document: for the standards, and for whoever governs it.
//!
//! One rule for each MUST of the Client ID Metadata Document draft and of MCP's
//! page on client registration, of RFC 7591 and OAuth 2.1 as far as they are about
//! members, and the rules of governance: exact redirect URIs at approved places,
//! nothing shared between clients. It judges the members by their JSON, whoever
//! hosts the document, so that a file, a draft and a registration are judged alike.
//! Reads nothing and fetches nothing.

mod client_id;
mod keys;
mod members;
mod others;
mod redirects;
#[cfg(test)]
mod tests;

pub(super) use others::{among, judge as judge_beside};

use super::{Finding, Severity, Weakness};
use crate::{
    metadata::{self, PublicUrl},
    registry::{ClientName, MetadataDraft, PRIVATE_KEY_JWT, limits},
    svid::json,
    uri::HostPattern,
};
use serde_json::{Map, Value};
use spiffe::TrustDomain;

/// What documents of this agent's clients are held to.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Where the agent's own documents are found.
    pub public_url: Option<PublicUrl>,
    /// Hosts that documents may lead to; without any, all may be.
    pub approved_hosts: Vec<HostPattern>,
    /// Of the agent.
    pub trust_domain: Option<TrustDomain>,
}

/// A document that is judged.
#[derive(Clone, Debug, Default)]
pub struct Described {
    /// All that it says.
    pub members: Map<String, Value>,
    /// Where it is found, which is the client's ID; `None` where that is not known.
    pub url: Option<String>,
    /// Whether the agent hosts it, and so says some members itself.
    pub is_governed: bool,
    /// Origins of redirect URIs that are allowed beside its own.
    pub allowed_origins: Vec<String>,
    /// Whether the content of `jwks_uri` is pinned.
    pub has_pinned_keys: bool,
    /// How many bytes it has, where that is known.
    pub bytes: Option<usize>,
}

/// What is wrong with a text that is to be a document.
///
/// # Errors
/// The one finding, where it is no JSON object at all.
pub fn parse(text: &[u8], url: Option<&str>) -> Result<Described, Finding> {
    let finding = |weakness: Weakness, explanation: String| Finding {
        weakness,
        severity: Severity::Forbidden,
        selectors: Vec::new(),
        pointer: String::new(),
        explanation,
    };
    if text.len() > limits::METADATA_BYTES {
        let explanation = too_large(text.len());
        return Err(finding(Weakness::DocumentTooLarge, explanation));
    }
    let members = json::object(text).map_err(|error| {
        let explanation = format!("it is not one JSON object with distinct names: {error}");
        finding(Weakness::DocumentMalformed, explanation)
    })?;
    let own = members.get("client_id").and_then(Value::as_str);
    Ok(Described {
        url: url.or(own).map(str::to_owned),
        bytes: Some(text.len()),
        members,
        ..Described::default()
    })
}

/// What is wrong with a document in itself.
#[must_use]
pub fn judge(document: &Described, policy: &Policy) -> Vec<Finding> {
    let mut sheet = Sheet::default();
    let size = document.bytes.or_else(|| {
        let bytes = serde_json::to_vec(&document.members).ok()?;
        Some(bytes.len())
    });
    if let Some(size) = size.filter(|size| *size > limits::METADATA_BYTES) {
        sheet.forbid(Weakness::DocumentTooLarge, "", too_large(size));
    }
    if document.is_governed && document.url.is_none() {
        sheet.note(
            Weakness::NoPublicUrl,
            "",
            "identity.public_url is not set: the client has no client_id, and nobody finds its \
             document",
        );
    }
    client_id::judge(document, &mut sheet);
    members::judge(document, &mut sheet);
    keys::judge(document, &mut sheet);
    redirects::judge(document, &mut sheet);
    approved(document, policy, &mut sheet);
    sheet.0
}

fn too_large(size: usize) -> String {
    let limit = limits::METADATA_BYTES;
    format!("it has {size} bytes, and authorization servers read {limit}")
}

impl Described {
    /// The document that `draft` comes to for client `name`.
    pub(super) fn of(
        draft: &MetadataDraft,
        name: Option<&ClientName>,
        spiffe_id: Option<&str>,
        policy: &Policy,
    ) -> Self {
        let mut members = draft.members();
        let is_governed = draft.hosting != "external";
        let url = if is_governed {
            let public = policy.public_url.as_ref();
            name.zip(public).map(|(name, public)| {
                let default = policy.trust_domain.as_ref();
                let default = default.map(|domain| crate::registry::default_id(domain, name));
                let spiffe_id = spiffe_id.map(str::to_owned).or(default);
                // The longest number: the document only grows.
                let ours = metadata::Ours::of(name, u64::MAX, public);
                ours.add(&mut members, &spiffe_id.unwrap_or_default());
                public.document(name)
            })
        } else {
            let id = draft.client_id.clone();
            members
                .entry("client_id")
                .or_insert_with(|| id.clone().into());
            Some(id)
        };
        Self {
            members,
            url,
            is_governed,
            allowed_origins: draft.allowed_redirect_origins.clone(),
            has_pinned_keys: !draft.jwks_digest.is_empty(),
            bytes: None,
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.members.get(name).and_then(Value::as_str)
    }

    /// The texts of an array, each with its pointer.
    fn texts(&self, name: &str) -> impl Iterator<Item = (String, &str)> {
        let items = self.members.get(name).and_then(Value::as_array);
        let items = items.into_iter().flatten().enumerate();
        let name = name.to_owned();
        items.filter_map(move |(number, item)| Some((format!("/{name}/{number}"), item.as_str()?)))
    }

    fn uses_private_key_jwt(&self) -> bool {
        self.text("token_endpoint_auth_method") == Some(PRIVATE_KEY_JWT)
    }

    /// Whether people are sent back to it: `authorization_code` is the grant where none is said
    /// (RFC 7591, section 2).
    fn uses_codes(&self) -> bool {
        match self.members.get("grant_types") {
            None => true,
            Some(_) => self
                .texts("grant_types")
                .any(|(_, grant)| grant == "authorization_code"),
        }
    }
}

/// Collects what is found.
#[derive(Debug, Default)]
struct Sheet(Vec<Finding>);

impl Sheet {
    fn add(&mut self, weakness: Weakness, severity: Severity, pointer: &str, explanation: String) {
        self.0.push(Finding {
            weakness,
            severity,
            selectors: Vec::new(),
            pointer: pointer.to_owned(),
            explanation,
        });
    }

    fn forbid(&mut self, weakness: Weakness, pointer: &str, explanation: impl Into<String>) {
        self.add(weakness, Severity::Forbidden, pointer, explanation.into());
    }

    fn warn(&mut self, weakness: Weakness, pointer: &str, explanation: impl Into<String>) {
        self.add(weakness, Severity::Serious, pointer, explanation.into());
    }

    fn note(&mut self, weakness: Weakness, pointer: &str, explanation: impl Into<String>) {
        self.add(weakness, Severity::Notice, pointer, explanation.into());
    }
}

/// Members that are URLs of pages, pictures and keys.
const PAGES: [&str; 5] = [
    "client_uri",
    "jwks_uri",
    "logo_uri",
    "policy_uri",
    "tos_uri",
];

/// Hosts that the operator did not approve.
fn approved(document: &Described, policy: &Policy, sheet: &mut Sheet) {
    if policy.approved_hosts.is_empty() {
        return;
    }
    let own = document.url.as_deref().filter(|_| !document.is_governed);
    let own = own.map(|url| ("/client_id".to_owned(), url));
    let pages = PAGES
        .iter()
        .filter(|page| !(document.is_governed && **page == "jwks_uri"));
    let pages = pages.filter_map(|page| Some((format!("/{page}"), document.text(page)?)));
    let origins = document.allowed_origins.iter().enumerate();
    let origins = origins.map(|(number, origin)| {
        let pointer = format!("/allowed_redirect_origins/{number}");
        (pointer, origin.as_str())
    });
    let redirects = document.texts("redirect_uris");
    for (pointer, url) in own.into_iter().chain(pages).chain(origins).chain(redirects) {
        let Ok(uri) = crate::uri::Uri::parse(url) else {
            continue;
        };
        let Some(host) = uri.host().filter(|_| !uri.is_loopback()) else {
            continue;
        };
        if !policy.approved_hosts.iter().any(|known| known.covers(host)) {
            let explanation = format!("{host} is not among registry.approved_hosts");
            sheet.forbid(Weakness::HostNotApproved, &pointer, explanation);
        }
    }
}

/// The beginning of a text of somebody else's.
fn shown(text: &str) -> String {
    const SHOWN: usize = 80;
    text.chars().take(SHOWN).collect()
}
