//! What the benchmark's own binary does when it runs as a workload.
//!
//! `caller.rs` says what the jobs are and which lines they print; the program in
//! `tests/benches/go` does the same with grpc-go.

use crate::{caller::Job, flood, peer};
use futures_util::{StreamExt as _, future::join_all, stream};
use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    time::{ClockId, clock_gettime},
};
use std::{
    path::Path,
    time::{Duration, Instant},
};
use symbolon_proto::workload::{
    JwtsvidRequest, ValidateJwtsvidRequest, X509svidRequest, X509svidResponse,
};
use symbolon_tests::{AUDIENCE, WorkloadApi, workload_api_at};
use tonic::Streaming;

/// Calls that are made before those that count.
const WARM_UP: usize = 200;

/// Fresh connections that warm a process up which may be measured once only.
const WARM_UP_FIRST: usize = 20;

/// Connections that are opened at the same time: so few that each is found where the table of
/// descriptors ends, however long that has become.
const OPENING: usize = 4;

/// Connections of the job `load`.
const LOAD_CONNECTIONS: usize = 64;

/// How long the job `load` calls.
const LOAD_TIME: Duration = Duration::from_secs(5);

/// Does `job` on `socket`. A job that can be done once only is rehearsed on `rehearsal`.
pub(crate) async fn run(job: Job, socket: &Path, number: usize, rehearsal: &Path) {
    match job {
        Job::First => {
            for _ in 0..WARM_UP_FIRST {
                fresh(rehearsal).await;
            }
            print(fresh(socket).await);
        }
        Job::Fresh => {
            for _ in 0..WARM_UP {
                fresh(socket).await;
            }
            for _ in 0..number {
                print(fresh(socket).await);
            }
        }
        Job::Jwt | Job::Validate => kept(job, socket, number).await,
        Job::Load => load(socket).await,
        Job::Token => {
            for turn in 0..WARM_UP + number {
                let time = fresh_token(socket).await;
                if turn >= WARM_UP {
                    print(time);
                }
            }
        }
        Job::Peer => peer::play(socket, number),
        Job::Flood => flood::call(socket).await,
        Job::Storm => flood::connect(socket),
        Job::Hold => hold(socket, number).await,
    }
}

fn print(time: Duration) {
    println!("{}", time.as_nanos());
}

/// Connects, and takes the first answer of a stream.
async fn fresh(socket: &Path) -> Duration {
    let begun = Instant::now();
    let mut api = workload_api_at(socket).await;
    let _stream = open(&mut api).await;
    begun.elapsed()
}

/// Connects, and takes a JWT-SVID.
async fn fresh_token(socket: &Path) -> Duration {
    let begun = Instant::now();
    let mut api = workload_api_at(socket).await;
    fetch_jwt(&mut api).await;
    begun.elapsed()
}

async fn open(api: &mut WorkloadApi) -> Streaming<X509svidResponse> {
    let answer = api.fetch_x509svid(X509svidRequest {}).await;
    let mut stream = answer.expect("an answer").into_inner();
    let first = stream.message().await.expect("a message");
    assert!(first.is_some_and(|first| !first.svids.is_empty()));
    stream
}

/// A call for a JWT-SVID.
pub(crate) fn jwt_request() -> JwtsvidRequest {
    JwtsvidRequest {
        audience: vec![AUDIENCE.to_owned()],
        spiffe_id: String::new(),
    }
}

async fn fetch_jwt(api: &mut WorkloadApi) -> String {
    let answer = api.fetch_jwtsvid(jwt_request()).await.expect("an answer");
    answer.into_inner().svids.remove(0).svid
}

async fn validate(api: &mut WorkloadApi, token: &str) {
    let request = ValidateJwtsvidRequest {
        audience: AUDIENCE.to_owned(),
        svid: token.to_owned(),
    };
    let answer = api.validate_jwtsvid(request).await.expect("it holds");
    assert!(!answer.into_inner().spiffe_id.is_empty());
}

async fn kept(job: Job, socket: &Path, number: usize) {
    let mut api = workload_api_at(socket).await;
    let token = fetch_jwt(&mut api).await;
    for turn in 0..WARM_UP + number {
        let begun = Instant::now();
        if job == Job::Jwt {
            fetch_jwt(&mut api).await;
        } else {
            validate(&mut api, &token).await;
        }
        if turn >= WARM_UP {
            print(begun.elapsed());
        }
    }
}

/// Prints how many JWT-SVIDs came in a second.
async fn load(socket: &Path) {
    let mut connections = Vec::new();
    for _ in 0..LOAD_CONNECTIONS {
        connections.push(workload_api_at(socket).await);
    }
    let begun = Instant::now();
    let callers = connections.into_iter().map(|mut api| async move {
        let mut count = 0_u32;
        while begun.elapsed() < LOAD_TIME {
            fetch_jwt(&mut api).await;
            count += 1;
        }
        count
    });
    let count: u32 = join_all(callers).await.into_iter().sum();
    println!("{:.0}", f64::from(count) / begun.elapsed().as_secs_f64());
}

/// Opens streams on connections of their own and prints how long that took; at
/// the end of the last, when the first and the last ended.
async fn hold(socket: &Path, number: usize) {
    raise_open_files();
    let begun = Instant::now();
    let opened = stream::iter(0..number).map(|_| async {
        let mut api = workload_api_at(socket).await;
        let stream = open(&mut api).await;
        (api, stream)
    });
    let mut held: Vec<_> = opened.buffer_unordered(OPENING).collect().await;
    print(begun.elapsed());
    let ends = held.iter_mut().map(|(_api, stream)| async {
        while let Ok(Some(_)) = stream.message().await {}
        monotonic()
    });
    let ends = join_all(ends).await;
    let (first, last) = (ends.iter().min(), ends.iter().max());
    println!(
        "{} {}",
        first.expect("one").as_nanos(),
        last.expect("one").as_nanos()
    );
    // The end of a process would take time from those that have not heard of theirs.
    std::future::pending::<()>().await;
}

/// A time that all processes of this machine share.
pub(crate) fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    now.try_into().expect("it is positive")
}

/// Allows as many open files as this process may have.
pub(crate) fn raise_open_files() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("up to the hard limit");
}
