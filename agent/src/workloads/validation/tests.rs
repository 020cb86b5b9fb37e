//! What the trail repeats of strangers.

use super::describe_foreign;
use crate::{
    audit::{Event, Kind},
    svid::jwt::JwtSvid,
};
use serde_json::{Map, json};
use spiffe::SpiffeId;
use std::time::{Duration, UNIX_EPOCH};

#[test]
fn what_strangers_chose_has_bounds_in_the_trail() {
    let mut audiences = vec!["a".repeat(2_000)];
    audiences.extend((1..20).map(|number| format!("a{number}")));
    let mut claims = Map::new();
    claims.insert("iss".to_owned(), "i".repeat(2_000).into());
    let token = JwtSvid {
        spiffe_id: SpiffeId::new("spiffe://other.example/a").unwrap(),
        audiences,
        expires_at: UNIX_EPOCH + Duration::from_secs(1_795_000_000),
        jti: Some("\u{e4}".repeat(2_000)),
        claims,
    };
    let event = describe_foreign(Event::new(Kind::Validated), &token, "a19");
    let event = serde_json::to_value(&event).unwrap();
    let credential = &event["credential"];
    assert_eq!(credential["jti"], "\u{e4}".repeat(256));
    assert_eq!(credential["issuer"], "i".repeat(1_024));
    let told = credential["audiences"].as_array().unwrap();
    assert_eq!(told.len(), 16);
    assert_eq!(told[0], "a".repeat(1_024));
    assert_eq!(told[15], "a15");
    assert_eq!(
        event["reason"],
        json!("audience \"a19\"; 4 more audiences are not listed")
    );
}
