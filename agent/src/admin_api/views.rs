//! Views over many registrations: who owns them, which nobody needs, who holds them now.
//!
//! Every answer is made anew from a snapshot, and has a bound; whoever reads long lists
//! asks for pages. Others get a turn while a hundred thousand clients are looked at.

use super::{
    calls::AdminServices,
    convert::{self, count, page},
};
use crate::{
    operators::Roster,
    registry::{Actor, Client, ClientState, Snapshot},
    usage::Usage,
    workloads::{self, KeyHolders},
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};
use symbolon_proto::admin::{
    AnsweringPerson, HeldCredential, Holder, KeyHolder, ListHoldersRequest, ListHoldersResponse,
    ListOwnersRequest, ListOwnersResponse, ListStaleClientsRequest, ListStaleClientsResponse,
    OwnedClients, StaleClient,
};
use tokio::task;
use tonic::Status;

/// Most people, users or orphans that are named of one owner.
const MAX_NAMED: usize = 20;

/// Clients that are looked at before others get a turn.
pub(super) const AT_ONCE: usize = 1_000;

const DAY: Duration = Duration::from_secs(86_400);

/// Without use for so long a client is stale, where nothing else is asked for.
const UNUSED_FOR: Duration = Duration::from_secs(90 * 86_400);

/// So long before its end a client is told of, where nothing else is asked for.
const ENDS_WITHIN: Duration = Duration::from_secs(30 * 86_400);

/// A client that was never used is told of after a day: whoever registers it first sets it up.
const NEVER_USED_FOR: Duration = DAY;

/// The clients of one owner.
#[derive(Default)]
struct Owned<'a> {
    clients: u64,
    active: u64,
    pending: u64,
    orphans: u64,
    orphaned: Vec<String>,
    authors: People<'a>,
    approvers: People<'a>,
    keys: KeyHolders,
    last_used: Option<SystemTime>,
}

/// Of how many clients, and whether they are known.
#[derive(Default)]
struct People<'a>(BTreeMap<&'a str, (u64, bool)>);

impl<'a> People<'a> {
    fn add(&mut self, actor: &'a Actor, is_known: bool) {
        let (clients, known) = self.0.entry(actor.as_str()).or_default();
        *clients += 1;
        *known |= is_known;
    }

    /// Those of most clients first, and how many more there are.
    fn named(self) -> (Vec<AnsweringPerson>, u64) {
        let mut people: Vec<_> = self.0.into_iter().collect();
        people.sort_by_key(|(_, (clients, _))| std::cmp::Reverse(*clients));
        let more = count(people.len().saturating_sub(MAX_NAMED));
        people.truncate(MAX_NAMED);
        let person = |(operator, (clients, known)): (&str, _)| AnsweringPerson {
            operator: operator.to_owned(),
            known,
            clients,
        };
        (people.into_iter().map(person).collect(), more)
    }
}

/// What owners are counted by.
struct Accounts<'a> {
    roster: &'a Roster,
    usage: &'a Usage,
    keys: BTreeMap<String, KeyHolders>,
}

impl Accounts<'_> {
    fn knows(&self, actor: &Actor) -> bool {
        self.roster.knows(actor.as_str(), actor.user())
    }

    fn add<'b>(&self, owned: &mut Owned<'b>, client: &'b Client, state: ClientState) {
        let name = client.name();
        owned.clients += 1;
        owned.active += u64::from(state == ClientState::Active);
        owned.pending += u64::from(client.awaits_approval());
        let author = &client.version().author;
        let mut is_answered_for =
            self.roster.names(client.spec().owner().as_str()) || self.knows(author);
        owned.authors.add(author, self.knows(author));
        for approval in client.approvals() {
            let is_known = self.knows(&approval.operator);
            is_answered_for |= is_known;
            owned.approvers.add(&approval.operator, is_known);
        }
        if !is_answered_for {
            owned.orphans += 1;
            if owned.orphaned.len() < MAX_NAMED {
                owned.orphaned.push(name.to_string());
            }
        }
        for (uid, processes) in self.keys.get(name.as_str()).into_iter().flatten() {
            *owned.keys.entry(*uid).or_default() += processes;
        }
        owned.last_used = owned.last_used.max(self.usage.last(name));
    }
}

