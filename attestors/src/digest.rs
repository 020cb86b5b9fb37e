//! SHA-256 of the program that a process runs.
//!
//! Owns the cache of digests, and the rule when one may be kept. The key is
//! everything that a write changes: mount, device, inode, size, modification
//! and change time. Change times cannot be set by anybody, except by whoever
//! makes up the file system; so only file systems of the kernel's own are
//! hashed (`mounts`), others where the operator says so, and those never from
//! the cache. Nor are files in memory (tmpfs), of which a store through a shared
//! mapping changes no time, nor those of an overlay, which may lie on one. Mount
//! numbers that the kernel gives again (before Linux 6.8)
//! could bring another file system under a known key, so there the file system
//! is looked at before each use of the cache.
//!
//! Hashing runs in the read pool on the account of the user who asks, and once
//! for a file that many ask about: a job that finds another one at the same
//! file gives its slot back and waits for that one. It joins only jobs that
//! already run, so nobody waits in another user's queue.
//!
//! A digest says what the file holds, not what was loaded into the process.

use crate::{
    budget::Budget,
    executable::{Executable, FileIdentity, MountId},
    findings::{Fact, Reason},
    host::Host,
    pin::PinnedPeer,
    read_pool::{PoolError, ReadPool},
    settled::is_settled,
};
use parking_lot::Mutex;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{sync::watch, time::timeout};

mod cache;
mod content;

use cache::{Cache, Entry, Flight};
use content::Trust;

/// Why there is no digest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum DigestError {
    /// It cannot be found out; asking again would give the same answer.
    Unknown(Reason),
    /// The file changed while it was read.
    Changed,
    /// Not now.
    Pool(PoolError),
}

/// What was read of a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Content {
    /// Its digest in lower-case hexadecimal.
    pub(crate) sha256: Arc<str>,
    /// Whether it has capabilities (`security.capability`), which change with its change time.
    pub(crate) has_capabilities: Fact<bool>,
}

/// What was read of a file, or why nothing was.
pub(crate) type Digest = Result<Content, DigestError>;

/// What hashing is paid in: a millisecond of it, or less.
const BLOCK_BYTES: u64 = 1 << 20;

/// Blocks that one user may have hashed at once: 4 GiB.
const BLOCKS: u32 = 4096;

/// How often one more: 256 MiB a second, a fifth of a core.
const BLOCK_INTERVAL: Duration = Duration::from_micros(3906);

/// What bounds the work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DigestLimits {
    pub(crate) max_bytes: u64,
    pub(crate) hash_remote: bool,
    pub(crate) cache_entries: usize,
    pub(crate) deadline: Duration,
}

/// Hashes programs and remembers what it found.
#[derive(Debug)]
pub(crate) struct Digests {
    host: Arc<Host>,
    pool: ReadPool,
    limits: DigestLimits,
    cache: Arc<Mutex<Cache>>,
    budget: Arc<Budget>,
}

/// What a thread of the pool comes back with.
enum Outcome {
    Done(Digest),
    Join(watch::Receiver<Option<Digest>>),
}

impl Digests {
    pub(crate) fn new(host: Arc<Host>, pool: ReadPool, limits: DigestLimits) -> Self {
        let cache = Arc::new(Mutex::new(Cache::new(limits.cache_entries)));
        Self {
            host,
            pool,
            limits,
            cache,
            budget: Arc::new(Budget::new(BLOCK_INTERVAL, BLOCKS)),
        }
    }

    /// What bounds the work.
    pub(crate) const fn limits(&self) -> &DigestLimits {
        &self.limits
    }

    /// The digest of `executable`, which `peer` runs, on the account of `user`.
    pub(crate) async fn of(
        &self,
        executable: &Arc<Executable>,
        peer: &Arc<PinnedPeer>,
        user: impl FnOnce() -> u32,
        at: SystemTime,
    ) -> Digest {
        let identity = executable.identity;
        if identity.size > self.limits.max_bytes {
            let limit = self.limits.max_bytes;
            return Err(unknown(format!(
                "the executable is larger than {limit} bytes"
            )));
        }
        if let MountId::Unique(_) = identity.mount
            && let Some(digest) = self.cache.lock().known(&identity)
        {
            return Ok(digest);
        }
        let user = user();
        let job = self.job(executable, peer, user, at);
        match self.pool.run(user, job).await {
            Ok(Outcome::Done(digest)) => digest,
            Ok(Outcome::Join(flight)) => self.join(flight).await,
            Err(error) => Err(DigestError::Pool(error)),
        }
    }

