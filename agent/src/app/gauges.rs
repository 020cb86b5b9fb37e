//! Keeps the gauges: of what registry and authority hold as it changes, and, every few seconds,
//! of what no change tells of.

use crate::{
    audit::Trail,
    authority::{Authority as _, EmbeddedCa},
    clock::unix_seconds,
    registry::{ClientState, Registry},
    telemetry::{KeySlot, Metrics},
    workloads::Workloads,
};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// How often: more often than anybody scrapes, and a millisecond's work for thousands of processes.
const ROUND: Duration = Duration::from_secs(5);

/// How often the gauges of registry and authority are made anew at most: each
/// time every client is looked at.
const GAUGE_PAUSE: Duration = Duration::from_secs(1);

/// Clients that are counted before others get a turn: a suspension must not wait
/// until a hundred thousand are.
const COUNTED_AT_ONCE: usize = 1_000;

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

/// Keeps the gauges that show what registry and authority hold.
pub(super) async fn publish(metrics: Metrics, registry: Arc<Registry>, authority: Arc<EmbeddedCa>) {
    const STATES: [ClientState; 5] = [
        ClientState::New,
        ClientState::Active,
        ClientState::Suspended,
        ClientState::Revoked,
        ClientState::Expired,
    ];
    let (mut clients, mut bundle) = (registry.changes(), authority.bundle());
    loop {
        let snapshot = registry.snapshot();
        let mut counts = STATES.map(|state| (state, 0));
        for (looked_at, client) in snapshot.iter().enumerate() {
            let state = snapshot.state_of(client);
            counts
                .iter_mut()
                .filter(|(counted, _)| *counted == state)
                .for_each(|(_, count)| *count += 1);
            if looked_at % COUNTED_AT_ONCE == 0 {
                tokio::task::yield_now().await;
            }
        }
        for (state, count) in counts {
            let gauge = metrics
                .registry
                .clients
                .get_or_create(&state.as_str().into());
            gauge.set(count);
        }
        let sequence = bundle.borrow_and_update().sequence();
        let sequence = i64::try_from(sequence).unwrap_or(i64::MAX);
        metrics.authority.bundle_sequence.set(sequence);
        metrics.authority.not_after.clear();
        for key in authority.authorities() {
            let slot = KeySlot {
                kind: key.kind.as_str(),
                slot: key.slot.as_str(),
            };
            let ends = i64::try_from(unix_seconds(key.not_after)).unwrap_or(i64::MAX);
            metrics.authority.not_after.get_or_create(&slot).set(ends);
        }
        sleep(GAUGE_PAUSE).await;
        let ended = tokio::select! {
            changed = clients.changed() => changed.is_err(),
            changed = bundle.changed() => changed.is_err(),
        };
        if ended {
            return;
        }
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
