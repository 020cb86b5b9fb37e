//! The registered program itself, with other code in it or under a debugger.
//!
//! The digest of a file says nothing of what was loaded into the process that runs it. Of
//! another user's run, the user is the word that tells; of the same user's, `code:trusted`
//! and the refusal of traced processes are.

use symbolon_tests::Program;

use crate::stage::{ATTACKER, Attack, Stage, VICTIM, id};

struct Scene {
    stage: Stage,
    victim: Program,
    library: Program,
}

async fn scene(test: &str) -> Option<Scene> {
    let stage = Stage::set(test).await?;
    let victim = stage.build("ask");
    let library = stage.build_as("inside", "inside.so", &["-shared", "-fPIC"]);
    Some(Scene {
        stage,
        victim,
        library,
    })
}

impl Scene {
    /// The victim's program, started by `user` with the library in this variable.
    fn loaded(&self, variable: &str, user: u32) -> Attack {
        let library = format!("{variable}={}", self.library.path().display());
        Attack::with(&self.victim)
            .by(user)
            .through(["env", &library])
            .arg("SOCKET")
            .env("VICTIM_SOCKET", "SOCKET")
    }

    /// The victim's program under a debugger of `user`.
    fn traced(&self, user: u32) -> Attack {
        Attack::with(&self.stage.build("tracer"))
            .by(user)
            .arg("start")
            .program(&self.victim)
            .arg("SOCKET")
    }

    fn selectors(&self) -> Vec<String> {
        vec![self.victim.digest_selector()]
    }

    fn selectors_with(&self, more: &str) -> Vec<String> {
        vec![self.victim.digest_selector(), more.to_owned()]
    }
}

#[tokio::test]
async fn a_library_loaded_by_another_user_brings_nothing() {
    let test = "a_library_loaded_by_another_user_brings_nothing";
    let Some(mut scene) = scene(test).await else {
        return;
    };
    // What SPIRE's own examples register: the digest alone.
    let weak = scene.selectors();
    scene.stage.register("weak", &weak).await;
    for variable in ["LD_PRELOAD", "LD_AUDIT"] {
        let attack = scene.loaded(variable, ATTACKER);
        scene.stage.spire(&attack).await.stole("weak");
    }
    scene.stage.agent().revoke("weak").await;

    let selectors = scene.selectors_with(&format!("unix:uid:{VICTIM}"));
    scene.stage.register("victim", &selectors).await;
    for variable in ["LD_PRELOAD", "LD_AUDIT"] {
        let attack = scene.loaded(variable, ATTACKER);
        scene.stage.withstands(&attack, &["no-match"]).await;
    }
}

#[tokio::test]
async fn a_library_loaded_by_the_same_user_is_not_trusted_code() {
    let test = "a_library_loaded_by_the_same_user_is_not_trusted_code";
    let Some(mut scene) = scene(test).await else {
        return;
    };
    // The library belongs to the attacker, as one of his own would.
    let library = scene.library.path().to_owned();
    std::os::unix::fs::chown(&library, Some(ATTACKER), Some(ATTACKER)).expect("its owner");
    let mut selectors = scene.selectors_with("code:trusted:root");
    selectors.push(format!("unix:uid:{ATTACKER}"));
    scene.stage.register("victim", &selectors).await;
    for variable in ["LD_PRELOAD", "LD_AUDIT"] {
        let attack = scene.loaded(variable, ATTACKER);
        scene.stage.withstands(&attack, &["no-match"]).await;
    }
    let honest = Attack::with(&scene.victim).arg("SOCKET");
    let served = scene.stage.symbolon(&honest).await;
    assert_eq!(
        served.credential(),
        Some(id("victim").as_str()),
        "{served:?}"
    );
}

#[tokio::test]
async fn a_traced_program_gets_nothing() {
    let test = "a_traced_program_gets_nothing";
    let Some(mut scene) = scene(test).await else {
        return;
    };
    let selectors = scene.selectors();
    scene.stage.register("victim", &selectors).await;
    for user in [ATTACKER, VICTIM] {
        let attack = scene.traced(user);
        scene
            .stage
            .withstands_unlike_spire(&attack, &["traced"])
            .await;
    }
}

#[tokio::test]
async fn a_neighbour_of_another_user_cannot_be_injected_into() {
    let test = "a_neighbour_of_another_user_cannot_be_injected_into";
    let Some(mut scene) = scene(test).await else {
        return;
    };
    let selectors = scene.selectors();
    scene.stage.register("victim", &selectors).await;
    let target = scene.stage.target();
    let honest = Attack::with(&scene.victim)
        .by(VICTIM)
        .args(["SOCKET", "pause"]);
    let mut neighbour = target.launch(&honest);
    neighbour.says("ready").await;
    let tracer = scene.stage.build("tracer");
    let pid = neighbour.pid().to_string();
    let attack = Attack::with(&tracer).arg("seize").arg(pid);
    // What stops it is the kernel: only root or the same user may trace.
    let refused = scene.stage.symbolon(&attack).await;
    assert_eq!(refused.lines, ["not permitted"], "{refused:?}");
    neighbour.go().await;
    let served = neighbour.outcome().await;
    assert_eq!(
        served.credential(),
        Some(id("victim").as_str()),
        "{served:?}"
    );
}

#[tokio::test]
async fn a_program_seized_by_its_own_user_gets_nothing() {
    let test = "a_program_seized_by_its_own_user_gets_nothing";
    let Some(mut scene) = scene(test).await else {
        return;
    };
    let selectors = scene.selectors();
    scene.stage.register("victim", &selectors).await;
    let target = scene.stage.target();
    let honest = Attack::with(&scene.victim).args(["SOCKET", "pause"]);
    let mut neighbour = target.launch(&honest);
    neighbour.says("ready").await;
    let tracer = scene.stage.build("tracer");
    let attack = Attack::with(&tracer)
        .arg("seize")
        .arg(neighbour.pid().to_string());
    let mut debugger = target.launch(&attack);
    debugger.says("seized").await;
    neighbour.go().await;
    let outcome = neighbour.line().await.unwrap_or_default();
    assert!(
        matches!(outcome.as_str(), "refused" | "closed"),
        "{outcome}"
    );
    scene.stage.denied_as(&["traced"]).await;
    // Its end is its debugger's to know first.
    debugger.go().await;
    debugger.end().await;
    neighbour.end().await;
}
