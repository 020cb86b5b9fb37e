//! A client as the command line shows it.

use super::{
    external::ExternalView,
    govern::{ApprovalView, DeclinedView, Proposal, names},
    keys::KeyView,
    live::LiveView,
    metadata::MetadataView,
};
use crate::cli::{
    finding::{AcceptedView, FindingView},
    moment::{duration, exact, relative},
    output::{Fields, Look, Table, View, count, or_dash, printable, some},
};
use serde::Serialize;
use symbolon_proto::admin::Client;

/// One client; `agent/doc/cli.md` documents the fields.
#[derive(Clone, Debug, Serialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the fields of an output, each of which stands for itself"
)]
pub(super) struct ClientView {
    pub(super) name: String,
    state: String,
    state_reason: Option<String>,
    state_changed_at: Option<String>,
    version: u64,
    digest: String,
    author: String,
    created_at: Option<String>,
    updated_at: Option<String>,
    owner: String,
    purpose: Option<String>,
    spiffe_id: String,
    selector_sets: Vec<Vec<String>>,
    audiences: Vec<String>,
    max_audiences: u32,
    x509_ttl: Option<u64>,
    jwt_ttl: Option<u64>,
    hint: Option<String>,
    dns_names: Vec<String>,
    expires_at: Option<String>,
    forbid_inheritable: bool,
    allow_foreign_user_namespaces: bool,
    required_attestors: Vec<String>,
    accepted_weaknesses: Option<AcceptedView>,
    findings: Vec<FindingView>,
    warnings: Vec<String>,
    processes: u64,
    review_by: Option<String>,
    source: Option<String>,
    client_id: Option<String>,
    metadata: Option<MetadataView>,
    authorization_servers: Vec<String>,
    federates_with: Vec<String>,
    in_force: bool,
    approvals_required: u32,
    approvals: Vec<ApprovalView>,
    pending: Option<Proposal>,
    pending_resumption: Option<Proposal>,
    declined: Option<DeclinedView>,
    declined_resumption: Option<DeclinedView>,
    keys: Vec<KeyView>,
    jwks_digest: Option<String>,
    /// Only where others host the client's document, once it was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    external_document: Option<ExternalView>,
    /// Only where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) live: Option<LiveView>,
    #[serde(skip)]
    times: Times,
}

/// The times in Unix seconds, for tables.
#[derive(Clone, Copy, Debug)]
struct Times {
    state_changed: i64,
    updated: i64,
    expires: i64,
    review: i64,
}

impl ClientView {
    /// The fields that a version holds and `update` can change.
    pub(super) const CONTENT: [&'static str; 20] = [
        "owner",
        "purpose",
        "spiffe_id",
        "selector_sets",
        "audiences",
        "max_audiences",
        "x509_ttl",
        "jwt_ttl",
        "hint",
        "dns_names",
        "expires_at",
        "forbid_inheritable",
        "allow_foreign_user_namespaces",
        "required_attestors",
        "accepted_weaknesses",
        "review_by",
        "source",
        "metadata",
        "authorization_servers",
        "federates_with",
    ];
}

