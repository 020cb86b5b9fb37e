//! A socket that more than one process uses.

use symbolon_tests::Program;

use crate::stage::{Attack, Stage, VICTIM};

/// A registered program that connects and lets others use the socket.
async fn stage(test: &str) -> Option<(Stage, Attack)> {
    let mut stage = Stage::set(test).await?;
    let victim = stage.build("share");
    let selectors = [victim.digest_selector(), format!("unix:uid:{VICTIM}")];
    stage.register("victim", &selectors).await;
    let attack = Attack::with(&victim).by(VICTIM).arg("SOCKET");
    Some((stage, attack))
}

async fn shared(test: &str, manner: &str, words: &[&str]) {
    let Some((stage, attack)) = stage(test).await else {
        return;
    };
    stage
        .withstands_unlike_spire(&attack.arg(manner), words)
        .await;
}

#[tokio::test]
async fn a_child_cannot_use_the_socket_of_its_parent() {
    let test = "a_child_cannot_use_the_socket_of_its_parent";
    shared(test, "fork", &["foreign-sender"]).await;
}

#[tokio::test]
async fn a_passed_socket_cannot_be_used() {
    let test = "a_passed_socket_cannot_be_used";
    shared(test, "rights", &["foreign-sender"]).await;
}

#[tokio::test]
async fn a_socket_that_was_given_away_cannot_be_used() {
    let test = "a_socket_that_was_given_away_cannot_be_used";
    shared(test, "passed", &["foreign-sender", "not-held"]).await;
}

#[tokio::test]
async fn a_process_with_the_same_descriptors_cannot_use_the_socket() {
    let test = "a_process_with_the_same_descriptors_cannot_use_the_socket";
    shared(test, "files", &["foreign-sender"]).await;
}

#[tokio::test]
async fn a_table_that_was_shared_before_the_exec_brings_nothing() {
    let test = "a_table_that_was_shared_before_the_exec_brings_nothing";
    let Some(mut stage) = Stage::set(test).await else {
        return;
    };
    let victim: Program = stage.build("idle");
    stage.register("victim", &[victim.digest_selector()]).await;
    let attack = Attack::with(&stage.build("share"))
        .args(["SOCKET", "table"])
        .program(&victim);
    let words = ["foreign-sender", "not-held", "changed"];
    stage.withstands_unlike_spire(&attack, &words).await;
}
