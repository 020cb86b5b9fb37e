//! `[attestation]`: what reading facts about a process may cost.

use super::{key::Key, reader::Reader, setting::ByteSize};

/// Workload attestation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// Largest executable that is hashed, in bytes.
    pub max_binary_bytes: u64,
    /// Whether executables on FUSE and network file systems are hashed.
    pub hash_remote_filesystems: bool,
    /// Threads for reads that a caller can stall.
    pub read_threads: usize,
    /// How many of them one uid may hold.
    pub reads_per_uid: usize,
}

const MIB: u64 = 1 << 20;
/// Largest executable that may ever be hashed: half a minute at 2 GB/s.
const MOST_BINARY: ByteSize = ByteSize(64 * 1024 * MIB);
/// Most threads that wait for files.
const MOST_THREADS: usize = 256;

const MAX_BINARY_SIZE: Key = Key::new(
    "attestation",
    "max_binary_size",
    "Largest executable that is hashed; the digest of a larger one is unknown.",
);
pub(super) const HASH_REMOTE_FILESYSTEMS: Key = Key::new(
    "attestation",
    "hash_remote_filesystems",
    "Whether executables on FUSE and network file systems are hashed. Whoever serves such a file \
     can show the agent other bytes than the process runs.",
);
const READ_THREADS: Key = Key::new(
    "attestation",
    "read_threads",
    "Threads for reads that a caller can stall (its executable, its maps).",
);
const READS_PER_UID: Key = Key::new(
    "attestation",
    "reads_per_uid",
    "How many of these threads the processes of one uid may hold at a time.",
);

pub(super) const KEYS: &[&Key] = &[
    &MAX_BINARY_SIZE,
    &HASH_REMOTE_FILESYSTEMS,
    &READ_THREADS,
    &READS_PER_UID,
];

pub(super) fn read(reader: &mut Reader<'_>) -> Attestation {
    let ByteSize(max_binary_bytes) = reader.within(
        &MAX_BINARY_SIZE,
        ByteSize(512 * MIB),
        ByteSize(MIB)..=MOST_BINARY,
    );
    let attestation = Attestation {
        max_binary_bytes,
        hash_remote_filesystems: reader.value(&HASH_REMOTE_FILESYSTEMS, false),
        read_threads: reader.within(&READ_THREADS, 8, 1..=MOST_THREADS),
        reads_per_uid: reader.within(&READS_PER_UID, 2, 1..=MOST_THREADS),
    };
    reader.at_most(
        (&READS_PER_UID, attestation.reads_per_uid),
        (&READ_THREADS, attestation.read_threads),
    );
    attestation
}
