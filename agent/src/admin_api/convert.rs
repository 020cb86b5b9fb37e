//! Between the admin messages and the registry's types.

use super::lint;
use crate::{
    clock::unix_seconds,
    drift::Seen,
    lint::of_client,
    metadata::{PublicUrl, client_id, wire as metadata},
    registry::{
        Approval, Client, ClientDraft, ClientName, ClientSpec, ClientState, ClientVersion,
        Declined, Digest, Pending, Proposal, StateChange,
    },
};
use std::{
    str::FromStr as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use symbolon_attestors::Kind;
use symbolon_proto::admin;
use tonic::Status;

/// Most owners, clients or processes in one answer.
const MAX_PAGE: usize = 1_000;

/// How many to answer with where so many are asked for; 0 stands for as many as there may be.
pub(super) fn page(limit: u32) -> usize {
    match usize::try_from(limit) {
        Ok(0) | Err(_) => MAX_PAGE,
        Ok(limit) => limit.min(MAX_PAGE),
    }
}

pub(super) fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

pub(super) fn name(text: &str) -> Result<ClientName, Status> {
    ClientName::from_str(text).map_err(|error| Status::invalid_argument(error.to_string()))
}

pub(super) fn draft(spec: Option<admin::ClientSpec>) -> Result<ClientDraft, Status> {
    let spec = spec.ok_or_else(|| Status::invalid_argument("the specification is missing"))?;
    let expires_at = moment("expires_at", spec.expires_at)?;
    let review_by = moment("review_by", spec.review_by)?;
    let sets = spec.selector_sets.into_iter();
    Ok(ClientDraft {
        owner: spec.owner,
        purpose: spec.purpose,
        spiffe_id: non_empty(spec.spiffe_id),
        selector_sets: sets.map(|set| set.selectors).collect(),
        audiences: spec.audiences,
        max_audiences: (spec.max_audiences != 0).then_some(spec.max_audiences),
        x509_ttl: seconds(spec.x509_ttl),
        jwt_ttl: seconds(spec.jwt_ttl),
        hint: non_empty(spec.hint),
        dns_names: spec.dns_names,
        expires_at,
        forbid_inheritable: spec.forbid_inheritable,
        allow_foreign_user_namespaces: spec.allow_foreign_user_namespaces,
        required_attestors: kinds(&spec.required_attestors)?,
        // The agent's own to say, not the request's.
        accepted_weaknesses: None,
        review_by,
        source: non_empty(spec.source),
        metadata: spec.metadata.map(metadata::draft),
        authorization_servers: spec.authorization_servers,
        federates_with: spec.federates_with,
    })
}

fn moment(what: &str, seconds: i64) -> Result<Option<SystemTime>, Status> {
    match u64::try_from(seconds) {
        Ok(0) => Ok(None),
        Ok(seconds) => Ok(UNIX_EPOCH.checked_add(Duration::from_secs(seconds))),
        Err(_before_1970) => {
            let error = format!("{what} lies before 1970");
            Err(Status::invalid_argument(error))
        }
    }
}

fn kinds(names: &[String]) -> Result<Vec<Kind>, Status> {
    let kind = |name: &String| Kind::ALL.into_iter().find(|kind| kind.as_str() == name);
    let known: Option<Vec<_>> = names.iter().map(kind).collect();
    known.ok_or_else(|| {
        let all = Kind::ALL.map(Kind::as_str).join(", ");
        Status::invalid_argument(format!("required_attestors takes {all}"))
    })
}

pub(super) fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn seconds(seconds: u64) -> Option<Duration> {
    (seconds != 0).then(|| Duration::from_secs(seconds))
}

/// The message for a client in `state`, held by so many processes.
pub(super) fn client(
    client: &Client,
    state: ClientState,
    processes: usize,
    public: Option<&PublicUrl>,
) -> admin::Client {
    let version = client.version();
    let change = client.state_change();
    let findings = of_client(client.spec());
    admin::Client {
        name: client.name().to_string(),
        state: state.as_str().to_owned(),
        state_reason: change.map(|c| c.reason.to_string()).unwrap_or_default(),
        state_changed_at: change.map(|c| timestamp(c.at)).unwrap_or_default(),
        version: version.number,
        digest: version.digest.to_string(),
        author: version.author.to_string(),
        created_at: timestamp(client.created_at()),
        updated_at: timestamp(version.at),
        spec: Some(spec(client.spec())),
        warnings: findings.iter().map(|f| f.explanation.clone()).collect(),
        processes: u64::try_from(processes).unwrap_or(u64::MAX),
        findings: lint::findings(&findings),
        pending: client.pending().map(pending),
        approvals_required: version.approvals_required,
        approvals: approvals(client.approvals()),
        in_force: client.has_version_in_force(),
        pending_resumption: client.pending_resumption().map(pending_resumption),
        declined: client.declined().map(declined),
        declined_resumption: client.declined_resumption().map(declined),
        client_id: client_id(client, public).unwrap_or_default(),
        ..admin::Client::default()
    }
}

/// The message for a document that others host.
pub(super) fn external_document(seen: &Seen) -> admin::ExternalDocument {
    let look = &seen.look;
    let text = |digest: Option<Digest>| digest.map(|d| d.to_string()).unwrap_or_default();
    admin::ExternalDocument {
        seen_at: timestamp(seen.at),
        outcome: look.outcome().to_owned(),
        findings: look.findings.iter().map(ToString::to_string).collect(),
        document_digest: text(look.document),
        jwks_digest: text(look.keys),
    }
}

fn pending(pending: &Pending<ClientVersion>) -> admin::PendingVersion {
    let version = &pending.what;
    admin::PendingVersion {
        version: version.number,
        digest: version.digest.to_string(),
        author: version.author.to_string(),
        at: timestamp(version.at),
        reason: version.reason.to_string(),
        approvals_required: version.approvals_required,
        approvals: approvals(&pending.approvals),
        spec: Some(spec(&version.spec)),
        findings: lint::findings(&of_client(&version.spec)),
    }
}

fn pending_resumption(pending: &Pending<StateChange>) -> admin::PendingResumption {
    let change = &pending.what;
    admin::PendingResumption {
        resumption: change.number,
        digest: change.digest.to_string(),
        author: change.author.to_string(),
        at: timestamp(change.at),
        reason: change.reason.to_string(),
        approvals_required: change.approvals_required,
        approvals: approvals(&pending.approvals),
    }
}

pub(super) fn approvals(approvals: &[Approval]) -> Vec<admin::Approval> {
    let approval = |approval: &Approval| admin::Approval {
        operator: approval.operator.to_string(),
        at: timestamp(approval.at),
        reason: approval.reason.to_string(),
        login: approval.operator.login(),
    };
    approvals.iter().map(approval).collect()
}

pub(super) fn declined<T: Proposal>(declined: &Declined<T>) -> admin::Declined {
    admin::Declined {
        number: declined.what.subject().number(),
        digest: declined.what.digest().to_string(),
        author: declined.what.author().to_string(),
        verdict: declined.verdict.participle().to_owned(),
        operator: declined.operator.to_string(),
        at: timestamp(declined.at),
        reason: declined.reason.to_string(),
    }
}

/// The message for the content of a version.
pub(super) fn spec(spec: &ClientSpec) -> admin::ClientSpec {
    let selectors = |set: &crate::registry::SelectorSet| admin::SelectorSet {
        selectors: set.selectors().iter().map(ToString::to_string).collect(),
    };
    admin::ClientSpec {
        owner: spec.owner().to_string(),
        purpose: spec.purpose().to_string(),
        spiffe_id: spec.spiffe_id().to_string(),
        selector_sets: spec.selector_sets().iter().map(selectors).collect(),
        audiences: spec.audiences().iter().map(ToString::to_string).collect(),
        max_audiences: spec.max_audiences(),
        x509_ttl: spec.x509_ttl().map_or(0, |ttl| ttl.as_secs()),
        jwt_ttl: spec.jwt_ttl().map_or(0, |ttl| ttl.as_secs()),
        hint: spec.hint().map(ToString::to_string).unwrap_or_default(),
        dns_names: spec.dns_names().iter().map(ToString::to_string).collect(),
        expires_at: spec.expires_at().map_or(0, timestamp),
        forbid_inheritable: !spec.accepts_inheritable(),
        allow_foreign_user_namespaces: spec.allows_foreign_user_namespaces(),
        required_attestors: spec
            .required_attestors()
            .iter()
            .map(ToString::to_string)
            .collect(),
        accepted_weaknesses: spec.accepted_weaknesses().map(lint::accepted),
        review_by: spec.review_by().map_or(0, timestamp),
        source: spec.source().map(ToString::to_string).unwrap_or_default(),
        metadata: spec
            .metadata()
            .map(|known| metadata::message(known.draft())),
        authorization_servers: spec
            .authorization_servers()
            .iter()
            .map(ToString::to_string)
            .collect(),
        federates_with: spec
            .federates_with()
            .iter()
            .map(|domain| domain.as_str().to_owned())
            .collect(),
    }
}

/// Unix seconds, as the admin messages carry them.
pub(super) fn timestamp(at: SystemTime) -> i64 {
    i64::try_from(unix_seconds(at)).unwrap_or(i64::MAX)
}
