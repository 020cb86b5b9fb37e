//! `symbolon client`: registrations and their states.
//!
//! A registration is never edited in place: `register` puts version 1 in
//! force, `update` takes the version in force, changes what is asked for and
//! adds the result as the next version, refused where somebody was faster.
//! Where approval is required, both only propose; `approve` names the digest of
//! what was looked at.
//! The agent checks every value; here only their form is read, so that there
//! is one truth about what is allowed.

mod apply;
mod content;
mod drafts;
mod export;
mod external;
mod govern;
mod history;
mod keys;
mod lint;
mod live;
mod metadata;
mod owners;
mod register;
mod spec;
mod stale;
mod stop;
mod update;
mod view;

use super::{
    console::Console,
    failure::{Exit, Failure},
    finding::FindingView,
    output::printable,
    socket::{AdminArgs, Link},
    whoami::approvals,
};
pub(super) use govern::{ApprovalView, DeclinedView};

use clap::{Args, Subcommand};
use live::LiveView;
use symbolon_proto::admin::{
    ChangeStateRequest, Client, GetClientRequest, GetInfoRequest, ListClientsRequest,
    ListHoldersRequest, admin_client::AdminClient,
};
use tonic::transport::Channel;
use view::{ClientList, ClientView};

/// Clients fetched at once; the agent allows at most as many.
const PAGE: u32 = 1_000;

const NOT_FOUND: &str = "`symbolon client list` shows what is registered.";

/// Register MCP clients and change their state
#[derive(Args, Debug)]
pub(super) struct ClientArgs {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(subcommand)]
    command: ClientCommand,
}

#[derive(Debug, Subcommand)]
enum ClientCommand {
    Register(register::RegisterArgs),
    Apply(apply::ApplyArgs),
    Export(export::ExportArgs),
    Show(ShowArgs),
    List(ListArgs),
    Lint(lint::LintArgs),
    Owners(owners::OwnersArgs),
    Stale(stale::StaleArgs),
    Update(update::UpdateArgs),
    Pending(govern::PendingArgs),
    Diff(history::DiffArgs),
    Approve(govern::ApproveArgs),
    Reject(govern::RejectArgs),
    Withdraw(govern::WithdrawArgs),
    History(history::HistoryArgs),
    Rollback(history::RollbackArgs),
    Suspend(stop::SuspendArgs),
    Resume(ResumeArgs),
    Revoke(stop::RevokeArgs),
    ReplaceKey(keys::ReplaceKeyArgs),
}

/// Show a client: state and version in force
#[derive(Args, Debug)]
struct ShowArgs {
    /// The client's name
    name: String,
    /// Also the processes that hold its identity now
    #[arg(long)]
    live: bool,
    /// Only its metadata document, as the agent serves it
    #[arg(long, conflicts_with = "live")]
    document: bool,
}

/// List clients
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon client list --state suspended
  symbolon client list -o json | jq -r '.clients[].spiffe_id'")]
struct ListArgs {
    /// Only clients of this owner
    #[arg(long, default_value = "", hide_default_value = true)]
    owner: String,
    /// Only clients in this state
    #[arg(long, value_parser = ["new", "active", "suspended", "revoked", "expired"])]
    state: Option<String>,
}

/// Resume a suspended client
///
/// Where approval is required, it stays suspended until others have approved that.
#[derive(Args, Debug)]
struct ResumeArgs {
    /// The client's name
    name: String,
    /// Why, for the audit trail
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

impl ClientArgs {
    pub(super) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let command = match self.command {
            // A file is judged without an agent.
            ClientCommand::Lint(args) if args.is_of_file() => return args.judge_file(console),
            command => command,
        };
        let link = self.admin.link(console);
        let mut admin = Admin {
            client: link.admin().await?,
            link,
        };
        let done = match command {
            ClientCommand::Register(args) => args.run(&mut admin, console).await,
            ClientCommand::Apply(args) => args.run(&mut admin, console).await,
            ClientCommand::Export(args) => args.run(&mut admin, console).await,
            ClientCommand::Update(args) => args.run(&mut admin, console).await,
            ClientCommand::Show(args) => args.run(&mut admin, console).await,
            ClientCommand::List(args) => args.run(&mut admin, console).await,
            ClientCommand::Lint(args) => args.run(&mut admin, console).await,
            ClientCommand::Owners(args) => args.run(&mut admin, console).await,
            ClientCommand::Stale(args) => args.run(&mut admin, console).await,
            ClientCommand::Pending(args) => args.run(&mut admin, console).await,
            ClientCommand::Diff(args) => args.run(&mut admin, console).await,
            ClientCommand::Approve(args) => args.run(&mut admin, console).await,
            ClientCommand::Reject(args) => args.run(&mut admin, console).await,
            ClientCommand::Withdraw(args) => args.run(&mut admin, console).await,
            ClientCommand::History(args) => args.run(&mut admin, console).await,
            ClientCommand::Rollback(args) => args.run(&mut admin, console).await,
            ClientCommand::Suspend(args) => args.run(&mut admin, console).await,
            ClientCommand::Resume(args) => args.run(&mut admin, console).await,
            ClientCommand::Revoke(args) => args.run(&mut admin, console).await,
            ClientCommand::ReplaceKey(args) => args.run(&mut admin, console).await,
        };
        done.map_err(|failure| failure.advise_if(Exit::NotFound, NOT_FOUND))
    }
}

