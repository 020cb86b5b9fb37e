//! Connections of the identity port.
//!
//! Whatever a peer does or leaves undone ends within a minute: the handshake, the head
//! of a request and the whole connection have deadlines. A peer that has its share
//! of connections is refused at once; where all places are taken, newcomers wait
//! in the kernel's queue until one of those deadlines makes room.

use super::{
    Pages, PlaceLimits,
    places::{Place, Places},
};
use crate::{server::until_true, supervisor::Supervisor, telemetry::IdentityMetrics};
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    rt::Executor,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use std::{
    convert::Infallible,
    error::Error,
    future::{Future, ready},
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// Bytes of a request's head: a path, some headers and a tag.
const MAX_HEAD_BYTES: usize = 8 * 1024;

/// Header fields of a request.
const MAX_HEADERS: usize = 64;

/// Streams that one HTTP/2 connection may have open: more than there are documents of a client.
const MAX_STREAMS: u32 = 16;

/// Window of a connection and of a stream: requests have no bodies.
const RECEIVE_WINDOW: u32 = 64 * 1024;

/// What is buffered for a slow reader of one stream.
const SEND_BUFFER: usize = 64 * 1024;

/// For the TLS handshake; far-away peers need three round trips.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// For the head of a request, and for rest between two requests.
const HEAD: Duration = Duration::from_secs(10);

/// Life of a connection; who needs more documents opens another one.
const LIFE: Duration = Duration::from_secs(30);

/// How long the peer of a connection that ends has to take leave.
const LEAVE: Duration = Duration::from_secs(5);

/// How long to wait after `accept` has failed, as it does while the process is
/// out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Characters of an error that are logged; a peer may have chosen some of them.
const LOGGED: usize = 200;

/// Deadlines and caps.
#[derive(Clone, Copy, Debug)]
pub struct PortLimits {
    /// Connections.
    pub places: PlaceLimits,
}

/// Serves pages on a socket.
#[derive(Debug)]
pub struct Port {
    /// What is served.
    pub pages: Pages,
    /// Its certificate.
    pub tls: Arc<ServerConfig>,
    /// Caps.
    pub limits: PortLimits,
    /// Runs the streams of HTTP/2 connections.
    pub tasks: Supervisor,
    /// What happens.
    pub metrics: IdentityMetrics,
}

impl Port {
    /// Serves on `listener` until `stop`, and then until the last connection has taken leave.
    pub async fn serve(self, listener: TcpListener, stop: watch::Receiver<bool>) {
        let places = Places::new(self.limits.places);
        let mut connections = FuturesUnordered::new();
        let mut stopped = pin!(until_true(stop.clone()));
        loop {
            self.count(connections.len());
            let has_room = connections.len() < self.limits.places.connections;
            tokio::select! {
                () = &mut stopped => break,
                Some(()) = connections.next() => {}
                stream = accept(&listener), if has_room => {
                    if let Some((stream, place)) = stream.and_then(|it| self.admit(it, &places)) {
                        connections.push(Box::pin(self.converse(stream, place, stop.clone())));
                    }
                }
            }
        }
        while connections.next().await.is_some() {}
        self.count(0);
    }

    fn count(&self, open: usize) {
        let open = i64::try_from(open).unwrap_or(i64::MAX);
        self.metrics.connections.set(open);
    }

    fn admit(&self, stream: TcpStream, places: &Places) -> Option<(TcpStream, Place)> {
        let peer = stream.peer_addr().ok()?;
        let place = places.take(peer.ip());
        if place.is_none() {
            self.metrics.refuse("address");
        }
        // Answers are small and whole.
        stream.set_nodelay(true).unwrap_or_default();
        place.map(|place| (stream, place))
    }

    async fn converse(&self, stream: impl Stream, place: Place, stop: watch::Receiver<bool>) {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.tls));
        match timeout(HANDSHAKE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                self.http2(stream, stop).await;
            }
            Ok(Ok(stream)) => self.http1(stream, stop).await,
            Ok(Err(error)) => {
                self.metrics.refuse("handshake");
                tracing::debug!(error = bounded(&error), "identity port: no handshake");
            }
            Err(_elapsed) => {
                self.metrics.refuse("handshake");
                tracing::debug!("identity port: the handshake took too long");
            }
        }
        drop(place);
    }

    async fn http1(&self, stream: TlsStream<impl Stream>, stop: watch::Receiver<bool>) {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .max_buf_size(MAX_HEAD_BYTES)
            .max_headers(MAX_HEADERS)
            .header_read_timeout(HEAD)
            .serve_connection(
                TokioIo::new(stream),
                service_fn(|request| self.answer(&request)),
            );
        live(connection, |it| it.graceful_shutdown(), stop).await;
    }

    async fn http2(&self, stream: TlsStream<impl Stream>, stop: watch::Receiver<bool>) {
        let pages = self.pages.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            ready(Ok::<_, Infallible>(pages.answer(&request)))
        });
        let connection = http2::Builder::new(Tasks(self.tasks.clone()))
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX))
            .initial_connection_window_size(RECEIVE_WINDOW)
            .initial_stream_window_size(RECEIVE_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .serve_connection(TokioIo::new(stream), service);
        live(connection, |it| it.graceful_shutdown(), stop).await;
    }

    fn answer(
        &self,
        request: &Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Full<Bytes>>, Infallible>> + use<> {
        ready(Ok(self.pages.answer(request)))
    }
}

/// Carries the bytes of a connection.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

async fn accept(listener: &TcpListener) -> Option<TcpStream> {
    match listener.accept().await {
        Ok((stream, _peer)) => Some(stream),
        Err(error) => {
            tracing::warn!(%error, "a connection to the identity port failed");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// Serves a connection until it ends; once it has lived for long enough, or is to stop, what was asked
/// is answered, and it takes leave.
async fn live<C: Future<Output = hyper::Result<()>>>(
    connection: C,
    shut_down: impl FnOnce(Pin<&mut C>),
    stop: watch::Receiver<bool>,
) {
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return note_end(ended),
        () = until_true(stop) => {}
        () = sleep(LIFE) => {}
    }
    shut_down(connection.as_mut());
    match timeout(LEAVE, connection).await {
        Ok(ended) => note_end(ended),
        Err(_late) => tracing::debug!("identity port: connection cut"),
    }
}

fn note_end(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(error = bounded(&error), "identity port: connection ended");
    }
}

/// An error that a peer may have had a part in, for one line of a log.
fn bounded(error: &dyn Error) -> String {
    let text = error.to_string();
    text.chars()
        .take(LOGGED)
        .flat_map(char::escape_debug)
        .collect()
}

/// Runs the streams of HTTP/2 connections as the agent's tasks.
#[derive(Clone)]
struct Tasks(Supervisor);

impl<F> Executor<F> for Tasks
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.spawn(async move {
            drop(stream.await);
        });
    }
}

#[cfg(test)]
mod tests;
