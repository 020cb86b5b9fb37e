//! What changes keys: files first, then what is published.

use super::{
    ClientKeyError, ClientKeyInfo, ClientKeySet, EXPIRY, Inner, Replaced, Wish,
    file::{Ring, mark_of, marked_by, name_of},
};
use crate::{
    audit::{Authority, Event, Kind},
    authority::{KeyDirectory, Slot},
    registry::{Client, ClientName, Registry, Snapshot},
};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The directory, and what was read of it.
#[derive(Debug)]
pub(super) struct Writer {
    directory: KeyDirectory,
    rings: BTreeMap<ClientName, Ring>,
    /// Whose file has to go before anything else is done with it, and whether a mark in the
    /// directory says so to whoever comes after a restart.
    condemned: BTreeMap<ClientName, bool>,
    /// Of which it was said that their file cannot be used.
    told: BTreeSet<ClientName>,
}

impl Writer {
    /// Goes on with what an earlier agent could not remove, by the names of the directory's files.
    pub(super) fn new(directory: KeyDirectory, names: &[String]) -> Self {
        let marked = names.iter().filter_map(|name| marked_by(name));
        Self {
            directory,
            rings: BTreeMap::new(),
            condemned: marked.map(|client| (client, true)).collect(),
            told: BTreeSet::new(),
        }
    }

    /// What there is of a client; nothing where it never had a key. A file that could not be
    /// removed when it had to be is removed first, and never read.
    fn take(&mut self, client: &ClientName) -> Result<Ring, ClientKeyError> {
        if self.condemned.contains_key(client) {
            self.remove(client)?;
        }
        match self.rings.remove(client) {
            Some(ring) => Ok(ring),
            None => Ok(Ring::read(&self.directory, client)?.unwrap_or_default()),
        }
    }

    /// The keys of a client as they shall be now. Where that fails, everything is as before, and
    /// the file is read again the next time.
    fn advanced(
        &mut self,
        inner: &Inner,
        client: &ClientName,
        was_withheld: bool,
    ) -> Result<&Ring, ClientKeyError> {
        let mut ring = self.take(client)?;
        let now = inner.clock.now();
        let is_waiting = ring.schedule.entries.len() > 1;
        if was_withheld && is_waiting {
            ring.publish_again(now);
        }
        if ring.advance(now, inner.timing)? || (was_withheld && is_waiting) {
            ring.write(&self.directory, client)?;
        }
        self.told.remove(client);
        Ok(self.rings.entry(client.clone()).or_insert(ring))
    }

    /// Removes the file, or what is in it. Where that fails it is tried again, and the file not
    /// read until then; nor by another agent after this one, if there is room for a mark.
    fn remove(&mut self, client: &ClientName) -> Result<(), ClientKeyError> {
        self.rings.remove(client);
        let is_first = !self.condemned.contains_key(client);
        let is_marked = self.condemned.entry(client.clone()).or_default();
        let (file, mark) = (name_of(client), mark_of(client));
        let mut removed = self.directory.remove(&file);
        if !is_first {
            // What is not there any more was perhaps removed, and not for good.
            removed = removed.and_then(|()| self.directory.sync());
        }
        // The first error is the one to tell.
        let removed = removed.or_else(|error| self.directory.empty(&file).map_err(|_same| error));
        if let Err(error) = removed {
            *is_marked = *is_marked || self.directory.write(&mark, b"").is_ok();
            return Err(match *is_marked {
                true => ClientKeyError::Directory(error),
                false => ClientKeyError::Remains(error),
            });
        }
        if !is_first {
            // The file is gone, and so the new one is not written before the mark is: also one of
            // which it was not certain that it was written.
            self.directory.remove(&mark)?;
        }
        self.condemned.remove(client);
        Ok(())
    }

    /// Says once that a client has no key.
    fn complain(&mut self, client: &ClientName, error: &ClientKeyError) {
        if self.told.insert(client.clone()) {
            tracing::error!(
                client = client.as_str(),
                %error,
                "the client has no key; mend the file, or: symbolon client replace-key"
            );
        }
    }
}

impl ClientKeySet {
    /// What the trail is told of each of its keys.
    fn told(&self, client: &Client, why: &str) -> Vec<Event> {
        let told = |key| about(client, key, self.digest(), why);
        self.keys().iter().map(told).collect()
    }
}

