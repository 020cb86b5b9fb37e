//! Watches the metadata documents that others host.
//!
//! A client of whose document the agent is not the host (`hosting = "external"`) is known to
//! authorization servers by what somebody else serves. What was approved of it is pinned in the
//! registration: the digest of the document, its members, and the digest of its key set where one
//! was given. This looks at each of them at least once in each `fetch.interval`, and again as soon
//! as the registration changes, from one task ([`Watcher::run`]).
//!
//! Every document is read twice, as two readers, because a server can show one thing to watchers
//! and another to authorization servers. What is served is compared byte by byte; where that
//! differs, JSON is read strictly and each difference gets a class ([`Class`]). Then the
//! registration's `on_drift` says what is done: it is told (`alert`), or told and the client
//! suspended or revoked, by the operator `agent`. As long as the difference is there, a client
//! that was resumed is suspended again: whoever accepts a document approves its new digest.
//!
//! Invariants: what is served is never taken for what was approved. That nothing can be had is
//! told at once, but acted upon only after [`PATIENCE`] looks, and never with a revocation: it
//! shows nothing of the document, and anybody on the way can cause it. Keys that no digest was
//! approved of are compared with those that this agent saw first, and only told of, whatever else
//! is seen. One odd answer revokes nobody, because nothing undoes that: a client is suspended
//! first, and revoked after [`CERTAINTY`] looks in a row that show drift. A client is suspended
//! before its drift is told, so that it does not wait for the trail, and looks at others do not wait
//! for it either: the client alone is not looked at again before; what could not be recorded is told
//! again after the next look.
//!
//! Left out on purpose: remembering keys over a restart; a key set that changed while the agent
//! was away is `keys_changed`, without a word of which.

mod class;
mod compare;
mod look;
mod looks;

pub use class::{Class, Finding};
pub use look::Look;
pub use looks::{Looks, Seen};

use crate::{
    audit::{Event, Kind, Outcome, Trail},
    clock::SharedClock,
    fetch::Fetcher,
    governance::{self, Act},
    operators::AGENT,
    registry::{
        Actor, Applied, Change, Client, ClientName, ClientState, Digest, OnDrift, Reason, Registry,
        Snapshot, Standing,
    },
    telemetry::{DriftMetrics, RegistryMetrics},
};
use aws_lc_rs::rand;
use futures_util::{
    future::BoxFuture,
    stream::{FuturesUnordered, StreamExt as _},
};
use look::{Ground, KnownKeys};
use serde_json::{Value, json};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    str::FromStr as _,
    sync::Arc,
    time::Duration,
};
use tokio::{
    task,
    time::{Instant, sleep_until},
};

/// Looks that are under way together: each is up to four connections.
const TOGETHER: usize = 8;
/// After so many looks in a row that got nothing it is acted upon.
const PATIENCE: u32 = 3;
/// After so many looks in a row that show drift the client may be revoked.
const CERTAINTY: u32 = 2;
/// How soon after one walk through the registry the next may follow.
const CALM: Duration = Duration::from_secs(1);
/// Clients that are looked at before others get a turn.
const AT_ONCE: usize = 1_000;
/// Longer than anything is waited for.
const IDLE: Duration = Duration::from_secs(3_600);
/// Bytes of findings in a sentence; the evidence has all.
const SHOWN: usize = 600;

/// What the task works with.
#[derive(Clone, Debug)]
pub struct DriftServices {
    /// The clients.
    pub registry: Arc<Registry>,
    /// Reads their documents.
    pub fetcher: Fetcher,
    /// The audit trail.
    pub trail: Trail,
    /// Counts looks.
    pub metrics: DriftMetrics,
    /// Counts changes.
    pub changes: RegistryMetrics,
    /// The wall clock.
    pub clock: SharedClock,
    /// Each document is looked at once in this time.
    pub interval: Duration,
}

/// The task.
#[derive(Debug)]
pub struct Watcher {
    services: DriftServices,
    looks: Looks,
    watched: BTreeMap<ClientName, Watched>,
    /// When whom; what is not as in `watched` any more is passed over.
    schedule: BinaryHeap<Reverse<(Instant, ClientName)>>,
    walked: Option<Instant>,
}

/// A client that is watched.
#[derive(Debug)]
struct Watched {
    version: Digest,
    due: Option<Instant>,
    row: Row,
    known: KnownKeys,
    /// Whether what was seen last is not what was approved.
    is_drifted: bool,
    /// What the trail says of it.
    told: Option<Look>,
}

/// Looks in a row, up to the last one, that are the same ground to act.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    ground: Ground,
    looks: u32,
}

