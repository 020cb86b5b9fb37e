//! Names that a process gives itself.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use symbolon_tests::{Program, can_run};

use crate::stage::{ATTACKER, Attack, Stage, id};

/// The ID of a container that runs somewhere.
const CONTAINER: &str = "4f1c2d3b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0aa";

/// A part of the cgroup tree that was delegated to the attacker; removed when dropped.
struct Delegated {
    path: PathBuf,
    made: Vec<PathBuf>,
}

impl Delegated {
    fn new(test: &str) -> Option<Self> {
        let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
        let root = roots
            .iter()
            .find(|root| Path::new(root).join("cgroup.procs").exists());
        let path = Path::new(root.unwrap_or(&"/")).join(format!("symbolon-{}", std::process::id()));
        let path = path.with_extension(test);
        let able = root.is_some() && std::fs::create_dir(&path).is_ok();
        let enable = "run as root with the cgroup tree mounted for writing";
        can_run(test, able, enable).then(|| {
            for file in ["", "cgroup.procs"] {
                chown(path.join(file), Some(ATTACKER), Some(ATTACKER)).expect("its owner");
            }
            Self {
                path,
                made: Vec::new(),
            }
        })
    }

    /// What makes an attacker of a command, in a group of this name that he makes himself.
    fn in_group(&mut self, attack: Attack, name: &str) -> Attack {
        let group = self.path.join(name);
        for made in group.ancestors().take_while(|group| **group != self.path) {
            self.made.push(made.to_owned());
        }
        let make = format!(
            "mkdir -p '{0}' && echo $$ > '{0}/cgroup.procs' && exec \"$@\"",
            group.display()
        );
        let enter = format!(
            "echo $$ > '{}/cgroup.procs' && exec \"$@\"",
            self.path.display()
        );
        attack
            .through(["sh", "-c", &make, "sh"])
            .prepared_by(["sh", "-c", &enter, "sh"])
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        self.made.sort();
        self.made.dedup();
        for group in self.made.iter().rev().chain([&self.path]) {
            // The last of its processes may be on its way out.
            drop(std::fs::remove_dir(group));
        }
    }
}

#[tokio::test]
async fn a_group_with_the_name_of_a_container_is_none() {
    let test = "a_group_with_the_name_of_a_container_is_none";
    let Some(mut stage) = Stage::set(test).await else {
        return;
    };
    let Some(mut groups) = Delegated::new(test) else {
        return;
    };
    let program = stage.build("ask");
    let label = "docker:label:app:victim";
    stage.docker_knows(CONTAINER, label);
    stage.register_for_spire("victim", &[label.to_owned()]);
    let selectors = [format!("container:id:{CONTAINER}")];
    stage.register("victim", &selectors).await;
    let selectors = [format!("cgroup:path:/docker/{CONTAINER}")];
    stage.register("group", &selectors).await;

    let attack = Attack::with(&program).arg("SOCKET");
    let attack = groups.in_group(attack, &format!("docker/{CONTAINER}"));
    stage.withstands_unlike_spire(&attack, &["no-match"]).await;
    // In a cgroup namespace of its own, what it sees as the root is its group.
    let hidden = attack.through(["unshare", "-UrC"]);
    stage.withstands(&hidden, &["no-match"]).await;
}

#[tokio::test]
async fn a_group_with_the_name_of_a_unit_is_none() {
    let test = "a_group_with_the_name_of_a_unit_is_none";
    let Some(mut stage) = Stage::set(test).await else {
        return;
    };
    let Some(mut groups) = Delegated::new(test) else {
        return;
    };
    let program = stage.build("ask");
    stage
        .register("unit", &["systemd:id:victim.service".to_owned()])
        .await;
    let group = "cgroup:path:/system.slice/victim.service".to_owned();
    stage.register("group", &[group]).await;
    let attack = Attack::with(&program).arg("SOCKET");
    let attack = groups.in_group(attack, "system.slice/victim.service");
    stage.withstands(&attack, &["no-match"]).await;
    let hidden = attack.through(["unshare", "-UrC"]);
    stage.withstands(&hidden, &["no-match"]).await;
}

/// The longest names that the kernel lets a process have.
#[tokio::test]
async fn a_group_with_an_endless_path_hides_nothing_else() {
    let test = "a_group_with_an_endless_path_hides_nothing_else";
    let Some(mut stage) = Stage::set(test).await else {
        return;
    };
    let Some(mut groups) = Delegated::new(test) else {
        return;
    };
    let program = stage.build("ask");
    let selectors = [program.digest_selector(), format!("unix:uid:{ATTACKER}")];
    stage.register("victim", &selectors).await;
    let name = vec!["g".repeat(250); 14].join("/");
    let attack = groups.in_group(Attack::with(&program).arg("SOCKET"), &name);
    let served = stage.symbolon(&attack).await;
    assert_eq!(
        served.credential(),
        Some(id("victim").as_str()),
        "{served:?}"
    );
}

#[tokio::test]
async fn argv_comm_and_title_say_nothing() {
    let test = "argv_comm_and_title_say_nothing";
    let Some(mut stage) = Stage::set(test).await else {
        return;
    };
    let victim: Program = stage.build("idle");
    let program = stage.build("ask");
    stage.register("victim", &[victim.path_selector()]).await;
    stage.register("digest", &[victim.digest_selector()]).await;
    let title = format!("exec -a '{}' \"$@\"", victim.path().display());
    let attack = Attack::with(&program)
        .args(["SOCKET", "renamed", "idle"])
        .through(["bash", "-c", &title, "bash"]);
    stage.spire(&attack).await.got_nothing();
    stage.withstands(&attack, &["no-match"]).await;
}
