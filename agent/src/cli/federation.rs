//! `symbolon federation`: foreign trust domains, whose SVIDs our clients may verify.

mod view;

use self::view::{DomainList, DomainView};
use super::{
    console::Console,
    failure::{Exit, Failure},
    output::{count, printable},
    socket::{AdminArgs, Link},
};
use crate::authority::MAX_BUNDLE_BYTES;
use clap::{Args, Subcommand};
use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};
use symbolon_proto::admin::{
    AddTrustDomainRequest, BundleEndpoint, GetTrustDomainRequest, ListTrustDomainsRequest,
    RemoveTrustDomainRequest, TrustDomain, TrustDomainDecision, admin_client::AdminClient,
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
    Withdraw(WithdrawArgs),
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
    #[command(flatten)]
    what: ProposalArgs,
    /// Why, for the audit trail
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

/// Reject a federation that was proposed
#[derive(Args, Debug)]
struct RejectArgs {
    #[command(flatten)]
    what: ProposalArgs,
    /// Why, for the audit trail
    #[arg(long)]
    reason: String,
}

/// Withdraw a federation that you have proposed
#[derive(Args, Debug)]
struct WithdrawArgs {
    #[command(flatten)]
    what: ProposalArgs,
    /// Why, for the audit trail
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

#[derive(Args, Debug)]
struct ProposalArgs {
    /// The trust domain
    name: String,
    /// The digest of what you looked at
    #[arg(long)]
    digest: String,
}

impl ProposalArgs {
    fn decision(self, reason: String) -> TrustDomainDecision {
        let Self { name, digest } = self;
        TrustDomainDecision {
            name,
            digest,
            reason,
        }
    }
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
            FederationCommand::Withdraw(args) => args.run(&mut admin, console).await,
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
        let request = self.what.decision(self.reason);
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
        let request = self.what.decision(self.reason);
        let call = admin.client.reject_trust_domain(request);
        let domain = admin.link.ask(call).await?;
        say(console, domain, "is rejected")
    }
}

impl WithdrawArgs {
    async fn run(self, admin: &mut Admin, console: &mut Console) -> Result<(), Failure> {
        let request = self.what.decision(self.reason);
        let call = admin.client.withdraw_trust_domain(request);
        let domain = admin.link.ask(call).await?;
        say(console, domain, "is withdrawn")
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
