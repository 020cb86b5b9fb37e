use super::{CHECKPOINTS_FILE, Checkpoint, CheckpointConfig, CheckpointKey, PUBLIC_KEY_FILE};
use crate::{
    audit::{
        Cause, Chain, Digest, Event, Kind, Origin, Reader, Trail, TrailConfig, TrailWriter,
        testing::{Folder, Running, change_key, manual_clock},
    },
    clock::{ManualClock, SharedClock},
    svid::PublicKey,
    telemetry::AuditMetrics,
};
use serde_json::Value;
use std::{fs, path::PathBuf, sync::Arc, time::Duration};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

struct Stage {
    folder: Folder,
    clock: Arc<ManualClock>,
    metrics: AuditMetrics,
}

impl Stage {
    fn new() -> Self {
        Self {
            folder: Folder::new(),
            clock: manual_clock(),
            metrics: AuditMetrics::default(),
        }
    }

    fn second(&self) -> PathBuf {
        self.folder.audit().with_file_name("second")
    }

    fn keys(&self) -> PathBuf {
        self.folder.audit().with_file_name("keys")
    }

    fn open(&self, second: PathBuf) -> (Trail, TrailWriter) {
        let mut checkpoints = CheckpointConfig::new(self.keys());
        checkpoints.file = Some(second);
        checkpoints.records = 10;
        let config = TrailConfig {
            metrics: self.metrics.clone(),
            checkpoints: Some(checkpoints),
            ..TrailConfig::default()
        };
        let clock: SharedClock = Arc::<ManualClock>::clone(&self.clock);
        Trail::open(&self.folder.audit(), config, clock).unwrap()
    }

    async fn record(&self, count: usize) {
        let (trail, writer) = self.open(self.second());
        let running = Running::run(trail, writer);
        for n in 0..count {
            running.record(format!("{n}")).await.unwrap();
        }
        running.stop();
    }

    fn checkpoints(&self) -> Vec<Checkpoint> {
        let text = fs::read_to_string(self.folder.audit().join(CHECKPOINTS_FILE)).unwrap();
        text.lines()
            .map(|line| Checkpoint::parse(line.as_bytes()).unwrap())
            .collect()
    }

    fn public(&self) -> PublicKey {
        let pem = fs::read_to_string(self.folder.audit().join(PUBLIC_KEY_FILE)).unwrap();
        CheckpointKey::from_pem(&pem).unwrap()
    }
}

fn digest_of(folder: &Folder, seq: u64) -> Digest {
    let mut lines = Reader::open(&folder.audit()).unwrap().lines(Chain::Trail);
    while let Some(line) = lines.next_line().unwrap() {
        if line.link().unwrap().seq == seq {
            return line.digest();
        }
    }
    panic!("there is no line {seq}");
}

#[tokio::test]
async fn checkpoints_are_signed_and_lie_in_two_places() {
    let stage = Stage::new();
    for _ in 0..3 {
        stage.record(15).await;
    }
    let checkpoints = stage.checkpoints();
    assert!(checkpoints.len() >= 3);
    for checkpoint in &checkpoints {
        assert!(checkpoint.is_signed_by(&stage.public()));
        assert_eq!(checkpoint.key_id, stage.public().thumbprint());
        let head = checkpoint.head(Chain::Trail);
        assert!(head.is(digest_of(&stage.folder, head.seq)));
        assert_eq!(checkpoint.head(Chain::Callers).seq, 0);
    }
    // The key, and what was recorded.
    assert_eq!(checkpoints.last().unwrap().head(Chain::Trail).seq, 46);
    let here = fs::read(stage.folder.audit().join(CHECKPOINTS_FILE)).unwrap();
    assert_eq!(fs::read(stage.second()).unwrap(), here);
}

