use super::{TABLE, Who, callable, rule_of, served};
use crate::operators::{Role, Roles};
use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

#[test]
fn every_method_has_one_row() {
    let methods = served();
    assert!(methods.len() > 10, "{methods:?}");
    for method in &methods {
        assert!(
            rule_of(method).is_some(),
            "{method} has no row: nobody may call it"
        );
    }
    let rows: BTreeSet<_> = TABLE.iter().map(|rule| rule.method).collect();
    assert_eq!(rows.len(), TABLE.len(), "a method has two rows");
}

#[test]
fn no_role_may_do_everything_and_each_has_something_of_its_own() {
    // Also of what this version does not serve yet.
    let of = |roles: &[Role]| -> BTreeSet<_> {
        let roles: Roles = roles.iter().copied().collect();
        let rules = TABLE.iter().filter(|rule| rule.who.includes(roles, false));
        rules.map(|rule| rule.method).collect()
    };
    let all = of(&Role::ALL);
    assert_eq!(all.len(), TABLE.len());
    for role in Role::ALL {
        let callable = of(&[role]);
        assert!(callable.len() < all.len(), "{role}");
        let others: Vec<_> = Role::ALL
            .into_iter()
            .filter(|other| *other != role)
            .collect();
        let alone = callable.difference(&of(&others)).count();
        // Whoever looks only, can do what all others can as well.
        assert_eq!(alone > 0, role != Role::Reader, "{role}");
    }
    assert_eq!(of(&[]).into_iter().collect::<Vec<_>>(), ["GetInfo"]);
    assert_eq!(callable(Roles::ALL, false).count(), served().len());
}

#[test]
fn who_writes_cannot_approve_and_who_stops_cannot_start() {
    let may = |role: Role, method: &str, approvals: bool| {
        let roles = [role].into_iter().collect();
        rule_of(method).unwrap().who.includes(roles, approvals)
    };
    for approvals in [false, true] {
        assert!(!may(Role::Author, "ApproveClient", approvals));
        assert!(!may(Role::Approver, "UpdateClient", approvals));
        assert!(!may(Role::Responder, "ResumeClient", approvals));
        assert!(!may(Role::Administrator, "TailAudit", approvals));
        assert!(may(Role::Approver, "ResumeClient", approvals));
        assert_eq!(may(Role::Author, "ResumeClient", approvals), approvals);
    }
}

/// The table of the documentation: methods that this version has.
fn documented() -> String {
    let methods = served();
    let mut text = String::from("| call |");
    for role in Role::ALL {
        write!(text, " {role} |").unwrap();
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(Role::ALL.len()));
    for rule in TABLE
        .iter()
        .filter(|rule| methods.iter().any(|m| m == rule.method))
    {
        write!(text, "\n| `{}` |", rule.method).unwrap();
        for role in Role::ALL {
            let roles = [role].into_iter().collect();
            let may = |approvals| rule.who.includes(roles, approvals);
            let mark = match (may(false), may(true), rule.who) {
                (_, _, Who::Everybody) | (true, true, _) => "yes",
                (false, true, _) => "proposes",
                _ => "",
            };
            write!(text, " {mark} |").unwrap();
        }
    }
    text.push('\n');
    text
}

const BEGIN: &str = "<!-- the table of roles -->\n";
const END: &str = "<!-- its end -->\n";

#[test]
fn the_documented_table_is_the_one_in_force() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("doc/operators.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let current = [before, BEGIN, &documented(), END, after].concat();
    if std::env::var_os("SYMBOLON_REGENERATE").is_some() {
        fs::write(&path, &current).unwrap();
    } else {
        assert!(
            page == current,
            "agent/doc/operators.md differs: SYMBOLON_REGENERATE=1 cargo test -p symbolon-agent \
             --lib roles"
        );
    }
}