impl Row {
    fn then(self, ground: Ground) -> Self {
        let before = if self.ground == ground { self.looks } else { 0 };
        Self {
            ground,
            looks: before.saturating_add(1),
        }
    }
}

/// A look that is done.
#[derive(Debug)]
struct Done {
    client: Arc<Client>,
    look: Look,
    known: KnownKeys,
}

/// What a look is beside those before it.
#[derive(Clone, Copy, Debug)]
struct Noted {
    is_news: bool,
    row: Row,
    /// When to look again.
    next: Instant,
}

/// What was told of a look.
#[derive(Debug)]
struct Told {
    client: Arc<Client>,
    /// The look, where the trail has it now.
    look: Option<Look>,
    /// When to look again.
    next: Instant,
}

/// What was done to a client because of drift.
#[derive(Debug)]
struct Acted {
    applied: Applied,
    to: Standing,
    reason: String,
}

impl Watcher {
    /// A task that has looked at nothing yet.
    #[must_use]
    pub fn new(services: DriftServices) -> Self {
        Self {
            services,
            looks: Looks::default(),
            watched: BTreeMap::new(),
            schedule: BinaryHeap::new(),
            walked: None,
        }
    }

    /// Where to read what was seen.
    #[must_use]
    pub fn looks(&self) -> Looks {
        self.looks.clone()
    }

