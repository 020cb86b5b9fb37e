//! Approvals, rollbacks, histories, and changes of many clients at once.
//!
//! An approval is one of exactly what the operator was shown: the request names
//! its digest, and the registry refuses it where something else awaits approval.
//! Who takes away, one client or all of an owner's, waits for nobody.

use super::{
    apply,
    calls::{AdminApi, operator},
    changes::{Requested, Undone},
    convert, lint, status, views,
};
use crate::{
    governance::{Act, kind_of},
    lint::Judged,
    registry::{
        Change, Client, ClientDraft, ClientName, Deed, Digest, Effect, HistoryEntry, Proposal as _,
        Reason, Registry, RegistryError, SelectorSet, Standing, Subject, TextError, Verdict,
    },
    server::Terms,
};
use futures_util::{Stream, stream};
use std::{collections::BTreeSet, str::FromStr as _, sync::Arc, time::Duration};
use symbolon_attestors::Selector;
use symbolon_proto::admin::{
    self, ChangeManyStatesRequest, ChangeManyStatesResponse, ChangeStateRequest, DecisionRequest,
    FailedChange, RollbackClientRequest,
};
use tokio::{sync::oneshot, task};
use tonic::{Request, Response, Status};

/// Changes of many clients that are made together, and recorded together: what one commit takes.
const TOGETHER: usize = 128;
/// Names that an answer about many repeats.
const SHOWN_NAMES: usize = 1_000;
/// Clients that one request names.
const MOST_NAMES: usize = 1_000;
/// Failures that it repeats.
const SHOWN_FAILURES: usize = 100;
/// Failures of which each has an event; the last of them has the number of the others.
const TOLD_FAILURES: usize = 10;
/// How often clients are looked for anew that were registered in the meantime.
const ROUNDS: usize = 4;

/// What the caller learns where the agent stops before the last entry.
pub(super) const HISTORY_BROKEN_OFF: &str = "the agent stops; the history is not whole";

/// Histories that are told at the same time: each has a page of records in memory.
pub(super) const HISTORIES: Terms = Terms {
    what: "history",
    most: 8,
    most_of_one: 4,
    full: "as many histories are told as may at a time; try again when one is done",
};

/// How long an entry of one may lie unread.
pub(super) const HISTORY_PATIENCE: Duration = Duration::from_secs(60);

impl AdminApi {
    /// A word about what awaits approval.
    pub(super) async fn decide(
        &self,
        verdict: Verdict,
        request: Request<DecisionRequest>,
    ) -> Result<Response<admin::Client>, Status> {
        let operator = operator(&request)?;
        let request = request.into_inner();
        let subject = match (request.version, request.resumption) {
            (0, 0) => Err("name the version, or the resumption"),
            (number, 0) => Ok(Subject::Version(number)),
            (0, number) => Ok(Subject::State(number)),
            _ => Err("name a version or a resumption, not both"),
        };
        let subject = subject.map_err(Status::invalid_argument)?;
        let digest = Digest::from_str(&request.digest)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let act = Act::Decision(subject, verdict);
        let mut requested = Requested::new(operator, act, &request.name, &request.reason)?;
        if verdict == Verdict::Approve {
            requested.judged = self.judge_pending(requested.name(), subject, digest).await;
        }
        self.change(requested, Change::Decide(subject, digest, verdict))
            .await
    }

    /// What is found now about the version that is approved: nothing comes into force with a
    /// weakness that its author did not accept.
    async fn judge_pending(&self, name: &ClientName, about: Subject, digest: Digest) -> Judged {
        let snapshot = self.services.registry.snapshot();
        let pending = snapshot.client(name).and_then(|client| client.pending());
        // The registry refuses what something else awaits.
        let Some(pending) = pending.filter(|pending| pending.is(about, digest)) else {
            return Judged::default();
        };
        let (linter, spec) = (&self.services.linter, &pending.what.spec);
        linter.review_again(name, spec, &snapshot).await
    }

    /// A change of one client's state.
    pub(super) async fn stand(
        &self,
        to: Standing,
        request: Request<ChangeStateRequest>,
    ) -> Result<Response<admin::Client>, Status> {
        let operator = operator(&request)?;
        let request = request.into_inner();
        let act = Act::Change(kind_of(to));
        let requested = Requested::new(operator, act, &request.name, &request.reason)?;
        self.change(requested, Change::Stand(to)).await
    }

