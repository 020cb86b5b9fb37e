//! The metadata of a client in a registration document; `agent/doc/client-metadata.md` describes it.

use crate::registry::MetadataDraft;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// As in the administrator's messages; what is not given is empty, and left out.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Metadata {
    #[serde(skip_serializing_if = "is_usual_hosting")]
    hosting: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    client_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    client_name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    redirect_uris: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    grant_types: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    response_types: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    contacts: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    client_uri: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    logo_uri: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    policy_uri: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    tos_uri: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    token_endpoint_auth_method: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    token_endpoint_auth_signing_alg: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    software_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    application_type: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    document_digest: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    jwks_digest: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    on_drift: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed_redirect_origins: Vec<String>,
    /// The members that are not known. Last: TOML has tables behind all else.
    #[serde(skip_serializing_if = "Map::is_empty")]
    other: Map<String, Value>,
}

fn is_usual_hosting(hosting: &str) -> bool {
    matches!(hosting, "" | "governed")
}

impl From<Metadata> for MetadataDraft {
    fn from(metadata: Metadata) -> Self {
        Self {
            hosting: metadata.hosting,
            client_id: metadata.client_id,
            client_name: metadata.client_name,
            redirect_uris: metadata.redirect_uris,
            grant_types: metadata.grant_types,
            response_types: metadata.response_types,
            scope: metadata.scope,
            contacts: metadata.contacts,
            client_uri: metadata.client_uri,
            logo_uri: metadata.logo_uri,
            policy_uri: metadata.policy_uri,
            tos_uri: metadata.tos_uri,
            token_endpoint_auth_method: metadata.token_endpoint_auth_method,
            token_endpoint_auth_signing_alg: metadata.token_endpoint_auth_signing_alg,
            software_id: metadata.software_id,
            application_type: metadata.application_type,
            other: match metadata.other.is_empty() {
                true => String::new(),
                false => Value::Object(metadata.other).to_string(),
            },
            document_digest: metadata.document_digest,
            jwks_digest: metadata.jwks_digest,
            on_drift: metadata.on_drift,
            allowed_redirect_origins: metadata.allowed_redirect_origins,
        }
    }
}

impl From<MetadataDraft> for Metadata {
    fn from(draft: MetadataDraft) -> Self {
        Self {
            hosting: draft.hosting,
            client_id: draft.client_id,
            client_name: draft.client_name,
            redirect_uris: draft.redirect_uris,
            grant_types: draft.grant_types,
            response_types: draft.response_types,
            scope: draft.scope,
            contacts: draft.contacts,
            client_uri: draft.client_uri,
            logo_uri: draft.logo_uri,
            policy_uri: draft.policy_uri,
            tos_uri: draft.tos_uri,
            token_endpoint_auth_method: draft.token_endpoint_auth_method,
            token_endpoint_auth_signing_alg: draft.token_endpoint_auth_signing_alg,
            software_id: draft.software_id,
            application_type: draft.application_type,
            document_digest: draft.document_digest,
            jwks_digest: draft.jwks_digest,
            on_drift: draft.on_drift,
            allowed_redirect_origins: draft.allowed_redirect_origins,
            // What a registry holds is an object.
            other: crate::svid::json::object(draft.other.as_bytes()).unwrap_or_default(),
        }
    }
}
