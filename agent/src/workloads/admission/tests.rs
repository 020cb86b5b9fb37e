//! Who is not let in, and what the trail has of it.

use crate::{
    server::Refused,
    workloads::testing::{Actress, Scene},
};
use serde_json::Value;
use symbolon_attestors::{AttestError, PinError};

fn denials(scene: &Scene) -> Vec<Value> {
    let mut lines = scene.lines();
    lines.retain(|line| line["event"] == "denied");
    lines
}

#[tokio::test]
async fn whoever_is_gone_before_it_is_looked_at_is_in_the_trail() {
    let scene = Scene::new().await;
    let actress = Actress::enter();
    let pid = actress.pid();
    let peer = scene.pin(pid);
    actress.exit();
    let refused = scene.gate.admit_peer(peer, |workloads, peer| {
        let image = workloads.services.attestor.look(peer);
        Err(image.unwrap_err().into())
    });
    let refused = refused.map(drop);
    assert!(matches!(refused, Err(Refused::Unseen(AttestError::Gone))));
    scene.close_trail().await;
    let denied = denials(&scene);
    assert_eq!(denied.len(), 1, "{denied:?}");
    assert_eq!(denied[0]["process"]["pid"], pid);
    let reason = denied[0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("unpinned: the peer cannot be looked at: "));
}

#[tokio::test]
async fn of_a_flood_the_trail_has_the_first_and_nobody_waits() {
    let scene = Scene::new().await;
    tokio::time::pause();
    let (saved, flood) = (100, 300);
    for _ in 0..flood {
        scene
            .gate
            .note_unpinned(None, &Refused::Pin(PinError::Gone));
    }
    tokio::time::resume();
    scene.close_trail().await;
    let denied = denials(&scene);
    assert_eq!(denied.len() as u64, saved);
    assert!(denied.iter().all(|line| line.get("process").is_none()));
    let mut summaries = scene.lines();
    summaries.retain(|line| line["event"] == "summarized");
    assert_eq!(summaries.len(), 1);
    assert_eq!(summaries[0]["summary"]["count"], flood - saved);
    assert_eq!(summaries[0]["summary"]["reason"], "unpinned");
    let counted = &scene.workloads.services.metrics.issuance.denied;
    assert_eq!(counted.get_or_create(&"unpinned".into()).get(), flood);
}
