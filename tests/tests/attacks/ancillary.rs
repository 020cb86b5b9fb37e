//! Descriptors that are pushed at the agent.

use crate::stage::{ATTACKER, Attack, Stage, id};

/// How many pushes are made.
const PUSHES: &str = "50";

fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("the agent's descriptors")
        .count()
}

async fn pushed(test: &str, when: &str) {
    let Some(mut stage) = Stage::set(test).await else {
        return;
    };
    let honest = stage.build("ask");
    let program = stage.build("ancillary");
    for (name, program) in [("honest", &honest), ("victim", &program)] {
        let selectors = [program.digest_selector(), format!("unix:uid:{ATTACKER}")];
        stage.register(name, &selectors).await;
    }
    let ask = Attack::with(&honest).arg("SOCKET");
    assert_eq!(
        stage.symbolon(&ask).await.credential(),
        Some(id("honest").as_str())
    );
    let before = descriptors(stage.agent().pid());

    let attack = Attack::with(&program).args(["SOCKET", when, PUSHES]);
    stage.withstands(&attack, &["ancillary-data"]).await;
    // The agent has read the trail's follower away by now; a connection more or less is none of these.
    let after = descriptors(stage.agent().pid());
    assert!(after < before + 10, "{before} descriptors became {after}");
    assert_eq!(
        stage.symbolon(&ask).await.credential(),
        Some(id("honest").as_str())
    );
}

#[tokio::test]
async fn descriptors_with_the_first_bytes_end_the_connection() {
    pushed(
        "descriptors_with_the_first_bytes_end_the_connection",
        "first",
    )
    .await;
}

#[tokio::test]
async fn descriptors_with_later_bytes_end_the_connection() {
    pushed("descriptors_with_later_bytes_end_the_connection", "later").await;
}
