//! What can happen, and its line in the trail.
//!
//! The fields of each structure stand in the order of their names, because
//! that is the order of canonical JSON (RFC 8785, section 3.2.3): the line is
//! written straight from them, and a test holds it against
//! [`crate::canonical`]. Names are stable: fields are added, never renamed.

mod credential;

pub use credential::{Credential, CredentialKind};

use super::{
    AuditError,
    chain::{Chain, Digest, Head},
};
use crate::canonical::{self, CanonicalError};
use serde::{Serialize, Serializer, ser::Error as _};
use serde_json::value::RawValue;
use std::time::{SystemTime, UNIX_EPOCH};
use time::{
    OffsetDateTime,
    format_description::StaticFormatDescription,
    macros::{datetime, format_description},
};

/// RFC 3339 in UTC with milliseconds.
const TIME_FORMAT: StaticFormatDescription =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

const LAST_TIME: OffsetDateTime = datetime!(9999-12-31 23:59:59.999 UTC);

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The agent began to serve.
    Started,
    /// The agent stopped in an orderly way.
    Stopped,
    /// A workload was attested.
    Attested,
    /// A credential was issued.
    Issued,
    /// A credential was replaced before its expiry.
    Renewed,
    /// A credential that was issued before was given on other evidence.
    Delivered,
    /// A workload was refused.
    Denied,
    /// A workload lost an identity that it had.
    Withdrawn,
    /// A client was registered.
    Registered,
    /// A version of a client was replaced.
    Updated,
    /// A client was suspended.
    Suspended,
    /// A suspension was lifted.
    Resumed,
    /// A client was revoked for ever.
    Revoked,
    /// A version or a resumption awaits approval.
    Proposed,
    /// An operator approved what awaits approval.
    Approved,
    /// An operator rejected what awaited approval.
    Rejected,
    /// Its author took back what awaited approval.
    WithdrawnVersion,
    /// Something else came, and what awaited approval is void.
    Superseded,
    /// A credential was shown to the agent for validation.
    Validated,
    /// An authority's key moved to another slot.
    Rotated,
    /// An operator's request was refused.
    Refused,
    /// The trail itself was repaired, or works again after it did not.
    Repaired,
    /// Old segments of the trail were removed.
    Expunged,
    /// An operator reads the trail, or has read it.
    Read,
    /// The registry left the agent in a backup.
    BackedUp,
    /// The registry was restored from a backup, before the agent started.
    Restored,
    /// The federation with a foreign trust domain was proposed, decided about, put in force or ended.
    Federation,
    /// The bundle of a foreign trust domain was taken, refused, or could not be had.
    ForeignBundle,
    /// A public document was published or taken down, or a certificate is shown to the public.
    Published,
    /// A document that others host is not what was approved, or is so again.
    Drifted,
    /// Events of the same kind that were counted and not recorded one by one.
    Summarized,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was passed.
    Accepted,
    /// It was not passed.
    Refused,
    /// It could not be made.
    Failed,
}

/// One event, built from its [`Kind`] and what is known about it.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted_weaknesses: Option<AcceptedWeaknesses>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approvals: Option<Box<Approvals>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attestation_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authority: Option<Authority>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chain: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<Credential>,
    event: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    login: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operator: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    prev: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<Process>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    spiffe_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<Summary>,
    #[serde(serialize_with = "rfc3339")]
    time: SystemTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    trust_domain: Option<String>,
}

/// Serious weaknesses of a registration that an operator accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AcceptedWeaknesses {
    /// Which, sorted.
    pub findings: Vec<String>,
    /// Why.
    pub reason: String,
}

/// How far what needs approval has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Approvals {
    /// Who has approved it.
    pub by: Vec<String>,
    /// SHA-256 of it, in lower-case hexadecimal.
    pub digest: String,
    /// Its number, of versions or of changes of the client's state.
    pub number: u64,
    /// "version" or "state".
    pub of: &'static str,
    /// How many approvals it needs.
    pub required: u32,
}

