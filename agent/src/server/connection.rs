//! One connection: frame layer, HTTP/2, and the caller in each request.
//!
//! A connection ends when its peer closes it, when its caller is over, when the
//! agent stops, or when it makes no call for too long after it was opened. The
//! peer is told (GOAWAY) and has a moment to finish; one on which nothing was
//! ever called, such as one that does not even begin to speak HTTP/2, is given
//! no more than that moment.

use super::{health::until_true, open_call::OpenCall};
use crate::transport::{Http2Guard, TransportLimits};
use hyper::{body::Incoming, server::conn::http2::Builder};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    fmt::Debug,
    future::{Future, pending},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::UnixStream,
    sync::watch,
    time::{sleep, timeout},
};
use tonic::{Status, body::Body};

/// How long to wait after a failed `accept`: long enough not to spin while the
/// descriptor table is full.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Largest header list that is decoded, in bytes: gRPC calls here carry a few
/// hundred.
const MAX_HEADER_LIST: u32 = 16 * 1024;

/// HTTP/2 flow-control window of a connection and of a stream, in bytes:
/// requests here are small.
const RECEIVE_WINDOW: u32 = 64 * 1024;

/// What is buffered for a slow reader of one stream, in bytes.
const SEND_BUFFER: usize = 64 * 1024;

/// How long after it was opened a connection must have made a call: clients
/// open one to call at once, and whoever only wants to hold a place does not.
const FIRST_CALL: Duration = Duration::from_secs(10);

/// How long the peer of a connection that ends has to take leave, where no call
/// was made or its caller is over.
const LEAVE: Duration = Duration::from_secs(1);

/// Who calls, as each request carries it.
pub trait Caller: Clone + Debug + Send + Sync + 'static {
    /// Taken by each call until its answer has ended.
    type Place: Send + 'static;

    /// Takes a place for a call.
    ///
    /// # Errors
    /// Where a cap is reached.
    fn enter(&self) -> Result<Self::Place, Refused>;

    /// Resolves when the caller is over: its connections end.
    fn ended(&self) -> impl Future<Output = ()> + Send;
}

/// Decides about a connection before a byte of it is read.
pub trait Admit: Send + Sync + 'static {
    /// Who calls; found in the extensions of each request.
    type Caller: Caller;

    /// Pins the peer of `socket`.
    ///
    /// # Errors
    /// Where the peer cannot be pinned, may not connect, or a cap is reached.
    fn admit(&self, socket: &UnixStream) -> Result<Self::Caller, Refused>;

    /// Takes note of a refusal; the next connection waits for that.
    fn refused(&self, why: &Refused) -> impl Future<Output = ()> + Send;
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
/// stream's end.
pub(super) async fn run<C: Caller, S: GrpcService>(
    socket: UnixStream,
    caller: C,
    service: S,
    limits: HttpLimits,
    shutdown: watch::Receiver<bool>,
) {
    let io = TokioIo::new(Http2Guard::new(socket, TransportLimits::default()));
    let called = Arc::new(AtomicBool::new(false));
    let handler = {
        let (caller, stopped) = (caller.clone(), shutdown.clone());
        let called = Arc::clone(&called);
        hyper::service::service_fn(move |request: http::Request<Incoming>| {
            called.store(true, Ordering::Relaxed);
            call(service.clone(), caller.clone(), stopped.clone(), request)
        })
    };
    let called = move || called.load(Ordering::Relaxed);
    let mut connection = pin!(builder(limits).serve_connection(io, handler));
    let patient = tokio::select! {
        ended = connection.as_mut() => return note_end(ended),
        () = until_true(shutdown) => true,
        () = caller.ended() => false,
        () = silence(&called) => true,
    };
    connection.as_mut().graceful_shutdown();
    match timeout(LEAVE, connection.as_mut()).await {
        Ok(ended) => note_end(ended),
        Err(_late) if patient && called() => note_end(connection.await),
        Err(_late) => tracing::debug!("connection cut"),
    }
}

fn builder(limits: HttpLimits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
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

/// Resolves if no call is made in time.
async fn silence(called: impl Fn() -> bool) {
    sleep(FIRST_CALL).await;
    if called() {
        pending::<()>().await;
    }
}

async fn call<C: Caller, S: GrpcService>(
    mut service: S,
    caller: C,
    stopped: watch::Receiver<bool>,
    request: http::Request<Incoming>,
) -> Result<http::Response<Body>, Infallible> {
    let place = match caller.enter() {
        Ok(place) => place,
        Err(refused) => return Ok(Status::unavailable(refused.to_string()).into_http()),
    };
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(caller);
    // The generated services are always ready.
    let response = service.call(request).await?;
    Ok(response.map(|body| Body::new(OpenCall::new(body, stopped, place))))
}
