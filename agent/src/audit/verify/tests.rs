use super::{Problem, Verification, VerifyOptions, verify};
use crate::{
    audit::{
        CHECKPOINTS_FILE, Cause, Chain, CheckpointConfig, Event, Kind, Limits, Origin,
        PUBLIC_KEY_FILE, Trail, TrailConfig, TrailWriter,
        testing::{Folder, Running, change_key, manual_clock, verified},
    },
    canonical,
    clock::{ManualClock, SharedClock},
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// An agent's trail, and a second place for its checkpoints.
struct Stage {
    folder: Folder,
    clock: Arc<ManualClock>,
    limits: Limits,
}

impl Stage {
    fn new() -> Self {
        Self {
            folder: Folder::new(),
            clock: manual_clock(),
            limits: Limits::default(),
        }
    }

    fn in_pieces(segment_bytes: u64) -> Self {
        let mut stage = Self::new();
        stage.limits.segment_bytes = segment_bytes;
        stage
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.folder.audit().with_file_name(name)
    }

    fn open(&self) -> (Trail, TrailWriter) {
        let mut checkpoints = CheckpointConfig::new(self.beside("keys"));
        checkpoints.file = Some(self.beside("second"));
        checkpoints.records = 5;
        let config = TrailConfig {
            trail: self.limits,
            checkpoints: Some(checkpoints),
            ..TrailConfig::default()
        };
        let clock: SharedClock = Arc::<ManualClock>::clone(&self.clock);
        Trail::open(&self.folder.audit(), config, clock).unwrap()
    }

    async fn record(&self, count: usize) {
        let (trail, writer) = self.open();
        let running = Running::run(trail, writer);
        for n in 0..count {
            running.record(format!("{n}")).await.unwrap();
        }
        let cause = Cause {
            origin: Origin::default(),
            kind: Kind::Denied,
            word: "no-match",
            process: None,
        };
        let denied = || Event::new(Kind::Denied).reason("no-match: nothing");
        running.trail.of_caller(cause, denied).await.unwrap();
        running.stop();
    }

    fn verify(&self) -> Verification {
        verify(&self.folder.audit(), &VerifyOptions::default()).unwrap()
    }

    fn verify_with_second(&self) -> Verification {
        let options = VerifyOptions {
            checkpoints: vec![self.beside("second")],
            ..VerifyOptions::default()
        };
        verify(&self.folder.audit(), &options).unwrap()
    }

    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.segment()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// What is found where these are the lines of the first segment.
    fn verify_lines(&self, lines: &[String]) -> Verification {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(self.folder.segment(), text).unwrap();
        self.verify()
    }
}

/// Problem, line and number of each finding in the trail's segments.
fn found(verification: &Verification) -> Vec<(Problem, u64, u64)> {
    assert_eq!(verification.whole, verification.findings.is_empty());
    let in_segments = verification.findings.iter().filter_map(|finding| {
        let place = finding.place.as_ref()?;
        let is_segment = place.file.ends_with(".jsonl");
        is_segment.then(|| (finding.problem, place.line, place.seq.unwrap_or(0)))
    });
    in_segments.collect()
}

fn problems(verification: &Verification) -> Vec<Problem> {
    let mut problems: Vec<_> = verification.findings.iter().map(|f| f.problem).collect();
    problems.dedup();
    problems
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Writes the links of the lines from `index` on anew.
fn relink(lines: &mut [String], index: usize) {
    for at in index.max(1)..lines.len() {
        let mut value: Value = serde_json::from_str(&lines[at]).unwrap();
        value["prev"] = canonical::sha256_hex(lines[at - 1].as_bytes()).into();
        lines[at] = String::from_utf8(canonical::to_vec(&value).unwrap()).unwrap();
    }
}

#[tokio::test]
async fn a_trail_that_nobody_touched_is_whole() {
    let stage = Stage::in_pieces(500);
    stage.record(22).await;
    stage.record(3).await;
    let verification = stage.verify_with_second();
    assert_eq!(found(&verification), []);
    assert_eq!(problems(&verification), []);
    assert!(verification.whole && verification.checkpoints >= 2);
    let [trail, callers] = &verification.chains[..] else {
        panic!("{verification:?}")
    };
    assert_eq!((trail.lines, trail.first_seq, trail.last_seq), (26, 1, 26));
    assert_eq!((callers.lines, callers.last_seq), (2, 2));
    assert_eq!((trail.signed_seq, callers.signed_seq), (26, 2));
    assert!(trail.segments > 5);
}

#[tokio::test]
async fn what_cannot_be_told_is_told() {
    let stage = Stage::new();
    stage.record(3).await;
    let notes = stage.verify().notes.join("\n");
    assert!(
        notes.contains("older copy") && notes.contains("--public-key"),
        "{notes}"
    );
    let options = VerifyOptions {
        public_key: Some(stage.folder.audit().join(PUBLIC_KEY_FILE)),
        checkpoints: vec![stage.beside("second")],
    };
    let verification = verify(&stage.folder.audit(), &options).unwrap();
    assert_eq!(verification.notes, Vec::<String>::new());
    assert!(verification.whole);
}

#[tokio::test]
async fn any_changed_byte_is_found() {
    let stage = Stage::new();
    stage.record(4).await;
    let segments = [Chain::Trail, Chain::Callers].map(|chain| chain.file_name(1));
    for name in segments
        .iter()
        .map(String::as_str)
        .chain([CHECKPOINTS_FILE])
    {
        let path = stage.folder.audit().join(name);
        let text = fs::read(&path).unwrap();
        for at in (0..text.len()).step_by(3) {
            let mut changed = text.clone();
            changed[at] ^= 1;
            fs::write(&path, &changed).unwrap();
            let verification = stage.verify();
            // A checkpoint that is none any more may have been left by a crash.
            let is_noted = verification
                .notes
                .iter()
                .any(|note| note.contains("no checkpoints"));
            assert!(!verification.whole || is_noted, "{name}: byte {at}");
        }
        fs::write(&path, &text).unwrap();
    }
    assert!(stage.verify().whole);
}

#[tokio::test]
async fn a_changed_line_is_named() {
    let stage = Stage::new();
    stage.record(9).await;
    let lines = stage.lines();
    for at in 1..lines.len() - 1 {
        let mut changed = lines.clone();
        changed[at] = changed[at].replace("denied", "issued");
        assert_ne!(changed[at], lines[at]);
        let seq = at as u64 + 1;
        let verification = stage.verify_lines(&changed);
        assert_eq!(found(&verification), [(Problem::Changed, seq, seq)]);
    }
    // The last line has none after it, but a checkpoint.
    let mut changed = lines;
    let last = changed.len() - 1;
    changed[last] = changed[last].replace("denied", "issued");
    assert_eq!(
        problems(&stage.verify_lines(&changed)),
        [Problem::Rewritten]
    );
}

#[tokio::test]
async fn a_changed_number_is_named() {
    let stage = Stage::new();
    stage.record(9).await;
    let lines = stage.lines();
    for at in 1..lines.len() - 2 {
        for number in [at + 100, at.saturating_sub(1)] {
            let mut changed = lines.clone();
            changed[at] =
                changed[at].replace(&format!("\"seq\":{}", at + 1), &format!("\"seq\":{number}"));
            assert_ne!(changed[at], lines[at]);
            let verification = stage.verify_lines(&changed);
            let places: Vec<_> = found(&verification).iter().map(|f| f.1).collect();
            assert!(
                places.contains(&(at as u64 + 1)),
                "{at} {number}: {verification:?}"
            );
        }
    }
}

#[tokio::test]
async fn deleted_lines_are_found_where_they_stood() {
    let stage = Stage::new();
    stage.record(9).await;
    let lines = stage.lines();
    for at in 0..lines.len() - 1 {
        for count in 1..(lines.len() - at).min(4) {
            let mut changed = lines.clone();
            changed.drain(at..at + count);
            let place = (Problem::Deleted, at as u64 + 1, (at + count) as u64 + 1);
            assert_eq!(found(&stage.verify_lines(&changed)), [place]);
        }
    }
}

#[tokio::test]
async fn a_deleted_segment_is_found() {
    let stage = Stage::in_pieces(500);
    stage.record(12).await;
    for number in [1, 3] {
        let path = stage.folder.audit().join(Chain::Trail.file_name(number));
        let text = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let verification = stage.verify();
        assert_eq!(problems(&verification), [Problem::Deleted]);
        let place = verification.findings[0].place.as_ref().unwrap();
        assert_eq!(place.file, Chain::Trail.file_name(number + 1));
        fs::write(&path, text).unwrap();
    }
    assert!(stage.verify().whole);
}

#[tokio::test]
async fn an_inserted_line_is_found() {
    let stage = Stage::new();
    stage.record(9).await;
    let lines = stage.lines();
    for from in 0..lines.len() {
        for at in 1..lines.len() {
            let mut changed = lines.clone();
            changed.insert(at, lines[from].clone());
            let verification = stage.verify_lines(&changed);
            let places = found(&verification);
            let is_named = places.iter().any(|(problem, line, _)| {
                let named = changed.get(usize::try_from(*line).unwrap() - 1);
                *problem == Problem::Inserted && named == Some(&lines[from])
            });
            assert!(is_named, "{from} at {at}: {verification:?}");
        }
    }
}

#[tokio::test]
async fn a_forged_line_is_told_from_the_one_whose_place_it_takes() {
    let stage = Stage::new();
    stage.record(9).await;
    let lines = stage.lines();
    let mut changed = lines.clone();
    changed.insert(4, lines[4].replace("denied", "issued"));
    let verification = stage.verify_lines(&changed);
    assert_eq!(found(&verification), [(Problem::Inserted, 5, 5)]);
}

#[tokio::test]
async fn lines_that_changed_places_are_found() {
    let stage = Stage::new();
    stage.record(12).await;
    let lines = stage.lines();
    for first in 1..lines.len() - 1 {
        for second in first + 1..lines.len() - 1 {
            let mut changed = lines.clone();
            changed.swap(first, second);
            let verification = stage.verify_lines(&changed);
            let problems = problems(&verification);
            assert_eq!(
                problems,
                [Problem::Reordered],
                "{first} {second}: {verification:?}"
            );
        }
    }
    let mut moved = lines;
    let block: Vec<_> = moved.drain(2..5).collect();
    moved.splice(7..7, block);
    assert_eq!(problems(&stage.verify_lines(&moved)), [Problem::Reordered]);
}

#[tokio::test]
async fn an_end_that_was_cut_off_is_found() {
    let stage = Stage::new();
    stage.record(9).await;
    let lines = stage.lines();
    for kept in 0..lines.len() {
        let verification = stage.verify_lines(&lines[..kept]);
        assert!(
            problems(&verification).contains(&Problem::Cut),
            "{verification:?}"
        );
    }
    assert!(stage.verify_lines(&lines).whole);
    fs::remove_file(stage.folder.audit().join(Chain::Callers.file_name(1))).unwrap();
    assert_eq!(problems(&stage.verify()), [Problem::Cut]);
}

#[tokio::test]
async fn a_chain_that_was_written_anew_is_found() {
    let stage = Stage::new();
    stage.record(4).await;
    stage.record(8).await;
    let mut lines = stage.lines();
    lines[7] = lines[7].replace("denied", "issued");
    relink(&mut lines, 8);
    let verification = stage.verify_lines(&lines);
    assert_eq!(problems(&verification), [Problem::Rewritten]);
    let what = &verification.findings[0].what;
    assert!(what.contains("anew after seq 5"), "{what}");
}

/// The first half of what was recorded, in the place of all of it.
async fn with_an_older_copy_put_back() -> Stage {
    let stage = Stage::new();
    stage.record(5).await;
    let older = stage.beside("older");
    copy(&stage.folder.audit(), &older);
    stage.record(5).await;
    fs::remove_dir_all(stage.folder.audit()).unwrap();
    copy(&older, &stage.folder.audit());
    stage
}

#[tokio::test]
async fn an_older_copy_is_found_with_a_checkpoint_from_elsewhere() {
    let stage = with_an_older_copy_put_back().await;
    let alone = stage.verify();
    assert!(alone.whole);
    assert!(alone.notes.iter().any(|note| note.contains("older copy")));
    assert_eq!(problems(&stage.verify_with_second()), [Problem::OlderCopy]);
    // One line from elsewhere is enough.
    let second = fs::read_to_string(stage.beside("second")).unwrap();
    fs::write(stage.beside("second"), second.lines().last().unwrap()).unwrap();
    assert_eq!(problems(&stage.verify_with_second()), [Problem::OlderCopy]);
}

#[tokio::test]
async fn what_a_second_place_was_before_it_was_large_counts() {
    let stage = with_an_older_copy_put_back().await;
    let second = fs::read_to_string(stage.beside("second")).unwrap();
    fs::write(stage.beside("second.old"), &second).unwrap();
    // Alone it knows nothing that the trail does not have.
    fs::write(stage.beside("second"), second.lines().next().unwrap()).unwrap();
    let verification = stage.verify_with_second();
    assert_eq!(problems(&verification), [Problem::OlderCopy]);
    let place = verification.findings[0].place.as_ref().unwrap();
    assert!(place.file.ends_with("second.old"), "{place:?}");
}

#[tokio::test]
async fn an_older_copy_that_grew_again_is_found() {
    let stage = with_an_older_copy_put_back().await;
    fs::set_permissions(
        stage.folder.audit(),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .unwrap();
    stage.clock.advance(DAY);
    stage.record(9).await;
    assert!(problems(&stage.verify_with_second()).contains(&Problem::Rewritten));
}

#[tokio::test]
async fn checkpoints_that_are_gone_or_forged_are_found() {
    let stage = Stage::new();
    stage.record(5).await;
    let path = stage.folder.audit().join(CHECKPOINTS_FILE);
    let text = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(problems(&stage.verify()), [Problem::Checkpoint]);
    let key = stage.folder.audit().join(PUBLIC_KEY_FILE);
    let pem = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    assert_eq!(problems(&stage.verify()), [Problem::Checkpoint]);
    fs::write(&key, pem).unwrap();
    fs::write(&path, text.replace("\"time\":\"2026", "\"time\":\"2025")).unwrap();
    assert_eq!(problems(&stage.verify()), [Problem::Checkpoint]);
    // Another agent's, with the key that it has.
    let other = Stage::new();
    other.record(5).await;
    fs::copy(other.folder.audit().join(CHECKPOINTS_FILE), &path).unwrap();
    assert!(problems(&stage.verify()).contains(&Problem::Checkpoint));
    fs::copy(
        other.folder.audit().join(PUBLIC_KEY_FILE),
        stage.folder.audit().join(PUBLIC_KEY_FILE),
    )
    .unwrap();
    assert!(!stage.verify().whole);
    fs::write(&path, &text).unwrap();
    assert_eq!(problems(&stage.verify()), [Problem::Checkpoint]);
}

#[tokio::test]
async fn a_removal_by_age_is_no_finding() {
    let mut stage = Stage::in_pieces(500);
    stage.limits.max_bytes = 3_000;
    stage.record(30).await;
    stage.record(1).await;
    let reader_starts = verified(&stage.folder.audit(), Chain::Trail)[0]["seq"]
        .as_u64()
        .unwrap();
    assert!(reader_starts > 1);
    let verification = stage.verify_with_second();
    assert!(verification.whole, "{verification:?}");
    assert_eq!(verification.chains[0].first_seq, reader_starts);
    // One more is not what was recorded.
    let first = stage.folder.segments(Chain::Trail)[0];
    fs::remove_file(stage.folder.audit().join(Chain::Trail.file_name(first))).unwrap();
    assert_eq!(problems(&stage.verify()), [Problem::Deleted]);
}

#[tokio::test]
async fn a_half_written_end_is_a_note() {
    let stage = Stage::new();
    stage.record(3).await;
    let mut text = fs::read(stage.folder.segment()).unwrap();
    text.extend(b"{\"event\":\"iss");
    fs::write(stage.folder.segment(), text).unwrap();
    let verification = stage.verify();
    assert!(verification.whole, "{verification:?}");
    assert!(
        verification
            .notes
            .iter()
            .any(|note| note.contains("half-written"))
    );
}

#[tokio::test]
async fn what_is_no_line_at_all_is_found() {
    let stage = Stage::in_pieces(2_000);
    stage.record(20).await;
    let text = fs::read(stage.folder.segment()).unwrap();
    fs::write(stage.folder.segment(), vec![b'x'; 300_000]).unwrap();
    let verification = stage.verify();
    assert!(
        problems(&verification).contains(&Problem::Unreadable),
        "{verification:?}"
    );
    fs::write(stage.folder.segment(), [b"\n".repeat(3), text].concat()).unwrap();
    assert_eq!(problems(&stage.verify()), [Problem::Changed]);
}

#[tokio::test]
async fn one_key_leads_to_those_before_and_after_it() {
    let stage = Stage::new();
    let old = stage.beside("old.pub");
    stage.record(5).await;
    fs::copy(stage.folder.audit().join(PUBLIC_KEY_FILE), &old).unwrap();
    stage.clock.advance(366 * DAY);
    change_key(stage.open());
    stage.record(5).await;
    let new = stage.folder.audit().join(PUBLIC_KEY_FILE);
    assert_ne!(fs::read(&old).unwrap(), fs::read(&new).unwrap());
    for key in [old, new] {
        let options = VerifyOptions {
            public_key: Some(key),
            ..VerifyOptions::default()
        };
        let verification = verify(&stage.folder.audit(), &options).unwrap();
        assert_eq!(problems(&verification), []);
        assert_eq!(
            verification.chains[0].signed_seq,
            verification.chains[0].last_seq
        );
    }
}
