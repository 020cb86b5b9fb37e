//! What a version of a client record says, from an operator's draft to a checked specification.
//!
//! A [`ClientDraft`] is outside input: plain texts and numbers, as the admin
//! socket or a file brings them. [`ClientDraft::check`] turns it into a
//! [`ClientSpec`], whose constructor is private: whoever holds one knows that
//! its SPIFFE ID lies in the trust domain and outside the reserved paths, that
//! it has at least one selector set and no empty one (an empty set would fit
//! every process), that its lifetimes lie between the configured bounds, and
//! that everything is within the limits of [`limits`](super::limits).
//!
//! Sets and lists are sorted and free of repetitions, so that the same content
//! always has the same digest; a stored record that is otherwise is refused, as
//! one that goes beyond a limit is. The bounds of lifetimes and `expires_at` are
//! checked when a version is made, not when it is read back: a changed
//! configuration does not make the stored registrations unreadable, and issuance
//! cuts lifetimes to the bounds of its day.

mod draft;
mod metadata;

pub use draft::{Acceptance, ClientDraft, SpecRules, default_id};
pub use metadata::{
    ApplicationType, ClientMetadata, Hosting, MetadataDraft, MetadataError, OnDrift,
    PRIVATE_KEY_JWT,
};

use super::{
    Audience, DnsName, FindingId, Hint, IssuerUrl, Owner, Purpose, Source, TextError,
    WeaknessReason, limits, wire,
};
use serde::{Deserialize, Serialize};
use spiffe::{SpiffeId, SpiffeIdError, TrustDomain};
use std::{
    fmt,
    num::NonZeroU32,
    time::{Duration, SystemTime},
};
use symbolon_attestors::{Kind, Kinds, Selector, SelectorError};

/// What every client's default path begins with; its name follows.
pub(super) const DEFAULT_PATH: &str = "/mcp/client/";

/// Paths that belong to the agent and to SPIRE; no client has an ID there.
const RESERVED_PATHS: [&str; 2] = ["/symbolon", "/spire"];

/// A draft that breaks a rule; all of these are the caller's fault.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SpecError {
    /// A text that its type does not admit.
    #[error(transparent)]
    Text(#[from] TextError),
    /// Not a selector.
    #[error("selector {text:?}: {reason}")]
    Selector {
        /// As given; of a long one the beginning.
        text: String,
        /// What is wrong with it.
        reason: SelectorError,
    },
    /// No selector set: the client could never be matched.
    #[error("at least one selector is needed")]
    NoSelectors,
    /// A set without selectors would fit every process.
    #[error("a selector set must not be empty")]
    EmptySet,
    /// More of something than the limit.
    #[error("more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
    },
    /// Tokens without an audience, or with too many.
    #[error("max_audiences must be between 1 and {limit}")]
    MaxAudiences {
        /// How many are allowed.
        limit: u32,
    },
    /// A stored list that no draft comes to.
    #[error("{what} are not sorted, or repeated")]
    Unsorted {
        /// Which.
        what: &'static str,
    },
    /// Not a SPIFFE ID.
    #[error("SPIFFE ID {text:?}: {reason}")]
    SpiffeId {
        /// As given; of a long one the beginning.
        text: String,
        /// What the SPIFFE ID standard has against it.
        reason: SpiffeIdError,
    },
    /// An ID of somebody else.
    #[error("SPIFFE ID {id} is not in this agent's trust domain {trust_domain}")]
    ForeignTrustDomain {
        /// As given.
        id: SpiffeId,
        /// The agent's.
        trust_domain: TrustDomain,
    },
    /// The trust domain's own ID, an over-long one, or one under `/symbolon` or `/spire`.
    #[error("SPIFFE ID {id} {rule}")]
    ForbiddenId {
        /// As given.
        id: SpiffeId,
        /// What it breaks.
        rule: &'static str,
    },
    /// A lifetime outside the configured bounds.
    #[error("{what} must be between {min:?} and {max:?}, in whole seconds")]
    Ttl {
        /// Which one.
        what: &'static str,
        /// The shortest allowed.
        min: Duration,
        /// The longest allowed.
        max: Duration,
    },
    /// `expires_at` has passed already, or is later than times can be written.
    #[error("expires_at must lie in the future, and before the year 10000")]
    ExpiresAt,
    /// What authorization servers would be told.
    #[error("metadata{0}")]
    Metadata(#[from] MetadataError),
    /// Not the name of a trust domain.
    #[error("trust domain {text:?}: {reason}")]
    TrustDomain {
        /// As given; of a long one the beginning.
        text: String,
        /// What the SPIFFE ID standard has against it.
        reason: SpiffeIdError,
    },
    /// A client has the agent's own bundle anyway.
    #[error("federates_with names this agent's own trust domain")]
    OwnTrustDomain,
    /// `review_by` is later than times can be written.
    #[error("review_by must lie before the year 10000")]
    ReviewBy,
    /// Everything together is more than a record may hold.
    #[error("the registration as a whole has more than {limit} bytes")]
    TooLarge {
        /// How many are allowed.
        limit: usize,
    },
}

