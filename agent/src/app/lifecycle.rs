//! From start to exit: serve, reload on SIGHUP, drain on SIGTERM and SIGINT.

use super::{
    RunError,
    endpoints::{self, Serving, Sockets},
    identity, operators, registrations,
    subsystems::{self, Subsystems},
};
use crate::{
    audit::{Event, Health, Kind},
    config::{Config, Sources},
    operators::Roster,
    telemetry::{Notifier, Readiness, log::LevelHandle},
};
use std::{sync::Arc, time::Duration};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinSet,
    time::timeout,
};

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

enum Wake {
    Stop,
    Reload,
    Failed(&'static str),
}

/// Runs the agent until it is told to stop.
pub(super) async fn run(
    config: Config,
    sources: Sources,
    log: LevelHandle,
    (mut sockets, roster): (Sockets, Roster),
) -> Result<(), RunError> {
    let notifier = Notifier::new(notify_socket().as_deref())?;
    let mut signals = Signals::new()?;
    let (readiness, starting) = Readiness::blocked_by("starting");
    let subsystems = subsystems::open(&config, roster).await?;
    announce(&config, &subsystems);
    subsystems.supervisor.spawn(block_while_refusing(
        subsystems.trail.health(),
        readiness.clone(),
    ));
    registrations::load(&config, &subsystems, &readiness).await;
    let listener = sockets.take_identity();
    let identity = identity::open(&config, listener, &subsystems, &readiness).await?;
    let mut serving = endpoints::serve(&config, sockets, &subsystems, &readiness)?;
    if let Some(identity) = identity {
        let stopped = serving.stop.subscribe();
        serving.servers.spawn(identity.run(stopped));
    }
    let started = Event::new(Kind::Started).reason(env!("CARGO_PKG_VERSION"));
    subsystems.trail.record(started).await?;
    drop(starting);
    notifier.ready();
    tracing::info!("ready");

    let mut running = Running {
        config,
        sources,
        log,
        notifier,
    };
    let failed = loop {
        match signals.next(&subsystems, &mut serving.servers).await {
            Wake::Stop => break None,
            Wake::Failed(task) => break Some(task),
            Wake::Reload => {
                subsystems.reload.notify_waiters();
                running.reload(&subsystems).await;
            }
        }
    };
    let stopping = readiness.block("stopping");
    running.notifier.stopping();
    drain(serving, &subsystems, running.config.shutdown.grace).await;
    drop(stopping);
    close(subsystems).await;
    failed.map_or(Ok(()), |task| Err(RunError::Task(task)))
}

/// What of a running agent can change.
struct Running {
    config: Config,
    sources: Sources,
    log: LevelHandle,
    notifier: Notifier,
}

impl Running {
    /// Takes a changed configuration, or says why not and keeps the old one.
    async fn reload(&mut self, subsystems: &Subsystems) {
        self.notifier.reloading();
        match self.read_again().await {
            Ok(Some((new, roster))) => self.take(new, roster, subsystems),
            Ok(None) => {}
            Err(text) => tracing::error!("configuration not reloaded, the old one stays: {text}"),
        }
        self.notifier.ready();
    }

    /// The new configuration if it can be taken; `None` where nothing changed.
    async fn read_again(&self) -> Result<Option<(Config, Roster)>, String> {
        let sources = self.sources.clone();
        let load = move || {
            let new = Config::load(&sources).map_err(|faults| faults.to_string())?;
            let roster = operators::roster(&new).map_err(|error| error.to_string())?;
            Ok::<_, String>((new, roster))
        };
        let (new, roster) = match tokio::task::spawn_blocking(load).await {
            Ok(loaded) => loaded?,
            Err(_panicked) => return Err("reading it failed".to_owned()),
        };
        let differences = Config::reload_differences(&self.config, &new);
        if !differences.restart.is_empty() {
            let changes: Vec<_> = differences
                .restart
                .iter()
                .map(ToString::to_string)
                .collect();
            return Err(format!("a restart is needed for: {}", changes.join("; ")));
        }
        for change in &differences.live {
            tracing::info!("configuration: {change}");
        }
        if differences.live.is_empty() {
            tracing::info!("configuration unchanged");
            return Ok(None);
        }
        Ok(Some((new, roster)))
    }

