//! A client's metadata on the command line: the flags, the file, and how it is shown.

use crate::{
    canonical,
    cli::{
        failure::{Exit, Failure},
        output::{Fields, some},
    },
    registry::limits::METADATA_BYTES,
    svid::json,
};
use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};
use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};
use symbolon_proto::admin::{ClientMetadata, ClientSpec};

/// Bytes of a file that is read: several times what is taken, so that the agent says what is wrong.
const FILE_BYTES: usize = 16 * METADATA_BYTES;

const EXTERNAL: &str = "external";

/// What authorization servers are told, as flags.
#[derive(Args, Debug, Default)]
pub(super) struct MetadataArgs {
    /// What authorization servers are told: a JSON file in the form of a client ID metadata document
    #[arg(long, value_name = "FILE")]
    metadata: Option<PathBuf>,
    /// Who hosts the document: governed (the agent makes it) or external (others do, and FILE is what they serve)
    #[arg(long, value_name = "WHO", value_parser = ["governed", EXTERNAL])]
    hosting: Option<String>,
    /// The key set of a document that others host, as they serve it: its content is pinned
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// What is done when a document that others host has changed
    #[arg(long, value_name = "ACTION", value_parser = ["alert", "suspend", "revoke"])]
    on_drift: Option<String>,
    /// An origin of redirect URIs that is allowed beside the document's own, repeated for more
    #[arg(long = "allow-redirect-origin", value_name = "ORIGIN")]
    allowed_redirect_origins: Vec<String>,
    /// The issuer of an authorization server that it may ask for tokens, repeated for more
    #[arg(long = "authorization-server", value_name = "ISSUER")]
    authorization_servers: Vec<String>,
    /// Another trust domain whose bundle it gets, repeated for more
    #[arg(long = "federates-with", value_name = "TD")]
    federates_with: Vec<String>,
}

impl MetadataArgs {
    /// Puts what was given in the place of what is in `spec`.
    pub(super) fn apply(self, spec: &mut ClientSpec) -> Result<(), Failure> {
        if !self.authorization_servers.is_empty() {
            spec.authorization_servers = self.authorization_servers;
        }
        if !self.federates_with.is_empty() {
            spec.federates_with = self.federates_with;
        }
        let is_about_metadata = self.metadata.is_some()
            || self.hosting.is_some()
            || self.jwks.is_some()
            || self.on_drift.is_some()
            || !self.allowed_redirect_origins.is_empty();
        if !is_about_metadata {
            return Ok(());
        }
        let mut metadata = spec.metadata.take().unwrap_or_default();
        if let Some(hosting) = self.hosting {
            metadata.hosting = hosting;
        }
        if let Some(file) = self.metadata {
            metadata = of_file(&file, &metadata)?;
        }
        if let Some(file) = self.jwks {
            metadata.jwks_digest = canonical::sha256_hex(&read(&file)?);
        }
        if let Some(on_drift) = self.on_drift {
            metadata.on_drift = on_drift;
        }
        if !self.allowed_redirect_origins.is_empty() {
            metadata.allowed_redirect_origins = self.allowed_redirect_origins;
        }
        spec.metadata = Some(metadata);
        Ok(())
    }
}

/// At most as much as the agent could say something about.
pub(super) fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: io::Error| {
        let failure = format!("{}: {error}", file.display());
        Failure::new(Exit::Failed, failure)
    };
    let most = u64::try_from(FILE_BYTES).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    let opened = fs::File::open(file).map_err(failed)?;
    opened
        .take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() > FILE_BYTES {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(bytes)
}

/// The content of a document, with what stays of what was there: who hosts it and what is allowed.
fn of_file(file: &Path, old: &ClientMetadata) -> Result<ClientMetadata, Failure> {
    let bytes = read(file)?;
    let wrong = |what: String| Failure::new(Exit::Usage, format!("{}: {what}", file.display()));
    let mut members = json::object(&bytes).map_err(|error| wrong(error.to_string()))?;
    let mut document = Members {
        members: &mut members,
        odd: None,
    };
    let is_external = old.hosting == EXTERNAL;
    let mut metadata = ClientMetadata {
        hosting: old.hosting.clone(),
        client_name: document.text("client_name"),
        redirect_uris: document.list("redirect_uris"),
        grant_types: document.list("grant_types"),
        response_types: document.list("response_types"),
        scope: document.text("scope"),
        contacts: document.list("contacts"),
        client_uri: document.text("client_uri"),
        logo_uri: document.text("logo_uri"),
        policy_uri: document.text("policy_uri"),
        tos_uri: document.text("tos_uri"),
        token_endpoint_auth_method: document.text("token_endpoint_auth_method"),
        token_endpoint_auth_signing_alg: document.text("token_endpoint_auth_signing_alg"),
        software_id: document.text("software_id"),
        application_type: document.text("application_type"),
        on_drift: old.on_drift.clone(),
        allowed_redirect_origins: old.allowed_redirect_origins.clone(),
        ..ClientMetadata::default()
    };
    if is_external {
        metadata.client_id = document.text("client_id");
        metadata.document_digest = canonical::sha256_hex(&bytes);
        metadata.jwks_digest.clone_from(&old.jwks_digest);
    }
    if let Some(name) = document.odd {
        return Err(
            wrong(format!("/{name} is of another type than RFC 7591 has"))
                .advise("`symbolon client lint --document FILE` tells all that is wrong with it."),
        );
    }
    if !members.is_empty() {
        metadata.other = Value::Object(members).to_string();
    }
    Ok(metadata)
}

