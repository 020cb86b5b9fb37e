//! A server that does nothing but answer: the floor under every call.
//!
//! Stock tonic and hyper on a Unix socket with answers of the agent's shape and
//! size, about 2 KB; with the agent's frame layer in between where that is what
//! is measured. It runs in a process of its own, as the agent does.

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{path::Path, pin::Pin};
use symbolon_agent::transport::{Accepted, Http2Guard, TransportLimits};
use symbolon_proto::workload::{
    JwtBundlesRequest, JwtBundlesResponse, Jwtsvid, JwtsvidRequest, JwtsvidResponse,
    ValidateJwtsvidRequest, ValidateJwtsvidResponse, WitBundlesRequest, WitBundlesResponse,
    WitsvidRequest, WitsvidResponse, X509BundlesRequest, X509BundlesResponse, X509svid,
    X509svidRequest, X509svidResponse,
    spiffe_workload_api_server::{SpiffeWorkloadApi, SpiffeWorkloadApiServer},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tonic::{Request, Response, Status, body::Body};
use tower::Service as _;

/// Sizes of an answer: certificate chain, key and bundle.
const CHAIN: usize = 900;
const KEY: usize = 138;
const BUNDLE: usize = 800;

/// Length of a JWT-SVID.
const TOKEN: usize = 700;

type Answers<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

/// Serves on `socket` until the process is killed. `SIGTERM` ends all streams.
pub(crate) async fn serve(socket: &Path, guarded: bool) {
    let (over, stub) = watch::channel(false);
    let stub = Stub(stub);
    let mut terminated = signal(SignalKind::terminate()).expect("a handler");
    let listener = UnixListener::bind(socket).expect("a socket");
    println!("ready");
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted.expect("a connection").0,
            Some(()) = terminated.recv() => {
                over.send_replace(true);
                continue;
            }
        };
        if guarded {
            let accepted = Accepted::new(accepted, false);
            let accepted = Http2Guard::new(accepted, TransportLimits::default());
            tokio::spawn(serve_connection(accepted, stub.clone()));
        } else {
            tokio::spawn(serve_connection(accepted, stub.clone()));
        }
    }
}

/// As tonic's own server does, which is not among the features that the agent uses.
async fn serve_connection<S: AsyncRead + AsyncWrite + Unpin>(socket: S, stub: Stub) {
    let service = SpiffeWorkloadApiServer::new(stub);
    let handler = service_fn(move |request: http::Request<Incoming>| {
        service.clone().call(request.map(Body::new))
    });
    let connection = http2::Builder::new(TokioExecutor::new());
    let connection = connection.serve_connection(TokioIo::new(socket), handler);
    // A caller that goes away is no fault.
    drop(connection.await);
}

/// Answers with constants, until it is over.
#[derive(Clone, Debug)]
struct Stub(watch::Receiver<bool>);

fn x509() -> X509svidResponse {
    let bytes = |size| Bytes::from(vec![7; size]);
    X509svidResponse {
        svids: vec![X509svid {
            spiffe_id: "spiffe://example.org/mcp/client/bench".to_owned(),
            x509_svid: bytes(CHAIN),
            x509_svid_key: bytes(KEY),
            bundle: bytes(BUNDLE),
            hint: String::new(),
        }],
        ..X509svidResponse::default()
    }
}

fn unimplemented<T>() -> Result<T, Status> {
    Err(Status::unimplemented("not measured"))
}

#[tonic::async_trait]
impl SpiffeWorkloadApi for Stub {
    type FetchX509SVIDStream = Answers<X509svidResponse>;
    type FetchX509BundlesStream = Answers<X509BundlesResponse>;
    type FetchJWTBundlesStream = Answers<JwtBundlesResponse>;
    type FetchWITSVIDStream = Answers<WitsvidResponse>;
    type FetchWITBundlesStream = Answers<WitBundlesResponse>;

    async fn fetch_x509svid(
        &self,
        _: Request<X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        let mut over = self.0.clone();
        let end = async move {
            drop(over.wait_for(|over| *over).await);
            stream::empty()
        };
        let answers = stream::iter([Ok(x509())]).chain(stream::once(end).flatten());
        Ok(Response::new(Box::pin(answers)))
    }

    async fn fetch_jwtsvid(
        &self,
        _: Request<JwtsvidRequest>,
    ) -> Result<Response<JwtsvidResponse>, Status> {
        let svid = Jwtsvid {
            spiffe_id: "spiffe://example.org/mcp/client/bench".to_owned(),
            svid: "t".repeat(TOKEN),
            hint: String::new(),
        };
        Ok(Response::new(JwtsvidResponse { svids: vec![svid] }))
    }

    async fn validate_jwtsvid(
        &self,
        _: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        let answer = ValidateJwtsvidResponse {
            spiffe_id: "spiffe://example.org/mcp/client/bench".to_owned(),
            ..ValidateJwtsvidResponse::default()
        };
        Ok(Response::new(answer))
    }

    async fn fetch_x509_bundles(
        &self,
        _: Request<X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        unimplemented()
    }

    async fn fetch_jwt_bundles(
        &self,
        _: Request<JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        unimplemented()
    }

    async fn fetch_witsvid(
        &self,
        _: Request<WitsvidRequest>,
    ) -> Result<Response<Self::FetchWITSVIDStream>, Status> {
        unimplemented()
    }

    async fn fetch_wit_bundles(
        &self,
        _: Request<WitBundlesRequest>,
    ) -> Result<Response<Self::FetchWITBundlesStream>, Status> {
        unimplemented()
    }
}
