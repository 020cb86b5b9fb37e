//! Follows what is public: records each publication, and writes it to a directory.
//!
//! At each change of the registry, the trust bundle or the clients' keys, the documents that
//! may have changed are made anew and compared by digest. What is new is recorded
//! and then written, in the order of [`Page`]: key sets before the documents that name them; at the first
//! failure the rest waits. What is taken down is removed first, and a key set that lost a key
//! is written first, whether or not that can be recorded at once, and whatever else
//! fails. Both are tried again until they are done, which a note on
//! readiness and a metric say.
//!
//! The first look, [`Publisher::begin`], is recorded as one event with the digest of
//! the list of all documents, and ends before the agent serves: nobody is given
//! a token whose key the directory lacks. From then on it is the schedule of keys that gives
//! time: they are public for long before they sign.

use super::{Document, Documents, Folder, FolderError, Page};
use crate::{
    audit::{AuditError, Event, Kind, Trail},
    canonical,
    client_keys::NO_KEYS,
    registry::{Client, ClientName, ClientState},
    telemetry::{IdentityMetrics, Note, Readiness},
};
use bytes::Bytes;
use futures_util::stream::StreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};
use tokio::{
    task::{spawn_blocking, yield_now},
    time::sleep,
};

/// How soon after one look the next may follow.
const PAUSE: Duration = Duration::from_secs(1);

/// After how long what failed is tried again, where nothing has changed.
const AGAIN: Duration = Duration::from_secs(10);

/// Clients that are looked at, or documents that are written, before others get a turn.
const AT_ONCE: usize = 256;

/// What it says where it cannot publish.
const FAILING: &str = "public documents cannot be recorded or written to identity.publish_dir";

