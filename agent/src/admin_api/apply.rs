//! Documents of registrations, a batch at a time: planned, judged, and made all together or not at all.
//!
//! The plan is made here and not by the caller, so that it compares what the
//! registry compares. A dry run is the same way up to the registry, which tries
//! the changes and keeps none; so it tells what would be refused, and by which
//! words. Callers that were shown a plan name the last version that it was made
//! from, and are refused where there is another one by now.
//!
//! What others have proposed is not pushed aside by a document that says what is
//! in force, and what was declined is not proposed again until the document
//! changes. A batch is bounded, and one is worked on at a time.

use super::{
    Operator,
    calls::{AdminApi, operator},
    convert, lint, status,
};
use crate::{
    audit::{AuditError, Event, Kind, Trail},
    governance::{self, Act},
    lint::Asked,
    registry::{
        AcceptedWeaknesses, Actor, Applied, Change, Client, ClientDraft, ClientName, ClientSpec,
        ClientVersion, Command, Effect, Reason, RegistryError, Snapshot, SpecRules, Standing,
        Subject, WeaknessReason,
    },
    server::Terms,
};
use prost::Message as _;
use std::{
    collections::HashSet,
    mem,
    str::FromStr as _,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};
use symbolon_proto::admin::{
    self, AppliedClient, ApplyClient, ApplyClientsRequest, ApplyClientsResponse,
};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tonic::{Request, Response, Status};

/// Clients of one batch: what judging, the store and the trail take well under a second for.
const MOST: usize = 500;

/// Batches at the same time: one is worked on, and four wait with up to a megabyte each.
pub(super) const BATCHES: Terms = Terms {
    what: "batch",
    most: 5,
    most_of_one: 3,
    full: "as many batches of documents wait as may at a time; try again when one is done",
};

/// Events that one write of the trail has room for, however long they are.
const RECORDED_TOGETHER: usize = 100;

/// Refusals of one batch that are recorded one by one; the last of them has the number of the others.
const TOLD_REFUSALS: usize = 10;

/// Bytes of what is in force that an answer repeats: a request has less, but what it is about may not.
const SHOWN_BYTES: usize = 16 << 20;

/// Whether a client's version in force has this source.
pub(super) fn is_of(client: &Client, source: &str) -> bool {
    let own = client.spec().source();
    own.is_some_and(|own| own.as_str() == source)
}

impl AdminApi {
    /// Carries out a batch, or tells what that would do.
    pub(super) async fn apply(
        &self,
        request: Request<ApplyClientsRequest>,
    ) -> Result<Response<ApplyClientsResponse>, Status> {
        let operator = operator(&request)?;
        let request = request.into_inner();
        let names = names(&request.clients)?;
        let batch = Batch {
            actor: operator.actor()?,
            operator,
            reason: Reason::from_str(&request.reason)
                .map_err(|error| Status::invalid_argument(error.to_string()))?,
            is_dry_run: request.dry_run,
        };
        let health = self.services.trail.health().borrow().clone();
        if !batch.is_dry_run && !health.is_recording() {
            return Err(status::of_refusing_trail(&health));
        }
        let place = self.batches.take(batch.operator.uid)?;
        let turn = Arc::clone(&self.applying).acquire_owned().await;
        let turn = turn.map_err(|_closed| Status::unavailable("the agent is stopping"))?;
        let (reply, done) = oneshot::channel();
        let this = self.clone();
        // Done to its end also where the operator does not wait for it.
        self.services.supervisor.spawn(async move {
            let documents = names.into_iter().zip(request.clients).collect();
            let answer = batch.carry_out(&this, documents, turn).await;
            drop(place);
            if reply.send(answer).is_err() {
                tracing::debug!("the operator did not wait for a batch of documents");
            }
        });
        let answer = done.await;
        let answer = answer.map_err(|_panicked| Status::internal("the batch was given up"))??;
        Ok(Response::new(answer))
    }
}

