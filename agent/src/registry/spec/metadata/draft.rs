//! From outside input to checked metadata, and back.

use super::{
    ApplicationType, ClientMetadata, ES256, Hosting, MetadataError, OnDrift, PRIVATE_KEY_JWT,
    member,
};
use crate::{
    registry::{SpecError, TextError, limits},
    svid::json,
};
use serde_json::{Map, Value};
use std::str::FromStr;

/// What an operator asks for, not yet checked; empty stands for not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataDraft {
    /// `governed` or `external`; empty: `governed`.
    pub hosting: String,
    /// The URL of a document that others host.
    pub client_id: String,
    /// The name for people.
    pub client_name: String,
    /// Where people are sent back to.
    pub redirect_uris: Vec<String>,
    /// The grants that it uses.
    pub grant_types: Vec<String>,
    /// The response types that it uses.
    pub response_types: Vec<String>,
    /// The scope that it may ask for.
    pub scope: String,
    /// Whom to write to.
    pub contacts: Vec<String>,
    /// The page about the client.
    pub client_uri: String,
    /// Its picture.
    pub logo_uri: String,
    /// How it treats people's data.
    pub policy_uri: String,
    /// Its terms.
    pub tos_uri: String,
    /// How it authenticates itself; empty: with a key, where it is governed.
    pub token_endpoint_auth_method: String,
    /// The algorithm of its assertions; empty: `ES256`, where it is governed and has keys.
    pub token_endpoint_auth_signing_alg: String,
    /// The software, whatever its version.
    pub software_id: String,
    /// `web` or `native`.
    pub application_type: String,
    /// The members that are not known, as one JSON object.
    pub other: String,
    /// SHA-256 of the approved bytes of a document that others host.
    pub document_digest: String,
    /// SHA-256 of the approved bytes of its key set.
    pub jwks_digest: String,
    /// `alert`, `suspend` or `revoke`; empty: `suspend`, where others host it.
    pub on_drift: String,
    /// Origins of redirect URIs that are allowed beside the document's own.
    pub allowed_redirect_origins: Vec<String>,
}

impl MetadataDraft {
    /// Checks each member; how they go together is checked with the whole.
    pub(in crate::registry::spec) fn check(&self) -> Result<ClientMetadata, SpecError> {
        let hosting = match self.hosting.as_str() {
            "" => Hosting::Governed,
            word => {
                Hosting::of(word).ok_or_else(|| member("hosting", "is governed or external"))?
            }
        };
        let (method, alg) = self.authentication();
        Ok(ClientMetadata {
            hosting,
            client_id: text("/client_id", &self.client_id)?,
            client_name: text("/client_name", &self.client_name)?,
            redirect_uris: texts("/redirect_uris", &self.redirect_uris)?,
            grant_types: texts("/grant_types", &self.grant_types)?,
            response_types: texts("/response_types", &self.response_types)?,
            scope: text("/scope", &self.scope)?,
            contacts: texts("/contacts", &self.contacts)?,
            client_uri: text("/client_uri", &self.client_uri)?,
            logo_uri: text("/logo_uri", &self.logo_uri)?,
            policy_uri: text("/policy_uri", &self.policy_uri)?,
            tos_uri: text("/tos_uri", &self.tos_uri)?,
            token_endpoint_auth_method: text("/token_endpoint_auth_method", &method)?,
            token_endpoint_auth_signing_alg: text("/token_endpoint_auth_signing_alg", &alg)?,
            software_id: text("/software_id", &self.software_id)?,
            application_type: optional(&self.application_type, |word| {
                ApplicationType::of(word)
                    .ok_or_else(|| member("application_type", "is web or native"))
            })?,
            other: self.other()?,
            document_digest: digest("document_digest", &self.document_digest)?,
            jwks_digest: digest("jwks_digest", &self.jwks_digest)?,
            on_drift: self.on_drift(hosting)?,
            allowed_redirect_origins: texts(
                "/allowed_redirect_origins",
                &self.allowed_redirect_origins,
            )?,
        })
    }

    /// Whether it comes to `metadata`.
    #[must_use]
    pub fn says(&self, metadata: &ClientMetadata) -> bool {
        self.check().is_ok_and(|own| own == *metadata)
    }

