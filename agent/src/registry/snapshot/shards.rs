//! A hash map that is cheap to copy on write.
//!
//! Readers hold a copy for as long as they like while the writer changes its
//! own: a copy shares all shards, and a change copies the one that it touches
//! (about a hundred entries of 100,000). Entries of a shard are sorted by hash,
//! so that a lookup hashes the key once.

use std::{
    borrow::Borrow,
    fmt,
    hash::{BuildHasher as _, Hash, RandomState},
    sync::Arc,
};

/// The top bits of a hash that choose the shard.
const SHARD_BITS: u32 = 10;

/// A copy-on-write map from `K` to `V`.
#[derive(Clone)]
pub(crate) struct Shards<K, V> {
    hasher: RandomState,
    shards: Vec<Shard<K, V>>,
}

type Shard<K, V> = Arc<Vec<(u64, K, V)>>;

impl<K: Hash + Eq + Clone, V: Clone> Shards<K, V> {
    /// An empty map.
    pub(crate) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: vec![Arc::default(); 1 << SHARD_BITS],
        }
    }

    /// The value at `key`.
    pub(crate) fn find<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let hash = self.hasher.hash_one(key);
        let shard = self.shards.get(place(hash))?;
        let entry = shard.get(position(shard, hash, key).ok()?)?;
        Some(&entry.2)
    }

    /// Puts `value` at `key`, in the place of another where there is one.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        let hash = self.hasher.hash_one(&key);
        let Some(shard) = self.shards.get_mut(place(hash)) else {
            return;
        };
        let position = position(shard, hash, &key);
        let shard = Arc::make_mut(shard);
        match position {
            Ok(at) => {
                if let Some(entry) = shard.get_mut(at) {
                    entry.2 = value;
                }
            }
            Err(at) => shard.insert(at, (hash, key, value)),
        }
    }

    /// Takes `key` out.
    pub(crate) fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        let hash = self.hasher.hash_one(key);
        let Some(shard) = self.shards.get_mut(place(hash)) else {
            return;
        };
        if let Ok(at) = position(shard, hash, key) {
            Arc::make_mut(shard).remove(at);
        }
    }
}

impl<K, V> fmt::Debug for Shards<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries: usize = self.shards.iter().map(|shard| shard.len()).sum();
        f.debug_struct("Shards")
            .field("entries", &entries)
            .finish_non_exhaustive()
    }
}

fn place(hash: u64) -> usize {
    usize::try_from(hash >> (u64::BITS - SHARD_BITS)).unwrap_or(0)
}

/// Where `key` is, or else where it belongs.
fn position<K: Borrow<Q>, Q: Eq + ?Sized, V>(
    shard: &[(u64, K, V)],
    hash: u64,
    key: &Q,
) -> Result<usize, usize> {
    let start = shard.partition_point(|entry| entry.0 < hash);
    let same = shard.iter().skip(start).take_while(|entry| entry.0 == hash);
    let found = same.zip(start..).find(|(entry, _)| entry.1.borrow() == key);
    found.map(|(_, at)| at).ok_or(start)
}