/// The names of a batch, each of which stands there once.
fn names(clients: &[ApplyClient]) -> Result<Vec<ClientName>, Status> {
    if clients.len() > MOST {
        let error = format!("more than {MOST} clients in one request");
        return Err(Status::invalid_argument(error));
    }
    let names = clients.iter().map(|client| convert::name(&client.name));
    let names = names.collect::<Result<Vec<_>, _>>()?;
    let mut seen = HashSet::new();
    match names.iter().find(|name| !seen.insert(*name)) {
        Some(twice) => {
            let error = format!("client {twice} is in the request twice");
            Err(Status::invalid_argument(error))
        }
        None => Ok(names),
    }
}

/// Who asks for a batch, and why.
struct Batch {
    operator: Operator,
    actor: Actor,
    reason: Reason,
    is_dry_run: bool,
}

/// What is to be done about one document.
struct Item {
    name: ClientName,
    answer: AppliedClient,
    wish: Option<Wish>,
}

/// A version that is to be made.
struct Wish {
    kind: Kind,
    asked: Asked,
}

impl Batch {
    /// Does it in its `turn`, which ends before refusals are recorded: they wait in a line of their
    /// author's, and nobody else does.
    async fn carry_out(
        self,
        api: &AdminApi,
        documents: Vec<(ClientName, ApplyClient)>,
        turn: OwnedSemaphorePermit,
    ) -> Result<ApplyClientsResponse, Status> {
        let snapshot = api.services.registry.snapshot();
        let rules = lenient(api);
        let plan = |(name, document)| self.plan(name, document, &snapshot, &rules);
        let mut items: Vec<_> = documents.into_iter().map(plan).collect();
        judge(api, &mut items, &snapshot).await;
        let are_refused = items.iter().any(Item::is_refused);
        let made = self.make(api, &mut items, are_refused).await;
        let are_refused = items.iter().any(Item::is_refused);
        let is_applied = !self.is_dry_run && !are_refused;
        if is_applied {
            self.record(api, &items, &made).await?;
        }
        drop(turn);
        if !self.is_dry_run && are_refused {
            self.record_refusals(api, &items).await?;
        }
        if self.is_dry_run {
            show_before(&mut items, &snapshot);
        }
        Ok(ApplyClientsResponse {
            clients: items.into_iter().map(|item| item.answer).collect(),
            applied: is_applied,
        })
    }

    /// What a document asks for, by what is registered now.
    fn plan(
        &self,
        name: ClientName,
        document: ApplyClient,
        snapshot: &Snapshot,
        rules: &SpecRules,
    ) -> Item {
        let client = snapshot.client(&name).map(|client| &**client);
        let last = client.map_or(0, |client| client.last_version().number);
        let mut item = Item {
            answer: AppliedClient {
                name: name.to_string(),
                last_version: last,
                state: client.map_or_else(String::new, |client| {
                    snapshot.state_of(client).as_str().to_owned()
                }),
                ..AppliedClient::default()
            },
            name,
            wish: None,
        };
        if let Some(expected) = document.expected_last_version.filter(|it| *it != last) {
            item.refuse(format!(
                "the last version is {last}, not {expected}: somebody has changed it meanwhile"
            ));
            return item;
        }
        let said = Said::read(document, &item.name, rules);
        match said {
            Ok(said) => item.decide(client, said, &self.actor),
            Err(why) => {
                item.refuse(why);
                item.answer.is_invalid = true;
            }
        }
        item
    }

    /// Has the registry make what is wished for, or only try it; says what came of it.
    async fn make(&self, api: &AdminApi, items: &mut [Item], only_try: bool) -> Vec<Applied> {
        let mut wished: Vec<_> = items
            .iter_mut()
            .filter(|item| item.wish.is_some() && !item.is_refused())
            .collect();
        if wished.is_empty() {
            return Vec::new();
        }
        let commands = wished.iter().filter_map(|item| self.command(item));
        let commands = commands.collect();
        let registry = &api.services.registry;
        let answers = match only_try || self.is_dry_run {
            true => registry.rehearse(commands).await,
            false => registry.change_all(commands).await,
        };
        let mut made = Vec::new();
        for (item, answer) in wished.iter_mut().zip(answers) {
            match answer {
                Ok(applied) => {
                    item.note(&applied);
                    made.push(applied);
                }
                Err(error) => {
                    item.answer.is_invalid = matches!(error, RegistryError::Spec(_));
                    item.refuse(status::of_registry(&error).message().to_owned());
                }
            }
        }
        made
    }

