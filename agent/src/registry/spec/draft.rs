//! From outside input to a checked specification.
//!
//! Texts are trimmed where nobody means their ends (owner, purpose), DNS names
//! are put into lower case, and lists are sorted. Everything else is taken as it
//! is or refused. Counts are checked before anything is parsed, and errors repeat
//! only the beginning of a refused text.

use super::{
    AcceptedWeaknesses, ClientMetadata, ClientSpec, DEFAULT_PATH, Fields, MetadataDraft,
    SelectorSet, SpecError, at_most,
};
use crate::registry::{ClientName, TextError, limits, wire};
use spiffe::{SpiffeId, SpiffeIdError, TrustDomain};
use std::{
    num::NonZeroU32,
    ops::RangeInclusive,
    str::FromStr,
    time::{Duration, SystemTime},
};
use symbolon_attestors::{Kind, Kinds, Selector};

/// Characters of a refused text that an error repeats.
const SHOWN: usize = 80;

/// What an operator asks for, not yet checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientDraft {
    /// Who answers for the client.
    pub owner: String,
    /// What it is for.
    pub purpose: String,
    /// `None`: `spiffe://<trust domain>/mcp/client/<name>`.
    pub spiffe_id: Option<String>,
    /// Any of the sets fits; all selectors of a set must hold.
    pub selector_sets: Vec<Vec<String>>,
    /// Exact audiences of JWT-SVIDs; `*` allows any.
    pub audiences: Vec<String>,
    /// How many audiences one JWT-SVID may carry; `None`: one.
    pub max_audiences: Option<u32>,
    /// Cap of the lifetime of X.509-SVIDs and WIT-SVIDs, in whole seconds; `None`: the agent's default.
    pub x509_ttl: Option<Duration>,
    /// Cap of the lifetime of JWT-SVIDs, in whole seconds; `None`: the agent's default.
    pub jwt_ttl: Option<Duration>,
    /// Tells the workload what its SVID is for.
    pub hint: Option<String>,
    /// DNS names in X.509-SVIDs.
    pub dns_names: Vec<String>,
    /// When the client's identities end, in whole seconds; `None`: never.
    pub expires_at: Option<SystemTime>,
    /// Refuses connections whose descriptor may have come through an `execve`.
    pub forbid_inheritable: bool,
    /// Admits processes in PID namespaces of another user namespace's.
    pub allow_foreign_user_namespaces: bool,
    /// Attestors that must have found something out.
    pub required_attestors: Vec<Kind>,
    /// Serious weaknesses that are accepted; `None` where there are none.
    pub accepted_weaknesses: Option<Acceptance>,
    /// When somebody is to look whether it is still needed as it is, in whole seconds.
    pub review_by: Option<SystemTime>,
    /// Who manages it from elsewhere.
    pub source: Option<String>,
    /// What authorization servers are told about it.
    pub metadata: Option<MetadataDraft>,
    /// Issuers of the authorization servers that it may ask for tokens.
    pub authorization_servers: Vec<String>,
    /// Other trust domains whose bundles it gets.
    pub federates_with: Vec<String>,
}

/// Serious weaknesses that an operator accepts, not yet checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acceptance {
    /// Which.
    pub findings: Vec<String>,
    /// Why.
    pub reason: String,
}

/// What every specification of this agent must keep to.
#[derive(Clone, Debug)]
pub struct SpecRules {
    /// The trust domain of all SPIFFE IDs.
    pub trust_domain: TrustDomain,
    /// Bounds of `x509_ttl`.
    pub x509_ttl: RangeInclusive<Duration>,
    /// Bounds of `jwt_ttl`.
    pub jwt_ttl: RangeInclusive<Duration>,
}

impl SpecRules {
    /// The SPIFFE ID of a client whose registration names no other.
    #[must_use]
    pub fn default_id(&self, name: &ClientName) -> String {
        default_id(&self.trust_domain, name)
    }
}

/// The SPIFFE ID in `domain` of a client whose registration names no other.
#[must_use]
pub fn default_id(domain: &TrustDomain, name: &ClientName) -> String {
    format!("spiffe://{domain}{DEFAULT_PATH}{name}")
}