    /// Looks, compares and acts, until the registry is gone.
    pub async fn run(mut self) {
        let mut changes = self.services.registry.changes();
        let mut looks = FuturesUnordered::new();
        // Of each client one at most.
        let mut tellings = FuturesUnordered::new();
        let mut is_changed = true;
        loop {
            if is_changed && self.is_calm() {
                changes.mark_unchanged();
                is_changed = false;
                self.walk().await;
            }
            while looks.len() < TOGETHER
                && let Some(look) = self.next_due()
            {
                looks.push(look);
            }
            let wake = self.wake(is_changed, looks.len());
            tokio::select! {
                Some(done) = looks.next() => tellings.extend(self.finish(done).await),
                Some(told) = tellings.next() => self.note_told(told),
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    is_changed = true;
                }
                () = sleep_until(wake) => {}
            }
        }
    }

    fn is_calm(&self) -> bool {
        self.walked
            .is_none_or(|walked| Instant::now() >= walked + CALM)
    }

    fn wake(&self, is_changed: bool, looks: usize) -> Instant {
        let now = Instant::now();
        let calm = is_changed.then(|| self.walked.map_or(now, |walked| walked + CALM));
        let next = self.schedule.peek().filter(|_| looks < TOGETHER);
        let due = next.map(|Reverse((due, _))| *due);
        let first = calm.into_iter().chain(due).min();
        first.unwrap_or(now + IDLE)
    }

    /// Brings the list of those who are watched up to date: new versions are looked at at once.
    async fn walk(&mut self) {
        let snapshot = self.services.registry.snapshot();
        let now = Instant::now();
        self.walked = Some(now);
        let mut watched = BTreeMap::new();
        for (looked_at, client) in snapshot.iter().enumerate() {
            if looked_at % AT_ONCE == 0 {
                task::yield_now().await;
            }
            if !is_watched(&snapshot, client) {
                continue;
            }
            let (name, version) = (client.name().clone(), client.version().digest);
            let known = self.watched.remove(&name);
            let known = known.filter(|known| known.version == version);
            let entry = known.unwrap_or_else(|| {
                self.schedule.push(Reverse((now, name.clone())));
                Watched {
                    version,
                    due: Some(now),
                    row: Row::default(),
                    known: KnownKeys::default(),
                    is_drifted: false,
                    told: None,
                }
            });
            watched.insert(name, entry);
        }
        self.looks.retain(|name| watched.contains_key(name));
        self.watched = watched;
        self.count();
    }

    /// The next look that is due, begun.
    fn next_due(&mut self) -> Option<BoxFuture<'static, Done>> {
        let now = Instant::now();
        while let Some(Reverse((due, _))) = self.schedule.peek()
            && *due <= now
        {
            let Some(Reverse((due, name))) = self.schedule.pop() else {
                break;
            };
            let begun = self.begin(&name, Some(due));
            if begun.is_some() {
                return begun;
            }
        }
        None
    }

    /// A look at this client; where `due` is given, only if that is still its time.
    fn begin(
        &mut self,
        name: &ClientName,
        due: Option<Instant>,
    ) -> Option<BoxFuture<'static, Done>> {
        let watched = self.watched.get_mut(name)?;
        if due.is_some() && watched.due != due {
            return None;
        }
        let client = Arc::clone(self.services.registry.snapshot().client(name)?);
        watched.due = None;
        let known = watched.known.clone();
        let fetcher = self.services.fetcher.clone();
        Some(Box::pin(async move {
            let (look, known) = Box::pin(look::look(&fetcher, &client, known)).await;
            Done {
                client,
                look,
                known,
            }
        }))
    }

    /// Does what follows from a look; what tells of both, where there is anything to tell. Until it
    /// has, this client is not looked at again.
    async fn finish(&mut self, done: Done) -> Option<BoxFuture<'static, Told>> {
        let Done {
            client,
            look,
            known,
        } = done;
        let noted = self.note(&client, &look, known)?;
        let action = action(&client, noted.row);
        let acted = match action {
            Some(to) => self.services.act(&client, &look, to).await,
            None => None,
        };
        if !noted.is_news && acted.is_none() {
            self.schedule(&client, noted.next);
            return None;
        }
        let services = self.services.clone();
        Some(Box::pin(async move {
            let is_told = noted.is_news && services.tell(&client, &look, action).await;
            if let Some(acted) = acted {
                services.tell_act(&acted).await;
            }
            Told {
                client,
                look: is_told.then_some(look),
                next: noted.next,
            }
        }))
    }

    /// Notes what the trail says, and when to look again.
    fn note_told(&mut self, told: Told) {
        let Told { client, look, next } = told;
        if let Some(watched) = self.watched_version(&client)
            && look.is_some()
        {
            watched.told = look;
        }
        self.schedule(&client, next);
    }

    fn schedule(&mut self, client: &Client, next: Instant) {
        if let Some(watched) = self.watched_version(client) {
            watched.due = Some(next);
            self.schedule.push(Reverse((next, client.name().clone())));
        }
    }

    /// What is watched of this client; none where that is another version by now.
    fn watched_version(&mut self, client: &Client) -> Option<&mut Watched> {
        let version = client.version().digest;
        let watched = self.watched.get_mut(client.name());
        watched.filter(|watched| watched.version == version)
    }

    /// Notes what was seen; `None` where another version is watched by
    /// now, which is looked at by itself.
    fn note(&mut self, client: &Client, look: &Look, known: KnownKeys) -> Option<Noted> {
        let looks = &self.services.metrics.looks;
        looks.get_or_create(&look.outcome().into()).inc();
        let next = Instant::now() + within(self.services.interval);
        let watched = self.watched_version(client)?;
        watched.known = known;
        watched.row = watched.row.then(look.ground());
        watched.is_drifted = !look.is_approved();
        let is_news = match &watched.told {
            Some(told) => look.is_news_after(told),
            None => !look.is_approved(),
        };
        let row = watched.row;
        let seen = Seen {
            at: self.services.clock.now(),
            look: look.clone(),
        };
        self.looks.note(client.name(), seen);
        self.count();
        Some(Noted { is_news, row, next })
    }

    fn count(&self) {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let drifted = |watched: &&Watched| watched.is_drifted;
        let metrics = &self.services.metrics;
        metrics.watched.set(gauge(self.watched.len()));
        metrics
            .drifted
            .set(gauge(self.watched.values().filter(drifted).count()));
    }

    /// Looks at this client now.
    #[cfg(test)]
    async fn look_at(&mut self, name: &ClientName) {
        self.walk().await;
        let look = self.begin(name, None).unwrap();
        let done = look.await;
        if let Some(telling) = self.finish(done).await {
            let told = telling.await;
            self.note_told(told);
        }
    }
}

/// Suspended clients too: who wants to resume one needs to know how its document is.
fn is_watched(snapshot: &Snapshot, client: &Client) -> bool {
    let is_open = matches!(
        snapshot.state_of(client),
        ClientState::Active | ClientState::Suspended
    );
    let metadata = client.spec().metadata();
    is_open
        && client.has_version_in_force()
        && metadata.is_some_and(crate::registry::ClientMetadata::is_external)
}

/// A time somewhere in the second half of the interval: never two looks further apart than that,
/// and not all of them together.
fn within(interval: Duration) -> Duration {
    let mut draw = [0];
    // Without randomness there is no jitter.
    let _drawn = rand::fill(&mut draw);
    let [draw] = draw;
    let half = interval / 2;
    half + half.mul_f64(f64::from(draw) / 320.0)
}

