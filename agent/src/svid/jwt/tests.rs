use super::{Claims, JwtError, JwtSvid, Signer, validate};
use crate::svid::{
    ClaimError, PrivateKey,
    jws::{
        JwsError, KeySet, MAX_TOKEN_BYTES, VerifyingKey,
        testing::{Forge, header},
    },
};
use serde_json::{Map, Value, json};
use spiffe::{SpiffeId, TrustDomain};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const NOW: u64 = 1_795_000_000;
const AUDIENCE: &str = "https://files.example/";

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn trust_domain() -> TrustDomain {
    TrustDomain::new("example.org").unwrap()
}

fn good_claims() -> Value {
    json!({
        "aud": [AUDIENCE],
        "exp": NOW + 60,
        "iat": NOW,
        "jti": "00",
        "sub": "spiffe://example.org/mcp/client/files",
    })
}

fn check(forge: &Forge, token: &str) -> Result<JwtSvid, JwtError> {
    validate(token, &forge.keys(), &trust_domain(), AUDIENCE, at(NOW))
}

/// Validates a good token with one claim changed, or taken out where it is null.
fn with_claim(name: &str, value: &Value) -> Result<JwtSvid, JwtError> {
    let mut claims = good_claims();
    let map = claims.as_object_mut().unwrap();
    if value.is_null() {
        map.remove(name);
    } else {
        map.insert(name.to_owned(), value.clone());
    }
    let forge = Forge::new();
    check(&forge, &forge.token(&header(&forge, "JWT"), &claims))
}

/// Validates a good token with one header parameter changed, or taken out where it is null.
fn with_header(name: &str, value: &Value) -> Result<JwtSvid, JwtError> {
    let forge = Forge::new();
    let mut header = header(&forge, "JWT");
    let map: &mut Map<_, _> = header.as_object_mut().unwrap();
    if value.is_null() {
        map.remove(name);
    } else {
        map.insert(name.to_owned(), value.clone());
    }
    check(&forge, &forge.token(&header, &good_claims()))
}

#[test]
fn what_we_sign_is_accepted() {
    let key = PrivateKey::generate().unwrap();
    let signer = Signer::new(&key).unwrap();
    let spiffe_id = SpiffeId::new("spiffe://example.org/mcp/client/files").unwrap();
    let audiences = ["other".to_owned(), AUDIENCE.to_owned()];
    let token = signer
        .sign(&Claims {
            spiffe_id: &spiffe_id,
            audiences: &audiences,
            issued_at: at(NOW),
            expires_at: at(NOW + 300),
            jti: "abc",
            attestation_id: Some("att"),
            nhi_version: Some(7),
            client_id: Some("https://example.org/client.json"),
            issuer: Some("https://id.example.org"),
        })
        .unwrap();
    let keys = KeySet::new(vec![VerifyingKey::new(*key.public_key()).unwrap()]);
    let svid = validate(token.expose(), &keys, &trust_domain(), AUDIENCE, at(NOW)).unwrap();
    assert_eq!(svid.spiffe_id, spiffe_id);
    assert_eq!(svid.audiences, audiences);
    assert_eq!(svid.expires_at, at(NOW + 300));
    assert_eq!(svid.jti.as_deref(), Some("abc"));
    let expected = json!({
        "att": "att",
        "aud": ["other", AUDIENCE],
        "client_id": "https://example.org/client.json",
        "exp": NOW + 300,
        "iat": NOW,
        "iss": "https://id.example.org",
        "jti": "abc",
        "nhi_version": 7,
        "sub": "spiffe://example.org/mcp/client/files",
    });
    assert_eq!(Value::Object(svid.claims), expected);
}

#[test]
fn what_the_standard_leaves_open_is_accepted() {
    with_header("typ", &json!(null)).unwrap();
    with_header("typ", &json!("JOSE")).unwrap();
    with_claim("aud", &json!(AUDIENCE)).unwrap();
    with_claim("nbf", &json!(NOW)).unwrap();
    with_claim("private", &json!({"nested": [1.5]})).unwrap();
}

