//! Whatever a token holds, signed by our authority or by nobody: validation as
//! a JWT-SVID and as a WIT-SVID ends, at most one of the two accepts it, and
//! what is accepted keeps the standards' rules.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use spiffe::TrustDomain;
use std::{
    sync::LazyLock,
    time::{Duration, UNIX_EPOCH},
};
use symbolon_agent::svid::{
    PrivateKey,
    jws::{KeySet, VerifyingKey, sign_anything},
    jwt, wit,
};

const NOW: Duration = Duration::from_secs(1_800_000_000);
const AUDIENCE: &str = "a";

static KEY: LazyLock<PrivateKey> = LazyLock::new(|| PrivateKey::generate().unwrap());
static KEYS: LazyLock<KeySet> =
    LazyLock::new(|| KeySet::new(vec![VerifyingKey::new(*KEY.public_key()).unwrap()]));

fuzz_target!(|input: (u8, &str, &str)| {
    let (kind, head, claims) = input;
    let kid = KEY.public_key().thumbprint();
    let header = |typ| format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"{typ}"}}"#);
    let sign = |header: &str| sign_anything(&KEY, header, claims).unwrap();
    check(&match kind & 3 {
        0 => head.to_owned(),
        1 => sign(&head.replace("KID", &kid)),
        2 => sign(&header("JWT")),
        _ => sign(&header("wit+jwt")),
    });
});

fn check(token: &str) {
    let trust_domain = TrustDomain::new("example.org").unwrap();
    let now = UNIX_EPOCH + NOW;
    let jwt = jwt::validate(token, &*KEYS, &trust_domain, AUDIENCE, now);
    let wit = wit::validate(token, &KEYS, &trust_domain, now);
    assert!(jwt.is_err() || wit.is_err());
    if let Ok(svid) = jwt {
        assert!(svid.expires_at > now);
        assert!(svid.audiences.iter().any(|audience| audience == AUDIENCE));
        assert!(svid.spiffe_id.is_member_of(&trust_domain));
        let subject = svid.claims.get("sub").and_then(Value::as_str).unwrap();
        assert!(subject.eq_ignore_ascii_case(&svid.spiffe_id.to_string()));
    }
    if let Ok(svid) = wit {
        assert!(svid.expires_at > now);
        assert!(svid.spiffe_id.is_member_of(&trust_domain));
    }
}
