//! The SVIDs that a process holds, kept until they are renewed or withdrawn.
//!
//! Each remembers the attestations on which it was given, the one on which it was
//! issued and others, so that the trail has each of them once.

use super::live::{HeldCredential, Kept as KeptNow};
use crate::{
    audit::{Credential, Kind},
    issuance::{Entitlement, IssueError, Issuer, Terms, WitSvid, X509Svid},
    registry::Client,
};
use std::{
    collections::BTreeMap,
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// How long after a failed renewal the next one is tried.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// SVIDs begin this long before they are issued (`notBefore`).
const BACKDATED: Duration = Duration::from_secs(10);

/// Attestations of which one SVID remembers that it was given on them: more than a process has
/// distinct proofs at a time. Of those before, the trail may be told again.
const MAX_GIVEN: usize = 16;

/// An SVID that is kept on a shelf: X.509-SVID or WIT-SVID.
pub(crate) trait Kept: Send + Sync + Sized + 'static {
    /// What kind it is.
    const KIND: &'static str;

    /// Issues a fresh one.
    fn issue(
        issuer: &Issuer,
        entitlement: &Entitlement,
        kind: Kind,
    ) -> impl Future<Output = Result<Self, IssueError>> + Send;

    /// Its times.
    fn terms(&self) -> &Terms;

    /// By what the trail finds it.
    fn credential(&self) -> Credential;

    /// Its serial number or `jti`.
    fn id(&self) -> &str;
}

impl Kept for X509Svid {
    const KIND: &'static str = "x509-svid";

    async fn issue(
        issuer: &Issuer,
        entitlement: &Entitlement,
        kind: Kind,
    ) -> Result<Self, IssueError> {
        issuer.x509(entitlement, kind).await
    }

    fn terms(&self) -> &Terms {
        &self.terms
    }

    fn credential(&self) -> Credential {
        Credential::known_x509_svid(&*self.serial, self.terms.expires_at)
    }

    fn id(&self) -> &str {
        &self.serial
    }
}

impl Kept for WitSvid {
    const KIND: &'static str = "wit-svid";

    async fn issue(
        issuer: &Issuer,
        entitlement: &Entitlement,
        kind: Kind,
    ) -> Result<Self, IssueError> {
        issuer.wit(entitlement, kind).await
    }

    fn terms(&self) -> &Terms {
        &self.terms
    }

    fn credential(&self) -> Credential {
        Credential::known_wit_svid(&*self.jti, self.terms.expires_at)
    }

    fn id(&self) -> &str {
        &self.jti
    }
}

/// The SVIDs of one kind, by client name.
#[derive(Debug)]
pub(crate) struct Shelf<T> {
    slots: BTreeMap<String, Slot<T>>,
}

#[derive(Debug)]
struct Slot<T> {
    client: Arc<Client>,
    svid: Arc<T>,
    /// Since when there is one for this client.
    since: SystemTime,
    retry_at: Option<SystemTime>,
    /// The identifiers of the attestations on which it was given, the latest last.
    given: Vec<Box<str>>,
}

impl<T: Kept> Slot<T> {
    /// Whether it may be handed out. A clock that was set back before the issue
    /// makes it not yet valid.
    fn is_valid(&self, now: SystemTime) -> bool {
        let terms = self.svid.terms();
        now < terms.expires_at && terms.issued_at <= now + BACKDATED
    }

    /// When it should be renewed, or a failed renewal be tried again.
    fn due(&self) -> SystemTime {
        self.retry_at.unwrap_or_else(|| self.svid.terms().renew_at)
    }

    /// Whether it should have been renewed a tenth of its life ago.
    fn is_late(&self, now: SystemTime) -> bool {
        let terms = self.svid.terms();
        let life = terms.expires_at.duration_since(terms.issued_at);
        let patience = life.unwrap_or_default() / 10;
        now > terms.renew_at + patience && self.is_valid(now)
    }
}

/// An identity that a process had.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) client: Arc<Client>,
    /// The attestation on which its SVID was given last.
    pub(crate) attestation: Option<Box<str>>,
}

/// What is on the shelf for a client.
pub(crate) enum Found<T> {
    /// Fresh enough to hand out.
    Fresh(Arc<T>),
    /// Valid, but to be renewed.
    Due(Arc<T>),
    /// Nothing that may be handed out.
    Nothing,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self {
            slots: BTreeMap::new(),
        }
    }
}

