//! Connections of the telemetry port.

use super::Telemetry;
use bytes::Bytes;
use futures_util::{
    FutureExt as _,
    stream::{FuturesUnordered, StreamExt as _},
};
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, future::Future, pin::pin, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time,
};

/// Open connections: a few monitoring systems, each with a few scrapes.
const MAX_CONNECTIONS: usize = 32;

/// Bytes of a request's head, and of the buffer for an answer's: `hyper`'s least.
const MAX_HEAD_BYTES: usize = 8 * 1024;

/// Header fields of a request.
const MAX_HEADERS: usize = 32;

/// Life of a connection, from accept to close: one scrape on loopback takes
/// milliseconds.
const MAX_CONNECTION_LIFE: Duration = Duration::from_secs(10);

/// How long to wait after `accept` has failed, as it does while the process is
/// out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers on `listener` until `shutdown` is done; open connections end with it.
pub async fn serve(
    listener: TcpListener,
    telemetry: Telemetry,
    shutdown: impl Future<Output = ()>,
) {
    let mut shutdown = pin!(shutdown.fuse());
    let mut connections = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = &mut shutdown => return,
            Some(()) = connections.next() => {}
            stream = accept(&listener), if connections.len() < MAX_CONNECTIONS => {
                if let Some(stream) = stream {
                    connections.push(converse(stream, telemetry.clone()));
                }
            }
        }
    }
}

async fn accept(listener: &TcpListener) -> Option<TcpStream> {
    match listener.accept().await {
        Ok((stream, _peer)) => Some(stream),
        Err(error) => {
            tracing::warn!(%error, "a connection to the telemetry port failed");
            time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, telemetry: Telemetry) {
    let service = service_fn(|request: Request<Incoming>| {
        let answer: Result<Response<Full<Bytes>>, Infallible> = Ok(telemetry.answer(&request));
        std::future::ready(answer)
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service);
    match time::timeout(MAX_CONNECTION_LIFE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection to the telemetry port broke"),
        Err(_elapsed) => tracing::debug!("a connection to the telemetry port took too long"),
    }
}

#[cfg(test)]
mod tests;
