//! A foreign trust domain, as it is shown.

use crate::cli::{
    client::{ApprovalView, DeclinedView},
    moment::{exact, relative},
    output::{Fields, Look, Table, View, count, or_dash, some},
};
use serde::Serialize;
use symbolon_proto::admin::{FederationVersion, TrustDomain};

/// A version of a federation; `agent/doc/cli.md` documents the fields.
#[derive(Debug, Serialize)]
struct VersionView {
    number: u64,
    digest: String,
    author: String,
    at: Option<String>,
    reason: Option<String>,
    approvals_required: u32,
    approvals: Vec<ApprovalView>,
    url: String,
    profile: String,
    endpoint_spiffe_id: Option<String>,
    bundle_digest: Option<String>,
    registered_bundle: Option<String>,
}

#[derive(Debug, Serialize)]
struct BundleView {
    sequence: Option<u64>,
    digest: String,
    refresh_hint: Option<u64>,
    x509_authorities: u64,
    jwt_authorities: u64,
    wit_authorities: u64,
}

/// A foreign trust domain; `agent/doc/cli.md` documents the fields.
#[derive(Debug, Serialize)]
pub(super) struct DomainView {
    trust_domain: String,
    state: String,
    clients: u64,
    in_force: Option<VersionView>,
    pending: Option<VersionView>,
    declined: Option<DeclinedView>,
    removed_by: Option<String>,
    removed_at: Option<String>,
    removed_reason: Option<String>,
    bundle: Option<BundleView>,
    fetched_at: Option<String>,
    failing_since: Option<String>,
    failure: Option<String>,
    next_at: Option<String>,
    left_out: u64,
    #[serde(skip)]
    times: Times,
}

/// The same times for a reader.
#[derive(Debug)]
struct Times {
    fetched: i64,
    failing: i64,
    next: i64,
}

impl From<FederationVersion> for VersionView {
    fn from(version: FederationVersion) -> Self {
        let endpoint = version.endpoint.unwrap_or_default();
        Self {
            number: version.number,
            digest: version.digest,
            author: version.author,
            at: exact(version.at),
            reason: some(version.reason),
            approvals_required: version.approvals_required,
            approvals: ApprovalView::all(version.approvals),
            url: endpoint.url,
            profile: endpoint.profile,
            endpoint_spiffe_id: some(endpoint.endpoint_spiffe_id),
            bundle_digest: some(endpoint.bundle_digest),
            registered_bundle: some(endpoint.bundle),
        }
    }
}

impl From<TrustDomain> for DomainView {
    fn from(domain: TrustDomain) -> Self {
        let nonzero = |number: u64| (number != 0).then_some(number);
        let bundle = domain.bundle.map(|bundle| BundleView {
            sequence: nonzero(bundle.sequence),
            digest: bundle.digest,
            refresh_hint: nonzero(bundle.refresh_hint),
            x509_authorities: bundle.x509_authorities,
            jwt_authorities: bundle.jwt_authorities,
            wit_authorities: bundle.wit_authorities,
        });
        Self {
            trust_domain: domain.name,
            state: domain.state,
            clients: domain.clients,
            in_force: domain.in_force.map(VersionView::from),
            pending: domain.pending.map(VersionView::from),
            declined: domain.declined.map(DeclinedView::from),
            removed_by: some(domain.removed_by),
            removed_at: exact(domain.removed_at),
            removed_reason: some(domain.removed_reason),
            bundle,
            fetched_at: exact(domain.fetched_at),
            failing_since: exact(domain.failing_since),
            failure: some(domain.failure),
            next_at: exact(domain.next_at),
            left_out: domain.left_out,
            times: Times {
                fetched: domain.fetched_at,
                failing: domain.failing_since,
                next: domain.next_at,
            },
        }
    }
}

