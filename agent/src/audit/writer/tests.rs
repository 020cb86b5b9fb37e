use crate::audit::{
    AuditError, Cause, Chain, Durability, Kind, Origin, Trail, TrailConfig, TrailWriter,
    segment::{MAX_LINE_BYTES, Medium},
    testing::{Folder, Running, clock, event, open, pieces, root_may, verified},
};
use futures_util::{FutureExt as _, future::join_all};
use parking_lot::Mutex;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::{
    env, fs,
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader, ErrorKind},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, mpsc},
    time::Duration,
};
use tokio::runtime::Builder;

const SOON: Duration = Duration::from_millis(5);

/// What fails next, in the order of use.
#[derive(Debug, Default)]
struct Faults {
    /// Write so many bytes, then fail.
    short_writes: Vec<usize>,
    failed_syncs: usize,
    failed_cuts: usize,
    syncs: usize,
}

/// A file that fails as told and, if it has a gate, syncs only when let.
struct Faulty {
    file: File,
    faults: Arc<Mutex<Faults>>,
    gate: Option<mpsc::Receiver<()>>,
}

fn failing(left: &mut usize) -> bool {
    let fails = *left > 0;
    *left -= usize::from(fails);
    fails
}

impl Medium for Faulty {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(short) = self.faults.lock().short_writes.pop() else {
            return self.file.append(bytes);
        };
        self.file.append(&bytes[..short.min(bytes.len())])?;
        Err(ErrorKind::StorageFull.into())
    }

    fn sync(&mut self) -> io::Result<()> {
        if let Some(gate) = &self.gate {
            gate.recv().map_err(io::Error::other)?;
        }
        let mut faults = self.faults.lock();
        faults.syncs += 1;
        if failing(&mut faults.failed_syncs) {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.file.sync()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        if failing(&mut self.faults.lock().failed_cuts) {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.file.cut(length)
    }
}

fn faulty(
    folder: &Folder,
    gate: Option<mpsc::Receiver<()>>,
) -> (Trail, TrailWriter, Arc<Mutex<Faults>>) {
    let (trail, mut writer) = open(&folder.audit()).unwrap();
    let faults = Arc::<Mutex<Faults>>::default();
    writer.trail.probe_interval = SOON;
    writer.trail.segment.medium = Box::new(Faulty {
        file: OpenOptions::new()
            .append(true)
            .open(folder.segment())
            .unwrap(),
        faults: Arc::clone(&faults),
        gate,
    });
    (trail, writer, faults)
}

async fn recording(trail: &Trail, recording: bool) {
    let mut health = trail.health();
    health
        .wait_for(|health| health.is_recording() == recording)
        .await
        .unwrap();
}

fn reasons(folder: &Folder) -> Vec<String> {
    let lines = folder.lines();
    lines
        .iter()
        .map(|line| line["reason"].as_str().unwrap().into())
        .collect()
}

const REPAIRED: &str = "the trail could not be written for a time";

#[tokio::test]
async fn nobody_is_answered_before_the_record_is_durable() {
    let folder = Folder::new();
    let (open_gate, gate) = mpsc::channel();
    let (trail, writer, _) = faulty(&folder, Some(gate));
    let durable = writer.trail.durable();
    let running = Running::run(trail, writer);
    let mut record = Box::pin(running.record("one"));
    assert!(record.as_mut().now_or_never().is_none());
    assert_eq!(durable.borrow().end.offset, 0);
    open_gate.send(()).unwrap();
    record.await.unwrap();
    assert_eq!(
        durable.borrow().end.offset,
        fs::metadata(folder.segment()).unwrap().len()
    );
    drop(open_gate);
    running.stop();
}

#[tokio::test]
async fn records_that_wait_are_made_durable_together() {
    let folder = Folder::new();
    let (open_gate, gate) = mpsc::channel();
    let (trail, writer, faults) = faulty(&folder, Some(gate));
    let records: Vec<_> = (0..100)
        .map(|n| {
            let trail = trail.clone();
            let mut record = Box::pin(async move { trail.record(event(format!("{n}"))).await });
            assert!(record.as_mut().now_or_never().is_none());
            record
        })
        .collect();
    let running = Running::run(trail, writer);
    open_gate.send(()).unwrap();
    assert!(join_all(records).await.iter().all(Result::is_ok));
    assert_eq!(faults.lock().syncs, 1);
    running.stop();
    assert_eq!(folder.lines().len(), 100);
}

#[tokio::test]
async fn more_records_than_the_queue_holds_all_get_in() {
    let folder = Folder::new();
    let running = Running::start(&folder.audit());
    let records = (0..3_000).map(|n| running.record(format!("{n}")));
    assert!(join_all(records).await.iter().all(Result::is_ok));
    running.stop();
    assert_eq!(folder.lines().len(), 3_000);
}

#[tokio::test]
async fn a_failed_write_leaves_nothing_and_refuses_until_a_probe_succeeds() {
    let folder = Folder::new();
    let (trail, mut writer, faults) = faulty(&folder, None);
    writer.trail.probe_interval = Duration::from_secs(3600);
    let running = Running::run(trail, writer);
    running.record("one").await.unwrap();
    faults.lock().short_writes = vec![20];
    let refusal = running.record("two").await.unwrap_err();
    assert!(
        matches!(&refusal, AuditError::Unwritable(error) if error.kind() == ErrorKind::StorageFull)
    );
    assert_eq!(reasons(&folder), ["one"]);
    // The disk would take it again, but nobody has tried.
    let refusal = running.record("three").await.unwrap_err();
    assert!(matches!(refusal, AuditError::Unwritable(_)));
    running.stop();
    assert_eq!(reasons(&folder), ["one"]);
}

#[tokio::test]
async fn the_trail_tells_of_a_time_when_it_could_not_be_written() {
    let folder = Folder::new();
    let (trail, writer, faults) = faulty(&folder, None);
    let metrics = writer.trail.metrics.clone();
    let running = Running::run(trail, writer);
    faults.lock().short_writes = vec![7, 300, 0];
    running.record("one").await.unwrap_err();
    recording(&running.trail, true).await;
    running.record("two").await.unwrap();
    running.stop();
    let lines = folder.lines();
    assert_eq!(reasons(&folder), [REPAIRED, "two"]);
    assert_eq!(lines[0]["evidence"]["error"], "no storage space");
    assert_eq!(lines[0]["evidence"]["refused_records"], 1);
    assert_eq!(lines[0]["evidence"]["since"], "2026-07-28T12:00:00.123Z");
    assert_eq!((metrics.refused.get(), metrics.refusing.get()), (1, 0));
}

#[test]
fn a_queue_that_is_never_empty_does_not_put_a_probe_off() {
    let folder = Folder::new();
    let (trail, mut writer, faults) = faulty(&folder, None);
    writer.trail.probe_interval = Duration::ZERO;
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let mut messages = Vec::new();
    faults.lock().short_writes = vec![0];
    let mut one = Box::pin(trail.record(event("one")));
    assert!(one.as_mut().now_or_never().is_none());
    assert!(writer.trail.wait(&runtime, &mut messages));
    writer.trail.handle(&mut messages);
    runtime.block_on(one).unwrap_err();

    let mut two = Box::pin(trail.record(event("two")));
    assert!(two.as_mut().now_or_never().is_none());
    assert!(writer.trail.wait(&runtime, &mut messages));
    assert!(messages.is_empty() && writer.trail.outage.is_none());
    assert!(writer.trail.wait(&runtime, &mut messages));
    writer.trail.handle(&mut messages);
    runtime.block_on(two).unwrap();
    assert_eq!(reasons(&folder), [REPAIRED, "two"]);
}

#[tokio::test]
async fn a_record_that_could_not_be_synced_is_not_in_the_trail() {
    let folder = Folder::new();
    let (trail, writer, faults) = faulty(&folder, None);
    let running = Running::run(trail, writer);
    running.record("one").await.unwrap();
    // The second failure is that of the sync after the cut.
    faults.lock().failed_syncs = 2;
    running.record("two").await.unwrap_err();
    recording(&running.trail, true).await;
    running.record("three").await.unwrap();
    running.stop();
    assert_eq!(reasons(&folder), ["one", REPAIRED, "three"]);
}

#[tokio::test]
async fn nothing_is_written_behind_bytes_that_cannot_be_cut_away() {
    let folder = Folder::new();
    let (trail, writer, faults) = faulty(&folder, None);
    let running = Running::run(trail, writer);
    *faults.lock() = Faults {
        short_writes: vec![9],
        failed_cuts: 3,
        ..Faults::default()
    };
    running.record("one").await.unwrap_err();
    recording(&running.trail, true).await;
    running.stop();
    assert_eq!(faults.lock().failed_cuts, 0);
    assert_eq!(reasons(&folder), [REPAIRED]);
}

#[tokio::test]
async fn events_recorded_together_are_all_there_or_none() {
    let folder = Folder::new();
    let running = Running::start(&folder.audit());
    let long = "x".repeat(MAX_LINE_BYTES);
    let refusal = running
        .trail
        .record_all(vec![event("one"), event(long.clone())])
        .await;
    assert!(matches!(refusal, Err(AuditError::TooLong(_))));
    let many = (0..20).map(|_| event("x".repeat(150_000))).collect();
    let refusal = running.trail.record_all(many).await;
    assert!(matches!(refusal, Err(AuditError::TooLong(_))));
    running
        .trail
        .record_all(vec![event("two"), event("three")])
        .await
        .unwrap();
    running.trail.record_all(Vec::new()).await.unwrap();
    running.stop();
    assert_eq!(reasons(&folder), ["two", "three"]);
}

#[tokio::test]
async fn long_events_do_not_make_a_write_too_long() {
    let folder = Folder::new();
    let (trail, writer, faults) = faulty(&folder, None);
    let long = "x".repeat(100_000);
    let records: Vec<_> = (0..60)
        .map(|_| {
            let mut record = Box::pin(trail.record(event(long.clone())));
            assert!(record.as_mut().now_or_never().is_none());
            record
        })
        .collect();
    let running = Running::run(trail.clone(), writer);
    assert!(join_all(records).await.iter().all(Result::is_ok));
    drop(trail);
    running.stop();
    // 6 MB in writes of 2 MB and a line.
    assert_eq!(faults.lock().syncs, 3);
    assert_eq!(folder.lines().len(), 60);
}

#[tokio::test]
async fn a_closed_trail_keeps_what_it_took_and_refuses_the_rest() {
    let folder = Folder::new();
    let running = Running::start(&folder.audit());
    let (first, ()) = tokio::join!(running.record("one"), running.trail.close());
    first.unwrap();
    running.closed().await;
    assert!(matches!(
        running.record("two").await,
        Err(AuditError::Closed)
    ));
    running.trail.close().await;
    running.stop();
    assert_eq!(reasons(&folder), ["one"]);
}

#[tokio::test]
async fn a_trail_whose_writer_never_ran_records_nothing() {
    let folder = Folder::new();
    let (trail, writer) = open(&folder.audit()).unwrap();
    let record = trail.record(event("one"));
    drop(writer);
    assert!(matches!(record.await, Err(AuditError::Closed)));
}

#[tokio::test]
async fn without_syncs_records_are_written_all_the_same() {
    let folder = Folder::new();
    let config = TrailConfig {
        durability: Durability::Write,
        ..TrailConfig::default()
    };
    let metrics = config.metrics.clone();
    let (trail, writer) = Trail::open(&folder.audit(), config, clock()).unwrap();
    let running = Running::run(trail, writer);
    running.record("one").await.unwrap();
    assert_eq!(reasons(&folder), ["one"]);
    running.stop();
    assert_eq!(metrics.records.get_or_create(&"denied".into()).get(), 1);
}

/// A file system of 64 KiB, which only root can have.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        if !root_may("mount a small file system") {
            return None;
        }
        mount("tmpfs", at, "tmpfs", MountFlags::empty(), Some(c"size=64k")).unwrap();
        Some(Self(at.into()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_and_a_disk_with_space_again_records() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_disk) = SmallDisk::mount(dir.path()) else {
        return;
    };
    let (filler, audit) = (dir.path().join("filler"), dir.path().join("audit"));
    fs::write(&filler, [0; 32 * 1024]).unwrap();
    let (trail, mut writer) = Trail::open(&audit, pieces(6_000), clock()).unwrap();
    writer.trail.probe_interval = SOON;
    writer.callers.probe_interval = SOON;
    let running = Running::run(trail, writer);
    let mut recorded = 0;
    let refusal = loop {
        match running.record("x".repeat(1000)).await {
            Ok(()) => recorded += 1,
            Err(refusal) => break refusal,
        }
    };
    assert!(recorded > 10);
    assert!(
        matches!(&refusal, AuditError::Unwritable(error) if error.kind() == ErrorKind::StorageFull)
    );
    assert!(!verified(&audit, Chain::Trail).is_empty());

    // What callers cause is counted.
    let cause = Cause {
        origin: Origin::default(),
        kind: Kind::Denied,
        word: "no-match",
        process: None,
    };
    let denied = running.trail.of_caller(cause, || event("z".repeat(5_000)));
    denied.await.unwrap();

    // A small event of the trail's own may still have fitted; no space at all is left.
    fs::remove_file(&filler).unwrap();
    recording(&running.trail, true).await;
    running.record("y".repeat(1000)).await.unwrap();
    running.stop();
    let callers = verified(&audit, Chain::Callers);
    let counts = callers.iter().map(|line| line["summary"]["count"].as_u64());
    assert_eq!(counts.flatten().sum::<u64>(), 1);
    let lines = verified(&audit, Chain::Trail);
    let repaired = lines
        .iter()
        .rfind(|line| line["event"] == "repaired")
        .unwrap();
    assert_eq!(
        repaired["evidence"]["error"],
        "No space left on device (os error 28)"
    );
    assert_eq!(
        lines
            .iter()
            .filter(|line| line["event"] == "denied")
            .count(),
        recorded + 1
    );
}