/// Who owns the registrations: those first for some of which nobody is left.
pub(super) async fn owners(
    services: &AdminServices,
    request: ListOwnersRequest,
) -> Result<ListOwnersResponse, Status> {
    let roster = Arc::clone(&services.roster.borrow());
    let snapshot = services.registry.snapshot();
    let accounts = Accounts {
        roster: &roster,
        usage: services.workloads.issuer().usage(),
        keys: services.workloads.key_holders().await,
    };
    let mut owners: BTreeMap<&str, Owned<'_>> = BTreeMap::new();
    for (looked_at, client) in snapshot.iter().enumerate() {
        if looked_at % AT_ONCE == 0 {
            task::yield_now().await;
        }
        let state = snapshot.state_of(client);
        if state != ClientState::Revoked {
            let owned = owners.entry(client.spec().owner().as_str()).or_default();
            accounts.add(owned, client, state);
        }
    }
    let limit = page(request.limit);
    let place = |owned: &Owned<'_>| owned.orphans == 0;
    let after = (!request.after_orphaned, request.after.as_str());
    let mut rest: Vec<_> = owners
        .into_iter()
        .filter(|(owner, owned)| request.after.is_empty() || (place(owned), *owner) > after)
        .collect();
    // By name they are already.
    rest.sort_by_key(|(_, owned)| place(owned));
    let more = rest.len() > limit;
    rest.truncate(limit);
    let owners = rest.into_iter();
    Ok(ListOwnersResponse {
        owners: owners.map(|(owner, owned)| message(owner, owned)).collect(),
        more,
    })
}

fn message(owner: &str, owned: Owned<'_>) -> OwnedClients {
    let (authors, more_authors) = owned.authors.named();
    let (approvers, more_approvers) = owned.approvers.named();
    let keys = owned.keys.iter().take(MAX_NAMED);
    OwnedClients {
        owner: owner.to_owned(),
        clients: owned.clients,
        active: owned.active,
        pending: owned.pending,
        orphans: owned.orphans,
        orphaned: owned.orphaned,
        authors,
        approvers,
        more_authors,
        more_approvers,
        keys: keys
            .map(|(uid, processes)| KeyHolder {
                uid: *uid,
                processes: *processes,
            })
            .collect(),
        more_keys: count(owned.keys.len().saturating_sub(MAX_NAMED)),
        last_used_at: owned.last_used.map_or(0, convert::timestamp),
    }
}

/// What makes a registration stale.
struct Staleness<'a> {
    usage: &'a Usage,
    now: SystemTime,
    unused_for: Duration,
    ends_within: Duration,
}

impl Staleness<'_> {
    /// Why the client is stale, in stable words; empty where it is not.
    fn reasons(&self, client: &Client, state: ClientState) -> Vec<&'static str> {
        if matches!(state, ClientState::New | ClientState::Revoked) {
            return Vec::new();
        }
        let reviewed = client.spec().review_by();
        let ends = client.spec().expires_at();
        let ends_soon = ends.is_some_and(|at| at <= self.now + self.ends_within);
        [
            self.unused(client),
            reviewed.and_then(|at| (at <= self.now).then_some("review-overdue")),
            match state {
                ClientState::Expired => Some("expired"),
                _ => ends_soon.then_some("expiring"),
            },
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Nobody knows of uses before they were noted: a client that is older counts from then on.
    fn unused(&self, client: &Client) -> Option<&'static str> {
        let is_past = |since: SystemTime, patience: Duration| {
            self.now.duration_since(since).unwrap_or_default() >= patience
        };
        let (created, noted) = (client.created_at(), self.usage.since());
        match self.usage.last(client.name()) {
            Some(last) => is_past(last, self.unused_for).then_some("unused"),
            None if created < noted => is_past(noted, self.unused_for).then_some("unused"),
            None => {
                let patience = self.unused_for.min(NEVER_USED_FOR);
                is_past(created, patience).then_some("never-used")
            }
        }
    }
}

