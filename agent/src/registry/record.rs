//! The documents in the store, as canonical JSON.
//!
//! A document says what was decided, by whom, when and why, and links to the
//! one before it of its kind and client. A version and a resumption say how many
//! approvals they need; documents without the field are from before there were
//! any, and were in force at once. A decision names the digest of what it is
//! about. Unknown kinds and unknown fields are
//! refused: an older agent must not serve a registration whose conditions it
//! does not understand.

use super::{
    Actor, ClientName, Digest, EndpointDraft, Reason, RelationshipFault, SpecError, Standing,
    governance::{Bar, Subject, Verdict},
    limits,
    spec::Fields,
    store::Record,
    wire,
};
use crate::canonical::{self, CanonicalError};
use serde::{Deserialize, Serialize};
use spiffe::TrustDomain;
use std::time::SystemTime;

/// A record that cannot be believed, or not be written.
#[derive(Debug, thiserror::Error)]
#[error("record {revision} of the registry{}: {fault}", of(.client.as_ref()))]
pub struct RecordError {
    /// Its place in the log.
    pub revision: u64,
    /// Whose it is, as far as it says.
    pub client: Option<String>,
    /// What is wrong with it.
    #[source]
    pub fault: RecordFault,
}

impl RecordError {
    pub(super) fn new(revision: u64, fault: RecordFault, document: &[u8]) -> Self {
        Self {
            revision,
            client: client_of(document),
            fault,
        }
    }

    /// What an operator can do about it.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        "`symbolon registry verify` tells of all such records. Start the version of symbolon that \
         wrote them, or keep the file and put a backup in its place: `symbolon restore FILE`."
    }
}

fn of(client: Option<&String>) -> String {
    client.map_or_else(String::new, |client| format!(", of client {client:?}"))
}

/// Whose a document is, as far as it says: of one that is damaged, or of a kind that is not known.
pub(super) fn client_of(document: &[u8]) -> Option<String> {
    if document.len() > limits::RECORD_BYTES {
        return None;
    }
    let value: serde_json::Value = serde_json::from_slice(document).ok()?;
    let body = value.as_object()?.values().next()?;
    let name: ClientName = body.get("client")?.as_str()?.parse().ok()?;
    Some(name.to_string())
}

/// What is wrong with a record.
#[derive(Debug, thiserror::Error)]
pub enum RecordFault {
    /// It is not what was written.
    #[error("its content does not have its digest")]
    Digest,
    /// It is not a document that this agent knows.
    #[error("it cannot be read, or was written by a newer agent: {0}")]
    Unreadable(#[source] serde_json::Error),
    /// It does not follow the last record of the log.
    #[error("it does not follow revision {0}")]
    Gap(u64),
    /// It does not follow the last record of its client.
    #[error("it does not follow the last record of client {0}")]
    Chain(ClientName),
    /// It does to a client what its state does not allow, or without the reason that it needs.
    #[error("it is not allowed by the state of client {0}")]
    Standing(ClientName),
    /// It breaks a rule of registrations.
    #[error("{0}")]
    Spec(#[from] SpecError),
    /// It decides about what does not await approval.
    #[error("it is about nothing that awaits approval of client {0}")]
    NotPending(ClientName),
    /// It is a decision of somebody who may not decide so.
    #[error("it does not count for client {0}: {1}")]
    Barred(ClientName, Bar),
    /// It gives a client the SPIFFE ID of another.
    #[error("its SPIFFE ID belongs to client {0}")]
    ForeignId(ClientName),
    /// It does to a federation relationship what is not allowed.
    #[error("the federation with {0}: {1}")]
    Relationship(TrustDomain, RelationshipFault),
}

/// What a record says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Document {
    /// A new version of a client, in force from its revision on if it needs no approval.
    Version(VersionDocument),
    /// A new standing of a client, from its revision on if it needs no approval.
    State(StateDocument),
    /// Somebody's word about what awaits approval.
    Decision(DecisionDocument),
    /// Where the bundle of a foreign trust domain comes from, or that it is foreign again.
    Relationship(RelationshipDocument),
    /// Somebody's word about that.
    RelationshipDecision(RelationshipDecisionDocument),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VersionDocument {
    pub(super) client: ClientName,
    pub(super) number: u64,
    pub(super) previous: Option<Digest>,
    pub(super) author: Actor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) login: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) uid: Option<u32>,
    #[serde(with = "wire::time")]
    pub(super) at: SystemTime,
    pub(super) reason: Reason,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) approvals_required: u32,
    pub(super) spec: Fields,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StateDocument {
    pub(super) client: ClientName,
    pub(super) number: u64,
    pub(super) previous: Option<Digest>,
    pub(super) author: Actor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) login: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) uid: Option<u32>,
    #[serde(with = "wire::time")]
    pub(super) at: SystemTime,
    pub(super) reason: Reason,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) approvals_required: u32,
    pub(super) to: Standing,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DecisionDocument {
    pub(super) client: ClientName,
    pub(super) number: u64,
    pub(super) previous: Option<Digest>,
    pub(super) about: Subject,
    /// Of the record that it is about.
    pub(super) digest: Digest,
    pub(super) verdict: Verdict,
    pub(super) author: Actor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) login: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) uid: Option<u32>,
    #[serde(with = "wire::time")]
    pub(super) at: SystemTime,
    pub(super) reason: Reason,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RelationshipDocument {
    #[serde(with = "wire::trust_domain")]
    pub(super) trust_domain: TrustDomain,
    /// Of all records of the trust domain.
    pub(super) number: u64,
    pub(super) previous: Option<Digest>,
    pub(super) author: Actor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) login: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) uid: Option<u32>,
    #[serde(with = "wire::time")]
    pub(super) at: SystemTime,
    pub(super) reason: Reason,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) approvals_required: u32,
    /// Whose relationship it is: the agent's own trust domain.
    #[serde(with = "wire::trust_domain")]
    pub(super) own: TrustDomain,
    /// None: the relationship is removed.
    pub(super) endpoint: Option<EndpointDraft>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RelationshipDecisionDocument {
    #[serde(with = "wire::trust_domain")]
    pub(super) trust_domain: TrustDomain,
    pub(super) number: u64,
    pub(super) previous: Option<Digest>,
    /// Of the record that it is about.
    pub(super) digest: Digest,
    pub(super) verdict: Verdict,
    pub(super) author: Actor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) login: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) uid: Option<u32>,
    #[serde(with = "wire::time")]
    pub(super) at: SystemTime,
    pub(super) reason: Reason,
}

