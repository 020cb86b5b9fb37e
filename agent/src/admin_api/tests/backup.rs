//! A backup is recorded before it leaves, and has what the registry had then.

use super::{api, request, state_change};
use crate::{
    backup::{Item, Reader},
    registry::Checkup,
    workloads::testing::{Scene, until},
};
use futures_util::StreamExt as _;
use std::{sync::Arc, time::Duration};
use symbolon_proto::admin::{BackupRequest, admin_server::Admin as _};
use tokio::sync::watch;
use tonic::Code;

#[tokio::test]
async fn a_backup_has_the_registry_of_when_it_was_asked_for() {
    let scene = Scene::new().await;
    let api = api(&scene);
    for name in ["a", "b", "c"] {
        scene.register(name).await;
    }
    scene.suspend("c").await;
    let pieces = api.backup(request(&scene, BackupRequest {})).await;
    let mut pieces = pieces.unwrap().into_inner();
    let mut bytes = pieces.next().await.unwrap().unwrap().data.to_vec();
    // What comes meanwhile is another backup's.
    let suspended = api.suspend_client(request(&scene, state_change("a"))).await;
    suspended.unwrap();
    while let Some(piece) = pieces.next().await {
        bytes.extend(piece.unwrap().data);
    }
    let mut reader = Reader::begin(&bytes[..]).unwrap();
    let mut checkup = Checkup::default();
    while let Some(item) = reader.item().unwrap() {
        if let Item::Record(record) = item {
            checkup.take(&record);
        }
    }
    let report = checkup.end();
    assert!(report.whole, "{report:?}");
    assert_eq!((report.revision, report.clients), (4, 3));
    assert_eq!(reader.header().revision, 4);
    assert_eq!(reader.header().trust_domain, "example.org");
    let lines = scene.lines();
    let told = lines.iter().find(|line| line["event"] == "backed_up");
    let told = told.unwrap();
    assert_eq!(told["evidence"]["revision"], 4);
    assert_eq!(
        told["evidence"]["digest"],
        report.digest.unwrap().to_string()
    );
    assert!(told["operator"].is_string() && told["process"]["pid"].is_u64());
}

/// Else what a pipe was given of it would be taken for the whole.
#[tokio::test]
async fn a_backup_that_the_agent_does_not_finish_ends_with_an_error() {
    let scene = Scene::new().await;
    let stop = watch::Sender::new(false);
    let mut api = api(&scene);
    Arc::get_mut(&mut api.services).unwrap().stopped = stop.subscribe();
    for name in ["a", "b"] {
        scene.register(name).await;
    }
    let pieces = api.backup(request(&scene, BackupRequest {})).await;
    let mut pieces = pieces.unwrap().into_inner();
    pieces.next().await.unwrap().unwrap();
    stop.send_replace(true);
    let mut last = None;
    while let Some(piece) = pieces.next().await {
        last = Some(piece);
    }
    let end = last.unwrap().unwrap_err();
    assert_eq!(end.code(), Code::Unavailable);
    assert_eq!(end.message(), "the agent stops; the backup is not whole");
}

#[tokio::test]
async fn a_backup_that_cannot_be_recorded_does_not_leave() {
    let scene = Scene::new().await;
    let api = api(&scene);
    scene.register("a").await;
    scene.close_trail().await;
    let refused = api.backup(request(&scene, BackupRequest {})).await;
    assert_eq!(refused.err().unwrap().code(), Code::Unavailable);
}

#[tokio::test]
async fn so_many_backups_are_made_at_once_and_no_more() {
    let scene = Scene::new().await;
    let api = api(&scene);
    let backup = || api.backup(request(&scene, BackupRequest {}));
    let (first, second) = (backup().await.unwrap(), backup().await.unwrap());
    let refused = backup().await.err().unwrap();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    drop((first, second));
    until(|| api.backups.taken() == 0).await;
    backup().await.unwrap();
}

/// The attack: two backups are begun and never read, so that nobody gets another one.
#[tokio::test(start_paused = true)]
async fn a_backup_that_nobody_reads_gives_its_place_back() {
    let scene = Scene::new().await;
    let api = api(&scene);
    let backup = || api.backup(request(&scene, BackupRequest {}));
    let unread = (backup().await.unwrap(), backup().await.unwrap());
    tokio::time::sleep(Duration::from_secs(61)).await;
    let mut pieces = backup().await.unwrap().into_inner();
    pieces.next().await.unwrap().unwrap();
    drop(unread);
}
