//! What the proofs of a connection and the attestors add.
//!
//! First in this process, against processes that it starts; then at the real
//! agent, with and without each proof.

use crate::{
    caller::{Caller, Job},
    floor::Floors,
    options::Options,
    peer::Peer,
    report::{self, Aim, Figure, Row},
    samples::Samples,
    stage::{self, Durability},
    system_calls::SystemCalls,
};
use std::{
    hint::black_box,
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use symbolon_attestors::{
    Attestation, Attestor, AttestorConfig, Held, Kind, Kinds, PinnedPeer, SYSTEM_BUS, Stamp,
};
use symbolon_tests::{Agent, Program, can_run};
use tempfile::TempDir;

/// How often what takes microseconds is measured, relative to the samples of first calls.
const MORE: usize = 10;

/// Fewer samples where each starts a process, or searches all descriptors.
const FEWER: usize = 5;

/// Descriptors of a peer beside those of every process: with the fewest, the first look tries the
/// connection's number among the lowest ones; with the others, the whole table is searched.
const DESCRIPTORS: [usize; 3] = [3, 50, 1_000];

/// Where container runtimes listen.
const RUNTIMES: [&str; 3] = [
    "/run/docker.sock",
    "/run/podman/podman.sock",
    "/run/containerd/containerd.sock",
];

/// The attestor in this process.
struct Bench<'a> {
    samples: usize,
    floors: &'a Floors,
    caller: &'a Caller,
    directory: TempDir,
    attestor: Attestor,
}

pub(crate) async fn measure(options: &Options, floors: &Floors, caller: &Caller) {
    let bench = Bench {
        samples: options.samples,
        floors,
        caller,
        directory: tempfile::tempdir().expect("a directory"),
        attestor: attestor(),
    };
    let peer = bench.peer(DESCRIPTORS[0]).await;
    let calls = SystemCalls::measure(&peer);
    let mut rows = calls.rows();
    rows.push(Row::new(
        "facts of a process from /proc",
        Figure::Time(floors.process_facts),
    ));
    rows.push(Row::new(
        "SHA-256 of the peer's binary",
        Figure::Time(floors.digest),
    ));
    report::print("Attestation: floors", &rows);
    let mut rows = bench.proofs(&peer, &calls);
    for descriptors in DESCRIPTORS {
        rows.extend(bench.held(descriptors, &calls).await);
    }
    report::print("Attestation: proofs", &rows);
    report::print("Attestation: attestors", &bench.attestors(&peer).await);
    let rows = end_to_end(options.samples, caller).await;
    report::print("Attestation: end to end, audit written", &rows);
}

fn attestor() -> Attestor {
    Attestor::new(AttestorConfig::default()).expect("an attestor")
}

fn row(name: impl Into<String>, samples: &Samples, floor: Duration) -> Row {
    Row::of(name, samples).floor(Figure::Time(floor))
}

impl Bench<'_> {
    async fn peer(&self, descriptors: usize) -> Peer {
        Peer::start(self.caller, self.directory.path(), descriptors).await
    }

    fn proofs(&self, peer: &Peer, calls: &SystemCalls) -> Vec<Row> {
        let (attestor, count) = (&self.attestor, self.samples * MORE);
        let pinned = peer.pin(attestor);
        let image = attestor.look(&pinned).expect("an image");
        let looked = Samples::of(count, || {
            black_box(attestor.look(&pinned).expect("an image"));
        });
        let unchanged = Samples::of(count, || {
            attestor.unchanged(&pinned, &image).expect("as before");
        });
        let ends = Samples::of(count, || {
            black_box(attestor.peer_end(peer.socket(), &pinned).expect("an end"));
        });
        let stamps = Samples::of(count, || {
            assert_eq!(attestor.stamp(&pinned), Stamp::Trusted);
        });
        vec![
            row("look", &looked, calls.look()),
            row("unchanged", &unchanged, calls.look()),
            row("peer_end", &ends, calls.netlink),
            Row::of("stamp", &stamps),
        ]
    }

    /// The search for a connection in the midst of so many descriptors, and a look where it was.
    async fn held(&self, descriptors: usize, calls: &SystemCalls) -> [Row; 2] {
        let peer = self.peer(descriptors).await;
        let searched = (0..self.samples / FEWER).map(|_| {
            // With a budget of its own: what one user may have searched is soon spent.
            let attestor = attestor();
            let pinned = peer.pin(&attestor);
            let end = attestor.peer_end(peer.socket(), &pinned).expect("an end");
            let begun = Instant::now();
            assert_eq!(attestor.held(&pinned, &end), Held::CloseOnExec);
            begun.elapsed()
        });
        let searched: Samples = searched.collect();
        let attestor = &self.attestor;
        let pinned = peer.pin(attestor);
        let end = attestor.peer_end(peer.socket(), &pinned).expect("an end");
        let remembered = Samples::of(self.samples * MORE, || {
            assert_eq!(attestor.held(&pinned, &end), Held::CloseOnExec);
        });
        let name = |how| format!("held, {descriptors} descriptors, {how}");
        [
            row(name("first look"), &searched, calls.readlink),
            row(name("remembered"), &remembered, calls.readlink),
        ]
    }

    async fn attestors(&self, peer: &Peer) -> Vec<Row> {
        let pinned = peer.pin(&self.attestor);
        // From here on its digest is known.
        attest(&self.attestor, &pinned, Kinds::NONE).await;
        let warm = self.times(&pinned, Kinds::NONE).await;
        let floors = self.floors;
        let mut rows = vec![
            row(
                "unix and cgroup, digest to be hashed",
                &self.cold().await,
                floors.process_facts + floors.digest,
            ),
            row("unix and cgroup, digest known", &warm, floors.process_facts)
                // Nothing was hashed: that alone takes many times as long.
                .aim(Aim::Absolute(Figure::Time(floors.digest / 4))),
        ];
        for kind in Kind::ALL {
            if can_ask(kind) {
                let times = self.times(&pinned, Kinds::NONE.with(kind)).await;
                rows.push(row(format!("the same and {kind}"), &times, warm.p50()));
            }
        }
        rows
    }

    /// Attestations of processes whose binary nobody has hashed.
    async fn cold(&self) -> Samples {
        let mut times = Vec::new();
        for number in 0..self.samples / FEWER {
            let program = Program::at(self.caller.program());
            let copy = program.copy_to(self.directory.path(), &format!("copy-{number}"));
            let caller = Caller::rust(copy.path(), Path::new("unused"));
            let peer = Peer::start(&caller, self.directory.path(), 0).await;
            let pinned = peer.pin(&self.attestor);
            times.push(attest(&self.attestor, &pinned, Kinds::NONE).await);
            std::fs::remove_file(copy.path()).expect("the copy");
        }
        times.into_iter().collect()
    }

    async fn times(&self, peer: &Arc<PinnedPeer>, kinds: Kinds) -> Samples {
        let mut times = Vec::new();
        attest(&self.attestor, peer, kinds).await;
        for _ in 0..self.samples {
            times.push(attest(&self.attestor, peer, kinds).await);
        }
        times.into_iter().collect()
    }
}

