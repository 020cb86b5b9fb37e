//! What processes hold now, as operators look at it.
//!
//! Read from the shelves at the moment of the question. JWT-SVIDs are on no shelf: of
//! each client's, the one that ends last is remembered until then, so that it can be told
//! as long as the process is known. A withdrawal does not end them elsewhere, and so not here.

use super::{Process, Workloads, shelf};
use crate::{
    issuance::{Entitlement, JwtSvid, WitSvid, X509Svid},
    registry::ClientName,
};
use shelf::Kept as _;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};
use tokio::task;

/// Processes that are looked at before others get a turn.
const AT_ONCE: usize = 256;

/// A credential that a process holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldCredential {
    /// `x509-svid`, `wit-svid` or `jwt-svid`.
    pub kind: &'static str,
    /// Serial number or `jti`.
    pub id: String,
    /// When it was issued.
    pub issued_at: SystemTime,
    /// When it ends.
    pub expires_at: SystemTime,
}

/// A process that holds an identity of a client.
#[derive(Clone, Debug)]
pub struct Holder {
    /// Its process ID.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its program's path, where it is known.
    pub executable: Option<String>,
    /// SHA-256 of its program, where it is known.
    pub executable_sha256: Option<String>,
    /// The attestation on which it got one of the credentials last.
    pub attestation_id: String,
    /// Since when it holds the identity without a break.
    pub since: SystemTime,
    /// At most one of each kind.
    pub credentials: Vec<HeldCredential>,
}

/// How many identities processes hold by one kind of SVID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveCount {
    /// The kind.
    pub kind: &'static str,
    /// A client in two processes counts twice.
    pub held: usize,
    /// Those that a stream waits for and that should have been renewed long ago.
    pub late: usize,
}

/// A credential, with what its place knows of it.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) since: SystemTime,
    pub(super) attestation: Box<str>,
    pub(super) credential: HeldCredential,
}

/// The JWT-SVIDs that a process was given, by client: of each the one that ends last.
#[derive(Debug, Default)]
pub(super) struct GivenTokens(BTreeMap<ClientName, GivenToken>);

#[derive(Debug)]
struct GivenToken {
    since: SystemTime,
    attestation: Box<str>,
    jti: String,
    issued_at: SystemTime,
    expires_at: SystemTime,
}

impl GivenTokens {
    fn note(&mut self, entitlement: &Entitlement, svid: &JwtSvid) {
        let name = entitlement.client().name();
        let before = self.0.get(name);
        let before = before.filter(|token| token.expires_at > svid.issued_at);
        if before.is_some_and(|token| token.expires_at > svid.expires_at) {
            return;
        }
        let token = GivenToken {
            since: before.map_or(svid.issued_at, |token| token.since),
            attestation: entitlement.presence().attestation.id().into(),
            jti: svid.jti.clone(),
            issued_at: svid.issued_at,
            expires_at: svid.expires_at,
        };
        self.0.insert(name.clone(), token);
    }

    /// Forgets what has ended.
    pub(super) fn forget_expired(&mut self, now: SystemTime) {
        self.0.retain(|_, token| token.expires_at > now);
    }

    fn held(&self, client: &ClientName, now: SystemTime) -> Option<Kept> {
        let token = self.0.get(client)?;
        (token.expires_at > now).then(|| Kept {
            since: token.since,
            attestation: token.attestation.clone(),
            credential: HeldCredential {
                kind: JWT,
                id: token.jti.clone(),
                issued_at: token.issued_at,
                expires_at: token.expires_at,
            },
        })
    }

    fn count(&self, now: SystemTime) -> usize {
        let valid = |token: &&GivenToken| token.expires_at > now;
        self.0.values().filter(valid).count()
    }
}

const JWT: &str = "jwt-svid";

/// How many streams of a process wait for SVIDs, by kind.
#[derive(Debug, Default)]
pub(super) struct Followers {
    x509: AtomicUsize,
    wit: AtomicUsize,
}

/// A stream that waits for SVIDs, until dropped.
#[derive(Debug)]
pub struct Followed {
    followers: Arc<Followers>,
    kind: fn(&Followers) -> &AtomicUsize,
}

impl Drop for Followed {
    fn drop(&mut self) {
        (self.kind)(&self.followers).fetch_sub(1, Ordering::Relaxed);
    }
}

impl Process {
    /// Notes that a stream waits for its X.509-SVIDs.
    #[must_use]
    pub fn follow_x509(&self) -> Followed {
        self.follow(|followers| &followers.x509)
    }