impl<T: Kept> Shelf<T> {
    /// What there is for this version of the client.
    pub(crate) fn find(&self, client: &Client, now: SystemTime) -> Found<T> {
        let Some(slot) = self.slots.get(client.name().as_str()) else {
            return Found::Nothing;
        };
        if slot.client.version().number != client.version().number || !slot.is_valid(now) {
            return Found::Nothing;
        }
        if now >= slot.due() {
            Found::Due(Arc::clone(&slot.svid))
        } else {
            Found::Fresh(Arc::clone(&slot.svid))
        }
    }

    /// Puts a fresh SVID, which was issued on this attestation, in the client's place.
    pub(crate) fn put(&mut self, client: &Arc<Client>, svid: Arc<T>, attestation: &str) {
        let issued_at = svid.terms().issued_at;
        let before = self.slots.get(client.name().as_str());
        let before = before.filter(|slot| slot.is_valid(issued_at));
        let since = before.map_or(issued_at, |slot| slot.since);
        let slot = Slot {
            client: Arc::clone(client),
            svid,
            since,
            retry_at: None,
            given: vec![attestation.into()],
        };
        self.slots.insert(client.name().as_str().to_owned(), slot);
    }

    /// Whether the trail knows that `svid` was given on this attestation.
    pub(crate) fn was_given(&self, svid: &Arc<T>, client: &Client, attestation: &str) -> bool {
        let slot = self.slots.get(client.name().as_str());
        let slot = slot.filter(|slot| Arc::ptr_eq(&slot.svid, svid));
        slot.is_some_and(|slot| slot.given.iter().any(|id| **id == *attestation))
    }

    /// Notes that the trail knows that `svid` was given on this attestation.
    pub(crate) fn note_given(&mut self, svid: &Arc<T>, client: &Client, attestation: &str) {
        let slot = self.slots.get_mut(client.name().as_str());
        if let Some(slot) = slot.filter(|slot| Arc::ptr_eq(&slot.svid, svid)) {
            if slot.given.len() >= MAX_GIVEN {
                slot.given.remove(0);
            }
            slot.given.push(attestation.into());
        }
    }

    /// Notes that a renewal failed at `now`.
    pub(crate) fn postpone(&mut self, client: &Client, now: SystemTime) {
        if let Some(slot) = self.slots.get_mut(client.name().as_str()) {
            slot.retry_at = Some(now + RETRY_AFTER);
        }
    }

    /// Removes the clients that `keep` does not name, and returns them.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Client) -> bool) -> Vec<Lost> {
        let lost = |mut slot: Slot<T>| Lost {
            attestation: slot.given.pop(),
            client: slot.client,
        };
        self.slots
            .extract_if(.., |_, slot| !keep(&slot.client))
            .map(|(_, slot)| lost(slot))
            .collect()
    }

    /// Removes what is not valid now; whether there was any.
    pub(crate) fn drop_invalid(&mut self, now: SystemTime) -> bool {
        self.slots
            .extract_if(.., |_, slot| !slot.is_valid(now))
            .count()
            > 0
    }

    /// When, after `after`, the next SVID should be renewed.
    pub(crate) fn next_due(&self, after: SystemTime) -> Option<SystemTime> {
        let due = self.slots.values().map(Slot::due);
        due.filter(|due| *due > after).min()
    }

    /// Whether there is one for this client.
    pub(crate) fn holds(&self, client: &str) -> bool {
        self.slots.contains_key(client)
    }

    /// What there is for this client and may be handed out.
    pub(super) fn held(&self, client: &str, now: SystemTime) -> Option<KeptNow> {
        let slot = self.slots.get(client).filter(|slot| slot.is_valid(now))?;
        let terms = slot.svid.terms();
        Some(KeptNow {
            since: slot.since,
            attestation: slot.given.last().cloned().unwrap_or_default(),
            credential: HeldCredential {
                kind: T::KIND,
                id: slot.svid.id().to_owned(),
                issued_at: terms.issued_at,
                expires_at: terms.expires_at,
            },
        })
    }

    /// The clients for which there is one that may be handed out.
    pub(super) fn clients(&self, now: SystemTime) -> impl Iterator<Item = &str> {
        let valid = self
            .slots
            .iter()
            .filter(move |(_, slot)| slot.is_valid(now));
        valid.map(|(client, _)| client.as_str())
    }

    /// How many may be handed out, and how many of them should have been renewed long ago.
    pub(super) fn counts(&self, now: SystemTime) -> (usize, usize) {
        let valid = || self.slots.values().filter(|slot| slot.is_valid(now));
        (
            valid().count(),
            valid().filter(|slot| slot.is_late(now)).count(),
        )
    }

    /// Whether there is none at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}