impl RelationshipDocument {
    /// Who made it, with the login and the user.
    pub(super) fn author(&self) -> Actor {
        let author = self.author.clone().with_login(self.login);
        author.with_uid(self.uid)
    }
}

impl RelationshipDecisionDocument {
    /// Whose word it is, with the login and the user.
    pub(super) fn author(&self) -> Actor {
        let author = self.author.clone().with_login(self.login);
        author.with_uid(self.uid)
    }
}

impl VersionDocument {
    /// Who made it, with the login and the user.
    pub(super) fn author(&self) -> Actor {
        let author = self.author.clone().with_login(self.login);
        author.with_uid(self.uid)
    }
}

impl StateDocument {
    /// Who made it, with the login and the user.
    pub(super) fn author(&self) -> Actor {
        let author = self.author.clone().with_login(self.login);
        author.with_uid(self.uid)
    }
}

impl DecisionDocument {
    /// Whose word it is, with the login and the user.
    pub(super) fn author(&self) -> Actor {
        let author = self.author.clone().with_login(self.login);
        author.with_uid(self.uid)
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes fields by reference"
)]
const fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// Whose a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose<'a> {
    /// A client's.
    Client(&'a ClientName),
    /// About the federation with a trust domain.
    TrustDomain(&'a TrustDomain),
}

impl Document {
    /// The record that carries this document as `revision`.
    pub(super) fn seal(&self, revision: u64) -> Result<Record, SealError> {
        let document = canonical::to_vec(self)?;
        check_length(&document)?;
        Ok(Record {
            revision,
            digest: Digest::of(&document),
            document: document.into(),
        })
    }

    /// Whose it is.
    pub(super) const fn whose(&self) -> Whose<'_> {
        match self {
            Self::Version(document) => Whose::Client(&document.client),
            Self::State(document) => Whose::Client(&document.client),
            Self::Decision(document) => Whose::Client(&document.client),
            Self::Relationship(document) => Whose::TrustDomain(&document.trust_domain),
            Self::RelationshipDecision(document) => Whose::TrustDomain(&document.trust_domain),
        }
    }

    /// The document that `record` carries.
    pub(super) fn open(record: &Record) -> Result<Self, RecordFault> {
        check_length(&record.document)?;
        if Digest::of(&record.document) != record.digest {
            return Err(RecordFault::Digest);
        }
        serde_json::from_slice(&record.document).map_err(RecordFault::Unreadable)
    }
}

fn check_length(document: &[u8]) -> Result<(), SpecError> {
    if document.len() > limits::RECORD_BYTES {
        return Err(SpecError::TooLarge {
            limit: limits::RECORD_BYTES,
        });
    }
    Ok(())
}

/// Why a document has no record.
#[derive(Debug, thiserror::Error)]
pub(super) enum SealError {
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    #[error(transparent)]
    Spec(#[from] SpecError),
}
