//! The admin socket: operators register, inspect and withdraw clients.
//!
//! Owns the `symbolon.admin.v1.Admin` service. Callers are known by peer
//! credentials, never by what they send: [`OperatorGate`] lets in whom the roster
//! names, and refuses peers whose user or PID namespace is not the agent's, because
//! a uid means nothing there. Each call passes [`AdminRoutes`], where the table in
//! `roles` says which role it takes; what has no row there is refused. Every refusal
//! and every change is recorded with the operator, before the answer leaves.
//!
//! Requests are outside input: they are parsed into the registry's types here,
//! and sizes are bounded before. Errors name the caller's fault in words, the
//! agent's own faults in fixed sentences. A registration with serious weaknesses
//! is put in force only with a reason, which its version and the trail keep.
//!
//! What needs approval (`govern`) is decided by the digest that the operator was
//! shown. Left out on purpose: who is named as an operator, which is `operators`' to say.

mod apply;
mod backup;
mod calls;
mod changes;
mod convert;
mod federation;
mod gate;
mod govern;
mod inspect;
mod keys;
mod lint;
mod passage;
mod readings;
mod roles;
mod search;
mod status;
#[cfg(test)]
mod tests;
mod views;

pub use calls::{AdminApi, AdminServices, AgentFacts, Authorities};
pub use gate::{Operator, OperatorGate, OperatorPolicy, VisitPlace, Visitor};

use crate::{
    server::{SideServices, measured},
    telemetry::CallMetrics,
};
use futures_util::future::BoxFuture;
use std::{
    convert::Infallible,
    task::{Context, Poll},
};
use symbolon_proto::admin::admin_server::AdminServer;
use tonic::{Status, body::Body};
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

impl Service<http::Request<Body>> for AdminRoutes {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    /// Whatever names the admin service passes the gate, and nothing else reaches it.
    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Some(method) = gate::method(request.uri().path()) else {
            return self.side.call(request);
        };
        let method = roles::rule_of(method).map_or("other", |rule| rule.method);
        let call = authorized(self.admin.clone(), request);
        measured(&self.metrics, method, call)
    }
}

/// The answer to a call, which is made only where the caller may make it.
async fn authorized(
    mut admin: AdminServer<AdminApi>,
    mut request: http::Request<Body>,
) -> Result<http::Response<Body>, Infallible> {
    let Some(visitor) = request.extensions().get::<Visitor>().cloned() else {
        return Ok(Status::internal("the connection has no operator").into_http());
    };
    match visitor.authorize(request.uri().path()).await {
        Ok(operator) => {
            request.extensions_mut().insert(operator);
            admin.call(request).await
        }
        Err(refused) => Ok(refused.into_http()),
    }
}