/// A process, as the kernel named it when it was pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Its group.
    pub gid: u32,
    /// Its number in the agent's PID namespace.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
}

/// Events that were counted: so many, of whom, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The cgroup of those who caused them, where they had one of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<u64>,
    /// How many.
    pub count: u64,
    /// What each of them would have been.
    pub event: Kind,
    /// When the first was.
    #[serde(serialize_with = "rfc3339")]
    pub first: SystemTime,
    /// When the last was.
    #[serde(serialize_with = "rfc3339")]
    pub last: SystemTime,
    /// The stable word of all of them.
    pub reason: &'static str,
    /// The user who is accountable for them; none for a mixture, or where it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
}

/// A signing key of the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Authority {
    /// Subject key identifier (X.509) or `kid`.
    pub key_id: String,
    /// "x509", "jwt", "wit", "audit", or "client" for the key of a client.
    pub kind: &'static str,
    /// Until when it may sign.
    #[serde(serialize_with = "rfc3339")]
    pub not_after: SystemTime,
    /// "prepared", "active" or "retired".
    pub slot: &'static str,
}

impl Kind {
    /// The event's name in the trail.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::Attested => "attested",
            Self::Issued => "issued",
            Self::Renewed => "renewed",
            Self::Delivered => "delivered",
            Self::Denied => "denied",
            Self::Withdrawn => "withdrawn",
            Self::Registered => "registered",
            Self::Updated => "updated",
            Self::Suspended => "suspended",
            Self::Resumed => "resumed",
            Self::Revoked => "revoked",
            Self::Proposed => "proposed",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::WithdrawnVersion => "withdrawn_version",
            Self::Superseded => "superseded",
            Self::Validated => "validated",
            Self::Rotated => "rotated",
            Self::Refused => "refused",
            Self::Repaired => "repaired",
            Self::Expunged => "expunged",
            Self::Read => "read",
            Self::BackedUp => "backed_up",
            Self::Restored => "restored",
            Self::Federation => "federation",
            Self::ForeignBundle => "foreign_bundle",
            Self::Published => "published",
            Self::Drifted => "drifted",
            Self::Summarized => "summarized",
        }
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl Event {
    /// An event of which nothing but the kind is known.
    #[must_use]
    pub const fn new(kind: Kind) -> Self {
        Self {
            accepted_weaknesses: None,
            approvals: None,
            attestation_id: None,
            authority: None,
            chain: None,
            client: None,
            client_digest: None,
            client_version: None,
            credential: None,
            event: kind,
            evidence: None,
            login: None,
            operation: None,
            operator: None,
            outcome: None,
            owner: None,
            prev: Digest::GENESIS,
            process: None,
            reason: None,
            revision: None,
            seq: 0,
            spiffe_id: None,
            summary: None,
            time: UNIX_EPOCH,
            trust_domain: None,
        }
    }

    /// What happened.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.event
    }

    /// The client concerned and the number of its version in force.
    #[must_use]
    pub fn client(mut self, name: impl Into<String>, version: u64) -> Self {
        self.client = Some(name.into());
        self.client_version = Some(version);
        self
    }

    /// SHA-256 of the client's version, in lower-case hexadecimal.
    #[must_use]
    pub fn client_digest(mut self, digest: impl Into<String>) -> Self {
        self.client_digest = Some(digest.into());
        self
    }

    /// The serious weaknesses that the operator accepted, where there are any.
    #[must_use]
    pub fn accepted_weaknesses(mut self, accepted: Option<AcceptedWeaknesses>) -> Self {
        self.accepted_weaknesses = accepted;
        self
    }

    /// How far what needs approval has come, where it does.
    #[must_use]
    pub fn approvals(mut self, approvals: Option<Approvals>) -> Self {
        self.approvals = approvals.map(Box::new);
        self
    }

    /// The SPIFFE ID concerned.
    #[must_use]
    pub fn spiffe_id(mut self, id: impl Into<String>) -> Self {
        self.spiffe_id = Some(id.into());
        self
    }

    /// The foreign trust domain concerned.
    #[must_use]
    pub fn trust_domain(mut self, domain: impl Into<String>) -> Self {
        self.trust_domain = Some(domain.into());
        self
    }

    /// Who owns the client, by the version that the event puts in force.
    #[must_use]
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// The operator who asked for it.
    #[must_use]
    pub fn operator(mut self, operator: impl Into<String>) -> Self {
        self.operator = Some(operator.into());
        self
    }

    /// Whether it is one of what this operator did.
    #[must_use]
    pub fn is_by(&self, operator: &str) -> bool {
        self.operator.as_deref() == Some(operator)
    }

    /// Who logged in to become the operator, where the kernel knows.
    #[must_use]
    pub const fn login(mut self, login: Option<u32>) -> Self {
        self.login = login;
        self
    }

    /// The call by which it was asked for, such as `RegisterClient`.
    #[must_use]
    pub fn operation(mut self, operation: impl Into<String>) -> Self {
        self.operation = Some(operation.into());
        self
    }

    /// The attestation that it rests on.
    #[must_use]
    pub fn attestation(mut self, id: impl Into<String>) -> Self {
        self.attestation_id = Some(id.into());
        self
    }

    /// The process concerned.
    #[must_use]
    pub const fn process(mut self, process: Process) -> Self {
        self.process = Some(process);
        self
    }

    /// The credential concerned.
    #[must_use]
    pub fn credential(mut self, credential: Credential) -> Self {
        self.credential = Some(credential);
        self
    }

    /// The authority concerned.
    #[must_use]
    pub fn authority(mut self, authority: Authority) -> Self {
        self.authority = Some(authority);
        self
    }

    /// The facts that it rests on, as a document.
    ///
    /// # Errors
    /// [`AuditError::NotCanonical`] where the document holds fractions or names
    /// outside ASCII.
    pub fn evidence(mut self, evidence: &impl Serialize) -> Result<Self, AuditError> {
        self.evidence = Some(canonical_text(evidence)?);
        Ok(self)
    }

    /// The registry's record that it tells of.
    #[must_use]
    pub const fn revision(mut self, revision: u64) -> Self {
        self.revision = Some(revision);
        self
    }

    /// Why, in a sentence; never a secret.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// How it ended.
    #[must_use]
    pub const fn outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = Some(outcome);
        self
    }

    /// How many it stands for.
    #[must_use]
    pub const fn summary(mut self, summary: Summary) -> Self {
        self.summary = Some(summary);
        self
    }

    /// Appends the event's line, without the line feed, as the one that
    /// follows `before` in `chain`.
    pub(super) fn write_line(
        mut self,
        chain: Chain,
        before: Head,
        time: SystemTime,
        out: &mut Vec<u8>,
    ) -> Result<(), CanonicalError> {
        self.chain = (chain != Chain::Trail).then_some(chain.as_str());
        (self.seq, self.prev, self.time) = (before.seq + 1, before.digest, time);
        Ok(serde_json::to_writer(out, &self)?)
    }
}

fn canonical_text(document: &impl Serialize) -> Result<Box<RawValue>, CanonicalError> {
    let value = serde_json::to_value(document)?;
    canonical::check(&value)?;
    Ok(serde_json::value::to_raw_value(&value)?)
}

/// Times that RFC 3339 cannot write, which a hostile token may carry, become the
/// last one that it can.
pub(super) fn rfc3339<S: Serializer>(at: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&text_of(*at).map_err(S::Error::custom)?)
}

/// The same as a text, by which lines are compared.
pub(super) fn time_text(at: SystemTime) -> String {
    text_of(at).unwrap_or_default()
}

fn text_of(at: SystemTime) -> Result<String, time::error::Format> {
    at.duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i128::try_from(since.as_nanos()).ok())
        .map_or(
            Ok(OffsetDateTime::UNIX_EPOCH),
            OffsetDateTime::from_unix_timestamp_nanos,
        )
        .unwrap_or(LAST_TIME)
        .format(TIME_FORMAT)
}

#[cfg(test)]
mod tests;
