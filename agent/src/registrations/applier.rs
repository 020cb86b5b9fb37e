//! The task that keeps the registry in step with the folder.
//!
//! One round: look at the folder, check all of it, plan against the registry as it
//! is, carry out. A round that changes nothing and meets nothing new writes nothing,
//! neither to the log nor to the trail. What could not be done is tried again in the
//! next round.

use super::{
    DOCUMENTS, Entry, Fault, Problem, folder, parse,
    plan::{BACK, GONE, Plan, Step, Version},
    repeated,
    watch::Watch,
};
use crate::{
    audit::{Event, Kind, Trail},
    clock::{SharedClock, unix_seconds},
    governance::{self, Act},
    lint::{Asked, Linter, Weak},
    registry::{
        Actor, Change, ClientDraft, ClientName, Reason, Registry, RegistryError, SpecRules,
        Standing,
    },
    telemetry::{ApplyMetrics, Block, Note, Readiness, RegistryMetrics},
};
use futures_util::future::join_all;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    str::FromStr as _,
    sync::Arc,
    time::Duration,
};
use tokio::time;

/// How often the folder is looked at without a sign from the kernel.
const RECHECK: Duration = Duration::from_secs(30);
/// How long after a sign: who copies files into a folder makes many.
const SETTLE: Duration = Duration::from_millis(100);
/// Changes that are under way together. Each polled in its turn, so that clients
/// are registered in the order of their documents.
const TOGETHER: usize = 30;
/// Bytes of what a record says of a folder's faults; the log has all of them.
const SHOWN: usize = 1_000;

const NOT_LOADED: &str = "registry.apply_dir has not been loaded";
const FAULTY: &str = "registry.apply_dir has faults, and what was in force before stays";

/// What the task works with.
#[derive(Clone, Debug)]
pub struct ApplierServices {
    /// The clients.
    pub registry: Arc<Registry>,
    /// What they are held to.
    pub rules: SpecRules,
    /// The audit trail.
    pub trail: Trail,
    /// Judges them.
    pub linter: Arc<Linter>,
    /// Counts changes.
    pub changes: RegistryMetrics,
    /// Shows how the folder stands.
    pub metrics: ApplyMetrics,
    /// Told until the folder was loaded once, and while it has faults.
    pub readiness: Readiness,
    /// The wall clock.
    pub clock: SharedClock,
}

/// Keeps the registry in step with a folder.
#[derive(Debug)]
pub struct Applier {
    folder: PathBuf,
    services: ApplierServices,
    loaded: Option<Loaded>,
    /// What was told already.
    troubles: BTreeSet<String>,
    first: Option<Block>,
    note: Option<Note>,
}

/// The documents of the folder as it was last without a fault.
#[derive(Debug)]
struct Loaded {
    digest: [u8; 32],
    entries: Vec<Arc<Entry>>,
}

impl Applier {
    /// A task for `folder` that has done nothing yet, and without which the agent is not ready.
    pub fn new(folder: PathBuf, services: ApplierServices) -> Self {
        Self {
            folder,
            first: Some(services.readiness.block(NOT_LOADED)),
            services,
            loaded: None,
            troubles: BTreeSet::new(),
            note: None,
        }
    }

    /// Makes round after round, for ever.
    pub async fn run(mut self) {
        loop {
            // Before the look, so that what happens after it is noticed.
            let watch = Watch::on(&self.folder);
            if let Err(error) = &watch {
                tracing::debug!(%error, "registry.apply_dir is not watched");
            }
            self.round().await;
            wait(watch.ok()).await;
        }
    }

    /// Looks at the folder once, and does what it asks for.
    pub async fn round(&mut self) {
        let path = self.folder.clone();
        let rules = self.services.rules.clone();
        let known = self.loaded.as_ref().map(|loaded| loaded.digest);
        let look = move || load(&path, &rules, known);
        match tokio::task::spawn_blocking(look).await {
            Ok(Ok(news)) => {
                if let Some(loaded) = news {
                    self.loaded = Some(loaded);
                }
                self.bring_into_force().await;
            }
            Ok(Err(faults)) => self.tell_faults(&faults).await,
            Err(_panicked) => tracing::error!("looking at registry.apply_dir failed"),
        }
    }

    async fn bring_into_force(&mut self) {
        let Some(loaded) = &self.loaded else { return };
        let plan = Plan::new(&self.services.registry.snapshot(), &loaded.entries);
        let documents = loaded.entries.len();
        let mut troubles: Vec<Trouble> = plan.conflicts.iter().map(Trouble::from).collect();
        let changes = plan.gone.len() + plan.steps.len();
        troubles.extend(self.services.suspend_all(plan.gone).await);
        troubles.extend(self.services.carry_out(plan.steps).await);
        if changes > 0 {
            tracing::info!(documents, changes, "registry.apply_dir is applied");
        }
        let metrics = &self.services.metrics;
        metrics.documents.set(gauge(documents));
        metrics.faults.set(0);
        metrics.conflicts.set(gauge(troubles.len()));
        let now = unix_seconds(self.services.clock.now());
        metrics
            .last_load
            .set(i64::try_from(now).unwrap_or(i64::MAX));
        self.first = None;
        self.note = None;
        self.tell_troubles(troubles).await;
    }

