//! Attestation of processes in real containers.
//!
//! The attestor is called as the agent calls it, beside runtimes that the tests
//! start for themselves. `symbolon_tests::hosts` has those; a test that the
//! machine cannot run says SKIPPED.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail them by panicking"
)]

mod attested;
mod cri;
mod daemonset;
mod docker;
mod engine;
mod explained;
mod forged;
mod podman;