/// Why something is not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// It could not be recorded.
    #[error("not recorded: {0}")]
    Audit(#[from] AuditError),
    /// It could not be written.
    #[error("{0}")]
    Folder(#[from] FolderError),
    /// Bug: writing did not come back.
    #[error("writing was cut short: {0}")]
    Cut(#[from] tokio::task::JoinError),
}

/// What a publisher works with.
#[derive(Debug)]
pub struct PublisherServices {
    /// What is public.
    pub documents: Arc<Documents>,
    /// Where it is written, if anywhere.
    pub folder: Option<Folder>,
    /// Where it is recorded.
    pub trail: Trail,
    /// Where a failure is noted.
    pub readiness: Readiness,
    /// What happens.
    pub metrics: IdentityMetrics,
}

/// Publishes, and knows what was published.
#[derive(Debug)]
pub struct Publisher {
    documents: Arc<Documents>,
    folder: Option<Arc<Folder>>,
    trail: Trail,
    readiness: Readiness,
    metrics: IdentityMetrics,
    published: BTreeMap<Page, Published>,
    /// The clients with pages, as they were looked at last.
    clients: HashMap<ClientName, (Arc<Client>, ClientState)>,
    failing: Option<Note>,
}

/// How far a document was published.
#[derive(Debug, Default)]
struct Published {
    /// The digest that the trail has.
    recorded: Option<String>,
    /// The digest that the directory has.
    written: Option<String>,
    /// The keys that the directory has, where it is a page of keys.
    keys: Option<Bytes>,
}

/// What happens to the rest after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// It waits.
    Waits,
    /// It is carried out all the same.
    IsDone,
}

/// What is to be done about a page.
struct Change {
    page: Page,
    /// `None`: it is taken down.
    document: Option<Document>,
}

impl Publisher {
    /// Publishes what there is. Keys that were not read by then count as none: whoever begins has
    /// to wait for them (`ClientKeys::loaded`).
    ///
    /// # Errors
    /// Where that cannot be recorded or written.
    pub async fn begin(services: PublisherServices) -> Result<Self, PublishError> {
        let mut publisher = Self {
            documents: services.documents,
            folder: services.folder.map(Arc::new),
            trail: services.trail,
            readiness: services.readiness,
            metrics: services.metrics,
            published: BTreeMap::new(),
            clients: HashMap::new(),
            failing: None,
        };
        let changes = publisher.look(true).await;
        let event = Event::new(Kind::Published)
            .reason("all documents, at start")
            .evidence(&AllDocuments::of(&changes))?;
        publisher.trail.record(event).await?;
        for change in &changes {
            publisher.note(change, |published| &mut published.recorded);
        }
        publisher.sweep(&changes).await?;
        publisher.write(&changes, Rest::Waits).await?;
        Ok(publisher)
    }

    /// Publishes what changes, for ever.
    pub async fn run(mut self) {
        let (mut registry, mut bundle) =
            (self.documents.registry().changes(), self.documents.bundle());
        let mut keys = self.documents.keys().changes();
        let mut keys_changed = true;
        loop {
            registry.mark_unchanged();
            bundle.mark_unchanged();
            let done = self.turn(keys_changed).await;
            keys_changed = self.tell(done.as_ref().err());
            sleep(PAUSE).await;
            let changed = tokio::select! {
                changed = registry.changed() => changed,
                changed = bundle.changed() => changed,
                Some(()) = keys.next() => {
                    keys_changed = true;
                    Ok(())
                }
                () = sleep(AGAIN), if done.is_err() => Ok(()),
            };
            if changed.is_err() {
                return;
            }
        }
    }

    /// Says whether publishing fails; then everything is to be looked at again.
    fn tell(&mut self, error: Option<&PublishError>) -> bool {
        let is_failing = error.is_some();
        self.metrics.publishing_failing.set(is_failing.into());
        if let Some(error) = error {
            tracing::error!(%error, "not published; it is tried again");
            let readiness = &self.readiness;
            self.failing.get_or_insert_with(|| readiness.note(FAILING));
        } else {
            self.failing = None;
        }
        is_failing
    }

    async fn turn(&mut self, keys_changed: bool) -> Result<(), PublishError> {
        let changes = self.look(keys_changed).await;
        let (mut down, up): (Vec<_>, Vec<_>) = changes
            .into_iter()
            .partition(|change| self.withdraws(change));
        // Documents before the sets that they name.
        down.sort_by_key(|change| change.document.is_some());
        let withdrawn = self.write(&down, Rest::IsDone).await;
        let recorded = self.record(&down).await;
        withdrawn?;
        recorded?;
        for some in up.chunks(AT_ONCE) {
            self.record(some).await?;
            self.write(some, Rest::Waits).await?;
        }
        Ok(())
    }

    /// What differs from what was published, in the order of pages.
    async fn look(&mut self, all: bool) -> Vec<Change> {
        let mut wanted = BTreeMap::new();
        for page in Documents::OF_AGENT {
            let document = self.documents.find(&page);
            wanted.insert(page, document);
        }
        let snapshot = self.documents.snapshot();
        for (looked_at, client) in snapshot.iter().enumerate() {
            if looked_at % AT_ONCE == 0 {
                yield_now().await;
            }
            let state = snapshot.state_of(client);
            let known = self.clients.get(client.name());
            let had_pages = known.is_some();
            let is_same = known.is_some_and(|(old, was)| Arc::ptr_eq(old, client) && *was == state);
            let has_pages = self.documents.has_pages(client);
            if (is_same && !all) || !(had_pages || has_pages) {
                continue;
            }
            // Keys that come in between are in the set then.
            for page in [Page::Client, Page::ClientKeys] {
                let page = page(client.name().clone());
                let document = self.documents.of_client(&page, client, state);
                wanted.insert(page, document);
            }
            let seen = (Arc::clone(client), state);
            self.clients.insert(client.name().clone(), seen);
        }
        let changes = wanted.into_iter();
        let changes = changes.map(|(page, document)| Change { page, document });
        changes.filter(|change| !self.is_done(change)).collect()
    }

    /// Whether it takes away what others can read now: a document, or keys.
    fn withdraws(&self, change: &Change) -> bool {
        let Some(document) = &change.document else {
            return true;
        };
        let Some(published) = self.published.get(&change.page) else {
            return false;
        };
        let is_emptied = change.page.has_keys() && document.body == NO_KEYS;
        is_emptied
            || published
                .keys
                .as_ref()
                .is_some_and(|before| lacks_any(&document.body, before))
    }

    fn is_done(&self, change: &Change) -> bool {
        let digest = change.digest();
        match self.published.get(&change.page) {
            Some(published) => {
                let is_written = self.folder.is_none() || published.written.as_deref() == digest;
                is_written && published.recorded.as_deref() == digest
            }
            None => digest.is_none(),
        }
    }

    /// Records what the trail does not have yet.
    async fn record(&mut self, changes: &[Change]) -> Result<(), PublishError> {
        let is_told = |change: &&Change| {
            let published = self.published.get(&change.page);
            published.and_then(|it| it.recorded.as_deref()) == change.digest()
        };
        let events = changes.iter().filter(|change| !is_told(change));
        let events = events.map(|change| self.event(change));
        let events = events.collect::<Result<Vec<_>, _>>()?;
        if events.is_empty() {
            return Ok(());
        }
        let count = u64::try_from(events.len()).unwrap_or_default();
        self.trail.record_all(events).await?;
        self.metrics.publications.inc_by(count);
        for change in changes {
            self.note(change, |published| &mut published.recorded);
        }
        Ok(())
    }

    fn event(&self, change: &Change) -> Result<Event, AuditError> {
        let path = change.page.to_string();
        let event = Event::new(Kind::Published);
        let event = match change.page.client().and_then(|name| self.clients.get(name)) {
            Some((client, _)) => event.client(client.name().as_str(), client.version().number),
            None => event,
        };
        match &change.document {
            Some(document) => event.reason("published").evidence(&OneDocument {
                bytes: document.body.len(),
                digest: &document.digest,
                path,
            }),
            None => event.reason("taken down").evidence(&TakenDown {
                digest: self
                    .published
                    .get(&change.page)
                    .and_then(|published| published.recorded.as_deref())
                    .unwrap_or_default(),
                path,
            }),
        }
    }

    /// Writes what the directory does not have yet, up to the first failure or beyond it; the
    /// first is returned.
    async fn write(&mut self, changes: &[Change], rest: Rest) -> Result<(), PublishError> {
        let Some(folder) = self.folder.clone() else {
            return Ok(());
        };
        let mut all_done = Ok(());
        for some in changes.chunks(AT_ONCE) {
            let work: Vec<_> = some
                .iter()
                .map(|it| {
                    (
                        it.page.to_string(),
                        it.document.as_ref().map(|it| it.body.clone()),
                    )
                })
                .collect();
            let folder = Arc::clone(&folder);
            let (done, failed) = spawn_blocking(move || carry_out(&folder, &work, rest)).await?;
            for (change, is_done) in some.iter().zip(done) {
                if is_done {
                    self.note_written(change);
                }
            }
            all_done = all_done.and(failed);
            if all_done.is_err() && rest == Rest::Waits {
                break;
            }
        }
        Ok(all_done?)
    }

    /// Notes that the directory has it, and tells whoever waits for that to sign.
    fn note_written(&mut self, change: &Change) {
        let body = change.document.as_ref().map(|document| &document.body);
        if change.page.has_keys() {
            let published = self.published.entry(change.page.clone()).or_default();
            published.keys = body.cloned();
        }
        self.note(change, |published| &mut published.written);
        if let Page::ClientKeys(name) = &change.page {
            self.documents.keys().note_written(name, body);
        }
    }

    /// Notes how far a change was carried out.
    fn note(&mut self, change: &Change, which: fn(&mut Published) -> &mut Option<String>) {
        let published = self.published.entry(change.page.clone()).or_default();
        *which(published) = change.digest().map(str::to_owned);
        // What is down everywhere need not be known any more.
        if published.recorded.is_none() && published.written.is_none() {
            self.published.remove(&change.page);
        }
    }

    /// Removes what lies in the directory from before and is not public any more.
    async fn sweep(&self, current: &[Change]) -> Result<(), PublishError> {
        let Some(folder) = self.folder.clone() else {
            return Ok(());
        };
        let current = current.iter().filter(|it| it.document.is_some());
        let current: BTreeSet<_> = current.map(|it| it.page.to_string()).collect();
        Ok(spawn_blocking(move || remove_others(&folder, &current)).await??)
    }
}

impl Change {
    fn digest(&self) -> Option<&str> {
        self.document
            .as_ref()
            .map(|document| document.digest.as_str())
    }
}

/// Which were carried out, from the first one on, and the first failure.
fn carry_out(
    folder: &Folder,
    work: &[(String, Option<Bytes>)],
    rest: Rest,
) -> (Vec<bool>, Result<(), FolderError>) {
    let (mut done, mut all_done) = (Vec::new(), Ok(()));
    for (path, body) in work {
        let carried_out = match body {
            Some(body) => folder.put(path, body).map(drop),
            None => folder.remove(path),
        };
        done.push(carried_out.is_ok());
        all_done = all_done.and(carried_out);
        if all_done.is_err() && rest == Rest::Waits {
            break;
        }
    }
    (done, all_done)
}

/// A JWK Set or a SPIFFE bundle, as far as its keys.
#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

/// Whether a set of keys lacks any of another one. What cannot be read, as never happens, does.
fn lacks_any(now: &[u8], before: &[u8]) -> bool {
    let read = |set| serde_json::from_slice::<KeySet>(set).map(|set| set.keys);
    match (read(now), read(before)) {
        (Ok(now), Ok(before)) => before.iter().any(|key| !now.contains(key)),
        _ => true,
    }
}

/// Removes the documents of clients, and of the agent, that are not among `current`.
fn remove_others(folder: &Folder, current: &BTreeSet<String>) -> Result<(), FolderError> {
    let clients = folder.list("clients")?;
    let names = clients
        .iter()
        .filter_map(|name| name.parse::<ClientName>().ok());
    let pages = names.flat_map(|name| [Page::Client(name.clone()), Page::ClientKeys(name)]);
    for page in pages.chain(Documents::OF_AGENT) {
        let path = page.to_string();
        if !current.contains(&path) {
            folder.remove(&path)?;
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct OneDocument<'a> {
    bytes: usize,
    digest: &'a str,
    path: String,
}

#[derive(Serialize)]
struct TakenDown<'a> {
    digest: &'a str,
    path: String,
}

/// All documents, by the digest of their list.
#[derive(Serialize)]
struct AllDocuments {
    digest: String,
    documents: usize,
}

impl AllDocuments {
    fn of(changes: &[Change]) -> Self {
        let mut lines = BTreeSet::new();
        for change in changes {
            if let Some(digest) = change.digest() {
                lines.insert(format!("{digest}  .{}\n", change.page));
            }
        }
        let list = lines.iter().fold(String::new(), |mut list, line| {
            // Writing to a String cannot fail.
            write!(list, "{line}").unwrap_or_default();
            list
        });
        Self {
            digest: canonical::sha256_hex(list.as_bytes()),
            documents: lines.len(),
        }
    }
}

#[cfg(test)]
mod tests;
