use super::{Claims, Signer, UnprovenWit, WitError, validate};
use crate::svid::{
    ClaimError, PrivateKey, PublicKey,
    jws::{
        JwsError, KeySet, VerifyingKey,
        testing::{Forge, header},
    },
    jwt::{self, JwtError},
};
use serde_json::{Value, json};
use spiffe::{SpiffeId, TrustDomain};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const NOW: u64 = 1_765_452_903;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn trust_domain() -> TrustDomain {
    TrustDomain::new("example.com").unwrap()
}

// The example of WIT-SVID.md, appendix A.
fn good_claims() -> Value {
    json!({
        "cnf": {"jwk": {
            "alg": "ES256",
            "crv": "P-256",
            "kty": "EC",
            "x": "rzP7mLCKAHWmsM6X0EwVISC_hI3ujcu95ffUkyeDGGo",
            "y": "uOrfDljtX9m3jY-hsyhLJYaxtGkzDv5e5kmCe58Z97g",
        }},
        "exp": NOW + 3600,
        "iat": NOW,
        "jti": "1yj19V4McOAzMcFi7qvsg_AgCxlrY5E_x509wlKKQtc",
        "sub": "spiffe://example.com/my-workload",
    })
}

fn check(forge: &Forge, token: &str) -> Result<UnprovenWit, WitError> {
    validate(token, &forge.keys(), &trust_domain(), at(NOW))
}

/// Validates a good token with the value at a JSON pointer changed, or taken out where it is null.
fn with_claim(pointer: &str, value: &Value) -> Result<UnprovenWit, WitError> {
    let mut claims = good_claims();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let map = claims.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    if value.is_null() {
        map.remove(name);
    } else {
        map.insert(name.to_owned(), value.clone());
    }
    let forge = Forge::new();
    check(&forge, &forge.token(&header(&forge, "wit+jwt"), &claims))
}

fn accepted(result: Result<UnprovenWit, WitError>) {
    assert_eq!(
        result.unwrap().spiffe_id.to_string(),
        "spiffe://example.com/my-workload"
    );
}

fn with_header(name: &str, value: &Value) -> Result<UnprovenWit, WitError> {
    let forge = Forge::new();
    let mut header = header(&forge, "wit+jwt");
    let map = header.as_object_mut().unwrap();
    if value.is_null() {
        map.remove(name);
    } else {
        map.insert(name.to_owned(), value.clone());
    }
    check(&forge, &forge.token(&header, &good_claims()))
}

#[test]
fn what_we_sign_is_accepted_with_the_workloads_key_in_it() {
    let (authority, workload) = (
        PrivateKey::generate().unwrap(),
        PrivateKey::generate().unwrap(),
    );
    let spiffe_id = SpiffeId::new("spiffe://example.com/my-workload").unwrap();
    let token = Signer::new(&authority)
        .unwrap()
        .sign(&Claims {
            spiffe_id: &spiffe_id,
            public_key: workload.public_key(),
            issued_at: at(NOW),
            expires_at: at(NOW + 60),
            jti: "abc",
            attestation_id: Some("att"),
            nhi_version: Some(7),
        })
        .unwrap();
    let keys = KeySet::new(vec![VerifyingKey::new(*authority.public_key()).unwrap()]);
    let wit = validate(token.expose(), &keys, &trust_domain(), at(NOW)).unwrap();
    assert_eq!(wit.spiffe_id, spiffe_id);
    assert_eq!(wit.confirmation.public_key(), workload.public_key());
    assert_eq!(wit.expires_at, at(NOW + 60));
    assert_eq!(wit.jti.as_deref(), Some("abc"));
    // Nobody takes it for a JWT-SVID (WIT-SVID.md, section 7.1).
    let as_jwt = jwt::validate(token.expose(), &keys, &trust_domain(), "any", at(NOW));
    assert!(matches!(as_jwt, Err(JwtError::Type)));
}

#[test]
fn the_example_of_the_standard_has_the_shape_that_is_accepted() {
    let forge = Forge::new();
    let wit = check(
        &forge,
        &forge.token(&header(&forge, "wit+jwt"), &good_claims()),
    )
    .unwrap();
    let key = PublicKey::from_coordinates(
        "rzP7mLCKAHWmsM6X0EwVISC_hI3ujcu95ffUkyeDGGo",
        "uOrfDljtX9m3jY-hsyhLJYaxtGkzDv5e5kmCe58Z97g",
    );
    assert_eq!(*wit.confirmation.public_key(), key.unwrap());
}

// WIT-SVID.md, sections 2.4 and 3.8.
#[test]
fn unknown_header_parameters_and_claims_are_ignored() {
    accepted(with_header("private", &json!({})));
    accepted(with_claim("/private", &json!({})));
    let result = with_header("crit", &json!(["private"]));
    assert!(matches!(result, Err(WitError::Critical)));
}

// WIT-SVID.md, section 2.1.
#[test]
fn a_key_that_is_missing_or_unknown_is_refused() {
    let result = with_header("kid", &json!(null));
    assert!(matches!(result, Err(WitError::Token(JwsError::NoKeyId))));
    let result = with_header("kid", &json!("other"));
    assert!(matches!(result, Err(WitError::Token(JwsError::UnknownKey))));
}

