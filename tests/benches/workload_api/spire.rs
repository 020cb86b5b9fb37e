//! The rows for which there are figures of SPIRE, with the same client library.
//!
//! SPIRE's were taken on a machine of 2 cores (Linux 6.18): agent
//! and server 1.16-dev built from source, one node, a grpc-go client, the same
//! two ways of registration. They are constants here: what was measured
//! elsewhere, at another hour, gives an order of magnitude and no more.

use crate::{
    caller::{Caller, Job},
    options::Options,
    report::{Figure, print_cells},
    samples::Samples,
    stage::{self, Bare, Durability, Held},
};
use std::{path::PathBuf, time::Duration};
use symbolon_tests::{Agent, can_run, has_tool};
use tempfile::TempDir;
use tokio::process::Command;

/// How often calls of a warm process are measured, relative to first calls.
const MORE: usize = 5;

/// Streams that are held for the memory row.
const STREAMS: usize = 2_000;

/// What one agent took, with one way of registration.
struct Column {
    first: Samples,
    fresh: Samples,
    jwt: Samples,
    validate: Samples,
    rate: f64,
    opened: f64,
    memory: f64,
}

/// SPIRE's figure by uid, and by uid and digest.
struct Spire(Figure, Figure);

pub(crate) async fn measure(options: &Options, bare: &Bare) {
    if !can_run(
        "the grpc-go rows",
        has_tool("go"),
        "apt-get install golang-go",
    ) {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let caller = Caller::go(&build(&directory).await);
    let floor = Column::measure(options, &caller, bare.socket(), bare.pid()).await;
    let by_uid = stage::agent(Durability::Sync).await;
    stage::register_by_uid(&by_uid).await;
    let by_uid = Column::of(options, &caller, by_uid).await;
    let by_digest = stage::agent(Durability::Sync).await;
    stage::register_by_digest(&by_digest, &caller).await;
    let by_digest = Column::of(options, &caller, by_digest).await;
    show(&floor, &by_uid, &by_digest);
}

async fn build(directory: &TempDir) -> PathBuf {
    let program = directory.path().join("caller");
    let built = Command::new("go")
        .args(["build", "-trimpath", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/go"))
        .status();
    assert!(built.await.is_ok_and(|status| status.success()), "go build");
    program
}

impl Column {
    async fn of(options: &Options, caller: &Caller, agent: Agent) -> Self {
        Self::measure(
            options,
            caller,
            agent.setup().workload_socket(),
            agent.pid(),
        )
        .await
    }

    async fn measure(options: &Options, caller: &Caller, socket: PathBuf, server: u32) -> Self {
        let mut first = Vec::new();
        for _ in 0..options.samples {
            first.push(caller.first(&socket).await);
        }
        let calls = options.samples * MORE;
        let before = stage::memory(server);
        let held = Held::open(caller, &socket, STREAMS, 1).await;
        let memory = (stage::memory(server) - before) / STREAMS as f64;
        let opened = STREAMS as f64 / held.opened.as_secs_f64();
        drop(held);
        Self {
            first: first.into_iter().collect(),
            fresh: caller.times(Job::Fresh, &socket, calls).await,
            jwt: caller.times(Job::Jwt, &socket, calls).await,
            validate: caller.times(Job::Validate, &socket, calls).await,
            rate: caller.load(&socket).await,
            opened,
            memory,
        }
    }
}

/// The name of a row, how it is taken from a column, and SPIRE's figures.
type Line = (&'static str, fn(&Column) -> Figure, Spire);

fn show(bare: &Column, by_uid: &Column, by_digest: &Column) {
    let headings = [
        "",
        "bare",
        "by uid",
        "SPIRE",
        "better",
        "by digest",
        "SPIRE",
        "better",
    ];
    let cells = |(name, figure, spire): Line| {
        let (uid, digest) = (figure(by_uid), figure(by_digest));
        [
            name.to_owned(),
            figure(bare).to_string(),
            uid.to_string(),
            spire.0.to_string(),
            format!("{:.1} x", spire.0.cost_against(uid)),
            digest.to_string(),
            spire.1.to_string(),
            format!("{:.1} x", spire.1.cost_against(digest)),
        ]
    };
    let rows: Vec<_> = latencies()
        .into_iter()
        .chain(capacities())
        .map(cells)
        .collect();
    let title = "With a grpc-go client, audit synced, beside SPIRE";
    print_cells(title, &headings.map(str::to_owned), &rows);
}

fn latencies() -> Vec<Line> {
    vec![
        (
            "first X.509-SVID, new process, p50",
            |c| Figure::Time(c.first.p50()),
            times(2_100, 12_500),
        ),
        (
            "first X.509-SVID, new process, p99",
            |c| Figure::Time(c.first.p99()),
            times(3_200, 21_000),
        ),
        (
            "new connection, known process, p50",
            |c| Figure::Time(c.fresh.p50()),
            times(1_000, 12_400),
        ),
        (
            "new connection, known process, p99",
            |c| Figure::Time(c.fresh.p99()),
            times(2_300, 15_000),
        ),
        (
            "JWT-SVID, kept connection (SPIRE: from its cache)",
            |c| Figure::Time(c.jwt.p50()),
            times(530, 12_100),
        ),
        (
            "JWT-SVID, kept connection (SPIRE: new audience)",
            |c| Figure::Time(c.jwt.p50()),
            times(1_600, 13_500),
        ),
        (
            "ValidateJWTSVID, kept connection",
            |c| Figure::Time(c.validate.p50()),
            times(880, 12_500),
        ),
    ]
}

fn capacities() -> Vec<Line> {
    vec![
        (
            "JWT-SVIDs in a second (SPIRE: from its cache)",
            |c| Figure::Rate(c.rate),
            rates(5_037.0, 179.0),
        ),
        (
            "JWT-SVIDs in a second (SPIRE: new audience)",
            |c| Figure::Rate(c.rate),
            rates(569.0, 168.0),
        ),
        (
            "streams opened in a second",
            |c| Figure::Rate(c.opened),
            rates(2_400.0, 166.0),
        ),
        (
            "memory of an open stream",
            |c| Figure::Bytes(c.memory),
            Spire(Figure::Bytes(49e3), Figure::Bytes(48e3)),
        ),
    ]
}

/// In microseconds.
const fn times(by_uid: u64, by_digest: u64) -> Spire {
    Spire(
        Figure::Time(Duration::from_micros(by_uid)),
        Figure::Time(Duration::from_micros(by_digest)),
    )
}

const fn rates(by_uid: f64, by_digest: f64) -> Spire {
    Spire(Figure::Rate(by_uid), Figure::Rate(by_digest))
}
