//! One function for each subsystem: from its part of the configuration to the
//! running thing.

use super::{
    RunError, authority, deadlines, federation, fetching, gauges, measured_store::MeasuredStore,
    operators, restoration, told, trail,
};
use crate::{
    audit::Trail,
    authority::{Authority, EmbeddedCa},
    client_keys::{ClientKeyTimes, ClientKeys},
    clock::{SharedClock, SystemClock},
    config::{self, Config},
    drift::Looks,
    federation::Federation,
    issuance::{Broker, BrokerSettings, Issuer, Lifetimes},
    lint::{Linter, document::Policy},
    operators::Roster,
    registry::{RedbStore, Registry, RegistryConfig, SpecRules, Store, limits::CLIENTS},
    supervisor::Supervisor,
    telemetry::{
        Metrics,
        log::{self, LevelHandle},
    },
    usage::UsageFile,
    workloads::{HeldRequirement, Requirements, Services, WorkloadSettings, Workloads},
};
use std::{io, path::Path, sync::Arc, thread::JoinHandle};
use symbolon_attestors::{Attestor, AttestorConfig};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::{Notify, watch},
};
use tracing::Level;

/// The services of a running agent.
#[derive(Debug)]
pub(super) struct Subsystems {
    pub(super) clock: SharedClock,
    pub(super) supervisor: Supervisor,
    pub(super) metrics: Metrics,
    pub(super) trail: Trail,
    pub(super) authority: Arc<EmbeddedCa>,
    pub(super) registry: Arc<Registry>,
    pub(super) federation: Arc<Federation>,
    pub(super) attestor: Arc<Attestor>,
    pub(super) linter: Arc<Linter>,
    pub(super) require: Requirements,
    pub(super) workloads: Arc<Workloads>,
    pub(super) usage: Arc<UsageFile>,
    pub(super) looks: Looks,
    pub(super) audit_thread: Option<JoinHandle<()>>,
    pub(super) roster: watch::Sender<Arc<Roster>>,
    /// Told on SIGHUP.
    pub(super) reload: Arc<Notify>,
}

impl Subsystems {
    /// What is weaker than it could be, in sentences for the operator.
    pub(super) fn limitations(&self) -> Vec<String> {
        let mut limitations = self.attestor.limitations().to_vec();
        limitations.extend(self.require.limitations());
        limitations
    }
}

/// Opens everything below the sockets, in the order of what needs what.
pub(super) async fn open(config: &Config, roster: Roster) -> Result<Subsystems, RunError> {
    let clock: SharedClock = Arc::new(SystemClock);
    let supervisor = Supervisor::new(Handle::current());
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    let (trail, writer) = trail::open(config, &metrics, &clock)?;
    let audit_thread = trail::write(writer, &supervisor)?;
    let authority = authority::open(config, &clock, &supervisor, &trail)?;
    let store = open_store(&config.data_dir).await?;
    let registry = registry(config, &store, (&clock, &supervisor), &metrics).await?;
    tell_what_is_untold(config, (&store, &registry), &trail, &supervisor).await?;
    let attestor = Arc::new(Attestor::new(attestor_config(&config.attestation))?);
    let signing: Arc<dyn Authority> = Arc::<EmbeddedCa>::clone(&authority);
    let usage = usage(config, &clock, &supervisor).await;
    let issuer = issuer(config, (&signing, &trail, &clock), &metrics);
    let issuer = issuer.noting_in(usage.usage().clone());
    let (decided, told) = ((&registry, &*signing), (&trail, &clock));
    let fetcher = fetching::fetcher(config)?;
    let federation = federation::open(config, decided, told, &fetcher, &metrics, &supervisor)?;
    let broker = broker(config, &issuer, (&clock, &supervisor), (&registry, &trail))?;
    let require = requirements(&config.attestation, &attestor)?;
    show_required(require, &metrics);
    let services = Services {
        attestor: Arc::clone(&attestor),
        registry: Arc::clone(&registry),
        authority: signing,
        federation: federation.bundles(),
        broker,
        issuer,
        trail: trail.clone(),
        clock: Arc::clone(&clock),
        supervisor: supervisor.clone(),
        metrics: metrics.clone(),
    };
    let looks = fetching::watch(config, &fetcher, &services);
    let workloads = serve_workloads(services, workload_settings(config, require));
    supervisor.spawn(gauges::publish(
        metrics.clone(),
        Arc::clone(&registry),
        Arc::clone(&authority),
    ));
    Ok(Subsystems {
        linter: Arc::new(linter(config, &attestor, &clock)),
        clock,
        supervisor,
        metrics,
        trail,
        authority,
        registry,
        federation,
        attestor,
        require,
        workloads,
        usage,
        looks,
        audit_thread: Some(audit_thread),
        roster: watch::Sender::new(Arc::new(roster)),
        reload: Arc::default(),
    })
}

