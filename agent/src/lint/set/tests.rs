use super::{Knowledge, judge};
use crate::{
    lint::{
        accounts::Accounts,
        programs::{Digests, Generic},
    },
    registry::SelectorSet,
};

const PASSWD: &str =
    "root:x:0:0::/:/bin/sh\namy:x:1000:1000::/:/bin/sh\nsvc:x:998:998::/:/bin/false\n";
const GROUP: &str = "amy:x:1000:\ndev:x:70:amy\nsvc:x:998:\n";

fn known() -> Knowledge {
    let programs = [("n", Generic::Interpreter), ("s", Generic::Symbolon)];
    let digests: Digests = programs
        .into_iter()
        .map(|(name, generic)| (digest(name), (generic, format!("/usr/bin/{name}").into())))
        .collect();
    Knowledge {
        accounts: Accounts::parse(PASSWD, GROUP),
        digests: digests.into(),
        own_path: Some("/opt/agent".to_owned()),
        delegated: ["/system.slice/lxc.service/a".to_owned()].into(),
    }
}

/// Stands for the digest of a program of this name.
fn digest(name: &str) -> String {
    crate::canonical::sha256_hex(name.as_bytes())
}

fn image() -> String {
    format!("container:image_digest:sha256:{}", "ab".repeat(32))
}

fn found(selectors: &[&str]) -> Vec<String> {
    let texts = selectors.iter().map(|text| (*text).to_owned());
    let set = SelectorSet::parse(&texts.collect::<Vec<_>>()).unwrap();
    let found = judge(&set, &known());
    found
        .iter()
        .map(|finding| format!("{} {}", finding.weakness.id(), finding.severity.as_str()))
        .collect()
}

#[track_caller]
fn assert_found(selectors: &[&str], expected: &[&str]) {
    assert_eq!(found(selectors), expected, "{selectors:?}");
}

#[test]
fn a_user_of_its_own_with_a_program_is_not_weak() {
    let app = format!("unix:sha256:{}", digest("app"));
    for strong in [
        &["unix:uid:998", &app][..],
        &["unix:uid:998"],
        &["unix:user:svc", "unix:path:/usr/bin/app"],
        &["unix:gid:998", &app],
        &["systemd:id:app.service", &app],
        &["systemd:id:app.service"],
        &["cgroup:path:/system.slice/app.service", &app],
        &[&image(), &app],
        &["k8s:ns:prod", "k8s:sa:app", "k8s:pod-label:a:b"],
        &["unix:uid:998", "unix:uid:998", "unix:gid:1000"],
    ] {
        assert_found(strong, &[]);
    }
}

#[test]
fn a_program_that_anybody_may_run_is_serious() {
    let app = format!("unix:sha256:{}", digest("app"));
    let code = format!("code:sha256:{}", digest("app"));
    for open in [
        &[app.as_str()][..],
        &["unix:path:/usr/bin/app"],
        &[&code],
        &[&app, "process:no_new_privs:true"],
        &[&app, "code:trusted:root"],
        &[&app, "container:label:a:b"],
        &[&app, "systemd:user_unit:a.service"],
    ] {
        assert_found(open, &["anybody-runs-it serious"]);
    }
}

#[test]
fn an_interpreter_needs_somebody_of_its_own() {
    let node = format!("unix:sha256:{}", digest("n"));
    assert_found(
        &[&node],
        &["anybody-runs-it serious", "interpreter serious"],
    );
    assert_found(
        &["unix:uid:1000", &node],
        &["interpreter serious", "login-user serious"],
    );
    assert_found(&["unix:uid:998", &node], &["interpreter notice"]);
    for path in ["/usr/bin/python3.13", "/usr/bin/node", "/usr/bin/dash"] {
        let path = format!("unix:path:{path}");
        assert_found(&["systemd:id:app.service", &path], &["interpreter notice"]);
        assert_found(
            &[&path],
            &["anybody-runs-it serious", "interpreter serious"],
        );
    }
}

#[test]
fn what_passes_on_needs_somebody_of_its_own() {
    for path in [
        "/usr/bin/cat",
        "/usr/bin/socat",
        "/usr/bin/env",
        "/usr/bin/sudo",
    ] {
        let path = format!("unix:path:{path}");
        assert_found(&["unix:uid:998", &path], &["mouthpiece notice"]);
        assert_found(
            &["unix:uid:0", &path],
            &["mouthpiece serious", "login-user serious"],
        );
    }
}

#[test]
fn symbolon_lends_its_identity() {
    let own = format!("unix:sha256:{}", digest("s"));
    assert_found(&[&own], &["anybody-runs-it serious", "own-binary serious"]);
    assert_found(
        &["unix:uid:1000", "unix:path:/opt/agent"],
        &["own-binary serious", "login-user serious"],
    );
    assert_found(&["unix:uid:998", &own], &["own-binary notice"]);
}

#[test]
fn users_whom_people_are_count_with_what_they_can_run() {
    let app = format!("unix:sha256:{}", digest("app"));
    for person in [
        "unix:uid:1000",
        "unix:user:amy",
        "unix:gid:70",
        "unix:group:dev",
        "unix:uid:0",
    ] {
        assert_found(&[person], &["login-user serious"]);
        assert_found(&[person, &app], &["login-user notice"]);
        assert_found(&[person, &app, "systemd:id:app.service"], &[]);
    }
    assert_found(&["unix:uid:65534"], &["shared-user serious"]);
    assert_found(&["unix:user:nobody", &app], &["shared-user notice"]);
}

#[test]
fn what_the_process_chooses_is_not_enough() {
    for chosen in [
        "container:label:app:pay",
        "k8s:pod-label:app:pay",
        "process:parent_path:/usr/bin/app",
        "process:undumpable:true",
        "code:jit:false",
        "systemd:user_unit:app.service",
        "systemd:slice:system.slice",
        "cgroup:path:/user.slice/user-1000.slice/user@1000.service/app.slice",
        "cgroup:path:/system.slice/lxc.service/a",
        "cgroup:path:/",
    ] {
        assert_found(&[chosen], &["self-chosen serious"]);
        assert_found(&[chosen, "unix:uid:998"], &[]);
    }
}

#[test]
fn what_does_not_last_and_what_nobody_makes_is_noticed() {
    let start = format!("systemd:invocation_id:{}", "ab".repeat(16));
    assert_found(&[&start], &["ends-with-restart notice"]);
    let container = format!("container:id:{}", "ab".repeat(32));
    assert_found(&["unix:uid:998", &container], &["ends-with-restart notice"]);
    assert_found(
        &["unix:uid:998", "docker:label:a:b"],
        &["unknown-type notice"],
    );
    assert_found(&["docker:label:a:b"], &["unknown-type notice"]);
}

#[test]
fn without_a_machine_the_texts_speak() {
    let set = SelectorSet::parse(&["unix:uid:0".into(), "unix:path:/usr/bin/node".into()]).unwrap();
    let found = judge(&set, &Knowledge::default());
    let ids: Vec<_> = found.iter().map(|finding| finding.weakness.id()).collect();
    assert_eq!(ids, ["interpreter", "login-user"]);
}

#[test]
fn files_alone_say_nothing_of_code_in_no_file() {
    let weak = ["unix:uid:998", "code:trusted:root"];
    assert_found(&weak, &["code-without-jit notice"]);
    assert_found(
        &["unix:uid:998", "code:trusted:root", "code:jit:false"],
        &[],
    );
}
