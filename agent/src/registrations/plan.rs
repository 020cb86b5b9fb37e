//! What has to be done so that the registry says what the folder says.
//!
//! A pure function of a snapshot and the documents. A client belongs to the folder
//! while the version in force was made by a file; who moved a document to another
//! file has changed nothing.

use super::{Entry, FILE_AUTHOR, fault::Place};
use crate::registry::{
    AcceptedWeaknesses, Actor, Client, ClientName, ClientSpec, ClientVersion, Reason, Snapshot,
    Standing,
};
use std::{collections::HashSet, str::FromStr as _, sync::Arc};

/// Why a client is suspended whose document is gone, and by which it is known again.
pub(super) const GONE: &str = "no longer in registry.apply_dir";
/// Why it is resumed.
pub(super) const BACK: &str = "in registry.apply_dir again";

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Clients to suspend, with the file that made their version in force.
    pub(super) gone: Vec<(ClientName, Actor)>,
    /// Everything else, in the order of the documents.
    pub(super) steps: Vec<Step>,
    /// Documents that nothing can be done about.
    pub(super) conflicts: Vec<Conflict>,
}

/// What one document asks for.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) entry: Arc<Entry>,
    pub(super) version: Version,
    pub(super) resume: bool,
}

/// Whether a document makes a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// The version in force says the same.
    None,
    /// The client is new.
    First,
    /// After this one.
    After(u64),
}

/// A document that stands against what an operator decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conflict {
    pub(super) place: Place,
    pub(super) name: ClientName,
    pub(super) why: Why,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Why {
    #[error("{0} made the version in force; `adopt: true` in the document would take it over")]
    Operators(Actor),
    #[error("it is revoked, for ever")]
    Revoked,
    #[error("version {0} by {1} awaits approval; what the document says comes after that")]
    Pending(u64, Actor),
    #[error("version {number} says so and was {verdict} by {operator}: {reason}")]
    Declined {
        number: u64,
        verdict: &'static str,
        operator: Actor,
        reason: Reason,
    },
    #[error("its resumption was {verdict} by {operator}: {reason}")]
    NotResumed {
        verdict: &'static str,
        operator: Actor,
        reason: Reason,
    },
}

impl Plan {
    pub(super) fn new(snapshot: &Snapshot, entries: &[Arc<Entry>]) -> Self {
        let mut plan = Self::default();
        let named: HashSet<&ClientName> = entries.iter().map(|entry| &entry.name).collect();
        for client in snapshot.iter() {
            let is_gone = is_of_a_file(&client.version().author) && !named.contains(client.name());
            if is_gone && matches!(client.standing(), Standing::New | Standing::Active) {
                let author = client.version().author.clone();
                plan.gone.push((client.name().clone(), author));
            }
        }
        for entry in entries {
            plan.add(snapshot.client(&entry.name).map(|client| &**client), entry);
        }
        plan
    }

    fn add(&mut self, client: Option<&Client>, entry: &Arc<Entry>) {
        let Some(client) = client else {
            self.step(entry, Version::First, false);
            return;
        };
        let author = &client.version().author;
        let is_adopted = !is_of_a_file(author);
        let why = match client.standing() {
            Standing::Revoked => Some(Why::Revoked),
            _ if is_adopted && !entry.adopt => Some(Why::Operators(author.clone())),
            _ => None,
        };
        if let Some(why) = why {
            self.conflict(entry, why);
            return;
        }
        let version = self.version(client, entry);
        let resume = was_suspended_as_gone(client) && self.may_resume(client, entry);
        if version != Version::None || resume {
            self.step(entry, version, resume);
        }
    }

    /// The version that a document asks for. What awaits approval is not proposed again, nor
    /// what was declined; and what an operator has proposed is not pushed aside.
    fn version(&mut self, client: &Client, entry: &Arc<Entry>) -> Version {
        // Taking over is a version of its own: from then on the client is the file's.
        let is_said_by = |version: &ClientVersion| {
            is_of_a_file(&version.author) && entry.is_said_by(&version.spec)
        };
        let is_so = client.has_version_in_force() && is_said_by(client.version());
        let pending = client.pending().map(|pending| &*pending.what);
        let declined = client.declined().filter(|was| is_said_by(&was.what));
        match (pending, declined) {
            (Some(pending), _) if is_said_by(pending) => return Version::None,
            (Some(pending), _) if !is_of_a_file(&pending.author) && !is_so => {
                self.conflict(entry, Why::Pending(pending.number, pending.author.clone()));
                return Version::None;
            }
            (None, Some(declined)) if !is_so => {
                self.conflict(
                    entry,
                    Why::Declined {
                        number: declined.what.number,
                        verdict: declined.verdict.participle(),
                        operator: declined.operator.clone(),
                        reason: declined.reason.clone(),
                    },
                );
                return Version::None;
            }
            _ => {}
        }
        // A file's own proposal that its document has gone back on is void.
        let is_taken_back = pending.is_some_and(|pending| is_of_a_file(&pending.author));
        match is_so && !is_taken_back {
            true => Version::None,
            false => Version::After(client.version().number),
        }
    }

    fn may_resume(&mut self, client: &Client, entry: &Arc<Entry>) -> bool {
        if let Some(declined) = client.declined_resumption() {
            let why = Why::NotResumed {
                verdict: declined.verdict.participle(),
                operator: declined.operator.clone(),
                reason: declined.reason.clone(),
            };
            self.conflict(entry, why);
            return false;
        }
        client.pending_resumption().is_none()
    }

    fn conflict(&mut self, entry: &Arc<Entry>, why: Why) {
        self.conflicts.push(Conflict {
            place: entry.place.clone(),
            name: entry.name.clone(),
            why,
        });
    }

    fn step(&mut self, entry: &Arc<Entry>, version: Version, resume: bool) {
        self.steps.push(Step {
            entry: Arc::clone(entry),
            version,
            resume,
        });
    }
}

/// Whether it was a file that made a version or a change.
fn is_of_a_file(author: &Actor) -> bool {
    author.as_str().starts_with(FILE_AUTHOR)
}

fn was_suspended_as_gone(client: &Client) -> bool {
    client.state_change().is_some_and(|change| {
        change.to == Standing::Suspended
            && is_of_a_file(&change.author)
            && change.reason.as_str() == GONE
    })
}

impl Entry {
    /// As whom this document acts.
    pub(super) fn author(&self) -> Option<Actor> {
        Actor::from_str(&format!("{FILE_AUTHOR}{}", self.place.file)).ok()
    }

    /// Why its version is made: the line that says it.
    pub(super) fn reason(&self) -> Reason {
        Reason::from_str(&format!("line {}", self.place.line)).unwrap_or_default()
    }

    /// Whether a version says what the document does, and was accepted for the same reason
    /// where it is weak and the document has one: without, what was accepted stays so.
    fn is_said_by(&self, spec: &ClientSpec) -> bool {
        let accepted = spec.accepted_weaknesses().map(AcceptedWeaknesses::reason);
        let reason = self.accept_weak.as_ref();
        self.spec.says_what(spec) && (accepted.is_none() || reason.is_none() || accepted == reason)
    }
}
