//! Accepts connections on a Unix socket and serves gRPC on them.
//!
//! Owns the listening socket from bind to drain: the socket appears with its
//! final mode and only once it listens, a stale one is replaced, a live one is
//! refused. Accepted connections wait in turns of their users (`reception`); then
//! each passes [`Admit`] (which pins the peer and keeps the caps), then the frame
//! layer of `transport`, which puts the caller's question where it has one, then
//! hyper's HTTP/2. All connections of a user run in his lane (`lanes`), so that users
//! take turns with each step of their calls.
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
mod lane;
mod lanes;
mod measure;
mod open_call;
mod patience;
mod places;
mod reception;
mod side;
#[cfg(test)]
mod tests;

pub use bind::{BindError, BoundSocket, Ownership, SocketSpec};
pub use connection::{Admit, Caller, GrpcService, HttpLimits, Refused, Whose};

pub use health::{HealthApi, until_true};
pub(crate) use measure::{known_method, measured};
pub(crate) use places::{Place, Places, Terms};
pub use side::SideServices;

use lanes::Lanes;
use reception::Reception;
use std::sync::Arc;
use tokio::{net::UnixListener, sync::watch};

/// Connections that are looked at before other tasks get their turn.
const ADMITTED_AT_ONCE: usize = 2;

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
    let mut lanes = Lanes::new();
    let mut reception = match Reception::new(listener, Arc::clone(&admit)) {
        Ok(reception) => reception,
        Err(error) => return tracing::error!(%error, "cannot listen on a socket"),
    };
    let mut admitted = 0;
    loop {
        if admitted >= ADMITTED_AT_ONCE {
            // Whoever connects again and again must not keep those who are in from their turn.
            tokio::task::yield_now().await;
            admitted = 0;
        }
        let next = tokio::select! {
            biased;
            () = until_true(shutdown.clone()) => break,
            Some(()) = lanes.left() => continue,
            next = reception.next() => next,
        };
        admitted += 1;
        let socket = match next {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                continue;
            }
        };
        match admit.admit(&socket) {
            Ok(caller) => {
                let (service, shutdown) = (service.clone(), shutdown.clone());
                lanes.enter(caller.whose(), |lane| {
                    let connection =
                        connection::run(socket, caller, service, limits, shutdown, lane);
                    Box::pin(connection)
                });
            }
            Err(refused) => admit.refused(&refused),
        }
    }
    drop(reception);
    while lanes.left().await.is_some() {}
}