// JWT-SVID.md, section 2.1.
#[test]
fn an_algorithm_that_is_missing_or_not_allowed_is_refused() {
    let result = with_header("alg", &json!(null));
    assert!(matches!(
        result,
        Err(JwtError::Token(JwsError::NoAlgorithm))
    ));
    for alg in ["none", "HS256", "EdDSA", "es256", ""] {
        let result = with_header("alg", &json!(alg));
        assert!(
            matches!(result, Err(JwtError::Token(JwsError::ForbiddenAlgorithm))),
            "{alg}"
        );
    }
    for alg in ["RS256", "PS512", "ES384"] {
        let result = with_header("alg", &json!(alg));
        assert!(
            matches!(result, Err(JwtError::Token(JwsError::OtherAlgorithm))),
            "{alg}"
        );
    }
    let result = with_header("alg", &json!(7));
    assert!(matches!(result, Err(JwtError::Token(JwsError::HeaderType))));
}

// JWT-SVID.md, section 2.2.
#[test]
fn a_key_that_is_missing_or_unknown_is_refused() {
    let result = with_header("kid", &json!(null));
    assert!(matches!(result, Err(JwtError::Token(JwsError::NoKeyId))));
    let result = with_header("kid", &json!("other"));
    assert!(matches!(result, Err(JwtError::Token(JwsError::UnknownKey))));
}

// JWT-SVID.md, section 2.3.
#[test]
fn another_type_is_refused() {
    for typ in ["jwt", "at+jwt", "wit+jwt", ""] {
        let result = with_header("typ", &json!(typ));
        assert!(matches!(result, Err(JwtError::Type)), "{typ}");
    }
}

// JWT-SVID.md, section 2.
#[test]
fn other_header_parameters_are_refused() {
    for name in ["crit", "jwk", "jku", "x5c", "b64", "private"] {
        let result = with_header(name, &json!([]));
        assert!(matches!(result, Err(JwtError::Header)), "{name}");
    }
}

// JWT-SVID.md, section 3.1.
#[test]
fn a_subject_that_is_no_workload_of_ours_is_refused() {
    for value in [json!(null), json!(1), json!(["spiffe://example.org/a"])] {
        let result = with_claim("sub", &value);
        assert!(
            matches!(result, Err(JwtError::Claim(ClaimError::NoSubject))),
            "{value}"
        );
    }
    for value in [
        "",
        "files",
        "https://example.org/a",
        "spiffe://example.org/a/",
    ] {
        let result = with_claim("sub", &json!(value));
        assert!(
            matches!(result, Err(JwtError::Claim(ClaimError::SpiffeId(_)))),
            "{value}"
        );
    }
    let result = with_claim("sub", &json!("spiffe://other.org/a"));
    assert!(matches!(
        result,
        Err(JwtError::Claim(ClaimError::ForeignTrustDomain))
    ));
}

// JWT-SVID.md, section 3.2.
#[test]
fn an_audience_that_is_missing_or_another_is_refused() {
    for value in [
        json!(null),
        json!([]),
        json!(1),
        json!([AUDIENCE, 1]),
        json!({}),
    ] {
        let result = with_claim("aud", &value);
        assert!(matches!(result, Err(JwtError::NoAudience)), "{value}");
    }
    for value in [json!("other"), json!(["https://files.example"]), json!("")] {
        let result = with_claim("aud", &value);
        assert!(matches!(result, Err(JwtError::OtherAudience)), "{value}");
    }
}

// JWT-SVID.md, section 3.3.
#[test]
fn an_expiry_that_is_missing_or_past_is_refused() {
    for value in [json!(null), json!("never"), json!(-1), json!(1.5)] {
        let result = with_claim("exp", &value);
        assert!(
            matches!(result, Err(JwtError::Claim(ClaimError::NoExpiry))),
            "{value}"
        );
    }
    for value in [0, NOW - 1, NOW] {
        let result = with_claim("exp", &json!(value));
        assert!(
            matches!(result, Err(JwtError::Claim(ClaimError::Expired))),
            "{value}"
        );
    }
    with_claim("exp", &json!(NOW + 1)).unwrap();
    // A time that the system cannot hold.
    let result = with_claim("exp", &json!(u64::MAX));
    assert!(matches!(result, Err(JwtError::Claim(ClaimError::NoExpiry))));
}