    /// A folder with faults changes nothing.
    async fn tell_faults(&mut self, faults: &[Fault]) {
        self.services.metrics.faults.set(gauge(faults.len()));
        let note = self.note.take();
        self.note = Some(note.unwrap_or_else(|| self.services.readiness.note(FAULTY)));
        let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
        let news: BTreeSet<String> = texts.iter().cloned().collect();
        if news == self.troubles {
            return;
        }
        for text in &texts {
            tracing::error!("registry.apply_dir: {text}");
        }
        let shown: String = texts.join("; ").chars().take(SHOWN).collect();
        let reason = format!("{} faults, nothing is changed: {shown}", texts.len());
        let event = Event::new(Kind::Refused).operation("apply").reason(reason);
        self.services.record(event).await;
        self.troubles = news;
    }

    /// Tells those that were not told in the round before.
    async fn tell_troubles(&mut self, troubles: Vec<Trouble>) {
        let mut told = BTreeSet::new();
        for Trouble { author, text } in troubles {
            if !self.troubles.contains(&text) {
                tracing::error!("registry.apply_dir: {text}");
                let event = Event::new(Kind::Refused).operation("apply");
                let event = event.operator(author).reason(text.clone());
                self.services.record(event).await;
            }
            told.insert(text);
        }
        self.troubles = told;
    }
}

/// A document that could not be brought into force.
#[derive(Debug)]
struct Trouble {
    author: String,
    text: String,
}

impl Trouble {
    fn new(entry: &Entry, why: impl std::fmt::Display) -> Self {
        let author = entry.author();
        Self {
            author: author.map_or_else(String::new, |author| author.to_string()),
            text: format!("{}: {}: {why}", entry.place, entry.name),
        }
    }
}

impl From<&super::plan::Conflict> for Trouble {
    fn from(conflict: &super::plan::Conflict) -> Self {
        let super::plan::Conflict { place, name, why } = conflict;
        Self {
            author: format!("{}{}", super::FILE_AUTHOR, place.file),
            text: format!("{place}: {name}: {why}"),
        }
    }
}

