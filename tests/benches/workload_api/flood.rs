//! What others notice of a user who calls, or connects, as fast as he can.
//!
//! With the caps that are shipped. Callers, flood and agent share one machine:
//! the same flood at the bare server shows how much of it is the machine's.

use crate::{
    caller::{Caller, Job},
    options::Options,
    report::{self, Aim, Figure, Row},
    role::jwt_request,
    samples::Samples,
    stage::{self, Bare},
};
use futures_util::future::join_all;
use std::{
    collections::VecDeque,
    io::Write as _,
    os::unix::net::UnixStream,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};
use symbolon_tests::{Program, Workload, can_run, is_root, workload_api_at};

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
    let flooder = Caller::rust(program.path(), &bare.socket());
    let socket = agent.setup().workload_socket();
    let calls = || caller.times(Job::Jwt, &socket, options.samples * MORE);
    let quiet = calls().await;
    let mut rows = vec![Row::of("JWT-SVID, kept connection, quiet", &quiet)];
    for (job, what) in [(Job::Flood, "calls"), (Job::Storm, "new connections")] {
        let flood = Flood::begin(flooder.start(job, &bare.socket(), 0)).await;
        let elsewhere = calls().await;
        flood.end().await;
        let flood = Flood::begin(flooder.start_as(FLOODER, job, &socket, 0)).await;
        let flooded = calls().await;
        let [done, refused] = flood.end().await;
        let name = |of| format!("the same, {what} flood {of}");
        rows.extend(beside(
            &quiet,
            &name("the bare server"),
            &elsewhere,
            Aim::None,
        ));
        rows.extend(beside(
            &quiet,
            &name("the agent"),
            &flooded,
            Aim::Ratio(AIM),
        ));
        rows.push(Row::new(name("answered in a second"), Figure::Rate(done)));
        rows.push(Row::new(name("refused in a second"), Figure::Rate(refused)));
    }
    report::print("Flood by another user, audit synced", &rows);
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
    begun: Instant,
    before: [f64; 2],
}

impl Flood {
    /// Waits until it has lasted for a second.
    async fn begin(mut flooder: Workload) -> Self {
        let before = counts(&mut flooder).await;
        Self {
            flooder,
            begun: Instant::now(),
            before,
        }
    }

    /// What was done and what was refused in a second, meanwhile.
    async fn end(mut self) -> [f64; 2] {
        let mut seconds = 0.0;
        let mut now = self.before;
        while seconds < self.begun.elapsed().as_secs_f64() {
            now = counts(&mut self.flooder).await;
            seconds += 1.0;
        }
        [0, 1].map(|which| (now[which] - self.before[which]) / seconds)
    }
}

async fn counts(flooder: &mut Workload) -> [f64; 2] {
    let line = flooder.line().await.expect("it lasts");
    let (done, refused) = line.split_once(' ').expect("two counts");
    [done, refused].map(|count| count.parse().expect("a count"))
}

/// Prints each second what the flood has done so far, from a thread of its own.
fn tell() {
    std::thread::spawn(|| {
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
            println!("{} {}", of(&DONE), of(&REFUSED));
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
        let api = workload_api_at(socket).await;
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

/// Connects for ever.
pub(crate) fn connect(socket: &Path) {
    tell();
    let mut kept = VecDeque::new();
    loop {
        let connected = UnixStream::connect(socket).and_then(|mut connection| {
            connection.write_all(PREFACE)?;
            Ok(connection)
        });
        count(connected.is_ok());
        kept.extend(connected);
        if kept.len() > KEPT {
            kept.pop_front();
        }
    }
}