// WIT-SVID.md, section 2.2.
#[test]
fn another_type_is_refused() {
    for typ in [json!(null), json!("JWT"), json!("WIT+JWT")] {
        let result = with_header("typ", &typ);
        assert!(matches!(result, Err(WitError::Type)), "{typ}");
    }
}

// WIT-SVID.md, section 2.3.
#[test]
fn an_algorithm_that_is_missing_or_not_allowed_is_refused() {
    let result = with_header("alg", &json!(null));
    assert!(matches!(
        result,
        Err(WitError::Token(JwsError::NoAlgorithm))
    ));
    let result = with_header("alg", &json!("none"));
    assert!(matches!(
        result,
        Err(WitError::Token(JwsError::ForbiddenAlgorithm))
    ));
    let result = with_header("alg", &json!("RS256"));
    assert!(matches!(
        result,
        Err(WitError::Token(JwsError::OtherAlgorithm))
    ));
}

// WIT-SVID.md, section 3.1.
#[test]
fn a_subject_that_is_no_workload_of_ours_is_refused() {
    let result = with_claim("/sub", &json!(null));
    assert!(matches!(
        result,
        Err(WitError::Claim(ClaimError::NoSubject))
    ));
    let result = with_claim("/sub", &json!("my-workload"));
    assert!(matches!(
        result,
        Err(WitError::Claim(ClaimError::SpiffeId(_)))
    ));
    let result = with_claim("/sub", &json!("spiffe://example.org/my-workload"));
    assert!(matches!(
        result,
        Err(WitError::Claim(ClaimError::ForeignTrustDomain))
    ));
}

// WIT-SVID.md, section 3.2.
#[test]
fn a_confirmation_that_is_missing_is_refused() {
    for (pointer, value) in [
        ("/cnf", json!(null)),
        ("/cnf", json!("key")),
        ("/cnf/jwk", json!(null)),
        ("/cnf/jwk", json!("key")),
    ] {
        let result = with_claim(pointer, &value);
        assert!(matches!(result, Err(WitError::NoConfirmation)), "{pointer}");
    }
}

// WIT-SVID.md, section 3.2.
#[test]
fn a_confirmation_key_without_an_allowed_algorithm_is_refused() {
    for alg in [json!(null), json!("none"), json!("HS256"), json!(1)] {
        let result = with_claim("/cnf/jwk/alg", &alg);
        assert!(
            matches!(result, Err(WitError::ConfirmationAlgorithm)),
            "{alg}"
        );
    }
}

// RFC 7800, section 3.2.
#[test]
fn a_confirmation_that_is_no_public_p256_key_is_refused() {
    for (name, value) in [
        ("alg", json!("ES384")),
        ("kty", json!("RSA")),
        ("crv", json!("P-384")),
        ("crv", json!(null)),
        ("x", json!(null)),
        ("y", json!("AAAA")),
        // Not on the curve.
        ("y", json!("rzP7mLCKAHWmsM6X0EwVISC_hI3ujcu95ffUkyeDGGo")),
        // A private key.
        ("d", json!("rzP7mLCKAHWmsM6X0EwVISC_hI3ujcu95ffUkyeDGGo")),
    ] {
        let result = with_claim(&format!("/cnf/jwk/{name}"), &value);
        assert!(
            matches!(result, Err(WitError::ConfirmationKey)),
            "{name} {value}"
        );
    }
}

// WIT-SVID.md, section 3.4.
#[test]
fn an_expiry_that_is_missing_or_past_is_refused() {
    let result = with_claim("/exp", &json!(null));
    assert!(matches!(result, Err(WitError::Claim(ClaimError::NoExpiry))));
    let result = with_claim("/exp", &json!(NOW));
    assert!(matches!(result, Err(WitError::Claim(ClaimError::Expired))));
}

// WIT-SVID.md, section 3.5.
#[test]
fn a_token_before_its_time_is_refused() {
    let result = with_claim("/nbf", &json!(NOW + 1));
    assert!(matches!(
        result,
        Err(WitError::Claim(ClaimError::NotYetValid))
    ));
    accepted(with_claim("/nbf", &json!(NOW)));
}

// WIT-SVID.md, section 3.6: `iat` does not limit anything.
#[test]
fn a_late_issue_time_is_no_reason_to_refuse() {
    accepted(with_claim("/iat", &json!(NOW + 100)));
}

// WIT-SVID.md, section 3.7.
#[test]
fn an_openid_issuer_is_refused() {
    for issuer in [json!("https://example.com"), json!("HTTPS://a"), json!(1)] {
        let result = with_claim("/iss", &issuer);
        assert!(matches!(result, Err(WitError::Issuer)), "{issuer}");
    }
    accepted(with_claim("/iss", &json!("spiffe://example.com")));
}

// WIT-SVID.md, section 3.8.
#[test]
fn an_audience_is_refused() {
    let result = with_claim("/aud", &json!("any"));
    assert!(matches!(result, Err(WitError::Audience)));
}

#[test]
fn a_signature_of_anybody_else_is_refused() {
    let (forge, other) = (Forge::new(), Forge::new());
    let forged = other.token(&header(&forge, "wit+jwt"), &good_claims());
    let result = check(&forge, &forged);
    assert!(matches!(result, Err(WitError::Token(JwsError::Signature))));
}