    /// What it says, by the names of a metadata document; whatever is wrong with it.
    #[must_use]
    pub fn members(&self) -> Map<String, Value> {
        let mut members = json::object(self.other.as_bytes()).unwrap_or_default();
        // MCP demands the member, also of clients that have no use for it.
        let uris = self.redirect_uris.clone();
        members.insert("redirect_uris".to_owned(), uris.into());
        let lists = [
            ("contacts", &self.contacts),
            ("grant_types", &self.grant_types),
            ("response_types", &self.response_types),
        ];
        for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            members.insert(name.to_owned(), list.clone().into());
        }
        let (method, alg) = self.authentication();
        let texts = [
            ("application_type", &self.application_type),
            ("client_name", &self.client_name),
            ("client_uri", &self.client_uri),
            ("logo_uri", &self.logo_uri),
            ("policy_uri", &self.policy_uri),
            ("scope", &self.scope),
            ("software_id", &self.software_id),
            ("token_endpoint_auth_method", &method),
            ("token_endpoint_auth_signing_alg", &alg),
            ("tos_uri", &self.tos_uri),
        ];
        for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            members.insert(name.to_owned(), text.as_str().into());
        }
        members
    }

    /// Method and algorithm. RFC 7591 has a method with a secret where none is said: a document of
    /// ours says one.
    fn authentication(&self) -> (String, String) {
        let governed = self.hosting != Hosting::External.as_str();
        let given = |text: &String, usual: &str, is_usual: bool| match text.as_str() {
            "" if is_usual => usual.to_owned(),
            text => text.to_owned(),
        };
        let method = given(&self.token_endpoint_auth_method, PRIVATE_KEY_JWT, governed);
        let has_key = governed && method == PRIVATE_KEY_JWT;
        let alg = given(&self.token_endpoint_auth_signing_alg, ES256, has_key);
        (method, alg)
    }

    fn on_drift(&self, hosting: Hosting) -> Result<Option<OnDrift>, SpecError> {
        let given = optional(&self.on_drift, |word| {
            OnDrift::of(word).ok_or_else(|| member("on_drift", "is alert, suspend or revoke"))
        })?;
        let usual = hosting.is_external().then_some(OnDrift::Suspend);
        Ok(given.or(usual))
    }

    fn other(&self) -> Result<Map<String, Value>, SpecError> {
        if self.other.is_empty() {
            return Ok(Map::new());
        }
        if self.other.len() > 2 * limits::METADATA_BYTES {
            let limit = limits::METADATA_BYTES;
            return Err(MetadataError::TooLarge { limit }.into());
        }
        json::object(self.other.as_bytes())
            .map_err(|_error| member("other", "is one JSON object, in which no name stands twice"))
    }
}

impl ClientMetadata {
    /// The draft that comes to the same.
    #[must_use]
    pub fn draft(&self) -> MetadataDraft {
        let other = match self.other.is_empty() {
            true => String::new(),
            false => Value::Object(self.other.clone()).to_string(),
        };
        MetadataDraft {
            hosting: self.hosting.to_string(),
            client_id: shown(self.client_id.as_ref()),
            client_name: shown(self.client_name.as_ref()),
            redirect_uris: list(&self.redirect_uris),
            grant_types: list(&self.grant_types),
            response_types: list(&self.response_types),
            scope: shown(self.scope.as_ref()),
            contacts: list(&self.contacts),
            client_uri: shown(self.client_uri.as_ref()),
            logo_uri: shown(self.logo_uri.as_ref()),
            policy_uri: shown(self.policy_uri.as_ref()),
            tos_uri: shown(self.tos_uri.as_ref()),
            token_endpoint_auth_method: shown(self.token_endpoint_auth_method.as_ref()),
            token_endpoint_auth_signing_alg: shown(self.token_endpoint_auth_signing_alg.as_ref()),
            software_id: shown(self.software_id.as_ref()),
            application_type: shown(self.application_type.as_ref()),
            other,
            document_digest: shown(self.document_digest.as_ref()),
            jwks_digest: shown(self.jwks_digest.as_ref()),
            on_drift: shown(self.on_drift.as_ref()),
            allowed_redirect_origins: list(&self.allowed_redirect_origins),
        }
    }
}

fn shown(item: Option<&impl ToString>) -> String {
    item.map(ToString::to_string).unwrap_or_default()
}

fn list<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

fn optional<T>(
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, SpecError>,
) -> Result<Option<T>, SpecError> {
    if text.is_empty() {
        Ok(None)
    } else {
        parse(text).map(Some)
    }
}

fn text<T: FromStr<Err = TextError>>(pointer: &str, text: &str) -> Result<Option<T>, SpecError> {
    optional(text, |text| parse(|| pointer.to_owned(), text))
}

/// A list, sorted, without repetitions. Errors point to where it stood.
fn texts<T: FromStr<Err = TextError> + Ord>(
    pointer: &'static str,
    texts: &[String],
) -> Result<Box<[T]>, SpecError> {
    super::super::at_most(what(pointer), texts.len(), limits::METADATA_ITEMS)?;
    let place = |number: usize| format!("{pointer}/{number}");
    let mut all = texts
        .iter()
        .enumerate()
        .map(|(number, text)| parse(|| place(number), text))
        .collect::<Result<Vec<T>, _>>()?;
    all.sort_unstable();
    all.dedup();
    Ok(all.into())
}

fn what(pointer: &'static str) -> &'static str {
    pointer.strip_prefix('/').unwrap_or(pointer)
}

fn parse<T: FromStr<Err = TextError>>(
    pointer: impl FnOnce() -> String,
    text: &str,
) -> Result<T, SpecError> {
    text.parse().map_err(|reason| {
        let pointer = pointer();
        MetadataError::Text { pointer, reason }.into()
    })
}

fn digest(name: &str, text: &str) -> Result<Option<crate::registry::Digest>, SpecError> {
    let rule = "is a SHA-256 in 64 digits of lower-case hexadecimal";
    optional(text, |text| {
        text.parse().map_err(|_error| member(name, rule))
    })
}
