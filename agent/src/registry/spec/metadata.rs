//! What authorization servers are told about a client: the members of its metadata document.
//!
//! Where the agent hosts the document (`governed`), this is what it is made of:
//! `client_id`, keys, SPIFFE ID and version are the agent's to add, never the
//! registration's to say. Where others host it (`external`), this is what was
//! approved of it, with the digest of its bytes.
//!
//! Members that are known are typed; all others are kept as they are, as canonical
//! JSON, and shown. Secrets are refused wherever they stand.

mod draft;

pub use draft::MetadataDraft;

use super::{check_list, limits};
use crate::{
    canonical,
    registry::{
        ClientIdUrl, ClientLabel, Contact, Digest, RedirectOrigin, RedirectUri, Scope, SoftwareId,
        SpecError, Term, TextError, WebUrl,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;

/// The method by which a client proves its identity with a key (RFC 7523).
pub const PRIVATE_KEY_JWT: &str = "private_key_jwt";

/// The one algorithm that the agent's keys are for.
const ES256: &str = "ES256";

/// Members that the agent says itself, of a document that it hosts.
const OURS: [&str; 5] = [
    "client_id",
    "jwks",
    "jwks_uri",
    "software_version",
    "spiffe_id",
];

/// Members that no document has (Client ID Metadata Document, section 4.1).
const SECRETS: [&str; 2] = ["client_secret", "client_secret_expires_at"];

/// Members that are typed here, which nothing else may say again.
const TYPED: [&str; 14] = [
    "application_type",
    "client_name",
    "client_uri",
    "contacts",
    "grant_types",
    "logo_uri",
    "policy_uri",
    "redirect_uris",
    "response_types",
    "scope",
    "software_id",
    "token_endpoint_auth_method",
    "token_endpoint_auth_signing_alg",
    "tos_uri",
];

/// Metadata that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// A text that its type does not admit.
    #[error("{pointer}: {reason}")]
    Text {
        /// Which member, as a JSON pointer.
        pointer: String,
        /// What is wrong with it.
        reason: TextError,
    },
    /// A member that must not be there, that is missing, or that has another value.
    #[error("/{member} {rule}")]
    Member {
        /// Which.
        member: String,
        /// What it breaks.
        rule: &'static str,
    },
    /// More than a document may hold.
    #[error(" has more than {limit} bytes")]
    TooLarge {
        /// How many are allowed.
        limit: usize,
    },
}

macro_rules! words {
    ($(#[$outer:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// The word for it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// What the word stands for; `None` for another.
            #[must_use]
            pub fn of(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words! {
    /// Who serves a client's document.
    Hosting {
        /// The agent makes it, from the version in force.
        Governed = "governed",
        /// Others do; what was approved of it is pinned.
        External = "external",
    }
}

words! {
    /// What is done when a document that others host is no longer what was approved.
    OnDrift {
        /// It is told.
        Alert = "alert",
        /// It is told, and the client suspended.
        Suspend = "suspend",
        /// It is told, and the client revoked.
        Revoke = "revoke",
    }
}

words! {
    /// Where the client runs (OpenID Connect Dynamic Client Registration, section 2).
    ApplicationType {
        /// On a server.
        Web = "web",
        /// On somebody's machine.
        Native = "native",
    }
}

/// The checked metadata of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientMetadata {
    hosting: Hosting,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_id: Option<ClientIdUrl>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_name: Option<ClientLabel>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    redirect_uris: Box<[RedirectUri]>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    grant_types: Box<[Term]>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    response_types: Box<[Term]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<Scope>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    contacts: Box<[Contact]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_uri: Option<WebUrl>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    logo_uri: Option<WebUrl>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy_uri: Option<WebUrl>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tos_uri: Option<WebUrl>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_endpoint_auth_method: Option<Term>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_endpoint_auth_signing_alg: Option<Term>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    software_id: Option<SoftwareId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    application_type: Option<ApplicationType>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    other: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    document_digest: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jwks_digest: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on_drift: Option<OnDrift>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    allowed_redirect_origins: Box<[RedirectOrigin]>,
}

impl ClientMetadata {
    /// Who serves the document.
    #[must_use]
    pub const fn hosting(&self) -> Hosting {
        self.hosting
    }

    /// Whether others host the document.
    #[must_use]
    pub fn is_external(&self) -> bool {
        self.hosting == Hosting::External
    }

    /// The URL of a document that others host; always there for those, and for no others.
    #[must_use]
    pub const fn client_id(&self) -> Option<&ClientIdUrl> {
        self.client_id.as_ref()
    }

    /// The name for people.
    #[must_use]
    pub const fn client_name(&self) -> Option<&ClientLabel> {
        self.client_name.as_ref()
    }

    /// Where people are sent back to, sorted.
    #[must_use]
    pub fn redirect_uris(&self) -> &[RedirectUri] {
        &self.redirect_uris
    }

    /// The grants that it uses, sorted; RFC 7591 has `authorization_code` where there is none.
    #[must_use]
    pub fn grant_types(&self) -> &[Term] {
        &self.grant_types
    }

    /// The response types that it uses, sorted.
    #[must_use]
    pub fn response_types(&self) -> &[Term] {
        &self.response_types
    }

    /// The scope that it may ask for.
    #[must_use]
    pub const fn scope(&self) -> Option<&Scope> {
        self.scope.as_ref()
    }

    /// Whom to write to, sorted.
    #[must_use]
    pub fn contacts(&self) -> &[Contact] {
        &self.contacts
    }

    /// The page about the client.
    #[must_use]
    pub const fn client_uri(&self) -> Option<&WebUrl> {
        self.client_uri.as_ref()
    }

    /// Its picture.
    #[must_use]
    pub const fn logo_uri(&self) -> Option<&WebUrl> {
        self.logo_uri.as_ref()
    }

    /// How it treats people's data.
    #[must_use]
    pub const fn policy_uri(&self) -> Option<&WebUrl> {
        self.policy_uri.as_ref()
    }

    /// Its terms.
    #[must_use]
    pub const fn tos_uri(&self) -> Option<&WebUrl> {
        self.tos_uri.as_ref()
    }

    /// How it authenticates itself; always there where it is governed.
    #[must_use]
    pub const fn token_endpoint_auth_method(&self) -> Option<&Term> {
        self.token_endpoint_auth_method.as_ref()
    }

    /// Whether it authenticates itself with a key.
    #[must_use]
    pub fn uses_private_key_jwt(&self) -> bool {
        let method = self.token_endpoint_auth_method.as_ref();
        method.is_some_and(|method| method.as_str() == PRIVATE_KEY_JWT)
    }

    /// The algorithm of its assertions.
    #[must_use]
    pub const fn token_endpoint_auth_signing_alg(&self) -> Option<&Term> {
        self.token_endpoint_auth_signing_alg.as_ref()
    }

    /// The software, whatever its version.
    #[must_use]
    pub const fn software_id(&self) -> Option<&SoftwareId> {
        self.software_id.as_ref()
    }

    /// Where it runs; OpenID Connect has `web` where nothing is said.
    #[must_use]
    pub const fn application_type(&self) -> Option<ApplicationType> {
        self.application_type
    }

    /// The members that are not known, as they are.
    #[must_use]
    pub const fn other(&self) -> &Map<String, Value> {
        &self.other
    }

    /// SHA-256 of the approved bytes of a document that others host; always there for those.
    #[must_use]
    pub const fn document_digest(&self) -> Option<&Digest> {
        self.document_digest.as_ref()
    }

    /// SHA-256 of the approved bytes of its key set, where that was given.
    #[must_use]
    pub const fn jwks_digest(&self) -> Option<&Digest> {
        self.jwks_digest.as_ref()
    }

    /// What is done when a document that others host has changed; always there for those.
    #[must_use]
    pub const fn on_drift(&self) -> Option<OnDrift> {
        self.on_drift
    }

    /// Origins of redirect URIs that are allowed beside the document's own, sorted.
    #[must_use]
    pub fn allowed_redirect_origins(&self) -> &[RedirectOrigin] {
        &self.allowed_redirect_origins
    }

    /// The members that the registration says, by their names in a metadata document.
    #[must_use]
    pub fn members(&self) -> Map<String, Value> {
        self.draft().members()
    }

    /// The rules that hold for drafts and stored records alike.
    pub(super) fn check(&self) -> Result<(), SpecError> {
        let most = limits::METADATA_ITEMS;
        check_list("redirect URIs", &self.redirect_uris, most)?;
        check_list("grant types", &self.grant_types, most)?;
        check_list("response types", &self.response_types, most)?;
        check_list("contacts", &self.contacts, most)?;
        check_list("allowed origins", &self.allowed_redirect_origins, most)?;
        self.check_hosting()?;
        self.check_method()?;
        self.check_other()?;
        let limit = limits::METADATA_BYTES;
        match canonical::to_vec(&self.members()) {
            Ok(bytes) if bytes.len() <= limit => Ok(()),
            Ok(_) => Err(MetadataError::TooLarge { limit }.into()),
            Err(_) => Err(member("other", "has no canonical form")),
        }
    }

    fn check_hosting(&self) -> Result<(), SpecError> {
        let given = [
            ("client_id", self.client_id.is_some()),
            ("document_digest", self.document_digest.is_some()),
            ("on_drift", self.on_drift.is_some()),
        ];
        for (name, is_given) in given {
            match (self.hosting, is_given) {
                (Hosting::Governed, true) => {
                    return Err(member(name, "is said of documents that others host alone"));
                }
                (Hosting::External, false) => {
                    return Err(member(name, "is missing: others host the document"));
                }
                _ => {}
            }
        }
        if self.hosting == Hosting::Governed && self.jwks_digest.is_some() {
            let rule = "is said of documents that others host alone";
            return Err(member("jwks_digest", rule));
        }
        Ok(())
    }

    fn check_method(&self) -> Result<(), SpecError> {
        let method = self.token_endpoint_auth_method.as_ref();
        let alg = self.token_endpoint_auth_signing_alg.as_ref();
        // Client ID Metadata Document, section 4.1: nothing that rests on a shared secret.
        if method.is_some_and(|method| method.as_str().starts_with("client_secret")) {
            let rule = "must not rest on a secret that client and server share";
            return Err(member("token_endpoint_auth_method", rule));
        }
        let is_symmetric = |alg: &Term| alg.as_str().starts_with("HS") || alg.as_str() == "none";
        if alg.is_some_and(is_symmetric) {
            let rule = "must be an algorithm with a public key";
            return Err(member("token_endpoint_auth_signing_alg", rule));
        }
        if self.hosting == Hosting::External {
            return Ok(());
        }
        match (method.map(Term::as_str), alg.map(Term::as_str)) {
            (Some(PRIVATE_KEY_JWT), Some(ES256)) | (Some("none"), None) => Ok(()),
            (Some(PRIVATE_KEY_JWT), _) => {
                let rule = "is ES256: the agent's keys are for that";
                Err(member("token_endpoint_auth_signing_alg", rule))
            }
            (Some("none"), _) => {
                let rule = "has no place where nothing is signed";
                Err(member("token_endpoint_auth_signing_alg", rule))
            }
            _ => {
                let rule = "is private_key_jwt or none where the agent hosts the document";
                Err(member("token_endpoint_auth_method", rule))
            }
        }
    }

    fn check_other(&self) -> Result<(), SpecError> {
        let ours = OURS.iter().filter(|_| self.hosting == Hosting::Governed);
        let secrets = SECRETS.iter();
        for (names, rule) in [
            (ours.collect::<Vec<_>>(), "is the agent's to say"),
            (secrets.collect(), "must not stand in a document"),
            (TYPED.iter().collect(), "stands twice"),
            (vec![&"client_id"], "stands twice"),
        ] {
            let found = names.into_iter().find(|n| self.other.contains_key(**n));
            if let Some(found) = found {
                return Err(member(found, rule));
            }
        }
        for (name, value) in &self.other {
            check_name(name)
                .and_then(|()| check_value(value, limits::METADATA_DEPTH))
                .map_err(|rule| member(name, rule))?;
        }
        Ok(())
    }
}

impl Hosting {
    /// Whether others host it.
    #[must_use]
    pub const fn is_external(self) -> bool {
        matches!(self, Self::External)
    }
}

fn member(name: &str, rule: &'static str) -> SpecError {
    let member = name.chars().take(80).collect();
    MetadataError::Member { member, rule }.into()
}

/// What is shown to people has no characters that change their screen, and is no secret.
fn check_value(value: &Value, depth: usize) -> Result<(), &'static str> {
    let Some(below) = depth.checked_sub(1) else {
        return Err("has too many levels");
    };
    match value {
        Value::Null => Err("must not be null"),
        Value::String(text) => plain(text),
        Value::Array(items) => items.iter().try_for_each(|item| check_value(item, below)),
        Value::Object(map) => map.iter().try_for_each(|(name, value)| {
            check_name(name)?;
            // RFC 7517 and 7518: what of a key must never leave its owner.
            if is_private(map, name) {
                return Err("has a private or symmetric key");
            }
            check_value(value, below)
        }),
        // RFC 7493, section 2.2: what every reader has as the same number.
        Value::Number(number) => match number.as_i64() {
            Some(whole) if whole.unsigned_abs() < 1 << 53 => Ok(()),
            _ => Err("has a number that is not whole, or not below 2^53"),
        },
        Value::Bool(_) => Ok(()),
    }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    if name.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(())
    } else {
        Err("has a name with other than printable ASCII")
    }
}

fn is_private(map: &Map<String, Value>, name: &str) -> bool {
    map.contains_key("kty") && ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].contains(&name)
}

fn plain(text: &str) -> Result<(), &'static str> {
    if crate::registry::names::is_printable(text) {
        Ok(())
    } else {
        Err("must not have control or direction characters")
    }
}

#[cfg(test)]
mod tests;