/// How long the attestation of a process takes whose image is known.
async fn attest(attestor: &Attestor, peer: &Arc<PinnedPeer>, kinds: Kinds) -> Duration {
    let image = attestor.look(peer).expect("an image");
    let begun = Instant::now();
    let attested = attestor
        .attest(peer, &image, kinds, SystemTime::now())
        .await;
    let time = begun.elapsed();
    let digest = attested.as_ref().map(Attestation::executable_sha256);
    assert!(matches!(digest, Ok(Some(_))), "{attested:?}");
    time
}

/// Whether somebody is there whom that attestor asks.
fn can_ask(kind: Kind) -> bool {
    match kind {
        Kind::Code | Kind::Process => true,
        Kind::Systemd => can_run(
            "the row of systemd",
            Path::new(SYSTEM_BUS).exists(),
            "boot the machine with systemd and dbus",
        ),
        Kind::Container => can_run(
            "the row of container",
            RUNTIMES.iter().any(|socket| Path::new(socket).exists()),
            "start a container runtime",
        ),
    }
}

/// What is demanded of a connection, from nothing that this part measures to all of it.
const WAYS: [(&str, &[&str]); 4] = [
    ("neither", &["pidfd"]),
    ("held", &["pidfd", "held-or-inheritable"]),
    ("answered", &["pidfd", "answered"]),
    ("both", &["pidfd", "held-or-inheritable", "answered"]),
];

/// The same calls with and without each proof.
async fn end_to_end(samples: usize, caller: &Caller) -> Vec<Row> {
    let mut agents = Vec::new();
    for (_, proofs) in WAYS {
        let agent = stage::agent_requiring(Durability::Write, proofs).await;
        stage::register_by_digest(&agent, caller).await;
        agents.push(agent);
    }
    let socket = |agent: &Agent| agent.setup().workload_socket();
    let mut first = vec![Vec::new(); agents.len()];
    // In turns: what else the machine does meanwhile is in all of them.
    for _ in 0..samples {
        for (agent, times) in std::iter::zip(&agents, &mut first) {
            times.push(caller.first(&socket(agent)).await);
        }
    }
    let first = first.into_iter().map(|times| times.into_iter().collect());
    let mut rows = compared("first X.509-SVID of a process", first.collect());
    let mut tokens = Vec::new();
    for agent in &agents {
        tokens.push(
            caller
                .times(Job::Token, &socket(agent), samples * MORE)
                .await,
        );
    }
    let what = "JWT-SVID of a known process, fresh connection";
    rows.extend(compared(what, tokens));
    rows
}

/// A row for each of [`WAYS`], held against the first.
fn compared(what: &str, times: Vec<Samples>) -> Vec<Row> {
    let floor = times[0].p50();
    let rows = std::iter::zip(WAYS, &times).map(|((proof, _), times)| {
        let demanded = format!("{what}, demanded: {proof}");
        row(demanded, times, floor)
    });
    rows.collect()
}
