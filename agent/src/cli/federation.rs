//! `symbolon federation`: foreign trust domains, whose SVIDs our clients may verify.

use super::{
    client::ApprovalView,
    console::Console,
    failure::{Exit, Failure},
    moment::{exact, relative},
    output::{Fields, Look, Table, View, count, or_dash, printable, some},
    socket::{AdminArgs, Link},
};
use crate::authority::MAX_BUNDLE_BYTES;
use clap::{Args, Subcommand};
use serde::Serialize;
use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};
use symbolon_proto::admin::{
    AddTrustDomainRequest, BundleEndpoint, FederationVersion, GetTrustDomainRequest,
    ListTrustDomainsRequest, RemoveTrustDomainRequest, TrustDomain, TrustDomainDecision,
    admin_client::AdminClient,
};
use tonic::transport::Channel;

const NOT_FOUND: &str = "`symbolon federation list` shows the trust domains.";

/// Federate with foreign trust domains
///
/// Clients whose registration lists the trust domain under `federates_with` get its bundle, and
/// with it verify what comes from there. Nobody else does.
#[derive(Args, Debug)]
pub(super) struct FederationArgs {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(subcommand)]
    command: FederationCommand,
}

#[derive(Debug, Subcommand)]
enum FederationCommand {
    Add(AddArgs),
    List(ListArgs),
    Show(ShowArgs),
    Remove(RemoveArgs),
    Approve(ApproveArgs),
    Reject(RejectArgs),
}

/// Federate with a trust domain
///
/// Its bundle is fetched from the URL from then on. Where approval is required, this only proposes.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon federation add other.example --url https://id.other.example/bundle --profile https_web --reason 'their MCP servers'
  symbolon federation add other.example --url https://10.1.2.3:8443/bundle --profile https_spiffe \\
    --endpoint-spiffe-id spiffe://other.example/bundles --bundle other.json --reason 'their MCP servers'")]
struct AddArgs {
    /// The foreign trust domain
    name: String,
    /// Where its bundle is fetched
    #[arg(long)]
    url: String,
    /// How the endpoint proves who it is: by the Web PKI, or by an X.509-SVID
    #[arg(long, value_parser = ["https_web", "https_spiffe"])]
    profile: String,
    /// The endpoint's SPIFFE ID, with the profile of SVIDs
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    endpoint_spiffe_id: String,
    /// The bundle to begin with, got in a way that can be trusted: a SPIFFE bundle in JSON
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Take the place of what is in force, or awaits approval
    #[arg(long)]
    replace: bool,
    /// Why, for the audit trail
    #[arg(long)]
    reason: String,
}

/// List foreign trust domains
#[derive(Args, Debug)]
struct ListArgs {}

/// Show a foreign trust domain: its endpoint, its bundle, and how fetching goes
#[derive(Args, Debug)]
struct ShowArgs {
    /// The trust domain
    name: String,
}

/// End the federation with a trust domain
///
/// Its bundle is taken from all clients at once. Needs nobody's approval.
#[derive(Args, Debug)]
struct RemoveArgs {
    /// The trust domain
    name: String,
    /// Why, for the audit trail
    #[arg(long)]
    reason: String,
}

/// Approve a federation that somebody else proposed
#[derive(Args, Debug)]
struct ApproveArgs {
    /// The trust domain
    name: String,
    /// The digest of what you looked at
    #[arg(long)]
    digest: String,
    /// Why, for the audit trail
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

/// Reject a federation that was proposed
#[derive(Args, Debug)]
struct RejectArgs {
    /// The trust domain
    name: String,
    /// The digest of what you looked at
    #[arg(long)]
    digest: String,
    /// Why, for the audit trail
    #[arg(long)]
    reason: String,
}

#[derive(Debug)]
struct Admin {
    client: AdminClient<Channel>,
    link: Link,
}

impl FederationArgs {
    pub(super) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let link = self.admin.link(console);
        let mut admin = Admin {
            client: link.admin().await?,
            link,
        };
        let done = match self.command {
            FederationCommand::Add(args) => args.run(&mut admin, console).await,
            FederationCommand::List(args) => args.run(&mut admin, console).await,
            FederationCommand::Show(args) => args.run(&mut admin, console).await,
            FederationCommand::Remove(args) => args.run(&mut admin, console).await,
            FederationCommand::Approve(args) => args.run(&mut admin, console).await,
            FederationCommand::Reject(args) => args.run(&mut admin, console).await,
        };
        done.map_err(|failure| failure.advise_if(Exit::NotFound, NOT_FOUND))
    }
}