    async fn join(&self, mut flight: watch::Receiver<Option<Digest>>) -> Digest {
        let landed = timeout(self.limits.deadline, flight.wait_for(Option::is_some)).await;
        match landed {
            Ok(Ok(digest)) => digest
                .clone()
                .unwrap_or(Err(DigestError::Pool(PoolError::Overloaded))),
            Ok(Err(_thread_panicked)) => Err(DigestError::Pool(PoolError::Overloaded)),
            Err(_elapsed) => Err(DigestError::Pool(PoolError::Timeout)),
        }
    }

    fn job(
        &self,
        executable: &Arc<Executable>,
        peer: &Arc<PinnedPeer>,
        user: u32,
        at: SystemTime,
    ) -> impl FnOnce() -> Outcome + Send + 'static + use<> {
        let host = Arc::clone(&self.host);
        let cache = Arc::clone(&self.cache);
        let executable = Arc::clone(executable);
        let peer = Arc::clone(peer);
        let hash_remote = self.limits.hash_remote;
        let budget = Arc::clone(&self.budget);
        let hash = move |host: &Host, executable: &Executable| {
            if budget.take(user, blocks(executable.identity.size)) {
                content::hash(&host.root, executable)
            } else {
                Err(DigestError::Pool(PoolError::Overloaded))
            }
        };
        move || {
            let trust = match content::trust(&host, &executable, &peer, hash_remote) {
                Ok(trust) => trust,
                Err(reason) => return Outcome::Done(Err(DigestError::Unknown(reason))),
            };
            if trust == Trust::Never || !may_be_kept(&executable.identity, at) {
                return Outcome::Done(hash(&host, &executable));
            }
            let entry = cache.lock().enter(executable.identity);
            match entry {
                Entry::Known(digest) => Outcome::Done(Ok(digest)),
                Entry::Running(flight) => Outcome::Join(flight),
                Entry::Ours(flight) => {
                    let landing = Landing {
                        cache: &cache,
                        identity: executable.identity,
                    };
                    let digest = hash(&host, &executable);
                    landing.land(&flight, &digest);
                    Outcome::Done(digest)
                }
            }
        }
    }
}

/// Whether what the file system of `executable` says of it, and holds in it, is the kernel's word.
/// Reads `mountinfo` of `peer` for a mount that is not the host's, so the pool is the place.
pub(crate) fn believable(host: &Host, executable: &Executable, peer: &PinnedPeer) -> Fact<()> {
    content::trust(host, executable, peer, false).map(|_times| ())
}

/// What hashing so many bytes takes out of its user's bucket; never more than that holds.
fn blocks(bytes: u64) -> u32 {
    let blocks = bytes.div_ceil(BLOCK_BYTES).min(BLOCKS.into());
    u32::try_from(blocks).unwrap_or(BLOCKS)
}

/// Whether a digest may be kept under `identity` when its hashing starts at `at`.
fn may_be_kept(identity: &FileIdentity, at: SystemTime) -> bool {
    identity.mount != MountId::Unknown && is_settled(identity.changed, at)
}

fn unknown(reason: String) -> DigestError {
    DigestError::Unknown(reason.into())
}

/// Takes a job off the list of running ones, also when its thread panics.
struct Landing<'a> {
    cache: &'a Mutex<Cache>,
    identity: FileIdentity,
}

impl Landing<'_> {
    fn land(self, flight: &Flight, digest: &Digest) {
        if let Ok(content) = digest {
            self.cache.lock().keep(self.identity, content.clone());
        }
        flight.send_replace(Some(digest.clone()));
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.cache.lock().leave(&self.identity);
    }
}

#[cfg(test)]
mod tests;
