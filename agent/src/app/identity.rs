//! The identity port and the publisher, on a thread of their own.
//!
//! Handshakes cost more than anything that the sockets do, and anybody may ask
//! for them: on their own thread they take no turn of a workload.

use super::{RunError, subsystems::Subsystems};
use crate::{
    authority::{Authority, EmbeddedCa},
    config::{self, Config, IdentityTls},
    identity::{
        CertificateError, CertificateFiles, Certificates, Documents, Folder, OwnSvid, Pages,
        PlaceLimits, Port, PortLimits, PublishError, Publisher, PublisherServices, Settings,
    },
    metadata::PublicUrl,
    server,
    supervisor::Supervisor,
    telemetry::{IdentityMetrics, Readiness},
    uri::{self, Uri},
};
use futures_util::future::{BoxFuture, FutureExt as _};
use rustls::ServerConfig;
use spiffe::SpiffeId;
use std::{net::TcpListener, sync::Arc, thread};
use tokio::{
    runtime::{Builder, Handle},
    sync::{oneshot, watch},
};

/// The agent's own path in its trust domain.
const OWN_PATH: &str = "/symbolon/agent";

/// Runs, until its sender of `stop` says otherwise.
#[derive(Debug)]
pub(super) struct Identity {
    stop: watch::Sender<bool>,
    ended: oneshot::Receiver<()>,
}

/// Publishes, and serves on `listener` where there is one; `None` where both are off.
///
/// Returns when everything that there is has been published.
pub(super) async fn open(
    config: &Config,
    listener: Option<TcpListener>,
    subsystems: &Subsystems,
    readiness: &Readiness,
) -> Result<Option<Identity>, RunError> {
    let settings = &config.identity;
    if listener.is_none() && settings.publish_dir.is_none() {
        return Ok(None);
    }
    let metrics = &subsystems.metrics.identity;
    let address = listener.as_ref().map(TcpListener::local_addr).transpose()?;
    let documents = documents(config, subsystems)?;
    let folder = settings.publish_dir.as_deref();
    let folder = folder.map(|path| Folder::open(path, config.trust_domain.as_str()));
    let services = PublisherServices {
        documents: Arc::clone(&documents),
        folder: folder.transpose().map_err(PublishError::from)?,
        trail: subsystems.trail.clone(),
        readiness: readiness.clone(),
        metrics: metrics.clone(),
    };
    let part = match listener {
        Some(listener) => Some(Part {
            listener,
            served: served(config, subsystems, Pages::new(documents, metrics.clone())).await?,
        }),
        None => None,
    };
    // What was not read yet would be published as if there were no keys.
    subsystems.workloads.broker().keys().loaded().await;
    let (stop, stopped) = watch::channel(false);
    let (begun, begins) = oneshot::channel();
    let (ends, ended) = oneshot::channel::<()>();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let work = work(services, part, begun, stopped);
    thread::Builder::new()
        .name("identity".to_owned())
        .spawn(move || {
            // Dropped however it ends.
            let _ends = ends;
            runtime.block_on(work);
        })?;
    match begins.await {
        Ok(begun) => begun?,
        Err(_panicked) => return Err(RunError::Task("identity")),
    }
    if let Some(address) = address {
        tracing::info!(%address, "identity port");
    }
    Ok(Some(Identity { stop, ended }))
}

/// What the thread does.
async fn work(
    services: PublisherServices,
    part: Option<Part>,
    begun: oneshot::Sender<Result<(), PublishError>>,
    stopped: watch::Receiver<bool>,
) {
    let publisher = match Publisher::begin(services).await {
        Ok(publisher) => publisher,
        // Whoever waits for the beginning tells of it; nobody does where the start was given up.
        Err(error) => return begun.send(Err(error)).unwrap_or_default(),
    };
    begun.send(Ok(())).unwrap_or_default();
    let serving = async {
        match part {
            Some(part) => {
                let tasks = Supervisor::new(Handle::current());
                part.serve(tasks, stopped).await;
            }
            None => server::until_true(stopped).await,
        }
    };
    // All in one task: a panic in any ends the thread, which is noticed.
    tokio::select! {
        () = Box::pin(publisher.run()) => {}
        () = Box::pin(serving) => {}
    }
}

