//! SVIDs in files, for programs that know nothing of SPIFFE.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;
use symbolon_tests::{Program, Setup, Workload, symbolon};

/// The chain that the next line of the watcher tells of.
async fn next_chain(watcher: &mut Workload) -> String {
    let line = watcher.line().await.expect("a line for each set");
    let set: Value = serde_json::from_str(&line).unwrap();
    set["svids"][0]["certificates"]
        .as_str()
        .expect("a chain")
        .to_owned()
}

#[tokio::test]
async fn files_are_replaced_at_each_renewal_until_the_identity_is_withdrawn() {
    let agent = Setup::renewing().start().await;
    agent
        .register("client", &Program::at(symbolon()).selectors())
        .await;
    let directory = agent.setup().directory().join("svid");
    let told = agent.setup().directory().join("told");
    let tell = format!("cat \"$SYMBOLON_SVID_DIR/svid.pem\" >> {}", told.display());
    let mut command = agent.command(symbolon());
    command.args([
        "svid", "x509", "--output", "json", "--watch", "--exec", &tell, "--write",
    ]);
    let mut watcher = Workload::start(command.arg(&directory));

    let first = next_chain(&mut watcher).await;
    assert_eq!(
        fs::read_to_string(directory.join("svid.pem")).unwrap(),
        first
    );
    let mode = fs::metadata(directory.join("key.pem"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let second = next_chain(&mut watcher).await;
    assert_ne!(first, second);
    assert_eq!(
        fs::read_to_string(directory.join("svid.pem")).unwrap(),
        second
    );

    agent.revoke("client").await;
    assert_eq!(watcher.end().await.code, Some(3));
    assert_eq!(
        fs::read_to_string(told).unwrap(),
        format!("{first}{second}")
    );
}
