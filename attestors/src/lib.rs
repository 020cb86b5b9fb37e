//! Who is calling.
//!
//! Owns the way from an accepted Unix socket to facts about the process at
//! its other end: [`PinnedPeer`] holds the process, [`Attestor`] reads facts
//! through that hold and returns them as [`Selector`]s with their
//! [`Evidence`]. The agent calls it for every caller of the workload socket;
//! nothing here knows of clients, SVIDs or sockets of the agent.
//!
//! Trusted: the kernel, the host's `/etc/passwd` and `/etc/group`. Nothing
//! else: whatever a process can write (its name, its mounts, its file systems,
//! its cgroup's name) is bounded, checked and never waited for on the caller's
//! thread. `cmdline` and `environ` are never read.
//!
//! Invariants: no read goes by process ID alone; after the last read the
//! process is confirmed to live with the same credentials and the same
//! executable; a fact that cannot be read is *unknown*, with its reason, and
//! never silently absent.
//!
//! One page for each attestor lies in `doc/`: selectors, sources, abuses.

mod accounts;
mod attestor;
mod budget;
mod cgroup;
mod code;
mod container;
mod digest;
mod events;
mod evidence;
mod executable;
mod findings;
mod held;
mod host;
mod image;
mod kinds;
mod mounts;
mod namespaces;
pub mod parse;
mod pin;
mod process;
mod procfs;
mod proof;
mod read_pool;
mod selector;
mod settled;
mod systemd;
mod tracer;
mod turns;
mod unix;

pub use attestor::{
    AttestError, Attestor, AttestorConfig, Capabilities, Changed, SYSTEM_BUS, SetupError, Wanted,
};
pub use container::{RuntimeSocket, RuntimeSockets};
pub use events::{EventsError, ProcessEvent, ProcessEvents};
pub use evidence::{
    Attestation, CgroupEvidence, CodeEvidence, ContainerEvidence, Evidence, ExecutableEvidence,
    PodEvidence, Unknown,
};
pub use held::{PeerEnd, PeerEndError};
pub use image::Image;
pub use kinds::{Kind, Kinds};
pub use pin::{Credentials, PinError, PinMethod, PinnedPeer, ProcessKey, ROOT_CGROUP};
pub use proof::{AnsweredWord, Held, HeldWord, Proofs, Stamp};
pub use selector::{MAX_SELECTOR_BYTES, Selector, SelectorError};

use std::sync::Arc;

/// `bytes` in lower-case hexadecimal.
fn hex(bytes: &[u8]) -> Arc<str> {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let text: String = digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect();
    text.into()
}
