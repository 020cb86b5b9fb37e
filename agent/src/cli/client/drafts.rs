//! Between the admin messages and the registrations of documents.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{
    cli::failure::{Exit, Failure},
    metadata::wire as metadata,
    registry::{Acceptance, ClientDraft, SpecRules},
};
use spiffe::TrustDomain;
use symbolon_attestors::Kind;
use symbolon_proto::admin::{ClientSpec, SelectorSet};

/// The agent's trust domain, and no bounds: those are the agent's to know.
pub(super) fn rules(trust_domain: &str) -> Result<SpecRules, Failure> {
    let any = Duration::from_secs(1)..=Duration::from_secs(u32::MAX.into());
    let trust_domain = TrustDomain::new(trust_domain).map_err(|error| {
        Failure::new(Exit::Failed, format!("the agent's trust domain: {error}"))
    })?;
    Ok(SpecRules {
        trust_domain,
        x509_ttl: any.clone(),
        jwt_ttl: any,
    })
}

/// The message that says what a draft does.
pub(super) fn spec_of(draft: ClientDraft) -> ClientSpec {
    let seconds = |ttl: Option<Duration>| ttl.map_or(0, |ttl| ttl.as_secs());
    let sets = draft.selector_sets.into_iter();
    ClientSpec {
        owner: draft.owner,
        purpose: draft.purpose,
        spiffe_id: draft.spiffe_id.unwrap_or_default(),
        selector_sets: sets.map(|selectors| SelectorSet { selectors }).collect(),
        audiences: draft.audiences,
        max_audiences: draft.max_audiences.unwrap_or_default(),
        x509_ttl: seconds(draft.x509_ttl),
        jwt_ttl: seconds(draft.jwt_ttl),
        hint: draft.hint.unwrap_or_default(),
        dns_names: draft.dns_names,
        expires_at: seconds_of(draft.expires_at),
        forbid_inheritable: draft.forbid_inheritable,
        allow_foreign_user_namespaces: draft.allow_foreign_user_namespaces,
        required_attestors: draft
            .required_attestors
            .iter()
            .map(ToString::to_string)
            .collect(),
        review_by: seconds_of(draft.review_by),
        source: draft.source.unwrap_or_default(),
        metadata: draft.metadata.map(metadata::message),
        authorization_servers: draft.authorization_servers,
        federates_with: draft.federates_with,
        accepted_weaknesses: None,
    }
}

fn seconds_of(at: Option<SystemTime>) -> i64 {
    let seconds = at.map_or(0, crate::clock::unix_seconds);
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

/// The draft that comes to what the agent shows; `None` for what this program does not know.
pub(super) fn draft_of(spec: ClientSpec) -> Option<ClientDraft> {
    let seconds = |seconds| (seconds != 0).then(|| Duration::from_secs(seconds));
    let moment = |seconds_since: i64| {
        let since = u64::try_from(seconds_since).ok()?;
        Some(seconds(since).and_then(|since| UNIX_EPOCH.checked_add(since)))
    };
    let text = |text: String| (!text.is_empty()).then_some(text);
    let kind = |name: &String| Kind::ALL.into_iter().find(|kind| kind.as_str() == name);
    let sets = spec.selector_sets.into_iter();
    let kinds = spec.required_attestors.iter().map(kind);
    Some(ClientDraft {
        owner: spec.owner,
        purpose: spec.purpose,
        spiffe_id: text(spec.spiffe_id),
        selector_sets: sets.map(|set| set.selectors).collect(),
        audiences: spec.audiences,
        max_audiences: (spec.max_audiences != 0).then_some(spec.max_audiences),
        x509_ttl: seconds(spec.x509_ttl),
        jwt_ttl: seconds(spec.jwt_ttl),
        hint: text(spec.hint),
        dns_names: spec.dns_names,
        expires_at: moment(spec.expires_at)?,
        forbid_inheritable: spec.forbid_inheritable,
        allow_foreign_user_namespaces: spec.allow_foreign_user_namespaces,
        required_attestors: kinds.collect::<Option<_>>()?,
        accepted_weaknesses: spec.accepted_weaknesses.map(|accepted| Acceptance {
            findings: accepted.findings,
            reason: accepted.reason,
        }),
        review_by: moment(spec.review_by)?,
        source: text(spec.source),
        metadata: spec.metadata.map(metadata::draft),
        authorization_servers: spec.authorization_servers,
        federates_with: spec.federates_with,
    })
}
