//! `symbolon client owners`.

use super::{Admin, PAGE};
use crate::cli::{
    console::Console,
    failure::Failure,
    moment::{exact, relative},
    output::{Look, Table, View, count, printable},
};
use clap::Args;
use serde::Serialize;
use symbolon_proto::admin::{AnsweringPerson, KeyHolder, ListOwnersRequest, OwnedClients};

/// Who owns registrations, keys and approvals
///
/// For each owner: its clients that are not revoked, who wrote and who approved the versions in force, and the users whose
/// processes hold keys now. Those come first for whose clients nobody is left: neither the owner, nor who wrote or
/// approved the version in force, is an operator now.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon client owners
  symbolon client owners -o json | jq -r '.owners[].orphaned[]'")]
pub(super) struct OwnersArgs {}

impl OwnersArgs {
    pub(super) async fn run(self, admin: &mut Admin, console: &mut Console) -> Result<(), Failure> {
        let mut request = ListOwnersRequest {
            limit: PAGE,
            ..ListOwnersRequest::default()
        };
        let mut owners = Vec::new();
        loop {
            let call = admin.client.list_owners(request.clone());
            let page = admin.link.ask(call).await?;
            let last = page
                .owners
                .last()
                .map(|last| (last.owner.clone(), last.orphans > 0));
            owners.extend(page.owners.into_iter().map(OwnerView::from));
            match last {
                Some(last) if page.more => (request.after, request.after_orphaned) = last,
                _ => break,
            }
        }
        console.show(&Owners { owners })
    }
}

/// All owners; `agent/doc/cli.md` documents the fields.
#[derive(Debug, Serialize)]
struct Owners {
    owners: Vec<OwnerView>,
}

#[derive(Debug, Serialize)]
struct OwnerView {
    owner: String,
    clients: u64,
    active: u64,
    awaiting: u64,
    orphans: u64,
    orphaned: Vec<String>,
    authors: Vec<PersonView>,
    more_authors: u64,
    approvers: Vec<PersonView>,
    more_approvers: u64,
    keys: Vec<KeyView>,
    more_keys: u64,
    last_used_at: Option<String>,
    #[serde(skip)]
    last_used: i64,
}

#[derive(Debug, Serialize)]
struct PersonView {
    operator: String,
    known: bool,
    clients: u64,
}

#[derive(Debug, Serialize)]
struct KeyView {
    uid: u32,
    processes: u64,
}

impl From<OwnedClients> for OwnerView {
    fn from(owned: OwnedClients) -> Self {
        Self {
            owner: owned.owner,
            clients: owned.clients,
            active: owned.active,
            awaiting: owned.pending,
            orphans: owned.orphans,
            orphaned: owned.orphaned,
            authors: people(owned.authors),
            more_authors: owned.more_authors,
            approvers: people(owned.approvers),
            more_approvers: owned.more_approvers,
            keys: owned.keys.into_iter().map(KeyView::from).collect(),
            more_keys: owned.more_keys,
            last_used_at: exact(owned.last_used_at),
            last_used: owned.last_used_at,
        }
    }
}

impl From<KeyHolder> for KeyView {
    fn from(holder: KeyHolder) -> Self {
        Self {
            uid: holder.uid,
            processes: holder.processes,
        }
    }
}

fn people(people: Vec<AnsweringPerson>) -> Vec<PersonView> {
    let person = |person: AnsweringPerson| PersonView {
        operator: person.operator,
        known: person.known,
        clients: person.clients,
    };
    people.into_iter().map(person).collect()
}

/// Names in one cell of a table; a dash where there are none.
fn listed(names: impl Iterator<Item = String>, more: u64) -> String {
    let mut names: Vec<String> = names.collect();
    if more > 0 {
        names.push(format!("{more} more"));
    }
    match names.is_empty() {
        true => "-".to_owned(),
        false => names.join(", "),
    }
}

fn names(people: &[PersonView], more: u64) -> String {
    let name = |person: &PersonView| match person.known {
        true => person.operator.clone(),
        false => format!("{} (gone)", person.operator),
    };
    listed(people.iter().map(name), more)
}

impl View for Owners {
    fn table(&self, look: &Look) -> String {
        if self.owners.is_empty() {
            return "No clients.\n".to_owned();
        }
        let mut table = Table::new([
            "OWNER",
            "CLIENTS",
            "ACTIVE",
            "ORPHANS",
            "WROTE",
            "APPROVED",
            "KEYS",
            "LAST USED",
        ]);
        for owner in &self.owners {
            let key = |key: &KeyView| format!("uid:{}", key.uid);
            table.row([
                owner.owner.clone(),
                owner.clients.to_string(),
                owner.active.to_string(),
                owner.orphans.to_string(),
                names(&owner.authors, owner.more_authors),
                names(&owner.approvers, owner.more_approvers),
                listed(owner.keys.iter().map(key), owner.more_keys),
                relative(owner.last_used, look.now),
            ]);
        }
        table.render(look.width) + &self.remarks()
    }
}

impl Owners {
    /// The clients that need a new owner.
    fn remarks(&self) -> String {
        let mut lines = String::new();
        for owner in self.owners.iter().filter(|owner| owner.orphans > 0) {
            let named = u64::try_from(owner.orphaned.len()).unwrap_or(u64::MAX);
            let more = owner.orphans.saturating_sub(named);
            let clients = listed(owner.orphaned.iter().cloned(), more);
            let what = count(owner.orphans, "client", "clients");
            lines.push_str(&format!(
                "Nobody is left for {what} of {}: {}.\n",
                printable(&owner.owner),
                printable(&clients)
            ));
        }
        if lines.is_empty() {
            lines
        } else {
            format!("\n{lines}")
        }
    }
}
