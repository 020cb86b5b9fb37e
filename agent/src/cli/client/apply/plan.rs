//! What the documents ask for, and what becomes of it.
//!
//! The agent makes the plan, a batch of documents after the other, and carries it
//! out in the same batches, each as a whole. What was planned from another
//! version than there is by then is refused.

use super::{
    super::{Admin, PAGE, content},
    Prune,
    documents::Document,
};
use crate::cli::{
    console::Console,
    failure::{Exit, Failure},
};
use prost::Message as _;
use std::collections::{HashMap, HashSet};
use symbolon_proto::admin::{
    AcceptedWeaknesses, AppliedClient, ApplyClient, ApplyClientsRequest, ChangeManyStatesRequest,
    ListClientsRequest,
};

/// Documents of a batch: the agent takes as many.
const BATCH: usize = 500;
/// Bytes of a batch: less than the agent takes, for what is around them.
const BATCH_BYTES: usize = 768 << 10;
/// Clients that one call suspends or revokes.
const NAMES: usize = 1_000;
/// How often progress is told at most.
const TOLD: usize = 10;

/// What is done by words that mean a change.
const CHANGES: [&str; 3] = ["registered", "updated", "proposed"];

/// All that is asked for.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) items: Vec<Item>,
}

/// What is asked for of one client.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// Where its document stands; empty where it has none any more.
    pub(super) place: String,
    request: ApplyClient,
    /// What would be done, and once it is, what was.
    pub(super) answer: AppliedClient,
    pub(super) changes: Vec<content::Change>,
    pub(super) is_done: bool,
}

impl Plan {
    /// Asks the agent what would be done.
    pub(super) async fn make(
        documents: Vec<Document>,
        admin: &mut Admin,
        console: &mut Console,
    ) -> Result<Self, Failure> {
        let item = |document: Document| Item {
            place: document.place,
            request: document.request,
            answer: AppliedClient::default(),
            changes: Vec::new(),
            is_done: false,
        };
        let mut items: Vec<_> = documents.into_iter().map(item).collect();
        let all: Vec<_> = items.iter_mut().collect();
        let mut progress = Progress::of(all.len(), "planned");
        for batch in batches(all) {
            let request = ApplyClientsRequest {
                clients: batch.iter().map(|item| item.request.clone()).collect(),
                reason: String::new(),
                dry_run: true,
            };
            let answer = admin.link.ask(admin.client.apply_clients(request)).await?;
            progress.add(batch.len(), console);
            for (item, answer) in batch.into_iter().zip(answer.clients) {
                item.answer = answer;
                item.compare()?;
            }
        }
        Ok(Self { items })
    }

    /// Adds the clients of `source` that no document names.
    pub(super) async fn prune(
        &mut self,
        how: Prune,
        source: &str,
        admin: &mut Admin,
    ) -> Result<(), Failure> {
        let named: HashSet<_> = self.items.iter().map(|item| &item.request.name).collect();
        let request = ListClientsRequest {
            limit: PAGE,
            source: source.to_owned(),
            ..ListClientsRequest::default()
        };
        let mut gone = admin.pages(request).await?;
        gone.retain(|client| how.takes(&client.state) && !named.contains(&client.name));
        self.items.extend(gone.into_iter().map(|client| Item {
            place: String::new(),
            request: ApplyClient::default(),
            answer: AppliedClient {
                name: client.name,
                done: how.done().to_owned(),
                version: client.version,
                last_version: client.version,
                state: client.state,
                ..AppliedClient::default()
            },
            changes: Vec::new(),
            is_done: false,
        }));
        Ok(())
    }

    /// How many items are of this kind.
    pub(super) fn count(&self, is_it: impl Fn(&Item) -> bool) -> usize {
        self.items.iter().filter(|item| is_it(item)).count()
    }

    /// Registers and updates as planned, batch after batch, up to the first that is refused.
    pub(super) async fn carry_out(
        &mut self,
        reason: &str,
        admin: &mut Admin,
        console: &mut Console,
    ) -> Result<(), Failure> {
        let changes = self.items.iter_mut().filter(|item| item.is_change());
        let changes: Vec<_> = changes.collect();
        let mut progress = Progress::of(changes.len(), "applied");
        for batch in batches(changes) {
            let clients = batch.iter().map(|item| ApplyClient {
                expected_last_version: Some(item.answer.last_version),
                ..item.request.clone()
            });
            let request = ApplyClientsRequest {
                clients: clients.collect(),
                reason: reason.to_owned(),
                dry_run: false,
            };
            let answer = admin.link.ask(admin.client.apply_clients(request)).await?;
            progress.add(batch.len(), console);
            for (item, done) in batch.into_iter().zip(answer.clients) {
                item.is_done = answer.applied;
                if answer.applied || done.done == "refused" {
                    item.answer = done;
                }
            }
            if !answer.applied {
                return Err(Failure::new(
                    Exit::Failed,
                    "something has changed meanwhile, and what follows is not done",
                )
                .advise("Repeat the command: it plans anew."));
            }
        }
        Ok(())
    }

