//! A real process, killed while it appends to a real file.

use super::{block_on, open, record, whole_log};
use crate::registry::store::Store as _;
use std::{
    env,
    io::{BufRead as _, BufReader, Write as _, stdout},
    path::PathBuf,
    process::{Command, Stdio},
};

/// Makes the test of that name the process that appends.
const STORE: &str = "SYMBOLON_TEST_STORE";
const CONFIRMED: &str = "confirmed ";

/// Appends until it is killed; without the variable, there is nothing to do.
#[test]
fn appending_process() {
    #[expect(
        clippy::disallowed_methods,
        reason = "set by the test that starts this process"
    )]
    let Ok(path) = env::var(STORE) else { return };
    block_on(async {
        let store = open(&PathBuf::from(path)).await.unwrap();
        let last = *store.changes().borrow();
        for revision in last + 1.. {
            store.append(vec![record(revision)]).await.unwrap();
            println!("\n{CONFIRMED}{revision}");
            stdout().flush().unwrap();
        }
    });
}

#[test]
fn a_killed_process_loses_nothing_that_it_confirmed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.redb");
    for confirmations in [1, 2, 3, 5, 8, 13] {
        let mut child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "--nocapture",
                "registry::store::embedded::tests::process::appending_process",
            ])
            .env(STORE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let confirmed =
            lines.filter_map(|line| line.unwrap().strip_prefix(CONFIRMED)?.parse().ok());
        let last: usize = confirmed.take(confirmations).last().unwrap();
        // SIGKILL, while the next ones are under way.
        child.kill().unwrap();
        child.wait().unwrap();
        block_on(async {
            let store = open(&path).await.unwrap();
            assert!(whole_log(&store).await.len() >= last);
        });
    }
}