impl ClientDraft {
    /// Checks the draft of a version of client `name` at `now`.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(
        &self,
        name: &ClientName,
        rules: &SpecRules,
        now: SystemTime,
    ) -> Result<ClientSpec, SpecError> {
        let lower = |name: &String| name.to_ascii_lowercase();
        let dns_names: Vec<_> = self.dns_names.iter().map(lower).collect();
        Fields {
            owner: self.owner.trim().parse()?,
            purpose: self.purpose.trim().parse()?,
            spiffe_id: self.spiffe_id(name, &rules.trust_domain)?,
            selector_sets: self.selector_sets()?,
            audiences: parse_all("audiences", &self.audiences, limits::AUDIENCES)?,
            max_audiences: self.max_audiences.unwrap_or(1),
            x509_ttl: check_ttl("x509_ttl", self.x509_ttl, &rules.x509_ttl)?,
            jwt_ttl: check_ttl("jwt_ttl", self.jwt_ttl, &rules.jwt_ttl)?,
            hint: self.hint.as_deref().map(str::parse).transpose()?,
            dns_names: parse_all("DNS names", &dns_names, limits::DNS_NAMES)?,
            expires_at: self
                .expires_at
                .map(|at| check_expiry(at, now))
                .transpose()?,
            forbid_inheritable: self.forbid_inheritable,
            allow_foreign_user_namespaces: self.allow_foreign_user_namespaces,
            required_attestors: sorted(&self.required_attestors),
            accepted_weaknesses: self.accepted_weaknesses()?,
            review_by: self.review_by.map(check_review).transpose()?,
            source: self.source.as_deref().map(str::parse).transpose()?,
            metadata: self.metadata()?,
            authorization_servers: parse_all(
                "authorization servers",
                &self.authorization_servers,
                limits::AUTHORIZATION_SERVERS,
            )?,
            federates_with: self.federates_with()?,
        }
        .check(&rules.trust_domain)
    }

    fn metadata(&self) -> Result<Option<Box<ClientMetadata>>, SpecError> {
        let metadata = self.metadata.as_ref().map(MetadataDraft::check);
        Ok(metadata.transpose()?.map(Box::new))
    }

    fn federates_with(&self) -> Result<Box<[TrustDomain]>, SpecError> {
        let texts = &self.federates_with;
        at_most("trust domains", texts.len(), limits::FEDERATES_WITH)?;
        let mut all = texts
            .iter()
            .map(|text| trust_domain(text))
            .collect::<Result<Vec<_>, _>>()?;
        all.sort_unstable();
        all.dedup();
        Ok(all.into())
    }

    fn spiffe_id(&self, name: &ClientName, domain: &TrustDomain) -> Result<SpiffeId, SpecError> {
        let default = || default_id(domain, name);
        let text = self.spiffe_id.clone().unwrap_or_else(default);
        SpiffeId::new(&text).map_err(|reason| SpecError::SpiffeId {
            text: shown(&text),
            reason,
        })
    }

    fn accepted_weaknesses(&self) -> Result<Option<AcceptedWeaknesses>, SpecError> {
        let Some(accepted) = &self.accepted_weaknesses else {
            return Ok(None);
        };
        let limit = limits::ACCEPTED_WEAKNESSES;
        Ok(Some(AcceptedWeaknesses {
            findings: parse_all("accepted weaknesses", &accepted.findings, limit)?,
            reason: accepted.reason.parse()?,
        }))
    }

    /// The selector sets, sorted.
    ///
    /// # Errors
    /// The first rule that they break.
    pub fn selector_sets(&self) -> Result<Box<[SelectorSet]>, SpecError> {
        at_most(
            "selector sets",
            self.selector_sets.len(),
            limits::SELECTOR_SETS,
        )?;
        let mut sets = self
            .selector_sets
            .iter()
            .map(|set| SelectorSet::parse(set))
            .collect::<Result<Vec<_>, _>>()?;
        sets.sort_unstable();
        sets.dedup();
        Ok(sets.into())
    }
}

impl SelectorSet {
    /// The set of these selectors, sorted and free of repetitions.
    ///
    /// # Errors
    /// Where one is no selector, or there are too many.
    pub fn parse(texts: &[String]) -> Result<Self, SpecError> {
        at_most("selectors in a set", texts.len(), limits::SELECTORS_PER_SET)?;
        let mut selectors = texts
            .iter()
            .map(|text| {
                text.parse::<Selector>()
                    .map_err(|reason| SpecError::Selector {
                        text: shown(text),
                        reason,
                    })
            })
            .collect::<Result<Vec<_>, _>>()?;
        selectors.sort_unstable();
        selectors.dedup();
        Ok(Self(selectors.into()))
    }
}

