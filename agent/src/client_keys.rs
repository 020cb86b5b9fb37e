//! The keys by which MCP clients are known to authorization servers.
//!
//! Owns an ES256 key for each client whose metadata says `private_key_jwt`: the one
//! that signs, the next one, and those that are retired. They are made here, lie in
//! `keys/clients` of the data directory, one file for each client, and never leave
//! the agent: `issuance` asks for a signature, and whoever publishes watches
//! [`ClientKeys::published`]. Rotation follows the rules of the authorities
//! (`authority::schedule`): a key is published before it signs for longer than
//! caches keep a JWKS, and after it signed until its last assertion has expired.
//!
//! Invariants: only the keys of active clients are published and sign; a client that
//! is suspended or has expired keeps its keys on disk and has an empty JWKS, a
//! revoked one loses them for ever; what is published was durable first. A key that
//! is replaced by command is gone at once, published or not.
//!
//! One task, [`ClientKeys::run`], follows registry and clock; files are written by
//! blocking threads, one at a time. A file that cannot be read leaves its client
//! without a key, and says so, until it is mended or the key replaced. Left out on
//! purpose: who may have an assertion, which is `workloads`' to say.

mod file;
mod held;
#[cfg(test)]
mod tests;
mod writer;
mod written;

pub use held::{ClientKeyInfo, ClientKeySet, NO_KEYS, PublishedKeys};

use crate::{
    audit::{Event, Trail},
    authority::{KeyDirectory, KeyDirectoryError, schedule::Timing},
    clock::SharedClock,
    registry::{Client, ClientMetadata, ClientName, ClientState, Registry, Snapshot},
    server::until_true,
    svid::{KeyError, SecretText, assertion::Claims, jws::JwsError},
};
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::error::Category;
use std::{
    fmt::{self, Debug, Formatter},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    sync::watch,
    task::JoinError,
    time::{sleep, timeout},
};
use writer::Writer;
use written::Written;

/// The longest life of an assertion: servers that remember each `jti` remember it for as long.
pub const MAX_ASSERTION_LIFE: Duration = Duration::from_secs(60);

/// How long a key stays published after it signed last: the life of an assertion, and as much
/// again for clocks that differ.
const RETIRED_FOR: Duration = Duration::from_secs(2 * 60);

/// How often the wall clock is read again, where keys do not change faster than that.
const TURN: Duration = Duration::from_secs(10);

/// Nobody's keys change as fast as that.
const SHORTEST_TURN: Duration = Duration::from_millis(100);

/// How soon the registry is walked again: it may have a hundred thousand clients. Not before
/// everything has been read once, which others wait for.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a call waits for a client's first key, which takes two writes to the disk, and for its
/// set to be where others read it.
const KEY_WAIT: Duration = Duration::from_secs(3);

/// How late it may be noticed that a client's time is over, while keys are made and read: each set
/// is looked at for that, and all of them for each few that come would be too much.
const EXPIRY: Duration = Duration::from_secs(1);

/// Clients that are looked at before others get a turn.
const LOOKED_AT_ONCE: usize = 1_000;

/// Clients whose files are written before what came of it is published, and others are looked at.
const WRITTEN_AT_ONCE: usize = 64;

/// Events that are recorded together.
const TOLD_AT_ONCE: usize = 64;

/// Events that wait for a trail that cannot be written; of more the oldest are lost.
const MAX_WAITING: usize = 10_000;

/// How long keys last.
#[derive(Clone, Copy, Debug)]
pub struct ClientKeyTimes {
    /// Life of a key; the next one is made at half of it.
    pub ttl: Duration,
    /// How long a key is published before it signs.
    pub lead: Duration,
}

