//! The metadata of a client in a registration document; `agent/doc/client-metadata.md` describes it.

use crate::registry::MetadataDraft;
use serde::{Deserialize, Serialize};

/// As it is written in a document.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Metadata(#[serde(with = "Written")] pub(super) MetadataDraft);

/// How each member is written, in the order in which they stand; what is not given is empty, and
/// left out.
#[derive(Default, Serialize, Deserialize)]
#[serde(remote = "MetadataDraft", deny_unknown_fields, default)]
struct Written {
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
    #[serde(with = "other", skip_serializing_if = "other::is_empty")]
    other: String,
}

fn is_usual_hosting(hosting: &str) -> bool {
    matches!(hosting, "" | "governed")
}

/// An object in a document, and its JSON in a draft; empty where there is none.
mod other {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
    use serde_json::{Map, Value};

    /// What a registry holds is an object.
    fn members(other: &str) -> Map<String, Value> {
        crate::svid::json::object(other.as_bytes()).unwrap_or_default()
    }

    pub(super) fn is_empty(other: &str) -> bool {
        members(other).is_empty()
    }

    pub(super) fn serialize<S: Serializer>(other: &str, to: S) -> Result<S::Ok, S::Error> {
        members(other).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
        let members = Map::deserialize(from)?;
        Ok(match members.is_empty() {
            true => String::new(),
            false => Value::Object(members).to_string(),
        })
    }
}
