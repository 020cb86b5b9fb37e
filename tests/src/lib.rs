//! What the end-to-end tests share: a harness that runs the real `symbolon`
//! binary, and the workloads that talk to it.
//!
//! A test describes an agent with [`Setup`], starts it, acts as its operator
//! through the command line ([`Agent::run`]), and plays workloads: the test
//! process itself ([`workload_api`]), the client programs under `interop/`
//! ([`Client`]), or a copy of a program ([`Program`]). Everything lives in a
//! temporary directory of the test's own, so that tests run side by side and as
//! any user.
//!
//! Nothing here sleeps or polls: the harness waits for events only (the agent's
//! `sd_notify` messages, lines that a child prints, items of a stream, exits),
//! and [`within`] puts one generous limit on each wait, so that a hang is a
//! failure with a name. A failing test shows the agent's log. What a test needs
//! from its machine is asked for with [`can_run`].

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::missing_panics_doc,
    reason = "a harness fails the test that uses it by panicking"
)]

mod agent;
mod binary;
mod cli;
mod envoy;
pub mod hosts;
mod interop;
mod notify;
mod peer;
mod program;
mod requirement;
mod setup;
pub mod spire_reference;
mod workload;
mod workload_api;

pub use agent::{Agent, Stopped};
pub use binary::{command, symbolon};
pub use cli::Output;
pub use envoy::Envoy;
pub use interop::{Client, python_program};
pub use peer::{Judgement, Peer};
pub use program::Program;
pub use requirement::{SOMEBODY_ELSE, can_run, has_tool, is_root, number_of};
pub use setup::{AUDIENCE, Setup, TRUST_DOMAIN};
pub use workload::Workload;
pub use workload_api::{
    AddHeader, CredentialsApi, WorkloadApi, channel, credentials_api, try_workload_api_at,
    workload_api, workload_api_at,
};

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// How long a test waits for any one event. Far more than it takes, even on a
/// busy machine of two cores with a JVM starting beside it.
const PATIENCE: Duration = Duration::from_secs(60);

/// What `event` brings; a failure that names it where it does not come.
pub fn within<'a, T: 'a>(
    what: &'a str,
    event: impl Future<Output = T> + 'a,
) -> Pin<Box<dyn Future<Output = T> + 'a>> {
    Box::pin(async move {
        match tokio::time::timeout(PATIENCE, event).await {
            Ok(value) => value,
            Err(_) => panic!("{what} did not happen within {PATIENCE:?}"),
        }
    })
}