/// Why there is no key, or no signature.
#[derive(Debug, thiserror::Error)]
pub enum ClientKeyError {
    /// Operator: the client is not known by a key.
    #[error("client {0} is not known to authorization servers by a key of its own")]
    NoKeyWanted(ClientName),
    /// Its key is not there yet, or the client is not active.
    #[error("client {0} has no key now")]
    NoKey(ClientName),
    /// Operator or disk: the directory of the keys.
    #[error("{0}")]
    Directory(#[from] KeyDirectoryError),
    /// Operator or disk: keys that had to go, and that an agent would find again after a restart.
    #[error("{0}; it could not even be marked, so that the next start would read it again")]
    Remains(KeyDirectoryError),
    /// Operator or disk: a file that does not hold what was written.
    #[error("{path}: {fault}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: FileFault,
    },
    /// Operator or disk: a file with keys of somebody else, or with none that signs.
    #[error("{0} does not hold the keys of its client")]
    Other(PathBuf),
    /// Bug: the cryptographic library refused a key of ours.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// Bug: the assertion could not be signed.
    #[error("{0}")]
    Token(#[from] JwsError),
    /// Bug: what wrote the files panicked.
    #[error("{0}")]
    Task(#[from] JoinError),
}

/// What is wrong with a file of keys, without a word of what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at line {line}, column {column}")]
pub struct FileFault {
    what: &'static str,
    line: usize,
    column: usize,
}

impl FileFault {
    fn of(error: &serde_json::Error) -> Self {
        Self {
            what: match error.classify() {
                Category::Io => "it cannot be written",
                Category::Syntax => "it is no JSON",
                Category::Data => "it is not as the agent writes it",
                Category::Eof => "it ends early",
            },
            line: error.line(),
            column: error.column(),
        }
    }
}

/// A signed assertion.
#[derive(Debug)]
pub struct SignedAssertion {
    /// JWS compact serialization.
    pub token: SecretText,
    /// The `kid` of the key that signed.
    pub key_id: Arc<str>,
}

/// What came of replacing a client's key.
#[derive(Debug)]
pub struct Replaced {
    /// What the trail has to be told: the keys that are gone, and the new one.
    pub events: Vec<Event>,
    /// The keys as they are now.
    pub keys: Vec<ClientKeyInfo>,
}

/// The clients' keys; cheap to clone.
#[derive(Clone)]
pub struct ClientKeys(Arc<Inner>);

struct Inner {
    clock: SharedClock,
    timing: Timing,
    writer: Mutex<Writer>,
    /// How far the registry was walked, where that was not to its end.
    walked: Mutex<Option<ClientName>>,
    published: watch::Sender<Arc<PublishedKeys>>,
    /// Which registry the published sets were compared with last, and when.
    withdrawn: Mutex<Option<(u64, SystemTime)>>,
    /// What the trail could not be told when it happened.
    untold: Mutex<Vec<Event>>,
    /// Whether every client was looked at once.
    loaded: watch::Sender<bool>,
    written: watch::Sender<Written>,
}

/// Whether a client's keys are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// The client is active.
    Published,
    /// It is in this state.
    Withheld(ClientState),
    /// It never will be again.
    Gone,
}

impl Wish {
    /// What is wished for a client; none where it has no use for keys. One that is revoked has
    /// none left, whatever its last version says.
    fn of(client: &Client, snapshot: &Snapshot) -> Option<Self> {
        let state = snapshot.state_of(client);
        if state == ClientState::Revoked {
            return Some(Self::Gone);
        }
        if !client.has_version_in_force() || !wants_keys(client) {
            return None;
        }
        Some(match state {
            ClientState::Active => Self::Published,
            state => Self::Withheld(state),
        })
    }
}

/// Whether authorization servers know the client by a key. Where others host the document, it may
/// point to the JWKS that is made here, or hold other keys, which then are not the agent's.
#[must_use]
pub fn wants_keys(client: &Client) -> bool {
    let metadata = client.spec().metadata();
    metadata.is_some_and(ClientMetadata::uses_private_key_jwt)
}

impl ClientKeys {
    /// Opens the directory, which is made if it is not there; its parent has to be. Reads no key.
    ///
    /// # Errors
    /// Where others can use the directory, or it cannot be read.
    pub fn open(
        directory: &Path,
        times: ClientKeyTimes,
        clock: SharedClock,
    ) -> Result<Self, ClientKeyError> {
        let directory = KeyDirectory::open(directory)?;
        // What a crash left half-written goes now.
        let names = directory.names()?;
        Ok(Self(Arc::new(Inner {
            timing: Timing {
                ttl: times.ttl,
                overlap: times.lead,
            },
            clock,
            writer: Mutex::new(Writer::new(directory, &names)),
            walked: Mutex::default(),
            withdrawn: Mutex::default(),
            untold: Mutex::default(),
            published: watch::Sender::default(),
            loaded: watch::Sender::default(),
            written: watch::Sender::default(),
        })))
    }

