//! Wires what fetches and keeps the bundles of foreign trust domains.

use super::RunError;
use crate::{
    audit::Trail,
    authority::Authority,
    clock::SharedClock,
    config::Config,
    federation::{Federation, Keeper, KeeperServices, Pace, WebSource},
    fetch::Fetcher,
    registry::Registry,
    supervisor::Supervisor,
    telemetry::Metrics,
};
use std::sync::Arc;

/// Starts to ask the bundle endpoints of the relationships that are in force.
pub(super) fn open(
    config: &Config,
    (registry, authority): (&Arc<Registry>, &dyn Authority),
    (trail, clock): (&Trail, &SharedClock),
    fetcher: &Fetcher,
    metrics: &Metrics,
    supervisor: &Supervisor,
) -> Result<Arc<Federation>, RunError> {
    let services = KeeperServices {
        registry: Arc::clone(registry),
        source: Arc::new(WebSource::new(fetcher.clone())),
        own: authority.bundle(),
        trail: trail.clone(),
        clock: Arc::clone(clock),
        metrics: metrics.federation.clone(),
        pace: Pace {
            least: config.federation.min_refresh,
            most: config.federation.max_refresh,
        },
    };
    let keeper = Keeper::open(services, &config.data_dir.join("federation"))?;
    let federation = keeper.federation();
    supervisor.critical("federation", keeper.run());
    Ok(federation)
}
