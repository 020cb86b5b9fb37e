//! `symbolon client stale`.

use super::{Admin, PAGE};
use crate::cli::{
    console::Console,
    failure::Failure,
    moment::{exact, parse_duration, relative},
    output::{Look, Table, View},
};
use clap::Args;
use serde::Serialize;
use std::time::Duration;
use symbolon_proto::admin::{ListStaleClientsRequest, StaleClient};

/// Registrations that nobody seems to need any more
///
/// Those that were never used a day after they were registered, or not for long, whose review is overdue, that have
/// ended or end soon. A client is used when an SVID of it is issued or renewed. New and revoked clients are left out.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon client stale
  symbolon client stale --unused-for 30d --owner payments-team
  symbolon client stale -o json | jq -r '.clients[] | select(.reasons[] == \"never-used\") | .name'")]
pub(super) struct StaleArgs {
    /// How long a client has to be without use
    #[arg(long, value_name = "DURATION", default_value = "90d", value_parser = parse_duration)]
    unused_for: Duration,
    /// How long before its end a client is named
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = parse_duration)]
    ends_within: Duration,
    /// Only clients of this owner
    #[arg(long, default_value = "", hide_default_value = true)]
    owner: String,
}

impl StaleArgs {
    pub(super) async fn run(self, admin: &mut Admin, console: &mut Console) -> Result<(), Failure> {
        let mut request = ListStaleClientsRequest {
            unused_for: self.unused_for.as_secs(),
            ends_within: self.ends_within.as_secs(),
            owner: self.owner,
            after: String::new(),
            limit: PAGE,
        };
        let mut clients = Vec::new();
        let noted_since = loop {
            let call = admin.client.list_stale_clients(request.clone());
            let page = admin.link.ask(call).await?;
            let last = page.clients.last().map(|client| client.name.clone());
            clients.extend(page.clients.into_iter().map(StaleView::from));
            match last {
                Some(last) if page.more => request.after = last,
                _ => break page.noted_since,
            }
        };
        console.show(&Stale {
            clients,
            noted_since: exact(noted_since),
            since: noted_since,
            unused_for: i64::try_from(self.unused_for.as_secs()).unwrap_or(i64::MAX),
        })
    }
}

/// All of them; `agent/doc/cli.md` documents the fields.
#[derive(Debug, Serialize)]
struct Stale {
    clients: Vec<StaleView>,
    noted_since: Option<String>,
    #[serde(skip)]
    since: i64,
    #[serde(skip)]
    unused_for: i64,
}

#[derive(Debug, Serialize)]
struct StaleView {
    name: String,
    owner: String,
    state: String,
    reasons: Vec<String>,
    created_at: Option<String>,
    last_used_at: Option<String>,
    review_by: Option<String>,
    expires_at: Option<String>,
    #[serde(skip)]
    times: Times,
}

/// The times in Unix seconds, for tables.
#[derive(Clone, Copy, Debug)]
struct Times {
    last_used: i64,
    review: i64,
    expires: i64,
}

impl From<StaleClient> for StaleView {
    fn from(client: StaleClient) -> Self {
        Self {
            name: client.name,
            owner: client.owner,
            state: client.state,
            reasons: client.reasons,
            created_at: exact(client.created_at),
            last_used_at: exact(client.last_used_at),
            review_by: exact(client.review_by),
            expires_at: exact(client.expires_at),
            times: Times {
                last_used: client.last_used_at,
                review: client.review_by,
                expires: client.expires_at,
            },
        }
    }
}

impl View for Stale {
    fn table(&self, look: &Look) -> String {
        let mut out = match self.clients.as_slice() {
            [] => "No client is stale.\n".to_owned(),
            clients => {
                let mut table = Table::new([
                    "NAME",
                    "STATE",
                    "OWNER",
                    "LAST USED",
                    "REVIEW BY",
                    "EXPIRES",
                    "WHY",
                ]);
                for client in clients {
                    table.row([
                        client.name.clone(),
                        client.state.clone(),
                        client.owner.clone(),
                        relative(client.times.last_used, look.now),
                        relative(client.times.review, look.now),
                        relative(client.times.expires, look.now),
                        client.reasons.join(", "),
                    ]);
                }
                table.render(look.width)
            }
        };
        if look.now.saturating_sub(self.since) < self.unused_for {
            let since = relative(self.since, look.now);
            out.push_str(&format!(
                "\nUses are noted since {since}: of what was before, nothing is known.\n"
            ));
        }
        out
    }
}
