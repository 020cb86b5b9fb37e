//! Between the admin messages and drafts; member by member the same.

use crate::registry::MetadataDraft;
use symbolon_proto::admin::ClientMetadata;

/// The message that says what a draft does.
#[must_use]
pub fn message(draft: MetadataDraft) -> ClientMetadata {
    ClientMetadata {
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
        other: draft.other,
        document_digest: draft.document_digest,
        jwks_digest: draft.jwks_digest,
        on_drift: draft.on_drift,
        allowed_redirect_origins: draft.allowed_redirect_origins,
    }
}

/// The draft that a message asks for.
#[must_use]
pub fn draft(message: ClientMetadata) -> MetadataDraft {
    MetadataDraft {
        hosting: message.hosting,
        client_id: message.client_id,
        client_name: message.client_name,
        redirect_uris: message.redirect_uris,
        grant_types: message.grant_types,
        response_types: message.response_types,
        scope: message.scope,
        contacts: message.contacts,
        client_uri: message.client_uri,
        logo_uri: message.logo_uri,
        policy_uri: message.policy_uri,
        tos_uri: message.tos_uri,
        token_endpoint_auth_method: message.token_endpoint_auth_method,
        token_endpoint_auth_signing_alg: message.token_endpoint_auth_signing_alg,
        software_id: message.software_id,
        application_type: message.application_type,
        other: message.other,
        document_digest: message.document_digest,
        jwks_digest: message.jwks_digest,
        on_drift: message.on_drift,
        allowed_redirect_origins: message.allowed_redirect_origins,
    }
}
