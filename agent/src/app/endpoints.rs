//! Binds the sockets and serves on them.

use super::{RunError, operators, subsystems::Subsystems};
use crate::{
    admin_api::{
        AdminApi, AdminRoutes, AdminServices, AgentFacts, Authorities, OperatorGate, OperatorPolicy,
    },
    config::{self, Config},
    credentials_api::CredentialsApi,
    http::{self, Telemetry},
    operators::Roster,
    server::{self, BoundSocket, HealthApi, HttpLimits, Ownership, SideServices, SocketSpec},
    telemetry::Readiness,
    workload_api::{WorkloadApi, WorkloadRoutes},
    workloads::{QuotaLimits, WorkloadGate},
};
use std::{net::TcpListener, sync::Arc};
use tokio::{net::UnixListener, sync::watch, task::JoinSet};
use tonic_health::pb::health_server::HealthServer;

/// Most bytes of a request for health or reflection: the name of a service, or of a file.
const MAX_SIDE_REQUEST: usize = 4096;

/// Streams that one operator's connection may have open.
const ADMIN_STREAMS: u32 = 32;

/// What is served on the workload socket.
const WORKLOAD_SERVICE: &[&str] = &["SpiffeWorkloadAPI", "symbolon.credentials.v1.Credentials"];

/// What is served on the admin socket.
const ADMIN_SERVICE: &[&str] = &["symbolon.admin.v1.Admin"];

/// What is served beside each of them.
const SIDE_SERVICES: &[&str] = &[
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
];

/// Bound, and not yet served.
#[derive(Debug)]
pub(super) struct Sockets {
    workload: BoundSocket,
    admin: BoundSocket,
    telemetry: Option<TcpListener>,
    identity: Option<TcpListener>,
}

impl Sockets {
    /// The socket of the identity port, which others serve.
    pub(super) const fn take_identity(&mut self) -> Option<TcpListener> {
        self.identity.take()
    }
}

/// Binds everything.
pub(super) fn bind(config: &Config, roster: &Roster) -> Result<Sockets, RunError> {
    let admin = match config.admin_api.group.as_deref() {
        None if roster.needs_an_open_door() => Ownership::Everybody,
        None => Ownership::Owner,
        Some(group) => Ownership::Group(operators::group_id(group)?),
    };
    if admin == Ownership::Everybody {
        operators::warn_of_closed_directory(&config.admin_api.socket);
    }
    let socket = |path: &std::path::Path, ownership, stamped| {
        BoundSocket::bind(&SocketSpec {
            path: path.to_owned(),
            ownership,
            stamped,
        })
    };
    let telemetry = config.telemetry.address.map(|address| {
        let listener = TcpListener::bind(address);
        listener.map_err(|error| RunError::Telemetry(address, error))
    });
    let identity = config.identity.address.map(|address| {
        let listener = TcpListener::bind(address);
        listener.map_err(|error| RunError::IdentityAddress(address, error))
    });
    Ok(Sockets {
        telemetry: telemetry.transpose()?,
        identity: identity.transpose()?,
        workload: socket(&config.workload_api.socket, Ownership::Everybody, true)?,
        admin: socket(&config.admin_api.socket, admin, true)?,
    })
}

/// What runs, and how it is stopped.
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) servers: JoinSet<()>,
    pub(super) stop: watch::Sender<bool>,
    /// Removed from the file system when dropped.
    _sockets: (BoundSocket, BoundSocket),
}

/// Starts to serve on all sockets.
pub(super) fn serve(
    config: &Config,
    mut sockets: Sockets,
    subsystems: &Subsystems,
    readiness: &Readiness,
) -> Result<Serving, RunError> {
    let (stop, stopped) = watch::channel(false);
    let mut endpoints = Endpoints {
        config,
        subsystems,
        readiness,
        stopped,
        servers: JoinSet::new(),
    };
    endpoints.workload(sockets.workload.listener()?)?;
    endpoints.admin(sockets.admin.listener()?)?;
    if let Some(listener) = sockets.telemetry {
        endpoints.telemetry(listener)?;
    }
    Ok(Serving {
        servers: endpoints.servers,
        stop,
        _sockets: (sockets.workload, sockets.admin),
    })
}

fn quota_limits(limits: &config::Limits) -> QuotaLimits {
    QuotaLimits {
        max_connections: limits.max_connections,
        max_connections_per_uid: limits.max_connections_per_uid,
        max_connections_per_cgroup: limits.max_connections_per_cgroup,
        max_handshakes: limits.max_handshakes,
        max_handshakes_per_payer: limits.max_handshakes_per_uid,
        calls_per_second: limits.calls_per_second_per_uid,
        connections_per_second: limits.connections_per_second_per_uid,
    }
}

/// What every endpoint is made of.
struct Endpoints<'a> {
    config: &'a Config,
    subsystems: &'a Subsystems,
    readiness: &'a Readiness,
    stopped: watch::Receiver<bool>,
    servers: JoinSet<()>,
}

