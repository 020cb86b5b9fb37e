//! From the URL of a resource to the authorization server that gives tokens for it.
//!
//! RFC 9728 for the resource, RFC 8414 (or OpenID Connect Discovery) for the server, as MCP puts
//! them together (`basic/authorization/authorization-server-discovery`). Both documents have to
//! say that they are about whom was asked for: the resource's identifier covers the URL, the
//! issuer is the same text.

use super::{
    challenge::Challenge,
    web::{Answer, Web, failed},
};
use crate::{cli::failure::Failure, fetch::FetchUrl};
use serde_json::{Map, Value};

const RESOURCE: &str = "the resource";
const METADATA: &str = "the resource's metadata";
const SERVER: &str = "the authorization server's metadata";

/// What was found out.
#[derive(Debug)]
pub(super) struct Found {
    /// The resource's identifier, for which a token is asked.
    pub(super) resource: String,
    pub(super) issuer: String,
    pub(super) token_endpoint: FetchUrl,
    /// What the resource needs, where it says so.
    pub(super) scope: Option<String>,
    pub(super) takes_dpop: bool,
}

/// Asks the resource, and then the server that it names.
pub(super) async fn discover(
    web: &Web,
    resource: &FetchUrl,
    wanted: Option<&str>,
) -> Result<Found, Failure> {
    // A resource that lets everybody in, or answers otherwise, may still have metadata.
    let answer = web.get(RESOURCE, resource).await?;
    let challenge = Challenge::of(&answer.fetched.headers);
    let named = challenge.resource_metadata.as_deref();
    let answer = resource_metadata(web, resource, named).await?;
    let metadata = answer.object()?;
    let identifier = identifier(resource, &answer, &metadata)?;
    let issuer = issuer(&answer, &metadata, wanted)?;
    let (answer, metadata) = server_metadata(web, &issuer).await?;
    Ok(Found {
        resource: identifier,
        token_endpoint: token_endpoint(&answer, &metadata)?,
        issuer,
        scope: challenge.scope,
        takes_dpop: lists(&metadata, "dpop_signing_alg_values_supported", "ES256") == Some(true),
    })
}

/// The metadata where the resource says, or else where RFC 9728, section 3.1 does: with the path
/// of the resource, then of the whole host.
async fn resource_metadata(
    web: &Web,
    resource: &FetchUrl,
    named: Option<&str>,
) -> Result<Answer, Failure> {
    const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
    let origin = resource.origin();
    let path = resource.path().trim_end_matches('/');
    let places = match named {
        Some(named) => vec![named.to_owned()],
        None if path.is_empty() => vec![format!("{origin}{WELL_KNOWN}")],
        None => vec![
            format!("{origin}{WELL_KNOWN}{path}"),
            format!("{origin}{WELL_KNOWN}"),
        ],
    };
    first(web, METADATA, &places).await
}

/// The first of these that is there.
async fn first(web: &Web, step: &'static str, places: &[String]) -> Result<Answer, Failure> {
    let mut refused = failed(step, "-", "there is no place to look");
    for place in places {
        let url = url_of(step, place)?;
        let answer = web.get(step, &url).await?;
        if answer.is_ok() {
            return Ok(answer);
        }
        let why = "where the document should be";
        refused = answer.refuse(why);
    }
    Err(refused)
}

fn url_of(step: &str, text: &str) -> Result<FetchUrl, Failure> {
    FetchUrl::or_loopback(text).map_err(|error| {
        let shown: String = text.chars().take(200).collect();
        failed(step, &shown, &format!("no URL to go to: {error}"))
    })
}

/// The resource's identifier (RFC 9728, section 3.3). Servers have one for all that is below a
/// path, so it may be shorter than the URL by whole segments, on the same origin.
fn identifier(
    resource: &FetchUrl,
    answer: &Answer,
    metadata: &Map<String, Value>,
) -> Result<String, Failure> {
    let Some(identifier) = metadata.get("resource").and_then(Value::as_str) else {
        return Err(answer.wrong("names no resource"));
    };
    let covers = FetchUrl::or_loopback(identifier).is_ok_and(|url| {
        let prefix = url.path().trim_end_matches('/');
        let below = resource.path().strip_prefix(prefix);
        url.origin() == resource.origin()
            && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    let shown: String = identifier.chars().take(200).collect();
    covers
        .then(|| identifier.to_owned())
        .ok_or_else(|| answer.wrong(&format!("is about {shown}, not about {resource}")))
}

/// The server that was asked for, if the resource names it; else the first.
fn issuer(
    answer: &Answer,
    metadata: &Map<String, Value>,
    wanted: Option<&str>,
) -> Result<String, Failure> {
    let servers = metadata
        .get("authorization_servers")
        .and_then(Value::as_array);
    let servers: Vec<&str> = servers
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let found = match wanted {
        Some(wanted) => servers.iter().find(|server| **server == wanted),
        None => servers.first(),
    };
    found
        .map(|issuer| (*issuer).to_owned())
        .ok_or_else(|| match wanted {
            Some(wanted) => {
                answer.wrong(&format!("does not name the authorization server {wanted}"))
            }
            None => answer.wrong("names no authorization server"),
        })
}

/// The metadata of the server (RFC 8414, section 3), whose issuer is the same text as the one
/// that led there (section 3.3).
async fn server_metadata(web: &Web, issuer: &str) -> Result<(Answer, Map<String, Value>), Failure> {
    let url = url_of(SERVER, issuer)?;
    let (origin, path) = (url.origin(), url.path().trim_end_matches('/'));
    let mut places = vec![
        format!("{origin}/.well-known/oauth-authorization-server{path}"),
        format!("{origin}/.well-known/openid-configuration{path}"),
    ];
    if !path.is_empty() {
        places.push(format!("{origin}{path}/.well-known/openid-configuration"));
    }
    let answer = first(web, SERVER, &places).await?;
    let metadata = answer.object()?;
    let named = metadata.get("issuer").and_then(Value::as_str);
    if named != Some(issuer) {
        let named: String = named.unwrap_or("nobody").chars().take(200).collect();
        return Err(answer.wrong(&format!("is of the issuer {named}, not of {issuer}")));
    }
    Ok((answer, metadata))
}

/// Where tokens are given, if the server takes what the agent can make.
fn token_endpoint(answer: &Answer, metadata: &Map<String, Value>) -> Result<FetchUrl, Failure> {
    for (member, value) in [
        ("grant_types_supported", "client_credentials"),
        ("token_endpoint_auth_methods_supported", "private_key_jwt"),
        ("token_endpoint_auth_signing_alg_values_supported", "ES256"),
    ] {
        if lists(metadata, member, value) == Some(false) {
            let why = format!("does not have {value} in {member}: it gives us no tokens");
            return Err(answer.wrong(&why));
        }
    }
    match metadata.get("token_endpoint").and_then(Value::as_str) {
        Some(text) => url_of(SERVER, text),
        None => Err(answer.wrong("names no token_endpoint")),
    }
}

/// Whether a list has `value`; `None` where there is no list.
fn lists(metadata: &Map<String, Value>, member: &str, value: &str) -> Option<bool> {
    let list = metadata.get(member)?.as_array()?;
    Some(list.iter().any(|item| item.as_str() == Some(value)))
}
