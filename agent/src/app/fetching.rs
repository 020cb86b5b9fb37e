//! Wires what is read from other people's servers.

use super::RunError;
use crate::{
    config::Config,
    drift::{DriftServices, Looks, Watcher},
    fetch::{Fetcher, Roots, TrustError, trusting_roots},
    workloads::Services,
};
use std::sync::Arc;

/// The guarded fetcher. Without certificate authorities on this machine it reaches nobody, which
/// is no reason not to start.
pub(super) fn fetcher(config: &Config) -> Result<Fetcher, RunError> {
    let settings = &config.fetch;
    let ca_file = settings.ca_file.clone();
    let roots = match trusting_roots(ca_file.as_deref()) {
        Err(error @ TrustError::Empty { .. }) if ca_file.is_none() => {
            tracing::warn!(%error, "no server is trusted; set fetch.ca_file");
            Roots::new(None)
        }
        read => Roots::read_before(ca_file, read?),
    };
    Ok(Fetcher::new(settings.allow.clone(), roots))
}

/// Watches the documents that others host.
pub(super) fn watch(config: &Config, fetcher: &Fetcher, services: &Services) -> Looks {
    let watcher = Watcher::new(DriftServices {
        registry: Arc::clone(&services.registry),
        fetcher: fetcher.clone(),
        trail: services.trail.clone(),
        metrics: services.metrics.drift.clone(),
        changes: services.metrics.registry.clone(),
        clock: Arc::clone(&services.clock),
        interval: config.fetch.interval,
    });
    let looks = watcher.looks();
    services.supervisor.critical("drift", watcher.run());
    looks
}
