//! A registered program that says what an accomplice has it say.

use symbolon_tests::Program;

use crate::stage::{Attack, Stage, id};

/// `cat`, registered by its digest, and somebody who speaks through it.
async fn stage(test: &str) -> Option<(Stage, Attack, Program)> {
    let stage = Stage::set(test).await?;
    let cat = Program::on_path("cat").copy_to(stage.directory(), "mouth");
    let attack = Attack::with(&stage.build("mouthpiece"))
        .arg("SOCKET")
        .unseen();
    Some((stage, attack, cat))
}

#[tokio::test]
async fn a_program_that_copies_its_input_to_the_socket_is_no_mouthpiece() {
    let test = "a_program_that_copies_its_input_to_the_socket_is_no_mouthpiece";
    let Some((mut stage, attack, cat)) = stage(test).await else {
        return;
    };
    stage.register("victim", &[cat.digest_selector()]).await;
    let attack = attack.arg("1").program(&cat);
    stage
        .withstands_unlike_spire(&attack, &["not-held", "inheritable-refused"])
        .await;
}

#[tokio::test]
async fn a_socket_on_another_descriptor_is_refused_where_the_client_forbids_inheritable() {
    let test = "a_socket_on_another_descriptor_is_refused_where_the_client_forbids_inheritable";
    let Some((mut stage, attack, _)) = stage(test).await else {
        return;
    };
    let mouth = stage.build_as("adopt", "copier", &["-DKEEP_INHERITABLE"]);
    let options = ["--forbid-inheritable"];
    let selectors = [mouth.digest_selector()];
    stage.register_with("victim", &selectors, options).await;
    let attack = attack.arg("adopt").program(&mouth).arg("echo");
    stage
        .withstands_unlike_spire(&attack, &["inheritable-refused", "no-match"])
        .await;
}

#[tokio::test]
async fn a_program_that_adopts_descriptors_is_not_answered_for() {
    let test = "a_program_that_adopts_descriptors_is_not_answered_for";
    let Some(mut stage) = Stage::set(test).await else {
        return;
    };
    let victim = stage.build("adopt");
    stage.register("victim", &[victim.digest_selector()]).await;
    let attack = Attack::with(&stage.build("hand_over"))
        .args(["SOCKET", "nothing", "adopt"])
        .program(&victim)
        .unseen();
    let words = ["foreign-sender", "not-answered"];
    stage.withstands_unlike_spire(&attack, &words).await;
}

/// What neither proof can see: a program that takes a descriptor for its own and
/// says on it what it is told. It is registered with a word on who runs it, or not at all.
#[tokio::test]
async fn a_program_that_adopts_and_echoes_is_kept_by_its_user_alone() {
    let test = "a_program_that_adopts_and_echoes_is_kept_by_its_user_alone";
    let Some(mut stage) = Stage::set(test).await else {
        return;
    };
    let victim = stage.build("adopt");
    let attack = Attack::with(&stage.build("mouthpiece"))
        .args(["SOCKET", "adopt"])
        .program(&victim)
        .arg("echo")
        .unseen();
    let user = format!("unix:uid:{}", crate::stage::VICTIM);
    stage
        .register("victim", &[victim.digest_selector(), user])
        .await;
    stage.withstands(&attack, &["no-match"]).await;

    stage.register("anybody", &[victim.digest_selector()]).await;
    let taken = stage.symbolon(&attack).await;
    assert_eq!(
        taken.credential(),
        Some(id("anybody").as_str()),
        "{taken:?}"
    );
}
