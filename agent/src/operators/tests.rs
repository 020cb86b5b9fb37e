use super::{Entry, Role, Roles, Roster, Whose, is_name};
use crate::registry::SelectorSet;
use symbolon_attestors::Selector;

const OWN: u32 = 990;

fn entry(name: &str, whose: Whose, roles: &[Role]) -> Entry {
    Entry {
        name: name.into(),
        whose,
        roles: roles.iter().copied().collect(),
    }
}

fn set(selectors: &[&str]) -> SelectorSet {
    let selectors: Vec<String> = selectors.iter().map(ToString::to_string).collect();
    SelectorSet::parse(&selectors).unwrap()
}

fn roster() -> Roster {
    Roster::of(
        OWN,
        vec![
            entry("alice", Whose::User(1001), &[Role::Author]),
            entry("sec", Whose::Group(50), &[Role::Approver]),
            entry("ops", Whose::Group(60), &[Role::Responder]),
            entry(
                "deploy",
                Whose::Program(set(&["unix:uid:1500", "systemd:id:deploy.service"])),
                &[Role::Author],
            ),
        ],
    )
}

fn known(roster: &Roster, uid: u32, groups: &[u32]) -> Option<(String, Roles)> {
    let person = roster.person(uid, groups)?;
    Some((person.label.to_string(), person.roles))
}

fn roles(roles: &[Role]) -> Roles {
    roles.iter().copied().collect()
}

#[test]
fn where_nobody_is_named_the_superuser_and_the_own_user_have_every_role() {
    let roster = Roster::nobody(OWN, false);
    for uid in [0, OWN] {
        let label = format!("uid:{uid}");
        assert_eq!(known(&roster, uid, &[]), Some((label, Roles::ALL)));
    }
    assert_eq!(known(&roster, 1001, &[0]), None);
    let open = Roster::nobody(OWN, true);
    assert_eq!(known(&open, 7, &[]), Some(("uid:7".into(), Roles::ALL)));
}

#[test]
fn who_is_named_has_the_roles_of_all_entries_that_fit() {
    let roster = roster();
    let alice = |groups: &[u32]| known(&roster, 1001, groups).unwrap();
    assert_eq!(alice(&[]), ("alice".into(), roles(&[Role::Author])));
    let both = roles(&[Role::Author, Role::Approver]);
    assert_eq!(alice(&[50]), ("alice".into(), both));
    let member = known(&roster, 1002, &[60, 50]).unwrap();
    let both = roles(&[Role::Responder, Role::Approver]);
    assert_eq!(member, ("sec/uid:1002".into(), both));
    assert_eq!(known(&roster, 1003, &[1001]), None);
}

#[test]
fn the_superuser_has_no_role_unless_named() {
    for uid in [0, OWN] {
        let label = format!("uid:{uid}");
        assert_eq!(known(&roster(), uid, &[]), Some((label, Roles::NONE)));
    }
    let root = entry("boss", Whose::User(0), &[Role::Approver]);
    let roster = Roster::of(OWN, vec![root]);
    assert!(known(&roster, 0, &[]).unwrap().1.has(Role::Approver));
    assert!(!roster.needs_an_open_door());
    assert!(super::tests::roster().needs_an_open_door());
}

#[test]
fn a_program_has_to_have_every_selector() {
    let roster = roster();
    let mut selectors: Vec<Selector> = ["unix:uid:1500", "systemd:id:deploy.service", "a:b"]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
    selectors.sort();
    assert_eq!(&*roster.program(&selectors).unwrap().label, "deploy");
    selectors.retain(|selector| selector.as_str() != "systemd:id:deploy.service");
    assert_eq!(roster.program(&selectors), None);
    assert_eq!(roster.program(&[]), None);
    assert_eq!(known(&roster, 1500, &[]), None);
}

#[test]
fn names_cannot_be_taken_for_something_else() {
    for good in ["alice", "A.B", "ci-deploy_2", "alice@example.org", "7"] {
        assert!(is_name(good), "{good}");
    }
    for bad in [
        "",
        "uid:0",
        "file:a",
        "sec/uid:1",
        "-a",
        ".a",
        "a b",
        "\u{e4}",
        "a\n",
    ] {
        assert!(!is_name(bad), "{bad}");
    }
    assert!(!is_name(&"a".repeat(65)));
}

#[test]
fn every_role_has_a_word() {
    for role in Role::ALL {
        assert_eq!(role.as_str().parse(), Ok(role));
        assert!(Roles::ALL.has(role));
    }
    assert_eq!(Roles::ALL.iter().count(), Role::ALL.len());
    assert!("Reader".parse::<Role>().is_err() && "root".parse::<Role>().is_err());
}

#[test]
fn who_wrote_something_is_known_while_the_configuration_names_him() {
    let roster = roster();
    for (name, uid, is_known) in [
        ("alice", None, true),
        ("alice", Some(7), true),
        // Another name of the same user.
        ("amy", Some(1001), true),
        ("uid:1001", Some(1001), true),
        ("sec/uid:1003", Some(1003), true),
        ("gone/uid:1003", Some(1003), false),
        ("sec", None, false),
        ("deploy", None, true),
        ("bob", Some(1002), false),
        // Root has no role where others are named.
        ("uid:0", Some(0), false),
        ("file:web.yaml", None, true),
        ("payments-team", None, false),
    ] {
        assert_eq!(roster.knows(name, uid), is_known, "{name}");
    }
    let nobody = Roster::nobody(OWN, false);
    assert!(nobody.knows("uid:0", Some(0)) && nobody.knows("uid:990", Some(OWN)));
    assert!(!nobody.knows("uid:7", Some(7)) && !nobody.knows("alice", None));
    assert!(Roster::nobody(OWN, true).knows("uid:7", Some(7)));
}
