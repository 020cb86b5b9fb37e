//! Registrations that are weak are named as such.
//!
//! Owns what is judged about selector sets: in themselves ([`of_client`]: cheap,
//! for listings), and by a [`Linter`] against this machine and the registry:
//! who logs in, who can replace a file, which digests are interpreters', which
//! clients and how many running processes a set fits. The admin API calls it
//! for each registration and for `client lint`; it also proposes a set for a
//! running process.
//!
//! Trusts the host's files and nothing that a process says. It warns and never
//! grants: what it cannot see it does not find, and an empty result is no proof
//! of strength. Reads of files run on blocking threads, few at a time and under
//! a deadline, since a registered path can lie on a file system that hangs; then
//! a finding says so.
//!
//! `agent/doc/lint.md` explains each finding. Left out on purpose: access control
//! lists, capabilities of files, and what a unit's or image's author put in it.

mod accounts;
pub mod document;
mod files;
mod finding;
mod machine;
mod meaning;
mod overlap;
mod programs;
mod proposal;
mod review;
mod running;
mod set;

pub use finding::{Finding, Severity, Weakness};
pub use proposal::{Proposed, propose};
pub use review::{Asked, Judged, Weak};

use crate::{
    clock::SharedClock,
    registry::{
        Client, ClientMetadata, ClientName, ClientSpec, MetadataDraft, SelectorSet, Snapshot,
    },
};
use document::{Described, Policy};
use machine::Machine;
use running::Running;
use std::{sync::Arc, time::Duration};
use symbolon_attestors::Attestor;
use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

/// Judgements that read files at the same time: each has a blocking thread.
const AT_ONCE: usize = 4;

/// How long one may take before its file system counts as hanging.
const DEADLINE: Duration = Duration::from_secs(10);

/// What is judged: a registration, or one that is asked for.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// Whose own sets do not count as another's; `None` for a set without client.
    pub name: Option<ClientName>,
    /// Who answers for it; empty where that is not known.
    pub owner: String,
    /// The selector sets.
    pub sets: Vec<SelectorSet>,
    /// Whether the audience `*` is listed.
    pub any_audience: bool,
    /// What authorization servers are told.
    pub metadata: Option<MetadataDraft>,
    /// The SPIFFE ID, where it is not the usual one.
    pub spiffe_id: Option<String>,
}

impl Subject {
    /// A registered client.
    #[must_use]
    pub fn of(client: &Client) -> Self {
        Self::of_spec(client.name(), client.spec())
    }

    /// A version of a client, in force or not.
    fn of_spec(name: &ClientName, spec: &ClientSpec) -> Self {
        Self {
            name: Some(name.clone()),
            owner: spec.owner().to_string(),
            sets: spec.selector_sets().to_vec(),
            any_audience: spec.allows_any_audience(),
            metadata: spec.metadata().map(ClientMetadata::draft),
            spiffe_id: Some(spec.spiffe_id().to_string()),
        }
    }

    /// Its metadata document.
    fn document(&self, policy: &Policy) -> Option<Described> {
        let draft = self.metadata.as_ref()?;
        let (name, id) = (self.name.as_ref(), self.spiffe_id.as_deref());
        Some(Described::of(draft, name, id, policy))
    }
}

/// What makes a client's registration weak in itself.
#[must_use]
pub fn of_client(spec: &ClientSpec) -> Vec<Finding> {
    let known = set::Knowledge::default();
    let sets = spec.selector_sets().iter();
    let mut found: Vec<_> = sets.flat_map(|set| set::judge(set, &known)).collect();
    found.extend(spec.allows_any_audience().then(any_audience));
    if let Some(metadata) = spec.metadata() {
        // Whether there is a public URL is not the registration's to say.
        let document = Described::of(&metadata.draft(), None, None, &Policy::default());
        let of_document = document::judge(&document, &Policy::default()).into_iter();
        found.extend(of_document.filter(|finding| finding.weakness != Weakness::NoPublicUrl));
    }
    found
}

fn any_audience() -> Finding {
    Finding {
        weakness: Weakness::AnyAudience,
        severity: Severity::Notice,
        selectors: Vec::new(),
        pointer: String::new(),
        explanation: "audience * lets the client obtain JWT-SVIDs for any audience".to_owned(),
    }
}

/// Judges registrations against this machine.
#[derive(Debug)]
pub struct Linter {
    machine: Arc<Machine>,
    running: Running,
    places: Arc<Semaphore>,
    policy: Policy,
}

impl Linter {
    /// A linter for the machine that the agent sees. Reads nothing yet that can hang.
    #[must_use]
    pub fn new(attestor: Arc<Attestor>, clock: SharedClock) -> Self {
        Self {
            machine: Arc::new(Machine::host()),
            running: Running::new(attestor, clock),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            policy: Policy::default(),
        }
    }

    /// The same, which holds metadata documents to `policy`.
    #[must_use]
    pub fn with_policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// What metadata documents are held to.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What makes `subject` weak, serious findings first.
    pub async fn judge(&self, subject: Subject, snapshot: Arc<Snapshot>) -> Vec<Finding> {
        let subject = Arc::new(subject);
        let mut found = self.look(Arc::clone(&subject), Arc::clone(&snapshot)).await;
        for set in &subject.sets {
            let is_open = |finding: &Finding| {
                finding.weakness == Weakness::AnybodyRunsIt
                    && *finding.selectors == *set.selectors()
            };
            // Everybody is more than hundreds, and counting by digest is dear.
            if !found.iter().any(is_open) {
                found.extend(self.running.judge(set).await);
            }
        }
        found.extend(subject.any_audience.then(any_audience));
        if let Some(document) = subject.document(&self.policy) {
            found.extend(document::judge(&document, &self.policy));
            let policy = &self.policy;
            found.extend(document::judge_beside(
                &subject, &document, &snapshot, policy,
            ));
        }
        found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        found
    }

    /// What files and the registry show.
    async fn look(&self, subject: Arc<Subject>, snapshot: Arc<Snapshot>) -> Vec<Finding> {
        let judged = async {
            // The thread keeps its place while its file system hangs.
            let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
            let (machine, subject) = (Arc::clone(&self.machine), Arc::clone(&subject));
            let judged = spawn_blocking(move || {
                let _place = place;
                let mut found = machine.judge(&subject);
                found.extend(overlap::judge(&subject, &snapshot));
                found
            });
            judged.await.ok()
        };
        if let Ok(Some(found)) = timeout(DEADLINE, judged).await {
            return found;
        }
        let known = set::Knowledge::default();
        let sets = subject.sets.iter();
        let mut found: Vec<_> = sets.flat_map(|set| set::judge(set, &known)).collect();
        found.push(Finding {
            weakness: Weakness::NotJudged,
            severity: Severity::Notice,
            selectors: Vec::new(),
            pointer: String::new(),
            explanation: "the machine's files could not be read in time: only the registration \
                          itself was judged"
                .to_owned(),
        });
        found
    }
}

#[cfg(test)]
mod tests;
