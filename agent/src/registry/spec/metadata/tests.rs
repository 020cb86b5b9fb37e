//! What metadata may say, and that it is read back as it was approved.

use super::{ClientMetadata, MetadataDraft, OnDrift};
use crate::registry::{ClientDraft, ClientName, ClientSpec, SpecError, SpecRules, limits};
use serde_json::json;
use spiffe::TrustDomain;
use std::time::{Duration, UNIX_EPOCH};

fn rules() -> SpecRules {
    SpecRules {
        trust_domain: TrustDomain::new("example.org").unwrap(),
        x509_ttl: Duration::from_secs(300)..=Duration::from_secs(86_400),
        jwt_ttl: Duration::from_secs(30)..=Duration::from_secs(3_600),
    }
}

fn check(draft: &ClientDraft) -> Result<ClientSpec, SpecError> {
    draft.check(&web(), &rules(), UNIX_EPOCH)
}

fn web() -> ClientName {
    "web".parse().unwrap()
}

fn plain() -> ClientDraft {
    ClientDraft {
        owner: "me".into(),
        selector_sets: vec![vec!["unix:uid:1".into()]],
        ..ClientDraft::default()
    }
}

fn checked(metadata: MetadataDraft) -> Result<ClientMetadata, String> {
    let draft = ClientDraft {
        metadata: Some(metadata),
        ..plain()
    };
    let spec = check(&draft).map_err(|error| error.to_string())?;
    Ok(spec.metadata().unwrap().clone())
}

fn external() -> MetadataDraft {
    MetadataDraft {
        hosting: "external".into(),
        client_id: "https://app.example.org/client.json".into(),
        document_digest: "ab".repeat(32),
        ..MetadataDraft::default()
    }
}

#[test]
fn a_governed_client_proves_itself_with_a_key_unless_it_says_otherwise() {
    let metadata = checked(MetadataDraft::default()).unwrap();
    assert!(!metadata.is_external() && metadata.uses_private_key_jwt());
    let alg = metadata.token_endpoint_auth_signing_alg().unwrap();
    assert_eq!(alg.as_str(), "ES256");
    assert_eq!((metadata.on_drift(), metadata.client_id()), (None, None));
    let open = MetadataDraft {
        token_endpoint_auth_method: "none".into(),
        ..MetadataDraft::default()
    };
    assert!(!checked(open).unwrap().uses_private_key_jwt());
    // What others host says what it says.
    let metadata = checked(external()).unwrap();
    assert_eq!(metadata.token_endpoint_auth_method(), None);
    assert_eq!(metadata.on_drift(), Some(OnDrift::Suspend));
}

type Change = fn(&mut MetadataDraft);