impl ShowArgs {
    async fn run(self, admin: &mut Admin, console: &mut Console) -> Result<(), Failure> {
        let client = admin.show(&self.name).await?;
        if self.document {
            return print_document(&client, console);
        }
        let mut view = ClientView::from(client);
        if self.live {
            let request = ListHoldersRequest {
                name: self.name,
                limit: PAGE,
            };
            let call = admin.client.list_holders(request);
            view.live = Some(LiveView::from(admin.link.ask(call).await?));
        }
        console.show(&view)
    }
}

impl ListArgs {
    async fn run(self, admin: &mut Admin, console: &mut Console) -> Result<(), Failure> {
        let list = admin.list(self).await?;
        console.show(&list)?;
        if console.is_table() {
            let call = admin.client.get_info(GetInfoRequest {});
            let required = admin.link.ask(call).await?.approvals_required;
            if required == 0 {
                console.tell(&format!("Approval is {}.", approvals(required)));
            }
        }
        Ok(())
    }
}

impl ResumeArgs {
    async fn run(self, admin: &mut Admin, console: &mut Console) -> Result<(), Failure> {
        let Self { name, reason } = self;
        let request = ChangeStateRequest { name, reason };
        let client = admin.link.ask(admin.client.resume_client(request)).await?;
        let (what, how) = (govern::resumed(&client), govern::how_to_resume(&client));
        done(console, client, &what)?;
        govern::tell(console, how)
    }
}

/// The admin socket, connected.
#[derive(Debug)]
struct Admin {
    client: AdminClient<Channel>,
    link: Link,
}

impl Admin {
    async fn show(&mut self, name: &str) -> Result<Client, Failure> {
        let name = name.to_owned();
        let call = self.client.get_client(GetClientRequest { name });
        self.link.ask(call).await
    }

    async fn list(&mut self, args: ListArgs) -> Result<ClientList, Failure> {
        let request = ListClientsRequest {
            limit: PAGE,
            owner: args.owner,
            state: args.state.unwrap_or_default(),
            ..ListClientsRequest::default()
        };
        let clients = self.pages(request).await?;
        let clients = clients.into_iter().map(ClientView::from).collect();
        Ok(ClientList { clients })
    }

    /// All pages of a list.
    async fn pages(&mut self, mut request: ListClientsRequest) -> Result<Vec<Client>, Failure> {
        let mut clients = Vec::new();
        loop {
            let call = self.client.list_clients(request.clone());
            let page = self.link.ask(call).await?;
            let last = page.clients.last().map(|client| client.name.clone());
            clients.extend(page.clients);
            match last {
                Some(last) if page.more => request.after = last,
                _ => return Ok(clients),
            }
        }
    }
}

/// The very bytes, so that their digest can be taken.
fn print_document(client: &Client, console: &mut Console) -> Result<(), Failure> {
    if client.document.is_empty() {
        let failure = format!("the agent hosts no document of {}", printable(&client.name));
        return Err(Failure::new(Exit::NotFound, failure).advise(
            "It hosts those of clients with governed metadata, where identity.public_url is set: \
             agent/doc/client-metadata.md.",
        ));
    }
    console.write(client.document.as_bytes())
}

/// One line for a reader, the whole client for a program.
fn done(console: &mut Console, client: Client, what: &str) -> Result<(), Failure> {
    let view = ClientView::from(client);
    if !console.is_table() {
        return console.show(&view);
    }
    console.write(format!("{} {what}.\n", printable(&view.name)).as_bytes())
}

/// The same for a new version, with what makes it weak.
fn put_in_force(console: &mut Console, client: Client, what: &str) -> Result<(), Failure> {
    for finding in FindingView::all(client.findings.clone()) {
        // A serious one is in force because somebody accepted it.
        let how = if finding.is_serious() {
            "weak, accepted"
        } else {
            "weak"
        };
        console.tell(&format!("{how}: {}", finding.line()));
    }
    done(console, client, what)
}