impl From<Client> for ClientView {
    fn from(client: Client) -> Self {
        let spec = client.spec.unwrap_or_default();
        let set = |seconds: u64| (seconds > 0).then_some(seconds);
        Self {
            name: client.name,
            state: client.state,
            state_reason: some(client.state_reason),
            state_changed_at: exact(client.state_changed_at),
            version: client.version,
            digest: client.digest,
            author: client.author,
            created_at: exact(client.created_at),
            updated_at: exact(client.updated_at),
            owner: spec.owner,
            purpose: some(spec.purpose),
            spiffe_id: spec.spiffe_id,
            selector_sets: spec
                .selector_sets
                .into_iter()
                .map(|set| set.selectors)
                .collect(),
            audiences: spec.audiences,
            max_audiences: spec.max_audiences.max(1),
            x509_ttl: set(spec.x509_ttl),
            jwt_ttl: set(spec.jwt_ttl),
            hint: some(spec.hint),
            dns_names: spec.dns_names,
            expires_at: exact(spec.expires_at),
            forbid_inheritable: spec.forbid_inheritable,
            allow_foreign_user_namespaces: spec.allow_foreign_user_namespaces,
            required_attestors: spec.required_attestors,
            accepted_weaknesses: spec.accepted_weaknesses.map(AcceptedView::from),
            findings: FindingView::all(client.findings),
            warnings: client.warnings,
            processes: client.processes,
            review_by: exact(spec.review_by),
            source: some(spec.source),
            client_id: some(client.client_id),
            metadata: spec.metadata.map(MetadataView::from),
            authorization_servers: spec.authorization_servers,
            federates_with: spec.federates_with,
            in_force: client.in_force,
            approvals_required: client.approvals_required,
            approvals: ApprovalView::all(client.approvals),
            pending: client.pending.map(Proposal::from),
            pending_resumption: client.pending_resumption.map(Proposal::from),
            declined: client.declined.map(DeclinedView::from),
            declined_resumption: client.declined_resumption.map(DeclinedView::from),
            keys: KeyView::all(client.keys),
            jwks_digest: some(client.jwks_digest),
            external_document: client.external_document.map(ExternalView::from),
            live: None,
            times: Times {
                state_changed: client.state_changed_at,
                updated: client.updated_at,
                expires: spec.expires_at,
                review: spec.review_by,
            },
        }
    }
}

impl View for ClientView {
    fn table(&self, look: &Look) -> String {
        let live = self.live.as_ref().map(|live| live.table(look));
        let mut fields = self.fields(look);
        if let Some(seen) = &self.external_document {
            fields.add("Document", seen.line(look.now));
            fields.list("", &seen.findings);
        }
        fields.render() + &live.unwrap_or_default()
    }
}

impl ClientView {
    fn fields(&self, look: &Look) -> Fields {
        let mut fields = Fields::new();
        fields.add("Name", &self.name);
        fields.add("State", self.state_line(look.now));
        fields.add("SPIFFE ID", &self.spiffe_id);
        fields.add("Owner", &self.owner);
        fields.add("Purpose", self.purpose.as_deref().unwrap_or_default());
        for (index, set) in self.selector_sets.iter().enumerate() {
            let name = if index == 0 { "Selectors" } else { "  or" };
            fields.list(name, set);
        }
        fields.list("Audiences", &self.audiences);
        if self.max_audiences > 1 {
            fields.add("", format!("at most {} in a token", self.max_audiences));
        }
        if let Some(ttl) = self.x509_ttl {
            fields.add("X.509 TTL", format!("at most {}", duration(ttl)));
        }
        if let Some(ttl) = self.jwt_ttl {
            fields.add("JWT TTL", format!("at most {}", duration(ttl)));
        }
        fields.add("Hint", self.hint.as_deref().unwrap_or_default());
        fields.list("DNS names", &self.dns_names);
        if self.times.expires != 0 {
            fields.add("Expires", relative(self.times.expires, look.now));
        }
        if self.times.review != 0 {
            fields.add("Review by", relative(self.times.review, look.now));
        }
        fields.add("Source", self.source.as_deref().unwrap_or_default());
        self.add_oauth(&mut fields);
        self.add_demands(&mut fields);
        fields.add("Version", self.version_line(look.now));
        fields.add("Digest", &self.digest);
        fields.add("Approved", names(&self.approvals));
        for pending in [&self.pending, &self.pending_resumption]
            .into_iter()
            .flatten()
        {
            fields.add("Pending", pending.line(look.now));
            fields.add("", pending.approvals_line());
            fields.add("", pending.digest_line());
        }
        if let Some(declined) = &self.declined {
            fields.add("Declined", declined.line("version"));
        }
        if let Some(declined) = &self.declined_resumption {
            fields.add("Declined", declined.line("resumption"));
        }
        fields.list("Keys", &KeyView::lines(&self.keys, look.now));
        fields.add("Held by", count(self.processes, "process", "processes"));
        self.add_weaknesses(&mut fields);
        fields
    }

