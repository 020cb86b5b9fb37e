//! Callers in namespaces of their own.

use symbolon_tests::Program;

use crate::stage::{ATTACKER, Attack, Stage, id};

/// What makes a command run in a PID namespace that an ordinary user owns, and not as its init.
const OWN_PIDS: [&str; 8] = [
    "unshare",
    "-Ur",
    "--pid",
    "--fork",
    "sh",
    "-c",
    "\"$@\"; exit $?",
    "sh",
];

async fn forger(test: &str, victim: &str) -> Option<(Stage, Program, Attack)> {
    let stage = Stage::set(test).await?;
    let victim = stage.build(victim);
    let attack = Attack::with(&stage.build("hand_over"))
        .args(["SOCKET", "nothing"])
        .through(OWN_PIDS)
        .env("FORGE", "1")
        .unseen();
    Some((stage, victim, attack))
}

#[tokio::test]
async fn a_forged_sender_with_an_inherited_socket_brings_nothing() {
    let test = "a_forged_sender_with_an_inherited_socket_brings_nothing";
    let Some((mut stage, victim, attack)) = forger(test, "idle").await else {
        return;
    };
    let selectors = [victim.digest_selector()];
    stage.register("victim", &selectors).await;
    let attack = attack.arg("5").program(&victim);
    stage.withstands_unlike_spire(&attack, &["forgeable"]).await;
}

#[tokio::test]
async fn a_forged_sender_with_an_inherited_socket_brings_nothing_where_namespaces_are_allowed() {
    let test =
        "a_forged_sender_with_an_inherited_socket_brings_nothing_where_namespaces_are_allowed";
    let Some((mut stage, victim, attack)) = forger(test, "idle").await else {
        return;
    };
    let selectors = [victim.digest_selector()];
    let options = ["--allow-foreign-user-namespaces"];
    stage.register_with("victim", &selectors, options).await;
    let attack = attack.arg("5").program(&victim);
    stage.withstands_unlike_spire(&attack, &["forgeable"]).await;
}

#[tokio::test]
async fn a_forged_sender_with_an_adopted_socket_brings_nothing() {
    let test = "a_forged_sender_with_an_adopted_socket_brings_nothing";
    let Some((mut stage, victim, attack)) = forger(test, "adopt").await else {
        return;
    };
    stage.register("victim", &[victim.digest_selector()]).await;
    let attack = attack.arg("adopt").program(&victim);
    stage
        .withstands_unlike_spire(&attack, &["forgeable", "no-match"])
        .await;
}

/// An honest program, started with these words in front.
async fn honest(test: &str, options: &[&str], words: &[&str]) -> Option<(Stage, Attack)> {
    let mut stage = Stage::set(test).await?;
    let program = stage.build("ask");
    let selectors = [program.digest_selector(), format!("unix:uid:{ATTACKER}")];
    match options {
        [option] => stage.register_with("victim", &selectors, [*option]).await,
        _ => stage.register("victim", &selectors).await,
    }
    let mut ask = Attack::with(&program).arg("SOCKET");
    for word in words {
        ask = ask.through([*word]);
    }
    Some((stage, ask))
}

#[tokio::test]
async fn an_honest_caller_in_a_network_namespace_of_its_own_is_served() {
    let test = "an_honest_caller_in_a_network_namespace_of_its_own_is_served";
    let Some((stage, ask)) = honest(test, &[], &[]).await else {
        return;
    };
    let ask = ask.prepared_by(["unshare", "--net"]);
    let served = stage.symbolon(&ask).await;
    assert_eq!(
        served.credential(),
        Some(id("victim").as_str()),
        "{served:?}"
    );
}

#[tokio::test]
async fn an_honest_caller_in_many_namespaces_is_served() {
    let test = "an_honest_caller_in_many_namespaces_is_served";
    let Some((stage, ask)) = honest(test, &[], &[]).await else {
        return;
    };
    // As a container runtime makes them: owned by our own user namespace.
    let words = [
        "unshare", "--net", "--mount", "--cgroup", "--ipc", "--uts", "--pid", "--fork",
    ];
    let served = stage.symbolon(&ask.prepared_by(words)).await;
    assert_eq!(
        served.credential(),
        Some(id("victim").as_str()),
        "{served:?}"
    );
}

#[tokio::test]
async fn a_pid_namespace_of_the_callers_own_needs_the_operators_word() {
    let test = "a_pid_namespace_of_the_callers_own_needs_the_operators_word";
    let Some((mut stage, ask)) = honest(test, &[], &OWN_PIDS).await else {
        return;
    };
    stage
        .withstands_unlike_spire(&ask, &["forgeable", "no-match"])
        .await;

    let program = Program::at(&stage.directory().join("ask"));
    let selectors = [program.digest_selector()];
    let options = ["--allow-foreign-user-namespaces"];
    stage.register_with("allowed", &selectors, options).await;
    let served = stage.symbolon(&ask).await;
    assert_eq!(
        served.credential(),
        Some(id("allowed").as_str()),
        "{served:?}"
    );
}

