//! `symbolon client export`: registrations as documents, which `client apply` takes back.

use super::{Admin, PAGE, drafts};
use crate::{
    cli::{
        console::Console,
        failure::{Exit, Failure},
        output::Format,
    },
    registrations::{Form, Written, write},
    registry::{ClientName, SpecRules},
};
use clap::Args;
use symbolon_proto::admin::{Client, GetInfoRequest, ListClientsRequest};

/// Write registrations as documents that `client apply` takes
///
/// The content of the versions in force, of clients that are not revoked. Applied again they change nothing.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon client export --owner team-payments > payments.yaml
  symbolon client export payments --format toml")]
pub(super) struct ExportArgs {
    /// Only these clients
    names: Vec<String>,
    /// Only clients of this owner
    #[arg(
        long,
        conflicts_with = "names",
        default_value = "",
        hide_default_value = true
    )]
    owner: String,
    /// Only clients of this source
    #[arg(
        long,
        conflicts_with = "names",
        default_value = "",
        hide_default_value = true
    )]
    source: String,
    /// How the documents are written [default: yaml, or what --output says]
    #[arg(long, value_enum)]
    format: Option<FormArg>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum FormArg {
    /// An array of tables, `[[clients]]`
    Toml,
    /// Documents between --- lines
    Yaml,
    /// One object after the other
    Json,
}

impl ExportArgs {
    pub(super) async fn run(self, admin: &mut Admin, console: &mut Console) -> Result<(), Failure> {
        let info = admin.client.get_info(GetInfoRequest {});
        let info = admin.link.ask(info).await?;
        let rules = drafts::rules(&info.trust_domain)?;
        let form = match (self.format, console.format) {
            (Some(FormArg::Toml), _) => Form::Toml,
            (Some(FormArg::Json), _) | (None, Some(Format::Json)) => Form::Json,
            (Some(FormArg::Yaml), _) | (None, _) => Form::Yaml,
        };
        let clients = self.clients(admin).await?;
        let documents = clients.into_iter().map(|client| document(client, &rules));
        let documents = documents.collect::<Result<Vec<_>, _>>()?;
        let text = write(&documents, form).map_err(anyhow::Error::from)?;
        console.write(text.as_bytes())
    }

    /// The clients that are asked for; of those that are not named, only such as can be applied.
    async fn clients(self, admin: &mut Admin) -> Result<Vec<Client>, Failure> {
        if self.names.is_empty() {
            let request = ListClientsRequest {
                limit: PAGE,
                owner: self.owner,
                source: self.source,
                ..ListClientsRequest::default()
            };
            let mut clients = admin.pages(request).await?;
            clients.retain(|client| client.state != "revoked");
            return Ok(clients);
        }
        let mut clients = Vec::new();
        for name in &self.names {
            let client = admin.show(name).await?;
            if client.state == "revoked" {
                let failure = format!("{name} is revoked: no document brings it back");
                return Err(Failure::new(Exit::Failed, failure));
            }
            clients.push(client);
        }
        Ok(clients)
    }
}

fn document(client: Client, rules: &SpecRules) -> Result<Written, Failure> {
    let name = client.name.parse::<ClientName>();
    let name = name.map_err(anyhow::Error::from)?;
    let draft = drafts::draft_of(client.spec.unwrap_or_default());
    let draft = draft.ok_or_else(|| {
        let failure = format!("{name} has something that this program does not know");
        Failure::new(Exit::Failed, failure)
            .advise("Use a `symbolon` of the agent's version: `symbolon health --details`.")
    })?;
    Ok(Written::of(&name, draft, rules))
}