    /// A version with the content of an earlier one.
    pub(super) async fn rollback(
        &self,
        request: Request<RollbackClientRequest>,
    ) -> Result<Response<admin::Client>, Status> {
        let operator = operator(&request)?;
        let request = request.into_inner();
        let act = Act::Change(crate::audit::Kind::Updated);
        let mut requested = Requested::new(operator, act, &request.name, &request.reason)?;
        let registry = &self.services.registry;
        let version = registry.past_version(requested.name(), request.to_version);
        let version = version.await.map_err(|error| status::of_registry(&error))?;
        let draft = version.spec.draft();
        let (draft, judged) = self
            .judge_again(requested.name(), draft, &request.accept_weak)
            .await?;
        requested.judged = judged;
        let expected = (request.expected_version != 0).then_some(request.expected_version);
        let change = Change::Update(Box::new(draft), expected);
        self.change(requested, change).await
    }

    /// Judges an earlier content: what was accepted of it then stays so, if nothing else is found.
    async fn judge_again(
        &self,
        name: &ClientName,
        draft: ClientDraft,
        accept_weak: &str,
    ) -> Result<(ClientDraft, Judged), Status> {
        let before = draft.accepted_weaknesses.clone();
        if let Some(before) = before.filter(|_| accept_weak.is_empty()) {
            let (again, judged) =
                lint::judge(&self.services, name, draft.clone(), &before.reason).await?;
            let now = again.accepted_weaknesses.iter();
            if now
                .flat_map(|now| &now.findings)
                .all(|finding| before.findings.contains(finding))
            {
                return Ok((again, judged));
            }
        }
        lint::judge(&self.services, name, draft, accept_weak).await
    }

    /// Ends all identities of an owner, or of a selector.
    pub(super) async fn change_many(
        &self,
        request: Request<ChangeManyStatesRequest>,
    ) -> Result<Response<ChangeManyStatesResponse>, Status> {
        let operator = operator(&request)?;
        let many = Many::parse(request.into_inner())?;
        // Before anything is changed.
        operator.actor()?;
        let (reply, done) = oneshot::channel();
        let this = self.clone();
        self.services.supervisor.spawn(async move {
            let response = many.carry_out(&this, &operator).await;
            if reply.send(response).is_err() {
                tracing::debug!("the operator did not wait for a change of many");
            }
        });
        let response = done.await;
        let response = response.map_err(|_panicked| Status::internal("the change was given up"))?;
        Ok(Response::new(response))
    }
}

/// Which clients are to be changed, and how.
#[derive(Debug)]
struct Many {
    which: Which,
    to: Standing,
    reason: Reason,
}

#[derive(Debug)]
enum Which {
    OfOwner(String),
    With(Selector),
    /// Those of a source that have one of these names.
    Named(BTreeSet<ClientName>, String),
}

impl Many {
    fn parse(request: ChangeManyStatesRequest) -> Result<Self, Status> {
        let which = Which::parse(&request);
        let to = match request.state.as_str() {
            "suspended" => Ok(Standing::Suspended),
            "revoked" => Ok(Standing::Revoked),
            _ => Err("many clients can be suspended or revoked"),
        };
        let reason = Reason::from_str(&request.reason)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        if reason.is_blank() {
            return Err(status::of_registry(&RegistryError::ReasonMissing));
        }
        Ok(Self {
            which: which.map_err(Status::invalid_argument)?,
            to: to.map_err(Status::invalid_argument)?,
            reason,
        })
    }

    async fn carry_out(
        &self,
        api: &AdminApi,
        operator: &super::Operator,
    ) -> ChangeManyStatesResponse {
        let mut response = ChangeManyStatesResponse::default();
        let mut refused = Refused::default();
        for _ in 0..ROUNDS {
            let names = self.names(&api.services.registry).await;
            if names.is_empty() {
                break;
            }
            for some in names.chunks(TOGETHER) {
                let undone = self.change_some(api, operator, some, &mut response);
                undone.await.into_iter().for_each(|one| refused.note(one));
            }
            // They would fail again.
            if response.failed > 0 {
                break;
            }
        }
        // Behind all that was to be stopped.
        refused.tell(api, operator).await;
        response
    }

