//! The other way: documents from what is registered, which come to the same when they are read.
//!
//! What a document need not say is left out: defaults, and the SPIFFE ID that the
//! name gives, so that a document can be taken to another trust domain.

use super::{Form, metadata::Metadata};
use crate::{
    config::units::format_duration,
    registry::{ClientDraft, ClientName, SpecRules},
};
use serde::Serialize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Why documents could not be written: a bug.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Of the form YAML.
    #[error(transparent)]
    Yaml(#[from] serde_saphyr::SerializeError),
    /// Of the form JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// Of the form TOML.
    #[error(transparent)]
    Toml(#[from] toml::ser::Error),
}

/// One document, in the order in which its fields are documented.
#[derive(Clone, Debug, Serialize)]
pub struct Written {
    name: String,
    owner: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    purpose: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    spiffe_id: Option<String>,
    selector_sets: Vec<Vec<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    audiences: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_audiences: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x509_ttl: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwt_ttl: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dns_names: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    review_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    forbid_inheritable: bool,
    #[serde(skip_serializing_if = "is_false")]
    allow_foreign_user_namespaces: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    required_attestors: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    authorization_servers: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    federates_with: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accept_weak: Option<String>,
    /// Last: TOML has tables behind all else.
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata>,
}

impl Written {
    /// The document of client `name` that says what `draft` does, with the reason for what is
    /// accepted of it.
    #[must_use]
    pub fn of(name: &ClientName, draft: ClientDraft, rules: &SpecRules) -> Self {
        let default_id = rules.default_id(name);
        let is_other = |id: &String| *id != default_id;
        let kinds = draft.required_attestors.iter();
        Self {
            name: name.to_string(),
            owner: draft.owner,
            purpose: draft.purpose,
            spiffe_id: draft.spiffe_id.filter(is_other),
            selector_sets: draft.selector_sets,
            audiences: draft.audiences,
            max_audiences: draft.max_audiences.filter(|most| *most != 1),
            x509_ttl: draft.x509_ttl.map(format_duration),
            jwt_ttl: draft.jwt_ttl.map(format_duration),
            hint: draft.hint,
            dns_names: draft.dns_names,
            expires_at: draft.expires_at.and_then(moment),
            review_by: draft.review_by.and_then(moment),
            source: draft.source,
            forbid_inheritable: draft.forbid_inheritable,
            allow_foreign_user_namespaces: draft.allow_foreign_user_namespaces,
            required_attestors: kinds.map(|kind| kind.as_str()).collect(),
            authorization_servers: draft.authorization_servers,
            federates_with: draft.federates_with,
            accept_weak: draft.accepted_weaknesses.map(|accepted| accepted.reason),
            metadata: draft.metadata.map(Metadata),
        }
    }
}

#[derive(Serialize)]
struct Tables<'a> {
    clients: &'a [Written],
}

/// A file of these documents.
///
/// # Errors
/// Only by a bug.
pub fn write(documents: &[Written], form: Form) -> Result<String, WriteError> {
    let mut text = String::new();
    match form {
        Form::Yaml => {
            for (number, document) in documents.iter().enumerate() {
                text.push_str(if number == 0 { "" } else { "---\n" });
                text.push_str(&serde_saphyr::to_string(document)?);
            }
        }
        Form::Json => {
            for document in documents {
                text.push_str(&serde_json::to_string_pretty(document)?);
                text.push('\n');
            }
        }
        Form::Toml => text = toml::to_string(&Tables { clients: documents })?,
    }
    Ok(text)
}

fn moment(at: SystemTime) -> Option<String> {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = i64::try_from(since.as_secs()).ok()?;
    let at = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    at.format(&Rfc3339).ok()
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes fields by reference"
)]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests;
