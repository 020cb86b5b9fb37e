//! Client ID metadata documents: what authorization servers are told about a client, made from the
//! version in force.
//!
//! Owns the form of the documents and where they are to be found, and nothing
//! else: `identity` serves and publishes them, `client_keys` has the keys that
//! they point to, `credentials_api` makes assertions in the client's name. What a
//! document says is what was approved ([`ClientMetadata`](crate::registry::ClientMetadata)), and what is the
//! agent's to say: `client_id`, `jwks_uri`, `spiffe_id` and `software_version`.
//!
//! Invariants: `client_id` is the URL at which the document is, character by
//! character (Client ID Metadata Document, sections 3 and 4.1); the same version
//! and the same public URL come to the same bytes; no document has more than
//! 5,120 bytes, a secret, or a method that rests on one. It is pure: whether a
//! client is suspended or has expired is for the caller to ask.

mod public_url;
pub mod wire;

pub use public_url::{PublicUrl, PublicUrlError};

use crate::{
    canonical,
    registry::{Client, ClientName, ClientSpec, PRIVATE_KEY_JWT, limits},
};
use bytes::Bytes;
use serde_json::{Map, Value};

/// The ID that authorization servers know the client by: the URL of its document.
///
/// `None` where it has no metadata, or where the agent is to host the document and has no public
/// URL.
#[must_use]
pub fn client_id(client: &Client, public: Option<&PublicUrl>) -> Option<String> {
    id_of(client.name(), client.spec(), public)
}

/// As [`client_id`], of a version that need not be in force.
#[must_use]
pub fn id_of(name: &ClientName, spec: &ClientSpec, public: Option<&PublicUrl>) -> Option<String> {
    let metadata = spec.metadata()?;
    match metadata.client_id() {
        Some(external) => Some(external.to_string()),
        None if metadata.is_external() => None,
        None => public.map(|public| public.document(name)),
    }
}

/// The document of a client that the agent hosts it for, as canonical JSON.
///
/// `None` where no version is in force, where others host it or nobody does, and where it would be
/// larger than readers take.
#[must_use]
pub fn document(client: &Client, public: &PublicUrl) -> Option<Bytes> {
    if !client.has_version_in_force() {
        return None;
    }
    let number = client.version().number;
    let members = members_of(client.name(), client.spec(), number, public)?;
    let bytes = canonical::to_vec(&members).ok()?;
    (bytes.len() <= limits::METADATA_BYTES).then(|| bytes.into())
}

/// The members of the document that version `number` of a client comes to; `None` where the agent
/// hosts none.
#[must_use]
pub fn members_of(
    name: &ClientName,
    spec: &ClientSpec,
    number: u64,
    public: &PublicUrl,
) -> Option<Map<String, Value>> {
    let metadata = spec.metadata().filter(|metadata| !metadata.is_external())?;
    let mut members = metadata.members();
    Ours::of(name, number, public).add(&mut members, &spec.spiffe_id().to_string());
    Some(members)
}

/// What of a document is the agent's to say.
#[derive(Clone, Debug)]
pub(crate) struct Ours {
    client_id: String,
    jwks_uri: String,
    software_version: String,
}

impl Ours {
    /// For version `number` of client `name`.
    pub(crate) fn of(name: &ClientName, number: u64, public: &PublicUrl) -> Self {
        Self {
            client_id: public.document(name),
            jwks_uri: public.keys(name),
            software_version: number.to_string(),
        }
    }

    /// Adds it to what the registration says.
    pub(crate) fn add(self, members: &mut Map<String, Value>, spiffe_id: &str) {
        let method = members.get("token_endpoint_auth_method");
        let has_keys = method.and_then(Value::as_str) == Some(PRIVATE_KEY_JWT);
        let mut put = |name: &str, value: String| {
            members.insert(name.to_owned(), value.into());
        };
        put("client_id", self.client_id);
        put("software_version", self.software_version);
        put("spiffe_id", spiffe_id.to_owned());
        if has_keys {
            put("jwks_uri", self.jwks_uri);
        }
    }
}

#[cfg(test)]
mod tests;