#[tokio::test]
async fn a_changed_checkpoint_is_not_signed() {
    let stage = Stage::new();
    stage.record(1).await;
    let text = fs::read_to_string(stage.folder.audit().join(CHECKPOINTS_FILE)).unwrap();
    let line = text.lines().last().unwrap();
    let public = stage.public();
    for (from, to) in [
        ("\"seq\":2", "\"seq\":1"),
        ("\"time\":\"2026", "\"time\":\"2025"),
        ("\"callers\":{\"digest\":\"0", "\"callers\":{\"digest\":\"1"),
        ("\"chains\"", "\"added\":1,\"chains\""),
    ] {
        let changed = line.replace(from, to);
        assert_ne!(changed, line, "{from}");
        assert!(
            !Checkpoint::parse(changed.as_bytes())
                .unwrap()
                .is_signed_by(&public)
        );
    }
    let genuine = Checkpoint::parse(line.as_bytes()).unwrap();
    assert!(genuine.is_signed_by(&public));
    let other = crate::svid::PrivateKey::generate().unwrap();
    assert!(!genuine.is_signed_by(other.public_key()));
    for junk in ["", "{}", "null", "{\"signature\":\"AA\"}"] {
        assert!(Checkpoint::parse(junk.as_bytes()).is_none());
    }
}

#[tokio::test]
async fn the_key_is_announced_first_and_kept() {
    let stage = Stage::new();
    stage.record(1).await;
    let key = stage.public();
    stage.record(1).await;
    assert_eq!(stage.public(), key);
    let lines = stage.folder.lines();
    let rotated: Vec<_> = lines
        .iter()
        .filter(|line| line["event"] == "rotated")
        .collect();
    assert_eq!(rotated.len(), 1);
    assert_eq!(lines[0], *rotated[0]);
    assert_eq!(lines[0]["authority"]["kind"], "audit");
    assert_eq!(lines[0]["authority"]["key_id"], key.thumbprint());
    assert_eq!(lines[0]["evidence"]["public_key"]["x"], key.x());
    assert_eq!(fs::read_dir(stage.keys()).unwrap().count(), 1);
}

fn keys_of(stage: &Stage) -> Vec<String> {
    let keys = stage
        .checkpoints()
        .into_iter()
        .map(|checkpoint| checkpoint.key_id);
    let mut keys: Vec<_> = keys.collect();
    keys.dedup();
    keys
}

fn announced(line: &Value) -> Option<(u64, String)> {
    let is_key = line["event"] == "rotated";
    is_key.then(|| {
        let id = line["authority"]["key_id"].as_str().unwrap();
        (line["seq"].as_u64().unwrap(), id.to_owned())
    })
}

