//! All that was done to a client, what one version changes of another, and the way back.

use super::{
    Admin,
    content::{self, Change},
    govern, put_in_force,
};
use crate::cli::{
    console::Console,
    failure::{Exit, Failure},
    finding::FindingView,
    moment::{exact, relative},
    output::{Look, Table, View, printable, some},
};
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use symbolon_proto::admin::{
    ClientSpec, GetClientHistoryRequest, HistoryEntry, RollbackClientRequest,
};

/// Show all that was done to a client: who, when, why, what changed, approved by whom
#[derive(Args, Debug)]
pub(super) struct HistoryArgs {
    /// The client's name
    name: String,
}

/// Show what one version changes of another
///
/// Without options what the version that awaits approval would change of the one in force, and the digest to approve it
/// by; or where none does, what the version in force has changed of the one that was in force before.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon client diff payments
  symbolon client diff payments --from 2 --to 5")]
pub(super) struct DiffArgs {
    /// The client's name
    name: String,
    /// The earlier version
    #[arg(long, value_name = "N")]
    from: Option<u64>,
    /// The later version
    #[arg(long, value_name = "N")]
    to: Option<u64>,
}

/// Go back to the content of an earlier version
///
/// Adds a version with that content; like any other it may have to be approved. What was accepted of it with
/// --accept-weak stays accepted.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon client history payments
  symbolon client rollback payments --to 3 --reason 'the new audience is not ready'")]
pub(super) struct RollbackArgs {
    /// The client's name
    name: String,
    /// The version to go back to; it must have been in force
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    to: u64,
    /// Why, for the audit trail
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    /// Go back although that is seriously weak by now, for this reason, which is recorded
    #[arg(long, value_name = "REASON", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    accept_weak: Option<String>,
}

impl HistoryArgs {
    pub(super) async fn run(self, admin: &mut Admin, console: &mut Console) -> Result<(), Failure> {
        let entries = admin.history(&self.name).await?;
        let mut contents: BTreeMap<u64, ClientSpec> = BTreeMap::new();
        let mut approvers: BTreeMap<(String, u64), Vec<String>> = BTreeMap::new();
        let (mut last, mut views) = (0, Vec::new());
        for entry in entries {
            let changes = match &entry.spec {
                Some(spec) => content::changes(contents.get(&last), Some(spec))?,
                None => Vec::new(),
            };
            if let Some(spec) = entry.spec.clone() {
                contents.insert(entry.number, spec);
                last = entry.number;
            }
            let approvers = approvers
                .entry((entry.about.clone(), entry.number))
                .or_default();
            if entry.event == "approved" {
                approvers.push(entry.author.clone());
            }
            // Of the version in force, and before there is one, of that proposed last.
            if entry.version_in_force != 0 {
                last = entry.version_in_force;
            }
            views.push(EntryView::new(entry, changes, approvers.clone()));
        }
        console.show(&HistoryView {
            name: self.name,
            entries: views,
        })
    }
}

impl DiffArgs {
    pub(super) async fn run(self, admin: &mut Admin, console: &mut Console) -> Result<(), Failure> {
        let client = admin.show(&self.name).await?;
        let entries = admin.history(&self.name).await?;
        let in_force = if client.in_force { client.version } else { 0 };
        let pending = client.pending.as_ref();
        let to = self
            .to
            .unwrap_or_else(|| pending.map_or(client.version, |pending| pending.version));
        let from = self.from.unwrap_or_else(|| match to == in_force {
            true => before(&entries, in_force),
            false => in_force,
        });
        let content = |number: u64| {
            let is_it = |entry: &&HistoryEntry| entry.spec.is_some() && entry.number == number;
            entries
                .iter()
                .find(is_it)
                .and_then(|entry| entry.spec.as_ref())
        };
        for number in [from, to] {
            if number != 0 && content(number).is_none() {
                let failure = format!("{} has no version {number}", printable(&self.name));
                return Err(Failure::new(Exit::NotFound, failure)
                    .advise("`symbolon client history NAME` shows them."));
            }
        }
        let pending = pending.filter(|pending| pending.version == to);
        console.show(&DiffView {
            changes: content::changes(content(from), content(to))?,
            name: self.name,
            from: (from != 0).then_some(from),
            to,
            findings: FindingView::all(pending.map_or_else(Vec::new, |p| p.findings.clone())),
            pending: pending.map(|pending| pending.digest.clone()),
        })
    }
}

/// The version that was in force before this one came to be; 0 where none was.
fn before(entries: &[HistoryEntry], number: u64) -> u64 {
    let earlier = entries.iter().map(|entry| entry.version_in_force);
    earlier
        .take_while(|in_force| *in_force != number)
        .last()
        .unwrap_or_default()
}

