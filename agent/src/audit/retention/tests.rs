use crate::{
    audit::{
        Chain, Limits, Trail, TrailConfig,
        testing::{Folder, Running, manual_clock, pieces},
        writer::Message,
    },
    clock::SharedClock,
};
use serde_json::Value;
use std::{fs, sync::Arc, time::Duration};

const HOUR: Duration = Duration::from_secs(3600);

/// One line of 300 bytes and more in each segment.
async fn segments(folder: &Folder, count: u32) {
    let running = Running::in_pieces(&folder.audit(), 100);
    for n in 1..=count {
        running
            .record(format!("{n} {}", "x".repeat(200)))
            .await
            .unwrap();
    }
    running.stop();
}

/// What is due at this time happens.
fn tend(folder: &Folder, limits: Limits, later: Duration) {
    let clock = manual_clock();
    clock.advance(later);
    let clock: SharedClock = clock;
    let config = TrailConfig {
        trail: limits,
        ..TrailConfig::default()
    };
    let (trail, mut writer) = Trail::open(&folder.audit(), config, Arc::clone(&clock)).unwrap();
    writer.trail.handle(&mut vec![Message::Tend]);
    writer.keeper.tidy();
    drop(trail);
}

fn events(folder: &Folder) -> Vec<String> {
    let text = |line: &Value| line["event"].as_str().unwrap().to_owned();
    folder.lines().iter().map(text).collect()
}

#[tokio::test]
async fn a_full_segment_is_followed_by_the_next_and_the_chain_goes_on() {
    let folder = Folder::new();
    let running = Running::in_pieces(&folder.audit(), 1_000);
    for n in 0..100 {
        running.record(format!("{n}")).await.unwrap();
    }
    running.stop();
    segments(&folder, 3).await;
    assert_eq!(folder.lines().len(), 103);
    for number in folder.segments(Chain::Trail) {
        let path = folder.audit().join(Chain::Trail.file_name(number));
        assert!(fs::metadata(path).unwrap().len() < 1_400);
    }
}

#[tokio::test]
async fn an_old_segment_is_followed_by_the_next() {
    let folder = Folder::new();
    let running = Running::start(&folder.audit());
    running.record("one").await.unwrap();
    running.stop();
    tend(&folder, Limits::default(), 23 * HOUR);
    assert_eq!(folder.segments(Chain::Trail), [1]);
    tend(&folder, Limits::default(), 24 * HOUR);
    assert_eq!(folder.segments(Chain::Trail), [1, 2]);
    // An empty one never is.
    tend(&folder, Limits::default(), 72 * HOUR);
    assert_eq!(folder.segments(Chain::Trail), [1, 2]);
}

#[tokio::test]
async fn a_segment_that_cannot_be_begun_leaves_the_old_one_growing() {
    let folder = Folder::new();
    let (trail, writer) = Trail::open(&folder.audit(), pieces(100), manual_clock()).unwrap();
    fs::create_dir(folder.audit().join(Chain::Trail.file_name(2))).unwrap();
    let running = Running::run(trail, writer);
    for n in 0..10 {
        running.record(format!("{n}")).await.unwrap();
    }
    running.stop();
    fs::remove_dir(folder.audit().join(Chain::Trail.file_name(2))).unwrap();
    assert_eq!(folder.lines().len(), 10);
}

#[tokio::test]
async fn the_oldest_segments_go_when_there_are_too_many_bytes_and_the_trail_tells() {
    let folder = Folder::new();
    segments(&folder, 10).await;
    let before = folder.lines();
    let limits = Limits {
        max_bytes: 2_000,
        ..Limits::default()
    };
    tend(&folder, limits, Duration::ZERO);
    let lines = folder.lines();
    let left = lines.len() - 1;
    assert!((2..7).contains(&left), "{left}");
    let expunged = lines.last().unwrap();
    assert_eq!(expunged["event"], "expunged");
    let evidence = &expunged["evidence"];
    assert_eq!(evidence["first_seq"], 1);
    assert_eq!(evidence["last_seq"], 10 - left as u64);
    assert_eq!(evidence["segments"], 10 - left as u64);
    assert_eq!(evidence["last_digest"], lines[0]["prev"]);
    assert_eq!(lines[..left], before[10 - left..]);
    // And that is that.
    tend(&folder, limits, Duration::ZERO);
    assert_eq!(folder.lines().len(), left + 1);
}

#[tokio::test]
async fn segments_that_are_too_old_go_one_at_a_time() {
    let folder = Folder::new();
    segments(&folder, 4).await;
    let limits = Limits {
        retention: 10 * HOUR,
        ..Limits::default()
    };
    tend(&folder, limits, 10 * HOUR);
    assert_eq!(events(&folder), ["denied"; 4]);
    for left in (0..4).rev() {
        tend(&folder, limits, 11 * HOUR);
        let expected: Vec<_> = ["denied"; 4][..left]
            .iter()
            .chain(&["expunged"; 4][left..])
            .copied()
            .collect();
        assert_eq!(events(&folder), expected);
    }
    let running = Running::start(&folder.audit());
    running.record("more").await.unwrap();
    running.stop();
    assert_eq!(folder.lines().last().unwrap()["seq"], 9);
}

#[tokio::test]
async fn a_removal_that_a_crash_put_off_is_made_up_for() {
    let folder = Folder::new();
    segments(&folder, 6).await;
    let limits = Limits {
        max_bytes: 1_000,
        ..Limits::default()
    };
    let first = fs::read(folder.segment()).unwrap();
    tend(&folder, limits, Duration::ZERO);
    let oldest = folder.segments(Chain::Trail)[0];
    let path = folder.audit().join(Chain::Trail.file_name(oldest - 1));
    fs::write(&path, first).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    tend(&folder, limits, Duration::ZERO);
    assert!(!path.exists());
    folder.lines();
}