#[tokio::test]
async fn an_old_key_vouches_for_the_new_one() {
    let stage = Stage::new();
    stage.record(1).await;
    let old = stage.public();
    stage.clock.advance(364 * DAY);
    change_key(stage.open(stage.second()));
    assert_eq!(stage.public(), old);
    stage.clock.advance(2 * DAY);
    change_key(stage.open(stage.second()));
    let new = stage.public();
    assert_ne!(new, old);
    assert_eq!(keys_of(&stage), [old.thumbprint(), new.thumbprint()]);
    let (seq, id) = stage
        .folder
        .lines()
        .iter()
        .rev()
        .find_map(announced)
        .unwrap();
    assert_eq!(id, new.thumbprint());
    let vouched = stage
        .checkpoints()
        .into_iter()
        .rfind(|c| c.is_signed_by(&old))
        .unwrap();
    assert!(vouched.head(Chain::Trail).seq >= seq);
    assert_eq!(fs::read_dir(stage.keys()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_change_of_keys_that_a_crash_interrupted_is_completed() {
    let stage = Stage::new();
    stage.record(1).await;
    let old = stage.public();
    stage.clock.advance(DAY);
    {
        let found = super::KeyStore::open(&stage.keys(), manual_clock_now(&stage)).unwrap();
        found
            .store
            .create(manual_clock_now(&stage), Some(&found.active))
            .unwrap();
    }
    change_key(stage.open(stage.second()));
    assert_ne!(stage.public(), old);
    assert_eq!(keys_of(&stage).len(), 2);
    assert_eq!(fs::read_dir(stage.keys()).unwrap().count(), 1);
}

fn manual_clock_now(stage: &Stage) -> std::time::SystemTime {
    use crate::clock::Clock as _;
    stage.clock.now()
}

#[tokio::test]
async fn a_second_place_that_is_gone_is_told_and_keeps_nobody() {
    let stage = Stage::new();
    let (trail, writer) = stage.open(stage.folder.audit().join("none/second"));
    let running = Running::run(trail, writer);
    running.record("one").await.unwrap();
    running.stop();
    assert_eq!(stage.metrics.second_place_failing.get(), 1);
    assert_eq!(stage.metrics.checkpoint_failing.get(), 0);
    assert_eq!(
        stage.checkpoints().last().unwrap().head(Chain::Trail).seq,
        2
    );
}

#[tokio::test]
async fn a_tail_that_was_cut_is_told_at_the_start() {
    let stage = Stage::new();
    stage.record(5).await;
    let text = fs::read_to_string(stage.folder.segment()).unwrap();
    let kept: String = text.split_inclusive('\n').take(3).collect();
    fs::write(stage.folder.segment(), kept).unwrap();
    stage.record(1).await;
    let lines = stage.folder.lines();
    assert_eq!(lines[3]["event"], "repaired");
    let evidence = &lines[3]["evidence"];
    assert_eq!(
        (&evidence["checkpoint_seq"], &evidence["found_seq"]),
        (&6.into(), &3.into())
    );
    assert_eq!(evidence["chain"], "trail");
    // Once: the next checkpoint knows the new end.
    stage.record(1).await;
    let lines = stage.folder.lines();
    assert_eq!(
        lines
            .iter()
            .filter(|line| line["event"] == "repaired")
            .count(),
        1
    );
}

#[tokio::test]
async fn both_chains_are_in_a_checkpoint() {
    let stage = Stage::new();
    let (trail, writer) = stage.open(stage.second());
    let running = Running::run(trail, writer);
    let cause = Cause {
        origin: Origin::default(),
        kind: Kind::Denied,
        word: "no-match",
        process: None,
    };
    let denied = || Event::new(Kind::Denied).reason("no-match: nothing");
    running.trail.of_caller(cause, denied).await.unwrap();
    running.stop();
    let newest = stage.checkpoints().pop().unwrap();
    assert_eq!(newest.head(Chain::Callers).seq, 1);
    assert_eq!(newest.head(Chain::Trail).seq, 1);
}

#[test]
fn a_public_key_survives_pem() {
    let key = *crate::svid::PrivateKey::generate().unwrap().public_key();
    let pem = CheckpointKey::pem(&key);
    assert!(pem.lines().all(|line| line.len() <= 64));
    assert_eq!(CheckpointKey::from_pem(&pem).unwrap(), key);
    for broken in [
        "",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    ] {
        CheckpointKey::from_pem(broken).unwrap_err();
    }
    CheckpointKey::from_pem(&pem.replace("MFk", "MFo")).unwrap_err();
}

/// A file of checkpoints that is as large as one gets.
fn large() -> String {
    let line = "{}".repeat(2_000) + "\n";
    line.repeat(usize::try_from(super::MAX_FILE_BYTES).unwrap() / line.len() + 1)
}

#[tokio::test]
async fn the_second_place_does_not_grow_without_end() {
    let stage = Stage::new();
    let large = large();
    fs::write(stage.second(), &large).unwrap();
    stage.record(15).await;
    let older = super::older(&stage.second());
    assert_eq!(fs::read_to_string(&older).unwrap(), large);
    let here = fs::read(stage.folder.audit().join(CHECKPOINTS_FILE)).unwrap();
    assert_eq!(fs::read(stage.second()).unwrap(), here);
    // The next one takes the place of that.
    fs::write(stage.second(), large.replace("{}", "[]")).unwrap();
    stage.record(1).await;
    assert!(fs::read_to_string(&older).unwrap().starts_with("[]"));
}

#[tokio::test]
async fn a_second_place_that_cannot_be_renamed_grows_on() {
    let stage = Stage::new();
    let older = super::older(&stage.second());
    fs::create_dir_all(older.join("not empty")).unwrap();
    let large = large();
    fs::write(stage.second(), &large).unwrap();
    stage.record(15).await;
    let text = fs::read_to_string(stage.second()).unwrap();
    let checkpoints = text.strip_prefix(&large).unwrap();
    let last = checkpoints.lines().next_back().unwrap();
    let last = Checkpoint::parse(last.as_bytes()).unwrap();
    assert_eq!(last.head(Chain::Trail).seq, 16);
    assert_eq!(stage.metrics.second_place_failing.get(), 0);
}

#[tokio::test]
async fn the_key_that_signs_is_known_without_its_file() {
    let stage = Stage::new();
    let (trail, writer) = stage.open(stage.second());
    let key = trail.checkpoint_key().unwrap();
    let running = Running::run(trail, writer);
    running.record("a").await.unwrap();
    running.stop();
    assert_eq!(key.thumbprint(), stage.public().thumbprint());
}