impl RollbackArgs {
    pub(super) async fn run(self, admin: &mut Admin, console: &mut Console) -> Result<(), Failure> {
        let request = RollbackClientRequest {
            name: self.name,
            to_version: self.to,
            reason: self.reason,
            expected_version: 0,
            accept_weak: self.accept_weak.unwrap_or_default(),
        };
        let client = admin
            .link
            .ask(admin.client.rollback_client(request))
            .await?;
        let in_force = format!(
            "is as in version {}: version {} is in force",
            self.to, client.version
        );
        let (what, how) = (govern::made(&client, in_force), govern::how(&client));
        put_in_force(console, client, &what)?;
        govern::tell(console, how)
    }
}

impl Admin {
    async fn history(&mut self, name: &str) -> Result<Vec<HistoryEntry>, Failure> {
        let name = name.to_owned();
        let call = self
            .client
            .get_client_history(GetClientHistoryRequest { name });
        let mut stream = self.link.ask(call).await?;
        let mut entries = Vec::new();
        while let Some(entry) = self.link.within(stream.message()).await? {
            entries.push(entry);
        }
        Ok(entries)
    }
}

/// One record of a client.
#[derive(Debug, Serialize)]
struct EntryView {
    revision: u64,
    event: String,
    about: String,
    number: u64,
    digest: String,
    author: String,
    login: Option<u32>,
    at: Option<String>,
    reason: Option<String>,
    effect: String,
    approvals_required: u32,
    approved_by: Vec<String>,
    state: String,
    version_in_force: Option<u64>,
    changes: Vec<Change>,
    #[serde(skip)]
    time: i64,
}

impl EntryView {
    fn new(entry: HistoryEntry, changes: Vec<Change>, approved_by: Vec<String>) -> Self {
        Self {
            revision: entry.revision,
            event: entry.event,
            about: entry.about,
            number: entry.number,
            digest: entry.digest,
            author: entry.author,
            login: entry.login,
            at: exact(entry.at),
            reason: some(entry.reason),
            effect: entry.effect,
            approvals_required: entry.approvals_required,
            approved_by,
            state: entry.state,
            version_in_force: (entry.version_in_force != 0).then_some(entry.version_in_force),
            changes,
            time: entry.at,
        }
    }

    fn what(&self) -> String {
        let version = match self.about.as_str() {
            "version" => format!("version {}", self.number),
            _ if self.event == "proposed" || self.effect == "counted" => {
                format!("resumption {}", self.number)
            }
            _ => String::new(),
        };
        let event = format!("{} {version}", self.event);
        let event = event.trim_end();
        match (self.effect.as_str(), self.event.as_str()) {
            ("counted", _) | ("in_force", "approved") => {
                let (given, required) = (self.approved_by.len(), self.approvals_required);
                let rest = match self.effect.as_str() {
                    "counted" => "",
                    _ if self.about == "version" => ", in force",
                    _ => ", resumed",
                };
                format!("{event} ({given} of {required}{rest})")
            }
            ("proposed", _) => format!("{event} (needs {})", self.approvals_required),
            _ => event.to_owned(),
        }
    }
}

#[derive(Debug, Serialize)]
struct HistoryView {
    name: String,
    entries: Vec<EntryView>,
}

impl View for HistoryView {
    fn table(&self, look: &Look) -> String {
        let mut table = Table::new(["WHEN", "BY", "WHAT", "CHANGED", "WHY"]);
        for entry in &self.entries {
            let fields: Vec<_> = entry.changes.iter().map(|change| &*change.field).collect();
            table.row([
                relative(entry.time, look.now),
                entry.author.clone(),
                entry.what(),
                // A first version changes everything.
                match entry.number {
                    1 => String::new(),
                    _ => fields.join(", "),
                },
                entry.reason.clone().unwrap_or_default(),
            ]);
        }
        table.render(look.width)
    }
}

#[derive(Debug, Serialize)]
struct DiffView {
    name: String,
    from: Option<u64>,
    to: u64,
    changes: Vec<Change>,
    /// What makes it weak in itself, where it awaits approval.
    findings: Vec<FindingView>,
    /// The digest to approve it by, where it awaits approval.
    pending: Option<String>,
}

impl View for DiffView {
    fn table(&self, _: &Look) -> String {
        let mut text = content::lines(&self.changes);
        if self.changes.is_empty() {
            text.push_str("Both versions say the same.\n");
        }
        for finding in &self.findings {
            text.push_str(&format!("weak: {}\n", finding.line()));
        }
        if let Some(digest) = &self.pending {
            text.push_str(&format!(
                "\nVersion {} awaits approval:\nsymbolon client approve {} --version {} --digest {}\n",
                self.to,
                printable(&self.name),
                self.to,
                printable(digest)
            ));
        }
        text
    }
}
