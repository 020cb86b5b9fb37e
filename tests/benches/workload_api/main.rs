//! How fast the real agent is, beside what it could be at best.
//!
//! `cargo bench -p symbolon-tests` starts release builds of the agent and calls
//! them from processes of their own, over real sockets. In the same run it
//! measures the floor of each figure: a bare tonic server that answers with
//! constants, the cryptographic library, the disk and the kernel alone. Machines
//! and hours differ, so the ratio is what counts; the aims are ratios too
//! wherever they can be.
//!
//! Part `spire` does the same with a grpc-go client (`tests/benches/go`) and
//! shows what SPIRE took on a machine of 2 cores with such a client.
//!
//! This binary plays all the parts: without arguments it is the benchmark, and
//! it starts itself as caller ([`role`]) and as bare server ([`stub`]).

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a benchmark prints, looks at the clock, and ends with the first surprise"
)]

mod attestation;
mod audit;
mod caller;
mod calls;
mod flood;
mod floor;
mod options;
mod peer;
mod registrations;
mod report;
mod role;
mod samples;
mod spire;
mod stage;
mod streams;
mod stub;
mod system_calls;

use caller::{Caller, Job};
use floor::Floors;
use options::{Options, Part};
use stage::Bare;
use std::{path::Path, process::ExitCode};

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        [caller::ROLE, job, socket, number, rehearsal] => {
            let job = Job::named(job).expect("a job");
            let number = number.parse().expect("a number");
            let rehearsal = Path::new(rehearsal);
            runtime.block_on(role::run(job, Path::new(socket), number, rehearsal));
        }
        [stage::BARE_ROLE, kind, socket] => runtime.block_on(Bare::run(kind, Path::new(socket))),
        _ => match Options::read(arguments.into_iter()) {
            Ok(options) => runtime.block_on(benchmark(&options)),
            Err(message) => {
                println!("{message}");
                return ExitCode::FAILURE;
            }
        },
    }
    ExitCode::SUCCESS
}

async fn benchmark(options: &Options) {
    role::raise_open_files();
    let program = std::env::current_exe().expect("this binary");
    let bare = Bare::stock().await;
    let caller = Caller::rust(&program, &bare.socket());
    let directory = tempfile::tempdir().expect("a directory");
    let floors = Floors::measure(&program, directory.path());
    if options.has(Part::Calls) {
        calls::measure(options, &floors, &caller, &bare).await;
    }
    if options.has(Part::Attestation) {
        attestation::measure(options, &floors, &caller).await;
    }
    if options.has(Part::Flood) {
        flood::measure(options, &caller, &bare).await;
    }
    if options.has(Part::Streams) {
        streams::measure(options, &caller).await;
    }
    if options.has(Part::Registrations) {
        registrations::measure(options).await;
    }
    if options.has(Part::Audit) {
        audit::measure(options).await;
    }
    if options.has(Part::Spire) {
        spire::measure(options, &bare).await;
    }
}
