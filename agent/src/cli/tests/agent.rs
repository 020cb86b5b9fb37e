//! An agent of canned answers on two sockets of its own.

mod admin;
mod apply;
mod federation;
mod govern;
mod reading;
mod views;
mod workload;

use super::{Outcome, symbolon, symbolon_on};
use admin::FakeAdmin;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use parking_lot::Mutex;
use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    sync::Arc,
};
use symbolon_proto::{
    admin::{Client, TrustDomain, admin_server::AdminServer},
    workload::spiffe_workload_api_server::SpiffeWorkloadApiServer,
};
use tempfile::TempDir;
use tokio::{net::UnixListener, runtime::Runtime};
use tonic::{Status, body::Body};
use tonic_health::ServingStatus;
use tower::Service;
use workload::FakeWorkload;

pub(super) use admin::{accepted, client, interpreter, key, spec};
pub(super) use federation::{awaiting, federated};
pub(super) use govern::proposed;
pub(super) use reading::Trail;
pub(super) use workload::{Push, issued, jwt};

/// What the agent holds and was asked.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) clients: Vec<Client>,
    pub(super) trust_domains: Vec<TrustDomain>,
    /// The last request of each kind that a test looks at, as `Debug` writes it.
    pub(super) requests: Vec<String>,
    /// What every call of the admin service gets instead of an answer.
    pub(super) refusal: Option<Status>,
    pub(super) selectors: Vec<String>,
    pub(super) audit: Vec<String>,
    /// The pieces of a backup.
    pub(super) backup: Vec<Vec<u8>>,
    pub(super) trail: Trail,
    /// What each stream of X.509-SVIDs sends, a stream an entry.
    pub(super) streams: Vec<Vec<Push>>,
    pub(super) serving: bool,
    pub(super) approvals_required: u32,
    pub(super) is_responder: bool,
}

impl State {
    /// What the operator may call.
    fn methods(&self) -> Vec<String> {
        let mut methods = vec!["GetInfo".to_owned(), "RegisterClient".to_owned()];
        methods.extend(self.is_responder.then(|| "ChangeManyStates".to_owned()));
        methods
    }
}

pub(super) struct Agent {
    pub(super) dir: TempDir,
    pub(super) state: Arc<Mutex<State>>,
    _runtime: Runtime,
}

impl Agent {
    pub(super) fn new(state: State) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let serving = state.serving;
        let state = Arc::new(Mutex::new(state));
        let _context = runtime.enter();
        let admin = AdminServer::new(FakeAdmin(Arc::clone(&state)));
        let workload = SpiffeWorkloadApiServer::with_interceptor(
            FakeWorkload(Arc::clone(&state)),
            workload::demand_header,
        );
        let (reporter, health) = tonic_health::server::health_reporter();
        let status = if serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        runtime.block_on(reporter.set_service_status("", status));
        let workload = tower::service_fn(move |request: http::Request<Incoming>| {
            let (mut workload, mut health) = (workload.clone(), health.clone());
            async move {
                if request.uri().path().starts_with("/grpc.health.v1.Health/") {
                    health.call(request).await
                } else {
                    workload
                        .call(request)
                        .await
                        .map(|answer| answer.map(Body::new))
                }
            }
        });
        serve(&runtime, &dir.path().join("admin.sock"), admin);
        serve(&runtime, &dir.path().join("workload.sock"), workload);
        Self {
            dir,
            state,
            _runtime: runtime,
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a command that asks the admin socket.
    pub(super) fn admin(&self, arguments: &[&str]) -> Outcome {
        self.run("admin.sock", arguments)
    }

    /// Runs a command that asks the workload socket.
    pub(super) fn workload(&self, arguments: &[&str]) -> Outcome {
        self.run("workload.sock", arguments)
    }

    /// Runs a command that asks the admin socket, for somebody who answers `reply`.
    pub(super) fn answering(&self, reply: &str, arguments: &[&str]) -> Outcome {
        let socket = self.path("admin.sock");
        let arguments = [arguments, &["--socket", socket.to_str().unwrap()]].concat();
        symbolon_on(&arguments, reply, |console| console.interactive = true)
    }

    fn run(&self, socket: &str, arguments: &[&str]) -> Outcome {
        let socket = format!("unix://{}", self.path(socket).display());
        symbolon(&[arguments, &["--socket", &socket]].concat())
    }
}

/// Serves every connection until the runtime ends.
fn serve<S>(runtime: &Runtime, path: &Path, service: S)
where
    S: Service<http::Request<Incoming>, Response = http::Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    let listener = UnixListener::bind(path).unwrap();
    let handle = runtime.handle().clone();
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            handle.spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                // A client may leave at any time.
                server
                    .serve_connection(TokioIo::new(stream), service)
                    .await
                    .unwrap_or_default();
            });
        }
    });
}
