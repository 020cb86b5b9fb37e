//! `[runtime]`: the threads that serve.

use super::{key::Key, reader::Reader};

/// The runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// Threads that serve calls; 1 answers fastest and costs least.
    pub workers: usize,
}

/// More than any node has a use for.
const MOST_WORKERS: usize = 256;

const WORKERS: Key = Key::new(
    "runtime",
    "workers",
    "Threads that serve calls. 1 answers fastest; more serve more callers at a time.",
);

pub(super) const KEYS: &[&Key] = &[&WORKERS];

pub(super) fn read(reader: &mut Reader<'_>) -> Runtime {
    Runtime {
        workers: reader.within(&WORKERS, 1, 1..=MOST_WORKERS),
    }
}
