//! What awaits approval, and the words that are said about it.

use super::{Admin, PAGE, view::ClientView};
use crate::cli::{
    console::Console,
    failure::Failure,
    moment::{exact, relative},
    output::{Look, Table, View, count, or_dash, printable, some},
};
use clap::Args;
use serde::Serialize;
use symbolon_proto::admin::{
    Approval, Client, DecisionRequest, Declined, ListClientsRequest, PendingResumption,
    PendingVersion,
};

/// Digits of a digest that a table shows.
const SHORT: usize = 12;

/// What to do about a weakness that is found when a version is approved.
const NO_ACCEPTANCE: &str = "An approval accepts no weakness: the author proposes the version anew, \
    with other selectors or with `symbolon client update NAME --accept-weak REASON`.";

/// Approve what awaits approval
///
/// The digest is the one that `client pending -o json`, `client show` or `client diff` showed: where something else
/// awaits approval by now, nothing is approved. Who proposed it does not count as approver.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon client diff payments
  symbolon client approve payments --version 4 --digest 9d2f...
  symbolon client approve payments --resumption 2 --digest 07ab... --reason 'key was rotated'")]
pub(super) struct ApproveArgs {
    #[command(flatten)]
    what: WhatArgs,
    /// Why, for the audit trail
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

/// Reject what awaits approval
#[derive(Args, Debug)]
pub(super) struct RejectArgs {
    #[command(flatten)]
    what: WhatArgs,
    /// Why, for the author and the audit trail
    #[arg(long)]
    reason: String,
}

/// Withdraw what you have proposed
#[derive(Args, Debug)]
pub(super) struct WithdrawArgs {
    #[command(flatten)]
    what: WhatArgs,
    /// Why, for the audit trail
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

#[derive(Args, Debug)]
struct WhatArgs {
    /// The client's name
    name: String,
    /// The number of the version that awaits approval
    #[arg(long, value_name = "N", required_unless_present = "resumption", value_parser = clap::value_parser!(u64).range(1..))]
    version: Option<u64>,
    /// The number of the resumption that awaits approval
    #[arg(long, value_name = "N", conflicts_with = "version", value_parser = clap::value_parser!(u64).range(1..))]
    resumption: Option<u64>,
    /// The digest that was shown
    #[arg(long, value_name = "DIGEST")]
    digest: String,
}

/// List what awaits approval
#[derive(Args, Debug)]
pub(super) struct PendingArgs {}

impl WhatArgs {
    fn request(self, reason: String) -> (String, DecisionRequest) {
        let what = match (self.version, self.resumption) {
            (_, Some(number)) => format!("resumption {number}"),
            (version, None) => format!("version {}", version.unwrap_or_default()),
        };
        let request = DecisionRequest {
            name: self.name,
            version: self.version.unwrap_or_default(),
            digest: self.digest,
            reason,
            resumption: self.resumption.unwrap_or_default(),
        };
        (what, request)
    }
}

impl ApproveArgs {
    pub(super) async fn run(self, admin: &mut Admin, console: &mut Console) -> Result<(), Failure> {
        let (what, request) = self.what.request(self.reason);
        let resumes = request.resumption > 0;
        let approved = admin.link.ask(admin.client.approve_client(request)).await;
        let client = approved.map_err(|failure| failure.advise_on_findings(NO_ACCEPTANCE))?;
        let open = match (&client.pending, &client.pending_resumption) {
            (Some(pending), _) if !resumes => {
                Some((pending.approvals.len(), pending.approvals_required))
            }
            (_, Some(pending)) if resumes => {
                Some((pending.approvals.len(), pending.approvals_required))
            }
            _ => None,
        };
        let told = match open {
            Some((given, required)) => {
                format!(": {what} is approved by {given} of {required} and awaits more")
            }
            None if resumes => format!(": {what} is approved, the client is {}", client.state),
            None => format!(": {what} is approved and in force"),
        };
        say(console, client, &told)
    }
}

impl RejectArgs {
    pub(super) async fn run(self, admin: &mut Admin, console: &mut Console) -> Result<(), Failure> {
        let (what, request) = self.what.request(self.reason);
        let client = admin.link.ask(admin.client.reject_client(request)).await?;
        say(console, client, &format!(": {what} is rejected"))
    }
}

impl WithdrawArgs {
    pub(super) async fn run(self, admin: &mut Admin, console: &mut Console) -> Result<(), Failure> {
        let (what, request) = self.what.request(self.reason);
        let client = admin
            .link
            .ask(admin.client.withdraw_client(request))
            .await?;
        say(console, client, &format!(": {what} is withdrawn"))
    }
}

/// One line for a reader, the whole client for a program.
fn say(console: &mut Console, client: Client, what: &str) -> Result<(), Failure> {
    let name = printable(&client.name);
    if console.is_table() {
        return console.write(format!("{name}{what}.\n").as_bytes());
    }
    console.show(&ClientView::from(client))
}

/// What is said of a version that was made: in force, or that it awaits approval.
pub(super) fn made(client: &Client, in_force: String) -> String {
    let Some(pending) = &client.pending else {
        return in_force;
    };
    let approvals = count(pending.approvals_required.into(), "approval", "approvals");
    format!("has version {} that awaits {approvals}", pending.version)
}

/// The command that approves it, on a line of its own to be copied whole.
pub(super) fn how(client: &Client) -> Option<String> {
    let pending = client.pending.as_ref()?;
    Some(format!(
        "symbolon client approve {} --version {} --digest {}",
        client.name, pending.version, pending.digest
    ))
}

/// What is said of a resumption.
pub(super) fn resumed(client: &Client) -> String {
    let Some(pending) = &client.pending_resumption else {
        return "is active again".to_owned();
    };
    let approvals = count(pending.approvals_required.into(), "approval", "approvals");
    format!("stays suspended until it has {approvals}")
}

/// The command that approves it.
pub(super) fn how_to_resume(client: &Client) -> Option<String> {
    let pending = client.pending_resumption.as_ref()?;
    Some(format!(
        "symbolon client approve {} --resumption {} --digest {}",
        client.name, pending.resumption, pending.digest
    ))
}

/// Shows a reader the command for somebody else.
pub(super) fn tell(console: &mut Console, how: Option<String>) -> Result<(), Failure> {
    match how.filter(|_| console.is_table()) {
        Some(how) => console.write(format!("{}\n", printable(&how)).as_bytes()),
        None => Ok(()),
    }
}

impl PendingArgs {
    pub(super) async fn run(self, admin: &mut Admin, console: &mut Console) -> Result<(), Failure> {
        let Self {} = self;
        let request = ListClientsRequest {
            limit: PAGE,
            pending: true,
            ..ListClientsRequest::default()
        };
        let clients = admin.pages(request).await?;
        let pending = clients.into_iter().flat_map(Proposal::all).collect();
        console.show(&PendingList { pending })
    }
}

/// One person's approval.
#[derive(Clone, Debug, Serialize)]
pub(in crate::cli) struct ApprovalView {
    pub(super) operator: String,
    at: Option<String>,
    reason: Option<String>,
    login: Option<u32>,
}

impl ApprovalView {
    pub(in crate::cli) fn all(approvals: Vec<Approval>) -> Vec<Self> {
        let view = |approval: Approval| Self {
            operator: approval.operator,
            at: exact(approval.at),
            reason: some(approval.reason),
            login: approval.login,
        };
        approvals.into_iter().map(view).collect()
    }
}

/// A version or a resumption that awaits approval.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Proposal {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    version: Option<u64>,
    resumption: Option<u64>,
    digest: String,
    author: String,
    at: Option<String>,
    reason: Option<String>,
    approvals_required: u32,
    approvals: Vec<ApprovalView>,
    #[serde(skip)]
    since: i64,
}

impl From<PendingVersion> for Proposal {
    fn from(pending: PendingVersion) -> Self {
        Self {
            name: None,
            version: Some(pending.version),
            resumption: None,
            digest: pending.digest,
            author: pending.author,
            at: exact(pending.at),
            reason: some(pending.reason),
            approvals_required: pending.approvals_required,
            approvals: ApprovalView::all(pending.approvals),
            since: pending.at,
        }
    }
}

impl From<PendingResumption> for Proposal {
    fn from(pending: PendingResumption) -> Self {
        Self {
            name: None,
            version: None,
            resumption: Some(pending.resumption),
            digest: pending.digest,
            author: pending.author,
            at: exact(pending.at),
            reason: some(pending.reason),
            approvals_required: pending.approvals_required,
            approvals: ApprovalView::all(pending.approvals),
            since: pending.at,
        }
    }
}

impl Proposal {
    fn all(client: Client) -> impl Iterator<Item = Self> {
        let name = client.name;
        let version = client.pending.map(Self::from);
        let resumption = client.pending_resumption.map(Self::from);
        let both = version.into_iter().chain(resumption);
        both.map(move |proposal| Self {
            name: Some(name.clone()),
            ..proposal
        })
    }

