//! A credential in the trail: what identifies it, and never its secret.

use super::rfc3339;
use serde::Serialize;
use std::time::SystemTime;

/// Which kind of credential it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum CredentialKind {
    /// An X.509-SVID.
    #[serde(rename = "x509-svid")]
    X509,
    /// A JWT-SVID.
    #[serde(rename = "jwt-svid")]
    Jwt,
    /// A WIT-SVID.
    #[serde(rename = "wit-svid")]
    Wit,
    /// An assertion by which a client authenticates itself (RFC 7523).
    #[serde(rename = "client-assertion")]
    ClientAssertion,
    /// A DPoP proof (RFC 9449).
    #[serde(rename = "dpop-proof")]
    DpopProof,
    /// A workload proof token (draft-ietf-wimse-wpt).
    #[serde(rename = "workload-proof")]
    WorkloadProof,
}

/// A credential, by what identifies it and never by its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Credential {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    audiences: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authority_key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_thumbprint: Option<String>,
    kind: CredentialKind,
    #[serde(serialize_with = "rfc3339")]
    not_after: SystemTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial: Option<String>,
}

impl Credential {
    /// An X.509-SVID: its serial number and the SHA-256 of its public key,
    /// both in lower-case hexadecimal.
    #[must_use]
    pub fn x509_svid(
        serial: impl Into<String>,
        key_thumbprint: impl Into<String>,
        not_after: SystemTime,
    ) -> Self {
        Self {
            serial: Some(serial.into()),
            key_thumbprint: Some(key_thumbprint.into()),
            ..Self::new(CredentialKind::X509, not_after)
        }
    }

    /// A JWT-SVID: its `jti` and audiences.
    #[must_use]
    pub fn jwt_svid(jti: impl Into<String>, audiences: Vec<String>, not_after: SystemTime) -> Self {
        Self {
            jti: Some(jti.into()),
            audiences,
            ..Self::new(CredentialKind::Jwt, not_after)
        }
    }

    /// A JWT-SVID of a foreign trust domain: what of it is known.
    #[must_use]
    pub fn foreign_jwt_svid(
        jti: Option<String>,
        issuer: Option<String>,
        audiences: Vec<String>,
        not_after: SystemTime,
    ) -> Self {
        Self {
            jti,
            issuer,
            audiences,
            ..Self::new(CredentialKind::Jwt, not_after)
        }
    }

    /// A WIT-SVID: its `jti` and the thumbprint of the key in `cnf`.
    #[must_use]
    pub fn wit_svid(
        jti: impl Into<String>,
        key_thumbprint: impl Into<String>,
        not_after: SystemTime,
    ) -> Self {
        Self {
            jti: Some(jti.into()),
            key_thumbprint: Some(key_thumbprint.into()),
            ..Self::new(CredentialKind::Wit, not_after)
        }
    }

    /// A client assertion: its `jti` and its one audience.
    #[must_use]
    pub fn client_assertion(
        jti: impl Into<String>,
        audience: impl Into<String>,
        not_after: SystemTime,
    ) -> Self {
        Self {
            jti: Some(jti.into()),
            audiences: vec![audience.into()],
            ..Self::new(CredentialKind::ClientAssertion, not_after)
        }
    }

    /// A proof of possession: its `jti`, the request's address and the thumbprint of the key.
    #[must_use]
    pub fn proof(
        kind: CredentialKind,
        jti: impl Into<String>,
        (target, key_thumbprint): (&str, &str),
        not_after: SystemTime,
    ) -> Self {
        Self {
            jti: Some(jti.into()),
            audiences: vec![target.to_owned()],
            key_thumbprint: Some(key_thumbprint.to_owned()),
            ..Self::new(kind, not_after)
        }
    }

    /// Names the authority's key that signed it.
    #[must_use]
    pub fn signed_by(mut self, key_id: impl Into<String>) -> Self {
        self.authority_key_id = Some(key_id.into());
        self
    }

    /// An X.509-SVID that is in the trail already, by its serial number.
    #[must_use]
    pub fn known_x509_svid(serial: impl Into<String>, not_after: SystemTime) -> Self {
        Self {
            serial: Some(serial.into()),
            ..Self::new(CredentialKind::X509, not_after)
        }
    }

    /// A WIT-SVID that is in the trail already, by its `jti`.
    #[must_use]
    pub fn known_wit_svid(jti: impl Into<String>, not_after: SystemTime) -> Self {
        Self {
            jti: Some(jti.into()),
            ..Self::new(CredentialKind::Wit, not_after)
        }
    }

    const fn new(kind: CredentialKind, not_after: SystemTime) -> Self {
        Self {
            audiences: Vec::new(),
            authority_key_id: None,
            issuer: None,
            jti: None,
            key_thumbprint: None,
            kind,
            not_after,
            serial: None,
        }
    }
}