/// What a governed registration must not say, and where it says it.
const GOVERNED: &[(&str, Change)] = &[
    ("/hosting", |d| d.hosting = "mine".into()),
    ("/client_id", |d| d.client_id = "https://a/b".into()),
    ("/on_drift", |d| d.on_drift = "alert".into()),
    ("/document_digest", |d| d.document_digest = "ab".repeat(32)),
    ("/jwks_digest", |d| d.jwks_digest = "ab".repeat(32)),
    ("/redirect_uris/1", |d| {
        d.redirect_uris = vec!["https://a/b".into(), "/b".into()];
    }),
    ("/redirect_uris/0", |d| {
        d.redirect_uris = vec!["https://a/#b".into()];
    }),
    ("/redirect_uris/0", |d| {
        d.redirect_uris = vec!["https://u@a/".into()];
    }),
    ("/redirect_uris/0", |d| {
        d.redirect_uris = vec!["https://a/*".into()];
    }),
    ("/redirect_uris/0", |d| {
        d.redirect_uris = vec!["javascript:a".into()];
    }),
    ("/logo_uri", |d| d.logo_uri = "http://a/b".into()),
    ("/scope", |d| d.scope = "a  b".into()),
    ("/client_name", |d| d.client_name = "a\u{202e}b".into()),
    ("/contacts/0", |d| d.contacts = vec!["a\nb".into()]),
    ("/application_type", |d| {
        d.application_type = "desktop".into();
    }),
    ("/token_endpoint_auth_method", |d| {
        d.token_endpoint_auth_method = "client_secret_basic".into();
    }),
    ("/token_endpoint_auth_method", |d| {
        d.token_endpoint_auth_method = "tls_client_auth".into();
    }),
    ("/token_endpoint_auth_signing_alg", |d| {
        d.token_endpoint_auth_signing_alg = "RS256".into();
    }),
    ("/allowed_redirect_origins/0", |d| {
        d.allowed_redirect_origins = vec!["https://a/".into()];
    }),
    ("/client_id", |d| {
        d.other = r#"{"client_id": "https://a/b"}"#.into();
    }),
    ("/jwks_uri", |d| {
        d.other = r#"{"jwks_uri": "https://a/b"}"#.into();
    }),
    ("/spiffe_id", |d| {
        d.other = r#"{"spiffe_id": "spiffe://a/b"}"#.into();
    }),
    ("/software_version", |d| {
        d.other = r#"{"software_version": "1"}"#.into();
    }),
    ("/client_secret", |d| {
        d.other = r#"{"client_secret": "s"}"#.into();
    }),
    ("/client_name", |d| {
        d.other = r#"{"client_name": "a"}"#.into();
    }),
    ("/other", |d| d.other = r#"{"a": 1, "a": 2}"#.into()),
    ("/other", |d| d.other = "[]".into()),
    ("/a", |d| d.other = r#"{"a": 1.5}"#.into()),
    ("/a", |d| d.other = r#"{"a": 9007199254740992}"#.into()),
    ("/a b", |d| d.other = r#"{"a b": 1}"#.into()),
    ("/a", |d| d.other = r#"{"a": {"b": null}}"#.into()),
    ("/a", |d| d.other = r#"{"a": "\u202e"}"#.into()),
    ("/a", |d| d.other = r#"{"a": [[[[[[[1]]]]]]]}"#.into()),
    ("/k", |d| {
        d.other = r#"{"k": [{"kty": "EC", "d": "x"}]}"#.into();
    }),
];

/// The same of documents that others host.
const EXTERNAL: &[(&str, Change)] = &[
    ("/client_id", |d| d.client_id.clear()),
    ("/client_id", |d| d.client_id = "https://a".into()),
    ("/client_id", |d| d.client_id = "http://a/b".into()),
    ("/client_id", |d| d.client_id = "https://a/b/../c".into()),
    ("/document_digest", |d| d.document_digest.clear()),
    ("/document_digest", |d| d.document_digest = "AB".repeat(32)),
    ("/on_drift", |d| d.on_drift = "ignore".into()),
    ("/client_id", |d| {
        d.other = r#"{"client_id": "https://a/b"}"#.into();
    }),
    ("/token_endpoint_auth_method", |d| {
        d.token_endpoint_auth_method = "client_secret_jwt".into();
    }),
    ("/token_endpoint_auth_signing_alg", |d| {
        d.token_endpoint_auth_signing_alg = "HS256".into();
    }),
];

#[test]
fn what_is_not_admitted_is_refused_with_its_member() {
    let governed = GOVERNED.iter().map(|case| (MetadataDraft::default(), case));
    let cases = governed.chain(EXTERNAL.iter().map(|case| (external(), case)));
    for (mut draft, (member, change)) in cases {
        change(&mut draft);
        let error = checked(draft).unwrap_err();
        let expected = format!("metadata{member}");
        assert!(error.starts_with(&expected), "{member}: {error}");
        assert!(error.len() < 300, "{error}");
    }
}

#[test]
fn metadata_is_bounded() {
    let many = |count: usize| MetadataDraft {
        redirect_uris: (0..count).map(|n| format!("https://a/{n}")).collect(),
        ..MetadataDraft::default()
    };
    checked(many(limits::METADATA_ITEMS)).unwrap();
    checked(many(limits::METADATA_ITEMS + 1)).unwrap_err();
    let large = |bytes: usize| MetadataDraft {
        other: json!({"a": "x".repeat(bytes)}).to_string(),
        ..MetadataDraft::default()
    };
    checked(large(limits::METADATA_BYTES - 200)).unwrap();
    for bytes in [limits::METADATA_BYTES, 4 * limits::METADATA_BYTES, 1 << 20] {
        let error = checked(large(bytes)).unwrap_err();
        assert_eq!(error, "metadata has more than 5120 bytes");
    }
}

#[test]
fn what_is_approved_is_read_back_and_drafted_again() {
    let full = MetadataDraft {
        client_name: "Web search".into(),
        redirect_uris: vec!["https://b.example/cb".into(), "https://a.example/cb".into()],
        grant_types: vec!["urn:ietf:params:oauth:grant-type:jwt-bearer".into()],
        response_types: vec!["code id_token".into()],
        scope: "a b".into(),
        contacts: vec!["a@b.example".into()],
        client_uri: "https://a.example".into(),
        logo_uri: "https://a.example/l.png".into(),
        policy_uri: "https://a.example/p".into(),
        tos_uri: "https://a.example/t".into(),
        token_endpoint_auth_method: "private_key_jwt".into(),
        token_endpoint_auth_signing_alg: "ES256".into(),
        software_id: "search".into(),
        application_type: "native".into(),
        other: r#"{"b": {"c": [1]}, "jwks_uri": "https://a.example/j"}"#.into(),
        jwks_digest: "cd".repeat(32),
        on_drift: "revoke".into(),
        allowed_redirect_origins: vec!["https://b.example".into()],
        ..external()
    };
    let draft = ClientDraft {
        metadata: Some(full),
        authorization_servers: vec!["https://as.example".into(), "https://as.example/x".into()],
        federates_with: vec!["b.example".into(), "a.example".into(), "b.example".into()],
        ..plain()
    };
    let spec = check(&draft).unwrap();
    let domains = spec.federates_with().iter().map(TrustDomain::as_str);
    assert_eq!(domains.collect::<Vec<_>>(), ["a.example", "b.example"]);
    assert_eq!(check(&spec.draft()).unwrap(), spec);
    let stored = serde_json::to_vec(&spec).unwrap();
    let read: super::super::Fields = serde_json::from_slice(&stored).unwrap();
    assert_eq!(read.check(&rules().trust_domain).unwrap(), spec);
    // Nobody's digest changes who has nothing of this.
    let before = serde_json::to_value(check(&plain()).unwrap()).unwrap();
    for field in ["metadata", "authorization_servers", "federates_with"] {
        assert!(before.get(field).is_none(), "{field}");
    }
}

#[test]
fn stored_metadata_that_no_draft_comes_to_is_refused() {
    let draft = ClientDraft {
        metadata: Some(MetadataDraft::default()),
        ..plain()
    };
    let good = serde_json::to_value(check(&draft).unwrap()).unwrap();
    let read = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut value = good.clone();
        change(&mut value);
        let fields: Result<super::super::Fields, _> = serde_json::from_value(value);
        fields.is_ok_and(|fields| fields.check(&rules().trust_domain).is_ok())
    };
    assert!(read(&|_| ()));
    assert!(!read(&|v| v["metadata"]["unknown"] = json!(1)));
    assert!(!read(
        &|v| v["metadata"]["redirect_uris"] = json!(["https://b/", "https://a/"])
    ));
    assert!(!read(
        &|v| v["metadata"]["redirect_uris"] = json!(["https://a/#b"])
    ));
    assert!(!read(
        &|v| v["metadata"]["other"] = json!({"client_secret": "s"})
    ));
    assert!(!read(
        &|v| v["metadata"]["token_endpoint_auth_method"] = json!("client_secret_post")
    ));
    assert!(!read(&|v| v["federates_with"] = json!(["example.org"])));
    assert!(!read(
        &|v| v["federates_with"] = json!(["spiffe://b.example/a"])
    ));
    assert!(!read(
        &|v| v["authorization_servers"] = json!(["http://as.example"])
    ));
}

#[test]
fn authorization_servers_are_issuers() {
    let with = |server: &str| {
        check(&ClientDraft {
            authorization_servers: vec![server.into()],
            ..plain()
        })
    };
    for good in [
        "https://as.example",
        "https://as.example:8443/tenant/a/",
        "http://127.0.0.1:3000",
        "http://localhost:3000",
        "http://[::1]:3000",
    ] {
        let spec = with(good).unwrap();
        assert_eq!(spec.authorization_servers()[0].as_str(), good);
    }
    for bad in [
        "",
        "*",
        "as.example",
        "http://as.example",
        "https://as.example?a",
        "https://as.example#a",
        "https://u@as.example",
        "https://",
        "https://as example",
    ] {
        with(bad).unwrap_err();
    }
}

#[test]
fn a_client_federates_with_others_by_their_names() {
    let with = |domain: &str| {
        check(&ClientDraft {
            federates_with: vec![domain.into()],
            ..plain()
        })
    };
    with("other.example").unwrap();
    assert_eq!(with("example.org"), Err(SpecError::OwnTrustDomain));
    for bad in [
        "",
        "Other.example",
        "spiffe://other.example",
        "other.example/a",
        "a b",
    ] {
        let refused = with(bad);
        assert!(
            matches!(refused, Err(SpecError::TrustDomain { .. })),
            "{bad}: {refused:?}"
        );
    }
}