    /// Notes that a stream waits for its WIT-SVIDs.
    #[must_use]
    pub fn follow_wit(&self) -> Followed {
        self.follow(|followers| &followers.wit)
    }

    fn follow(&self, kind: fn(&Followers) -> &AtomicUsize) -> Followed {
        kind(&self.followers).fetch_add(1, Ordering::Relaxed);
        Followed {
            followers: Arc::clone(&self.followers),
            kind,
        }
    }

    pub(super) fn note_token(&self, entitlement: &Entitlement, svid: &JwtSvid) {
        self.holding.lock().jwt.note(entitlement, svid);
    }

    /// What it holds of a client, if anything.
    fn holder(&self, client: &ClientName, now: SystemTime) -> Option<Holder> {
        let kept: Vec<Kept> = {
            let holding = self.holding.lock();
            let name = client.as_str();
            let x509 = holding.x509.held(name, now);
            let wit = holding.wit.held(name, now);
            let jwt = holding.jwt.held(client, now);
            [x509, wit, jwt].into_iter().flatten().collect()
        };
        let latest = kept.iter().max_by_key(|kept| kept.credential.issued_at)?;
        let attestation = self.attestation()?;
        let credentials = self.peer().credentials();
        Some(Holder {
            pid: credentials.pid,
            uid: credentials.uid,
            gid: credentials.gid,
            executable: attestation.executable_path().map(str::to_owned),
            executable_sha256: attestation.executable_sha256().map(str::to_owned),
            attestation_id: latest.attestation.to_string(),
            since: kept.iter().map(|kept| kept.since).min()?,
            credentials: kept.into_iter().map(|kept| kept.credential).collect(),
        })
    }

    /// The clients of which it holds a key.
    fn keyed(&self, now: SystemTime) -> BTreeSet<String> {
        let holding = self.holding.lock();
        let clients = holding.x509.clients(now).chain(holding.wit.clients(now));
        clients.map(str::to_owned).collect()
    }

    fn counts(&self, now: SystemTime) -> [(usize, usize); 3] {
        let holding = self.holding.lock();
        let of = |(held, late): (usize, usize), followers: &AtomicUsize| {
            let is_followed = followers.load(Ordering::Relaxed) > 0;
            (held, if is_followed { late } else { 0 })
        };
        [
            of(holding.x509.counts(now), &self.followers.x509),
            of(holding.wit.counts(now), &self.followers.wit),
            (holding.jwt.count(now), 0),
        ]
    }
}

/// The processes that hold keys of a client: for each user, how many.
pub type KeyHolders = BTreeMap<u32, u64>;

impl Workloads {
    /// The living processes that hold an identity of this client, those that hold it longest first.
    #[must_use]
    pub fn holders_of(&self, client: &ClientName) -> Vec<Holder> {
        let now = self.services.clock.now();
        let processes = self.all();
        let holder = |process: &Arc<Process>| {
            let holder = process.holder(client, now)?;
            process.peer().is_alive().then_some(holder)
        };
        let mut holders: Vec<Holder> = processes.iter().filter_map(holder).collect();
        holders.sort_by_key(|holder| (holder.since, holder.pid));
        holders
    }

    /// Who holds keys, by client: those of X.509-SVIDs and WIT-SVIDs.
    pub async fn key_holders(&self) -> BTreeMap<String, KeyHolders> {
        let now = self.services.clock.now();
        let mut all: BTreeMap<String, KeyHolders> = BTreeMap::new();
        for processes in self.all().chunks(AT_ONCE) {
            for process in processes {
                let uid = process.peer().credentials().uid;
                for client in process.keyed(now) {
                    *all.entry(client).or_default().entry(uid).or_default() += 1;
                }
            }
            task::yield_now().await;
        }
        all
    }

    /// How many identities are held now, by kind of SVID.
    pub async fn live(&self) -> [LiveCount; 3] {
        let now = self.services.clock.now();
        let kinds = [X509Svid::KIND, WitSvid::KIND, JWT];
        let mut live = kinds.map(|kind| LiveCount {
            kind,
            held: 0,
            late: 0,
        });
        for processes in self.all().chunks(AT_ONCE) {
            for process in processes {
                for (live, (held, late)) in live.iter_mut().zip(process.counts(now)) {
                    live.held += held;
                    live.late += late;
                }
            }
            task::yield_now().await;
        }
        live
    }
}

#[cfg(test)]
mod tests;