impl AddArgs {
    async fn run(self, admin: &mut Admin, console: &mut Console) -> Result<(), Failure> {
        let bundle = self.bundle.as_deref().map(read).transpose()?;
        let endpoint = BundleEndpoint {
            url: self.url,
            profile: self.profile,
            endpoint_spiffe_id: self.endpoint_spiffe_id,
            bundle: bundle.unwrap_or_default(),
            bundle_digest: String::new(),
        };
        let request = AddTrustDomainRequest {
            name: self.name,
            endpoint: Some(endpoint),
            reason: self.reason,
            replace: self.replace,
        };
        let call = admin.client.add_trust_domain(request);
        let domain = admin.link.ask(call).await?;
        let how = domain.pending.as_ref().map(|pending| {
            format!(
                "symbolon federation approve {} --digest {}\n",
                printable(&domain.name),
                printable(&pending.digest)
            )
        });
        let what = match &domain.pending {
            Some(pending) => {
                let required = pending.approvals_required.into();
                format!("awaits {}", count(required, "approval", "approvals"))
            }
            None => "is federated with: its bundle is fetched".to_owned(),
        };
        say(console, domain, &what)?;
        match how.filter(|_| console.is_table()) {
            Some(how) => console.write(how.as_bytes()),
            None => Ok(()),
        }
    }
}

/// A bundle of a file, which is not larger than bundles are.
fn read(path: &Path) -> Result<String, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        let path = path.display().to_string();
        Failure::new(Exit::Usage, format!("{}: {error}", printable(&path)))
    };
    let mut file = File::open(path)
        .map_err(|error| failed(&error))?
        .take(MAX_BUNDLE_BYTES as u64 + 1);
    let mut text = String::new();
    file.read_to_string(&mut text)
        .map_err(|error| failed(&error))?;
    if text.len() > MAX_BUNDLE_BYTES {
        let error = format!("a bundle has at most {MAX_BUNDLE_BYTES} bytes");
        return Err(failed(&error));
    }
    Ok(text)
}

impl ListArgs {
    async fn run(self, admin: &mut Admin, console: &mut Console) -> Result<(), Failure> {
        let Self {} = self;
        let call = admin.client.list_trust_domains(ListTrustDomainsRequest {});
        let all = admin.link.ask(call).await?.trust_domains;
        let trust_domains = all.into_iter().map(DomainView::from).collect();
        console.show(&DomainList { trust_domains })
    }
}

impl ShowArgs {
    async fn run(self, admin: &mut Admin, console: &mut Console) -> Result<(), Failure> {
        let request = GetTrustDomainRequest { name: self.name };
        let domain = admin
            .link
            .ask(admin.client.get_trust_domain(request))
            .await?;
        console.show(&DomainView::from(domain))
    }
}

impl RemoveArgs {
    async fn run(self, admin: &mut Admin, console: &mut Console) -> Result<(), Failure> {
        let Self { name, reason } = self;
        let request = RemoveTrustDomainRequest { name, reason };
        let call = admin.client.remove_trust_domain(request);
        let domain = admin.link.ask(call).await?;
        say(
            console,
            domain,
            "is foreign again: no client has its bundle",
        )
    }
}

impl ApproveArgs {
    async fn run(self, admin: &mut Admin, console: &mut Console) -> Result<(), Failure> {
        let Self {
            name,
            digest,
            reason,
        } = self;
        let request = TrustDomainDecision {
            name,
            digest,
            reason,
        };
        let call = admin.client.approve_trust_domain(request);
        let domain = admin.link.ask(call).await?;
        let what = match &domain.pending {
            Some(pending) => format!(
                "is approved by {} of {} and awaits more",
                pending.approvals.len(),
                pending.approvals_required
            ),
            None => "is approved: its bundle is fetched".to_owned(),
        };
        say(console, domain, &what)
    }
}

impl RejectArgs {
    async fn run(self, admin: &mut Admin, console: &mut Console) -> Result<(), Failure> {
        let Self {
            name,
            digest,
            reason,
        } = self;
        let request = TrustDomainDecision {
            name,
            digest,
            reason,
        };
        let call = admin.client.reject_trust_domain(request);
        let domain = admin.link.ask(call).await?;
        say(console, domain, "is rejected")
    }
}

/// One line for a reader, the whole trust domain for a program.
fn say(console: &mut Console, domain: TrustDomain, what: &str) -> Result<(), Failure> {
    if console.is_table() {
        let line = format!("{} {what}.\n", printable(&domain.name));
        return console.write(line.as_bytes());
    }
    console.show(&DomainView::from(domain))
}

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
struct DomainView {
    trust_domain: String,
    state: String,
    clients: u64,
    in_force: Option<VersionView>,
    pending: Option<VersionView>,
    removed_by: Option<String>,
    removed_at: Option<String>,
    removed_reason: Option<String>,
    bundle: Option<BundleView>,
    fetched_at: Option<String>,
    failing_since: Option<String>,
    failure: Option<String>,
    next_at: Option<String>,
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
            removed_by: some(domain.removed_by),
            removed_at: exact(domain.removed_at),
            removed_reason: some(domain.removed_reason),
            bundle,
            fetched_at: exact(domain.fetched_at),
            failing_since: exact(domain.failing_since),
            failure: some(domain.failure),
            next_at: exact(domain.next_at),
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
struct DomainList {
    trust_domains: Vec<DomainView>,
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
