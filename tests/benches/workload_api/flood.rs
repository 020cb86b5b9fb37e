//! What others notice of a user who calls, or connects, as fast as he can.
//!
//! With the caps that are shipped. Callers, flood and agent share one machine:
//! the same flood at the bare server shows how much of it is the machine's.

use crate::{
    caller::{Caller, Job, nanoseconds},
    options::Options,
    report::{self, Aim, Figure, Row},
    role::{jwt_request, monotonic},
    samples::Samples,
    stage::{self, Bare},
};
use futures_util::future::join_all;
use std::{
    collections::VecDeque,
    io::{ErrorKind, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use symbolon_tests::{Program, Workload, WorkloadApi, can_run, is_root, try_workload_api_at};

/// The user who floods.
const FLOODER: u32 = 64_001;

/// Connections of a flood of calls.
const CONNECTIONS: usize = 32;

/// Calls that it has open on each of them.
const STREAMS: usize = 64;

/// Connections that a flood of connections keeps before it closes the oldest.
const KEPT: usize = 64;

/// Calls that are measured, relative to the samples of first calls. So many fit into the caps.
const MORE: usize = 10;

/// Times that each is measured, in turns.
const ROUNDS: usize = 3;

/// How many times slower others may become.
const AIM: f64 = 2.0;

/// What a client says first, with no settings: RFC 9113, section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// What a flooder got done.
static DONE: AtomicU64 = AtomicU64::new(0);

/// What was refused to it.
static REFUSED: AtomicU64 = AtomicU64::new(0);

pub(crate) async fn measure(options: &Options, caller: &Caller, bare: &Bare) {
    if !can_run("the part flood", is_root(), "run it as root") {
        return;
    }
    let agent = stage::capped_agent().await;
    stage::register_by_uid(&agent).await;
    agent
        .register("flood", &[format!("unix:uid:{FLOODER}")])
        .await;
    // Where the flooder can reach it.
    let program = Program::at(caller.program()).copy_to(agent.setup().directory(), "caller");
    let site = Site {
        calls: options.samples * MORE / ROUNDS,
        caller,
        flooder: Caller::rust(program.path(), &bare.socket()),
        agent: agent.setup().workload_socket(),
        bare: bare.socket(),
    };
    for (call, what) in [(Job::Jwt, "kept"), (Job::Token, "new")] {
        for (flood, of) in [(Job::Flood, "calls"), (Job::Storm, "new connections")] {
            let name = format!("JWT-SVID, {what} connection");
            let rows = site.times(call, flood).await.rows(&name);
            report::print(
                &format!("Flood of {of} by another user, audit synced"),
                &rows,
            );
        }
    }
}

/// Who calls, who floods, and what.
struct Site<'a> {
    /// Calls in a round.
    calls: usize,
    caller: &'a Caller,
    flooder: Caller,
    agent: PathBuf,
    bare: PathBuf,
}

/// Times of the same call.
#[derive(Default)]
struct Times {
    quiet: Vec<Samples>,
    /// While the bare server is flooded.
    elsewhere: Vec<Samples>,
    flooded: Vec<Samples>,
    /// What the flooders of the agent got done, and what was refused to them.
    rates: [f64; 2],
}

impl Site<'_> {
    /// Quiet and flooded in turns: what else runs on the machine is in both.
    async fn times(&self, call: Job, flood: Job) -> Times {
        let calls = || self.caller.times(call, &self.agent, self.calls);
        let mut times = Times::default();
        for _ in 0..ROUNDS {
            times.quiet.push(calls().await);
            let flooder = Flood::begin(self.flooder.start(flood, &self.bare, 0)).await;
            times.elsewhere.push(calls().await);
            flooder.end().await;
            let flooder = self.flooder.start_as(FLOODER, flood, &self.agent, 0);
            let flooder = Flood::begin(flooder).await;
            times.flooded.push(calls().await);
            for (sum, rate) in std::iter::zip(&mut times.rates, flooder.end().await) {
                *sum += rate / ROUNDS as f64;
            }
        }
        times
    }
}

