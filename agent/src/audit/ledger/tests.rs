use super::{Cause, MAX_CAUSES, Origin};
use crate::{
    audit::{
        CallersLimits, Chain, Event, Kind, Limits, Process, Trail, TrailConfig,
        ledger::Ledger,
        testing::{Folder, Running, clock, event},
        writer::Message,
    },
    telemetry::AuditMetrics,
};
use futures_util::FutureExt;
use prometheus_client::metrics::counter::Counter;
use serde_json::Value;
use std::time::Duration;
use tokio::time::advance;

fn cause(uid: u32, word: &'static str) -> Cause {
    Cause {
        origin: Origin {
            uid: Some(uid),
            cgroup: Some(77),
        },
        kind: Kind::Denied,
        word,
        process: Some(Process {
            gid: uid,
            pid: 4711,
            uid,
        }),
    }
}

fn denied(word: &str) -> Event {
    Event::new(Kind::Denied).reason(format!("{word}: whatever"))
}

fn ledger() -> Ledger {
    Ledger::new(clock(), Counter::default())
}

fn count(lines: &[Value], kind: &str) -> usize {
    lines.iter().filter(|line| line["event"] == kind).count()
}

fn summarized(lines: &[Value]) -> u64 {
    let counts = lines.iter().map(|line| line["summary"]["count"].as_u64());
    counts.map(Option::unwrap_or_default).sum()
}

#[tokio::test]
async fn a_million_denials_of_one_process_change_nothing_for_the_others() {
    const MILLION: u64 = 1_000_000;
    let folder = Folder::new();
    let running = Running::start(&folder.audit());
    let issued = |n: u64| Event::new(Kind::Issued).reason(format!("{n}"));
    for n in 0..MILLION {
        // Nobody waits for any of them.
        drop(
            running
                .trail
                .of_caller(cause(1000, "no-match"), || denied("no-match")),
        );
        if n % 10_000 == 0 {
            running.trail.record(issued(n)).await.unwrap();
        }
    }
    let other = running
        .trail
        .of_caller(cause(1001, "audience"), || denied("audience"));
    other.await.unwrap();
    running.trail.close().await;
    running.closed().await;
    running.stop();
    let trail = folder.lines();
    assert_eq!(trail.len(), 100);
    assert!(trail.iter().all(|line| line["event"] == "issued"));
    let callers = folder.callers();
    assert!(callers.iter().all(|line| line["chain"] == "callers"));
    let singles = count(&callers, "denied") as u64 - 1;
    assert_eq!(singles + summarized(&callers), MILLION);
    let of_other = |line: &Value| line["reason"] == "audience: whatever";
    assert!(callers.iter().any(of_other));
    let summary = callers.iter().find(|line| line["event"] == "summarized");
    let summary = &summary.unwrap()["summary"];
    assert_eq!(summary["uid"], 1000);
    assert_eq!(summary["cgroup"], 77);
    assert_eq!(
        (&summary["event"], &summary["reason"]),
        (&"denied".into(), &"no-match".into())
    );
}

#[tokio::test]
async fn what_callers_cause_evicts_only_itself() {
    let folder = Folder::new();
    let config = TrailConfig {
        callers: CallersLimits::of(Limits::default(), Duration::MAX, 40_000),
        ..TrailConfig::default()
    };
    let (trail, writer) = Trail::open(&folder.audit(), config, clock()).unwrap();
    let running = Running::run(trail, writer);
    running.trail.record(event("before")).await.unwrap();
    for uid in 0..20_u32 {
        for _ in 0..50 {
            let recorded = running.trail.of_caller(cause(uid, "no-match"), || {
                denied(&format!("no-match {}", "x".repeat(100)))
            });
            recorded.await.unwrap();
        }
    }
    running.trail.record(event("after")).await.unwrap();
    running.stop();
    let reasons: Vec<_> = folder
        .lines()
        .iter()
        .map(|line| line["reason"].clone())
        .collect();
    assert_eq!(reasons, ["before", "after"]);
    let callers = folder.callers();
    assert!(count(&callers, "denied") < 200);
    let expunged = callers
        .iter()
        .rfind(|line| line["event"] == "expunged")
        .unwrap();
    assert_eq!(expunged["chain"], "callers");
    let bytes: usize = callers.iter().map(|line| line.to_string().len()).sum();
    assert!(bytes < 50_000, "{bytes}");
}

