//! Expiry comes by the clock alone, to the moment, and goes when the clock is set back.

use crate::clock::Clock as _;

use super::{ClientDraft, ClientState, Duration, Running, START, Standing, draft};

const HOUR: Duration = Duration::from_secs(3_600);

fn expiring(uid: &str) -> ClientDraft {
    ClientDraft {
        expires_at: Some(*START + HOUR),
        ..draft(&[uid])
    }
}

#[tokio::test(start_paused = true)]
async fn an_expiry_wakes_readers_without_anybody_acting() {
    let running = Running::new().await;
    running
        .register("web", expiring("unix:uid:1"))
        .await
        .unwrap();
    let mut changes = running.registry.changes();
    changes.mark_unchanged();
    running.clock.set(*START + HOUR - Duration::from_millis(1));
    assert_eq!(running.matching(&["unix:uid:1"]), ["web"]);
    running.clock.set(*START + HOUR);
    // Exact at the moment of the question, and readers are told within a second.
    assert!(running.matching(&["unix:uid:1"]).is_empty());
    assert_eq!(running.state("web"), ClientState::Expired);
    tokio::time::timeout(Duration::from_millis(1_001), changes.changed())
        .await
        .unwrap()
        .unwrap();
    assert!(running.matching(&["unix:uid:1"]).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_back_revives_and_wakes() {
    let running = Running::new().await;
    running
        .register("web", expiring("unix:uid:1"))
        .await
        .unwrap();
    let mut changes = running.registry.changes();
    running.clock.set(*START + 2 * HOUR);
    changes.mark_unchanged();
    changes.changed().await.unwrap();
    running.clock.set(*START);
    changes.changed().await.unwrap();
    assert_eq!(running.matching(&["unix:uid:1"]), ["web"]);
}

#[tokio::test(start_paused = true)]
async fn readers_are_not_woken_without_cause() {
    let running = Running::new().await;
    running
        .register("web", expiring("unix:uid:1"))
        .await
        .unwrap();
    running
        .register("suspended", expiring("unix:uid:2"))
        .await
        .unwrap();
    running
        .stand("suspended", Standing::Suspended)
        .await
        .unwrap();
    running.update("web", draft(&["unix:uid:1"])).await.unwrap();
    let mut changes = running.registry.changes();
    changes.mark_unchanged();
    running.clock.set(*START + 2 * HOUR);
    // Nobody active expires any more, so nobody is woken.
    let woken = tokio::time::timeout(HOUR, changes.changed()).await;
    woken.unwrap_err();
}

#[tokio::test]
async fn a_decision_outweighs_expiry_and_an_update_ends_it() {
    let running = Running::new().await;
    running
        .register("web", expiring("unix:uid:1"))
        .await
        .unwrap();
    running.clock.advance(2 * HOUR);
    assert_eq!(running.state("web"), ClientState::Expired);
    running.stand("web", Standing::Suspended).await.unwrap();
    assert_eq!(running.state("web"), ClientState::Suspended);
    running.stand("web", Standing::Active).await.unwrap();
    assert_eq!(running.state("web"), ClientState::Expired);
    let longer = ClientDraft {
        expires_at: Some(running.clock.now() + HOUR),
        ..draft(&["unix:uid:1"])
    };
    running.update("web", longer).await.unwrap();
    assert_eq!(running.matching(&["unix:uid:1"]), ["web"]);
}
