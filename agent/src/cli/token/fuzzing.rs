//! What the fuzz targets call: what servers say to `symbolon token`, with what has to hold of it.

use super::{
    challenge::Challenge,
    discovery::{self, Found},
    exchange::{self, Assertion, Wanted},
    web::{Answer, Shown},
};
use crate::{
    cli::failure::Failure,
    fetch::{FetchUrl, Fetched},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header::WWW_AUTHENTICATE};

/// More than any failure has: its parts are cut.
const MAX_SENTENCE: usize = 16 * 1024;

/// The documents of one conversation, as bytes that anybody may have written.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// Values of `WWW-Authenticate`.
    pub challenges: &'a [&'a [u8]],
    /// The resource's metadata.
    pub resource: &'a [u8],
    /// The authorization server's.
    pub server: &'a [u8],
    /// The answer to the token request, and its status.
    pub token: (u16, &'a [u8]),
}

/// Whatever servers say to somebody who asks for a token for `url`, or for the wider `resource`:
/// he is led to no other place than his own, and gets a token that a header can carry, or a
/// bounded sentence.
pub fn conversation(url: &str, resource: &str, dpop: bool, said: Said<'_>) {
    let Ok(typed) = FetchUrl::or_loopback(url) else {
        return;
    };
    let wanted = Wanted {
        resource: discovery::wider(resource, &typed).ok(),
        dpop,
        ..Wanted::default()
    };
    let resource = wanted.resource.as_ref().unwrap_or(&typed);
    assert!(resource.origin() == typed.origin());
    assert!(
        typed
            .path()
            .starts_with(resource.path().trim_end_matches('/'))
    );
    for place in discovery::metadata_places(&typed, resource) {
        assert!(place.starts_with(typed.origin()));
    }
    let scope = challenge(said.challenges).scope;
    let answer = answer(&typed, Shown::Start, 200, said.resource);
    let Some(named) = good(discovery::read_resource(&typed, &wanted, &answer)) else {
        return;
    };
    let bare = |text: &str| text.strip_suffix('/').unwrap_or(text).to_owned();
    assert!(bare(&named.resource) == bare(resource.as_str()));
    if FetchUrl::or_loopback(&named.issuer).is_err() {
        return;
    }
    let answer = self::answer(&typed, Shown::Start, 200, said.server);
    let Some((endpoint, takes_dpop)) = good(discovery::read_server(&typed, &named.issuer, &answer))
    else {
        return;
    };
    let is_plain = endpoint.as_str().starts_with("http://");
    assert!(!is_plain || typed.is_loopback() && endpoint.is_loopback());
    let found = Found {
        resource: named.resource,
        issuer: named.issuer,
        token_endpoint: endpoint,
        scope: scope.or(named.scope),
        takes_dpop,
    };
    token(&found, &wanted, said.token);
}

fn challenge(values: &[&[u8]]) -> Challenge {
    let mut headers = HeaderMap::new();
    let values = values.iter().take(64);
    for value in values.filter_map(|value| HeaderValue::from_bytes(value).ok()) {
        headers.append(WWW_AUTHENTICATE, value);
    }
    let challenge = Challenge::of(&headers);
    let texts = [&challenge.resource_metadata, &challenge.scope];
    for text in texts.into_iter().flatten() {
        assert!(
            text.chars()
                .all(|c| c.is_ascii_graphic() || " \t".contains(c))
        );
    }
    challenge
}

fn token(found: &Found, wanted: &Wanted, (status, body): (u16, &[u8])) {
    let answer = answer(&found.token_endpoint, Shown::Error, status, body);
    let assertion = Assertion {
        jwt: String::new(),
        kind: String::new(),
        client_id: String::new(),
        jti: String::new(),
        spiffe_id: String::new(),
    };
    let Some(grant) = good(exchange::read(&answer, assertion, found, wanted)) else {
        return;
    };
    assert!(status == 200 && grant.token_type == if wanted.dpop { "DPoP" } else { "Bearer" });
    assert!(
        grant
            .access_token
            .bytes()
            .all(|byte| byte.is_ascii_graphic())
    );
    assert!(!grant.access_token.is_empty());
}

/// An answer of the host of `url`.
fn answer(url: &FetchUrl, shown: Shown, status: u16, body: &[u8]) -> Answer {
    Answer {
        step: "a step",
        shown,
        url: url.clone(),
        fetched: Fetched {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::OK),
            headers: HeaderMap::new(),
            body: Bytes::copy_from_slice(body),
        },
    }
}

/// What went well; what did not is told in bounds, and harms no terminal.
fn good<T>(result: Result<T, Failure>) -> Option<T> {
    match result {
        Ok(good) => Some(good),
        Err(Failure::OutputClosed) => unreachable!("nothing is printed"),
        Err(Failure::Told { told, .. }) => {
            let told = told.to_string();
            assert!(told.len() < MAX_SENTENCE);
            assert!(!told.chars().any(|c| c.is_control() && c != '\n'));
            None
        }
    }
}
