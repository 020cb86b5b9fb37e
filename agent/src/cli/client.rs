//! `symbolon client`: registrations and their states.
//!
//! A registration is never edited in place: `register` puts version 1 in
//! force, `update` takes the version in force, changes what is asked for and
//! adds the result as the next version, refused where somebody was faster.
//! The agent checks every value; here only their form is read, so that there
//! is one truth about what is allowed.

mod apply;
mod lint;
mod register;
mod spec;
mod update;
mod view;

use super::{
    console::Console,
    failure::{Exit, Failure},
    finding::FindingView,
    output::printable,
    socket::{AdminArgs, Link},
};
use clap::{Args, Subcommand};
use symbolon_proto::admin::{
    ChangeStateRequest, Client, GetClientRequest, ListClientsRequest, admin_client::AdminClient,
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
    Show(ShowArgs),
    List(ListArgs),
    Lint(lint::LintArgs),
    Update(update::UpdateArgs),
    Suspend(SuspendArgs),
    Resume(ResumeArgs),
    Revoke(RevokeArgs),
}

/// Show a client: state and version in force
#[derive(Args, Debug)]
struct ShowArgs {
    /// The client's name
    name: String,
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

/// Suspend a client: its identities end until it is resumed
#[derive(Args, Debug)]
struct SuspendArgs {
    /// The client's name
    name: String,
    /// Why, for the audit trail
    #[arg(long)]
    reason: String,
}

/// Resume a suspended client
#[derive(Args, Debug)]
struct ResumeArgs {
    /// The client's name
    name: String,
    /// Why, for the audit trail
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

/// Revoke a client for ever
///
/// Its identities end at once; its name and SPIFFE ID are never used again. SVIDs that it already holds stay valid at other verifiers until they expire.
#[derive(Args, Debug)]
struct RevokeArgs {
    /// The client's name
    name: String,
    /// Why, for the audit trail
    #[arg(long)]
    reason: String,
}

impl ClientArgs {
    pub(super) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let link = self.admin.link(console);
        let mut admin = Admin {
            client: link.admin().await?,
            link,
        };
        let done = match self.command {
            ClientCommand::Register(args) => args.run(&mut admin, console).await,
            ClientCommand::Apply(args) => args.run(&mut admin, console).await,
            ClientCommand::Update(args) => args.run(&mut admin, console).await,
            ClientCommand::Show(args) => args.run(&mut admin, console).await,
            ClientCommand::List(args) => args.run(&mut admin, console).await,
            ClientCommand::Lint(args) => args.run(&mut admin, console).await,
            ClientCommand::Suspend(args) => args.run(&mut admin, console).await,
            ClientCommand::Resume(args) => args.run(&mut admin, console).await,
            ClientCommand::Revoke(args) => args.run(&mut admin, console).await,
        };
        done.map_err(|failure| failure.advise_if(Exit::NotFound, NOT_FOUND))
    }
}

impl ShowArgs {
    async fn run(self, admin: &mut Admin, console: &mut Console) -> Result<(), Failure> {
        let client = admin.show(&self.name).await?;
        console.show(&ClientView::from(client))
    }
}

impl ListArgs {
    async fn run(self, admin: &mut Admin, console: &mut Console) -> Result<(), Failure> {
        let list = admin.list(self).await?;
        console.show(&list)
    }
}

impl SuspendArgs {
    async fn run(self, admin: &mut Admin, console: &mut Console) -> Result<(), Failure> {
        let Self { name, reason } = self;
        let request = ChangeStateRequest { name, reason };
        let client = admin.link.ask(admin.client.suspend_client(request)).await?;
        done(console, client, "is suspended: its identities have ended")
    }
}

impl ResumeArgs {
    async fn run(self, admin: &mut Admin, console: &mut Console) -> Result<(), Failure> {
        let Self { name, reason } = self;
        let request = ChangeStateRequest { name, reason };
        let client = admin.link.ask(admin.client.resume_client(request)).await?;
        done(console, client, "is active again")
    }
}

impl RevokeArgs {
    async fn run(self, admin: &mut Admin, console: &mut Console) -> Result<(), Failure> {
        let Self { name, reason } = self;
        let request = ChangeStateRequest { name, reason };
        let client = admin.link.ask(admin.client.revoke_client(request)).await?;
        done(
            console,
            client,
            "is revoked for ever: its identities have ended",
        )
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
        let mut request = ListClientsRequest {
            after: String::new(),
            limit: PAGE,
            owner: args.owner,
            state: args.state.unwrap_or_default(),
            pending: false,
        };
        let mut clients = Vec::new();
        loop {
            let call = self.client.list_clients(request.clone());
            let page = self.link.ask(call).await?;
            let last = page.clients.last().map(|client| client.name.clone());
            clients.extend(page.clients.into_iter().map(ClientView::from));
            match last {
                Some(last) if page.more => request.after = last,
                _ => return Ok(ClientList { clients }),
            }
        }
    }
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