/// Registrations that nobody seems to need any more, or that end soon, by name.
pub(super) async fn stale(
    services: &AdminServices,
    request: ListStaleClientsRequest,
) -> Result<ListStaleClientsResponse, Status> {
    let after = match request.after.as_str() {
        "" => None,
        text => Some(convert::name(text)?),
    };
    let length = |seconds: u64, default| match seconds {
        0 => default,
        // Longer than anything was ever registered.
        seconds => Duration::from_secs(seconds.min(u64::from(u32::MAX))),
    };
    let usage = services.workloads.issuer().usage();
    let staleness = Staleness {
        usage,
        now: services.clock.now(),
        unused_for: length(request.unused_for, UNUSED_FOR),
        ends_within: length(request.ends_within, ENDS_WITHIN),
    };
    let snapshot = services.registry.snapshot();
    let limit = page(request.limit);
    let mut clients = Vec::new();
    let mut after = after;
    loop {
        let looked_at = snapshot.page(after.as_ref(), AT_ONCE);
        let Some(last) = looked_at.last() else {
            break;
        };
        after = Some(last.name().clone());
        let owned = looked_at.iter().filter(|client| {
            request.owner.is_empty() || client.spec().owner().as_str() == request.owner
        });
        clients.extend(owned.filter_map(|client| staleness.of(&snapshot, client)));
        if clients.len() > limit {
            break;
        }
        task::yield_now().await;
    }
    let more = clients.len() > limit;
    clients.truncate(limit);
    Ok(ListStaleClientsResponse {
        clients,
        more,
        noted_since: convert::timestamp(usage.since()),
    })
}

impl Staleness<'_> {
    fn of(&self, snapshot: &Snapshot, client: &Client) -> Option<StaleClient> {
        let state = snapshot.state_of(client);
        let reasons = self.reasons(client, state);
        let (name, spec) = (client.name(), client.spec());
        (!reasons.is_empty()).then(|| StaleClient {
            name: name.to_string(),
            owner: spec.owner().to_string(),
            state: state.as_str().to_owned(),
            reasons: reasons.into_iter().map(str::to_owned).collect(),
            created_at: convert::timestamp(client.created_at()),
            last_used_at: self.usage.last(name).map_or(0, convert::timestamp),
            review_by: spec.review_by().map_or(0, convert::timestamp),
            expires_at: spec.expires_at().map_or(0, convert::timestamp),
        })
    }
}

/// The processes that hold a client's identity now.
pub(super) fn holders(
    services: &AdminServices,
    request: &ListHoldersRequest,
) -> Result<ListHoldersResponse, Status> {
    let name = convert::name(&request.name)?;
    if services.registry.snapshot().client(&name).is_none() {
        return Err(Status::not_found(format!("there is no client {name}")));
    }
    let holders = services.workloads.holders_of(&name);
    let total = count(holders.len());
    let holders = holders.into_iter().take(page(request.limit));
    Ok(ListHoldersResponse {
        holders: holders.map(holder).collect(),
        total,
    })
}

fn holder(holder: workloads::Holder) -> Holder {
    let credential = |credential: workloads::HeldCredential| HeldCredential {
        kind: credential.kind.to_owned(),
        id: credential.id,
        issued_at: convert::timestamp(credential.issued_at),
        expires_at: convert::timestamp(credential.expires_at),
    };
    Holder {
        pid: holder.pid,
        uid: holder.uid,
        gid: holder.gid,
        executable: holder.executable.unwrap_or_default(),
        executable_sha256: holder.executable_sha256.unwrap_or_default(),
        attestation_id: holder.attestation_id,
        since: convert::timestamp(holder.since),
        credentials: holder.credentials.into_iter().map(credential).collect(),
    }
}
