//! `backup`, `restore` and `registry verify`.

use super::{
    agent::{Agent, State},
    golden, symbolon,
};
use crate::{
    backup::tests::{log, written},
    registry::Record,
};
use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

fn records() -> Vec<Record> {
    let runtime = tokio::runtime::Builder::new_current_thread();
    { runtime }.build().unwrap().block_on(log(3))
}

fn agent(backup: &[u8]) -> Agent {
    Agent::new(State {
        backup: backup.chunks(100).map(<[u8]>::to_vec).collect(),
        ..State::default()
    })
}

/// Text in which a directory is called DIR.
fn named(text: &str, directory: &Path) -> String {
    text.replace(directory.to_str().unwrap(), "DIR")
}

#[test]
fn a_backup_is_verified_and_private() {
    let backup = written(&records(), None);
    let agent = agent(&backup);
    let file = agent.path("monday.jsonl");
    let file = file.to_str().unwrap();
    let out = agent.admin(&["backup", file]).done();
    golden("backup.txt", &named(&out, agent.dir.path()));
    assert!(fs::read(file).unwrap() == backup);
    let mode = fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let err = agent.admin(&["backup", file]).refused(2);
    assert!(err.contains("--force"), "{err}");
    let out = agent
        .admin(&["backup", file, "--force", "-o", "json"])
        .done();
    golden("backup.json", &named(&out, agent.dir.path()));
    let out = agent.admin(&["backup", "-"]).done();
    assert!(out.as_bytes() == backup);
}

#[test]
fn a_backup_that_arrives_in_part_or_damaged_gets_no_name() {
    let backup = written(&records(), None);
    let damaged = String::from_utf8(backup.clone())
        .unwrap()
        .replace("unix:uid:1", "unix:uid:0");
    for bytes in [&backup[..backup.len() - 9], damaged.as_bytes()] {
        let agent = agent(bytes);
        let file = agent.path("monday.jsonl");
        let err = agent.admin(&["backup", file.to_str().unwrap()]).refused(1);
        assert!(err.contains("monday.jsonl"), "{err}");
        let left = fs::read_dir(agent.dir.path()).unwrap();
        let left = left.filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_str().unwrap().contains("monday")
        });
        assert_eq!(left.count(), 0);
    }
}

#[test]
fn restore_tells_what_was_done_and_what_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let data = data.to_str().unwrap();
    let (whole, older) = (
        directory.path().join("whole"),
        directory.path().join("older"),
    );
    fs::write(&whole, written(&records(), None)).unwrap();
    fs::write(&older, written(&records()[..2], None)).unwrap();
    let (whole, older) = (whole.to_str().unwrap(), older.to_str().unwrap());
    let restore = |more: &[&str]| symbolon(&[&["restore", "--data-dir", data], more].concat());
    golden("restore-dry.txt", &restore(&[whole, "--dry-run"]).done());
    let registry = Path::new(data).join("registry.redb");
    assert!(!registry.exists(), "a dry run restores nothing");
    golden("restore.txt", &restore(&[whole]).done());
    golden("restore-same.txt", &restore(&[whole]).done());
    let err = restore(&[older]).refused(1);
    assert!(
        err.contains("2 changes") && err.contains("--allow-older"),
        "{err}"
    );
    let before = fs::read(&registry).unwrap();
    golden(
        "restore-dry-older.txt",
        &restore(&[older, "--dry-run"]).done(),
    );
    let told = restore(&[older, "--dry-run", "-o", "json"]).done();
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["outcome"], "would_restore");
    assert_eq!(
        (&told["lost"], &told["needs_allow_older"]),
        (&2.into(), &true.into())
    );
    let same = restore(&[whole, "--dry-run"]).done();
    assert!(same.contains("nothing was done"), "{same}");
    assert!(fs::read(&registry).unwrap() == before);
    restore(&[data, "--dry-run"]).refused(1);
    let out = restore(&[older, "--allow-older", "-o", "json"]).done();
    let out =
        out.lines().map(
            |line| match line.contains("\"login\"") || line.contains("\"uid\"") {
                true => {
                    line.split(':').next().unwrap().to_owned()
                        + ": 0"
                        + if line.ends_with(',') { "," } else { "" }
                }
                false => line.to_owned(),
            },
        );
    golden(
        "restore-older.json",
        &(out.collect::<Vec<_>>().join("\n") + "\n"),
    );
    let err = restore(&["/nonexistent"]).refused(4);
    assert!(err.contains("/nonexistent"), "{err}");
    let err = restore(&[data]).refused(1);
    assert!(err.contains("nothing was restored"), "{err}");
}

#[test]
fn a_registry_is_verified_without_an_agent() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let data = data.to_str().unwrap();
    let backup = directory.path().join("backup");
    fs::write(&backup, written(&records(), None)).unwrap();
    let backup = backup.to_str().unwrap();
    symbolon(&["restore", backup, "--data-dir", data]).done();
    let verify = |more: &[&str]| symbolon(&[&["registry", "verify"], more].concat());
    golden("registry.txt", &verify(&["--data-dir", data]).done());
    golden(
        "registry.json",
        &verify(&["--backup", backup, "-o", "json"]).done(),
    );

    let path = directory.path().join("data/registry.redb");
    let mut bytes = fs::read(&path).unwrap();
    let (from, to) = (b"unix:uid:1", b"unix:uid:0");
    while let Some(at) = bytes.windows(from.len()).position(|part| part == from) {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    fs::write(&path, &bytes).unwrap();
    let damaged = verify(&["--data-dir", data]);
    assert_eq!(damaged.code, std::process::ExitCode::from(1));
    golden("registry-damaged.txt", &(damaged.out + &damaged.err));
    assert!(fs::read(&path).unwrap() == bytes);
    let damaged = verify(&["--data-dir", data, "-o", "json"]);
    golden("registry-damaged.json", &damaged.out);
    verify(&["--data-dir", directory.path().to_str().unwrap()]).refused(4);
}
