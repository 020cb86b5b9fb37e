//! What a call takes, beside the bare call and the work that cannot be avoided.

use crate::{
    caller::{Caller, Job},
    floor::Floors,
    options::Options,
    report::{self, Aim, Figure, Row},
    samples::Samples,
    stage::{self, Bare, Durability},
};
use std::path::Path;
use symbolon_tests::{Agent, Program};

/// How often JWT-SVIDs are asked for, relative to the samples of first calls.
const MORE: usize = 10;

/// Fewer samples where each hashes a binary.
const FEWER: usize = 5;

/// Calls of each kind.
struct Calls<'a> {
    samples: usize,
    floors: &'a Floors,
    caller: &'a Caller,
    bare: &'a Bare,
    /// An agent whose audit waits for the disk, and one whose audit does not.
    synced: Agent,
    written: Agent,
}

/// The bare server's times.
struct BareTimes {
    /// Of processes that do nothing else: their memory is cold.
    first: Samples,
    fresh: Samples,
    kept: Samples,
}

pub(crate) async fn measure(options: &Options, floors: &Floors, caller: &Caller, bare: &Bare) {
    let agents = (
        stage::agent(Durability::Sync).await,
        stage::agent(Durability::Write).await,
    );
    let calls = Calls {
        samples: options.samples,
        floors,
        caller,
        bare,
        synced: agents.0,
        written: agents.1,
    };
    stage::register_by_digest(&calls.synced, caller).await;
    stage::register_by_digest(&calls.written, caller).await;
    let bare_times = BareTimes {
        first: calls.first_of_processes(&bare.socket()).await,
        fresh: calls.times(Job::Fresh, &bare.socket()).await,
        kept: calls.times(Job::Jwt, &bare.socket()).await,
    };
    report::print("Floors", &calls.floor_rows(&bare_times));
    report::print("Transport", &calls.transport(&bare_times).await);
    report::print("Calls", &calls.rows(&bare_times).await);
}

impl Calls<'_> {
    async fn times(&self, job: Job, socket: &Path) -> Samples {
        self.caller.times(job, socket, self.samples * MORE).await
    }

    async fn first_of_processes(&self, socket: &Path) -> Samples {
        let mut times = Vec::new();
        for _ in 0..self.samples {
            times.push(self.caller.first(socket).await);
        }
        times.into_iter().collect()
    }

    fn floor_rows(&self, bare: &BareTimes) -> Vec<Row> {
        let floors = self.floors;
        let time = |name, time| Row::new(name, Figure::Time(time));
        vec![
            Row::of("bare tonic call, first of a process", &bare.first),
            Row::of("bare tonic call, fresh connection", &bare.fresh),
            Row::of("bare tonic call, kept connection", &bare.kept),
            time("P-256 key and signature", floors.key_and_signature),
            time("P-256 signature", floors.signature),
            time("P-256 verification", floors.verification),
            time("SHA-256 of the caller's binary", floors.digest),
            time("append 600 B and fdatasync", floors.synced_append),
            time("facts of a process from /proc", floors.process_facts),
        ]
    }

    async fn transport(&self, bare: &BareTimes) -> Vec<Row> {
        let guarded = Bare::guarded().await;
        let socket = guarded.socket();
        let row = |name, samples: &Samples, floor: &Samples| {
            Row::of(name, samples).floor(Figure::Time(floor.p50()))
        };
        let fresh = self.times(Job::Fresh, &socket).await;
        let kept = self.times(Job::Jwt, &socket).await;
        vec![
            row(
                "bare call with the frame layer, fresh connection",
                &fresh,
                &bare.fresh,
            ),
            row(
                "bare call with the frame layer, kept connection",
                &kept,
                &bare.kept,
            ),
        ]
    }

    async fn rows(&self, bare: &BareTimes) -> Vec<Row> {
        let mut rows = self.first(bare).await;
        rows.push(self.known(bare).await);
        rows.extend(self.tokens(bare).await);
        rows.extend(self.load().await);
        rows
    }

    /// Processes that no agent has seen, one after the other.
    async fn first(&self, bare: &BareTimes) -> Vec<Row> {
        let (synced, written) = (
            self.synced.setup().workload_socket(),
            self.written.setup().workload_socket(),
        );
        let (mut first_synced, mut first_written) = (Vec::new(), Vec::new());
        for _ in 0..self.samples {
            first_written.push(self.caller.first(&written).await);
            first_synced.push(self.caller.first(&synced).await);
        }
        let mut never_hashed = Vec::new();
        for number in 0..self.samples / FEWER {
            let name = format!("copy-{number}");
            let copy =
                Program::at(self.caller.program()).copy_to(self.written.setup().directory(), &name);
            let copy = Caller::rust(copy.path(), &self.bare.socket());
            never_hashed.push(copy.first(&written).await);
            std::fs::remove_file(copy.program()).expect("the copy");
        }
        let floors = self.floors;
        let floor = bare.first.p50() + floors.process_facts + floors.key_and_signature;
        let row = |name: &str, times: Vec<_>, floor, aim| {
            let row = Row::of(name, &times.into_iter().collect());
            row.floor(Figure::Time(floor)).aim(Aim::Ratio(aim))
        };
        vec![
            row(
                "first X.509-SVID of a process, audit written",
                first_written,
                floor,
                1.5,
            ),
            row(
                "first X.509-SVID of a process, audit synced",
                first_synced,
                floor + floors.synced_append,
                1.5,
            ),
            row(
                "first X.509-SVID, binary never hashed, audit written",
                never_hashed,
                floor + floors.digest,
                1.1,
            ),
        ]
    }

    async fn known(&self, bare: &BareTimes) -> Row {
        let fresh = self
            .times(Job::Fresh, &self.synced.setup().workload_socket())
            .await;
        Row::of("X.509-SVID of a known process, fresh connection", &fresh)
            .floor(Figure::Time(bare.fresh.p50()))
            .aim(Aim::Ratio(1.5))
    }

    async fn tokens(&self, bare: &BareTimes) -> Vec<Row> {
        let (synced, written) = (
            self.synced.setup().workload_socket(),
            self.written.setup().workload_socket(),
        );
        let row = |name, samples: &Samples, work, aim| {
            Row::of(name, samples)
                .floor(Figure::Time(bare.kept.p50() + work))
                .aim(Aim::Ratio(aim))
        };
        let floors = self.floors;
        vec![
            row(
                "JWT-SVID, kept connection, audit written",
                &self.times(Job::Jwt, &written).await,
                floors.signature,
                1.7,
            ),
            row(
                "JWT-SVID, kept connection, audit synced",
                &self.times(Job::Jwt, &synced).await,
                floors.signature + floors.synced_append,
                1.7,
            ),
            row(
                "ValidateJWTSVID, kept connection",
                &self.times(Job::Validate, &synced).await,
                floors.verification,
                1.4,
            ),
        ]
    }

    async fn load(&self) -> Vec<Row> {
        let bare = Figure::Rate(self.caller.load(&self.bare.socket()).await);
        let synced = self
            .caller
            .load(&self.synced.setup().workload_socket())
            .await;
        let written = self
            .caller
            .load(&self.written.setup().workload_socket())
            .await;
        vec![
            Row::new(
                "JWT-SVIDs in a second, 64 connections, audit synced",
                Figure::Rate(synced),
            )
            .floor(bare)
            .aim(Aim::Absolute(Figure::Rate(20_000.0))),
            Row::new(
                "JWT-SVIDs in a second, 64 connections, audit written",
                Figure::Rate(written),
            )
            .floor(bare),
        ]
    }
}
