//! Accepts connections on a Unix socket and serves gRPC on them.
//!
//! Owns the listening socket from bind to drain: the socket appears with its
//! final mode and only once it listens, a stale one is replaced, a live one is
//! refused. Each accepted connection passes [`Admit`] (which pins the peer and
//! keeps the caps), then the frame layer of `transport`, which puts the caller's
//! question where it has one, then hyper's HTTP/2.
//!
//! The caller that `admit` returned is put into each request's extensions;
//! services take it from there and from nowhere else.
//!
//! On shutdown, listening ends first, connections get a GOAWAY, streams end as
//! unavailable, and the future resolves when the last one has ended; whoever
//! waits for it sets the limit, and cuts the rest by dropping it. A refused connection is closed
//! without an answer, which gRPC clients report as unavailable.

mod activity;
mod bind;
mod connection;
mod health;
mod measure;
mod open_call;
mod patience;
mod side;
#[cfg(test)]
mod tests;

pub use bind::{BindError, BoundSocket, Ownership, SocketSpec};
pub use connection::{Admit, Caller, GrpcService, HttpLimits, Refused};

pub use health::{HealthApi, until_true};
pub(crate) use measure::{known_method, measured};
pub use side::SideServices;

use std::sync::Arc;
use tokio::{net::UnixListener, sync::watch, task::JoinSet};

/// Connections that are accepted before others get their turn.
const ACCEPTED_AT_ONCE: usize = 8;

/// Serves `service` on `listener` until `shutdown` turns true, then drains.
///
/// A failing `accept` (such as a full descriptor table) is logged and retried
/// after a pause, during which running connections go on.
pub async fn serve<A, S>(
    listener: UnixListener,
    admit: Arc<A>,
    service: S,
    limits: HttpLimits,
    shutdown: watch::Receiver<bool>,
) where
    A: Admit,
    S: GrpcService,
{
    let mut connections = JoinSet::new();
    for accepted in 1_usize.. {
        if accepted.is_multiple_of(ACCEPTED_AT_ONCE) {
            // Whoever connects again and again must not keep those who are in from their turn.
            tokio::task::yield_now().await;
        }
        tokio::select! {
            biased;
            () = until_true(shutdown.clone()) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => match admit.admit(&socket) {
                    Ok(caller) => {
                        let connection = connection::run(
                            socket, caller, service.clone(), limits, shutdown.clone(),
                        );
                        connections.spawn(connection);
                    }
                    Err(refused) => admit.refused(&refused).await,
                },
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(connection::ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}
