//! `symbolon jwt validate`, and the claims of a token as the command line shows them.
//!
//! Validation is the agent's work (`SPIFFE_Workload_API.md`, section 6.2.3).
//! [`Claims::of_token`] only decodes a token that the agent has just issued.

use super::{
    console::Console,
    failure::{Exit, Failure},
    moment::{exact, relative},
    output::{Fields, Look, View},
    socket::WorkloadArgs,
};
use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::{Args, Subcommand};
use prost_types::{Struct, Value as ProtoValue, value::Kind};
use serde::Serialize;
use serde_json::{Map, Number, Value};
use std::io::Read as _;
use symbolon_proto::workload::ValidateJwtsvidRequest;

/// No token that the agent takes is longer.
const MAX_TOKEN: u64 = 64 << 10;
/// Claims are nested no deeper.
const MAX_DEPTH: usize = 16;

/// Validate tokens
#[derive(Args, Debug)]
pub(super) struct JwtArgs {
    #[command(flatten)]
    workload: WorkloadArgs,
    #[command(subcommand)]
    command: JwtCommand,
}

#[derive(Debug, Subcommand)]
enum JwtCommand {
    Validate(ValidateArgs),
}

/// Validate a JWT-SVID for an audience
///
/// Code 0 and its claims if it is good, code 1 and the reason if not.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon jwt validate --audience https://mcp.example.org \"$TOKEN\"
  echo \"$TOKEN\" | symbolon jwt validate --audience https://mcp.example.org -")]
struct ValidateArgs {
    /// The audience that whoever validates stands for
    #[arg(long, value_name = "AUD")]
    audience: String,
    /// The token, or - to read it from standard input, where other users cannot see it
    token: String,
}

impl JwtArgs {
    pub(super) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let link = self.workload.link(console);
        let JwtCommand::Validate(args) = self.command;
        let request = ValidateJwtsvidRequest {
            svid: args.token(console)?,
            audience: args.audience,
        };
        let mut client = link.workload().await?;
        let answer = link
            .ask(client.validate_jwtsvid(request))
            .await
            // The arguments were right; the token is not.
            .map_err(|failure| failure.exit_instead(Exit::Usage, Exit::Failed))?;
        let claims = Claims::of_struct(answer.claims.unwrap_or_default());
        console.show(&Validated {
            spiffe_id: answer.spiffe_id,
            expires_at: claims.seconds("exp").and_then(exact),
            claims,
        })
    }
}

impl ValidateArgs {
    fn token(&self, console: &mut Console) -> Result<String, Failure> {
        if self.token != "-" {
            return Ok(self.token.clone());
        }
        let mut token = String::new();
        (&mut console.stdin)
            .take(MAX_TOKEN)
            .read_to_string(&mut token)
            .context("cannot read the token from standard input")?;
        Ok(token.trim().to_owned())
    }
}

/// A valid token; `agent/doc/cli.md` documents the fields.
#[derive(Debug, Serialize)]
struct Validated {
    spiffe_id: String,
    expires_at: Option<String>,
    claims: Claims,
}

impl View for Validated {
    fn table(&self, look: &Look) -> String {
        let mut fields = Fields::new();
        fields.add("Valid", &self.spiffe_id);
        fields.add(
            "Expires",
            relative(self.claims.seconds("exp").unwrap_or(0), look.now),
        );
        fields.list("Audiences", &self.claims.audiences());
        let others: Vec<String> = self
            .claims
            .0
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "sub" | "exp" | "aud"))
            .map(|(name, value)| match value {
                Value::String(text) => format!("{name}: {text}"),
                value => format!("{name}: {value}"),
            })
            .collect();
        fields.list("Claims", &others);
        fields.render()
    }
}

/// The claims of a token.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Claims(Map<String, Value>);

impl Claims {
    /// Decodes the payload of a JWS in compact form, without checking the signature.
    pub(super) fn of_token(token: &str) -> anyhow::Result<Self> {
        let payload = token.split('.').nth(1).context("the agent sent no JWT")?;
        let json = URL_SAFE_NO_PAD
            .decode(payload)
            .context("the agent sent no JWT")?;
        Ok(Self(
            serde_json::from_slice(&json).context("the agent sent no JWT")?,
        ))
    }

    fn of_struct(claims: Struct) -> Self {
        Self(object(claims, MAX_DEPTH))
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.0.get(name)?.as_str().map(ToOwned::to_owned)
    }

    pub(super) fn seconds(&self, name: &str) -> Option<i64> {
        self.0.get(name)?.as_i64()
    }

    /// `aud`, which is a string or an array of them (RFC 7519, section 4.1.3).
    pub(super) fn audiences(&self) -> Vec<String> {
        match self.0.get("aud") {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(all)) => all
                .iter()
                .filter_map(|aud| aud.as_str().map(ToOwned::to_owned))
                .collect(),
            _ => Vec::new(),
        }
    }
}

fn object(fields: Struct, depth: usize) -> Map<String, Value> {
    fields
        .fields
        .into_iter()
        .map(|(name, value)| (name, json(value, depth)))
        .collect()
}

/// What lies deeper than `depth` is left out.
fn json(value: ProtoValue, depth: usize) -> Value {
    let Some(deeper) = depth.checked_sub(1) else {
        return Value::Null;
    };
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::Bool(value),
        Some(Kind::NumberValue(value)) => number(value),
        Some(Kind::StringValue(value)) => Value::String(value),
        Some(Kind::ListValue(list)) => list
            .values
            .into_iter()
            .map(|value| json(value, deeper))
            .collect(),
        Some(Kind::StructValue(fields)) => Value::Object(object(fields, deeper)),
    }
}

/// Protobuf has floats only; times and versions are to look like what they are.
fn number(value: f64) -> Value {
    /// Up to here a float holds every integer.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a whole number within 2^53"
        )]
        let whole = value as i64;
        return whole.into();
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::number;
    use serde_json::json;

    #[test]
    fn whole_numbers_are_written_without_a_fraction() {
        assert_eq!(number(1_795_132_800.0), json!(1_795_132_800));
        assert_eq!(number(-3.0), json!(-3));
        assert_eq!(number(1.5), json!(1.5));
        assert_eq!(number(f64::NAN), json!(null));
    }
}
