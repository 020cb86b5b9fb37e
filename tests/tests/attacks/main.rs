//! Attacks on the workload socket, each by a real program.
//!
//! Each test runs the same program of `attacks/` against the agent, where no
//! credential may reach it and the trail must say why, and, where SPIRE's agent
//! is known to fall for it, against the checks that agent makes
//! (`symbolon_tests::spire_reference`), where it must succeed: an attack that
//! works nowhere proves nothing. `README.md` has the table.
//!
//! Attackers are ordinary users; what takes root here is to act as several of
//! them. [`stage`] says how a program and a test keep step without waiting by time.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail them by panicking"
)]

mod ancillary;
mod code;
mod execve;
mod files;
mod identity;
mod load;
mod mouthpiece;
mod names;
mod namespaces;
mod operators;
mod ping;
mod sharing;
mod stage;
