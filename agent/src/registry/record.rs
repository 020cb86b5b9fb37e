//! The documents in the store, as canonical JSON.
//!
//! A document says what was decided, by whom, when and why, and links to the
//! one before it of its kind and client. Unknown kinds and unknown fields are
//! refused: an older agent must not serve a registration whose conditions it
//! does not understand.

use super::{
    Actor, ClientName, Digest, Reason, SpecError, Standing, limits, spec::Fields, store::Record,
    wire,
};
use crate::canonical::{self, CanonicalError};
use serde::{Deserialize, Serialize};
use std::time::SystemTime;

/// A record that cannot be believed, or not be written.
#[derive(Debug, thiserror::Error)]
#[error("record {revision} of the registry: {fault}")]
pub struct RecordError {
    /// Its place in the log.
    pub revision: u64,
    /// What is wrong with it.
    #[source]
    pub fault: RecordFault,
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
    /// It gives a client the SPIFFE ID of another.
    #[error("its SPIFFE ID belongs to client {0}")]
    ForeignId(ClientName),
}

/// What a record says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Document {
    /// A new version of a client, in force from its revision on.
    Version(VersionDocument),
    /// A new standing of a client, from its revision on.
    State(StateDocument),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VersionDocument {
    pub(super) client: ClientName,
    pub(super) number: u64,
    pub(super) previous: Option<Digest>,
    pub(super) author: Actor,
    #[serde(with = "wire::time")]
    pub(super) at: SystemTime,
    pub(super) reason: Reason,
    pub(super) spec: Fields,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StateDocument {
    pub(super) client: ClientName,
    pub(super) number: u64,
    pub(super) previous: Option<Digest>,
    pub(super) author: Actor,
    #[serde(with = "wire::time")]
    pub(super) at: SystemTime,
    pub(super) reason: Reason,
    pub(super) to: Standing,
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
