use super::{
    DpopClaims, DpopSigner, Hash, Method, Nonce, Target, WorkloadClaims, WorkloadSigner, hash_of,
};
use crate::svid::{
    PrivateKey,
    jws::{Compact, KeySet, VerifyingKey},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

fn noon() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_000_000)
}

fn header(token: &str) -> Value {
    let header = token.split('.').next().unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap()
}

fn claims(token: &str) -> Value {
    let claims = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

#[test]
fn targets_are_https_without_query_fragment_and_user() {
    for good in [
        "https://as.example/token",
        "https://as.example",
        "https://as.example:8443/a/b%20c",
        "http://127.0.0.1:8080/token",
        "http://[::1]:8080/token",
        "http://localhost/token",
    ] {
        good.parse::<Target>().unwrap();
    }
    for bad in [
        "",
        "as.example/token",
        "http://as.example/token",
        "http://127.0.0.1.evil.example/",
        "http://localhost.evil.example/",
        "https:///token",
        "https://u:p@as.example/token",
        "https://as.example/token?x=1",
        "https://as.example/token#x",
        "https://as.example/to ken",
        "https://as.example/\u{e4}",
        "https://as.example/\"",
        "file:///etc/passwd",
        "HTTPS://as.example/",
    ] {
        assert!(bad.parse::<Target>().is_err(), "{bad}");
    }
    let long = format!("https://as.example/{}", "x".repeat(2048));
    long.parse::<Target>().unwrap_err();
}

#[test]
fn methods_nonces_and_hashes_are_what_their_standards_say() {
    for bad in ["", "get", "GET ", "GE\nT", &"X".repeat(33)] {
        assert!(bad.parse::<Method>().is_err(), "{bad:?}");
    }
    "POST".parse::<Method>().unwrap();
    for bad in ["", "a b", "a\"b", "a\\b", "\u{7f}", &"n".repeat(513)] {
        assert!(bad.parse::<Nonce>().is_err(), "{bad:?}");
    }
    "eyJ7S_zG.eyJH0-Z.HX4w-7v".parse::<Nonce>().unwrap();
    for bad in ["", "abc", &"A".repeat(42), &"A".repeat(44), &"=".repeat(43)] {
        assert!(bad.parse::<Hash>().is_err(), "{bad:?}");
    }
    hash_of("token").parse::<Hash>().unwrap();
}

#[test]
fn hashes_are_those_of_rfc_9449() {
    // The access token and its hash in RFC 9449, section 7.1.
    let token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
    assert_eq!(
        hash_of(token),
        "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"
    );
}

#[test]
fn a_dpop_proof_carries_its_key_and_covers_the_request() {
    let key = PrivateKey::generate().unwrap();
    let signer = DpopSigner::new(&key).unwrap();
    let ath: Hash = hash_of("t").parse().unwrap();
    let proof = signer.sign(&DpopClaims {
        method: &"POST".parse().unwrap(),
        target: &"https://as.example/token".parse().unwrap(),
        issued_at: noon(),
        jti: "j",
        access_token_hash: Some(&ath),
        nonce: Some(&"n-1".parse().unwrap()),
    });
    let proof = proof.unwrap();
    let public = key.public_key();
    let jwk = json!({"crv": "P-256", "kty": "EC", "x": public.x(), "y": public.y()});
    assert_eq!(
        header(proof.expose()),
        json!({"alg": "ES256", "jwk": jwk, "typ": "dpop+jwt"})
    );
    let expected = json!({
        "ath": ath.as_str(), "htm": "POST", "htu": "https://as.example/token",
        "iat": 1_795_000_000, "jti": "j", "nonce": "n-1",
    });
    assert_eq!(claims(proof.expose()), expected);
    assert_eq!(**signer.thumbprint(), public.thumbprint());
}

#[test]
fn a_workload_proof_is_verified_by_the_key_and_names_its_token() {
    let key = PrivateKey::generate().unwrap();
    let signer = WorkloadSigner::new(&key).unwrap();
    let wth = hash_of("wit");
    let other = BTreeMap::from([("x-token".to_owned(), hash_of("o").parse().unwrap())]);
    let proof = signer.sign(&WorkloadClaims {
        target: &"https://mcp.example/mcp".parse().unwrap(),
        expires_at: noon(),
        jti: "j",
        wit_hash: &wth,
        access_token_hash: None,
        transaction_token_hash: Some(&hash_of("t").parse().unwrap()),
        other_hashes: &other,
    });
    let proof = proof.unwrap();
    let keys = KeySet::new(vec![VerifyingKey::new(*key.public_key()).unwrap()]);
    let compact = Compact::parse(proof.expose()).unwrap();
    assert_eq!(compact.header_text("typ").unwrap(), Some("wpt+jwt"));
    let claims = Value::Object(compact.verify(&keys).unwrap());
    let expected = json!({
        "aud": "https://mcp.example/mcp", "exp": 1_795_000_000, "jti": "j",
        "oth": {"x-token": hash_of("o")}, "tth": hash_of("t"), "wth": wth,
    });
    assert_eq!(claims, expected);
}
