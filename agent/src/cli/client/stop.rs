//! `symbolon client suspend` and `revoke`: one client, or all of an owner or with a selector.

use super::{Admin, done};
use crate::cli::{
    console::Console,
    failure::{Exit, Failure},
    output::{Look, View, count, printable},
};
use clap::Args;
use serde::Serialize;
use symbolon_proto::admin::{
    ChangeManyStatesRequest, ChangeManyStatesResponse, ChangeStateRequest,
};

/// Suspend a client: its identities end until it is resumed
///
/// Needs nobody's approval. With --owner or --selector every client that has it, in one command.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon client suspend payments --reason 'token seen elsewhere'
  symbolon client suspend --owner team-payments --reason 'laptop stolen'
  symbolon client suspend --selector unix:uid:1203 --reason 'CVE-2026-1234'")]
pub(super) struct SuspendArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// Why, for the audit trail
    #[arg(long)]
    reason: String,
}

/// Revoke a client for ever
///
/// Its identities end at once; its name and SPIFFE ID are never used again. SVIDs that it already holds stay valid at other verifiers until they expire.
/// Needs nobody's approval. With --owner or --selector every client that has it, in one command.
#[derive(Args, Debug)]
pub(super) struct RevokeArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// Why, for the audit trail
    #[arg(long)]
    reason: String,
}

#[derive(Args, Debug)]
struct WhichArgs {
    /// The client's name
    #[arg(required_unless_present_any = ["owner", "selector"], conflicts_with_all = ["owner", "selector"])]
    name: Option<String>,
    /// All clients of this owner
    #[arg(long, conflicts_with = "selector")]
    owner: Option<String>,
    /// All clients with this selector in one of their sets
    #[arg(long, value_name = "TYPE:VALUE")]
    selector: Option<String>,
}

impl SuspendArgs {
    pub(super) async fn run(self, admin: &mut Admin, console: &mut Console) -> Result<(), Failure> {
        let Self { which, reason } = self;
        let Some(name) = which.name else {
            return which.stop("suspended", reason, admin, console).await;
        };
        let request = ChangeStateRequest { name, reason };
        let client = admin.link.ask(admin.client.suspend_client(request)).await?;
        done(console, client, "is suspended: its identities have ended")
    }
}

impl RevokeArgs {
    pub(super) async fn run(self, admin: &mut Admin, console: &mut Console) -> Result<(), Failure> {
        let Self { which, reason } = self;
        let Some(name) = which.name else {
            return which.stop("revoked", reason, admin, console).await;
        };
        let request = ChangeStateRequest { name, reason };
        let client = admin.link.ask(admin.client.revoke_client(request)).await?;
        done(
            console,
            client,
            "is revoked for ever: its identities have ended",
        )
    }
}

impl WhichArgs {
    async fn stop(
        self,
        state: &'static str,
        reason: String,
        admin: &mut Admin,
        console: &mut Console,
    ) -> Result<(), Failure> {
        let request = ChangeManyStatesRequest {
            owner: self.owner.unwrap_or_default(),
            selector: self.selector.unwrap_or_default(),
            state: state.to_owned(),
            reason,
            ..ChangeManyStatesRequest::default()
        };
        let changed = admin
            .link
            .ask(admin.client.change_many_states(request))
            .await?;
        let many = ManyView::new(changed, state);
        console.show(&many)?;
        if many.failed > 0 {
            let failure = format!("{} could not be {state}", clients(many.failed));
            return Err(Failure::new(Exit::Failed, failure).advise("Repeat the command."));
        }
        if many.changed == 0 {
            let failure = format!("there is no client that could be {state}");
            return Err(Failure::new(Exit::NotFound, failure));
        }
        Ok(())
    }
}

fn clients(number: u64) -> String {
    count(number, "client", "clients")
}

#[derive(Debug, Serialize)]
struct ManyView {
    state: &'static str,
    changed: u64,
    names: Vec<String>,
    failed: u64,
    failures: Vec<FailureView>,
}

#[derive(Debug, Serialize)]
struct FailureView {
    name: String,
    why: String,
}

impl ManyView {
    fn new(changed: ChangeManyStatesResponse, state: &'static str) -> Self {
        let failure = |failure: symbolon_proto::admin::FailedChange| FailureView {
            name: failure.name,
            why: failure.why,
        };
        Self {
            state,
            changed: changed.changed,
            names: changed.names,
            failed: changed.failed,
            failures: changed.failures.into_iter().map(failure).collect(),
        }
    }
}

impl View for ManyView {
    fn table(&self, _: &Look) -> String {
        let mut text = String::new();
        for name in &self.names {
            text.push_str(&format!("{} is {}.\n", printable(name), self.state));
        }
        for FailureView { name, why } in &self.failures {
            let (name, why) = (printable(name), printable(why));
            text.push_str(&format!("{name} failed: {why}\n"));
        }
        text + &format!("{} {}.\n", clients(self.changed), self.state)
    }
}
