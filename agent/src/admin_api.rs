//! The admin socket: operators register, inspect and withdraw clients.
//!
//! Owns the `symbolon.admin.v1.Admin` service. Callers are known by peer
//! credentials, never by what they send: the socket's mode lets only the
//! agent's user (or a configured group) connect, and [`OperatorGate`] refuses
//! peers whose user or PID namespace is not the agent's, because a uid means
//! nothing there. Every refusal and every change is recorded with the
//! operator, before the answer leaves.
//!
//! Requests are outside input: they are parsed into the registry's types here,
//! and sizes are bounded before. Errors name the caller's fault in words, the
//! agent's own faults in fixed sentences. A registration with serious weaknesses
//! is put in force only with a reason, which its version and the trail keep.
//!
//! What needs approval (`govern`) is decided by the digest that the operator was
//! shown. Left out on purpose: roles; this version knows one.

mod calls;
mod convert;
mod gate;
mod govern;
mod inspect;
mod lint;
mod status;
#[cfg(test)]
mod tests;

pub use calls::{AdminApi, AdminServices, AgentFacts, Authorities};
pub use gate::{Operator, OperatorGate, OperatorPolicy};

use crate::{
    server::{SideServices, known_method, measured},
    telemetry::CallMetrics,
};
use futures_util::future::BoxFuture;
use std::{
    convert::Infallible,
    task::{Context, Poll},
};
use symbolon_proto::admin::admin_server::AdminServer;
use tonic::{body::Body, server::NamedService as _};
use tower::Service;

/// Largest request message in bytes: a registration with all its limits used.
const MAX_REQUEST: usize = 1024 * 1024;

/// The services of the admin socket.
#[derive(Clone, Debug)]
pub struct AdminRoutes {
    admin: AdminServer<AdminApi>,
    side: SideServices,
    metrics: CallMetrics,
}

impl AdminRoutes {
    /// The admin service with health and reflection beside it.
    #[must_use]
    pub fn new(api: AdminApi, side: SideServices, metrics: CallMetrics) -> Self {
        Self {
            admin: AdminServer::new(api).max_decoding_message_size(MAX_REQUEST),
            side,
            metrics,
        }
    }
}

/// The methods, as metrics call them.
const METHODS: &[&str] = &[
    "GetInfo",
    "RegisterClient",
    "UpdateClient",
    "GetClient",
    "ListClients",
    "SuspendClient",
    "ResumeClient",
    "RevokeClient",
    "ChangeManyStates",
    "RollbackClient",
    "ApproveClient",
    "RejectClient",
    "WithdrawClient",
    "GetClientHistory",
    "LintClients",
    "AttestProcess",
    "GetBundle",
    "TailAudit",
];

impl Service<http::Request<Body>> for AdminRoutes {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = request
            .uri()
            .path()
            .trim_start_matches('/')
            .split('/')
            .next();
        if service == Some(AdminServer::<AdminApi>::NAME) {
            let method = known_method(METHODS, request.uri().path());
            let call = self.admin.call(request);
            return measured(&self.metrics, method, call);
        }
        self.side.call(request)
    }
}
