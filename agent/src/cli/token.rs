//! `symbolon token`: an access token for a protected resource, such as an MCP server.
//!
//! Finds out who gives tokens for the resource ([`discovery`]), has the agent make a client
//! assertion for that authorization server, and exchanges it by the grant `client_credentials`
//! (MCP extension `io.modelcontextprotocol/oauth-client-credentials`; RFC 7523, RFC 8707). The
//! process is attested as the `symbolon` program. Tokens go to standard output and nowhere
//! else; nothing is kept.
//!
//! The user names the resource, and it names the servers, so this process makes the connections
//! with the user's own rights: `https`, or `http` on this machine if the user's URL is there, too;
//! no redirects, and bounded. A failure names the step and what the server answered; of an answer
//! that may be a token it shows nothing.

mod challenge;
mod discovery;
mod exchange;
#[cfg(fuzzing)]
pub mod fuzzing;
mod web;

#[cfg(test)]
mod tests;

use super::{
    console::Console,
    failure::{Exit, Failure},
    moment::exact,
    output::{Look, View},
    socket::{Link, WorkloadArgs},
};
use crate::fetch::{FetchUrl, Fetcher, trusting_roots};
use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::Args;
use exchange::{Assertion, Broker, Grant, Wanted};
use serde::Serialize;
use std::path::PathBuf;
use symbolon_proto::credentials::{
    MintClientAssertionRequest, SignDpopProofRequest, credentials_client::CredentialsClient,
};
use tonic::{service::interceptor::InterceptedService, transport::Channel};
use web::Web;

/// Get an access token for an MCP server or another protected resource
///
/// The agent makes the client assertion, the resource's authorization server the token. It is
/// printed alone, or with --header as the header lines of a request.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon token https://mcp.example.org/mcp
  symbolon token --header --scope 'tools:call' https://mcp.example.org/mcp
  symbolon token --header https://mcp.example.org/mcp | curl -H @- ...
  symbolon token --dpop -o json https://mcp.example.org/mcp

On a command line, as in curl -H \"$(symbolon token --header ...)\", everybody on the machine can read
the token.")]
pub(super) struct TokenArgs {
    #[command(flatten)]
    workload: WorkloadArgs,
    /// The resource, as its clients call it
    url: String,
    /// The resource's identifier, where it is wider than URL: same origin, fewer segments, no
    /// query; whoever gets the token may use it for all that is below
    #[arg(long, value_name = "URI")]
    resource: Option<String>,
    /// Which of the resource's authorization servers, by its issuer; the first by default
    #[arg(long, value_name = "ISSUER")]
    authorization_server: Option<String>,
    /// What to ask for; by default what the resource says it needs
    #[arg(long, value_name = "SCOPE")]
    scope: Option<String>,
    /// Which registration, where several fit
    #[arg(long, value_name = "ID")]
    spiffe_id: Option<String>,
    /// Bind the token to a key that stays in the agent (RFC 9449), and print the proof for one
    /// POST beside it
    #[arg(long)]
    dpop: bool,
    /// Print header lines instead of the token
    #[arg(long)]
    header: bool,
    /// PEM file of the certificate authorities to trust instead of the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

impl TokenArgs {
    pub(super) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let unfit = |url: &str, error: &str| {
            let sentence = format!("{url} is no URL of a resource: {error}");
            Failure::new(Exit::Usage, sentence)
        };
        let url = FetchUrl::or_loopback(&self.url)
            .map_err(|error| unfit(&self.url, &error.to_string()))?;
        let wider = self.resource.as_deref().map(|resource| {
            discovery::wider(resource, &url).map_err(|error| unfit(resource, &error))
        });
        let resource = wider.transpose()?;
        let tls = trusting_roots(self.ca_file.as_deref())
            .map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        let web = Web::new(Fetcher::unguarded(tls));
        let link = self.workload.link(console);
        let mut broker = Agent {
            client: CredentialsClient::with_interceptor(
                link.connect().await?,
                super::socket::SecurityHeader,
            ),
            link: &link,
            spiffe_id: self.spiffe_id.clone().unwrap_or_default(),
        };
        let wanted = Wanted {
            resource,
            authorization_server: self.authorization_server,
            scope: self.scope,
            dpop: self.dpop,
        };
        let grant = obtain(&web, &mut broker, &url, wanted).await?;
        let now = console.now();
        console.show(&Token::new(grant, now, self.header || self.dpop))
    }
}