    async fn names(&self, registry: &Registry) -> Vec<ClientName> {
        let snapshot = registry.snapshot();
        let mut names = Vec::new();
        for (looked_at, client) in snapshot.iter().enumerate() {
            if looked_at % views::AT_ONCE == 0 {
                task::yield_now().await;
            }
            if client.may_become(self.to) && self.which.is(client) {
                names.push(client.name().clone());
            }
        }
        names
    }

    async fn change_some(
        &self,
        api: &AdminApi,
        operator: &super::Operator,
        names: &[ClientName],
        response: &mut ChangeManyStatesResponse,
    ) -> Vec<(Requested, Undone)> {
        let act = Act::Change(kind_of(self.to));
        let requested = |name: &ClientName| {
            Requested::of(operator.clone(), act, name.clone(), self.reason.clone())
        };
        let requested: Vec<_> = names.iter().map(requested).collect();
        let changed = api.change_some(&requested, || Change::Stand(self.to)).await;
        let mut refused = Vec::new();
        for (requested, outcome) in requested.into_iter().zip(changed) {
            match outcome {
                Ok(recorded) => {
                    let recorded = recorded.map(drop);
                    let recorded = recorded.map_err(|status| status.message().to_owned());
                    note(response, requested.name(), recorded);
                }
                Err(undone) => {
                    let why = undone.unlogged_status().message().to_owned();
                    note(response, requested.name(), Err(why));
                    refused.push((requested, undone));
                }
            }
        }
        refused
    }
}

/// Changes of many clients that were not made.
#[derive(Default)]
struct Refused {
    /// The first of them.
    first: Vec<(Requested, Undone)>,
    more: usize,
    /// Whether the log has why the registry failed: once is enough.
    is_logged: bool,
}

impl Refused {
    fn note(&mut self, one: (Requested, Undone)) {
        if !self.is_logged && one.1.is_failure() {
            drop(one.1.status());
            self.is_logged = true;
        }
        if self.first.len() < TOLD_FAILURES {
            self.first.push(one);
        } else {
            self.more += 1;
        }
    }

    /// Records the first ones and how many more there are, at the pace of refusals: whoever asks
    /// again and again for what fails fills neither trail nor log.
    async fn tell(&self, api: &AdminApi, operator: &super::Operator) {
        if self.first.is_empty() {
            return;
        }
        let told = self.first.iter();
        let mut told: Vec<_> = told
            .map(|(requested, undone)| requested.refused(undone))
            .collect();
        if let Some((_, why)) = told.last_mut().filter(|_| self.more > 0) {
            why.push_str(&format!(
                "; {} more clients could not be changed",
                self.more
            ));
        }
        if let Err(error) = operator.refuse(told, &api.services.trail).await {
            tracing::error!(%error, "refusals could not be recorded");
        }
    }
}

fn note(response: &mut ChangeManyStatesResponse, name: &ClientName, outcome: Result<(), String>) {
    match outcome {
        Ok(()) => {
            response.changed += 1;
            if response.names.len() < SHOWN_NAMES {
                response.names.push(name.to_string());
            }
        }
        Err(why) => {
            response.failed += 1;
            if response.failures.len() < SHOWN_FAILURES {
                response.failures.push(FailedChange {
                    name: name.to_string(),
                    why,
                });
            }
        }
    }
}

impl Which {
    fn parse(request: &ChangeManyStatesRequest) -> Result<Self, String> {
        let names = &request.names;
        match (&*request.owner, &*request.selector, names.is_empty()) {
            _ if names.is_empty() != request.source.is_empty() => {
                Err("names and their source go together".to_owned())
            }
            ("", "", true) => Err("name an owner, a selector or clients".to_owned()),
            (owner, "", true) => Ok(Self::OfOwner(owner.to_owned())),
            ("", selector, true) => selector
                .parse()
                .map(Self::With)
                .map_err(|error| format!("the selector {error}")),
            ("", "", false) if names.len() > MOST_NAMES => {
                Err(format!("more than {MOST_NAMES} names"))
            }
            ("", "", false) => {
                let names: Result<_, _> = names.iter().map(|name| name.parse()).collect();
                let names = names.map_err(|error: TextError| error.to_string())?;
                Ok(Self::Named(names, request.source.clone()))
            }
            _ => Err("name an owner, a selector or clients: one of them".to_owned()),
        }
    }

