//! What a draft may say.

use super::{Acceptance, ClientDraft, ClientSpec, SpecError, SpecRules};
use crate::registry::{ClientName, limits};
use spiffe::TrustDomain;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn check(draft: &ClientDraft) -> Result<ClientSpec, SpecError> {
    draft.check(&web(), &rules(), now())
}

fn web() -> ClientName {
    "web".parse().unwrap()
}

fn rules() -> SpecRules {
    SpecRules {
        trust_domain: TrustDomain::new("example.org").unwrap(),
        x509_ttl: Duration::from_secs(300)..=Duration::from_secs(86_400),
        jwt_ttl: Duration::from_secs(30)..=Duration::from_secs(3_600),
    }
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_800_000_000_500)
}

fn draft() -> ClientDraft {
    ClientDraft {
        owner: "me".into(),
        selector_sets: vec![vec!["unix:uid:1".into()]],
        ..ClientDraft::default()
    }
}

fn with_id(id: &str) -> Result<ClientSpec, SpecError> {
    check(&ClientDraft {
        spiffe_id: Some(id.into()),
        ..draft()
    })
}

#[test]
fn ids_of_the_trust_domain_are_accepted() {
    for id in [
        "spiffe://example.org/a",
        "spiffe://example.org/mcp/client/web",
        "spiffe://example.org/spired",
        "spiffe://example.org/a/spire",
        "spiffe://example.org/symbolon-agent",
    ] {
        assert_eq!(with_id(id).unwrap().spiffe_id().to_string(), id);
    }
}

#[test]
fn other_ids_are_refused() {
    for id in [
        "spiffe://example.org",
        "spiffe://example.org/spire",
        "spiffe://example.org/spire/agent/x",
        "spiffe://example.org/symbolon",
        "spiffe://example.org/symbolon/agent",
        &format!("spiffe://example.org/{}", "x".repeat(2_028)),
    ] {
        let refused = with_id(id);
        assert!(
            matches!(refused, Err(SpecError::ForbiddenId { .. })),
            "{refused:?}"
        );
    }
    for id in ["spiffe://example.net/a", "spiffe://a.example.org/a"] {
        let refused = with_id(id);
        assert!(
            matches!(refused, Err(SpecError::ForeignTrustDomain { .. })),
            "{refused:?}"
        );
    }
    for id in [
        "",
        "web",
        "https://example.org/a",
        "spiffe://example.org/a/../b",
        "spiffe:///a",
    ] {
        let refused = with_id(id);
        assert!(
            matches!(refused, Err(SpecError::SpiffeId { .. })),
            "{refused:?}"
        );
    }
}

#[test]
fn a_client_has_selectors_and_no_set_is_empty() {
    let with_sets = |sets| {
        check(&ClientDraft {
            selector_sets: sets,
            ..draft()
        })
    };
    assert_eq!(with_sets(vec![]), Err(SpecError::NoSelectors));
    assert_eq!(with_sets(vec![vec![]]), Err(SpecError::EmptySet));
    assert_eq!(
        with_sets(vec![vec!["unix:uid:1".into()], vec![]]),
        Err(SpecError::EmptySet)
    );
    let refused = with_sets(vec![vec!["uid=1".into()]]);
    assert!(
        matches!(refused, Err(SpecError::Selector { .. })),
        "{refused:?}"
    );
}

#[test]
fn counts_are_limited() {
    let texts = |count: usize| {
        (0..count)
            .map(|n| format!("unix:uid:{n}"))
            .collect::<Vec<_>>()
    };
    let sets = |count: usize| texts(count).into_iter().map(|text| vec![text]).collect();
    let names = |count: usize| (0..count).map(|n| format!("n{n}.example")).collect();
    let by = |over: usize| {
        [
            ClientDraft {
                selector_sets: vec![texts(limits::SELECTORS_PER_SET + over)],
                ..draft()
            },
            ClientDraft {
                selector_sets: sets(limits::SELECTOR_SETS + over),
                ..draft()
            },
            ClientDraft {
                audiences: texts(limits::AUDIENCES + over),
                ..draft()
            },
            ClientDraft {
                dns_names: names(limits::DNS_NAMES + over),
                ..draft()
            },
        ]
    };
    for within in by(0) {
        check(&within).unwrap();
    }
    for over in by(1) {
        let refused = check(&over);
        assert!(
            matches!(refused, Err(SpecError::TooMany { .. })),
            "{refused:?}"
        );
    }
}

#[test]
fn a_token_has_one_audience_unless_more_are_allowed() {
    let with_max = |max| {
        check(&ClientDraft {
            max_audiences: max,
            ..draft()
        })
    };
    assert_eq!(with_max(None).unwrap().max_audiences(), 1);
    assert_eq!(with_max(Some(16)).unwrap().max_audiences(), 16);
    for bad in [0, 17, u32::MAX] {
        assert_eq!(
            with_max(Some(bad)),
            Err(SpecError::MaxAudiences { limit: 16 })
        );
    }
}

#[test]
fn lifetimes_are_whole_seconds_within_the_bounds() {
    let with_ttl = |x509, jwt| {
        let seconds = |ttl: Option<f64>| ttl.map(Duration::from_secs_f64);
        check(&ClientDraft {
            x509_ttl: seconds(x509),
            jwt_ttl: seconds(jwt),
            ..draft()
        })
    };
    for (x509, jwt) in [(300.0, 30.0), (86_400.0, 3_600.0)] {
        with_ttl(Some(x509), Some(jwt)).unwrap();
    }
    for bad in [0.0, 299.0, 300.5, 86_401.0] {
        let refused = with_ttl(Some(bad), None);
        assert!(
            matches!(
                refused,
                Err(SpecError::Ttl {
                    what: "x509_ttl",
                    ..
                })
            ),
            "{refused:?}"
        );
    }
    for bad in [0.0, 29.0, 30.5, 3_601.0] {
        let refused = with_ttl(None, Some(bad));
        assert!(
            matches!(
                refused,
                Err(SpecError::Ttl {
                    what: "jwt_ttl",
                    ..
                })
            ),
            "{refused:?}"
        );
    }
}

