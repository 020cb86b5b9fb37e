//! The Workload API as the test process itself calls it, below any SPIFFE library.

use std::path::Path;

use hyper_util::rt::TokioIo;
use symbolon_proto::SECURITY_HEADER;
use symbolon_proto::credentials::credentials_client::CredentialsClient;
use symbolon_proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use tokio::net::UnixStream;
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Error};
use tonic::{Request, Status};
use tower::service_fn;

use crate::Agent;

/// A client of the Workload API that sends the security header.
pub type WorkloadApi = SpiffeWorkloadApiClient<InterceptedService<Channel, AddHeader>>;

/// What adds the security header to each call.
pub type AddHeader = fn(Request<()>) -> Result<Request<()>, Status>;

/// A new connection of this process to the agent's Workload API.
pub async fn workload_api(agent: &Agent) -> WorkloadApi {
    workload_api_at(&agent.setup().workload_socket()).await
}

/// A new connection of this process to the Workload API on this socket.
pub async fn workload_api_at(socket: &Path) -> WorkloadApi {
    SpiffeWorkloadApiClient::with_interceptor(channel(socket).await, add_header)
}

/// A client of the credentials beside it.
pub type CredentialsApi = CredentialsClient<InterceptedService<Channel, AddHeader>>;

/// A new connection of this process to the agent's credentials for OAuth servers.
pub async fn credentials_api(agent: &Agent) -> CredentialsApi {
    let channel = channel(&agent.setup().workload_socket()).await;
    CredentialsClient::with_interceptor(channel, add_header)
}

/// The same, where the agent lets this process in.
pub async fn try_workload_api_at(socket: &Path) -> Option<WorkloadApi> {
    let channel = try_channel(socket).await.ok()?;
    Some(SpiffeWorkloadApiClient::with_interceptor(
        channel, add_header,
    ))
}

/// A new connection to a Unix socket.
pub async fn channel(socket: &Path) -> Channel {
    try_channel(socket).await.expect("a connection")
}

async fn try_channel(socket: &Path) -> Result<Channel, Error> {
    let socket = socket.to_owned();
    let connect = service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://localhost");
    endpoint.connect_with_connector(connect).await
}

#[expect(clippy::unnecessary_wraps, reason = "the signature of an interceptor")]
fn add_header(mut request: Request<()>) -> Result<Request<()>, Status> {
    request
        .metadata_mut()
        .insert(SECURITY_HEADER, MetadataValue::from_static("true"));
    Ok(request)
}