    fn command(&self, item: &Item) -> Option<Command> {
        let wish = item.wish.as_ref()?;
        let draft = Box::new(wish.asked.draft.clone());
        Some(Command {
            name: item.name.clone(),
            change: match item.answer.last_version {
                0 => Change::Register(draft),
                last => Change::Follow(draft, last),
            },
            actor: self.actor.clone(),
            reason: self.reason.clone(),
        })
    }

    /// Records what was made: an event for each client at least, all of them together.
    async fn record(&self, api: &AdminApi, items: &[Item], made: &[Applied]) -> Result<(), Status> {
        let label = self.operator.label();
        let wishes = items.iter().filter_map(|item| item.wish.as_ref());
        let events = wishes.zip(made).flat_map(|(wish, applied)| {
            let act = Act::Change(wish.kind);
            governance::events(act, applied, &label, self.reason.as_str())
        });
        let events: Vec<_> = events.map(|event| self.operator.sign(event)).collect();
        let changes = &api.services.metrics.changes;
        for event in &events {
            changes.get_or_create(&event.kind().as_str().into()).inc();
        }
        let recorded = record_in_parts(&api.services.trail, events).await;
        let registry = &api.services.registry;
        for revision in made.iter().map(|applied| applied.new.revision()) {
            match &recorded {
                Ok(()) => registry.note_told(revision),
                Err(_) => registry.note_untold(revision),
            }
        }
        recorded.map_err(|error| status::of_unrecorded_change(&error))
    }

    async fn record_refusals(&self, api: &AdminApi, items: &[Item]) -> Result<(), Status> {
        let refused: Vec<_> = items.iter().filter(|item| item.is_refused()).collect();
        let event = |item: &&Item| {
            let kind = match item.answer.last_version {
                0 => Kind::Registered,
                _ => Kind::Updated,
            };
            let event = Event::new(Kind::Refused).operation(kind.as_str());
            (event, format!("{}: {}", item.name, item.answer.why))
        };
        let more = refused.len().saturating_sub(TOLD_REFUSALS);
        let mut events: Vec<_> = refused.iter().take(TOLD_REFUSALS).map(event).collect();
        if let Some((_, why)) = events.last_mut().filter(|_| more > 0) {
            why.push_str(&format!(
                "; {more} more documents of the batch were refused"
            ));
        }
        let recorded = self.operator.refuse(events, &api.services.trail).await;
        let health = api.services.trail.health();
        recorded.map_err(|_not_recorded| status::of_refusing_trail(&health.borrow()))
    }
}

/// A batch of documents may have more to say than fits into one write of the trail.
async fn record_in_parts(trail: &Trail, mut events: Vec<Event>) -> Result<(), AuditError> {
    while !events.is_empty() {
        let rest = events.split_off(events.len().min(RECORDED_TOGETHER));
        trail.record_all(mem::replace(&mut events, rest)).await?;
    }
    Ok(())
}

impl Item {
    fn is_refused(&self) -> bool {
        self.answer.done == "refused"
    }

    fn refuse(&mut self, why: String) {
        "refused".clone_into(&mut self.answer.done);
        self.answer.version = 0;
        self.answer.why = why;
    }

    fn leave(&mut self, done: &str, version: &ClientVersion) {
        done.clone_into(&mut self.answer.done);
        self.answer.version = version.number;
    }

    /// Whether the document makes a version, and if not, why.
    fn decide(&mut self, client: Option<&Client>, said: Said, actor: &Actor) {
        let Some(client) = client else {
            self.wish(Kind::Registered, said);
            return;
        };
        if client.standing() == Standing::Revoked {
            return self.refuse("it is revoked, for ever".to_owned());
        }
        let in_force = client.has_version_in_force().then(|| client.version());
        let in_force = in_force.filter(|version| said.is_said_by(version));
        match (client.pending(), in_force, client.declined()) {
            (Some(pending), ..) if said.is_said_by(&pending.what) => {
                self.leave("pending", &pending.what);
            }
            // What others have proposed is theirs to take back; one's own is void.
            (Some(pending), Some(version), _) if !pending.what.author.is_person_of(actor) => {
                self.leave("unchanged", version);
            }
            (None, Some(version), _) => self.leave("unchanged", version),
            (None, None, Some(declined)) if said.is_said_by(&declined.what) => {
                self.leave("declined", &declined.what);
                let (verdict, by) = (declined.verdict.participle(), &declined.operator);
                self.answer.why = format!("{verdict} by {by}: {}", declined.reason);
            }
            _ => self.wish(Kind::Updated, said),
        }
    }