#[test]
fn an_expiry_lies_in_the_future_by_whole_seconds() {
    let at = |millis| {
        let expires_at = Some(UNIX_EPOCH + Duration::from_millis(millis));
        check(&ClientDraft {
            expires_at,
            ..draft()
        })
        .map(|spec| spec.expires_at().unwrap())
    };
    assert_eq!(
        at(1_800_000_001_999),
        Ok(UNIX_EPOCH + Duration::from_secs(1_800_000_001))
    );
    for past in [0, 1_800_000_000_500, 1_800_000_000_999] {
        assert_eq!(at(past), Err(SpecError::ExpiresAt));
    }
    let ancient = ClientDraft {
        expires_at: Some(UNIX_EPOCH - Duration::from_secs(1)),
        ..draft()
    };
    assert_eq!(check(&ancient), Err(SpecError::ExpiresAt));
    // 9999-12-31T23:59:59Z is the last time that RFC 3339 can write.
    let last = UNIX_EPOCH + Duration::from_secs(limits::LATEST_SECONDS);
    assert_eq!(at(253_402_300_799_999), Ok(last));
    assert_eq!(at(253_402_300_800_000), Err(SpecError::ExpiresAt));
}

#[test]
fn every_text_of_a_draft_is_checked() {
    for hostile in ["a\u{1b}[2J", "a\nb", "a\0", "a\u{202e}b", "a\u{2028}b"] {
        let text = || hostile.to_owned();
        let with = |change: fn(&mut ClientDraft, String)| {
            let mut draft = draft();
            change(&mut draft, text());
            draft
        };
        for hostile in [
            with(|draft, text| draft.owner = text),
            with(|draft, text| draft.purpose = text),
            with(|draft, text| draft.hint = Some(text)),
            with(|draft, text| draft.audiences = vec![text]),
            with(|draft, text| draft.dns_names = vec![text]),
            with(|draft, text| draft.spiffe_id = Some(text)),
            with(|draft, text| draft.selector_sets = vec![vec![format!("unix:path:/{text}")]]),
        ] {
            check(&hostile).unwrap_err();
        }
    }
}

#[test]
fn dns_names_are_host_names_in_lower_case() {
    let with = |name: &str| {
        check(&ClientDraft {
            dns_names: vec![name.into()],
            ..draft()
        })
    };
    let spec = with("Web.Example").unwrap();
    assert_eq!(spec.dns_names()[0].as_str(), "web.example");
    for bad in [
        "",
        "*.example",
        "10.0.0.1",
        "a_b",
        "a.",
        "b\u{fc}cher.example",
    ] {
        assert!(matches!(with(bad), Err(SpecError::Text(_))), "{bad}");
    }
}

#[test]
fn audiences_are_allowed_exactly() {
    let with = |audiences: &[&str]| {
        let audiences = audiences.iter().map(ToString::to_string).collect();
        check(&ClientDraft {
            audiences,
            ..draft()
        })
        .unwrap()
    };
    let spec = with(&["https://a.example"]);
    assert!(spec.allows_audience("https://a.example"));
    for other in [
        "https://a.example/",
        "HTTPS://a.example",
        "https://a.exampl",
        "*",
        "",
    ] {
        assert!(!spec.allows_audience(other), "{other}");
    }
    assert!(!with(&[]).allows_audience("a"));
    assert!(with(&["*"]).allows_audience("a"));
    assert!(!spec.allows_any_audience() && with(&["*"]).allows_any_audience());
}

#[test]
fn errors_do_not_repeat_what_is_long() {
    let long = "x".repeat(1 << 20);
    let refused = [
        with_id(&long),
        check(&ClientDraft {
            selector_sets: vec![vec![long.clone()]],
            ..draft()
        }),
        check(&ClientDraft {
            owner: long.clone(),
            ..draft()
        }),
        check(&ClientDraft {
            audiences: vec![long],
            ..draft()
        }),
    ];
    for refused in refused {
        assert!(refused.unwrap_err().to_string().len() < 300);
    }
}

#[test]
fn accepted_weaknesses_are_checked_and_left_out_where_there_are_none() {
    let with = |findings: &[&str], reason: &str| {
        check(&ClientDraft {
            accepted_weaknesses: Some(Acceptance {
                findings: findings.iter().map(ToString::to_string).collect(),
                reason: reason.into(),
            }),
            ..draft()
        })
    };
    let spec = with(&["own-binary", "interpreter", "interpreter"], "a reason").unwrap();
    let json = serde_json::to_value(&spec).unwrap();
    let expected = serde_json::json!({
        "findings": ["interpreter", "own-binary"],
        "reason": "a reason",
    });
    assert_eq!(json["accepted_weaknesses"], expected);
    assert!(spec.accepted_weaknesses().unwrap().covers("own-binary"));
    let none = serde_json::to_value(check(&draft()).unwrap()).unwrap();
    assert!(none.get("accepted_weaknesses").is_none());
    for (findings, reason) in [
        (&["interpreter"][..], " "),
        (&["Not a word"], "a reason"),
        (&[""], "a reason"),
    ] {
        with(findings, reason).unwrap_err();
    }
}
