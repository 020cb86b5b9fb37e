//! Wires the folder of registrations.

use super::subsystems::{self, Subsystems};
use crate::{
    config::Config,
    registrations::{Applier, ApplierServices},
    telemetry::Readiness,
};
use std::sync::Arc;

/// Looks at the folder once, so that nobody is denied what it registers, and then
/// keeps looking.
pub(super) async fn load(config: &Config, subsystems: &Subsystems, readiness: &Readiness) {
    let Some(folder) = config.registry.apply_dir.clone() else {
        return;
    };
    let services = ApplierServices {
        registry: Arc::clone(&subsystems.registry),
        rules: subsystems::rules(config),
        trail: subsystems.trail.clone(),
        linter: Arc::clone(&subsystems.linter),
        changes: subsystems.metrics.registry.clone(),
        metrics: subsystems.metrics.apply.clone(),
        readiness: readiness.clone(),
        clock: Arc::clone(&subsystems.clock),
    };
    let mut applier = Applier::new(folder, services);
    applier.round().await;
    let supervisor = &subsystems.supervisor;
    supervisor.critical("registrations", applier.run());
}
