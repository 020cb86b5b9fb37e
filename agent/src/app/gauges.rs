//! Looks every few seconds at what no change tells of.

use crate::{audit::Trail, telemetry::Metrics, workloads::Workloads};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// How often: more often than anybody scrapes, and a millisecond's work for thousands of processes.
const ROUND: Duration = Duration::from_secs(5);

/// Keeps the gauges of what processes hold and of what waits for the audit trail.
pub(super) async fn watch(workloads: Arc<Workloads>, trail: Trail, metrics: Metrics) {
    loop {
        look(&workloads, &trail, &metrics).await;
        sleep(ROUND).await;
    }
}

async fn look(workloads: &Workloads, trail: &Trail, metrics: &Metrics) {
    for count in workloads.live().await {
        let held = metrics.live.identities.get_or_create(&count.kind.into());
        held.set(gauge(count.held));
        drop(held);
        // JWT-SVIDs are not renewed.
        if let Some(late) = metrics.live.late.get(&count.kind.into()) {
            late.set(gauge(count.late));
        }
    }
    for (chain, waiting) in trail.waiting() {
        let gauges = &metrics.audit.waiting;
        gauges
            .get_or_create(&chain.as_str().into())
            .set(gauge(waiting));
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::look;
    use crate::{
        telemetry::Metrics,
        workloads::{Asked, testing::Scene},
    };

    #[tokio::test]
    async fn what_processes_hold_is_counted_by_kind() {
        let scene = Scene::new().await;
        // What comes later wakes it.
        scene.run();
        scene.register("a").await;
        scene.register("b").await;
        let caller = scene.own();
        let metrics = Metrics::new("1");
        let counts = async || {
            look(&scene.workloads, &scene.trail, &metrics).await;
            ["x509-svid", "wit-svid", "jwt-svid"]
                .map(|kind| metrics.live.identities.get_or_create(&kind.into()).get())
        };
        assert_eq!(counts().await, [0, 0, 0]);
        let served = scene.workloads.x509(&caller, Asked::ByCall).await;
        assert_eq!(served.unwrap().len(), 2);
        assert_eq!(counts().await, [2, 0, 0]);
        scene.suspend("a").await;
        crate::workloads::testing::until(|| {
            let snapshot = scene.registry.snapshot();
            let client = snapshot.client(&"a".parse().unwrap()).unwrap();
            scene.workloads.holders(&[client]) == [0]
        })
        .await;
        assert_eq!(counts().await, [1, 0, 0]);
    }
}