/// Every step from the resource's URL to the token.
async fn obtain(
    web: &Web,
    broker: &mut impl Broker,
    url: &FetchUrl,
    wanted: Wanted,
) -> Result<Grant, Failure> {
    let found = discovery::discover(web, url, &wanted).await?;
    exchange::exchange(web, broker, url, &found, &wanted).await
}

/// The agent on the other end of the workload socket.
struct Agent<'a> {
    client: CredentialsClient<InterceptedService<Channel, super::socket::SecurityHeader>>,
    link: &'a Link,
    spiffe_id: String,
}

impl Broker for Agent<'_> {
    async fn assertion(&mut self, server: &str, resource: &str) -> Result<Assertion, Failure> {
        let request = MintClientAssertionRequest {
            authorization_server: server.to_owned(),
            spiffe_id: self.spiffe_id.clone(),
            resource: resource.to_owned(),
        };
        let made = self.client.mint_client_assertion(request);
        let step = || format!("the client assertion for {server}");
        let made = self.link.ask(made).await;
        let made = made.map_err(|failure| failure.during(&step()))?;
        // From now on only that one, also for proofs.
        self.spiffe_id.clone_from(&made.spiffe_id);
        Ok(Assertion {
            jwt: made.client_assertion,
            kind: made.client_assertion_type,
            client_id: made.client_id,
            jti: made.jti,
            spiffe_id: made.spiffe_id,
        })
    }

    async fn proof(
        &mut self,
        target: &str,
        access_token: Option<&str>,
        nonce: Option<&str>,
    ) -> Result<String, Failure> {
        let hash = |token: &str| {
            let hash = digest::digest(&digest::SHA256, token.as_bytes());
            URL_SAFE_NO_PAD.encode(hash)
        };
        let request = SignDpopProofRequest {
            method: "POST".to_owned(),
            target: target.to_owned(),
            access_token_hash: access_token.map(hash).unwrap_or_default(),
            nonce: nonce.unwrap_or_default().to_owned(),
            spiffe_id: self.spiffe_id.clone(),
        };
        let signed = self.link.ask(self.client.sign_dpop_proof(request)).await;
        let step = || format!("the proof for {target}");
        let signed = signed.map_err(|failure| failure.during(&step()))?;
        Ok(signed.proof)
    }
}

/// A token; `agent/doc/cli.md` documents the fields.
#[derive(Debug, Serialize)]
struct Token {
    access_token: String,
    token_type: String,
    expires_at: Option<String>,
    scope: Option<String>,
    resource: String,
    authorization_server: String,
    client_id: String,
    spiffe_id: String,
    assertion_jti: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    dpop_proof: Option<String>,
    #[serde(skip)]
    is_header: bool,
}

impl Token {
    fn new(grant: Grant, now: i64, is_header: bool) -> Self {
        let expires_at = grant
            .expires_in
            .and_then(|left| exact(now.saturating_add(left)));
        Self {
            access_token: grant.access_token,
            token_type: grant.token_type.to_owned(),
            expires_at,
            scope: grant.scope,
            resource: grant.resource,
            authorization_server: grant.authorization_server,
            client_id: grant.assertion.client_id,
            spiffe_id: grant.assertion.spiffe_id,
            assertion_jti: grant.assertion.jti,
            dpop_proof: grant.proof,
            is_header,
        }
    }
}

impl View for Token {
    fn table(&self, _look: &Look) -> String {
        let token = &self.access_token;
        if !self.is_header {
            return format!("{token}\n");
        }
        let proof = self.dpop_proof.as_ref();
        let proof = proof.map(|proof| format!("DPoP: {proof}\n"));
        let kind = &self.token_type;
        format!(
            "Authorization: {kind} {token}\n{}",
            proof.unwrap_or_default()
        )
    }
}
