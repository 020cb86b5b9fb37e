//! Documents that are written come to what they were written from.

use super::{Written, write};
use crate::{
    registrations::{Form, parse},
    registry::{Acceptance, ClientDraft, ClientName, MetadataDraft, SpecRules},
};
use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
};
use serde_json::{Map, Value};
use spiffe::TrustDomain;
use std::time::{Duration, UNIX_EPOCH};
use symbolon_attestors::Kind;

fn rules() -> SpecRules {
    let any = Duration::from_secs(1)..=Duration::from_secs(u32::MAX.into());
    SpecRules {
        trust_domain: TrustDomain::new("example.org").unwrap(),
        x509_ttl: any.clone(),
        jwt_ttl: any,
    }
}

/// Texts that the three forms may take for something else.
fn text() -> impl Strategy<Value = String> {
    let awkward = [
        "yes",
        "null",
        "~",
        "1e3",
        "0x1f",
        "1.0",
        ".inf",
        "2027-01-31",
        "12:30:45",
        "- a",
        "a: b",
        "# no",
        "'",
        "\"",
        "\\n",
        "|",
        ">",
        "%a",
        "@a",
        "`a`",
        "{a}",
        "[a]",
        "&a",
        "*a",
        "!a",
        "a #b",
        "? a",
        "---",
        "...",
        "é\u{fffd}",
        "\u{1f980}",
        "a\\",
        "'''",
        "\"\"\"",
        "=",
        "<<",
        "true",
        "Infinity",
        "a  b",
        "\u{feff}b",
        "\u{a0}",
    ];
    prop_oneof![
        prop::sample::select(awkward.map(ToOwned::to_owned).to_vec()),
        "[ -~]{1,40}",
        "[a-z ]{1,200}",
    ]
}

fn selector() -> impl Strategy<Value = String> {
    prop_oneof![
        (0..u32::MAX).prop_map(|uid| format!("unix:uid:{uid}")),
        "unix:path:/[a-z0-9 #:'\"]{1,20}[a-z]",
        text().prop_map(|text| format!("k8s:label:{text}")),
    ]
}

fn seconds() -> impl Strategy<Value = Duration> {
    (1..=10_000_000_u64).prop_map(Duration::from_secs)
}

prop_compose! {
    fn texts()(
        owner in text(), purpose in prop_oneof![Just(String::new()), text()],
        hint in option::of(text()), source in option::of(text()), reason in option::of(text()),
    ) -> ClientDraft {
        ClientDraft {
            owner, purpose, hint, source,
            accepted_weaknesses: reason.map(|reason| Acceptance {
                findings: vec!["interpreter".into()], reason,
            }),
            ..ClientDraft::default()
        }
    }
}

