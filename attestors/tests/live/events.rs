//! The kernel's word on what processes do.

use crate::peer::{Peer, attestor, cannot_run};
use std::path::Path;
use symbolon_attestors::{EventsError, ProcessEvent, ProcessEvents};

fn events() -> Option<ProcessEvents> {
    match attestor().events() {
        Ok(events) => Some(events),
        Err(error) => {
            assert!(!matches!(error, EventsError::Watch(_)), "{error}");
            cannot_run(&format!("the process connector: {error}"));
            None
        }
    }
}

/// Waits for `event` among those of other processes.
async fn has_come(events: &mut ProcessEvents, event: ProcessEvent) {
    while events.next().await.unwrap() != event {}
}

#[tokio::test]
async fn an_execve_and_an_exit_are_told() {
    let Some(mut events) = events() else { return };
    let mut peer = Peer::start();
    let pid = peer.pid();
    peer.inherit(40, Path::new("/bin/cat"));
    has_come(&mut events, ProcessEvent::Exec { pid }).await;
    drop(peer);
    has_come(&mut events, ProcessEvent::Exit { pid }).await;
}

#[tokio::test]
async fn two_may_listen() {
    let (Some(mut one), Some(mut two)) = (events(), events()) else {
        return;
    };
    let peer = Peer::start();
    let pid = peer.pid();
    drop(peer);
    has_come(&mut one, ProcessEvent::Exit { pid }).await;
    has_come(&mut two, ProcessEvent::Exit { pid }).await;
}