/// Lets the trail know what the registry has and it has not.
async fn tell_what_is_untold(
    config: &Config,
    (store, registry): (&RedbStore, &Arc<Registry>),
    trail: &Trail,
    supervisor: &Supervisor,
) -> Result<(), RunError> {
    let is_restored = restoration::record(store, trail).await?;
    let kept = told::catch_up(&config.data_dir, registry, trail).await?;
    if is_restored {
        // A crash before this tells it again.
        store.forget_restoration().await?;
    }
    supervisor.spawn(kept.keep(Arc::clone(registry), trail.clone()));
    Ok(())
}

fn issuer(
    config: &Config,
    (signing, trail, clock): (&Arc<dyn Authority>, &Trail, &SharedClock),
    metrics: &Metrics,
) -> Issuer {
    Issuer::new(
        Arc::clone(signing),
        trail.clone(),
        Arc::clone(clock),
        lifetimes(config),
        metrics.issuance.clone(),
    )
    .naming_clients_at(config.identity.public_url.clone())
}

/// What workloads hold, and what keeps it up to date.
fn serve_workloads(services: Services, settings: WorkloadSettings) -> Arc<Workloads> {
    let (supervisor, attestor) = (services.supervisor.clone(), Arc::clone(&services.attestor));
    let (trail, metrics) = (services.trail.clone(), services.metrics.clone());
    let workloads = Arc::new(Workloads::new(services, settings));
    supervisor.critical("workloads", Arc::clone(&workloads).run());
    watch_processes(&workloads, &attestor, &supervisor);
    supervisor.spawn(gauges::watch(Arc::clone(&workloads), trail, metrics));
    workloads
}

/// Looks at processes as soon as the kernel tells of them, where it does.
fn watch_processes(workloads: &Arc<Workloads>, attestor: &Attestor, supervisor: &Supervisor) {
    match attestor.events() {
        Ok(events) => {
            supervisor.spawn(Arc::clone(workloads).watch(events));
        }
        Err(error) => tracing::info!(%error, "processes are looked at every few seconds"),
    }
}

/// When clients were used last.
async fn usage(config: &Config, clock: &SharedClock, supervisor: &Supervisor) -> Arc<UsageFile> {
    let (path, now) = (config.data_dir.join("usage.json"), Arc::clone(clock));
    let opened = tokio::task::spawn_blocking({
        let path = path.clone();
        move || UsageFile::open(path, &now)
    });
    let file = match opened.await {
        Ok(file) => Arc::new(file),
        Err(_panicked) => Arc::new(UsageFile::beginning(path, clock)),
    };
    supervisor.spawn(Arc::clone(&file).run());
    file
}

fn show_required(require: Requirements, metrics: &Metrics) {
    for (word, is_required) in require.words() {
        let proofs = &metrics.workload.proofs_required;
        proofs.get_or_create(&word.into()).set(is_required.into());
    }
}

/// Tasks that run before the sockets are looked at again.
const EVENT_INTERVAL: u32 = 2;

/// Of so many tasks one is of those that other threads woke, where there are any.
const GLOBAL_QUEUE_INTERVAL: u32 = 2;

/// One thread by default: a node's agent answers faster that way, and leaves
/// the other cores to the workloads.
pub(super) fn runtime(workers: usize) -> io::Result<Runtime> {
    let mut builder = match workers {
        0 | 1 => Builder::new_current_thread(),
        more => {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(more);
            builder
        }
    };
    builder
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .global_queue_interval(GLOBAL_QUEUE_INTERVAL)
        .build()
}

pub(super) fn log(config: &config::Log) -> Result<LevelHandle, RunError> {
    let format = match config.format {
        config::LogFormat::Auto => log::Format::Auto,
        config::LogFormat::Text => log::Format::Text,
        config::LogFormat::Json => log::Format::Json,
    };
    Ok(log::start(format, level(config.level))?)
}

/// `Off` still lets errors through: an agent that fails in silence helps nobody.
pub(super) const fn level(level: config::LogLevel) -> Level {
    match level {
        config::LogLevel::Off | config::LogLevel::Error => Level::ERROR,
        config::LogLevel::Warn => Level::WARN,
        config::LogLevel::Info => Level::INFO,
        config::LogLevel::Debug => Level::DEBUG,
        config::LogLevel::Trace => Level::TRACE,
    }
}