    fn what(&self) -> String {
        match (self.version, self.resumption) {
            (_, Some(number)) => format!("resumption {number}"),
            (version, None) => format!("version {}", version.unwrap_or_default()),
        }
    }

    fn given(&self) -> String {
        format!("{} of {}", self.approvals.len(), self.approvals_required)
    }

    /// For one line of a client's table.
    pub(super) fn line(&self, now: i64) -> String {
        let mut line = format!(
            "{}, {} by {}",
            self.what(),
            relative(self.since, now),
            or_dash(&self.author)
        );
        if let Some(reason) = &self.reason {
            line.push_str(&format!(": {reason}"));
        }
        line
    }

    /// Who has approved it, for the next.
    pub(super) fn approvals_line(&self) -> String {
        match names(&self.approvals) {
            names if names.is_empty() => format!("approved by {}", self.given()),
            names => format!("approved by {}: {names}", self.given()),
        }
    }

    pub(super) fn digest_line(&self) -> String {
        format!("digest {}", self.digest)
    }
}

/// Who approved.
pub(super) fn names(approvals: &[ApprovalView]) -> String {
    let names: Vec<_> = approvals.iter().map(|a| a.operator.as_str()).collect();
    names.join(", ")
}

/// What was rejected or withdrawn.
#[derive(Clone, Debug, Serialize)]
pub(in crate::cli) struct DeclinedView {
    number: u64,
    digest: String,
    author: String,
    verdict: String,
    operator: String,
    at: Option<String>,
    reason: Option<String>,
}

impl From<Declined> for DeclinedView {
    fn from(declined: Declined) -> Self {
        Self {
            number: declined.number,
            digest: declined.digest,
            author: declined.author,
            verdict: declined.verdict,
            operator: declined.operator,
            at: exact(declined.at),
            reason: some(declined.reason),
        }
    }
}

impl DeclinedView {
    /// `version 4 was rejected by dave: too much`.
    pub(in crate::cli) fn line(&self, what: &str) -> String {
        let mut line = format!(
            "{what} {} was {} by {}",
            self.number,
            self.verdict,
            or_dash(&self.operator)
        );
        if let Some(reason) = &self.reason {
            line.push_str(&format!(": {reason}"));
        }
        line
    }
}

/// All that awaits approval.
#[derive(Debug, Serialize)]
struct PendingList {
    pending: Vec<Proposal>,
}

impl View for PendingList {
    fn table(&self, look: &Look) -> String {
        if self.pending.is_empty() {
            return "Nothing awaits approval.\n".to_owned();
        }
        let mut table = Table::new(["NAME", "WHAT", "BY", "SINCE", "APPROVALS", "DIGEST", "WHY"]);
        for proposal in &self.pending {
            let digest: String = proposal.digest.chars().take(SHORT).collect();
            table.row([
                proposal.name.clone().unwrap_or_default(),
                proposal.what(),
                proposal.author.clone(),
                relative(proposal.since, look.now),
                proposal.given(),
                format!("{digest}..."),
                proposal.reason.clone().unwrap_or_default(),
            ]);
        }
        table.render(look.width)
            + "\nsymbolon client diff NAME shows what a version changes, and its digest.\n"
    }
}
