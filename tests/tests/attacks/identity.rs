//! Who connected: another process under the same number, or another user in the same one.

use std::path::Path;

use symbolon_tests::{Program, Setup, Workload};
use tokio::process::Command;

use crate::stage::{self, Attack, Stage, VICTIM, id};

/// A process that was root when it connected and is a user's when it asks, is neither's.
#[tokio::test]
async fn a_process_that_changes_its_user_after_it_connected_gets_nothing() {
    let test = "a_process_that_changes_its_user_after_it_connected_gets_nothing";
    let Some(mut stage) = Stage::set(test).await else {
        return;
    };
    let program = stage.build("drop");
    for (name, user) in [("root", 0), ("victim", VICTIM)] {
        let selectors = [program.digest_selector(), format!("unix:uid:{user}")];
        stage.register(name, &selectors).await;
    }
    let attack = Attack::with(&program)
        .by(0)
        .arg("SOCKET")
        .arg(VICTIM.to_string());
    stage.spire(&attack).await.got_nothing();
    stage.withstands(&attack, &["changed"]).await;
    // The one before the agent has looked, which it does as it accepts.
    let unseen = stage.symbolon(&attack.unseen()).await;
    assert_ne!(unseen.credential(), Some(id("root").as_str()), "{unseen:?}");
}

/// What makes a command run in a PID namespace with few numbers, where one comes round soon.
const FEW_NUMBERS: [&str; 8] = [
    "unshare",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
    "sh",
    "-c",
    "echo 400 > /proc/sys/kernel/pid_max; \"$0\" \"$@\"; exit $?",
];

#[tokio::test]
async fn another_process_under_the_same_number_is_not_the_one_that_connected() {
    let test = "another_process_under_the_same_number_is_not_the_one_that_connected";
    // Its operator is outside of the agent's PID namespace here.
    let setup = Setup::new().set("admin_api", "allow_foreign_namespaces", true);
    let Some(mut stage) = Stage::set_with(test, setup).await else {
        return;
    };
    let victim = stage.build("idle");
    let reuse = stage.build("reuse");
    stage.register("victim", &[victim.digest_selector()]).await;

    let socket = stage.directory().join("spire.sock");
    let mut reference = Command::new(FEW_NUMBERS[0]);
    reference
        .args(&FEW_NUMBERS[1..])
        .args(stage.spire_command(&socket));
    let mut reference = Workload::start(&mut reference);
    assert_eq!(reference.line().await.as_deref(), Some("ready"));
    let stolen = reused(&reuse, &victim, &socket, stage::descendant(reference.pid())).await;
    assert!(stolen.contains(&id("victim")), "{stolen}");

    let stage = stage.restarted_in(FEW_NUMBERS.to_vec()).await;
    let socket = stage.agent().setup().workload_socket();
    let refused = reused(&reuse, &victim, &socket, stage.innermost_pid()).await;
    assert!(
        refused.contains("closed") || refused.contains("refused"),
        "{refused}"
    );
    assert!(!refused.contains("credential"), "{refused}");
    // Nobody is left to be asked: the connection is closed before a byte is read. The trail is read
    // where its operator has a number for the agent.
    let stage = stage.restarted_in(Vec::new()).await;
    let denied = stage.denied_as(&["unpinned"]).await;
    assert!(denied["reason"].to_string().contains("gone"), "{denied}");
    assert!(denied.get("attestation_id").is_none(), "{denied}");
}

/// Lets the victim take the number of somebody who connected to `server`; what came of it.
async fn reused(reuse: &Program, victim: &Program, socket: &Path, server: u32) -> String {
    let server = server.to_string();
    let mut attack = Command::new("nsenter");
    attack
        .args(["--target", &server, "--pid", "--mount", "--"])
        // The server is the child of the namespace's init.
        .arg(reuse.path())
        .arg(socket)
        .arg("2")
        .arg(victim.path());
    let output = Workload::start(&mut attack).end().await;
    assert!(output.stdout.contains("reused "), "{output:?}");
    output.stdout
}