/// Members that are not known: any JSON that is admitted.
fn other() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        (-1_000_000_i64..1_000_000).prop_map(Value::from),
        text().prop_map(Value::from),
        prop_oneof![Just("1e3"), Just("null"), Just("yes"), Just("2027-01-31")]
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map("[a-z~/.-]{1,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

prop_compose! {
    fn metadata()(
        client_name in option::of(text()), redirects in vec("https://[a-z]{1,8}\\.example/[a-z]{0,4}", 0..3),
        members in btree_map("x_[a-z]{1,6}", other(), 0..3), is_external in any::<bool>(),
        origins in vec("https://[a-z]{1,8}\\.example", 0..2), scope in option::of("[a-z]{1,5}( [a-z]{1,5}){0,2}"),
    ) -> MetadataDraft {
        let members: Map<String, Value> = members.into_iter().collect();
        let words = |external: &str| if is_external { external.to_owned() } else { String::new() };
        MetadataDraft {
            hosting: words("external"),
            client_id: words("https://a.example/client.json"),
            document_digest: words(&"ab".repeat(32)),
            on_drift: words("alert"),
            client_name: client_name.unwrap_or_default(),
            redirect_uris: redirects,
            scope: scope.unwrap_or_default(),
            allowed_redirect_origins: origins,
            other: if members.is_empty() { String::new() } else { Value::Object(members).to_string() },
            ..MetadataDraft::default()
        }
    }
}

prop_compose! {
    fn draft()(
        metadata in option::of(metadata()),
        servers in vec("https://[a-z]{1,8}\\.example", 0..3), federates_with in vec("[a-z]{1,8}\\.net", 0..3),
        texts in texts(),
        selector_sets in vec(vec(selector(), 1..4), 1..4),
        audiences in vec("[!-~]{1,30}", 0..4), dns_names in vec("[a-z]{1,10}\\.example", 0..3),
        spiffe_id in option::of("[a-z]{1,8}"),
        (x509_ttl, jwt_ttl) in (option::of(seconds()), option::of(seconds())),
        (expires, review) in (option::of(seconds()), option::of(seconds())),
        (forbid_inheritable, foreign) in any::<(bool, bool)>(),
        (max_audiences, kinds) in (option::of(1..=16_u32), 0..=Kind::ALL.len()),
    ) -> ClientDraft {
        ClientDraft {
            selector_sets, audiences, dns_names, x509_ttl, jwt_ttl, forbid_inheritable,
            max_audiences, metadata, federates_with,
            authorization_servers: servers,
            spiffe_id: spiffe_id.map(|path| format!("spiffe://example.org/{path}/x")),
            expires_at: expires.map(|since| UNIX_EPOCH + since * 100),
            review_by: review.map(|since| UNIX_EPOCH + since * 100),
            allow_foreign_user_namespaces: foreign,
            required_attestors: Kind::ALL[..kinds].to_vec(),
            ..texts
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn what_is_written_is_read_back(drafts in vec(draft(), 1..4)) {
        let rules = rules();
        let name = |number| format!("client-{number}").parse::<ClientName>().unwrap();
        let specs: Vec<_> = drafts
            .iter()
            .enumerate()
            .filter_map(|(number, draft)| {
                let checked = draft.check(&name(number), &rules, UNIX_EPOCH).ok()?;
                Some((name(number), checked))
            })
            .collect();
        let written = specs.iter().map(|(name, spec)| Written::of(name, spec.draft(), &rules));
        let written: Vec<_> = written.collect();
        for form in [Form::Yaml, Form::Json, Form::Toml] {
            let text = write(&written, form).unwrap();
            let (entries, faults) = parse("file", &text, form, &rules);
            prop_assert!(faults.is_empty(), "{form:?}: {faults:?}\n{text}");
            prop_assert_eq!(entries.len(), specs.len(), "{:?}: {}", form, text);
            for (entry, (name, spec)) in entries.iter().zip(&specs) {
                prop_assert_eq!(&entry.name, name);
                prop_assert!(entry.spec.says_what(spec), "{form:?}: {text}");
                let accepted = spec.accepted_weaknesses().map(|accepted| accepted.reason());
                prop_assert_eq!(entry.accept_weak.as_ref(), accepted);
            }
        }
    }
}

#[test]
fn what_need_not_be_said_is_not_written() {
    let draft = ClientDraft {
        owner: "alice".into(),
        selector_sets: vec![vec!["unix:uid:5".into()]],
        x509_ttl: Some(Duration::from_secs(5_400)),
        ..ClientDraft::default()
    };
    let name: ClientName = "a".parse().unwrap();
    let spec = draft.check(&name, &rules(), UNIX_EPOCH).unwrap();
    let written = [Written::of(&name, spec.draft(), &rules())];
    assert_eq!(
        write(&written, Form::Toml).unwrap(),
        "[[clients]]\nname = \"a\"\nowner = \"alice\"\nselector_sets = [[\"unix:uid:5\"]]\n\
         x509_ttl = \"1h30m\"\n"
    );
}