    /// Lets calls wait from now on until the key that signs is written where others read it: see
    /// [`ClientKeys::note_written`].
    pub fn expect_writing(&self) {
        self.0.written.send_modify(Written::expect);
    }

    /// Takes note of the JWKS of a client as others can read it now; `None` where it is gone.
    pub fn note_written(&self, client: &ClientName, jwks: Option<&Bytes>) {
        self.0
            .written
            .send_modify(|written| written.note(client, jwks));
    }

    /// The published keys, now and whenever they change.
    #[must_use]
    pub fn published(&self) -> watch::Receiver<Arc<PublishedKeys>> {
        self.0.published.subscribe()
    }

    /// Waits until all clients that there were at the start have been looked at: then one without
    /// keys has none. Does not wait for a trail that cannot be written, without which nothing is
    /// published.
    pub async fn loaded(&self) {
        until_true(self.0.loaded.subscribe()).await;
    }

    /// The keys of a client, for listings; none where it has none.
    #[must_use]
    pub fn of(&self, client: &ClientName) -> Option<Arc<ClientKeySet>> {
        self.0.published.borrow().set(client).cloned()
    }

    /// Waits for a moment where a client that was registered just now has no key yet, or none any
    /// more until the next one signs, or where its key is still to be written where others read
    /// it.
    pub async fn ready(&self, client: &ClientName) {
        let (mut published, mut written) = (self.published(), self.0.written.subscribe());
        let signs = async {
            loop {
                let set = published.borrow_and_update().set(client).cloned();
                // One that has ended waits for the next to sign, which is a matter of a turn.
                let now = self.0.clock.now();
                let set = set.filter(|set| set.is_published() && set.signs_at(now));
                let has_active = |set| written.borrow_and_update().has_active(client, set);
                if set.as_deref().is_some_and(has_active) {
                    return;
                }
                let changed = tokio::select! {
                    changed = published.changed() => changed,
                    changed = written.changed() => changed,
                };
                if changed.is_err() {
                    return;
                }
            }
        };
        // Where no key comes, signing says so. One that cannot be written signs after that.
        drop(timeout(KEY_WAIT, signs).await);
    }

    /// Signs an assertion of `client` with its current key.
    ///
    /// # Errors
    /// [`ClientKeyError::NoKey`] where none is published, or it has ended; the cryptographic
    /// library's.
    pub fn sign(
        &self,
        client: &ClientName,
        claims: &Claims<'_>,
    ) -> Result<SignedAssertion, ClientKeyError> {
        let set = self.of(client);
        let no_key = || ClientKeyError::NoKey(client.clone());
        let set = set.ok_or_else(no_key)?;
        let signer = set.signer(self.0.clock.now())?.ok_or_else(no_key)?;
        Ok(SignedAssertion {
            token: signer.sign(claims)?,
            key_id: Arc::clone(signer.key_id()),
        })
    }

    /// Follows registry and clock for ever, and tells the trail. To be run once.
    pub async fn run(&self, registry: Arc<Registry>, trail: Trail) {
        let turn = turn(self.0.timing);
        let mut changes = registry.changes();
        let mut waiting = Vec::new();
        loop {
            waiting.append(&mut self.0.untold.lock());
            if self.begins_anew(waiting.is_empty()) {
                changes.mark_unchanged();
            }
            let is_done = self.follow(&registry, &mut waiting).await;
            let is_told = tell(&trail, &mut waiting).await;
            let was_loaded = *self.0.loaded.borrow();
            if !was_loaded && (is_done || !is_told) {
                self.0.loaded.send_replace(true);
            }
            if !was_loaded && is_told && !is_done {
                continue;
            }
            sleep(PAUSE).await;
            if is_told && !is_done {
                continue;
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() {
                    return;
                },
                () = sleep(turn) => {}
            }
        }
    }

    /// Whether the walk that comes begins with the first client, and so sees all that has changed
    /// until now. What changes during a walk is looked at as soon as that is over.
    fn begins_anew(&self, is_told: bool) -> bool {
        let mut walked = self.0.walked.lock();
        if !is_told {
            *walked = None;
        }
        walked.is_none()
    }

