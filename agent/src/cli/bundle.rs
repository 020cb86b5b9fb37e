//! `symbolon bundle show`: the trust bundle, as a document or as a table of its keys.

use super::{
    console::Console,
    failure::Failure,
    moment::relative,
    output::{Look, Table, View, or_dash},
    socket::AdminArgs,
};
use crate::canonical;
use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use serde_json::{Value, json};
use symbolon_proto::admin::GetBundleRequest;
use x509_parser::{certificate::X509Certificate, pem::Pem, prelude::FromDer as _};

/// Show the trust bundle, with which others verify our SVIDs
#[derive(Args, Debug)]
pub(super) struct BundleArgs {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(subcommand)]
    command: BundleCommand,
}

#[derive(Debug, Subcommand)]
enum BundleCommand {
    Show(ShowArgs),
}

/// Print the trust bundle
///
/// Without --output the document is printed as it is, for other programs;
/// `-o table` lists its keys and certificates instead.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon bundle show > bundle.json
  symbolon bundle show --format pem > ca.pem
  symbolon bundle show -o table")]
struct ShowArgs {
    /// spiffe: all keys, as SPIFFE federation reads them; jwks: JWT keys only; pem: X.509 only
    #[arg(long, value_enum, default_value_t = BundleFormat::Spiffe)]
    format: BundleFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum BundleFormat {
    Spiffe,
    Jwks,
    Pem,
}

impl BundleFormat {
    const fn name(self) -> &'static str {
        match self {
            Self::Spiffe => "spiffe",
            Self::Jwks => "jwks",
            Self::Pem => "pem",
        }
    }
}

impl BundleArgs {
    pub(super) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let BundleCommand::Show(ShowArgs { format }) = self.command;
        let link = self.admin.link(console);
        let mut admin = link.admin().await?;
        let request = GetBundleRequest {
            format: format.name().to_owned(),
        };
        let document = link.ask(admin.get_bundle(request)).await?.document;
        if console.format.is_none() {
            console.write(&document)?;
            return if document.ends_with(b"\n") {
                Ok(())
            } else {
                console.write(b"\n")
            };
        }
        let bundle = match format {
            BundleFormat::Pem => Bundle::of_pem(&document)?,
            BundleFormat::Spiffe | BundleFormat::Jwks => Bundle::of_jwks(&document)?,
        };
        console.show(&bundle)
    }
}

/// A bundle as a document and as the keys in it.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Bundle {
    document: Value,
    #[serde(skip)]
    keys: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    usage: String,
    id: String,
    kind: String,
    /// Unix seconds; 0 for keys that carry no end.
    ends: i64,
}

impl Bundle {
    fn of_pem(pem: &[u8]) -> anyhow::Result<Self> {
        let mut keys = Vec::new();
        for block in Pem::iter_from_buffer(pem) {
            let block = block.context("the agent sent malformed PEM")?;
            keys.push(Key::of_certificate(&block.contents)?);
        }
        let text = std::str::from_utf8(pem).context("the agent sent malformed PEM")?;
        Ok(Self {
            document: json!({ "pem": text }),
            keys,
        })
    }

    fn of_jwks(json: &[u8]) -> anyhow::Result<Self> {
        let document: Value = serde_json::from_slice(json).context("the agent sent no JSON")?;
        let keys = document.get("keys").and_then(Value::as_array);
        let keys = keys
            .into_iter()
            .flatten()
            .map(Key::of_jwk)
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { document, keys })
    }
}

impl Key {
    fn of_certificate(der: &[u8]) -> anyhow::Result<Self> {
        let (_, certificate) =
            X509Certificate::from_der(der).context("the agent sent a malformed certificate")?;
        Ok(Self {
            usage: "x509-svid".to_owned(),
            id: canonical::hex(certificate.raw_serial()),
            kind: "certificate".to_owned(),
            ends: certificate.validity().not_after.timestamp(),
        })
    }

    /// X.509 authorities stand in `x5c` (`SPIFFE_Trust_Domain_and_Bundle.md`, section 4.2.2).
    fn of_jwk(jwk: &Value) -> anyhow::Result<Self> {
        let text = |name: &str| {
            jwk.get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        if let Some(Value::String(certificate)) = jwk.pointer("/x5c/0") {
            let der = STANDARD
                .decode(certificate)
                .context("the agent sent a malformed x5c")?;
            return Self::of_certificate(&der);
        }
        Ok(Self {
            usage: text("use"),
            id: text("kid"),
            kind: format!("{} {}", text("kty"), text("crv")),
            ends: 0,
        })
    }
}

impl View for Bundle {
    fn table(&self, look: &Look) -> String {
        let mut table = Table::new(["USE", "KEY OR SERIAL", "TYPE", "ENDS"]);
        for key in &self.keys {
            table.row([
                or_dash(&key.usage).to_owned(),
                key.id.clone(),
                key.kind.clone(),
                relative(key.ends, look.now),
            ]);
        }
        table.render(look.width)
    }
}