/// Selectors that must all hold: sorted, without repetitions, at least one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SelectorSet(Box<[Selector]>);

/// The checked content of a version of a client record.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ClientSpec(Fields);

/// Serious weaknesses that an operator accepted, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptedWeaknesses {
    findings: Box<[FindingId]>,
    reason: WeaknessReason,
}

impl AcceptedWeaknesses {
    /// What was found and accepted, sorted.
    #[must_use]
    pub fn findings(&self) -> &[FindingId] {
        &self.findings
    }

    /// Why.
    #[must_use]
    pub const fn reason(&self) -> &WeaknessReason {
        &self.reason
    }

    /// Whether this kind of weakness is among them.
    #[must_use]
    pub fn covers(&self, id: &str) -> bool {
        self.findings.iter().any(|finding| finding.as_str() == id)
    }
}

/// The content, typed; what a stored record carries under `spec`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fields {
    pub(super) owner: Owner,
    purpose: Purpose,
    #[serde(with = "wire::spiffe_id")]
    spiffe_id: SpiffeId,
    selector_sets: Box<[SelectorSet]>,
    pub(super) audiences: Box<[Audience]>,
    max_audiences: u32,
    /// In seconds.
    x509_ttl: Option<NonZeroU32>,
    /// In seconds.
    jwt_ttl: Option<NonZeroU32>,
    hint: Option<Hint>,
    dns_names: Box<[DnsName]>,
    #[serde(with = "wire::optional_time")]
    expires_at: Option<SystemTime>,
    /// What follows is left out where it says nothing, so that older versions keep their digest.
    #[serde(default, skip_serializing_if = "is_false")]
    forbid_inheritable: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    allow_foreign_user_namespaces: bool,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    required_attestors: Box<[Kind]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    accepted_weaknesses: Option<AcceptedWeaknesses>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "wire::optional_time"
    )]
    review_by: Option<SystemTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<Source>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metadata: Option<Box<ClientMetadata>>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    authorization_servers: Box<[IssuerUrl]>,
    #[serde(
        default,
        skip_serializing_if = "<[_]>::is_empty",
        with = "wire::trust_domains"
    )]
    federates_with: Box<[TrustDomain]>,
}

impl Fields {
    /// Whose the client is, as far as this says.
    pub(super) fn trust_domain(&self) -> TrustDomain {
        self.spiffe_id.trust_domain().clone()
    }
}

impl SelectorSet {
    /// The selectors, sorted.
    #[must_use]
    pub fn selectors(&self) -> &[Selector] {
        &self.0
    }

    /// Whether all selectors are among `present`, which must be sorted.
    ///
    /// Of an unsorted `present` some may be overlooked; none is ever made up.
    #[must_use]
    pub fn holds(&self, present: &[Selector]) -> bool {
        self.0
            .iter()
            .all(|selector| present.binary_search(selector).is_ok())
    }
}

