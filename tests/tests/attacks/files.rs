//! The file of the registered program, changed while somebody looks.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use symbolon_tests::Program;

use crate::stage::{ATTACKER, Attack, Stage, id};

/// How often a file is rewritten right after it was hashed.
const REWRITES: usize = 20;

/// Runs a tool in a process of its own: a descriptor of ours that is open for
/// writing would be inherited by what is started meanwhile, and no program runs
/// that somebody has open for writing.
fn tool<const N: usize>(words: [&str; N]) {
    let status = Command::new(words[0]).args(&words[1..]).status();
    assert!(status.expect("the tool runs").success(), "{words:?}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

/// Writes the content of one file into another, in place, and resets its times.
fn rewrite(source: &Path, target: &Path) {
    let times = target.with_extension("times");
    tool(["touch", "-r", text(target), text(&times)]);
    tool(["cp", text(source), text(target)]);
    tool(["touch", "-r", text(&times), text(target)]);
}

struct Scene {
    stage: Stage,
    honest: Program,
    /// The same size, another content, and the attacker's work.
    altered: Program,
    /// Where the attacker may write.
    folder: PathBuf,
}

async fn scene(test: &str) -> Option<Scene> {
    let mut stage = Stage::set(test).await?;
    let honest = stage.build("ask");
    let altered = honest.alter_to(&stage.directory().join("altered"));
    stage.register("victim", &[honest.digest_selector()]).await;
    let folder = stage.directory().join("attackers");
    std::fs::create_dir(&folder).expect("a folder");
    chown(&folder, Some(ATTACKER), Some(ATTACKER)).expect("its owner");
    Some(Scene {
        stage,
        honest,
        altered,
        folder,
    })
}

impl Scene {
    /// A copy of a program where the attacker may write.
    fn plant(&self, program: &Program) -> Program {
        program.copy_to(&self.folder, "program")
    }

    async fn is_victim(&self, attack: &Attack) -> bool {
        let outcome = self.stage.symbolon(attack).await;
        if outcome.credential().is_none() {
            outcome.got_nothing();
        }
        outcome.credential() == Some(id("victim").as_str())
    }
}

#[tokio::test]
async fn a_binary_rewritten_within_a_tick_of_its_hashing_is_hashed_again() {
    let test = "a_binary_rewritten_within_a_tick_of_its_hashing_is_hashed_again";
    let Some(scene) = scene(test).await else {
        return;
    };
    let planted = scene.plant(&scene.honest);
    let attack = Attack::with(&planted).arg("SOCKET");
    for round in 0..REWRITES {
        assert!(scene.is_victim(&attack).await, "round {round}");
        rewrite(scene.altered.path(), planted.path());
        assert!(!scene.is_victim(&attack).await, "round {round}");
        rewrite(scene.honest.path(), planted.path());
    }
    scene.stage.denied_as(&["no-match"]).await;
}

#[tokio::test]
async fn a_program_replaced_by_the_registered_one_stays_what_it_is() {
    let test = "a_program_replaced_by_the_registered_one_stays_what_it_is";
    let Some(mut scene) = scene(test).await else {
        return;
    };
    let planted = scene.plant(&scene.altered);
    let selectors = [planted.path_selector(), scene.honest.digest_selector()];
    scene.stage.register("path", &selectors).await;
    for (manner, word) in [("late", "no-match"), ("pause", "changed")] {
        let planted = scene.plant(&scene.altered);
        let attack = Attack::with(&planted).args(["SOCKET", manner]);
        let mut running = scene.stage.target().launch(&attack);
        running.says("ready").await;
        let honest = scene.honest.copy_to(&scene.folder, "new");
        tool(["mv", text(honest.path()), text(planted.path())]);
        running.finish().await.got_nothing();
        scene.stage.denied_as(&[word]).await;
    }
}

#[tokio::test]
async fn a_deleted_program_is_hashed_as_what_runs() {
    let test = "a_deleted_program_is_hashed_as_what_runs";
    let Some(scene) = scene(test).await else {
        return;
    };
    for (program, expected) in [(&scene.altered, false), (&scene.honest, true)] {
        let planted = scene.plant(program);
        let attack = Attack::with(&planted).args(["SOCKET", "late"]);
        let mut running = scene.stage.target().launch(&attack);
        running.says("ready").await;
        tool(["rm", text(planted.path())]);
        let outcome = running.finish().await;
        assert_eq!(outcome.credential().is_some(), expected, "{outcome:?}");
    }
    scene.stage.denied_as(&["no-match"]).await;
}

#[tokio::test]
async fn a_bind_mount_over_a_running_program_does_not_make_it_another() {
    let test = "a_bind_mount_over_a_running_program_does_not_make_it_another";
    let Some(scene) = scene(test).await else {
        return;
    };
    let planted = scene.plant(&scene.altered);
    let (over, under) = (text(scene.honest.path()), text(planted.path()));
    // The altered program is started through a descriptor, after its path shows the honest one.
    let script =
        format!("exec 9<{under}; mount --bind {over} {under}; exec /proc/self/fd/9 \"$@\"");
    let attack = Attack::with(&planted)
        .arg("SOCKET")
        .through(["unshare", "-Urm", "sh", "-c", &script]);
    scene.stage.withstands(&attack, &["no-match"]).await;
}

/// The kernel forbids to write a file that runs; not the file below an overlay of it.
#[tokio::test]
async fn a_file_below_an_overlay_that_is_rewritten_while_it_runs_proves_nothing() {
    let test = "a_file_below_an_overlay_that_is_rewritten_while_it_runs_proves_nothing";
    let Some(scene) = scene(test).await else {
        return;
    };
    let attacker = scene.stage.build("swap");
    for name in ["lower", "upper", "work", "merged"] {
        let folder = scene.folder.join(name);
        std::fs::create_dir(&folder).expect("a folder");
        chown(&folder, Some(ATTACKER), Some(ATTACKER)).expect("its owner");
    }
    let lower = attacker.copy_to(&scene.folder.join("lower"), "program");
    let script = format!(
        "cd {} && mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work,userxattr \
         merged && exec \"$@\"",
        text(&scene.folder)
    );
    let merged = scene.folder.join("merged/program");
    let attack = Attack::of(text(&merged))
        .args(["SOCKET", "/bin/true", "kept"])
        .through(["unshare", "-Urm", "sh", "-c", &script, "sh"]);
    let mut running = scene.stage.target().launch(&attack);
    running.says("ready").await;
    tool(["cp", text(scene.honest.path()), text(lower.path())]);
    running.finish().await.got_nothing();
    scene.stage.denied_as(&["no-match"]).await;
}
