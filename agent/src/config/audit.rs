//! `[audit]`: the trail of decisions.

use super::{
    key::Key,
    reader::Reader,
    setting::{ByteSize, named_values},
    units::{DAY, HOUR, MINUTE},
};
use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

/// The audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// When a record counts as written.
    pub durability: Durability,
    /// A segment of so many bytes is followed by the next one.
    pub segment_bytes: u64,
    /// A segment so old is followed by the next one.
    pub segment_age: Duration,
    /// How long segments are kept.
    pub retention: Duration,
    /// How many bytes of segments are kept.
    pub max_bytes: u64,
    /// How long is kept what callers without an identity cause.
    pub callers_retention: Duration,
    /// How many bytes of that are kept.
    pub callers_max_bytes: u64,
    /// Below so much free space, what callers cause is not recorded any more.
    pub min_free_bytes: u64,
    /// A second place for checkpoints.
    pub checkpoint_file: Option<PathBuf>,
    /// Records between checkpoints at most.
    pub checkpoint_records: u32,
    /// Time between checkpoints at most, where there are new records.
    pub checkpoint_interval: Duration,
    /// How long a key signs checkpoints.
    pub checkpoint_key_ttl: Duration,
}

named_values! {
    /// When a record counts as written.
    pub enum Durability {
        /// When it is on stable storage.
        Sync = "sync",
        /// When the kernel has it.
        Write = "write",
    }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A file that programs still open gladly; fewer bytes than one batch of long lines make no sense.
const SEGMENT_BYTES: RangeInclusive<ByteSize> = ByteSize(64 * KIB)..=ByteSize(4 * GIB);
/// Some segments at least.
const MAX_BYTES_RANGE: RangeInclusive<ByteSize> = ByteSize(MIB)..=ByteSize(1 << 50);
const AGES: RangeInclusive<Duration> = Duration::from_secs(MINUTE)..=Duration::from_secs(366 * DAY);
const RETENTIONS: RangeInclusive<Duration> =
    Duration::from_secs(HOUR)..=Duration::from_secs(100 * 366 * DAY);
const INTERVALS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(HOUR);

pub(super) const DURABILITY: Key = Key::new(
    "audit",
    "durability",
    "When a record counts as written and its answer may leave: \"sync\" (it is on stable storage) or \
     \"write\" (the kernel has it; a crash of the machine can lose the last records).",
);
const SEGMENT_BYTES_KEY: Key = Key::new(
    "audit",
    "segment_bytes",
    "A segment of the trail that has so many bytes is followed by the next one.",
);
const SEGMENT_AGE: Key = Key::new(
    "audit",
    "segment_age",
    "A segment whose first record is so old is followed by the next one.",
);
const RETENTION: Key = Key::new(
    "audit",
    "retention",
    "Segments whose last record is older are removed, which the trail tells.",
);
const MAX_BYTES: Key = Key::new(
    "audit",
    "max_bytes",
    "The oldest segments are removed before their time where all together have more bytes.",
);
const CALLERS_RETENTION: Key = Key::new(
    "audit",
    "callers_retention",
    "The same as retention for what callers without an identity can cause (denials, validations), \
     which has a chain of its own.",
);
const CALLERS_MAX_BYTES: Key = Key::new(
    "audit",
    "callers_max_bytes",
    "The same as max_bytes for what callers without an identity can cause.",
);
const MIN_FREE_BYTES: Key = Key::new(
    "audit",
    "min_free_bytes",
    "Where less space is left on the trail's file system, symbolon_audit_alarm is 1, and what callers \
     without an identity cause is counted and not recorded, so that the rest still can be.",
);
const CHECKPOINT_FILE: Key = Key::new(
    "audit",
    "checkpoint_file",
    "A second place for signed checkpoints, to which they are appended: on another disk or machine, \
     so that whoever changes the trail does not reach them. Once it has 8 MiB it is renamed to the \
     same with .old, and begun anew. Without it, an older copy of the whole \
     data directory cannot be told from the trail.",
)
.without_default("/mnt/elsewhere/symbolon.checkpoints");
const CHECKPOINT_RECORDS: Key = Key::new(
    "audit",
    "checkpoint_records",
    "A checkpoint is written after so many records.",
);
const CHECKPOINT_INTERVAL: Key = Key::new(
    "audit",
    "checkpoint_interval",
    "A checkpoint is written after so much time, where there are new records.",
);
const CHECKPOINT_KEY_TTL: Key = Key::new(
    "audit",
    "checkpoint_key_ttl",
    "How long a key signs checkpoints before the next one takes over, which the trail tells.",
);

pub(super) const KEYS: &[&Key] = &[
    &DURABILITY,
    &SEGMENT_BYTES_KEY,
    &SEGMENT_AGE,
    &RETENTION,
    &MAX_BYTES,
    &CALLERS_RETENTION,
    &CALLERS_MAX_BYTES,
    &MIN_FREE_BYTES,
    &CHECKPOINT_FILE,
    &CHECKPOINT_RECORDS,
    &CHECKPOINT_INTERVAL,
    &CHECKPOINT_KEY_TTL,
];

pub(super) fn read(reader: &mut Reader<'_>) -> Audit {
    let days = |days: u64| Duration::from_secs(days * DAY);
    let free = ByteSize(0)..=ByteSize(1 << 50);
    let size = |size: ByteSize| size.0;
    Audit {
        durability: reader.value(&DURABILITY, Durability::Sync),
        segment_bytes: size(reader.within(&SEGMENT_BYTES_KEY, ByteSize(64 * MIB), SEGMENT_BYTES)),
        segment_age: reader.within(&SEGMENT_AGE, days(1), AGES),
        retention: reader.within(&RETENTION, days(90), RETENTIONS),
        max_bytes: size(reader.within(&MAX_BYTES, ByteSize(10 * GIB), MAX_BYTES_RANGE)),
        callers_retention: reader.within(&CALLERS_RETENTION, days(90), RETENTIONS),
        callers_max_bytes: size(reader.within(
            &CALLERS_MAX_BYTES,
            ByteSize(256 * MIB),
            MAX_BYTES_RANGE,
        )),
        min_free_bytes: size(reader.within(&MIN_FREE_BYTES, ByteSize(512 * MIB), free)),
        checkpoint_file: reader.optional(&CHECKPOINT_FILE),
        checkpoint_records: reader.within(&CHECKPOINT_RECORDS, 1_000, 1..=1_000_000),
        checkpoint_interval: reader.within(
            &CHECKPOINT_INTERVAL,
            Duration::from_secs(10),
            INTERVALS,
        ),
        checkpoint_key_ttl: reader.within(&CHECKPOINT_KEY_TTL, days(365), RETENTIONS),
    }
}