    fn is(&self, client: &Client) -> bool {
        match self {
            Self::OfOwner(owner) => client.spec().owner().as_str() == owner,
            Self::Named(names, source) => {
                names.contains(client.name()) && apply::is_of(client, source)
            }
            Self::With(selector) => {
                let pending = client.pending().map(|pending| &pending.what.spec);
                let specs = [Some(client.spec()), pending];
                let sets = specs
                    .into_iter()
                    .flatten()
                    .flat_map(|spec| spec.selector_sets());
                let mut selectors = sets.flat_map(SelectorSet::selectors);
                selectors.any(|other| other == selector)
            }
        }
    }
}

/// The records of a client, oldest first.
pub(super) fn history(
    registry: &Registry,
    name: &ClientName,
) -> Result<impl Stream<Item = Result<admin::HistoryEntry, Status>> + Send + use<>, Status> {
    let history = registry.history(name);
    let history = history.map_err(|error| status::of_registry(&error))?;
    Ok(stream::try_unfold(history, |mut history| async move {
        let next = history.next().await;
        let next = next.map_err(|error| status::of_registry(&error))?;
        Ok(next.map(|found| (entry(&found), history)))
    }))
}

fn entry(entry: &HistoryEntry) -> admin::HistoryEntry {
    let (old, new) = (entry.applied.old.as_ref(), &entry.applied.new);
    let (subject, verdict) = match entry.deed {
        Deed::Version(number) => (Subject::Version(number), None),
        Deed::State(number) => (Subject::State(number), None),
        Deed::Decision(subject, verdict) => (subject, Some(verdict)),
    };
    let digest = verdict.and(old).and_then(|old| digest_of(subject, old));
    let (required, given) = approvals(subject, verdict, entry);
    let version = matches!(entry.deed, Deed::Version(_)).then(|| new.last_version());
    admin::HistoryEntry {
        revision: entry.revision,
        event: event(entry).to_owned(),
        about: match subject {
            Subject::Version(_) => "version".to_owned(),
            Subject::State(_) => "state".to_owned(),
        },
        number: subject.number(),
        digest: digest.unwrap_or(entry.digest).to_string(),
        author: entry.author.to_string(),
        login: entry.author.login(),
        at: convert::timestamp(entry.at),
        reason: entry.reason.to_string(),
        effect: match entry.applied.effect {
            Effect::InForce => "in_force",
            Effect::Proposed => "proposed",
            Effect::Counted => "counted",
            Effect::Declined => "declined",
        }
        .to_owned(),
        approvals_required: required,
        approvals: given,
        state: crate::registry::ClientState::from(new.standing())
            .as_str()
            .to_owned(),
        version_in_force: match new.has_version_in_force() {
            true => new.version().number,
            false => 0,
        },
        spec: version.map(|version| convert::spec(&version.spec)),
    }
}

fn digest_of(subject: Subject, client: &Arc<Client>) -> Option<Digest> {
    match subject {
        Subject::Version(_) => client.pending().map(|pending| pending.what.digest),
        Subject::State(_) => client
            .pending_resumption()
            .map(|pending| pending.what.digest),
    }
}

/// How many approvals it needs, and how many there are after the record.
fn approvals(subject: Subject, verdict: Option<Verdict>, entry: &HistoryEntry) -> (u32, u32) {
    // Where it was decided about, what awaited approval before.
    let client = match verdict {
        Some(_) => entry.applied.old.as_ref(),
        None => Some(&entry.applied.new),
    };
    let pending = client.and_then(|client| match subject {
        Subject::Version(_) => client
            .pending()
            .map(|pending| (pending.what.approvals_required(), pending.approvals.len())),
        Subject::State(_) => client
            .pending_resumption()
            .map(|pending| (pending.what.approvals_required(), pending.approvals.len())),
    });
    let (required, given) = pending.unwrap_or_default();
    let given = u32::try_from(given).unwrap_or(u32::MAX);
    (
        required,
        given + u32::from(verdict == Some(Verdict::Approve)),
    )
}

fn event(entry: &HistoryEntry) -> &'static str {
    let applied = &entry.applied;
    match entry.deed {
        Deed::Decision(_, verdict) => verdict.participle(),
        _ if applied.effect == Effect::Proposed => "proposed",
        Deed::Version(_) => {
            let had_one = applied
                .old
                .as_ref()
                .is_some_and(|old| old.has_version_in_force());
            if had_one { "updated" } else { "registered" }
        }
        Deed::State(_) => {
            let to = applied.new.state_change().map(|change| change.to);
            kind_of(to.unwrap_or(Standing::Active)).as_str()
        }
    }
}