    /// Does some of what registry and clock demand; whether that was all. What takes away is
    /// always done; nothing new is made while the trail lacks what was made before.
    async fn follow(&self, registry: &Arc<Registry>, events: &mut Vec<Event>) -> bool {
        let is_told = events.is_empty();
        let snapshot = registry.snapshot();
        // Taking away comes first, and waits for no disk.
        if self.0.may_withdraw(&snapshot) {
            events.extend(self.0.withdraw(&snapshot));
        }
        if !is_told {
            return false;
        }
        let mut due = Vec::new();
        let published = Arc::clone(&self.0.published.borrow());
        let now = self.0.clock.now();
        // From where it ended the last time, so that what fails again and again keeps nobody waiting.
        let begin = self.0.walked.lock().take();
        for (looked_at, client) in snapshot.after(begin.as_ref()).enumerate() {
            if looked_at % LOOKED_AT_ONCE == LOOKED_AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            let Some(wish) = Wish::of(client, &snapshot) else {
                continue;
            };
            let set = published.set(client.name());
            if set.is_none_or(|set| set.is_behind(wish, now, self.0.timing)) {
                due.push(client.name().clone());
            }
            if due.len() > WRITTEN_AT_ONCE {
                break;
            }
        }
        let is_done = due.len() <= WRITTEN_AT_ONCE;
        due.truncate(WRITTEN_AT_ONCE);
        if !is_done {
            *self.0.walked.lock() = due.last().cloned();
        }
        if due.is_empty() {
            return true;
        }
        // Or all of it would be copied to be changed.
        drop(published);
        let (inner, registry) = (Arc::clone(&self.0), Arc::clone(registry));
        let work = move || inner.work(&due, &registry);
        match tokio::task::spawn_blocking(work).await {
            Ok(more) => events.extend(more),
            Err(error) => tracing::error!(%error, "keys of clients were not looked after"),
        }
        is_done
    }

    /// As the task would, once.
    #[cfg(test)]
    pub(crate) async fn follow_once(&self, registry: &Arc<Registry>) -> Vec<Event> {
        let mut events = Vec::new();
        let mut is_done = false;
        while !is_done {
            let mut some = Vec::new();
            is_done = self.follow(registry, &mut some).await;
            events.extend(some);
        }
        events
    }

    /// Drops all keys of a client at once, and makes a new one that signs.
    ///
    /// # Errors
    /// Where the client is not known by a key, or the disk fails: then it has none, until one
    /// can be made.
    pub async fn replace(
        &self,
        registry: &Arc<Registry>,
        client: &ClientName,
        reason: &str,
    ) -> Result<Replaced, ClientKeyError> {
        let (inner, registry) = (Arc::clone(&self.0), Arc::clone(registry));
        let (client, reason) = (client.clone(), reason.to_owned());
        let work = move || inner.replace(&registry, &client, &reason);
        tokio::task::spawn_blocking(work).await?
    }

    /// Has the trail told later what it could not be told.
    pub fn tell_later(&self, events: Vec<Event>) {
        self.0.untold.lock().extend(events);
    }
}

impl Debug for ClientKeys {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("ClientKeys")
    }
}

/// How often the wall clock is read. A key is late by a turn when it is made, and by another when
/// it signs, besides the second that its publication is rounded by: both together have half of
/// the time that is left then of the one before it.
fn turn(timing: Timing) -> Duration {
    let needed = timing.overlap.saturating_add(Duration::from_secs(1));
    let left = (timing.ttl / 2).saturating_sub(needed);
    let turn = TURN.min(timing.overlap / 2).min(left / 4);
    turn.max(SHORTEST_TURN)
}

/// Tells what has happened; whether the trail has all of it. What cannot be told now is told later.
async fn tell(trail: &Trail, events: &mut Vec<Event>) -> bool {
    events.drain(..events.len().saturating_sub(MAX_WAITING));
    while !events.is_empty() {
        let some = events.iter().take(TOLD_AT_ONCE).cloned().collect();
        if let Err(error) = trail.record_all(some).await {
            tracing::error!(%error, "what became of clients' keys could not be recorded yet");
            return false;
        }
        events.drain(..TOLD_AT_ONCE.min(events.len()));
    }
    true
}