    fn wish(&mut self, kind: Kind, said: Said) {
        let asked = Asked {
            name: self.name.clone(),
            draft: said.draft,
            reason: said.accept_weak,
        };
        self.wish = Some(Wish { kind, asked });
    }

    /// What the registry has made of it, or would.
    fn note(&mut self, applied: &Applied) {
        let done = match (applied.effect, self.wish.as_ref()) {
            (Effect::InForce, Some(wish)) => wish.kind.as_str(),
            _ => "proposed",
        };
        self.leave(done, applied.new.last_version());
        let voided = applied.voided().find_map(|(subject, _)| match subject {
            Subject::Version(number) => Some(number),
            Subject::State(_) => None,
        });
        self.answer.voids = voided.unwrap_or_default();
    }
}

/// What a document says, in itself without fault.
struct Said {
    draft: ClientDraft,
    spec: ClientSpec,
    accept_weak: Option<WeaknessReason>,
}

impl Said {
    fn read(document: ApplyClient, name: &ClientName, rules: &SpecRules) -> Result<Self, String> {
        let draft = convert::draft(document.spec);
        let draft = draft.map_err(|status| status.message().to_owned())?;
        let spec = draft.check(name, rules, UNIX_EPOCH);
        let accept_weak = match &*document.accept_weak {
            "" => None,
            text => Some(WeaknessReason::from_str(text).map_err(|error| error.to_string())?),
        };
        Ok(Self {
            spec: spec.map_err(|error| error.to_string())?,
            draft,
            accept_weak,
        })
    }

    /// Whether a version says so, and was accepted for the same reason where it is weak and the
    /// document has one: without, what was accepted stays so.
    fn is_said_by(&self, version: &ClientVersion) -> bool {
        let accepted = version.spec.accepted_weaknesses();
        let accepted = accepted.map(AcceptedWeaknesses::reason);
        let reason = self.accept_weak.as_ref();
        let is_accepted = accepted.is_none() || reason.is_none() || accepted == reason;
        is_accepted && self.spec.says_what(&version.spec)
    }
}

/// What every registration keeps to that was ever made: today's bounds are the registry's to check,
/// of what is made today.
fn lenient(api: &AdminApi) -> SpecRules {
    let any = Duration::from_secs(1)..=Duration::from_secs(u32::MAX.into());
    SpecRules {
        trust_domain: api.services.workloads.bundle().trust_domain().clone(),
        x509_ttl: any.clone(),
        jwt_ttl: any,
    }
}

/// Judges the versions that are to be made, each beside those before it.
async fn judge(api: &AdminApi, items: &mut [Item], snapshot: &Arc<Snapshot>) {
    let wished = items.iter_mut().filter(|item| item.wish.is_some());
    let mut wished: Vec<_> = wished.collect();
    let asked = wished.iter().filter_map(|item| item.wish.as_ref());
    let mut asked: Vec<_> = asked.map(|wish| wish.asked.clone()).collect();
    let judged = api.services.linter.review_all(&mut asked, snapshot).await;
    for ((item, asked), judged) in wished.iter_mut().zip(asked).zip(judged) {
        item.answer.findings = lint::findings(&judged.findings);
        if let Some(wish) = &mut item.wish {
            wish.asked = asked;
        }
        if let Err(weak) = judged.check() {
            item.refuse(weak.to_string());
        }
    }
}

/// Adds what is in force of those that would be changed, as far as an answer has room.
fn show_before(items: &mut [Item], snapshot: &Snapshot) {
    let mut bytes = 0;
    for item in items.iter_mut().filter(|item| item.wish.is_some()) {
        let Some(client) = snapshot.client(&item.name) else {
            continue;
        };
        let spec: admin::ClientSpec = convert::spec(client.spec());
        bytes += spec.encoded_len();
        if bytes > SHOWN_BYTES {
            return;
        }
        item.answer.before = Some(spec);
    }
}
