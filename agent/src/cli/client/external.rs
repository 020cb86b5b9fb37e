//! How a document that others host was seen last.

use crate::cli::{
    moment::{exact, relative},
    output::some,
};
use serde::Serialize;
use symbolon_proto::admin::ExternalDocument;

/// What was seen; `agent/doc/external-documents.md` describes it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ExternalView {
    seen_at: Option<String>,
    outcome: String,
    pub(super) findings: Vec<String>,
    document_digest: Option<String>,
    jwks_digest: Option<String>,
    #[serde(skip)]
    seen: i64,
}

impl From<ExternalDocument> for ExternalView {
    fn from(document: ExternalDocument) -> Self {
        Self {
            seen_at: exact(document.seen_at),
            outcome: document.outcome,
            findings: document.findings,
            document_digest: some(document.document_digest),
            jwks_digest: some(document.jwks_digest),
            seen: document.seen_at,
        }
    }
}

impl ExternalView {
    /// In one line.
    pub(super) fn line(&self, now: i64) -> String {
        format!("{}, looked at {}", self.outcome, relative(self.seen, now))
    }
}