impl Fields {
    /// The rules that hold for drafts and stored records alike.
    pub(super) fn check(self, trust_domain: &TrustDomain) -> Result<ClientSpec, SpecError> {
        if self.selector_sets.is_empty() {
            return Err(SpecError::NoSelectors);
        }
        let sets = &self.selector_sets;
        check_list("selector sets", sets, limits::SELECTOR_SETS)?;
        for SelectorSet(set) in sets {
            if set.is_empty() {
                return Err(SpecError::EmptySet);
            }
            check_list("selectors in a set", set, limits::SELECTORS_PER_SET)?;
        }
        check_list("audiences", &self.audiences, limits::AUDIENCES)?;
        check_list("DNS names", &self.dns_names, limits::DNS_NAMES)?;
        let required = &self.required_attestors;
        check_list("required attestors", required, Kind::ALL.len())?;
        if let Some(accepted) = &self.accepted_weaknesses {
            let limit = limits::ACCEPTED_WEAKNESSES;
            check_list("accepted weaknesses", &accepted.findings, limit)?;
        }
        if !(1..=limits::AUDIENCES_PER_TOKEN).contains(&self.max_audiences) {
            return Err(SpecError::MaxAudiences {
                limit: limits::AUDIENCES_PER_TOKEN,
            });
        }
        check_id(&self.spiffe_id, trust_domain)?;
        let servers = &self.authorization_servers;
        check_list(
            "authorization servers",
            servers,
            limits::AUTHORIZATION_SERVERS,
        )?;
        let others = &self.federates_with;
        check_list("trust domains", others, limits::FEDERATES_WITH)?;
        if others.contains(trust_domain) {
            return Err(SpecError::OwnTrustDomain);
        }
        if let Some(metadata) = &self.metadata {
            metadata.check()?;
        }
        Ok(ClientSpec(self))
    }

    /// The selectors of all sets, to be shared with those of other clients.
    pub(super) fn selectors_mut(&mut self) -> impl Iterator<Item = &mut Selector> {
        self.selector_sets
            .iter_mut()
            .flat_map(|set| set.0.iter_mut())
    }
}

impl ClientSpec {
    /// Who answers for the client.
    #[must_use]
    pub fn owner(&self) -> &Owner {
        &self.0.owner
    }

    /// What it is for.
    #[must_use]
    pub fn purpose(&self) -> &Purpose {
        &self.0.purpose
    }

    /// The SPIFFE ID, the default one filled in.
    #[must_use]
    pub fn spiffe_id(&self) -> &SpiffeId {
        &self.0.spiffe_id
    }

    /// The selector sets; any of them fits.
    #[must_use]
    pub fn selector_sets(&self) -> &[SelectorSet] {
        &self.0.selector_sets
    }

    /// The listed audiences, sorted.
    #[must_use]
    pub fn audiences(&self) -> &[Audience] {
        &self.0.audiences
    }

    /// Whether a JWT-SVID for `audience` may be issued: it is listed, exactly, or `*` is.
    #[must_use]
    pub fn allows_audience(&self, audience: &str) -> bool {
        self.0
            .audiences
            .iter()
            .any(|listed| listed.is_any() || listed.as_str() == audience)
    }

    /// How many audiences one JWT-SVID may carry, at least one.
    #[must_use]
    pub fn max_audiences(&self) -> u32 {
        self.0.max_audiences
    }

    /// Cap of the lifetime of X.509-SVIDs and WIT-SVIDs, where the client has its own.
    #[must_use]
    pub fn x509_ttl(&self) -> Option<Duration> {
        self.0.x509_ttl.map(from_seconds)
    }

    /// Cap of the lifetime of JWT-SVIDs, where the client has its own.
    #[must_use]
    pub fn jwt_ttl(&self) -> Option<Duration> {
        self.0.jwt_ttl.map(from_seconds)
    }

    /// Tells the workload what its SVID is for.
    #[must_use]
    pub fn hint(&self) -> Option<&Hint> {
        self.0.hint.as_ref()
    }

    /// DNS names in X.509-SVIDs, sorted.
    #[must_use]
    pub fn dns_names(&self) -> &[DnsName] {
        &self.0.dns_names
    }