impl Times {
    fn rows(self, name: &str) -> Vec<Row> {
        let [quiet, elsewhere, flooded] =
            [self.quiet, self.elsewhere, self.flooded].map(Samples::together);
        let [answered, refused] = self.rates.map(Figure::Rate);
        let mut rows = vec![Row::of(format!("{name}: quiet"), &quiet)];
        rows.extend(beside(
            &quiet,
            "  at the bare server",
            &elsewhere,
            Aim::None,
        ));
        rows.extend(beside(&quiet, "  at the agent", &flooded, Aim::Ratio(AIM)));
        rows.push(Row::new("  answered to it in a second", answered));
        rows.push(Row::new("  refused to it in a second", refused));
        rows
    }
}

/// Median and 99th percentile, each beside its quiet value.
fn beside(quiet: &Samples, name: &str, samples: &Samples, aim: Aim) -> [Row; 2] {
    let row = |of: &str, time: fn(&Samples) -> Duration| {
        Row::new(format!("{name}, {of}"), Figure::Time(time(samples)))
            .floor(Figure::Time(time(quiet)))
            .aim(aim)
    };
    [row("p50", Samples::p50), row("p99", Samples::p99)]
}

/// A flood under way.
struct Flood {
    flooder: Workload,
    begun: Tally,
}

/// What a flooder has done at a time.
struct Tally {
    at: Duration,
    counts: [f64; 2],
}

impl Flood {
    /// Waits until it has lasted for a second.
    async fn begin(mut flooder: Workload) -> Self {
        let begun = Tally::next_of(&mut flooder).await;
        Self { flooder, begun }
    }

    /// What was done and what was refused in a second, meanwhile.
    async fn end(mut self) -> [f64; 2] {
        let now = monotonic();
        let ended = loop {
            let tally = Tally::next_of(&mut self.flooder).await;
            if tally.at >= now {
                break tally;
            }
        };
        let seconds = (ended.at - self.begun.at).as_secs_f64();
        [0, 1].map(|which| (ended.counts[which] - self.begun.counts[which]) / seconds)
    }
}

impl Tally {
    async fn next_of(flooder: &mut Workload) -> Self {
        let line = flooder.line().await.expect("it lasts");
        let mut numbers = line.split(' ');
        let mut number = || numbers.next().expect("three numbers");
        Self {
            at: nanoseconds(number()),
            counts: [0; 2].map(|_| number().parse().expect("a count")),
        }
    }
}

/// Prints each second the time and what the flood has done so far, from a thread of its own.
fn tell() {
    std::thread::spawn(|| {
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
            let at = monotonic().as_nanos();
            println!("{at} {} {}", of(&DONE), of(&REFUSED));
        }
    });
}

fn count(worked: bool) {
    let count = if worked { &DONE } else { &REFUSED };
    count.fetch_add(1, Ordering::Relaxed);
}

/// Calls for ever.
pub(crate) async fn call(socket: &Path) {
    tell();
    let mut callers = Vec::new();
    for _ in 0..CONNECTIONS {
        let api = workload_api_when_let_in(socket).await;
        callers.extend(vec![api; STREAMS]);
    }
    let calls = callers.into_iter().map(|mut api| async move {
        loop {
            // Where the agent ends the connection, the next call opens another.
            count(api.fetch_jwtsvid(jwt_request()).await.is_ok());
            tokio::task::yield_now().await;
        }
    });
    let _forever: Vec<()> = join_all(calls).await;
}

/// A connection, once the agent takes one: whoever has connected too often before has to wait.
async fn workload_api_when_let_in(socket: &Path) -> WorkloadApi {
    loop {
        if let Some(api) = try_workload_api_at(socket).await {
            return api;
        }
        count(false);
        tokio::task::yield_now().await;
    }
}

/// Connects for ever.
pub(crate) fn connect(socket: &Path) {
    tell();
    let mut kept = VecDeque::new();
    loop {
        let connected = UnixStream::connect(socket).and_then(|mut connection| {
            connection.set_nonblocking(true)?;
            connection.write_all(PREFACE)?;
            Ok(connection)
        });
        match connected {
            Ok(connection) => kept.push_back(connection),
            Err(_refused) => count(false),
        }
        if kept.len() > KEPT {
            // The server's settings are the first word of one that was let in.
            match kept.pop_front().map(|mut oldest| oldest.read(&mut [0])) {
                Some(Err(error)) if error.kind() == ErrorKind::WouldBlock => {}
                Some(read) => count(read.is_ok_and(|bytes| bytes > 0)),
                None => {}
            }
        }
    }
}
