//! One client's keys: what may be done with them when, and the file that they lie in.
//!
//! Keys and their times are one file, so that neither is ever without the other. It is
//! written and read in buffers that are zeroed.

use super::{ClientKeyError, FileFault, RETIRED_FOR, held::Public};
use crate::{
    authority::{
        KeyDirectory, Slot,
        schedule::{self, Entry, Step, Timing},
    },
    clock::unix_seconds,
    registry::ClientName,
    svid::PrivateKey,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};
use zeroize::Zeroizing;

/// The file's format. Another one is refused.
const VERSION: u32 = 1;

/// What a file's name ends with.
const SUFFIX: &str = ".json";

/// What the name of a mark ends with: the file beside it has to go, and is never read.
const MARK: &str = ".condemned";

/// The most that a file may have: a handful of keys of some 400 bytes each.
const MAX_FILE_BYTES: usize = 64 * 1024;

/// How far the beginning of a key lies back, for clocks that are set back after it is made.
const BACKDATE: u64 = 60 * 60;

/// The keys of one client.
#[derive(Debug, Default)]
pub(super) struct Ring {
    pub(super) schedule: schedule::Ring,
    /// By generation.
    keys: BTreeMap<u64, Arc<PrivateKey>>,
}

/// A file's content.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    client: ClientName,
    active: u64,
    keys: Vec<KeyContent>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyContent {
    generation: u64,
    published_at: u64,
    not_before: u64,
    not_after: u64,
    retired_at: Option<u64>,
    /// PKCS#8 in base64.
    key: Secret,
}

/// A text that is zeroed when dropped.
struct Secret(Zeroizing<String>);

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|text| Self(Zeroizing::new(text)))
    }
}

/// The first whole second in which what is made now is published for certain: what is counted
/// from it may be late, and never early.
fn published_at(now: SystemTime) -> u64 {
    const ALMOST: Duration = Duration::from_nanos(999_999_999);
    unix_seconds(now.checked_add(ALMOST).unwrap_or(now))
}

/// The file of a client.
pub(super) fn name_of(client: &ClientName) -> String {
    format!("{client}{SUFFIX}")
}

/// The mark beside the file of a client.
pub(super) fn mark_of(client: &ClientName) -> String {
    format!("{client}{MARK}")
}

/// The client whose file a mark of this name condemns.
pub(super) fn marked_by(name: &str) -> Option<ClientName> {
    name.strip_suffix(MARK)?.parse().ok()
}

impl Ring {
    /// What lies in the directory; none where there is no file, or one that was emptied because it
    /// could not be removed: what is written is whole or not there.
    pub(super) fn read(
        directory: &KeyDirectory,
        client: &ClientName,
    ) -> Result<Option<Self>, ClientKeyError> {
        let name = name_of(client);
        let Some(json) = directory.read(&name, MAX_FILE_BYTES)? else {
            return Ok(None);
        };
        if json.is_empty() {
            return Ok(None);
        }
        let content = serde_json::from_slice::<Content>(&json);
        let content = content.map_err(|error| ClientKeyError::File {
            path: directory.path_of(&name),
            fault: FileFault::of(&error),
        })?;
        let other = || ClientKeyError::Other(directory.path_of(&name));
        if content.version != VERSION || content.client != *client {
            return Err(other());
        }
        let mut ring = Self::default();
        ring.schedule.active = content.active;
        for stored in content.keys {
            let pkcs8 = STANDARD.decode(stored.key.0.as_bytes()).map(Zeroizing::new);
            let pkcs8 = pkcs8.map_err(|_malformed| other())?;
            let key = PrivateKey::from_pkcs8(&pkcs8).map_err(|_malformed| other())?;
            let last = ring.schedule.entries.last();
            if last.is_some_and(|last| last.generation >= stored.generation) {
                return Err(other());
            }
            ring.keys.insert(stored.generation, Arc::new(key));
            ring.schedule.entries.push(Entry {
                generation: stored.generation,
                published_at: stored.published_at,
                not_before: stored.not_before,
                not_after: stored.not_after,
                longest_svid: RETIRED_FOR.as_secs(),
                retired_at: stored.retired_at,
                operator: false,
                certificates: Vec::new(),
            });
        }
        Ok(Some(ring))
    }

