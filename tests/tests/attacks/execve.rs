//! Exec after connect: the one who connects becomes the registered program, and an
//! accomplice keeps the socket.

use symbolon_tests::Program;

use crate::stage::{Attack, Stage};

/// A client that is registered by its program alone, which is all that stands
/// between it and whoever may execute that file.
async fn stage(test: &str) -> Option<(Stage, Attack, Program)> {
    let mut stage = Stage::set(test).await?;
    let victim = stage.build("idle");
    stage.register("victim", &[victim.digest_selector()]).await;
    let attack = Attack::with(&stage.build("hand_over")).arg("SOCKET");
    Some((stage, attack, victim))
}

/// The attack in this order, the program left with the socket as `keep` says.
async fn in_order(test: &str, order: &str, keep: &str, words: &[&str]) {
    let Some((stage, attack, victim)) = stage(test).await else {
        return;
    };
    let attack = attack.args([order, keep]).program(&victim);
    stage.withstands_unlike_spire(&attack, words).await;
    let unseen = attack.unseen();
    if matches!(order, "nothing" | "preface" | "advance" | "vm") {
        stage.withstands_unlike_spire(&unseen, words).await;
    }
}

const STOPPED_BY: [&str; 4] = ["changed", "foreign-sender", "not-held", "not-answered"];

#[tokio::test]
async fn exec_before_a_word_was_sent_brings_nothing() {
    let test = "exec_before_a_word_was_sent_brings_nothing";
    in_order(test, "nothing", "-", &STOPPED_BY).await;
}

#[tokio::test]
async fn exec_after_the_preface_brings_nothing() {
    let test = "exec_after_the_preface_brings_nothing";
    in_order(test, "preface", "-", &STOPPED_BY).await;
}

#[tokio::test]
async fn exec_after_the_first_answers_brings_nothing() {
    let test = "exec_after_the_first_answers_brings_nothing";
    in_order(test, "answers", "-", &STOPPED_BY).await;
}

#[tokio::test]
async fn exec_after_the_last_byte_of_the_call_brings_nothing() {
    let test = "exec_after_the_last_byte_of_the_call_brings_nothing";
    // Whoever is noticed first: the accomplice acknowledges the server's settings, too.
    let words = ["changed", "not-held", "foreign-sender"];
    in_order(test, "everything", "-", &words).await;
}

#[tokio::test]
async fn answers_sent_in_advance_bring_nothing() {
    let test = "answers_sent_in_advance_bring_nothing";
    in_order(test, "advance", "-", &STOPPED_BY).await;
}

#[tokio::test]
async fn a_socket_that_the_program_inherited_brings_nothing() {
    let test = "a_socket_that_the_program_inherited_brings_nothing";
    in_order(test, "nothing", "5", &STOPPED_BY).await;
}

#[tokio::test]
async fn a_socket_inherited_after_the_last_byte_brings_nothing() {
    let test = "a_socket_inherited_after_the_last_byte_brings_nothing";
    // As above: the accomplice's word may be noticed before the change.
    in_order(test, "everything", "5", &["changed", "foreign-sender"]).await;
}

#[tokio::test]
async fn an_accomplice_in_the_memory_of_before_brings_nothing() {
    let test = "an_accomplice_in_the_memory_of_before_brings_nothing";
    in_order(test, "vm", "-", &STOPPED_BY).await;
}

#[tokio::test]
async fn the_same_program_executed_again_has_to_connect_again() {
    let test = "the_same_program_executed_again_has_to_connect_again";
    let Some(mut stage) = Stage::set(test).await else {
        return;
    };
    let victim = stage.build("share");
    stage.register("victim", &[victim.digest_selector()]).await;
    let attack = Attack::with(&victim).args(["SOCKET", "reexec"]);
    stage.withstands_unlike_spire(&attack, &["changed"]).await;
}