/// What is to become of the client; `None`: what it is.
fn action(client: &Client, row: Row) -> Option<Standing> {
    let policy = client.spec().metadata()?.on_drift()?;
    match (row.ground, policy) {
        (Ground::Nothing, _) | (_, OnDrift::Alert) => None,
        (Ground::Unreachable, _) if row.looks < PATIENCE => None,
        (Ground::Drift, OnDrift::Revoke) if row.looks >= CERTAINTY => Some(Standing::Revoked),
        (_, OnDrift::Suspend | OnDrift::Revoke) => Some(Standing::Suspended),
    }
}

impl DriftServices {
    /// Records what was seen; whether that is in the trail.
    async fn tell(&self, client: &Client, look: &Look, action: Option<Standing>) -> bool {
        let reason = sentence(look);
        let name = client.name();
        match look.is_approved() {
            true => tracing::info!(client = %name, "{reason}"),
            false => tracing::warn!(client = %name, "{reason}"),
        }
        let version = client.version();
        let event = Event::new(Kind::Drifted)
            .client(name.as_str(), version.number)
            .client_digest(version.digest.to_string())
            .spiffe_id(version.spec.spiffe_id().to_string())
            .owner(version.spec.owner().to_string())
            .outcome(match look.outcome() {
                "approved" => Outcome::Accepted,
                "unreachable" => Outcome::Failed,
                _ => Outcome::Refused,
            })
            .reason(reason)
            .evidence(&evidence(client, look, action));
        let recorded = match event {
            Ok(event) => self.trail.record(event).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &recorded {
            tracing::error!(%error, "a look at a client's document could not be recorded");
        }
        recorded.is_ok()
    }

    /// Suspends or revokes the client, where it is not that already; what is to be told of that.
    async fn act(&self, client: &Client, look: &Look, to: Standing) -> Option<Acted> {
        let snapshot = self.registry.snapshot();
        let now = snapshot.client(client.name())?;
        let is_same = now.version().digest == client.version().digest;
        let is_done = now.standing() == to || !now.may_become(to);
        if !is_same || is_done {
            return None;
        }
        let agent = Actor::from_str(AGENT).ok()?;
        let reason = sentence(look);
        let because = Reason::from_str(&reason).unwrap_or_default();
        let change = Change::Stand(to);
        let name = client.name().clone();
        match self.registry.change(name, change, agent, because).await {
            Ok(applied) => Some(Acted {
                applied,
                to,
                reason,
            }),
            Err(error) => {
                tracing::error!(client = %client.name(), %error, "a client whose document drifted stays");
                None
            }
        }
    }

    /// Counts and records what was done.
    async fn tell_act(&self, acted: &Acted) {
        let act = Act::Change(governance::kind_of(acted.to));
        let events = governance::events(act, &acted.applied, AGENT, &acted.reason);
        for event in &events {
            let counted = self
                .changes
                .changes
                .get_or_create(&event.kind().as_str().into());
            counted.inc();
        }
        let revision = acted.applied.new.revision();
        match self.trail.record_all(events).await {
            Ok(()) => self.registry.note_told(revision),
            Err(error) => {
                tracing::error!(%error, "a change because of drift could not be recorded");
                self.registry.note_untold(revision);
            }
        }
    }
}

/// What was seen, in one line.
fn sentence(look: &Look) -> String {
    if look.is_approved() {
        return "what is served is what was approved".to_owned();
    }
    let findings: Vec<String> = look.findings.iter().map(ToString::to_string).collect();
    let mut findings = findings.join(", ");
    if findings.len() > SHOWN {
        // Findings are ASCII.
        findings.truncate(SHOWN);
        findings.push_str("...");
    }
    format!("what is served is not what was approved: {findings}")
}

fn evidence(client: &Client, look: &Look, action: Option<Standing>) -> Value {
    let metadata = client.spec().metadata();
    let text = |digest: Option<&Digest>| digest.map(ToString::to_string);
    let approved = metadata.map(|metadata| {
        json!({
            "document": text(metadata.document_digest()),
            "jwks": text(metadata.jwks_digest()),
        })
    });
    let url = metadata.and_then(|metadata| metadata.client_id());
    let mut found = json!({
        "document": text(look.document.as_ref()),
        "jwks": text(look.keys.as_ref()),
    });
    for (name, digest) in [
        ("document_for_others", &look.document_for_others),
        ("jwks_for_others", &look.keys_for_others),
    ] {
        if let (Some(digest), Some(found)) = (digest, found.as_object_mut()) {
            found.insert(name.to_owned(), digest.to_string().into());
        }
    }
    json!({
        "action": match action {
            Some(Standing::Revoked) => "revoke",
            Some(_) => "suspend",
            None => "alert",
        },
        "approved": approved,
        "findings": look.findings,
        "found": found,
        "url": url.map(ToString::to_string),
    })
}

#[cfg(test)]
mod tests;
