//! From the URL of a resource to the authorization server that gives tokens for it.
//!
//! RFC 9728 for the resource, RFC 8414 (or OpenID Connect Discovery) for the server, as MCP puts
//! them together (`basic/authorization/authorization-server-discovery`). Both documents have to
//! say that they are about whom was asked for: the resource's identifier is the URL, or the wider
//! one that the user named, and the issuer is the same text. A server that could widen its own
//! identifier would get tokens that its neighbours on the host take.
//!
//! Documents of a resource elsewhere lead to `https` only: plain `http` on this machine is what
//! the user may ask for, and not what a stranger may make this process do.

use super::{
    challenge::Challenge,
    exchange::Wanted,
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
    /// What the resource needs, where it says so: when it refuses a request, or else in its
    /// metadata (MCP, `basic/authorization`, scope selection).
    pub(super) scope: Option<String>,
    pub(super) takes_dpop: bool,
}

/// What the resource says of itself.
#[derive(Debug)]
pub(super) struct Named {
    /// Its identifier.
    pub(super) resource: String,
    /// The authorization server that gives tokens for it.
    pub(super) issuer: String,
    /// All scopes that it knows.
    pub(super) scope: Option<String>,
}

/// Asks the resource, and then the server that it names.
pub(super) async fn discover(
    web: &Web,
    typed: &FetchUrl,
    wanted: &Wanted,
) -> Result<Found, Failure> {
    // A resource that lets everybody in, or answers otherwise, may still have metadata.
    let answer = web.get(RESOURCE, typed).await?;
    let challenge = Challenge::of(&answer.fetched.headers);
    let resource = wanted.resource.as_ref().unwrap_or(typed);
    let places = match &challenge.resource_metadata {
        Some(named) => vec![named.clone()],
        None => metadata_places(typed, resource),
    };
    let answer = first(web, METADATA, typed, &places).await?;
    let named = read_resource(typed, wanted, &answer)?;
    let places = server_places(&url_of(SERVER, typed, &named.issuer)?);
    let answer = first(web, SERVER, typed, &places).await?;
    let (token_endpoint, takes_dpop) = read_server(typed, &named.issuer, &answer)?;
    Ok(Found {
        resource: named.resource,
        issuer: named.issuer,
        token_endpoint,
        scope: challenge.scope.or(named.scope),
        takes_dpop,
    })
}

/// What the resource's metadata name.
pub(super) fn read_resource(
    typed: &FetchUrl,
    wanted: &Wanted,
    answer: &Answer,
) -> Result<Named, Failure> {
    let metadata = answer.object()?;
    let resource = wanted.resource.as_ref().unwrap_or(typed);
    Ok(Named {
        resource: identifier(typed, resource, answer, &metadata)?,
        issuer: issuer(answer, &metadata, wanted.authorization_server.as_deref())?,
        scope: scopes(&metadata),
    })
}

/// The token endpoint of the server whose metadata these are, and whether it takes `DPoP`. Its
/// issuer is the same text as the one that led there (RFC 8414, section 3.3).
pub(super) fn read_server(
    typed: &FetchUrl,
    issuer: &str,
    answer: &Answer,
) -> Result<(FetchUrl, bool), Failure> {
    let metadata = answer.object()?;
    let named = metadata.get("issuer").and_then(Value::as_str);
    if named != Some(issuer) {
        let named: String = named.unwrap_or("nobody").chars().take(200).collect();
        return Err(answer.wrong(&format!("is of the issuer {named}, not of {issuer}")));
    }
    let dpop = lists(&metadata, "dpop_signing_alg_values_supported", "ES256");
    let endpoint = token_endpoint(typed, answer, &metadata)?;
    Ok((endpoint, dpop == Some(true)))
}

/// The resource of which the URL that the user typed is a part: on the same origin, shorter by
/// whole segments, and without a query.
pub(super) fn wider(text: &str, typed: &FetchUrl) -> Result<FetchUrl, String> {
    let url = FetchUrl::or_loopback(text).map_err(|error| error.to_string())?;
    if !url.query().is_empty() {
        return Err("has a query".to_owned());
    }
    let path = url.path();
    let prefix = path.strip_suffix('/').unwrap_or(path);
    let below = typed.path().strip_prefix(prefix);
    let is_below = below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if url.origin() != typed.origin() || !is_below {
        return Err(format!("{typed} is not below it"));
    }
    Ok(url)
}