    /// Suspends or revokes as planned.
    pub(super) async fn remove(
        &mut self,
        how: Prune,
        source: &str,
        reason: &str,
        admin: &mut Admin,
    ) -> Result<(), Failure> {
        let reason = match reason {
            "" => format!("no longer in {source}"),
            reason => reason.to_owned(),
        };
        let gone = self.items.iter_mut().filter(|item| item.is_gone());
        let mut gone: Vec<_> = gone.collect();
        let mut failed = 0;
        for some in gone.chunks_mut(NAMES) {
            let request = ChangeManyStatesRequest {
                state: how.done().to_owned(),
                reason: reason.clone(),
                names: some.iter().map(|item| item.answer.name.clone()).collect(),
                source: source.to_owned(),
                ..ChangeManyStatesRequest::default()
            };
            let call = admin.client.change_many_states(request);
            let answer = admin.link.ask(call).await?;
            let done: HashSet<_> = answer.names.into_iter().collect();
            let failures = answer.failures.into_iter();
            let mut whys: HashMap<_, _> = failures.map(|it| (it.name, it.why)).collect();
            for item in some {
                item.is_done = done.contains(&item.answer.name);
                if !item.is_done {
                    failed += 1;
                    item.answer.why = whys.remove(&item.answer.name).unwrap_or_default();
                }
            }
        }
        match failed {
            0 => Ok(()),
            _ => Err(Failure::new(
                Exit::Failed,
                format!("{failed} clients could not be {}", how.done()),
            )
            .advise("Repeat the command.")),
        }
    }
}

impl Item {
    /// Whether a version is to be made.
    pub(super) fn is_change(&self) -> bool {
        CHANGES.contains(&&*self.answer.done)
    }

    /// Whether its document is gone, and it is to be suspended or revoked.
    pub(super) fn is_gone(&self) -> bool {
        self.place.is_empty()
    }

    /// Whether something is to be done.
    pub(super) fn is_open(&self) -> bool {
        self.is_gone() || self.is_change()
    }

    pub(super) fn is(&self, done: &str) -> bool {
        self.answer.done == done
    }

    /// What the document changes of what is in force.
    fn compare(&mut self) -> Result<(), Failure> {
        let (Some(before), Some(spec)) = (self.answer.before.take(), &self.request.spec) else {
            return Ok(());
        };
        let mut after = spec.clone();
        let accepted = before.accepted_weaknesses.clone();
        let reason = &self.request.accept_weak;
        let is_accepted = accepted.as_ref().is_some_and(|it| it.reason == *reason);
        after.accepted_weaknesses = match reason.is_empty() || is_accepted {
            true => accepted,
            false => self.accepted(),
        };
        self.changes = content::changes(Some(&before), Some(&after))?;
        Ok(())
    }

    /// What is accepted of it by its own reason.
    fn accepted(&self) -> Option<AcceptedWeaknesses> {
        let findings = self.answer.findings.iter();
        let serious = findings.filter(|finding| finding.severity == "serious");
        let findings: Vec<_> = serious.map(|finding| finding.id.clone()).collect();
        (!findings.is_empty()).then(|| AcceptedWeaknesses {
            findings,
            reason: self.request.accept_weak.clone(),
        })
    }
}

/// The items in pieces that the agent takes.
fn batches(items: Vec<&mut Item>) -> Vec<Vec<&mut Item>> {
    let mut batches: Vec<Vec<&mut Item>> = Vec::new();
    let mut bytes = 0;
    for item in items {
        let own = item.request.encoded_len();
        bytes += own;
        match batches.last_mut() {
            Some(batch) if batch.len() < BATCH && bytes <= BATCH_BYTES => batch.push(item),
            _ => {
                bytes = own;
                batches.push(vec![item]);
            }
        }
    }
    batches
}

/// Tells how far it is, where it takes more than one batch.
struct Progress {
    all: usize,
    done: usize,
    told: usize,
    what: &'static str,
}

impl Progress {
    const fn of(all: usize, what: &'static str) -> Self {
        Self {
            all,
            done: 0,
            told: 0,
            what,
        }
    }

    fn add(&mut self, count: usize, console: &mut Console) {
        self.done += count;
        let is_due = (self.done - self.told) * TOLD >= self.all || self.done == self.all;
        if is_due && count < self.all {
            self.told = self.done;
            console.tell(&format!("{} of {} {}", self.done, self.all, self.what));
        }
    }
}