impl ApplierServices {
    /// Suspends clients whose documents are gone; also while nothing can be recorded.
    async fn suspend_all(&self, gone: Vec<(ClientName, Actor)>) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        let mut gone = gone.into_iter().peekable();
        while gone.peek().is_some() {
            let some = gone
                .by_ref()
                .take(TOGETHER)
                .map(|(name, author)| async move {
                    let reason = Reason::from_str(GONE).unwrap_or_default();
                    let change = Change::Stand(Standing::Suspended);
                    let suspended = self.make(Kind::Suspended, &name, change, &author, &reason);
                    match suspended.await {
                        Ok(()) => None,
                        Err(error) => Some(Trouble {
                            author: author.to_string(),
                            text: format!("{name}: {error}"),
                        }),
                    }
                });
            troubles.extend(join_all(some).await.into_iter().flatten());
        }
        troubles
    }

    /// First the clients that are only resumed: what is new is judged beside them.
    async fn carry_out(&self, steps: Vec<Step>) -> Vec<Trouble> {
        let is_known = |step: &Step| step.version == Version::None;
        let (known, new): (Vec<_>, Vec<_>) = steps.into_iter().partition(is_known);
        let mut troubles = Vec::new();
        for some in known.chunks(TOGETHER) {
            let drafts = some.iter().map(|step| Ok(step.entry.draft.clone()));
            troubles.extend(self.take_steps(some, drafts.collect()).await);
        }
        for some in new.chunks(TOGETHER) {
            // First all of them: some take longer, and the registry has to get them in order.
            let drafts = self.judged(some).await;
            troubles.extend(self.take_steps(some, drafts).await);
        }
        troubles
    }

    async fn take_steps(
        &self,
        steps: &[Step],
        drafts: Vec<Result<ClientDraft, Weak>>,
    ) -> Vec<Trouble> {
        let taken = steps.iter().zip(drafts).map(|(step, draft)| async move {
            let done = match draft {
                Ok(draft) => self.take_step(step, draft).await,
                Err(weak) => Err(weak.into()),
            };
            done.err().map(|why| Trouble::new(&step.entry, why))
        });
        join_all(taken).await.into_iter().flatten().collect()
    }

    /// The drafts of new versions, with what is accepted of them.
    async fn judged(&self, steps: &[Step]) -> Vec<Result<ClientDraft, Weak>> {
        let asked = steps.iter().map(|step| Asked {
            name: step.entry.name.clone(),
            draft: step.entry.draft.clone(),
            reason: step.entry.accept_weak.clone(),
        });
        let mut asked: Vec<_> = asked.collect();
        let snapshot = self.registry.snapshot();
        let judged = self.linter.review_all(&mut asked, &snapshot).await;
        let drafts = judged.iter().zip(asked);
        drafts
            .map(|(judged, asked)| judged.check().map(|()| asked.draft))
            .collect()
    }

    async fn take_step(&self, step: &Step, draft: ClientDraft) -> Result<(), StepError> {
        if !self.trail.health().borrow().is_recording() {
            return Err(StepError::NotRecording);
        }
        let entry = &step.entry;
        let author = entry.author().ok_or(StepError::Name)?;
        let (name, reason) = (&entry.name, entry.reason());
        let change = match step.version {
            Version::None => None,
            Version::First => Some((Kind::Registered, Change::Register(Box::new(draft)))),
            Version::After(number) => {
                let change = Change::Update(Box::new(draft), Some(number));
                Some((Kind::Updated, change))
            }
        };
        if let Some((kind, change)) = change {
            self.make(kind, name, change, &author, &reason).await?;
        }
        if step.resume {
            let reason = Reason::from_str(BACK).unwrap_or_default();
            let change = Change::Stand(Standing::Active);
            self.make(Kind::Resumed, name, change, &author, &reason)
                .await?;
        }
        Ok(())
    }

    /// Makes a change, counts and records it, as those of operators are.
    async fn make(
        &self,
        kind: Kind,
        name: &ClientName,
        change: Change,
        author: &Actor,
        reason: &Reason,
    ) -> Result<(), RegistryError> {
        let (name, actor) = (name.clone(), author.clone());
        let made = self.registry.change(name, change, actor, reason.clone());
        let (act, applied) = (Act::Change(kind), made.await?);
        let events = governance::events(act, &applied, author.as_str(), reason.as_str());
        events.iter().for_each(|event| self.count(event.kind()));
        let revision = applied.new.revision();
        match self.record_all(events).await {
            true => self.registry.note_told(revision),
            false => self.registry.note_untold(revision),
        }
        Ok(())
    }

    fn count(&self, kind: Kind) {
        let changes = &self.changes.changes;
        changes.get_or_create(&kind.as_str().into()).inc();
    }

    async fn record(&self, event: Event) {
        self.record_all(vec![event]).await;
    }

    /// Whether they could be recorded.
    async fn record_all(&self, events: Vec<Event>) -> bool {
        let recorded = self.trail.record_all(events).await;
        if let Err(error) = &recorded {
            tracing::error!(%error, "a change of registry.apply_dir could not be recorded");
        }
        recorded.is_ok()
    }
}

/// Why a document could not be brought into force.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error("the audit trail cannot be written")]
    NotRecording,
    #[error("the file's name cannot be recorded")]
    Name,
    #[error("{0}; say with accept_weak why it is wanted all the same")]
    Weak(#[from] Weak),
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// The folder's documents; `None` where it is as `known`.
fn load(
    path: &Path,
    rules: &SpecRules,
    known: Option<[u8; 32]>,
) -> Result<Option<Loaded>, Vec<Fault>> {
    let contents = folder::read(path)?;
    if known == Some(contents.digest) {
        return Ok(None);
    }
    let (mut entries, mut faults) = (Vec::new(), Vec::new());
    for file in contents.files {
        let (found, wrong) = parse(&file.name, &file.text, file.form, rules);
        entries.extend(found.into_iter().map(Arc::new));
        faults.extend(wrong);
    }
    faults.extend(repeated(&entries));
    if let Some(entry) = entries.get(DOCUMENTS) {
        faults.push(Fault {
            place: entry.place.clone(),
            problem: Problem::TooMany {
                what: "documents",
                limit: DOCUMENTS,
            },
        });
    }
    if faults.is_empty() {
        let digest = contents.digest;
        return Ok(Some(Loaded { digest, entries }));
    }
    faults.sort_by(|a, b| a.place.cmp(&b.place));
    Err(faults)
}

/// Until something happened in the folder and it is quiet again, or it is time to look anyway.
async fn wait(watch: Option<Watch>) {
    let Some(watch) = watch else {
        time::sleep(RECHECK).await;
        return;
    };
    match time::timeout(RECHECK, watch.changed()).await {
        Ok(Ok(())) => time::sleep(SETTLE).await,
        // Only where the runtime ends: not at once again.
        Ok(Err(_)) => time::sleep(RECHECK).await,
        Err(_it_is_time) => {}
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