impl Inner {
    /// Whether there can be keys to take out: the registry has changed since this was asked last,
    /// or some time has gone by. What is published meanwhile is published for a registry as it is
    /// then.
    pub(super) fn may_withdraw(&self, snapshot: &Snapshot) -> bool {
        let (now, generation) = (self.clock.now(), snapshot.generation());
        let mut withdrawn = self.withdrawn.lock();
        let is_done = withdrawn.is_some_and(|(then, at)| {
            // A clock that was set back is no reason to wait.
            let gone = now.duration_since(at);
            then == generation && gone.is_ok_and(|gone| gone < EXPIRY)
        });
        if !is_done {
            *withdrawn = Some((generation, now));
        }
        !is_done
    }

    /// Takes the keys of all clients out that are not active any more.
    pub(super) fn withdraw(&self, snapshot: &Snapshot) -> Vec<Event> {
        let mut events = Vec::new();
        self.published.send_if_modified(|published| {
            let before = Arc::clone(published);
            for (name, set) in before.iter() {
                let client = snapshot.client(name);
                let wish = client.and_then(|client| Wish::of(client, snapshot));
                let why = match wish {
                    Some(Wish::Published) => continue,
                    Some(Wish::Withheld(_) | Wish::Gone) if !set.is_published() => continue,
                    Some(Wish::Withheld(state)) => format!("withheld: the client is {state}"),
                    Some(Wish::Gone) => "withheld: the client is revoked".to_owned(),
                    None => "withheld: the client is not known by a key any more".to_owned(),
                };
                let withheld = set.withheld();
                if let Some(client) = client.filter(|_| set.is_published()) {
                    events.extend(withheld.told(client, &why));
                }
                // Copied at the first of them, and not for each.
                let next = Arc::make_mut(published);
                match wish {
                    None => next.remove(name),
                    Some(_) => next.put(name.clone(), Arc::new(withheld)),
                }
            }
            !Arc::ptr_eq(&before, published)
        });
        events
    }

    /// Does what is due of these clients. It writes files and waits for them.
    pub(super) fn work(&self, names: &[ClientName], registry: &Registry) -> Vec<Event> {
        let mut writer = self.writer.lock();
        let mut done = Vec::new();
        for name in names {
            let before = self.published.borrow().set(name).cloned();
            let snapshot = registry.snapshot();
            let Some(client) = snapshot.client(name) else {
                continue;
            };
            // What was read before and is not published was withheld; not so at the start.
            let is_published = before.as_ref().is_some_and(|set| set.is_published());
            let was_withheld = !is_published && writer.rings.contains_key(name);
            let made = match Wish::of(client, &snapshot) {
                Some(Wish::Published) => writer
                    .advanced(self, name, was_withheld)
                    .and_then(|ring| Ok(ClientKeySet::new(ring, true)?)),
                // Read to be shown; nothing is made while nobody can see it.
                Some(Wish::Withheld(_)) => writer.take(name).and_then(|ring| {
                    let set = ClientKeySet::new(&ring, false)?;
                    writer.rings.insert(name.clone(), ring);
                    Ok(set)
                }),
                Some(Wish::Gone) => writer
                    .remove(name)
                    .and_then(|()| Ok(ClientKeySet::new(&Ring::default(), false)?)),
                None => continue,
            };
            match made {
                Ok(set) => done.push((name.clone(), before, set)),
                Err(error) => writer.complain(name, &error),
            }
        }
        self.publish(done, registry)
    }

    /// Publishes, unless a client was stopped meanwhile.
    fn publish(
        &self,
        done: Vec<(ClientName, Option<Arc<ClientKeySet>>, ClientKeySet)>,
        registry: &Registry,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        self.published.send_modify(|published| {
            // The writer of withdrawals waits for this one, and sees a later snapshot.
            let snapshot = registry.snapshot();
            let next = Arc::make_mut(published);
            for (name, before, set) in done {
                let Some(client) = snapshot.client(&name) else {
                    continue;
                };
                let is_active = Wish::of(client, &snapshot) == Some(Wish::Published);
                let set = match set.is_published() && !is_active {
                    true => set.withheld(),
                    false => set,
                };
                events.extend(changes(client, before.as_deref(), &set));
                next.put(name, Arc::new(set));
            }
        });
        events
    }

