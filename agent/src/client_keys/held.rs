//! What is known of clients' keys: the document of each, and what signs for it.

use super::{Wish, file::Ring};
use crate::{
    authority::{
        Slot,
        schedule::{self, Entry, Timing},
    },
    canonical,
    clock::unix_seconds,
    registry::ClientName,
    svid::{Jwk, JwkSet, KeyError, PrivateKey, PublicKey, assertion::Signer, jws::JwsError},
};
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    fmt::{self, Debug, Formatter},
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A JWK Set of a client that may sign nothing now. Not an error: whoever gets
/// one goes on with the keys that he has.
pub const NO_KEYS: &[u8] = b"{\"keys\":[]}";

/// The JWKS of every client that has keys.
#[derive(Clone, Debug, Default)]
pub struct PublishedKeys(BTreeMap<ClientName, Arc<ClientKeySet>>);

impl PublishedKeys {
    /// The JWKS of a client; without keys in it while the client is not active. None where it
    /// has no use for keys and is not revoked.
    #[must_use]
    pub fn jwks(&self, client: &ClientName) -> Option<&Bytes> {
        self.0.get(client).map(|set| &set.jwks)
    }

    /// The keys of a client.
    #[must_use]
    pub fn set(&self, client: &ClientName) -> Option<&Arc<ClientKeySet>> {
        self.0.get(client)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&ClientName, &Arc<ClientKeySet>)> {
        self.0.iter()
    }

    pub(super) fn put(&mut self, client: ClientName, set: Arc<ClientKeySet>) {
        self.0.insert(client, set);
    }

    pub(super) fn remove(&mut self, client: &ClientName) {
        self.0.remove(client);
    }
}

/// A public key and where it stands.
pub(super) type Public<'a> = (Slot, &'a Entry, &'a PublicKey);

/// One key, for listings and events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientKeyInfo {
    /// The `kid`: the key's thumbprint (RFC 7638).
    pub key_id: String,
    /// Where it stands: prepared, active or retired.
    pub slot: Slot,
    /// Since when it is in the JWKS, while the client is active.
    pub published_at: SystemTime,
    /// When it signs no more, whatever happens.
    pub not_after: SystemTime,
}

/// The keys of one client as they were when this was made.
pub struct ClientKeySet {
    jwks: Bytes,
    digest: String,
    keys: Vec<ClientKeyInfo>,
    ring: schedule::Ring,
    is_published: bool,
    active: Option<Arc<PrivateKey>>,
    // Made when it is needed first: most clients of a node never are.
    signer: OnceLock<Signer>,
}

impl ClientKeySet {
    /// The keys of `ring`, published or not.
    pub(super) fn new(ring: &Ring, is_published: bool) -> Result<Self, JwsError> {
        let publics: Vec<_> = ring.publics().collect();
        let jwks = jwks(if is_published { &publics } else { &[] })?;
        let info = |(slot, entry, public): &Public<'_>| ClientKeyInfo {
            key_id: public.thumbprint(),
            slot: *slot,
            published_at: moment(entry.published_at),
            not_after: moment(entry.not_after),
        };
        Ok(Self {
            digest: canonical::sha256_hex(&jwks),
            keys: publics.iter().map(info).collect(),
            ring: ring.schedule.clone(),
            active: is_published.then(|| ring.active()).flatten(),
            is_published,
            signer: OnceLock::new(),
            jwks,
        })
    }

    /// The same keys, which are not published any more.
    pub(super) fn withheld(&self) -> Self {
        let jwks = Bytes::from_static(NO_KEYS);
        Self {
            digest: canonical::sha256_hex(&jwks),
            keys: self.keys.clone(),
            ring: self.ring.clone(),
            is_published: false,
            active: None,
            signer: OnceLock::new(),
            jwks,
        }
    }

    /// The document (RFC 7517, section 5).
    #[must_use]
    pub const fn jwks(&self) -> &Bytes {
        &self.jwks
    }

    /// SHA-256 of the document, in lower-case hexadecimal.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The keys, oldest first, published or not.
    #[must_use]
    pub fn keys(&self) -> &[ClientKeyInfo] {
        &self.keys
    }

    /// Whether they are in the document.
    #[must_use]
    pub const fn is_published(&self) -> bool {
        self.is_published
    }

    /// What signs; none where nothing may, or its time is over.
    pub(super) fn signer(&self, now: SystemTime) -> Result<Option<&Signer>, KeyError> {
        let Some(key) = self.active.as_ref().filter(|_| self.signs_at(now)) else {
            return Ok(None);
        };
        if let Some(signer) = self.signer.get() {
            return Ok(Some(signer));
        }
        let signer = Signer::new(key)?;
        Ok(Some(self.signer.get_or_init(|| signer)))
    }

    /// Whether the time of the key that signs is not over.
    pub(super) fn signs_at(&self, now: SystemTime) -> bool {
        let is_valid = |key: &ClientKeyInfo| key.slot == Slot::Active && now < key.not_after;
        self.keys.iter().any(is_valid)
    }

    /// Whether something has to be done about them.
    pub(super) fn is_behind(&self, wish: Wish, now: SystemTime, timing: Timing) -> bool {
        match wish {
            Wish::Published => {
                let now = unix_seconds(now);
                !self.is_published
                    || self.ring.next_step(now, timing).is_some()
                    || self.ring.removable(now).next().is_some()
            }
            Wish::Withheld(_) => self.is_published,
            Wish::Gone => !self.keys.is_empty(),
        }
    }
}

impl Debug for ClientKeySet {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientKeySet")
            .field("keys", &self.keys)
            .field("is_published", &self.is_published)
            .finish_non_exhaustive()
    }
}

fn jwks(keys: &[Public<'_>]) -> Result<Bytes, JwsError> {
    let keys = keys.iter().map(|(_, _, public)| {
        let jwk = Jwk::of(public).es256().named(public.thumbprint());
        jwk.used_as(Some("sig"))
    });
    Ok(JwkSet::document(keys)?.into())
}

fn moment(seconds: u64) -> SystemTime {
    let moment = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    moment.unwrap_or(UNIX_EPOCH)
}
