use crate::audit::{
    AuditError, Chain, Trail,
    testing::{Folder, Running},
};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use serde_json::Value;
use std::{fs, pin::pin};

async fn recorded(count: usize) -> (Folder, Running) {
    let folder = Folder::new();
    let running = Running::start(&folder.audit());
    let events = (1..=count).map(|n| crate::audit::testing::event(format!("{n}")));
    running.trail.record_all(events.collect()).await.unwrap();
    (folder, running)
}

async fn reasons(trail: &Trail, last: usize) -> Vec<String> {
    let lines: Vec<String> = trail.tail(last, false).try_collect().await.unwrap();
    lines.iter().map(|line| reason(line)).collect()
}

fn reason(line: &str) -> String {
    let value: Value = serde_json::from_str(line).unwrap();
    value["reason"].as_str().unwrap().into()
}

async fn next(lines: &mut (impl Stream<Item = Result<String, AuditError>> + Unpin)) -> String {
    reason(&lines.next().await.unwrap().unwrap())
}

#[tokio::test]
async fn the_last_lines_come_in_their_order() {
    let (_folder, running) = recorded(3).await;
    assert_eq!(reasons(&running.trail, 2).await, ["2", "3"]);
    assert_eq!(reasons(&running.trail, 3).await, ["1", "2", "3"]);
    assert_eq!(reasons(&running.trail, 100).await, ["1", "2", "3"]);
    assert_eq!(reasons(&running.trail, 0).await, [""; 0]);
    running.stop();
}

#[tokio::test]
async fn an_empty_trail_has_no_lines() {
    let folder = Folder::new();
    let running = Running::start(&folder.audit());
    assert_eq!(reasons(&running.trail, 10).await, [""; 0]);
    running.stop();
}

#[tokio::test]
async fn more_lines_than_one_read_holds_are_all_told() {
    let (_folder, running) = recorded(3_000).await;
    let reasons = reasons(&running.trail, 2_999).await;
    assert_eq!(reasons.len(), 2_999);
    assert_eq!(reasons[0], "2");
    assert_eq!(reasons[2_998], "3000");
    running.stop();
}

#[tokio::test]
async fn a_tail_goes_on_across_segments() {
    let folder = Folder::new();
    let running = Running::in_pieces(&folder.audit(), 1_000);
    let record = async |from: u32, to: u32| {
        for n in from..=to {
            running.record(format!("{n}")).await.unwrap();
        }
    };
    record(1, 50).await;
    let mut lines = pin!(running.trail.tail(48, true));
    record(51, 100).await;
    for n in 3..=100 {
        assert_eq!(next(&mut lines).await, n.to_string());
    }
    assert!(folder.segments(Chain::Trail).len() > 10);
    assert_eq!(reasons(&running.trail, 1_000).await.len(), 100);
}

#[tokio::test]
async fn a_slow_follower_misses_only_what_was_removed() {
    let folder = Folder::new();
    let running = Running::in_pieces(&folder.audit(), 1_000);
    running.record("1").await.unwrap();
    let mut lines = pin!(running.trail.tail(1, true));
    assert_eq!(next(&mut lines).await, "1");
    for n in 2..=40 {
        running.record(format!("{n}")).await.unwrap();
    }
    let numbers = folder.segments(Chain::Trail);
    for number in &numbers[1..numbers.len() - 1] {
        fs::remove_file(folder.audit().join(Chain::Trail.file_name(*number))).unwrap();
    }
    running.trail.close().await;
    let mut last = "1".to_owned();
    while let Some(line) = lines.next().await {
        last = reason(&line.unwrap());
    }
    assert_eq!(last, "40");
}

#[tokio::test]
async fn a_follower_gets_new_lines_until_the_trail_is_closed() {
    let (_folder, running) = recorded(2).await;
    let mut lines = pin!(running.trail.tail(1, true));
    assert_eq!(next(&mut lines).await, "2");
    running.record("3").await.unwrap();
    assert_eq!(next(&mut lines).await, "3");
    running.record("4").await.unwrap();
    running.trail.close().await;
    assert_eq!(next(&mut lines).await, "4");
    assert!(lines.next().await.is_none());
}

#[tokio::test]
async fn a_follower_may_start_with_nothing() {
    let (_folder, running) = recorded(2).await;
    let mut lines = pin!(running.trail.tail(0, true));
    running.record("3").await.unwrap();
    assert_eq!(next(&mut lines).await, "3");
    running.record("4").await.unwrap();
    assert_eq!(next(&mut lines).await, "4");
}

#[tokio::test]
async fn a_removed_file_ends_the_tail_with_an_error() {
    let (folder, running) = recorded(1).await;
    fs::remove_file(folder.segment()).unwrap();
    let mut lines = pin!(running.trail.tail(1, false));
    assert!(matches!(
        lines.next().await,
        Some(Err(AuditError::Io { step: "open", .. }))
    ));
    assert!(lines.next().await.is_none());
    running.stop();
}