impl VersionView {
    fn add_to(&self, fields: &mut Fields) {
        fields.add("Endpoint", &self.url);
        fields.add("Profile", &self.profile);
        fields.add(
            "Endpoint ID",
            self.endpoint_spiffe_id.as_deref().unwrap_or_default(),
        );
        let by = match &self.reason {
            Some(reason) => format!("{}: {reason}", or_dash(&self.author)),
            None => or_dash(&self.author).to_owned(),
        };
        fields.add("By", by);
    }
}

impl View for DomainView {
    fn table(&self, look: &Look) -> String {
        let mut fields = Fields::new();
        fields.add("Trust domain", &self.trust_domain);
        fields.add("State", &self.state);
        if let Some(version) = &self.in_force {
            version.add_to(&mut fields);
        }
        fields.add("Clients", self.clients.to_string());
        if let Some(bundle) = &self.bundle {
            let sequence = bundle
                .sequence
                .map(|sequence| format!("sequence {sequence}, "));
            let what = format!(
                "{}{} X.509, {} JWT, {} WIT authorities",
                sequence.unwrap_or_default(),
                bundle.x509_authorities,
                bundle.jwt_authorities,
                bundle.wit_authorities
            );
            fields.add("Bundle", what);
            fields.add("Digest", &bundle.digest);
        } else if self.in_force.is_some() {
            fields.add("Bundle", "none yet");
        }
        if self.in_force.is_some() {
            fields.add("Fetched", relative(self.times.fetched, look.now));
            fields.add("Next", relative(self.times.next, look.now));
        }
        if let Some(failure) = &self.failure {
            let since = relative(self.times.failing, look.now);
            fields.add("Failing", format!("since {since}: {failure}"));
            if self.bundle.is_some() {
                fields.add("", "the last bundle stays in force");
            }
        }
        if self.left_out > 0 {
            let answers = count(self.left_out, "answer", "answers");
            fields.add("Left out", format!("of {answers}, too long with it"));
        }
        if let Some(declined) = &self.declined {
            fields.add("Declined", declined.line("number"));
        }
        if let Some(removed) = &self.removed_by {
            let why = self.removed_reason.as_deref().unwrap_or_default();
            fields.add("Removed", format!("by {removed}: {why}"));
        }
        let mut text = fields.render();
        if let Some(pending) = &self.pending {
            let mut fields = Fields::new();
            let given = pending.approvals.len();
            let given = format!("approved by {given} of {}", pending.approvals_required);
            fields.add("Awaiting", given);
            pending.add_to(&mut fields);
            fields.add(
                "First bundle",
                pending.bundle_digest.as_deref().unwrap_or_default(),
            );
            fields.add("Digest", &pending.digest);
            text = text + "\n" + &fields.render();
        }
        text
    }
}

/// All foreign trust domains.
#[derive(Debug, Serialize)]
pub(super) struct DomainList {
    pub(super) trust_domains: Vec<DomainView>,
}

impl View for DomainList {
    fn table(&self, look: &Look) -> String {
        if self.trust_domains.is_empty() {
            return "There is no federation with any trust domain.\n".to_owned();
        }
        let mut table = Table::new([
            "TRUST DOMAIN",
            "STATE",
            "PROFILE",
            "SEQUENCE",
            "FETCHED",
            "HOW",
        ]);
        for domain in &self.trust_domains {
            let version = domain.in_force.as_ref().or(domain.pending.as_ref());
            let sequence = domain.bundle.as_ref().and_then(|bundle| bundle.sequence);
            let how = match (&domain.failure, &domain.pending) {
                (Some(failure), _) => failure.clone(),
                (None, Some(pending)) => {
                    format!("awaits approval: {}", pending.digest)
                }
                (None, None) => String::new(),
            };
            table.row([
                domain.trust_domain.clone(),
                domain.state.clone(),
                version.map_or_else(String::new, |version| version.profile.clone()),
                sequence.map_or_else(|| "-".to_owned(), |sequence| sequence.to_string()),
                relative(domain.times.fetched, look.now),
                how,
            ]);
        }
        table.render(look.width)
    }
}