impl Identity {
    /// Ends when it is told to, or by itself, which is a failure.
    pub(super) async fn run(self, stopped: watch::Receiver<bool>) {
        let Self { stop, mut ended } = self;
        tokio::select! {
            _ended = &mut ended => return,
            () = server::until_true(stopped) => {}
        }
        stop.send_replace(true);
        // Its end is the sender's.
        ended.await.unwrap_or_default();
    }
}

fn documents(config: &Config, subsystems: &Subsystems) -> Result<Arc<Documents>, RunError> {
    let settings = Settings {
        public_url: config.identity.public_url.clone(),
        issuer: config.identity.issuer.clone(),
        cache_max_age: config.identity.cache_max_age,
    };
    let registry = Arc::clone(&subsystems.registry);
    let bundle = subsystems.authority.bundle();
    let keys = Arc::new(subsystems.workloads.broker().keys().clone());
    if config.identity.publish_dir.is_some() {
        keys.expect_writing();
    }
    Ok(Arc::new(Documents::new(registry, bundle, keys, settings)?))
}

const fn limits(settings: &config::Identity) -> PortLimits {
    PortLimits {
        places: PlaceLimits {
            connections: settings.max_connections,
            per_address: settings.max_connections_per_address,
        },
    }
}

/// The port, once it is on its own thread.
struct Part {
    listener: TcpListener,
    served: Served,
}

struct Served {
    pages: Pages,
    tls: Arc<ServerConfig>,
    /// Keeps the certificate up to date.
    keep: BoxFuture<'static, ()>,
    limits: PortLimits,
    metrics: IdentityMetrics,
}

impl Part {
    async fn serve(self, tasks: Supervisor, stopped: watch::Receiver<bool>) {
        let Served {
            pages,
            tls,
            keep,
            limits,
            metrics,
        } = self.served;
        let listener = self.listener.set_nonblocking(true);
        let listener =
            match listener.and_then(|()| tokio::net::TcpListener::from_std(self.listener)) {
                Ok(listener) => listener,
                Err(error) => return tracing::error!(%error, "identity port"),
            };
        let port = Port {
            pages,
            tls,
            limits,
            tasks,
            metrics,
        };
        tokio::select! {
            () = keep => {}
            () = port.serve(listener, stopped) => {}
        }
    }
}

async fn served(
    config: &Config,
    subsystems: &Subsystems,
    pages: Pages,
) -> Result<Served, RunError> {
    let (settings, metrics) = (&config.identity, subsystems.metrics.identity.clone());
    let (certificates, keep) = match (settings.tls, &settings.certificate) {
        (IdentityTls::Files, Some(files)) => {
            let files = CertificateFiles {
                certificate: files.certificate_file.clone(),
                key: files.key_file.clone(),
            };
            let certificates = Certificates::new(files.load()?, metrics.clone());
            let reload = Arc::clone(&subsystems.reload);
            (
                Arc::clone(&certificates),
                files.keep(certificates, reload).boxed(),
            )
        }
        // The configuration is refused where files are asked for and not named.
        (IdentityTls::Svid | IdentityTls::Files, _) => {
            let own = own_svid(config, subsystems)?;
            let (first, renew_at) = own.issue().await?;
            let certificates = Certificates::new(first, metrics.clone());
            (
                Arc::clone(&certificates),
                own.keep(certificates, renew_at).boxed(),
            )
        }
    };
    Ok(Served {
        pages,
        tls: certificates
            .server_config()
            .map_err(CertificateError::from)?,
        keep,
        limits: limits(settings),
        metrics,
    })
}

fn own_svid(config: &Config, subsystems: &Subsystems) -> Result<OwnSvid, RunError> {
    let id = format!("{}{OWN_PATH}", config.trust_domain.id_string());
    let authority: Arc<dyn Authority> = Arc::<EmbeddedCa>::clone(&subsystems.authority);
    Ok(OwnSvid {
        authority,
        spiffe_id: SpiffeId::new(&id).map_err(|error| RunError::OwnId(id, error))?,
        dns_names: config.identity.public_url.iter().filter_map(name).collect(),
        lifetime: config.svid.x509_ttl,
        trail: subsystems.trail.clone(),
        clock: Arc::clone(&subsystems.clock),
    })
}

/// The host of a URL, where that is a name.
fn name(url: &PublicUrl) -> Option<String> {
    let host = Uri::parse(url.as_str()).ok()?.host()?.to_owned();
    uri::address(&host).is_none().then_some(host)
}
