//! One connection: frame layer, HTTP/2, and the caller in each request.
//!
//! A connection ends when its peer closes it, when its caller is over, when the
//! agent stops, or when it makes no call for too long after it was opened. The
//! peer is told (GOAWAY) and has a moment to finish; one on which nothing was
//! ever called, such as one that does not even begin to speak HTTP/2, is given
//! no more than that moment.

use super::{
    activity::Activity, health::until_true, lane::LaneEntry, lanes::InPortions,
    open_call::OpenCall, patience::Patient,
};
use crate::transport::{Accepted, Course, Http2Guard, Question, TransportLimits};
use hyper::{body::Incoming, server::conn::http2::Builder};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    fmt::Debug,
    future::{Future, ready},
    os::fd::BorrowedFd,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use symbolon_syscalls::peer_credentials;
use tokio::{
    net::UnixStream,
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use tonic::{Status, body::Body};

/// Largest header list that is decoded, in bytes: gRPC calls here carry a few
/// hundred.
const MAX_HEADER_LIST: u32 = 16 * 1024;

/// HTTP/2 flow-control window of a connection and of a stream, in bytes:
/// requests here are small.
const RECEIVE_WINDOW: u32 = 64 * 1024;

/// What is buffered for a slow reader of one stream, in bytes.
const SEND_BUFFER: usize = 64 * 1024;

/// How long a call that is refused waits for its answer at least: so fast can a
/// peer ask again that has no right to.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// How much longer one waits than the one refused before: those who are refused
/// together must not come again together.
const REFUSED_STEP: Duration = Duration::from_millis(1);

/// After so many steps it begins anew.
const REFUSED_STEPS: u8 = 100;

/// Calls that are refused on one connection before it ends.
const MAX_REFUSED: usize = 1024;

/// How long the peer of a connection that ends has to take leave, where no call
/// was made or its caller is over.
const LEAVE: Duration = Duration::from_secs(1);

/// Who takes turns with others: a user, and within his turns one of his cgroups.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Whose {
    /// The user.
    pub uid: u32,
    /// The cgroup, by its ID; none where it is unknown, or everybody's.
    pub cgroup: Option<u64>,
}

/// Who calls, as each request carries it.
pub trait Caller: Clone + Debug + Send + Sync + 'static {
    /// Taken by each call until its answer has ended.
    type Place: Send + 'static;

    /// Takes a place for a call.
    ///
    /// # Errors
    /// Where a cap is reached.
    fn enter(&self) -> Result<Self::Place, Refused>;

    /// What the connection's peer has to answer, once; `None` where nobody has
    /// to, and the bytes may be anybody's.
    fn question(&self) -> Option<Question> {
        None
    }

    /// Where to tell that the peer has closed the connection.
    fn course(&self) -> Option<watch::Sender<Course>> {
        None
    }

    /// With whom it takes turns.
    fn whose(&self) -> Whose;

    /// Resolves when the caller is over: its connections end.
    fn ended(&self) -> impl Future<Output = ()> + Send;

    /// Takes note that the connection has ended.
    fn left(&self) -> impl Future<Output = ()> + Send {
        ready(())
    }
}

/// Decides about a connection before a byte of it is read.
pub trait Admit: Send + Sync + 'static {
    /// Who calls; found in the extensions of each request.
    type Caller: Caller;

    /// Whose connection this is, as far as that decides whose turn it is. Done at once, before
    /// anything else is looked at, and outside of the runtime.
    ///
    /// # Errors
    /// Where it is plain already that this user may not connect now.
    fn knock(&self, socket: BorrowedFd<'_>) -> Result<u32, Refused> {
        // Who cannot be named is refused when its turn comes.
        Ok(peer_credentials(socket).map_or(u32::MAX, |peer| peer.uid))
    }

    /// Pins the peer of `socket`.
    ///
    /// # Errors
    /// Where the peer cannot be pinned, may not connect, or a cap is reached.
    fn admit(&self, socket: &UnixStream) -> Result<Self::Caller, Refused>;

    /// Takes note of a refusal, from any thread; the next connection waits for that.
    fn refused(&self, why: &Refused);
}

