//! The telemetry port: `/live`, `/ready` and `/metrics`.
//!
//! Owns the HTTP/1.1 endpoint that local monitoring asks, on a loopback address
//! (the configuration refuses others). It trusts nobody who connects and tells public facts
//! only: that the process runs, whether it is ready and if not why, and the
//! metrics, whose labels never name a client.
//!
//! Invariants: GET and HEAD only, one request for each connection, and bounds on
//! connections, on the bytes of a request's head and on a connection's whole
//! life; a request has no body that would be read. Whatever breaks a bound is
//! closed without harm to others; a full house waits in the kernel's queue.
//!
//! Left out on purpose: TLS, keep-alive and everything that an operator could
//! change: that is the admin socket's.

mod pages;
mod server;

pub use pages::Telemetry;
pub use server::serve;
