//! Which service a request on the workload socket goes to.

use super::WorkloadApi;
use crate::{
    credentials_api::{self, CredentialsApi},
    server::{SideServices, known_method, measured},
    telemetry::CallMetrics,
};
use futures_util::future::{BoxFuture, ready};
use std::{
    convert::Infallible,
    task::{Context, Poll},
};
use symbolon_proto::{
    SECURITY_HEADER, credentials::credentials_server::CredentialsServer,
    workload::spiffe_workload_api_server::SpiffeWorkloadApiServer,
};
use tonic::{Status, body::Body, server::NamedService};
use tower::Service;

/// Largest request message in bytes: a JWT-SVID to validate is the longest.
const MAX_REQUEST: usize = 64 * 1024;

/// The services of the workload socket.
#[derive(Clone, Debug)]
pub struct WorkloadRoutes {
    workload: SpiffeWorkloadApiServer<WorkloadApi>,
    credentials: Option<CredentialsServer<CredentialsApi>>,
    side: SideServices,
    metrics: CallMetrics,
}

impl WorkloadRoutes {
    /// The Workload API with health and reflection beside it.
    #[must_use]
    pub fn new(api: WorkloadApi, side: SideServices, metrics: CallMetrics) -> Self {
        Self {
            workload: SpiffeWorkloadApiServer::new(api).max_decoding_message_size(MAX_REQUEST),
            credentials: None,
            side,
            metrics,
        }
    }

    /// The same, with credentials for OAuth servers.
    #[must_use]
    pub fn with_credentials(self, api: CredentialsApi) -> Self {
        let server = CredentialsServer::new(api);
        Self {
            credentials: Some(server.max_decoding_message_size(credentials_api::MAX_REQUEST)),
            ..self
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
        let path = request.uri().path();
        let is_of = |name: &str| {
            let method = path
                .strip_prefix('/')
                .and_then(|path| path.strip_prefix(name));
            method.is_some_and(|method| method.starts_with('/'))
        };
        let credentials = self.credentials.as_mut();
        let credentials = credentials.filter(|_| is_of(credentials_api::NAME));
        let methods = match credentials {
            Some(_) => credentials_api::METHODS,
            None if is_of(NAME) => METHODS,
            None => return self.side.call(request),
        };
        let method = known_method(methods, path);
        if !has_security_header(request.headers()) {
            let status = Status::invalid_argument(
                "security header missing: send the metadata workload.spiffe.io: true",
            );
            return measured(&self.metrics, method, ready(Ok(status.into_http())));
        }
        match credentials {
            Some(credentials) => measured(&self.metrics, method, credentials.call(request)),
            None => measured(&self.metrics, method, self.workload.call(request)),
        }
    }
}

/// The service, as paths have it.
const NAME: &str = <SpiffeWorkloadApiServer<WorkloadApi> as NamedService>::NAME;

/// The header must be there once, with the value `true`, case-sensitively
/// (`SPIFFE_Workload_Endpoint.md`, section 3).
fn has_security_header(headers: &http::HeaderMap) -> bool {
    let mut values = headers.get_all(SECURITY_HEADER).iter();
    values.next().is_some_and(|value| value == "true") && values.next().is_none()
}