#[tokio::test]
async fn a_program_mounted_over_the_registered_path_is_not_at_that_path() {
    let test = "a_program_mounted_over_the_registered_path_is_not_at_that_path";
    let Some(mut stage) = Stage::set(test).await else {
        return;
    };
    let victim = stage.build("idle");
    let program = stage.build("ask");
    stage.register("victim", &[victim.path_selector()]).await;
    let script = format!(
        "mount --bind {} {} && exec \"$@\"",
        program.path().display(),
        victim.path().display()
    );
    let attack = Attack::with(&victim)
        .arg("SOCKET")
        .through(["unshare", "-Urm", "sh", "-c", &script, "sh"]);
    stage.withstands_unlike_spire(&attack, &["no-match"]).await;
}

/// The kernel calls the registered program the executable of a process that never ran it.
///
/// A digest says that somebody may execute the file, and whoever may do that can also load his
/// code into it: so a digest alone is fooled, as by a preloaded library, and takes an operator's
/// reason to be registered. The user holds, and so do the files that are really mapped.
async fn exchanged(test: &str, manner: &str) -> Option<(Stage, Program, Attack)> {
    let stage = Stage::set(test).await?;
    let victim = stage.build_as("idle", "idle", &["-static"]);
    let attack = Attack::with(&stage.build_as("swap", "swap", &["-static"]))
        .arg("SOCKET")
        .program(&victim)
        .arg(manner);
    Some((stage, victim, attack))
}

/// The attack brings the identity of a client that is registered with this much.
async fn fooled(stage: &mut Stage, attack: &Attack, selectors: &[String]) {
    stage.refuses_as(selectors, "anybody-runs-it").await;
    stage.register("fooled", selectors).await;
    stage.symbolon(attack).await.stole("fooled");
    stage.agent().revoke("fooled").await;
}

/// The attack fools a digest, and neither a digest with its user nor one with these words.
async fn fools_a_digest_alone(test: &str, manner: &str, more: &[&str], through: &[&str]) {
    let Some((mut stage, victim, mut attack)) = exchanged(test, manner).await else {
        return;
    };
    for word in through {
        attack = attack.through([*word]);
    }
    let digest = victim.digest_selector();
    fooled(&mut stage, &attack, std::slice::from_ref(&digest)).await;
    stage.spire(&attack).await.stole("fooled");

    let user = format!("unix:uid:{}", crate::stage::VICTIM);
    stage.register("user", &[digest.clone(), user]).await;
    let more = more.iter().map(|word| (*word).to_owned());
    let code: Vec<_> = std::iter::once(digest).chain(more).collect();
    stage.register("code", &code).await;
    stage.withstands(&attack, &["no-match"]).await;
}

#[tokio::test]
async fn an_executable_exchanged_in_a_user_namespace_fools_a_digest_alone() {
    let test = "an_executable_exchanged_in_a_user_namespace_fools_a_digest_alone";
    fools_a_digest_alone(test, "own", &["code:trusted:root"], &["unshare", "-Ur"]).await;
}

#[tokio::test]
async fn an_executable_exchanged_by_a_child_in_a_user_namespace_fools_a_digest_alone() {
    let test = "an_executable_exchanged_by_a_child_in_a_user_namespace_fools_a_digest_alone";
    fools_a_digest_alone(test, "lent", &["code:trusted:root"], &[]).await;
}

/// `code:sha256` of a program that loads nothing: of a list with its digest alone.
fn code_digest(stage: &Stage, program: &Program) -> String {
    let digest = program.digest_selector().replace("unix:sha256:", "");
    let list = stage.directory().join("digests");
    std::fs::write(&list, digest + "\n").expect("the list");
    Program::at(&list)
        .digest_selector()
        .replace("unix:", "code:")
}

/// Memory that is no file's is nobody's file: the other words on code need `code:jit:false`
/// beside them.
#[tokio::test]
async fn an_exchanged_executable_that_is_mapped_fools_trusted_files_with_other_code_allowed() {
    let test = "an_exchanged_executable_that_is_mapped_fools_trusted_files_with_other_code_allowed";
    let Some((mut stage, victim, attack)) = exchanged(test, "dressed").await else {
        return;
    };
    let mut selectors = vec![victim.digest_selector()];
    selectors.extend(["code:trusted:root", "code:static:true"].map(str::to_owned));
    selectors.push(code_digest(&stage, &victim));
    fooled(&mut stage, &attack, &selectors).await;

    selectors.push("code:jit:false".to_owned());
    stage.register("code", &selectors).await;
    stage.withstands(&attack, &["no-match"]).await;
}

#[tokio::test]
async fn an_executable_exchanged_after_the_preface_is_noticed() {
    let test = "an_executable_exchanged_after_the_preface_is_noticed";
    let Some((mut stage, victim, attack)) = exchanged(test, "late").await else {
        return;
    };
    stage.register("victim", &[victim.digest_selector()]).await;
    stage.withstands_unlike_spire(&attack, &["changed"]).await;
}
