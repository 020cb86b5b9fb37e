//! `[[operators]]`.

use super::{Host, MINIMAL, fault_of};
use crate::config::{Config, KnownBy};

const OPERATORS: &str = "\
[[operators]]
name = \"alice\"
uid = 1001
roles = [\"author\", \"reader\"]
[[operators]]
name = \"sec\"
group = \"security\"
roles = [\"approver\"]
";

#[test]
fn operators_are_tables_of_the_file() {
    let config = Host::new([MINIMAL, OPERATORS].concat()).load(&[]).unwrap();
    let [alice, sec] = config.operators.as_slice() else {
        panic!("{:?}", config.operators);
    };
    assert_eq!(
        (&*alice.name, &alice.known_by),
        ("alice", &KnownBy::Uid(1001))
    );
    assert_eq!(alice.roles.to_string(), "reader, author");
    assert_eq!(sec.known_by, KnownBy::Group("security".to_owned()));
    assert_eq!(sec.roles.to_string(), "approver");
    let line = "operators = [{ name = \"a\", user = \"b\", roles = [\"reader\"] }]\n";
    let line = Host::new([line, MINIMAL].concat()).load(&[]).unwrap();
    assert_eq!(line.operators.len(), 1);
    let none = Host::new([MINIMAL, "operators = []\n"].concat());
    assert!(none.load(&[]).unwrap().operators.is_empty());
}

#[test]
fn a_change_of_operators_is_taken_without_a_restart() {
    let before = Host::new([MINIMAL, OPERATORS].concat()).load(&[]).unwrap();
    let text = OPERATORS.replace("\"reader\"", "\"responder\"");
    let after = Host::new([MINIMAL, &text].concat()).load(&[]).unwrap();
    let differences = Config::reload_differences(&before, &after);
    assert!(differences.restart.is_empty());
    assert_eq!(differences.live.len(), 1, "{differences:?}");
}

#[test]
fn every_fault_of_an_operator_has_its_line() {
    let host = Host::new(
        "trust_domain = \"example.org\"\n\
         [[operators]]\n\
         name = \"uid:0\"\n\
         uid = 65534\n\
         roles = [\"root\"]\n\
         [[operators]]\n\
         name = \"b\"\n\
         uid = 1\n\
         user = \"b\"\n\
         roles = []\n\
         [[operators]]\n\
         rolls = []\n\
         [[operators]]\n\
         name = \"c\"\n\
         selectors = [\"unix:uid:x\"]\n\
         roles = [\"reader\"]\n",
    );
    let faults = host.faults_with(&[("SYMBOLON_OPERATORS", "alice")]);
    let lines: Vec<_> = faults.lines().collect();
    let expected = [
        "/agent.toml:3: `operators[0].name` cannot be \"uid:0\"; write a name of",
        "/agent.toml:4: `operators[0].uid` cannot be 65534; write the number of a user",
        "/agent.toml:5: `operators[0].roles` cannot be a list of root; write a list of \"reader\",",
        "/agent.toml:6: an operator has exactly one of",
        "/agent.toml:10: `operators[1].roles` cannot be a list of ; write",
        "/agent.toml:11: an operator has no `name`; write `name = \"alice\"`",
        "/agent.toml:11: an operator has no `roles`",
        "/agent.toml:11: an operator has exactly one of",
        "/agent.toml:12: no key is named `operators.rolls`; write `roles`",
        "/agent.toml:15: `selectors` cannot be this: ",
        "SYMBOLON_OPERATORS: `operators` cannot be \"alice\"; write `[[operators]]` tables",
    ];
    assert_eq!(lines.len(), expected.len(), "{faults}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line}\n{expected}");
    }
}

#[test]
fn the_same_operator_twice_is_refused_and_so_are_too_few_approvers() {
    let text = OPERATORS.replace("\"sec\"", "\"alice\"");
    let fault = fault_of(&text);
    assert_eq!(fault, "another operator has the name \"alice\" already");
    let text = OPERATORS.replace("approver", "auditor");
    let fault = fault_of(&format!("[registry]\napprovals_required = 1\n{text}"));
    assert!(
        fault.contains("fewer `[[operators]]` have the role approver"),
        "{fault}"
    );
    let two = OPERATORS
        .replace("group = \"security\"", "uid = 1002")
        .replace("[\"author\", \"reader\"]", "[\"author\", \"approver\"]");
    for (asked, operators, enough) in [
        (1, OPERATORS, true),
        // A group's members are not counted here.
        (5, OPERATORS, true),
        // Nobody but the author is left for the second one.
        (2, &two, false),
    ] {
        let text = format!("[registry]\napprovals_required = {asked}\n{operators}");
        let loaded = Host::new([MINIMAL, &text].concat()).load(&[]);
        assert_eq!(loaded.is_ok(), enough, "{asked}");
    }
    let fault = fault_of(&format!("[registry]\napprovals_required = 6\n{OPERATORS}"));
    assert!(
        fault.contains("from 0 to 5") && !fault.contains("fewer"),
        "{fault}"
    );
    let fault = fault_of("[registry]\napprovals_required = 1");
    assert!(fault.contains("fewer `[[operators]]`"), "{fault}");
    let group = "[registry]\napprovals_required = 1\n[admin_api]\ngroup = \"g\"";
    Host::new([MINIMAL, group].concat()).load(&[]).unwrap();
    for wrong in [
        "operators = 5",
        "operators = \"root\"",
        "[operators]\nname = \"a\"",
    ] {
        let fault = fault_of(wrong);
        assert!(
            fault.contains("write `[[operators]]` tables"),
            "{wrong}: {fault}"
        );
    }
    let fault = fault_of("operators = [5]");
    assert!(
        fault.contains("cannot be 5; write `[[operators]]` tables"),
        "{fault}"
    );
}

#[test]
fn an_author_is_no_approver_of_his_own_versions() {
    let table = |name: &str, uid: u32, roles: &str| {
        format!("[[operators]]\nname = \"{name}\"\nuid = {uid}\nroles = [{roles}]\n")
    };
    let both = table("alice", 1, "\"author\", \"approver\"");
    let approver = table("bob", 2, "\"approver\"");
    let author = table("carol", 3, "\"author\"");
    let folder = "apply_dir = \"/etc/symbolon/clients\"\n";
    for (asked, folder, operators, expected) in [
        (1, "", both.clone(), None),
        (1, folder, both.clone(), Some(true)),
        (1, "", [&*both, &approver].concat(), Some(false)),
        (2, "", [&*both, &approver].concat(), None),
        (2, "", [&*both, &approver, &author].concat(), Some(true)),
        (3, "", [&*both, &approver, &author].concat(), None),
        // Authors may be named later.
        (1, "", approver.clone(), Some(false)),
    ] {
        let text = format!("[registry]\napprovals_required = {asked}\n{folder}{operators}");
        let loaded = Host::new([MINIMAL, &text].concat()).load(&[]);
        let is_told = loaded.ok().map(|config| {
            let notices = config.notices();
            let mut texts = notices.iter().map(ToString::to_string);
            texts.any(|text| text.contains("too few others"))
        });
        assert_eq!(is_told, expected, "{text}");
    }
}
