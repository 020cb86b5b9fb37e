//! Documents that are taken, and documents that are not.

use super::{Entry, Form, parse};
use crate::registry::SpecRules;
use spiffe::TrustDomain;
use std::time::{Duration, UNIX_EPOCH};
use symbolon_attestors::Kind;

fn rules() -> SpecRules {
    SpecRules {
        trust_domain: TrustDomain::new("example.org").unwrap(),
        x509_ttl: Duration::from_secs(300)..=Duration::from_secs(86_400),
        jwt_ttl: Duration::from_secs(30)..=Duration::from_secs(3_600),
    }
}

fn taken(text: &str, form: Form) -> Vec<Entry> {
    let (entries, faults) = parse("clients", text, form, &rules());
    assert!(faults.is_empty(), "{faults:?}");
    entries
}

/// The faults as an operator sees them.
fn faults(text: &str, form: Form) -> Vec<String> {
    let (_, faults) = parse("clients", text, form, &rules());
    faults.iter().map(ToString::to_string).collect()
}

const FULL: &str = r#"
# Every field.
name: reporter
owner: alice
purpose: weekly reports
spiffe_id: spiffe://example.org/reports/writer
selector_sets:
  - [k8s:ns:reports, k8s:container-name:writer]
  - ["unix:uid:1000", "unix:path:/usr/bin/app"]