const CHILD: &str = "SYMBOLON_TEST_AUDIT_FOLDER";

/// Records from eight sides at once until it is killed, and says what is durable.
async fn record_for_ever(dir: &Path) {
    let running = Running::in_pieces(dir, 10_000);
    let side = async |side: u32| {
        for n in 0_u64.. {
            let reason = format!("{side}-{n}-{}", std::process::id());
            running.record(reason.clone()).await.unwrap();
            println!("recorded {reason}");
        }
    };
    join_all((0..8).map(side)).await;
}

#[test]
fn a_killed_agent_loses_no_confirmed_record() {
    if let Some(dir) = env::var_os(CHILD) {
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(record_for_ever(Path::new(&dir)));
    }
    let folder = Folder::new();
    let mut confirmed = Vec::new();
    for kill_after in [1, 50, 333] {
        let name = "audit::writer::tests::a_killed_agent_loses_no_confirmed_record";
        let mut child = Command::new(env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture"])
            .env(CHILD, folder.audit())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut records = lines.filter_map(|line| {
            let line = line.unwrap();
            line.split_once("recorded ")
                .map(|(_, reason)| reason.to_owned())
        });
        confirmed.extend(records.by_ref().take(kill_after));
        child.kill().unwrap();
        child.wait().unwrap();
        // A torn last line of its output still begins as a record that is in the trail.
        confirmed.extend(records);
    }
    drop(open(&folder.audit()).unwrap());
    let recorded = reasons(&folder);
    assert!(confirmed.len() >= 384);
    assert!(folder.segments(Chain::Trail).len() > 5);
    for reason in confirmed {
        assert!(
            recorded.iter().any(|line| line.starts_with(&reason)),
            "{reason} is lost"
        );
    }
}

#[tokio::test]
async fn what_announces_another_record_shares_its_sync() {
    let folder = Folder::new();
    let (trail, mut writer, faults) = faulty(&folder, None);
    writer.trail.linger = Duration::from_secs(3600);
    let running = Running::run(trail, writer);
    let first = running.trail.enqueue(event("first")).await.unwrap();
    running.record("second").await.unwrap();
    first.await.unwrap();
    assert_eq!(faults.lock().syncs, 1);
    running.stop();
    assert_eq!(reasons(&folder), ["first", "second"]);
}

#[tokio::test]
async fn what_announces_another_record_does_not_wait_for_ever() {
    let folder = Folder::new();
    let running = Running::start(&folder.audit());
    let alone = running.trail.enqueue(event("alone")).await.unwrap();
    alone.await.unwrap();
    running.stop();
    assert_eq!(reasons(&folder), ["alone"]);
}
