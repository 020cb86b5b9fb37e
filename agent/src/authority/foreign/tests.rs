use super::{BundleError, ForeignBundle, MAX_BUNDLE_BYTES, MAX_KEYS};
use crate::{
    authority::Authority as _,
    clock::{ManualClock, SharedClock},
    federation::testing::Stranger,
};
use serde_json::{Value, json};
use spiffe::TrustDomain;
use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

fn stranger() -> Stranger {
    let at = UNIX_EPOCH + Duration::from_secs(1_795_000_000);
    let clock: SharedClock = Arc::new(ManualClock::new(at));
    Stranger::new("other.example", &clock)
}

fn domain(name: &str) -> TrustDomain {
    TrustDomain::new(name).unwrap()
}

fn parse(document: &Value) -> Result<ForeignBundle, BundleError> {
    parse_text(&document.to_string())
}

fn parse_text(document: &str) -> Result<ForeignBundle, BundleError> {
    ForeignBundle::parse(&domain("other.example"), document.as_bytes())
}

#[test]
fn our_own_form_is_read_as_it_was_written() {
    let stranger = stranger();
    let own = Arc::clone(&stranger.ca.bundle().borrow());
    let read = ForeignBundle::parse(&stranger.domain, own.spiffe_json()).unwrap();
    assert_eq!(read.sequence(), Some(own.sequence()));
    assert_eq!(read.refresh_hint(), Some(own.refresh_hint()));
    assert_eq!(read.x509_der(), own.x509_der());
    assert_eq!(read.counts(), (1, 1, 1));
    let jwks = |document: &[u8]| -> Value { serde_json::from_slice(document).unwrap() };
    let mut expected = jwks(own.jwt_jwks());
    // Who publishes a bundle says nothing of algorithms.
    expected["keys"][0].as_object_mut().unwrap().remove("alg");
    assert_eq!(jwks(read.jwt_jwks()), expected);
}

#[test]
fn order_and_unknown_parameters_make_no_other_keys() {
    let stranger = stranger();
    let mut document: Value = serde_json::from_str(&stranger.document(Some(1))).unwrap();
    let first = parse(&document).unwrap();
    document["keys"].as_array_mut().unwrap().reverse();
    document["unknown"] = json!({"a": [1.5]});
    let mut ignored = document.clone();
    let more = ignored["keys"].as_array_mut().unwrap();
    more.push(json!({"kty": "OKP", "crv": "Ed25519", "kid": "o", "use": "jwt-svid", "x": "AA"}));
    more.push(json!({"kty": "EC", "use": "something-else"}));
    more.push(json!({"kty": "AKP", "use": "x509-svid"}));
    for document in [document, ignored] {
        let second = parse(&document).unwrap();
        assert!(first.has_keys_of(&second));
        assert_ne!(first.digest(), second.digest());
    }
}

#[test]
fn a_bundle_may_be_empty_and_say_nothing_of_its_age() {
    for document in [
        json!({"keys": []}),
        json!({"keys": [], "spiffe_sequence": 0, "spiffe_refresh_hint": 0}),
    ] {
        let bundle = parse(&document).unwrap();
        assert_eq!((bundle.sequence(), bundle.refresh_hint()), (None, None));
        assert_eq!(bundle.counts(), (0, 0, 0));
        assert!(bundle.x509_der().is_empty() && bundle.jwt_jwks().is_empty());
    }
}

#[test]
fn what_breaks_a_rule_is_refused_whole() {
    let stranger = stranger();
    let good: Value = serde_json::from_str(&stranger.document(Some(1))).unwrap();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut document = good.clone();
        change(&mut document);
        parse(&document).unwrap_err()
    };
    assert_eq!(with(&|d| d["keys"] = Value::Null), BundleError::NoKeys);
    assert_eq!(with(&|d| d["keys"] = json!({})), BundleError::NoKeys);
    assert_eq!(with(&|d| d["keys"][0] = json!(1)), BundleError::Unnamed(0));
    for name in ["kty", "use"] {
        let without = with(&|d| drop(d["keys"][1].as_object_mut().unwrap().remove(name)));
        assert_eq!(without, BundleError::Unnamed(1));
    }
    for (name, value) in [
        ("d", json!("AA")),
        ("k", json!("AA")),
        ("kty", json!("oct")),
    ] {
        let secret = with(&|d| d["keys"][1][name] = value.clone());
        assert_eq!(secret, BundleError::Secret(1), "{name}");
    }
    for value in [json!(-1), json!(1.5), json!("1"), json!(1e300)] {
        for name in ["spiffe_sequence", "spiffe_refresh_hint"] {
            let error = with(&|d| d[name] = value.clone());
            assert_eq!(error, BundleError::NotAnInteger(name));
        }
    }
    for x5c in [
        json!([]),
        json!("AA"),
        json!(["AA"]),
        json!([good["keys"][0]["x5c"][0], good["keys"][0]["x5c"][0]]),
        Value::Null,
    ] {
        let error = with(&|d| d["keys"][0]["x5c"] = x5c.clone());
        assert_eq!(error, BundleError::Certificate(0), "{x5c}");
    }
    let twice = with(&|d| {
        let again = d["keys"][1].clone();
        d["keys"].as_array_mut().unwrap().push(again);
    });
    assert_eq!(twice, BundleError::Repeated(3));
    let many = with(&|d| d["keys"] = json!(vec![json!({"kty": "a", "use": "b"}); MAX_KEYS + 1]));
    assert_eq!(many, BundleError::TooManyKeys);
    let long = format!("{{\"keys\":[]}}{}", " ".repeat(MAX_BUNDLE_BYTES));
    assert_eq!(parse_text(&long).unwrap_err(), BundleError::TooLong);
    for text in ["", "[]", "{\"keys\":[],\"keys\":[]}", "{\"keys\":[]}{}"] {
        let error = parse_text(text).unwrap_err();
        assert!(matches!(error, BundleError::Json(_)), "{text}");
    }
}

#[test]
fn an_authority_of_another_trust_domain_is_refused() {
    let stranger = stranger();
    let third = domain("third.example");
    // Our authorities have their trust domain's SPIFFE ID.
    let refused = ForeignBundle::parse(&third, stranger.document(Some(1)).as_bytes());
    assert_eq!(refused.unwrap_err(), BundleError::OtherTrustDomain(0));
}