    fn take(&mut self, new: Config, roster: Roster, subsystems: &Subsystems) {
        let is_open = new.admin_api.group.is_some() || !roster.needs_an_open_door();
        if !is_open && !subsystems.roster.borrow().needs_an_open_door() {
            tracing::warn!(
                "the admin socket opens to the new operators' users with the next start"
            );
        }
        subsystems.roster.send_replace(Arc::new(roster));
        let workloads = &subsystems.workloads;
        workloads.set_settings(subsystems::workload_settings(&new, subsystems.require));
        workloads
            .issuer()
            .set_lifetimes(subsystems::lifetimes(&new));
        workloads
            .broker()
            .set_settings(subsystems::broker_settings(&new));
        if let Err(error) = self.log.set(subsystems::level(new.log.level)) {
            tracing::error!(%error, "the log level stays");
        }
        self.config = new;
    }
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// A server that ends before it is told to has failed.
    async fn next(&mut self, subsystems: &Subsystems, servers: &mut JoinSet<()>) -> Wake {
        tokio::select! {
            _ = self.terminate.recv() => Wake::Stop,
            _ = self.interrupt.recv() => Wake::Stop,
            _ = self.hangup.recv() => Wake::Reload,
            task = subsystems.supervisor.failed() => Wake::Failed(task),
            Some(_ended) = servers.join_next() => Wake::Failed("server"),
        }
    }
}

/// An agent that cannot record cannot issue, so it is not ready.
async fn block_while_refusing(mut health: watch::Receiver<Health>, readiness: Readiness) {
    let mut block = None;
    health.mark_changed();
    while health.changed().await.is_ok() {
        let refusing = !health.borrow_and_update().is_recording();
        block = refusing.then(|| {
            let held = block.take();
            held.unwrap_or_else(|| readiness.block("the audit trail cannot be written"))
        });
    }
}

/// The variable belongs to the service manager, not to the configuration.
fn notify_socket() -> Option<std::ffi::OsString> {
    std::env::var_os("NOTIFY_SOCKET")
}

/// What an operator should know from the log alone.
fn announce(config: &Config, subsystems: &Subsystems) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        trust_domain = config.trust_domain.as_str(),
        workload_socket = %config.workload_api.socket.display(),
        admin_socket = %config.admin_api.socket.display(),
        clients = subsystems.registry.snapshot().len(),
        "starting"
    );
    for limitation in subsystems.limitations() {
        tracing::warn!("{limitation}");
    }
    for notice in config.notices() {
        tracing::warn!("{notice}");
    }
}

/// Ends streams and connections, and cuts those that are left at the deadline:
/// no caller can make the stop fail.
async fn drain(mut serving: Serving, subsystems: &Subsystems, grace: Duration) {
    tracing::info!("stopping");
    subsystems.workloads.close();
    serving.stop.send_replace(true);
    let ended = async { while serving.servers.join_next().await.is_some() {} };
    if timeout(grace, ended).await.is_err() {
        tracing::warn!("connections that did not end within shutdown.grace are cut");
    }
}

/// Records the end and lets the trail finish.
async fn close(mut subsystems: Subsystems) {
    if let Err(error) = subsystems.trail.record(Event::new(Kind::Stopped)).await {
        tracing::error!(%error, "the end could not be recorded");
    }
    subsystems.supervisor.stopping();
    subsystems.trail.close().await;
    let usage = Arc::clone(&subsystems.usage);
    let saved = tokio::task::spawn_blocking(move || usage.save()).await;
    if !matches!(saved, Ok(Ok(()))) {
        tracing::warn!("when clients were used last could not be written");
    }
    if let Some(thread) = subsystems.audit_thread.take() {
        let joined = tokio::task::spawn_blocking(move || thread.join().is_ok()).await;
        if !joined.unwrap_or(false) {
            tracing::error!("the audit thread panicked");
        }
    }
    tracing::info!("stopped");
}
