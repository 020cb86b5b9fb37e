//! The composition root: the only place that names concrete implementations.
//!
//! [`run_agent`] takes the agent from its arguments to its exit code: read the
//! configuration, harden the process, bind the sockets while there is one
//! thread, open the subsystems one by one, serve, and drain. Each subsystem is
//! wired by one function in `subsystems`; `endpoints` binds and serves;
//! `lifecycle` waits for signals, reloads and stops.
//!
//! What fails at start is told on standard error in a sentence with the next
//! step, and nothing is left behind: sockets that were bound are removed.

mod authority;
mod deadlines;
mod demo;
mod endpoints;
mod federation;
mod fetching;
mod gauges;
mod identity;
mod lifecycle;
mod measured_store;
mod operators;
mod prepare;
mod registrations;
mod restoration;
mod subsystems;
mod told;
mod trail;

pub use demo::run_demo;

use crate::{
    audit::AuditError,
    authority::{AuthorityError, KeyDirectoryError},
    cli::{AgentArgs, Console},
    client_keys::ClientKeyError,
    config::{Config, Overrides, Sources},
    data_directory::{DataDirectoryError, DataLock},
    disk,
    fetch::TrustError,
    governance::RecoveryError,
    identity::{CertificateError, DocumentsError, PublishError},
    registry::{RegistryError, StoreError},
    server::BindError,
};
use std::{io, process::ExitCode};

/// The exit code for a faulty configuration: the service manager need not try
/// again before somebody mends it.
const FAULTY_CONFIGURATION: u8 = 2;

/// Why the agent cannot run.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Prepare(#[from] prepare::PrepareError),
    #[error(transparent)]
    Directory(#[from] DataDirectoryError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("telemetry address {0}: {1}")]
    Telemetry(std::net::SocketAddr, io::Error),
    #[error("identity.address {0}: {1}")]
    IdentityAddress(std::net::SocketAddr, io::Error),
    #[error("identity: {0}")]
    Certificate(#[from] CertificateError),
    #[error("identity: {0}")]
    Documents(#[from] DocumentsError),
    #[error("identity.publish_dir: {0}")]
    Publish(#[from] PublishError),
    #[error("identity: {0} is no SPIFFE ID: {1}")]
    OwnId(String, spiffe::SpiffeIdError),
    #[error("admin_api.group: {0}")]
    Group(String),
    #[error("operators: {0}")]
    Operators(String),
    #[error("audit trail: {0}")]
    Audit(#[from] AuditError),
    #[error("authority: {0}")]
    Authority(#[from] AuthorityError),
    #[error("federation: {0}")]
    Federation(#[from] KeyDirectoryError),
    #[error("clients' keys: {0}")]
    ClientKeys(#[from] ClientKeyError),
    #[error("registry: {0}")]
    Registry(#[from] RegistryError),
    #[error("registry: {0}")]
    Store(#[from] StoreError),
    #[error("attestation: {0}")]
    Attestation(#[from] symbolon_attestors::SetupError),
    #[error(
        "attestation.require: {0:?} cannot be proved on this machine; take it out, or see SECURITY.md"
    )]
    Unprovable(&'static str),
    #[error("registry: the note that a restoration has left cannot be read: {0}")]
    Restoration(#[from] serde_json::Error),
    #[error("fetch.ca_file: {0}")]
    Trust(#[from] TrustError),
    #[error("log: {0}")]
    Log(#[from] tracing::subscriber::SetGlobalDefaultError),
    #[error("changes of the registry that the audit trail lacks: {0}")]
    Recovery(#[from] RecoveryError),
    #[error("{0}")]
    System(#[from] io::Error),
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    #[error("the task {0:?} ended; the log has the reason")]
    Task(&'static str),
}

impl RunError {
    /// What an operator can do about it, where its words do not say that themselves.
    fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Store(error) => Some(error.remedy()),
            Self::Registry(error) | Self::Recovery(RecoveryError::Registry(error)) => match error {
                RegistryError::Store(error) => Some(error.remedy()),
                RegistryError::Record(error) => Some(error.remedy()),
                _ => None,
            },
            Self::Audit(error) | Self::Recovery(RecoveryError::Audit(error)) => match error {
                AuditError::Io { source, .. } => Some(disk::remedy(&**source)),
                AuditError::Unwritable(source) => Some(disk::remedy(&**source)),
                AuditError::Key(error) => disk::known_remedy(&**error),
                _ => None,
            },
            Self::Authority(error) => disk::known_remedy(error),
            Self::ClientKeys(error) => disk::known_remedy(error),
            _ => None,
        }
    }
}

/// Runs `symbolon agent`.
#[must_use]
pub fn run_agent(args: AgentArgs) -> ExitCode {
    let mut console = Console::of_process();
    let check = args.check;
    let sources = sources(args);
    let config = match Config::load(&sources) {
        Ok(config) => config,
        Err(faults) => {
            console.tell(&faults.to_string());
            return ExitCode::from(FAULTY_CONFIGURATION);
        }
    };
    if check {
        if let Err(error) = operators::roster(&config) {
            console.tell(&error.to_string());
            return ExitCode::from(FAULTY_CONFIGURATION);
        }
        for notice in config.notices() {
            console.tell(&format!("notice: {notice}"));
        }
        console.tell("the configuration is valid");
        return ExitCode::SUCCESS;
    }
    match start(config, sources) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console.tell(&format!("agent: {error}"));
            if let Some(remedy) = error.remedy() {
                console.tell(remedy);
            }
            ExitCode::FAILURE
        }
    }
}

fn sources(args: AgentArgs) -> Sources {
    let overrides = Overrides {
        trust_domain: args.trust_domain,
        data_dir: args.data_dir,
        workload_socket: args.workload_socket,
        admin_socket: args.admin_socket,
    };
    Sources::of_process(args.config, overrides)
}

fn start(config: Config, sources: Sources) -> Result<(), RunError> {
    let log = subsystems::log(&config.log)?;
    prepare::harden()?;
    let lock = DataLock::of(&config.data_dir)?;
    let roster = operators::roster(&config)?;
    let sockets = endpoints::bind(&config, &roster)?;
    let runtime = subsystems::runtime(config.runtime.workers)?;
    let ended = runtime.block_on(lifecycle::run(config, sources, log, (sockets, roster)));
    drop(lock);
    ended
}