/// Why a connection was closed at once.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The peer has exited or lives in a foreign PID namespace.
    #[error("the peer cannot be pinned: {0}")]
    Pin(#[from] symbolon_attestors::PinError),
    /// The peer may not use this socket.
    #[error("{0}")]
    Forbidden(String),
    /// A cap is reached.
    #[error("too many {0}")]
    Overloaded(&'static str),
    /// What the peer is cannot be read, or it is gone.
    #[error("the peer cannot be looked at: {0}")]
    Unseen(#[from] symbolon_attestors::AttestError),
    /// The system has no randomness.
    #[error("no randomness")]
    NoRandomness,
    /// The agent is stopping.
    #[error("not serving")]
    NotServing,
}

/// A gRPC service, or several behind a dispatcher.
pub trait GrpcService:
    tower::Service<
        http::Request<Body>,
        Response = http::Response<Body>,
        Error = Infallible,
        Future: Send,
    > + Clone
    + Send
    + Sync
    + 'static
{
}

impl<T> GrpcService for T where
    T: tower::Service<
            http::Request<Body>,
            Response = http::Response<Body>,
            Error = Infallible,
            Future: Send,
        > + Clone
        + Send
        + Sync
        + 'static
{
}

/// Caps of one connection.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// Streams open at the same time.
    pub max_concurrent_streams: u32,
}

/// The answer to a call of a service that is not here.
#[must_use]
pub(super) fn unimplemented() -> http::Response<Body> {
    Status::unimplemented("no such service or method").into_http()
}

/// Serves one connection until it ends, or until `shutdown` and the last
/// stream's end; its calls run in `lane`.
pub(super) async fn run<C: Caller, S: GrpcService>(
    socket: UnixStream,
    caller: C,
    service: S,
    limits: HttpLimits,
    shutdown: watch::Receiver<bool>,
    lane: LaneEntry,
) {
    attend(socket, caller.clone(), service, limits, shutdown, lane).await;
    caller.left().await;
}

fn guarded(socket: UnixStream, caller: &impl Caller, lane: &LaneEntry) -> Http2Guard<Accepted> {
    let question = caller.question();
    let socket = Accepted::new(socket, question.is_some());
    let limits = TransportLimits::default();
    let guard = match question {
        Some(question) => Http2Guard::asking(socket, limits, question),
        None => Http2Guard::new(socket, limits),
    };
    let lane = lane.clone();
    let guard = guard.pausing(move || lane.is_slice_over());
    guard.telling(caller.course())
}

async fn attend<C: Caller, S: GrpcService>(
    socket: UnixStream,
    caller: C,
    service: S,
    limits: HttpLimits,
    shutdown: watch::Receiver<bool>,
    lane: LaneEntry,
) {
    let guarded = guarded(socket, &caller, &lane);
    let visit = Arc::new(Visit {
        caller: caller.clone(),
        activity: Activity::begin(),
        refused: AtomicUsize::new(0),
        outstayed: Notify::new(),
    });
    let handler = {
        let (visit, stopped) = (Arc::clone(&visit), shutdown.clone());
        hyper::service::service_fn(move |request: http::Request<Incoming>| {
            call(
                service.clone(),
                Arc::clone(&visit),
                stopped.clone(),
                request,
            )
        })
    };
    let io = InPortions::new(Patient::new(guarded), lane.clone());
    let serving = builder(limits, lane).serve_connection(TokioIo::new(io), handler);
    let mut connection = pin!(serving);
    let patient = tokio::select! {
        ended = connection.as_mut() => return note_end(ended),
        () = until_true(shutdown) => true,
        () = caller.ended() => false,
        () = visit.outstayed.notified() => false,
        () = visit.activity.rested() => true,
    };
    connection.as_mut().graceful_shutdown();
    match timeout(LEAVE, connection.as_mut()).await {
        Ok(ended) => note_end(ended),
        Err(_late) if patient && visit.activity.has_called() => tokio::select! {
            ended = connection => note_end(ended),
            () = caller.ended() => {}
            () = visit.outstayed.notified() => {}
        },
        Err(_late) => tracing::debug!("connection cut"),
    }
}

fn builder(limits: HttpLimits, lane: LaneEntry) -> Builder<LaneEntry> {
    let mut builder = Builder::new(lane);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_concurrent_streams)
        .max_header_list_size(MAX_HEADER_LIST)
        .initial_connection_window_size(RECEIVE_WINDOW)
        .initial_stream_window_size(RECEIVE_WINDOW)
        .max_send_buf_size(SEND_BUFFER);
    builder
}

fn note_end(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// A connection while it lasts.
struct Visit<C> {
    caller: C,
    activity: Activity,
    refused: AtomicUsize,
    /// Told when too many calls were refused.
    outstayed: Notify,
}

impl<C> Visit<C> {
    /// The answer to a call that a cap refuses, after a pause.
    async fn refuse(&self, why: &Refused) -> http::Response<Body> {
        let before = self.refused.fetch_add(1, Ordering::Relaxed);
        if before >= MAX_REFUSED {
            self.outstayed.notify_one();
        }
        sleep(pause_after(before)).await;
        Status::unavailable(why.to_string()).into_http()
    }
}

/// How long a call waits for its refusal where so many were refused before.
fn pause_after(before: usize) -> Duration {
    let step = before % usize::from(REFUSED_STEPS);
    REFUSED_PAUSE + REFUSED_STEP * u32::try_from(step).unwrap_or_default()
}

async fn call<C: Caller, S: GrpcService>(
    mut service: S,
    visit: Arc<Visit<C>>,
    stopped: watch::Receiver<bool>,
    request: http::Request<Incoming>,
) -> Result<http::Response<Body>, Infallible> {
    let open = visit.activity.call();
    let place = match visit.caller.enter() {
        Ok(place) => place,
        Err(refused) => return Ok(visit.refuse(&refused).await),
    };
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(visit.caller.whose());
    request.extensions_mut().insert(visit.caller.clone());
    // The generated services are always ready.
    let response = service.call(request).await?;
    Ok(response.map(|body| Body::new(OpenCall::new(body, stopped, (place, open)))))
}

#[cfg(test)]
mod tests {
    use super::{REFUSED_PAUSE, pause_after};
    use std::collections::BTreeSet;

    #[test]
    fn calls_that_are_refused_together_are_answered_one_by_one() {
        let pauses: BTreeSet<_> = (0..64).map(pause_after).collect();
        assert_eq!(pauses.len(), 64);
        assert!(
            pauses
                .iter()
                .all(|pause| (REFUSED_PAUSE..2 * REFUSED_PAUSE).contains(pause))
        );
        assert_eq!(pause_after(usize::MAX - usize::MAX % 100), REFUSED_PAUSE);
    }
}
