//! Watches what ends, what is to be reviewed and what awaits approval.
//!
//! Nothing is done about any of it: `expires_at` ends identities by itself, and
//! the others are for people. They are told once in the log, and by gauges.

use crate::{
    clock::SharedClock,
    registry::{Client, ClientName, ClientState, Registry, Snapshot},
    telemetry::RegistryMetrics,
};
use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    task,
    time::{sleep, timeout},
};

/// How long before its end a client is told of: a week has a working day.
const SOON: Duration = Duration::from_secs(7 * 86_400);
/// How often the clock is looked at: deadlines are days.
const ROUND: Duration = Duration::from_secs(60);
/// How soon after one look the next may follow.
const PAUSE: Duration = Duration::from_secs(1);
/// Clients that are looked at before others get a turn.
const AT_ONCE: usize = 1_000;

/// What was told already.
#[derive(Debug, Default)]
struct Told {
    expiring: HashSet<ClientName>,
    overdue: HashSet<ClientName>,
}

/// Looks after every change, and each minute.
pub(super) async fn watch(registry: Arc<Registry>, metrics: RegistryMetrics, clock: SharedClock) {
    let mut changes = registry.changes();
    let mut told = Told::default();
    loop {
        changes.mark_unchanged();
        told.look(&registry.snapshot(), clock.now(), &metrics).await;
        sleep(PAUSE).await;
        if let Ok(Err(_closed)) = timeout(ROUND, changes.changed()).await {
            return;
        }
    }
}

impl Told {
    async fn look(&mut self, snapshot: &Snapshot, now: SystemTime, metrics: &RegistryMetrics) {
        let (mut expiring, mut overdue) = (HashSet::new(), HashSet::new());
        let mut pending = 0;
        for (looked_at, client) in snapshot.iter().enumerate() {
            if looked_at % AT_ONCE == 0 {
                task::yield_now().await;
            }
            pending += i64::from(client.awaits_approval());
            if let Some(at) = ends_soon(client, now) {
                if !self.expiring.contains(client.name()) {
                    let days = at.duration_since(now).unwrap_or_default().as_secs() / 86_400;
                    tracing::warn!(client = %client.name(), days, "the registration ends soon");
                }
                expiring.insert(client.name().clone());
            }
            if is_overdue(client, now) {
                if !self.overdue.contains(client.name()) {
                    tracing::warn!(client = %client.name(), "the registration's review is overdue");
                }
                overdue.insert(client.name().clone());
            }
        }
        metrics.pending.set(pending);
        metrics.expiring.set(gauge(expiring.len()));
        metrics.overdue.set(gauge(overdue.len()));
        *self = Self { expiring, overdue };
    }
}

/// When an active client ends, if that is soon.
fn ends_soon(client: &Client, now: SystemTime) -> Option<SystemTime> {
    let at = client.spec().expires_at()?;
    let is_soon = at.duration_since(now).is_ok_and(|left| left < SOON);
    (client.state_at(now) == ClientState::Active && is_soon).then_some(at)
}

fn is_overdue(client: &Client, now: SystemTime) -> bool {
    let is_open = matches!(
        client.state_at(now),
        ClientState::Active | ClientState::Suspended
    );
    is_open && client.spec().review_by().is_some_and(|at| at <= now)
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::Told;
    use crate::{clock::Clock as _, telemetry::RegistryMetrics, workloads::testing::Scene};
    use std::time::Duration;

    #[tokio::test]
    async fn what_ends_soon_or_is_overdue_is_counted() {
        const DAY: Duration = Duration::from_secs(86_400);
        let scene = Scene::new().await;
        let now = scene.clock.now();
        for (name, expires_in, review_in) in [
            ("later", Some(8 * DAY), Some(DAY)),
            ("soon", Some(6 * DAY), None),
            ("never", None, Some(Duration::ZERO)),
        ] {
            let draft = crate::registry::ClientDraft {
                expires_at: expires_in.map(|left| now + left),
                review_by: review_in.map(|left| now + left),
                ..crate::workloads::testing::draft()
            };
            let name = name.parse().unwrap();
            let actor = "uid:0".parse().unwrap();
            let registered =
                scene
                    .registry
                    .register(name, draft, actor, crate::registry::Reason::default());
            registered.await.unwrap();
        }
        let (mut told, metrics) = (Told::default(), RegistryMetrics::default());
        let snapshot = scene.registry.snapshot();
        told.look(&snapshot, now, &metrics).await;
        let counts = |metrics: &RegistryMetrics| {
            (
                metrics.expiring.get(),
                metrics.overdue.get(),
                metrics.pending.get(),
            )
        };
        assert_eq!(counts(&metrics), (1, 1, 0));
        told.look(&snapshot, now + 2 * DAY, &metrics).await;
        assert_eq!(counts(&metrics), (2, 2, 0));
        told.look(&snapshot, now + 7 * DAY, &metrics).await;
        assert_eq!(counts(&metrics), (1, 2, 0));
    }
}