/// What clients show to OAuth servers, and the keys behind it.
fn broker(
    config: &Config,
    issuer: &Issuer,
    (clock, supervisor): (&SharedClock, &Supervisor),
    (registry, trail): (&Arc<Registry>, &Trail),
) -> Result<Broker, RunError> {
    let settings = &config.credentials_api;
    let times = ClientKeyTimes {
        ttl: settings.client_key_ttl,
        lead: settings.client_key_lead,
    };
    let directory = config.data_dir.join("keys/clients");
    let keys = ClientKeys::open(&directory, times, Arc::clone(clock))?;
    let (kept, registry, trail) = (keys.clone(), Arc::clone(registry), trail.clone());
    supervisor.critical(
        "client keys",
        async move { kept.run(registry, trail).await },
    );
    let public = config.identity.public_url.clone();
    let settings = broker_settings(config);
    Ok(Broker::new(issuer.clone(), keys, public, settings))
}

pub(super) fn broker_settings(config: &Config) -> BrokerSettings {
    let settings = &config.credentials_api;
    BrokerSettings {
        assertion_ttl: settings.assertion_ttl,
        token_endpoints: settings.token_endpoint_audiences.0.clone(),
        names_issuer: config.identity.issuer.is_some(),
    }
}

async fn registry(
    config: &Config,
    store: &Arc<RedbStore>,
    (clock, supervisor): (&SharedClock, &Supervisor),
    metrics: &Metrics,
) -> Result<Arc<Registry>, RunError> {
    let store: Arc<dyn Store> = Arc::<RedbStore>::clone(store);
    let store = Arc::new(MeasuredStore::new(store, metrics.store.clone()));
    let settings = RegistryConfig {
        rules: rules(config),
        max_clients: CLIENTS,
        approvals_required: config.registry.approvals_required,
    };
    let (registry, writer) = Registry::open(store, settings, Arc::clone(clock)).await?;
    supervisor.critical("registry", writer.run());
    let registry = Arc::new(registry);
    let (watched, gauges) = (Arc::clone(&registry), metrics.registry.clone());
    supervisor.spawn(deadlines::watch(watched, gauges, Arc::clone(clock)));
    Ok(registry)
}

/// What judges registrations.
fn linter(config: &Config, attestor: &Arc<Attestor>, clock: &SharedClock) -> Linter {
    let linter = Linter::new(Arc::clone(attestor), Arc::clone(clock));
    linter.with_policy(Policy {
        public_url: config.identity.public_url.clone(),
        approved_hosts: config.registry.approved_hosts.clone(),
        trust_domain: Some(config.trust_domain.clone()),
    })
}

/// What every registration is held to.
pub(super) fn rules(config: &Config) -> SpecRules {
    let limits = &config.limits;
    SpecRules {
        trust_domain: config.trust_domain.clone(),
        x509_ttl: limits.min_x509_ttl..=limits.max_x509_ttl,
        jwt_ttl: limits.min_jwt_ttl..=limits.max_jwt_ttl,
    }
}

async fn open_store(data_dir: &Path) -> Result<Arc<RedbStore>, RunError> {
    Ok(Arc::new(
        RedbStore::open(&data_dir.join("registry.redb")).await?,
    ))
}

fn attestor_config(config: &config::Attestation) -> AttestorConfig {
    AttestorConfig {
        max_binary_bytes: config.max_binary_bytes,
        hash_remote_filesystems: config.hash_remote_filesystems,
        allow_traced: config.allow_traced_processes,
        force_fallback_pin: config.force_fallback_pin,
        read_threads: config.read_threads,
        reads_per_uid: config.reads_per_uid,
        systemd_bus: config.systemd_bus.clone(),
        runtime_sockets: config.runtime_sockets.clone(),
        attestor_timeout: config.attestor_timeout,
        ..AttestorConfig::default()
    }
}

pub(super) const fn lifetimes(config: &Config) -> Lifetimes {
    Lifetimes {
        x509: config.svid.x509_ttl,
        jwt: config.svid.jwt_ttl,
    }
}

/// What is demanded of connections: what the operator wrote, or what of the
/// standard this machine can prove.
fn requirements(
    config: &config::Attestation,
    attestor: &Attestor,
) -> Result<Requirements, RunError> {
    let demanded = config.require;
    let demanded = Requirements {
        pidfd: demanded.pidfd,
        held: if demanded.held {
            HeldRequirement::CloseOnExec
        } else if demanded.held_or_inheritable {
            HeldRequirement::Any
        } else {
            HeldRequirement::None
        },
        answered: demanded.answered,
    };
    let possible = Requirements::possible(attestor);
    if !config.require_is_given {
        return Ok(possible);
    }
    match demanded.beyond(possible).first() {
        Some(word) => Err(RunError::Unprovable(word)),
        None => Ok(demanded),
    }
}

pub(super) fn workload_settings(config: &Config, require: Requirements) -> WorkloadSettings {
    WorkloadSettings {
        wait_for_registration: config.workload_api.wait_for_registration,
        bundles_for_any: config.workload_api.bundles == config::BundleAudience::Any,
        max_processes: config.limits.max_processes,
        require,
        answer_timeout: config.attestation.answer_timeout,
        operators: Arc::new(operators::gates(config)),
    }
}
