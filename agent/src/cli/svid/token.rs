//! `symbolon svid jwt` and `symbolon svid wit`.

use crate::cli::{
    console::Console,
    failure::Failure,
    jwt::Claims,
    moment::{exact, relative},
    output::{Fields, Look, View, some},
    socket::Link,
};
use clap::Args;
use serde::Serialize;
use symbolon_proto::workload::{JwtsvidRequest, WitsvidRequest};
use tonic::Status;

/// Fetch JWT-SVIDs: tokens that prove this process's identity to an audience
///
/// A token is a secret until it expires. The client's registration lists the
/// audiences; by default one token has one.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon svid jwt --audience https://mcp.example.org
  curl -H \"Authorization: Bearer $(symbolon svid jwt --audience https://mcp.example.org --raw)\" ...")]
pub(super) struct JwtArgs {
    /// Whom the token is for, repeated for more
    #[arg(long, value_name = "AUD", required = true)]
    audience: Vec<String>,
    /// Only this identity
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    spiffe_id: String,
    /// Print the first token and nothing else
    #[arg(long, conflicts_with = "output")]
    raw: bool,
}

/// Fetch WIT-SVIDs: tokens bound to a key that the process holds
#[derive(Args, Debug)]
pub(super) struct WitArgs {
    /// Only this identity
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    spiffe_id: String,
    /// Print the private keys (JWK) as well
    #[arg(long)]
    show_key: bool,
}

/// Tokens; `agent/doc/cli.md` documents the fields.
#[derive(Serialize)]
struct TokenList {
    svids: Vec<TokenView>,
}

#[derive(Serialize)]
struct TokenView {
    spiffe_id: String,
    hint: Option<String>,
    audiences: Vec<String>,
    jti: Option<String>,
    issued_at: Option<String>,
    expires_at: Option<String>,
    token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_jwk: Option<serde_json::Value>,
    #[serde(skip)]
    expires: i64,
}

impl TokenView {
    fn new(spiffe_id: String, hint: String, token: String) -> anyhow::Result<Self> {
        let claims = Claims::of_token(&token)?;
        Ok(Self {
            spiffe_id,
            hint: some(hint),
            audiences: claims.audiences(),
            jti: claims.text("jti"),
            issued_at: claims.seconds("iat").and_then(exact),
            expires_at: claims.seconds("exp").and_then(exact),
            expires: claims.seconds("exp").unwrap_or_default(),
            token,
            private_jwk: None,
        })
    }
}

impl JwtArgs {
    pub(super) async fn run(self, link: &Link, console: &mut Console) -> Result<(), Failure> {
        let mut client = link.workload().await?;
        let request = JwtsvidRequest {
            audience: self.audience,
            spiffe_id: self.spiffe_id,
        };
        let answer = link.ask(client.fetch_jwtsvid(request)).await?;
        if self.raw {
            let token = answer.svids.into_iter().next().unwrap_or_default().svid;
            return console.write(format!("{token}\n").as_bytes());
        }
        let svids = answer.svids.into_iter();
        let svids = svids.map(|svid| TokenView::new(svid.spiffe_id, svid.hint, svid.svid));
        console.show(&TokenList {
            svids: svids.collect::<Result<_, _>>()?,
        })
    }
}

impl WitArgs {
    pub(super) async fn run(self, link: &Link, console: &mut Console) -> Result<(), Failure> {
        let mut client = link.workload().await?;
        let request = WitsvidRequest {
            spiffe_id: self.spiffe_id,
        };
        let answer = link
            .within(async {
                let mut stream = client.fetch_witsvid(request).await?.into_inner();
                let first = stream.message().await?;
                first.ok_or_else(|| Status::unavailable("the stream ended"))
            })
            .await?;
        let mut svids = Vec::new();
        for svid in answer.svids {
            let mut view = TokenView::new(svid.spiffe_id, svid.hint, svid.wit_svid)?;
            if self.show_key {
                let key = serde_json::from_str(&svid.wit_svid_key).map_err(anyhow::Error::from)?;
                view.private_jwk = Some(key);
            }
            svids.push(view);
        }
        console.show(&TokenList { svids })
    }
}

impl View for TokenList {
    fn table(&self, look: &Look) -> String {
        let mut out = String::new();
        for svid in &self.svids {
            let mut fields = Fields::new();
            fields.add("SPIFFE ID", &svid.spiffe_id);
            fields.add("Hint", svid.hint.as_deref().unwrap_or_default());
            fields.list("Audiences", &svid.audiences);
            fields.add("Expires", relative(svid.expires, look.now));
            fields.add("Token", &svid.token);
            if let Some(key) = &svid.private_jwk {
                fields.add("Private key", key.to_string());
            }
            out.push_str(&fields.render());
        }
        out
    }
}
