//! From an assertion to an access token (RFC 6749, section 4.4; RFC 7523; RFC 9449).

use super::{
    discovery::Found,
    web::{Answer, Web},
};
use crate::{
    cli::failure::{Exit, Failure},
    fetch::FetchUrl,
};
use http::{HeaderMap, HeaderValue};
use serde_json::Value;
use std::future::Future;

const TOKEN: &str = "the token request";
/// Longer than any token that a header can carry.
const MAX_TOKEN_BYTES: usize = 32 * 1024;

/// What the user asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    /// A resource that is wider than the URL.
    pub(super) resource: Option<FetchUrl>,
    pub(super) authorization_server: Option<String>,
    pub(super) scope: Option<String>,
    pub(super) dpop: bool,
}

/// What the agent made.
#[derive(Clone, Debug)]
pub(super) struct Assertion {
    pub(super) jwt: String,
    pub(super) kind: String,
    pub(super) client_id: String,
    pub(super) jti: String,
    pub(super) spiffe_id: String,
}

/// What the agent signs.
pub(super) trait Broker {
    /// A client assertion for the server with this issuer.
    fn assertion(
        &mut self,
        server: &str,
        resource: &str,
    ) -> impl Future<Output = Result<Assertion, Failure>>;

    /// A `DPoP` proof for one POST.
    fn proof(
        &mut self,
        target: &str,
        access_token: Option<&str>,
        nonce: Option<&str>,
    ) -> impl Future<Output = Result<String, Failure>>;
}

/// A token.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) access_token: String,
    pub(super) token_type: &'static str,
    /// Seconds.
    pub(super) expires_in: Option<i64>,
    pub(super) scope: Option<String>,
    pub(super) resource: String,
    pub(super) authorization_server: String,
    pub(super) assertion: Assertion,
    /// For one POST to the resource.
    pub(super) proof: Option<String>,
}

/// Asks for a token; with `DPoP` a second time, where the server wants its nonce in the proof.
pub(super) async fn exchange(
    web: &Web,
    broker: &mut impl Broker,
    resource: &FetchUrl,
    found: &Found,
    wanted: &Wanted,
) -> Result<Grant, Failure> {
    if wanted.dpop && !found.takes_dpop {
        let issuer = &found.issuer;
        let sentence = format!("{issuer} does not say that it takes DPoP proofs with ES256");
        return Err(Failure::new(Exit::Failed, sentence).advise("Leave --dpop out."));
    }
    let (mut assertion, mut answer) = ask(web, broker, found, wanted, None).await?;
    if wanted.dpop
        && !answer.is_ok()
        && let Some(nonce) = asked_nonce(&answer)
    {
        (assertion, answer) = ask(web, broker, found, wanted, Some(&nonce)).await?;
    }
    let mut grant = read(&answer, assertion, found, wanted)?;
    if wanted.dpop {
        let target = without_query(resource);
        let proof = broker.proof(target, Some(&grant.access_token), None).await;
        grant.proof = Some(proof?);
    }
    Ok(grant)
}

/// One request, with an assertion of its own: servers take each once.
async fn ask(
    web: &Web,
    broker: &mut impl Broker,
    found: &Found,
    wanted: &Wanted,
    nonce: Option<&str>,
) -> Result<(Assertion, Answer), Failure> {
    let assertion = broker.assertion(&found.issuer, &found.resource).await?;
    let mut headers = HeaderMap::new();
    if wanted.dpop {
        let target = without_query(&found.token_endpoint);
        let proof = broker.proof(target, None, nonce).await?;
        let proof = HeaderValue::from_str(&proof).map_err(|_invalid| {
            Failure::new(
                Exit::Failed,
                "the agent sent a proof that no header can carry",
            )
        })?;
        headers.insert("dpop", proof);
    }
    let mut form = vec![
        ("grant_type", "client_credentials"),
        ("client_id", &*assertion.client_id),
        ("client_assertion_type", &*assertion.kind),
        ("client_assertion", &*assertion.jwt),
        ("resource", &*found.resource),
    ];
    if let Some(scope) = wanted.scope.as_deref().or(found.scope.as_deref()) {
        form.push(("scope", scope));
    }
    let answer = web.post(TOKEN, &found.token_endpoint, headers, &form);
    let answer = answer.await?;
    Ok((assertion, answer))
}

/// The nonce that the server wants (RFC 9449, section 8).
fn asked_nonce(answer: &Answer) -> Option<String> {
    let error = answer.object().ok()?;
    let is_asked = error.get("error").and_then(Value::as_str) == Some("use_dpop_nonce");
    let nonce = answer.fetched.header("dpop-nonce")?;
    is_asked.then(|| nonce.to_owned())
}

/// The token that an answer gives, if it is what was asked for.
pub(super) fn read(
    answer: &Answer,
    assertion: Assertion,
    found: &Found,
    wanted: &Wanted,
) -> Result<Grant, Failure> {
    if !answer.is_ok() {
        return Err(answer.refuse("and gave no token"));
    }
    let object = answer.object()?;
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    let token = text("access_token").filter(|token| is_token(token));
    let Some(token) = token else {
        return Err(answer.wrong("the answer has no access_token that a header can carry"));
    };
    let expected = if wanted.dpop { "DPoP" } else { "Bearer" };
    // What the type is stays unsaid: in a confused answer it may be the token.
    if !text("token_type").is_some_and(|given| given.eq_ignore_ascii_case(expected)) {
        return Err(answer.wrong(&format!("the token's type is not {expected}")));
    }
    Ok(Grant {
        access_token: token.to_owned(),
        token_type: expected,
        expires_in: object.get("expires_in").and_then(Value::as_i64),
        scope: text("scope").map(str::to_owned),
        resource: found.resource.clone(),
        authorization_server: found.issuer.clone(),
        assertion,
        proof: None,
    })
}

/// RFC 6750, section 2.1.
fn is_token(token: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    !token.is_empty() && token.len() <= MAX_TOKEN_BYTES && token.bytes().all(is_fit)
}

fn without_query(url: &FetchUrl) -> &str {
    let text = url.as_str();
    text.split_once('?').map_or(text, |(before, _query)| before)
}
