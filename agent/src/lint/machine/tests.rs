use super::Machine;
use crate::{
    lint::{Finding, Subject},
    registry::SelectorSet,
};
use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, chown, symlink},
};
use tempfile::TempDir;

/// A machine with a program, an interpreter and two users beside the test's own.
fn tree() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, content) in [
        (
            "etc/passwd",
            "amy:x:54321:54321::/:/bin/sh\nsvc:x:998:998::/:/bin/false\n",
        ),
        ("etc/group", "amy:x:54321:\n"),
        ("usr/bin/python3.13", "an interpreter"),
        ("opt/app", "a program"),
    ] {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
    }
    root
}

/// The test's user owns the tree, so the set names it; root is allowed everywhere.
fn own() -> String {
    format!("unix:uid:{}", rustix::process::geteuid().as_raw())
}

fn found(root: &TempDir, selectors: &[&str]) -> Vec<Finding> {
    let texts = selectors.iter().map(|text| (*text).to_owned());
    let set = SelectorSet::parse(&texts.collect::<Vec<_>>()).unwrap();
    Machine::below(root.path()).judge(&Subject {
        sets: vec![set],
        ..Subject::default()
    })
}

fn ids(found: &[Finding]) -> Vec<String> {
    let id = |finding: &Finding| format!("{} {}", finding.weakness.id(), finding.severity.as_str());
    found
        .iter()
        .map(id)
        .filter(|id| !id.starts_with("login-user"))
        .collect()
}

fn digest(content: &str) -> String {
    let digest = crate::canonical::sha256_hex(content.as_bytes());
    format!("unix:sha256:{digest}")
}

#[test]
fn people_are_read_from_the_machine() {
    let root = tree();
    assert_eq!(
        found(&root, &["unix:user:amy"])[0].weakness.id(),
        "login-user"
    );
    assert_eq!(found(&root, &["unix:uid:998"]), []);
}

#[test]
fn an_interpreter_is_known_by_its_digest() {
    let root = tree();
    let interpreter = digest("an interpreter");
    assert_eq!(
        ids(&found(&root, &["unix:uid:998", &interpreter])),
        ["interpreter notice"]
    );
    assert_eq!(
        ids(&found(&root, &["unix:uid:998", &digest("a program")])),
        [""; 0]
    );
}

#[test]
fn the_agents_own_program_is_known() {
    let own = fs::read("/proc/self/exe").unwrap();
    let own = format!("unix:sha256:{}", crate::canonical::sha256_hex(&own));
    assert_eq!(
        ids(&found(&tree(), &["unix:uid:998", &own])),
        ["own-binary notice"]
    );
}

#[test]
fn a_path_that_others_can_write_is_serious_without_a_digest() {
    let root = tree();
    assert_eq!(ids(&found(&root, &[&own(), "unix:path:/opt/app"])), [""; 0]);
    fs::set_permissions(root.path().join("opt"), Permissions::from_mode(0o777)).unwrap();
    let open = found(&root, &[&own(), "unix:path:/opt/app"]);
    assert_eq!(ids(&open), ["writable-path serious"]);
    let told = &open.last().unwrap().explanation;
    assert_eq!(
        told,
        "everybody can write to /opt, and so replace the program /opt/app"
    );
    assert_eq!(
        ids(&found(
            &root,
            &[&own(), "unix:path:/opt/app", &digest("a program")]
        )),
        ["writable-path notice"]
    );
}

#[test]
fn paths_that_never_fit_are_noticed() {
    let root = tree();
    symlink("app", root.path().join("opt/link")).unwrap();
    assert_eq!(
        ids(&found(&root, &[&own(), "unix:path:/opt/link"])),
        ["symlink-path notice"]
    );
    assert_eq!(
        ids(&found(&root, &[&own(), "unix:path:/opt/other"])),
        ["missing-path notice"]
    );
}

#[test]
fn a_cgroup_that_belongs_to_a_user_is_that_users_choice() {
    if !crate::testing::can_run(
        "a_cgroup_that_belongs_to_a_user_is_that_users_choice",
        rustix::process::geteuid().is_root(),
        "run the tests as root",
    ) {
        return;
    }
    let root = tree();
    let unit = root.path().join("sys/fs/cgroup/system.slice/lxc.service");
    fs::create_dir_all(unit.join("a")).unwrap();
    let selector = "cgroup:path:/system.slice/lxc.service/a";
    assert_eq!(found(&root, &[selector]), []);
    chown(&unit, Some(54_321), None).unwrap();
    assert_eq!(ids(&found(&root, &[selector])), ["self-chosen serious"]);
}
