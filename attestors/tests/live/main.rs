//! Attestation of real processes, and attacks on it.
//!
//! Each test starts this very test binary again as a peer (`peer.rs`), which
//! connects and then does what the test tells it. Tests that need root, user
//! namespaces or a tool say so where they cannot run, and fail there with
//! `REQUIRE_ALL_TESTS=1`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::use_debug,
    reason = "tests and what they share"
)]

mod cgroups;
mod code;
mod credentials;
mod doer;
mod events;
mod executable;
mod held;
mod image;
mod machine;
mod namespaces;
mod peer;
mod pinning;
mod process;
mod program;
mod stamp;
mod systemd;
mod tracer;
