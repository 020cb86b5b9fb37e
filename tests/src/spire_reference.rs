//! The checks that SPIRE's agent makes of a caller, behind a Workload API.
//!
//! Written from SPIRE's published logic (spiffe/spire, `pkg/common/peertracker/uds_linux.go`
//! and `tracker_linux.go`, `pkg/agent/attestor/workload`, the `unix` and `docker` workload
//! attestors, version 1.15), so that the attack programs can be run against it: what it
//! lets through shows what those checks do not see. It answers with SPIFFE IDs and no
//! key material.
//!
//! * At accept: `SO_PEERCRED`, a descriptor of `/proc/PID`, and the start time in it.
//! * At each call, once: user and group, path and digest of `/proc/PID/exe`, and what
//!   Docker knows of the last container ID in `/proc/PID/cgroup`.
//! * After that: the descriptor still lists, the start time by path is the same, and
//!   `/proc/PID` belongs to the user and group of `SO_PEERCRED`.
//! * An entry matches where all its selectors are among those. The answer goes to
//!   whoever reads the connection.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use futures_util::{Stream, StreamExt as _, stream};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use symbolon_proto::workload::spiffe_workload_api_server::{
    SpiffeWorkloadApi, SpiffeWorkloadApiServer,
};
use symbolon_proto::workload::{
    JwtBundlesRequest, JwtBundlesResponse, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest,
    ValidateJwtsvidResponse, WitBundlesRequest, WitBundlesResponse, WitsvidRequest,
    WitsvidResponse, X509BundlesRequest, X509BundlesResponse, X509svid, X509svidRequest,
    X509svidResponse,
};
use tokio::net::{UnixListener, UnixStream};
use tonic::body::Body;
use tonic::{Request, Response, Status};
use tower::Service as _;

/// Length of a container ID.
const CONTAINER_ID: usize = 64;

/// Who is registered, and what Docker would answer.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    /// SPIFFE IDs with their selectors.
    pub entries: Vec<(String, BTreeSet<String>)>,
    /// Containers by ID, with the selectors that inspecting one gives.
    pub containers: BTreeMap<String, Vec<String>>,
}

impl Entries {
    /// As `{"entries": {ID: [SELECTOR]}, "containers": {ID: [SELECTOR]}}`.
    #[must_use]
    pub fn from_json(text: &str) -> Self {
        let value: Value = serde_json::from_str(text).expect("JSON");
        Self {
            entries: lists(&value["entries"])
                .map(|(id, selectors)| (id, selectors.into_iter().collect()))
                .collect(),
            containers: lists(&value["containers"]).collect(),
        }
    }
}

fn lists(value: &Value) -> impl Iterator<Item = (String, Vec<String>)> {
    let pairs = value.as_object().cloned().unwrap_or_default();
    pairs.into_iter().map(|(key, list)| {
        let list = list.as_array().cloned().unwrap_or_default();
        let words = list.iter().filter_map(Value::as_str).map(str::to_owned);
        (key, words.collect())
    })
}

/// Serves on `socket` until the process is ended.
#[expect(
    clippy::disallowed_methods,
    reason = "a test's server has no supervisor"
)]
pub async fn serve(socket: &Path, entries: Entries) {
    let listener = UnixListener::bind(socket).expect("a socket");
    let entries = Arc::new(entries);
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(socket, permissions).expect("its mode");
    println!("ready");
    loop {
        let (accepted, _) = listener.accept().await.expect("a connection");
        if let Ok(watcher) = Watcher::new(&accepted) {
            let call = Call {
                watcher: Arc::new(watcher),
                entries: Arc::clone(&entries),
            };
            tokio::spawn(serve_connection(accepted, call));
        }
    }
}

async fn serve_connection(socket: UnixStream, call: Call) {
    let service = SpiffeWorkloadApiServer::new(call);
    let handler = service_fn(move |request: http::Request<Incoming>| {
        service.clone().call(request.map(Body::new))
    });
    let connection = http2::Builder::new(TokioExecutor::new());
    let connection = connection.serve_connection(TokioIo::new(socket), handler);
    // A caller that goes away is no fault.
    drop(connection.await);
}

/// What is kept of a caller from accept on.
#[derive(Debug)]
struct Watcher {
    pid: i32,
    uid: u32,
    gid: u32,
    directory: File,
    started: String,
}

impl Watcher {
    fn new(socket: &UnixStream) -> io::Result<Self> {
        let peer = socket.peer_cred()?;
        let pid = peer.pid().ok_or(io::ErrorKind::NotFound)?;
        Ok(Self {
            pid,
            uid: peer.uid(),
            gid: peer.gid(),
            directory: File::open(format!("/proc/{pid}"))?,
            started: start_time(pid)?,
        })
    }