/// A trust domain by its name alone: a whole SPIFFE ID says more than is meant.
fn trust_domain(text: &str) -> Result<TrustDomain, SpecError> {
    let refused = |reason| SpecError::TrustDomain {
        text: shown(text),
        reason,
    };
    let parsed = TrustDomain::new(text).map_err(refused)?;
    if parsed.as_str() == text {
        Ok(parsed)
    } else {
        Err(refused(SpiffeIdError::BadTrustDomainChar))
    }
}

fn check_expiry(at: SystemTime, now: SystemTime) -> Result<SystemTime, SpecError> {
    let at = wire::whole_seconds(at).filter(|at| *at > now);
    at.ok_or(SpecError::ExpiresAt)
}

/// A date that has passed is one that is overdue.
fn check_review(at: SystemTime) -> Result<SystemTime, SpecError> {
    wire::whole_seconds(at).ok_or(SpecError::ReviewBy)
}

/// The draft that comes to `fields`.
pub(super) fn of(fields: &Fields) -> ClientDraft {
    let seconds = |ttl: NonZeroU32| Duration::from_secs(u64::from(ttl.get()));
    let sets = fields.selector_sets.iter();
    let accepted = fields.accepted_weaknesses.as_ref();
    ClientDraft {
        owner: fields.owner.to_string(),
        purpose: fields.purpose.to_string(),
        spiffe_id: Some(fields.spiffe_id.to_string()),
        selector_sets: sets.map(|set| texts(set.selectors())).collect(),
        audiences: texts(&fields.audiences),
        max_audiences: Some(fields.max_audiences),
        x509_ttl: fields.x509_ttl.map(seconds),
        jwt_ttl: fields.jwt_ttl.map(seconds),
        hint: fields.hint.as_ref().map(ToString::to_string),
        dns_names: texts(&fields.dns_names),
        expires_at: fields.expires_at,
        forbid_inheritable: fields.forbid_inheritable,
        allow_foreign_user_namespaces: fields.allow_foreign_user_namespaces,
        required_attestors: fields.required_attestors.to_vec(),
        accepted_weaknesses: accepted.map(|accepted| Acceptance {
            findings: texts(&accepted.findings),
            reason: accepted.reason.to_string(),
        }),
        review_by: fields.review_by,
        source: fields.source.as_ref().map(ToString::to_string),
        metadata: fields.metadata.as_deref().map(ClientMetadata::draft),
        authorization_servers: texts(&fields.authorization_servers),
        federates_with: fields
            .federates_with
            .iter()
            .map(|domain| domain.as_str().to_owned())
            .collect(),
    }
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

fn check_ttl(
    what: &'static str,
    ttl: Option<Duration>,
    bounds: &RangeInclusive<Duration>,
) -> Result<Option<NonZeroU32>, SpecError> {
    let Some(ttl) = ttl else { return Ok(None) };
    let seconds = u32::try_from(ttl.as_secs()).ok().and_then(NonZeroU32::new);
    if seconds.is_none() || ttl.subsec_nanos() != 0 || !bounds.contains(&ttl) {
        let (min, max) = (*bounds.start(), *bounds.end());
        return Err(SpecError::Ttl { what, min, max });
    }
    Ok(seconds)
}

/// Parses a list; sorted, without repetitions.
fn parse_all<T: FromStr<Err = TextError> + Ord>(
    what: &'static str,
    texts: &[String],
    limit: usize,
) -> Result<Box<[T]>, SpecError> {
    at_most(what, texts.len(), limit)?;
    let mut all = texts
        .iter()
        .map(|text| text.parse())
        .collect::<Result<Vec<T>, _>>()?;
    all.sort_unstable();
    all.dedup();
    Ok(all.into())
}

/// A list, sorted, without repetitions.
fn sorted(kinds: &[Kind]) -> Box<[Kind]> {
    kinds.iter().copied().collect::<Kinds>().iter().collect()
}

/// The beginning of `text`: an error is no place for a megabyte.
fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}