audiences: [https://mcp.example.org/]
max_audiences: 1
x509_ttl: 1h
jwt_ttl: 90s
hint: main
dns_names: [Reports.example.org]
expires_at: 2027-01-31T12:00:00Z
forbid_inheritable: true
allow_foreign_user_namespaces: true
required_attestors: [container]
accept_weak: a test of all fields
adopt: true
"#;

#[test]
fn every_field_is_taken() {
    let full = FULL.replace("k8s:ns:reports, k8s:container-name:writer", "unix:gid:7");
    let entries = taken(&full, Form::Yaml);
    let [entry] = &entries[..] else {
        panic!("{entries:?}")
    };
    assert_eq!(entry.name.as_str(), "reporter");
    assert_eq!((&*entry.place.file, entry.place.line), ("clients", 3));
    let spec = &entry.spec;
    assert_eq!(spec.owner().as_str(), "alice");
    assert_eq!(spec.purpose().as_str(), "weekly reports");
    assert_eq!(spec.spiffe_id().path(), "/reports/writer");
    assert_eq!(spec.selector_sets().len(), 2);
    assert_eq!(spec.audiences()[0].as_str(), "https://mcp.example.org/");
    assert_eq!(spec.x509_ttl(), Some(Duration::from_secs(3_600)));
    assert_eq!(spec.jwt_ttl(), Some(Duration::from_secs(90)));
    assert_eq!(spec.hint().unwrap().as_str(), "main");
    assert_eq!(spec.dns_names()[0].as_str(), "reports.example.org");
    let end = UNIX_EPOCH + Duration::from_secs(1_801_396_800);
    assert_eq!(spec.expires_at(), Some(end));
    assert!(!spec.accepts_inheritable() && spec.allows_foreign_user_namespaces());
    assert_eq!(spec.required_attestors(), [Kind::Container]);
    assert!(entry.adopt);
    let reason = entry.accept_weak.as_ref().unwrap();
    assert_eq!(reason.as_str(), "a test of all fields");
}

#[test]
fn several_documents_keep_their_lines_and_order() {
    let yaml = "---\nname: b\nowner: o\nselector_sets: [[unix:uid:1]]\n---\n\n# a\nname: a\n\
                owner: o\nselector_sets: [[unix:uid:2]]\n";
    let json = "{\"name\":\"b\",\"owner\":\"o\",\"selector_sets\":[[\"unix:uid:1\"]]}\n\n\
                {\n \"name\":\"a\",\"owner\":\"o\",\"selector_sets\":[[\"unix:uid:2\"]]}";
    for (text, form, lines) in [(yaml, Form::Yaml, [2, 8]), (json, Form::Json, [1, 3])] {
        let entries = taken(text, form);
        let seen: Vec<_> = entries
            .iter()
            .map(|entry| (entry.name.as_str(), entry.place.line))
            .collect();
        assert_eq!(seen, [("b", lines[0]), ("a", lines[1])], "{form:?}");
    }
    for empty in ["", "\n# nothing\n", "---\n---\n"] {
        assert!(taken(empty, Form::Yaml).is_empty(), "{empty:?}");
    }
    assert!(taken(" \n", Form::Json).is_empty());
}

#[test]
fn every_faulty_document_is_told_with_its_line() {
    let text = "name: a\nowner: o\nselector_sets: [[unix:uid:1]]\ncolour: red\n---\n\
                name: b\nowner: o\n---\n\
                name: c\nowner: o\nselector_sets: [[unix:uid:one]]\n---\n\
                name: D\nowner: o\nselector_sets: [[unix:uid:1]]\n---\n\
                name: e\nowner: o\nselector_sets: [[unix:uid:1]]\nx509_ttl: soon\n---\n\
                name: f\nowner: o\nselector_sets: [[unix:uid:1]]\nexpires_at: 90d\n---\n\
                name: g\nowner: o\nselector_sets: []\n";
    let found = faults(text, Form::Yaml);
    for (fault, (line, word)) in found.iter().zip([
        (4, "colour"),
        (7, "selector_sets"),
        (9, "unix:uid:one"),
        (13, "a client's name has"),
        (20, "1h30m"),
        (25, "2027-01-31"),
        (27, "at least one selector"),
    ]) {
        assert!(fault.starts_with(&format!("clients:{line}: ")), "{fault}");
        assert!(fault.contains(word), "{fault}");
        assert!(!fault.contains('\n'), "{fault}");
    }
    assert_eq!(found.len(), 7, "{found:#?}");
}

#[test]
fn what_a_reader_could_take_two_ways_is_refused() {
    let rest = "owner: o\nselector_sets: [[unix:uid:1]]\n";
    for text in [
        format!("name: a\nname: b\n{rest}"),
        format!("base: &b {{name: a}}\n<<: *b\n{rest}"),
        format!("name: !!binary YQ==\nadopt: yes\n{rest}"),
        format!("name: !secret a\n{rest}"),
        format!("name: a\nadopt: 1\n{rest}"),
        format!("name: a\nmax_audiences: -1\n{rest}"),
        format!("- name: a\n  {rest}"),
        "just a text".to_owned(),
        "name: [a\n".to_owned(),
    ] {
        assert_eq!(faults(&text, Form::Yaml).len(), 1, "{text}");
    }
    let rest = r#""owner":"o","selector_sets":[["unix:uid:1"]]}"#;
    for text in [
        format!(r#"{{"name":"a","name":"b",{rest}"#),
        format!(r#"[{{"name":"a",{rest}]"#),
        format!(r#"{{"name":"a","x509_ttl":3600,{rest}"#),
        "{".to_owned(),
    ] {
        assert_eq!(faults(&text, Form::Json).len(), 1, "{text}");
    }
}

#[test]
fn bombs_are_refused() {
    let mut aliases = String::from("a: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..8 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        aliases.push_str(&format!("b{level}: &a{level} [{before}]\n"));
    }
    let deep = format!("name: {}{}", "[".repeat(10_000), "]".repeat(10_000));
    let wide = format!("selector_sets: [[{}]]", "x, ".repeat(100_000));
    for text in [aliases, deep, wide] {
        assert_eq!(faults(&text, Form::Yaml).len(), 1);
    }
    assert_eq!(faults(&"[".repeat(100_000), Form::Json).len(), 1);
}

#[test]
fn a_registration_that_ran_out_is_no_fault() {
    let text = "name: a\nowner: o\nselector_sets: [[unix:uid:1]]\nexpires_at: 2001-01-01\n";
    assert_eq!(taken(text, Form::Yaml).len(), 1);
}

const TABLES: &str = r#"# Comment.
[[clients]]
name = "reporter"
owner = "alice"
selector_sets = [["unix:uid:5", "unix:path:/usr/bin/app"], ["unix:gid:7"]]
expires_at = 2027-01-31T12:00:00Z
review_by = 2027-01-31
jwt_ttl = "90s"

[[clients]]
name = "importer"
owner = "bob"
selector_sets = [["unix:uid:6"]]
review_by = "2027-01-31"
"#;

#[test]
fn toml_holds_an_array_of_tables() {
    let entries = taken(TABLES, Form::Toml);
    let [reporter, importer] = &entries[..] else {
        panic!("{entries:?}")
    };
    assert_eq!((reporter.place.line, importer.place.line), (2, 10));
    assert_eq!(reporter.draft.selector_sets.len(), 2);
    let noon = UNIX_EPOCH + Duration::from_secs(1_801_396_800);
    assert_eq!(reporter.draft.expires_at, Some(noon));
    assert_eq!(reporter.draft.review_by, importer.draft.review_by);
    assert!(taken("", Form::Toml).is_empty());
}

#[test]
fn toml_is_read_as_strictly_as_the_other_forms() {
    for (text, fault) in [
        ("name = 'a'", "clients:1: unknown field `name`"),
        ("[clients]\nname = 'a'", "clients:1: invalid type"),
        (
            "[[clients]]\nname = 'a'\ncolour = 'red'",
            "clients:3: unknown field `colour`",
        ),
        (
            "[[clients]]\nname = 'a'\nname = 'b'",
            "clients:3: duplicate key",
        ),
        (
            "\n[[clients]]\nname = 'a'\nselector_sets = []",
            "clients:2: missing field `owner`",
        ),
        (
            "[[clients]]\nexpires_at = 12:30:00",
            "clients:2: \"12:30:00\" is no time",
        ),
        ("[[clients]]\nexpires_at = { a = 1 }", "clients:2: "),
        ("[[clients]]\nname = 5", "clients:2: invalid type"),
    ] {
        let found = faults(text, Form::Toml);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].starts_with(fault), "{text}: {found:?}");
    }
}