    fn is_alive(&self) -> io::Result<bool> {
        let mut directory = rustix::fs::Dir::read_from(&self.directory)?;
        let lists = directory.next().is_some_and(|entry| entry.is_ok());
        let meta = std::fs::metadata(format!("/proc/{}", self.pid))?;
        Ok(lists
            && start_time(self.pid)? == self.started
            && meta.uid() == self.uid
            && meta.gid() == self.gid)
    }

    fn selectors(&self, entries: &Entries) -> io::Result<BTreeSet<String>> {
        let pid = self.pid;
        let executable = format!("/proc/{pid}/exe");
        let path = std::fs::read_link(&executable)?;
        let mut hash = String::new();
        for byte in digest(&SHA256, &std::fs::read(&executable)?).as_ref() {
            write!(hash, "{byte:02x}").map_err(io::Error::other)?;
        }
        let mut selectors = BTreeSet::from([
            format!("unix:uid:{}", effective(pid, "Uid:")?),
            format!("unix:gid:{}", effective(pid, "Gid:")?),
            format!("unix:path:{}", path.display()),
            format!("unix:sha256:{hash}"),
        ]);
        let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let container = container_id(&cgroups).and_then(|id| entries.containers.get(id));
        selectors.extend(container.into_iter().flatten().cloned());
        Ok(selectors)
    }
}

/// Field 22 of `/proc/PID/stat`.
fn start_time(pid: i32) -> io::Result<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields);
    let field = fields.and_then(|fields| fields.split_ascii_whitespace().nth(19));
    Ok(field.ok_or(io::ErrorKind::InvalidData)?.to_owned())
}

fn effective(pid: i32, line: &str) -> io::Result<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let numbers = status.lines().find_map(|text| text.strip_prefix(line));
    let number = numbers.and_then(|numbers| numbers.split_ascii_whitespace().nth(1));
    Ok(number.ok_or(io::ErrorKind::InvalidData)?.to_owned())
}

/// The last run of 64 hexadecimal digits.
fn container_id(cgroups: &str) -> Option<&str> {
    cgroups
        .split(|c: char| !c.is_ascii_alphanumeric())
        .rfind(|word| word.len() == CONTAINER_ID && word.chars().all(|c| c.is_ascii_hexdigit()))
}

/// The service as one connection sees it.
#[derive(Clone, Debug)]
struct Call {
    watcher: Arc<Watcher>,
    entries: Arc<Entries>,
}

impl Call {
    fn identities(&self) -> Result<Vec<X509svid>, Status> {
        let selectors = self.watcher.selectors(&self.entries);
        let alive = self.watcher.is_alive();
        if !alive.is_ok_and(|alive| alive) {
            return Err(Status::unauthenticated(
                "could not verify existence of the caller",
            ));
        }
        let Ok(selectors) = selectors else {
            return Err(Status::unavailable("attestation failed"));
        };
        let entries = self.entries.entries.iter();
        let fitting: Vec<_> = entries
            .filter(|(_, wanted)| wanted.is_subset(&selectors))
            .map(|(id, _)| X509svid {
                spiffe_id: id.clone(),
                ..X509svid::default()
            })
            .collect();
        if fitting.is_empty() {
            return Err(Status::permission_denied("no identity issued"));
        }
        Ok(fitting)
    }
}

type Answers<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

fn unimplemented<T>() -> Result<T, Status> {
    Err(Status::unimplemented("not part of the reference"))
}

#[tonic::async_trait]
impl SpiffeWorkloadApi for Call {
    type FetchX509SVIDStream = Answers<X509svidResponse>;
    type FetchX509BundlesStream = Answers<X509BundlesResponse>;
    type FetchJWTBundlesStream = Answers<JwtBundlesResponse>;
    type FetchWITSVIDStream = Answers<WitsvidResponse>;
    type FetchWITBundlesStream = Answers<WitBundlesResponse>;

    async fn fetch_x509svid(
        &self,
        _: Request<X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        let answer = X509svidResponse {
            svids: self.identities()?,
            ..X509svidResponse::default()
        };
        let answers = stream::iter([Ok(answer)]).chain(stream::pending());
        Ok(Response::new(Box::pin(answers)))
    }

    async fn fetch_x509_bundles(
        &self,
        _: Request<X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        unimplemented()
    }

    async fn fetch_jwtsvid(
        &self,
        _: Request<JwtsvidRequest>,
    ) -> Result<Response<JwtsvidResponse>, Status> {
        unimplemented()
    }

    async fn fetch_jwt_bundles(
        &self,
        _: Request<JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        unimplemented()
    }

    async fn validate_jwtsvid(
        &self,
        _: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
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