    /// Makes the file hold what this does.
    pub(super) fn write(
        &self,
        directory: &KeyDirectory,
        client: &ClientName,
    ) -> Result<(), ClientKeyError> {
        let name = name_of(client);
        let mut keys = Vec::new();
        for (_, entry, key) in self.all() {
            keys.push(KeyContent {
                generation: entry.generation,
                published_at: entry.published_at,
                not_before: entry.not_before,
                not_after: entry.not_after,
                retired_at: entry.retired_at,
                key: Secret(Zeroizing::new(STANDARD.encode(key.expose_pkcs8()))),
            });
        }
        let content = Content {
            version: VERSION,
            client: client.clone(),
            active: self.schedule.active,
            keys,
        };
        // Room for all of it at once, so that no copy of a secret is left behind by growth.
        let mut json = Zeroizing::new(Vec::with_capacity(MAX_FILE_BYTES));
        serde_json::to_writer(&mut *json, &content).map_err(|error| ClientKeyError::File {
            path: directory.path_of(&name),
            fault: FileFault::of(&error),
        })?;
        Ok(directory.write(&name, &json)?)
    }

    /// Prepares, activates and removes what is due; whether anything was.
    pub(super) fn advance(
        &mut self,
        now: SystemTime,
        timing: Timing,
    ) -> Result<bool, ClientKeyError> {
        let seconds = unix_seconds(now);
        let mut is_changed = false;
        while let Some(step) = self.schedule.next_step(seconds, timing) {
            is_changed = true;
            match step {
                Step::Prepare => {
                    self.create(now, timing)?;
                }
                Step::Activate { generation, .. } => self.schedule.activate(generation, seconds),
                Step::Replace => {
                    let generation = self.create(now, timing)?;
                    self.schedule.activate(generation, seconds);
                }
            }
        }
        let removable: Vec<_> = self.schedule.removable(seconds).collect();
        for generation in removable {
            is_changed = true;
            self.keys.remove(&generation);
            let entries = &mut self.schedule.entries;
            entries.retain(|entry| entry.generation != generation);
        }
        Ok(is_changed)
    }

    /// Notes that all of it is published from now on, after it was not: what waits for its time
    /// begins to wait anew.
    pub(super) fn publish_again(&mut self, now: SystemTime) {
        let active = self.schedule.active;
        for entry in &mut self.schedule.entries {
            if entry.generation > active {
                entry.published_at = published_at(now);
            }
        }
    }

    fn create(&mut self, at: SystemTime, timing: Timing) -> Result<u64, ClientKeyError> {
        let now = unix_seconds(at);
        let last = self.schedule.entries.last().map(|entry| entry.generation);
        let generation = last.unwrap_or_default().max(self.schedule.active) + 1;
        let key = PrivateKey::generate()?;
        self.keys.insert(generation, Arc::new(key));
        self.schedule.entries.push(Entry {
            generation,
            published_at: published_at(at),
            not_before: now.saturating_sub(BACKDATE),
            not_after: now.saturating_add(timing.ttl.as_secs()),
            longest_svid: RETIRED_FOR.as_secs(),
            retired_at: None,
            operator: false,
            certificates: Vec::new(),
        });
        Ok(generation)
    }

    /// The key that signs.
    pub(super) fn active(&self) -> Option<Arc<PrivateKey>> {
        self.keys.get(&self.schedule.active).cloned()
    }

    /// The public keys, oldest first.
    pub(super) fn publics(&self) -> impl Iterator<Item = Public<'_>> {
        self.all()
            .map(|(slot, entry, key)| (slot, entry, key.public_key()))
    }

    fn all(&self) -> impl Iterator<Item = (Slot, &Entry, &Arc<PrivateKey>)> {
        let active = self.schedule.active;
        self.schedule.entries.iter().filter_map(move |entry| {
            let slot = match entry.generation.cmp(&active) {
                std::cmp::Ordering::Less => Slot::Retired,
                std::cmp::Ordering::Equal => Slot::Active,
                std::cmp::Ordering::Greater => Slot::Prepared,
            };
            Some((slot, entry, self.keys.get(&entry.generation)?))
        })
    }
}