    /// When the client's identities end.
    #[must_use]
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.0.expires_at
    }

    /// When somebody is to look whether the client is still needed as it is.
    #[must_use]
    pub fn review_by(&self) -> Option<SystemTime> {
        self.0.review_by
    }

    /// Who manages it from elsewhere.
    #[must_use]
    pub const fn source(&self) -> Option<&Source> {
        self.0.source.as_ref()
    }

    /// What authorization servers are told about it.
    #[must_use]
    pub fn metadata(&self) -> Option<&ClientMetadata> {
        self.0.metadata.as_deref()
    }

    /// The issuers of the authorization servers that it may ask for tokens, sorted.
    #[must_use]
    pub fn authorization_servers(&self) -> &[IssuerUrl] {
        &self.0.authorization_servers
    }

    /// The other trust domains whose bundles it gets, sorted; never the agent's own.
    #[must_use]
    pub fn federates_with(&self) -> &[TrustDomain] {
        &self.0.federates_with
    }

    /// The draft that comes to the same.
    #[must_use]
    pub fn draft(&self) -> ClientDraft {
        draft::of(&self.0)
    }

    /// Whether both say the same, whatever weaknesses were accepted with it.
    #[must_use]
    pub fn says_what(&self, other: &Self) -> bool {
        let plain = |spec: &Self| Fields {
            accepted_weaknesses: None,
            ..spec.0.clone()
        };
        plain(self) == plain(other)
    }

    /// Whether a connection whose descriptor may have come through an `execve` will do.
    #[must_use]
    pub const fn accepts_inheritable(&self) -> bool {
        !self.0.forbid_inheritable
    }

    /// Whether processes will do that are in a PID namespace of another user namespace's.
    #[must_use]
    pub const fn allows_foreign_user_namespaces(&self) -> bool {
        self.0.allow_foreign_user_namespaces
    }

    /// Attestors that must have found something out, sorted.
    #[must_use]
    pub fn required_attestors(&self) -> &[Kind] {
        &self.0.required_attestors
    }

    /// The attestors that have to be asked before it can be said that one of the client's sets
    /// fits: those of its selectors, and those that the client demands.
    pub(super) fn kinds_for(&self, set: &SelectorSet) -> Kinds {
        let selectors = set.selectors().iter();
        selectors
            .filter_map(Kind::of)
            .chain(self.required_attestors().iter().copied())
            .collect()
    }

    /// Whether JWT-SVIDs for every audience may be issued.
    #[must_use]
    pub fn allows_any_audience(&self) -> bool {
        self.0.audiences.iter().any(Audience::is_any)
    }

    /// The serious weaknesses that an operator accepted.
    #[must_use]
    pub const fn accepted_weaknesses(&self) -> Option<&AcceptedWeaknesses> {
        self.0.accepted_weaknesses.as_ref()
    }
}

impl fmt::Debug for ClientSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for SelectorSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<ClientSpec> for Fields {
    fn from(spec: ClientSpec) -> Self {
        spec.0
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes fields by reference"
)]
const fn is_false(value: &bool) -> bool {
    !*value
}

fn from_seconds(seconds: NonZeroU32) -> Duration {
    Duration::from_secs(u64::from(seconds.get()))
}

fn check_id(id: &SpiffeId, trust_domain: &TrustDomain) -> Result<(), SpecError> {
    if !id.is_member_of(trust_domain) {
        return Err(SpecError::ForeignTrustDomain {
            id: id.clone(),
            trust_domain: trust_domain.clone(),
        });
    }
    let path = id.path();
    let is_reserved = RESERVED_PATHS.iter().any(|reserved| {
        path.strip_prefix(reserved)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    let rule = if path.is_empty() {
        // X509-SVID, section 5.2: a leaf certificate's SPIFFE ID has a path.
        "names the trust domain itself"
    } else if is_reserved {
        "lies under a path that is kept for agents"
    } else if id.to_string().len() > limits::SPIFFE_ID_BYTES {
        "is longer than 2,048 bytes"
    } else {
        return Ok(());
    };
    Err(SpecError::ForbiddenId {
        id: id.clone(),
        rule,
    })
}

/// Whether a list is as a draft's becomes: within its limit, sorted, without repetitions.
fn check_list<T: Ord>(what: &'static str, list: &[T], limit: usize) -> Result<(), SpecError> {
    at_most(what, list.len(), limit)?;
    if list.is_sorted_by(|a, b| a < b) {
        Ok(())
    } else {
        Err(SpecError::Unsorted { what })
    }
}

fn at_most(what: &'static str, count: usize, limit: usize) -> Result<(), SpecError> {
    if count > limit {
        Err(SpecError::TooMany { what, limit })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