/// Takes members out of a document.
struct Members<'a> {
    members: &'a mut Map<String, Value>,
    /// One of another type than it has to be.
    odd: Option<&'static str>,
}

impl Members<'_> {
    fn text(&mut self, name: &'static str) -> String {
        match self.members.remove(name) {
            None => String::new(),
            Some(Value::String(text)) => text,
            Some(_) => {
                self.odd = Some(name);
                String::new()
            }
        }
    }

    fn list(&mut self, name: &'static str) -> Vec<String> {
        let Some(value) = self.members.remove(name) else {
            return Vec::new();
        };
        serde_json::from_value(value).unwrap_or_else(|_other_type| {
            self.odd = Some(name);
            Vec::new()
        })
    }
}

/// The metadata of a version; `agent/doc/cli.md` documents the fields.
#[derive(Clone, Debug, Serialize)]
pub(super) struct MetadataView {
    hosting: String,
    client_id: Option<String>,
    client_name: Option<String>,
    redirect_uris: Vec<String>,
    grant_types: Vec<String>,
    response_types: Vec<String>,
    scope: Option<String>,
    contacts: Vec<String>,
    client_uri: Option<String>,
    logo_uri: Option<String>,
    policy_uri: Option<String>,
    tos_uri: Option<String>,
    token_endpoint_auth_method: Option<String>,
    token_endpoint_auth_signing_alg: Option<String>,
    software_id: Option<String>,
    application_type: Option<String>,
    other: Map<String, Value>,
    document_digest: Option<String>,
    jwks_digest: Option<String>,
    on_drift: Option<String>,
    allowed_redirect_origins: Vec<String>,
}

impl From<ClientMetadata> for MetadataView {
    fn from(metadata: ClientMetadata) -> Self {
        Self {
            hosting: some(metadata.hosting).unwrap_or_else(|| "governed".to_owned()),
            client_id: some(metadata.client_id),
            client_name: some(metadata.client_name),
            redirect_uris: metadata.redirect_uris,
            grant_types: metadata.grant_types,
            response_types: metadata.response_types,
            scope: some(metadata.scope),
            contacts: metadata.contacts,
            client_uri: some(metadata.client_uri),
            logo_uri: some(metadata.logo_uri),
            policy_uri: some(metadata.policy_uri),
            tos_uri: some(metadata.tos_uri),
            token_endpoint_auth_method: some(metadata.token_endpoint_auth_method),
            token_endpoint_auth_signing_alg: some(metadata.token_endpoint_auth_signing_alg),
            software_id: some(metadata.software_id),
            application_type: some(metadata.application_type),
            other: json::object(metadata.other.as_bytes()).unwrap_or_default(),
            document_digest: some(metadata.document_digest),
            jwks_digest: some(metadata.jwks_digest),
            on_drift: some(metadata.on_drift),
            allowed_redirect_origins: metadata.allowed_redirect_origins,
        }
    }
}

impl MetadataView {
    /// The lines about it.
    pub(super) fn add_to(&self, fields: &mut Fields) {
        let name = self.client_name.as_deref().unwrap_or_default();
        fields.add("Client name", name);
        fields.add("Document", self.hosting_line());
        fields.list("Redirects", &self.redirect_uris);
        fields.list("  allowed", &self.allowed_redirect_origins);
        fields.add("Grants", self.grant_types.join(", "));
        fields.add("Scope", self.scope.as_deref().unwrap_or_default());
        let method = self.token_endpoint_auth_method.as_deref();
        let alg = self.token_endpoint_auth_signing_alg.as_deref();
        let words: Vec<_> = [method, alg].into_iter().flatten().collect();
        fields.add("Authenticates", words.join(", "));
        fields.list("Contacts", &self.contacts);
        let other = self.other.iter();
        let other: Vec<_> = other
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        fields.list("Also says", &other);
    }

    fn hosting_line(&self) -> String {
        match (self.hosting.as_str(), &self.document_digest) {
            (EXTERNAL, Some(digest)) => {
                let then = self.on_drift.as_deref().unwrap_or("suspend");
                format!("hosted by others, approved as {digest}; when it changes: {then}")
            }
            (EXTERNAL, None) => "hosted by others".to_owned(),
            _ => "made by the agent".to_owned(),
        }
    }
}
