//! The question that every connection is asked, and who may answer it.

use std::time::Duration;

use symbolon_tests::Setup;

use crate::stage::{ATTACKER, Attack, Stage, id};

async fn stage(test: &str, setup: Setup) -> Option<(Stage, Attack)> {
    let mut stage = Stage::set_with(test, setup).await?;
    let program = stage.build("ask");
    let selectors = [program.digest_selector(), format!("unix:uid:{ATTACKER}")];
    stage.register("victim", &selectors).await;
    Some((stage, Attack::with(&program).arg("SOCKET")))
}

#[tokio::test]
async fn the_process_itself_may_answer() {
    let test = "the_process_itself_may_answer";
    let Some((stage, ask)) = stage(test, Setup::new()).await else {
        return;
    };
    for manner in ["plain", "thread", "bytes"] {
        let outcome = stage.symbolon(&ask.clone().arg(manner)).await;
        assert_eq!(
            outcome.credential(),
            Some(id("victim").as_str()),
            "{manner}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn another_process_may_not_answer() {
    let test = "another_process_may_not_answer";
    let Some((stage, ask)) = stage(test, Setup::new()).await else {
        return;
    };
    stage
        .withstands(&ask.arg("child"), &["foreign-sender", "not-answered"])
        .await;
}

#[tokio::test]
async fn no_answer_is_no_identity() {
    let test = "no_answer_is_no_identity";
    let setup = Setup::new().set("attestation", "answer_timeout", "1s");
    let Some((stage, ask)) = stage(test, setup).await else {
        return;
    };
    let attack = ask.arg("silent");
    stage
        .withstands_unlike_spire(&attack, &["not-answered"])
        .await;
}

#[tokio::test]
async fn a_wrong_answer_is_no_identity() {
    let test = "a_wrong_answer_is_no_identity";
    let setup = Setup::new().set("attestation", "answer_timeout", "1s");
    let Some((stage, ask)) = stage(test, setup).await else {
        return;
    };
    stage.withstands(&ask.arg("wrong"), &["not-answered"]).await;
}

#[tokio::test]
async fn an_answer_that_comes_twice_harms_nobody() {
    let test = "an_answer_that_comes_twice_harms_nobody";
    let Some((stage, ask)) = stage(test, Setup::new()).await else {
        return;
    };
    let outcome = stage.symbolon(&ask.clone().arg("twice")).await;
    let expected = id("victim");
    assert!(
        outcome.credential().is_none_or(|given| given == expected),
        "{outcome:?}"
    );
    let after = stage.symbolon(&ask.arg("plain")).await;
    assert_eq!(after.credential(), Some(expected.as_str()), "{after:?}");
}

#[tokio::test]
async fn a_peer_may_exit_at_every_step() {
    let test = "a_peer_may_exit_at_every_step";
    let Some((stage, ask)) = stage(test, Setup::new()).await else {
        return;
    };
    for step in 0..=8 {
        let outcome = stage
            .symbolon(&ask.clone().arg(format!("quit-{step}")))
            .await;
        assert_eq!(outcome.lines, ["gone"], "{outcome:?}");
    }
    let after = tokio::time::timeout(Duration::from_secs(30), stage.symbolon(&ask));
    let after = after.await.expect("others are served");
    assert_eq!(after.credential(), Some(id("victim").as_str()), "{after:?}");
}
