use super::{ForeignKey, ForeignKeys, JwkError};
use crate::svid::jws::{JwsError, Keys as _};
use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
        ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _,
        RSA_PKCS1_SHA256, RSA_PSS_SHA512, RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

const SIGNED: &str = "header.payload";

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn members(jwk: Value) -> Map<String, Value> {
    jwk.as_object().unwrap().clone()
}

fn read(jwk: Value) -> Result<Option<ForeignKey>, JwkError> {
    ForeignKey::of(&members(jwk))
}

fn keys(jwk: Value) -> ForeignKeys {
    let mut keys = ForeignKeys::default();
    assert!(keys.add(read(jwk).unwrap().unwrap()));
    keys
}

/// An EC key as a JWK, and its signature over [`SIGNED`].
fn ec(curve: &str, algorithm: &'static EcdsaSigningAlgorithm) -> (Value, String) {
    let pair = EcdsaKeyPair::generate(algorithm).unwrap();
    let signature = pair.sign(&SystemRandom::new(), SIGNED.as_bytes()).unwrap();
    let point = pair.public_key().as_ref().get(1..).unwrap();
    let (x, y) = point.split_at(point.len() / 2);
    let jwk = json!({"kty": "EC", "crv": curve, "kid": "k", "x": base64url(x), "y": base64url(y)});
    (jwk, base64url(signature.as_ref()))
}

fn rsa() -> (Value, RsaKeyPair) {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let public = pair.public_key();
    let (n, e) = (public.modulus(), public.exponent());
    let n = base64url(n.big_endian_without_leading_zero());
    let e = base64url(e.big_endian_without_leading_zero());
    (json!({"kty": "RSA", "kid": "k", "n": n, "e": e}), pair)
}

#[test]
fn each_curve_verifies_its_own_algorithm_and_no_other() {
    for (curve, name, algorithm) in [
        ("P-256", "ES256", &ECDSA_P256_SHA256_FIXED_SIGNING),
        ("P-384", "ES384", &ECDSA_P384_SHA384_FIXED_SIGNING),
        ("P-521", "ES512", &ECDSA_P521_SHA512_FIXED_SIGNING),
    ] {
        let (jwk, signature) = ec(curve, algorithm);
        let keys = keys(jwk);
        keys.verify(name, "k", SIGNED, &signature).unwrap();
        for other in ["ES256", "ES384", "ES512", "RS256", "PS256"] {
            if other != name {
                let refused = keys.verify(other, "k", SIGNED, &signature).unwrap_err();
                assert!(
                    matches!(refused, JwsError::OtherAlgorithm),
                    "{curve} {other}"
                );
            }
        }
        let refused = keys.verify(name, "k", "header.other", &signature);
        assert!(matches!(refused, Err(JwsError::Signature)));
        let refused = keys.verify(name, "other", SIGNED, &signature);
        assert!(matches!(refused, Err(JwsError::UnknownKey)));
    }
}

#[test]
fn rsa_keys_verify_six_algorithms_or_the_one_that_they_name() {
    let (jwk, pair) = rsa();
    let sign = |padding| {
        let mut signature = vec![0; pair.public_modulus_len()];
        let random = SystemRandom::new();
        pair.sign(padding, &random, SIGNED.as_bytes(), &mut signature)
            .unwrap();
        base64url(&signature)
    };
    let (pkcs1, pss) = (sign(&RSA_PKCS1_SHA256), sign(&RSA_PSS_SHA512));
    let any = keys(jwk.clone());
    any.verify("RS256", "k", SIGNED, &pkcs1).unwrap();
    any.verify("PS512", "k", SIGNED, &pss).unwrap();
    for (algorithm, signature) in [("RS512", &pkcs1), ("PS256", &pkcs1), ("PS256", &pss)] {
        let refused = any.verify(algorithm, "k", SIGNED, signature);
        assert!(matches!(refused, Err(JwsError::Signature)), "{algorithm}");
    }
    let mut named = jwk;
    named["alg"] = "PS512".into();
    let named = keys(named);
    named.verify("PS512", "k", SIGNED, &pss).unwrap();
    let refused = named.verify("RS256", "k", SIGNED, &pkcs1);
    assert!(matches!(refused, Err(JwsError::OtherAlgorithm)));
}

#[test]
fn symmetric_and_unknown_algorithms_are_never_admitted() {
    let (jwk, signature) = ec("P-256", &ECDSA_P256_SHA256_FIXED_SIGNING);
    let keys = keys(jwk);
    for algorithm in ["none", "HS256", "EdDSA", "es256", ""] {
        let refused = keys.admits(algorithm);
        assert!(matches!(refused, Err(JwsError::ForbiddenAlgorithm)));
        keys.verify(algorithm, "k", SIGNED, &signature).unwrap_err();
    }
}

#[test]
fn malformed_keys_are_refused_and_unknown_ones_ignored() {
    let (good, _) = ec("P-256", &ECDSA_P256_SHA256_FIXED_SIGNING);
    let (rsa, _) = rsa();
    let with = |jwk: &Value, name: &str, value: Value| {
        let mut jwk = jwk.clone();
        jwk[name] = value;
        jwk
    };
    let short = base64url(&[1; 31]);
    for (jwk, error) in [
        (with(&good, "kid", "".into()), JwkError::NoKeyId),
        (with(&good, "kid", 7.into()), JwkError::NoKeyId),
        (
            with(&good, "kid", "k".repeat(1_025).into()),
            JwkError::NoKeyId,
        ),
        (with(&good, "x", good["y"].clone()), JwkError::Malformed),
        (with(&good, "x", short.into()), JwkError::Malformed),
        (with(&good, "x", "=".into()), JwkError::Malformed),
        (with(&good, "y", Value::Null), JwkError::Malformed),
        (
            with(&rsa, "n", base64url(&[0xff; 255]).into()),
            JwkError::Malformed,
        ),
        (
            with(&rsa, "n", base64url(&[0xff; 1_025]).into()),
            JwkError::Malformed,
        ),
        (
            with(&rsa, "n", base64url(&[0xfe; 256]).into()),
            JwkError::Malformed,
        ),
        (
            with(&rsa, "e", base64url(&[1; 9]).into()),
            JwkError::Malformed,
        ),
        (with(&rsa, "e", "".into()), JwkError::Malformed),
    ] {
        assert_eq!(read(jwk.clone()).unwrap_err(), error, "{jwk}");
    }
    for jwk in [
        with(&good, "crv", "secp256k1".into()),
        with(&good, "kty", "OKP".into()),
    ] {
        assert!(read(jwk).unwrap().is_none());
    }
}

#[test]
fn only_public_members_are_handed_on() {
    let (good, _) = ec("P-256", &ECDSA_P256_SHA256_FIXED_SIGNING);
    let mut full = good.clone();
    for name in ["use", "key_ops", "x5c", "x5u", "d", "anything"] {
        full[name] = "a".into();
    }
    full["alg"] = "ES256".into();
    let jwks: Value = serde_json::from_slice(&keys(full).jwks().unwrap()).unwrap();
    let mut expected = good;
    expected["alg"] = "ES256".into();
    assert_eq!(jwks, json!({"keys": [expected]}));
}