impl Endpoints<'_> {
    fn workload(&mut self, listener: UnixListener) -> Result<(), RunError> {
        let limits = &self.config.limits;
        let workloads = &self.subsystems.workloads;
        let gate = Arc::new(WorkloadGate::new(
            Arc::clone(workloads),
            quota_limits(limits),
        ));
        let routes = WorkloadRoutes::new(
            WorkloadApi::new(Arc::clone(workloads)),
            self.side_services(WORKLOAD_SERVICE)?,
            self.subsystems.metrics.workload.calls.clone(),
        )
        .with_credentials(CredentialsApi::new(Arc::clone(workloads)));
        let http = HttpLimits {
            max_concurrent_streams: limits.max_streams_per_connection,
        };
        let stopped = self.stopped.clone();
        let server = server::serve(listener, gate, routes, http, stopped);
        self.servers.spawn(server);
        Ok(())
    }

    fn admin(&mut self, listener: UnixListener) -> Result<(), RunError> {
        let settings = &self.config.admin_api;
        let operators = Arc::new(OperatorGate::new(
            OperatorPolicy {
                allow_foreign_namespaces: settings.allow_foreign_namespaces,
                approvals: self.subsystems.registry.approvals_required() > 0,
            },
            self.subsystems.roster.subscribe(),
            self.subsystems.trail.clone(),
            self.subsystems.supervisor.clone(),
            Arc::clone(&self.subsystems.workloads),
        ));
        let api = admin_api(self.config, self.subsystems, self.readiness, &self.stopped);
        let metrics = self.subsystems.metrics.admin.calls.clone();
        let routes = AdminRoutes::new(api, self.side_services(ADMIN_SERVICE)?, metrics);
        let http = HttpLimits {
            max_concurrent_streams: ADMIN_STREAMS,
        };
        let stopped = self.stopped.clone();
        self.servers
            .spawn(server::serve(listener, operators, routes, http, stopped));
        Ok(())
    }

    fn telemetry(&mut self, listener: TcpListener) -> Result<(), RunError> {
        listener.set_nonblocking(true)?;
        tracing::info!(address = %listener.local_addr()?, "telemetry");
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let telemetry = Telemetry {
            readiness: self.readiness.clone(),
            metrics: self.subsystems.metrics.clone(),
        };
        let stopped = server::until_true(self.stopped.clone());
        self.servers
            .spawn(http::serve(listener, telemetry, stopped));
        Ok(())
    }

    /// gRPC health, which follows readiness, and reflection, which shows what
    /// this socket serves and nothing of the other one.
    fn side_services(&self, served: &'static [&'static str]) -> Result<SideServices, RunError> {
        let health = HealthApi::new(self.readiness.changes(), served);
        let health = HealthServer::new(health).max_decoding_message_size(MAX_SIDE_REQUEST);
        let side = SideServices::default().with(health);
        if !self.config.workload_api.reflection {
            return Ok(side);
        }
        let builder = || {
            let builder = tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(symbolon_proto::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
            let names = served.iter().chain(SIDE_SERVICES);
            names.fold(builder, |builder, name| builder.with_service_name(*name))
        };
        let (v1, v1alpha) = (builder().build_v1()?, builder().build_v1alpha()?);
        Ok(side
            .with_few_calls(v1.max_decoding_message_size(MAX_SIDE_REQUEST))
            .with_few_calls(v1alpha.max_decoding_message_size(MAX_SIDE_REQUEST)))
    }
}

fn admin_api(
    config: &Config,
    subsystems: &Subsystems,
    readiness: &Readiness,
    stopped: &watch::Receiver<bool>,
) -> AdminApi {
    let authority = Arc::clone(&subsystems.authority);
    AdminApi::new(Arc::new(AdminServices {
        facts: AgentFacts {
            version: env!("CARGO_PKG_VERSION"),
            data_dir: config.data_dir.display().to_string(),
            workload_socket: config.workload_api.socket.display().to_string(),
            admin_socket: config.admin_api.socket.display().to_string(),
            started_at: subsystems.clock.now(),
            limitations: subsystems.limitations(),
        },
        registry: Arc::clone(&subsystems.registry),
        workloads: Arc::clone(&subsystems.workloads),
        federation: Arc::clone(&subsystems.federation),
        attestor: Arc::clone(&subsystems.attestor),
        linter: Arc::clone(&subsystems.linter),
        trail: subsystems.trail.clone(),
        metrics: subsystems.metrics.registry.clone(),
        admin_metrics: subsystems.metrics.admin.clone(),
        supervisor: subsystems.supervisor.clone(),
        clock: Arc::clone(&subsystems.clock),
        readiness: readiness.clone(),
        stopped: stopped.clone(),
        authorities: Authorities(Box::new(move || authority.authorities())),
        roster: subsystems.roster.subscribe(),
        looks: subsystems.looks.clone(),
    }))
}
