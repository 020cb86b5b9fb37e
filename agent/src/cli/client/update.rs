//! `symbolon client update`.

use super::{Admin, done, put_in_force, spec::SpecArgs, view::ClientView};
use crate::cli::{
    console::Console,
    failure::{Exit, Failure},
    output::printable,
};
use clap::{Args, ValueEnum};
use serde_json::Value;
use symbolon_proto::admin::{Client, ClientSpec, UpdateClientRequest};

/// Change a client
///
/// Adds a version with the given values; what is not named stays. --selector and --audience replace all that there
/// were; --add-audience and --remove-audience change one. What was accepted with --accept-weak stays accepted while the
/// selectors stay the same.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon client update payments --add-audience https://mcp.example.org
  symbolon client update payments --jwt-ttl 2m --clear expires-at --reason 'quarterly review'")]
pub(super) struct UpdateArgs {
    /// The client's name
    name: String,
    /// Who answers for the client
    #[arg(long)]
    owner: Option<String>,
    #[command(flatten)]
    spec: SpecArgs,
    /// Allow one more audience
    #[arg(long, value_name = "AUD", conflicts_with = "audiences")]
    add_audience: Vec<String>,
    /// Allow an audience no longer
    #[arg(long, value_name = "AUD", conflicts_with = "audiences")]
    remove_audience: Vec<String>,
    /// Take a value away, repeated for more
    #[arg(long, value_name = "FIELD", value_enum)]
    clear: Vec<Clear>,
    /// Why, for the audit trail
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Clear {
    Purpose,
    Audiences,
    MaxAudiences,
    X509Ttl,
    JwtTtl,
    Hint,
    DnsNames,
    ExpiresAt,
    ForbidInheritable,
    AllowForeignUserNamespaces,
    RequiredAttestors,
}

impl UpdateArgs {
    pub(super) async fn run(self, admin: &mut Admin, console: &mut Console) -> Result<(), Failure> {
        let old = admin.show(&self.name).await?;
        let (name, reason) = (self.name.clone(), self.reason.clone());
        let accept_weak = self.spec.accept_weak.clone().unwrap_or_default();
        let mut spec = old.spec.clone().unwrap_or_default();
        self.apply(&mut spec, console.now())?;
        if Some(&spec) == old.spec.as_ref() && accept_weak.is_empty() {
            return done(console, old, "is so already: nothing changed");
        }
        let request = UpdateClientRequest {
            name,
            spec: Some(spec),
            reason,
            expected_version: old.version,
            accept_weak,
        };
        let new = admin.link.ask(admin.client.update_client(request)).await?;
        if console.is_table() {
            let changes = changes(&old, &new)?;
            console.write(changes.as_bytes())?;
        }
        let what = format!("is changed: version {} is in force", new.version);
        put_in_force(console, new, &what)
    }

    fn apply(self, spec: &mut ClientSpec, now: i64) -> Result<(), Failure> {
        for field in self.clear {
            match field {
                Clear::Purpose => spec.purpose.clear(),
                Clear::Audiences => spec.audiences.clear(),
                Clear::MaxAudiences => spec.max_audiences = 0,
                Clear::X509Ttl => spec.x509_ttl = 0,
                Clear::JwtTtl => spec.jwt_ttl = 0,
                Clear::Hint => spec.hint.clear(),
                Clear::DnsNames => spec.dns_names.clear(),
                Clear::ExpiresAt => spec.expires_at = 0,
                Clear::ForbidInheritable => spec.forbid_inheritable = false,
                Clear::AllowForeignUserNamespaces => spec.allow_foreign_user_namespaces = false,
                Clear::RequiredAttestors => spec.required_attestors.clear(),
            }
        }
        if let Some(owner) = self.owner {
            spec.owner = owner;
        }
        self.spec.apply(spec, now);
        for audience in self.add_audience {
            if !spec.audiences.contains(&audience) {
                spec.audiences.push(audience);
            }
        }
        for audience in self.remove_audience {
            let before = spec.audiences.len();
            spec.audiences.retain(|known| *known != audience);
            if spec.audiences.len() == before {
                return Err(Failure::new(
                    Exit::Usage,
                    format!("`{audience}` is not among its audiences"),
                ));
            }
        }
        Ok(())
    }
}

/// The fields of the content that differ, one a line.
fn changes(old: &Client, new: &Client) -> Result<String, Failure> {
    let values = |client: &Client| {
        serde_json::to_value(ClientView::from(client.clone())).map_err(anyhow::Error::from)
    };
    let (old, new) = (values(old)?, values(new)?);
    let mut text = String::new();
    for field in ClientView::CONTENT {
        let (before, after) = (old.get(field), new.get(field));
        if before != after {
            let (before, after) = (plain(before), plain(after));
            text.push_str(&printable(&format!("{field}: {before} -> {after}")));
            text.push('\n');
        }
    }
    Ok(text)
}

fn plain(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "none".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}