// RFC 7519, section 4.1.5.
#[test]
fn a_token_before_its_time_is_refused() {
    let result = with_claim("nbf", &json!(NOW + 1));
    assert!(matches!(
        result,
        Err(JwtError::Claim(ClaimError::NotYetValid))
    ));
    let result = with_claim("nbf", &json!("now"));
    assert!(matches!(
        result,
        Err(JwtError::Claim(ClaimError::NotBefore))
    ));
}

// JWT-SVID.md, section 5.1.
#[test]
fn other_serializations_are_refused() {
    let forge = Forge::new();
    let good = forge.token(&header(&forge, "JWT"), &good_claims());
    check(&forge, &good).unwrap();
    let (signed, _) = good.rsplit_once('.').unwrap();
    for token in ["", "a", "a.b", &format!("{good}.x"), signed] {
        let result = check(&forge, token);
        assert!(
            matches!(result, Err(JwtError::Token(JwsError::NotCompact))),
            "{token}"
        );
    }
    for token in [
        format!("{good}="),
        format!(" {good}"),
        good.replacen("ey", "e+", 1),
    ] {
        let result = check(&forge, &token);
        assert!(
            matches!(result, Err(JwtError::Token(JwsError::Encoding(_)))),
            "{token}"
        );
    }
    let long = "a".repeat(MAX_TOKEN_BYTES + 1);
    let result = check(&forge, &long);
    assert!(matches!(result, Err(JwtError::Token(JwsError::TooLong))));
}

#[test]
fn a_signature_of_anybody_else_is_refused() {
    let (forge, other) = (Forge::new(), Forge::new());
    // The other's signature under our kid.
    let forged = other.token(&header(&forge, "JWT"), &good_claims());
    let result = check(&forge, &forged);
    assert!(matches!(result, Err(JwtError::Token(JwsError::Signature))));
    // Our signature over other claims.
    let good = forge.token(&header(&forge, "JWT"), &good_claims());
    let (_, signature) = good.rsplit_once('.').unwrap();
    let mut claims = good_claims();
    claims["sub"] = json!("spiffe://example.org/mcp/client/admin");
    let changed = forge.token(&header(&forge, "JWT"), &claims);
    let (signed, _) = changed.rsplit_once('.').unwrap();
    for signature in [signature, ""] {
        let result = check(&forge, &format!("{signed}.{signature}"));
        assert!(matches!(result, Err(JwtError::Token(JwsError::Signature))));
    }
}

#[test]
fn doubled_names_are_refused() {
    let forge = Forge::new();
    let good = header(&forge, "JWT").to_string();
    let doubled = good.replacen('{', r#"{"alg":"ES256","#, 1);
    let token = forge.raw(&doubled, &good_claims().to_string());
    let result = check(&forge, &token);
    assert!(matches!(result, Err(JwtError::Token(JwsError::Json(_)))));
    let claims = good_claims().to_string();
    let doubled = claims.replacen('{', r#"{"sub":"spiffe://example.org/admin","#, 1);
    let result = check(&forge, &forge.raw(&good, &doubled));
    assert!(matches!(result, Err(JwtError::Token(JwsError::Json(_)))));
}

#[test]
fn a_token_that_nobody_would_accept_is_not_signed() {
    let signer = Signer::new(&PrivateKey::generate().unwrap()).unwrap();
    let result = signer.sign(&Claims {
        spiffe_id: &SpiffeId::new("spiffe://example.org/a").unwrap(),
        audiences: &["a".repeat(MAX_TOKEN_BYTES)],
        issued_at: at(NOW),
        expires_at: at(NOW),
        jti: "",
        attestation_id: None,
        nhi_version: None,
        client_id: None,
        issuer: None,
    });
    assert!(matches!(result, Err(JwsError::TooLong)));
}
