//! The audit trail: one canonical, hash-chained line for each event.
//!
//! Owns the folder `audit/` of the data directory. Services and endpoints
//! describe what happened as an [`Event`] and wait for [`Trail::record`] before
//! their answer leaves; one [`TrailWriter`] on a thread of its own gives each
//! event its number, time and link, and makes whole batches durable at once, so
//! that waiting for the disk does not serialise issuing.
//!
//! Invariants: a line that was confirmed is never removed or changed, and no
//! other line is ever visible to [`Trail::tail`]; each line holds the SHA-256
//! of the line before it; lines are canonical JSON (RFC 8785). It fails closed:
//! after any write error the half-written bytes are cut away and records are
//! refused until a write succeeds again, which the trail then tells. What a
//! crash left half-written is cut away at the next start, which an event tells
//! too; a complete line that does not fit the chain stops the start.
//!
//! What callers without an identity can cause has a chain, a thread and a
//! budget of its own ([`Trail::of_caller`]): up to a rate it is recorded, beyond
//! that it is counted, and never does it delay or evict what else is recorded.
//! Both chains lie in segments that are removed by age and size, and signed
//! checkpoints of where they end lie beside them and in a second place.
//! [`Reader`] reads both chains from a folder, [`query()`] finds lines in them,
//! [`Trace`] tells stories, and [`verify()`] says whether they are as written.
//!
//! Left out on purpose: what to record (the caller decides). `agent/doc/audit.md`
//! describes every event and field.

mod batch;
mod begin;
mod chain;
mod checkpoint;
mod error;
mod event;
mod folder;
mod keeper;
mod ledger;
mod ocsf;
mod query;
mod read;
mod retention;
mod segment;
mod tail;
#[cfg(test)]
mod testing;
mod threads;
mod trace;
mod trail;
mod verify;
mod writer;

pub use chain::{Chain, Digest, Head, Link, Position};

pub use checkpoint::{
    CHECKPOINTS_FILE, Checkpoint, CheckpointConfig, CheckpointKey, CheckpointKeyError,
    OLDER_CHECKPOINTS_FILE, PUBLIC_KEY_FILE, ReadHead,
};
pub use error::AuditError;
pub use event::{
    AcceptedWeaknesses, Approvals, Authority, Credential, CredentialKind, Event, Kind, Outcome,
    Process, Summary,
};
pub use ledger::{Cause, Origin};
pub use ocsf::to_ocsf;
pub use query::{Class, Filter, Found, Judge, Keep, Related, Search, query};
pub use read::{Line, Lines, Reader, SegmentFile};
pub use tail::MAX_TAIL_LINES;
pub use threads::TrailWriter;
pub use trace::{
    ClientStory, CredentialStory, LeftOut, MAX_STORY_LINES, ProcessStory, Story, Subject, Told,
    Trace, VersionStory, tell,
};
pub use trail::{CallersLimits, Durability, Health, Limits, Trail, TrailConfig};
pub use verify::{ChainSummary, Finding, Place, Problem, Verification, VerifyOptions, verify};