    /// Drops all keys of a client, and makes a new one.
    pub(super) fn replace(
        &self,
        registry: &Registry,
        name: &ClientName,
        reason: &str,
    ) -> Result<Replaced, ClientKeyError> {
        let mut writer = self.writer.lock();
        let snapshot = registry.snapshot();
        let client = snapshot.client(name);
        let wish = client.and_then(|client| Wish::of(client, &snapshot));
        let (Some(client), Some(Wish::Published | Wish::Withheld(_))) = (client, wish) else {
            // What is left of an earlier version goes also.
            writer.remove(name)?;
            return Err(ClientKeyError::NoKeyWanted(name.clone()));
        };
        let before = self.published.borrow().set(name).cloned();
        if let Some(before) = &before {
            self.put(name, before.withheld());
        }
        // Unlinked first, which a full disk allows: the old keys never come back.
        let made = writer.remove(name).and_then(|()| {
            let ring = writer.advanced(self, name, false)?;
            Ok(ClientKeySet::new(ring, wish == Some(Wish::Published))?)
        });
        let why = format!("replaced by command: {reason}");
        let set = match made {
            Ok(set) => self.put_current(registry, name, set),
            Err(error) => {
                // They are out of the set, whatever comes in their place, and when.
                let gone = before.iter().filter(|set| set.is_published());
                let gone = gone.flat_map(|set| set.withheld().told(client, &why));
                self.untold.lock().extend(gone);
                return Err(error);
            }
        };
        let gone = before.iter().flat_map(|set| set.keys());
        let mut events: Vec<_> = gone
            .map(|key| {
                let gone = ClientKeyInfo {
                    slot: Slot::Retired,
                    ..key.clone()
                };
                about(client, &gone, set.digest(), &why)
            })
            .collect();
        events.extend(set.told(client, "made by command"));
        let keys = set.keys().to_vec();
        Ok(Replaced { events, keys })
    }

    /// Publishes, unless the client was stopped meanwhile; what is there now.
    fn put_current(
        &self,
        registry: &Registry,
        name: &ClientName,
        set: ClientKeySet,
    ) -> Arc<ClientKeySet> {
        let mut now = Arc::new(set);
        self.published.send_modify(|published| {
            // The writer of withdrawals waits for this one, and sees a later snapshot.
            let snapshot = registry.snapshot();
            let client = snapshot.client(name);
            let wish = client.and_then(|client| Wish::of(client, &snapshot));
            if now.is_published() && wish != Some(Wish::Published) {
                now = Arc::new(now.withheld());
            }
            Arc::make_mut(published).put(name.clone(), Arc::clone(&now));
        });
        now
    }

    fn put(&self, name: &ClientName, set: ClientKeySet) {
        self.published
            .send_modify(|published| Arc::make_mut(published).put(name.clone(), Arc::new(set)));
    }
}

/// What is different between two sets of a client, as events.
fn changes(client: &Client, before: Option<&ClientKeySet>, now: &ClientKeySet) -> Vec<Event> {
    let was_published = before.is_some_and(ClientKeySet::is_published);
    let before = before.map_or(&[][..], ClientKeySet::keys);
    let old = |key: &ClientKeyInfo| before.iter().find(|old| old.key_id == key.key_id);
    let mut events = Vec::new();
    for key in now.keys() {
        let why = match (old(key).map(|old| old.slot), key.slot) {
            (Some(before), slot) if before == slot && was_published == now.is_published() => {
                continue;
            }
            _ if !now.is_published() => continue,
            (_, Slot::Prepared) => "published",
            (_, Slot::Active) => "published; signs",
            (_, Slot::Retired) => "published; signs no more",
        };
        events.push(about(client, key, now.digest(), why));
    }
    let is_gone = |old: &&ClientKeyInfo| now.keys().iter().all(|key| key.key_id != old.key_id);
    let gone = before.iter().filter(is_gone);
    events.extend(gone.map(|key| about(client, key, now.digest(), "removed")));
    events
}

/// An event about a key, with the digest of the JWKS as it is published now.
fn about(client: &Client, key: &ClientKeyInfo, digest: &str, why: &str) -> Event {
    let event = Event::new(Kind::Rotated)
        .client(client.name().as_str(), client.version().number)
        .spiffe_id(client.spec().spiffe_id().to_string())
        .authority(Authority {
            key_id: key.key_id.clone(),
            kind: "client",
            not_after: key.not_after,
            slot: key.slot.as_str(),
        })
        .reason(why);
    let evidence = json!({"document": "jwks.json", "sha256": digest});
    match event.clone().evidence(&evidence) {
        Ok(event) => event,
        // Not reached: the names are ASCII, and there are no fractions.
        Err(_) => event,
    }
}
