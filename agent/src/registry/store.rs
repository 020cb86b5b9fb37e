//! The seam behind the registry: where records are kept.
//!
//! A store is a log. Its records have consecutive revisions from 1, and none is
//! ever changed or removed. Whoever appends says which revisions the new
//! records shall have; where another writer was faster, the store refuses with
//! [`StoreError::Conflict`] and changes nothing. So the decision that led to a
//! record (the name is free, the SPIFFE ID is nobody else's) was made on
//! exactly the state that the record follows.
//!
//! The registry trusts a store with durability and order, not with content: it
//! verifies digests, links and rules on everything that it reads.
//!
//! [`RedbStore`] keeps the log in a file, [`MemoryStore`] in memory for tests.

mod embedded;
mod memory;

pub use embedded::RedbStore;
pub(crate) use embedded::{Rebuild, confirmed};
pub use memory::MemoryStore;

use super::Digest;
use crate::disk;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::{error::Error, fmt::Debug};
use tokio::sync::watch;

/// One stored record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the log, from 1.
    pub revision: u64,
    /// SHA-256 of the document.
    pub digest: Digest,
    /// Canonical JSON.
    pub document: Bytes,
}

/// Why a store did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another writer has appended in the meantime; read on and decide anew.
    #[error("another writer was faster; the log ends with revision {last}")]
    Conflict {
        /// The last revision of the log.
        last: u64,
    },
    /// The store's own structure cannot be read.
    #[error("the registry's store is damaged: {0}")]
    Damaged(String),
    /// It has less than was confirmed.
    #[error(
        "the registry's store ends with revision {last} and lacks revision {confirmed} as it was \
         confirmed: it is an older copy, damaged, or gone"
    )]
    Outdated {
        /// The last revision that was confirmed, as far as it was noted.
        confirmed: u64,
        /// The last revision of the log; 0 where there is none.
        last: u64,
    },
    /// It holds something that this agent does not know.
    #[error("the registry's store was written by a newer agent: it has {0}")]
    Newer(String),
    /// Somebody else holds the store, or others may write to it.
    #[error("the registry's store {0}")]
    Unsafe(String),
    /// Reading or writing failed; whether the records are kept will show when the log is read.
    #[error("the registry's store cannot be used: {0}")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
}

impl StoreError {
    /// What an operator can do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Conflict { .. } => "Two agents write to one store: stop one of them.",
            Self::Damaged(_) => {
                "Keep the file as it is, `symbolon registry verify` tells what can still be read \
                 of it, and put a backup in its place: `symbolon restore FILE`."
            }
            Self::Outdated { .. } => {
                "Put the newer file back, or a backup that is new enough: `symbolon restore FILE`. \
                 To go on with what is there, and without the changes that are missing, remove \
                 registry.head."
            }
            Self::Newer(_) => {
                "Start the version of symbolon that wrote it, or put a backup in its place that \
                 this version can read: `symbolon restore FILE`."
            }
            Self::Unsafe(_) => {
                "Only one agent, and no other user, may use it. Find out who could, look through \
                 `symbolon registry verify`, then give it to the agent's user with mode 0600."
            }
            Self::Unavailable(why) => disk::remedy(&**why),
        }
    }
}

/// Refuses records that do not follow revision `last` one by one.
fn check_follow(last: u64, records: &[Record]) -> Result<(), StoreError> {
    let follow = (last + 1..)
        .zip(records)
        .all(|(next, record)| record.revision == next);
    if follow {
        Ok(())
    } else {
        Err(StoreError::Conflict { last })
    }
}

fn missing(revision: u64) -> StoreError {
    StoreError::Damaged(format!("record {revision} is missing"))
}

/// An append-only, compare-and-set log of records.
pub trait Store: Debug + Send + Sync {
    /// Up to `limit` records that follow revision `after`, in order; none only at the end of the log.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] or [`StoreError::Unavailable`].
    fn read(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Record>, StoreError>>;

    /// The records of these revisions, in the order asked for.
    ///
    /// Where they come to many bytes, only the first of them; at least one.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], also where one is missing, or [`StoreError::Unavailable`].
    fn get(&self, revisions: Vec<u64>) -> BoxFuture<'_, Result<Vec<Record>, StoreError>>;

    /// Appends all of `records` or none, durably before it resolves.
    ///
    /// The first must have the revision that follows the log's last one, the
    /// others must be consecutive.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where the revision is taken or leaves a gap;
    /// [`StoreError::Unavailable`] where it is unknown whether they are kept.
    fn append(&self, records: Vec<Record>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The last revision of the log, whoever wrote it.
    fn changes(&self) -> watch::Receiver<u64>;
}
