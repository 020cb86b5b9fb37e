//! A Workload API behind the checks that SPIRE's agent makes; see the module that it runs.
//!
//! Usage: `symbolon-test-spire-reference SOCKET ENTRIES`, with the entries as JSON. It prints
//! `ready` and serves until it is ended.

#![expect(clippy::expect_used, reason = "a test's program fails by panicking")]

use std::path::PathBuf;

use symbolon_tests::spire_reference::{Entries, serve};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut words = std::env::args().skip(1);
    let socket = PathBuf::from(words.next().expect("a socket"));
    let entries = Entries::from_json(&words.next().expect("the entries"));
    serve(&socket, entries).await;
}