#[tokio::test]
async fn a_full_queue_is_counted_and_delays_nobody() {
    let folder = Folder::new();
    // Nobody writes yet.
    let (trail, writer) = Trail::open(&folder.audit(), TrailConfig::default(), clock()).unwrap();
    let mut waiting = Vec::new();
    for uid in 0..2_000 {
        waiting.push(trail.of_caller(cause(uid, "no-match"), || denied("no-match")));
    }
    let at_once = waiting.into_iter().filter_map(FutureExt::now_or_never);
    assert_eq!(at_once.count(), 2_000 - 1_024);
    let mut record = Box::pin(trail.record(event("one")));
    assert!(record.as_mut().now_or_never().is_none());
    let running = Running::run(trail.clone(), writer);
    record.await.unwrap();
    drop(trail);
    running.stop();
    let callers = folder.callers();
    let all = count(&callers, "denied") as u64 + summarized(&callers);
    assert_eq!(all, 2_000);
}

#[tokio::test(start_paused = true)]
async fn a_cause_is_recorded_singly_up_to_its_rate() {
    let ledger = ledger();
    let singles = |uid, word| {
        (0..1_000)
            .filter(|_| ledger.admit(&cause(uid, word)))
            .count()
    };
    assert_eq!(singles(1, "no-match"), 100);
    // Another reason, and then what one user may have in all.
    assert_eq!(singles(1, "audience"), 100);
    assert_eq!(singles(1, "changed"), 100);
    assert_eq!(singles(1, "not-held"), 0);
    assert_eq!(singles(2, "no-match"), 100);
    advance(Duration::from_secs(2)).await;
    assert_eq!(singles(1, "no-match"), 20);
}

#[tokio::test(start_paused = true)]
async fn all_users_together_have_a_rate() {
    let ledger = ledger();
    let causes = (0..100_000).map(|n| cause(n % 3_000, "no-match"));
    assert_eq!(causes.filter(|cause| ledger.admit(cause)).count(), 5_000);
}

#[tokio::test(start_paused = true)]
async fn the_table_is_bounded_and_nothing_is_dropped_without_being_counted() {
    let ledger = ledger();
    ledger.stop(true);
    for uid in 0..10_000 {
        assert!(!ledger.admit(&cause(uid, "no-match")));
    }
    assert_eq!(ledger.causes.lock().entries.len(), MAX_CAUSES + 1);
    // While there is no space nothing is written at all.
    assert!(ledger.take_due(true).is_empty());
    ledger.stop(false);
    let mut counted = 0;
    for _ in 0..100 {
        let due = ledger.take_due(true);
        counted += due.0.iter().map(|(_, counted)| counted.count).sum::<u64>();
    }
    assert_eq!(counted, 10_000);
    advance(Duration::from_secs(3600)).await;
    assert!(ledger.take_due(false).is_empty());
    assert_eq!(ledger.causes.lock().entries.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_cause_that_goes_on_is_summarized_less_and_less_often() {
    let ledger = ledger();
    let mut summaries = 0;
    for _ in 0..3_600 {
        for _ in 0..100 {
            ledger.admit(&cause(1, "no-match"));
        }
        summaries += ledger.take_due(false).0.len();
        advance(Duration::from_secs(1)).await;
    }
    assert!((60..80).contains(&summaries), "{summaries}");
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_written_is_counted_again() {
    let ledger = ledger();
    for _ in 0..150 {
        ledger.admit(&cause(1, "no-match"));
    }
    let due = ledger.take_due(true);
    assert_eq!(due.0.len(), 1);
    ledger.give_back(due);
    for _ in 0..10 {
        ledger.count(&cause(1, "no-match"));
    }
    let due = ledger.take_due(true);
    assert_eq!(due.0[0].1.count, 60);
}

#[tokio::test]
async fn too_little_space_stops_what_callers_cause_first() {
    let folder = Folder::new();
    let metrics = AuditMetrics::default();
    let config = TrailConfig {
        min_free_bytes: u64::MAX,
        metrics: metrics.clone(),
        ..TrailConfig::default()
    };
    let (trail, mut writer) = Trail::open(&folder.audit(), config, clock()).unwrap();
    writer.keeper.look_at_space();
    assert_eq!(metrics.alarm.get(), 1);
    assert!(metrics.free_bytes.get() > 0);
    let denied = trail.of_caller(cause(1, "no-match"), || denied("no-match"));
    denied.now_or_never().unwrap().unwrap();
    writer.callers.handle(&mut vec![Message::Tend]);
    assert_eq!(folder.callers(), [Value::Null; 0]);
    writer.keeper.min_free_bytes = 0;
    writer.keeper.look_at_space();
    assert_eq!(metrics.alarm.get(), 0);
    let running = Running::run(trail, writer);
    running.record("one").await.unwrap();
    running.stop();
    assert_eq!(summarized(&folder.callers()), 1);
    assert_eq!(folder.segments(Chain::Trail), [1]);
}