/// Where RFC 9728, section 3.1 puts the metadata: with path and query of the resource, of the
/// URL, then of the whole host.
pub(super) fn metadata_places(typed: &FetchUrl, resource: &FetchUrl) -> Vec<String> {
    const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
    let place = |url: &FetchUrl| {
        let path = url.path().trim_end_matches('/');
        format!("{}{WELL_KNOWN}{path}{}", url.origin(), url.query())
    };
    let whole = format!("{}{WELL_KNOWN}", typed.origin());
    let mut places = vec![place(resource)];
    for place in [place(typed), whole] {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

/// The first of these that is there.
async fn first(
    web: &Web,
    step: &'static str,
    typed: &FetchUrl,
    places: &[String],
) -> Result<Answer, Failure> {
    let mut refused = failed(step, "-", "there is no place to look");
    for place in places {
        let url = url_of(step, typed, place)?;
        let answer = web.get(step, &url).await?;
        if answer.is_ok() {
            return Ok(answer);
        }
        let why = "where the document should be";
        refused = answer.refuse(why);
    }
    Err(refused)
}

/// A URL that a document names; plain `http` only where the user began on this machine.
fn url_of(step: &str, typed: &FetchUrl, text: &str) -> Result<FetchUrl, Failure> {
    let url = if typed.is_loopback() {
        FetchUrl::or_loopback(text)
    } else {
        text.parse()
    };
    url.map_err(|error| {
        let shown: String = text.chars().take(200).collect();
        failed(step, &shown, &format!("no URL to go to: {error}"))
    })
}

/// The resource's identifier, which is the one that was asked for (RFC 9728, section 3.3), up to
/// one slash at the end.
fn identifier(
    typed: &FetchUrl,
    resource: &FetchUrl,
    answer: &Answer,
    metadata: &Map<String, Value>,
) -> Result<String, Failure> {
    let Some(identifier) = metadata.get("resource").and_then(Value::as_str) else {
        return Err(answer.wrong("names no resource"));
    };
    if is_same(identifier, resource) {
        return Ok(identifier.to_owned());
    }
    let shown: String = identifier.chars().take(200).collect();
    let failure = answer.wrong(&format!("is about {shown}, not about {resource}"));
    if is_same(identifier, typed) {
        return Err(failure.advise("Leave --resource out."));
    }
    if wider(identifier, typed).is_err() {
        return Err(failure);
    }
    let advice = format!(
        "What is below {identifier} may take such a token from whoever has it. If you trust \
         {typed} with that, add: --resource {identifier}"
    );
    Err(failure.advise(advice))
}

/// Whether a text is this URL; a slash at the end of a path counts for nothing.
fn is_same(text: &str, url: &FetchUrl) -> bool {
    let bare = |text: &str| text.strip_suffix('/').unwrap_or(text).to_owned();
    text == url.as_str() || url.query().is_empty() && bare(text) == bare(url.as_str())
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

/// Where the metadata of a server are (RFC 8414, section 3; OpenID Connect Discovery).
fn server_places(issuer: &FetchUrl) -> Vec<String> {
    let (origin, path) = (issuer.origin(), issuer.path().trim_end_matches('/'));
    let mut places = vec![
        format!("{origin}/.well-known/oauth-authorization-server{path}"),
        format!("{origin}/.well-known/openid-configuration{path}"),
    ];
    if !path.is_empty() {
        places.push(format!("{origin}{path}/.well-known/openid-configuration"));
    }
    places
}

/// Where tokens are given, if the server takes what the agent can make.
fn token_endpoint(
    typed: &FetchUrl,
    answer: &Answer,
    metadata: &Map<String, Value>,
) -> Result<FetchUrl, Failure> {
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
        Some(text) => url_of(SERVER, typed, text),
        None => Err(answer.wrong("names no token_endpoint")),
    }
}

/// All scopes that the resource knows, as far as they are any (RFC 6749, section 3.3).
fn scopes(metadata: &Map<String, Value>) -> Option<String> {
    let is_scope = |scope: &&str| {
        let is_fit = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        !scope.is_empty() && scope.bytes().all(is_fit)
    };
    let listed = metadata.get("scopes_supported")?.as_array()?.iter();
    let scopes: Vec<&str> = listed.filter_map(Value::as_str).filter(is_scope).collect();
    (!scopes.is_empty()).then(|| scopes.join(" "))
}

/// Whether a list has `value`; `None` where there is no list.
fn lists(metadata: &Map<String, Value>, member: &str, value: &str) -> Option<bool> {
    let list = metadata.get(member)?.as_array()?;
    Some(list.iter().any(|item| item.as_str() == Some(value)))
}
