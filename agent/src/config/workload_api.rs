//! `[workload_api]`: the socket that every local process may connect to.

use super::{key::Key, reader::Reader, setting::named_values, units::MINUTE};
use std::{path::PathBuf, time::Duration};

/// The SPIFFE Workload API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadApi {
    /// The socket's path.
    pub socket: PathBuf,
    /// How long a call from a process without an identity is held before it is denied.
    pub wait_for_registration: Duration,
    /// Who may fetch trust bundles.
    pub bundles: BundleAudience,
    /// Whether gRPC reflection is served.
    pub reflection: bool,
}

named_values! {
    /// Who may fetch trust bundles.
    pub enum BundleAudience {
        /// Only processes that have an identity.
        Identified = "identified",
        /// Any local process.
        Any = "any",
    }
}

/// Longest time a call may be held: every held call keeps a connection and its memory.
const MOST_WAIT: Duration = Duration::from_secs(5 * MINUTE);

pub(super) const SOCKET: Key = Key::new(
    "workload_api",
    "socket",
    "Socket of the SPIFFE Workload API. Any local process may connect to it; containers mount its \
     directory, so nothing else may lie there.",
);
const WAIT_FOR_REGISTRATION: Key = Key::new(
    "workload_api",
    "wait_for_registration",
    "How long a call from a process that fits no registration is held, in case one comes, before it \
     is denied.",
)
.live();
const BUNDLES: Key = Key::new(
    "workload_api",
    "bundles",
    "Who may fetch trust bundles: \"identified\" (processes that have an identity) or \"any\" (every \
     local process).",
)
.live();
const REFLECTION: Key = Key::new(
    "workload_api",
    "reflection",
    "Whether gRPC reflection is served on this socket.",
);

pub(super) const KEYS: &[&Key] = &[&SOCKET, &WAIT_FOR_REGISTRATION, &BUNDLES, &REFLECTION];

pub(super) fn read(reader: &mut Reader<'_>) -> Option<WorkloadApi> {
    let socket = reader.socket(&SOCKET, reader.directories().workload_socket());
    let wait_for_registration = reader.within(
        &WAIT_FOR_REGISTRATION,
        Duration::ZERO,
        Duration::ZERO..=MOST_WAIT,
    );
    let bundles = reader.value(&BUNDLES, BundleAudience::Identified);
    let reflection = reader.value(&REFLECTION, true);
    Some(WorkloadApi {
        socket: socket?,
        wait_for_registration,
        bundles,
        reflection,
    })
}
