//! Which service a request on the workload socket goes to.

use super::WorkloadApi;
use crate::{
    server::{SideServices, known_method, measured},
    telemetry::CallMetrics,
};
use futures_util::future::{BoxFuture, ready};
use std::{
    convert::Infallible,
    task::{Context, Poll},
};
use symbolon_proto::{
    SECURITY_HEADER, workload::spiffe_workload_api_server::SpiffeWorkloadApiServer,
};
use tonic::{Status, body::Body, server::NamedService};
use tower::Service;

/// Largest request message in bytes: a JWT-SVID to validate is the longest.
const MAX_REQUEST: usize = 64 * 1024;

/// The services of the workload socket.
#[derive(Clone, Debug)]
pub struct WorkloadRoutes {
    workload: SpiffeWorkloadApiServer<WorkloadApi>,
    side: SideServices,
    metrics: CallMetrics,
}

impl WorkloadRoutes {
    /// The Workload API with health and reflection beside it.
    #[must_use]
    pub fn new(api: WorkloadApi, side: SideServices, metrics: CallMetrics) -> Self {
        Self {
            workload: SpiffeWorkloadApiServer::new(api).max_decoding_message_size(MAX_REQUEST),
            side,
            metrics,
        }
    }
}

/// The methods, as metrics call them.
const METHODS: &[&str] = &[
    "FetchX509SVID",
    "FetchX509Bundles",
    "FetchJWTSVID",
    "FetchJWTBundles",
    "ValidateJWTSVID",
    "FetchWITSVID",
    "FetchWITBundles",
];

impl Service<http::Request<Body>> for WorkloadRoutes {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        const NAME: &str = <SpiffeWorkloadApiServer<WorkloadApi> as NamedService>::NAME;
        let path = request.uri().path();
        let method = path
            .strip_prefix('/')
            .and_then(|path| path.strip_prefix(NAME));
        if !method.is_some_and(|method| method.starts_with('/')) {
            return self.side.call(request);
        }
        let method = known_method(METHODS, path);
        if !has_security_header(request.headers()) {
            let status = Status::invalid_argument(
                "security header missing: send the metadata workload.spiffe.io: true",
            );
            return measured(&self.metrics, method, ready(Ok(status.into_http())));
        }
        let call = self.workload.call(request);
        measured(&self.metrics, method, call)
    }
}

/// The header must be there once, with the value `true`, case-sensitively
/// (`SPIFFE_Workload_Endpoint.md`, section 3).
fn has_security_header(headers: &http::HeaderMap) -> bool {
    let mut values = headers.get_all(SECURITY_HEADER).iter();
    values.next().is_some_and(|value| value == "true") && values.next().is_none()
}