    fn add_weaknesses(&self, fields: &mut Fields) {
        let weak: Vec<_> = self.findings.iter().map(FindingView::sentence).collect();
        fields.list("Weak", &weak);
        if let Some(accepted) = &self.accepted_weaknesses {
            fields.add("Accepted", accepted.line());
        }
    }

    /// What is demanded beside the selectors.
    fn add_demands(&self, fields: &mut Fields) {
        if self.forbid_inheritable {
            fields.add("Connection", "never inheritable");
        }
        if self.allow_foreign_user_namespaces {
            fields.add("Namespaces", "foreign user namespaces are admitted");
        }
        fields.add("Demands", self.required_attestors.join(", "));
    }

    /// What it is for authorization servers and for other trust domains.
    fn add_oauth(&self, fields: &mut Fields) {
        fields.add("Client ID", self.client_id.as_deref().unwrap_or_default());
        if let Some(metadata) = &self.metadata {
            metadata.add_to(fields);
        }
        fields.list("Tokens from", &self.authorization_servers);
        fields.list("Federates", &self.federates_with);
    }

    /// The words for what is weak about it.
    fn weaknesses(&self) -> String {
        let mut ids: Vec<_> = self.findings.iter().map(|f| f.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.join(", ")
    }

    fn state_line(&self, now: i64) -> String {
        let mut line = self.state.clone();
        if !self.in_force && self.state == "suspended" {
            line.push_str(", no version was ever in force");
        }
        if self.times.state_changed != 0 && self.state != "active" {
            line.push_str(&format!(", {}", relative(self.times.state_changed, now)));
        }
        if let Some(reason) = &self.state_reason {
            line.push_str(&format!(": {reason}"));
        }
        line
    }

    fn version_line(&self, now: i64) -> String {
        let updated = relative(self.times.updated, now);
        format!("{}, {updated} by {}", self.version, or_dash(&self.author))
    }
}

/// Several clients.
#[derive(Debug, Serialize)]
pub(super) struct ClientList {
    pub(super) clients: Vec<ClientView>,
}

impl View for ClientList {
    fn table(&self, look: &Look) -> String {
        if self.clients.is_empty() {
            return "No clients.\n".to_owned();
        }
        let mut table = Table::new([
            "NAME",
            "STATE",
            "OWNER",
            "SPIFFE ID",
            "HELD BY",
            "EXPIRES",
            "WEAK",
        ]);
        for client in &self.clients {
            table.row([
                client.name.clone(),
                client.short_state(),
                client.owner.clone(),
                client.spiffe_id.clone(),
                client.processes.to_string(),
                relative(client.times.expires, look.now),
                or_dash(&client.weaknesses()).to_owned(),
            ]);
        }
        table.render(look.width) + &self.remarks(look.now)
    }
}

/// Seconds before a registration ends within which that is said.
const SOON: i64 = 7 * 86_400;

impl ClientView {
    fn short_state(&self) -> String {
        match self.pending.is_some() || self.pending_resumption.is_some() {
            true => format!("{} (pending)", self.state),
            false => self.state.clone(),
        }
    }
}

impl ClientList {
    /// What somebody should look after, a line for each.
    fn remarks(&self, now: i64) -> String {
        let mut lines = String::new();
        for client in &self.clients {
            let Times {
                expires, review, ..
            } = client.times;
            let name = printable(&client.name);
            if client.state == "active" && expires > now && expires - now < SOON {
                lines.push_str(&format!("{name} expires {}.\n", relative(expires, now)));
            }
            let is_open = client.state == "active" || client.state == "suspended";
            if is_open && review != 0 && review <= now {
                let due = relative(review, now);
                lines.push_str(&format!("The review of {name} was due {due}.\n"));
            }
        }
        if lines.is_empty() {
            lines
        } else {
            format!("\n{lines}")
        }
    }
}
