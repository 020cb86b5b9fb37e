//! `symbolon client update`.

use super::{Admin, content, done, govern, put_in_force, spec::SpecArgs};
use crate::cli::{
    console::Console,
    failure::{Exit, Failure},
};
use clap::{Args, ValueEnum};
use symbolon_proto::admin::{ClientSpec, UpdateClientRequest};

/// Change a client
///
/// Adds a version with the given values; what is not named stays. --selector and --audience replace all that there
/// were; --add-audience and --remove-audience change one. Where approval is required, the version in force stays so until
/// others have approved the new one, and one that awaited approval is void. What was accepted with --accept-weak stays accepted while the
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
    ReviewBy,
    Source,
    ForbidInheritable,
    AllowForeignUserNamespaces,
    RequiredAttestors,
    Metadata,
    AllowedRedirectOrigins,
    AuthorizationServers,
    FederatesWith,
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
            let pending = new.pending.as_ref();
            let spec = pending.map_or(&new.spec, |pending| &pending.spec);
            let changes = content::changes(old.spec.as_ref(), spec.as_ref())?;
            console.write(content::lines(&changes).as_bytes())?;
        }
        let in_force = format!("is changed: version {} is in force", new.version);
        let (what, how) = (govern::made(&new, in_force), govern::how(&new));
        put_in_force(console, new, &what)?;
        govern::tell(console, how)
    }

    fn apply(self, spec: &mut ClientSpec, now: i64) -> Result<(), Failure> {
        for field in self.clear {
            field.clear(spec);
        }
        if let Some(owner) = self.owner {
            spec.owner = owner;
        }
        self.spec.apply(spec, now)?;
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

impl Clear {
    fn clear(self, spec: &mut ClientSpec) {
        match self {
            Self::Purpose => spec.purpose.clear(),
            Self::Audiences => spec.audiences.clear(),
            Self::MaxAudiences => spec.max_audiences = 0,
            Self::X509Ttl => spec.x509_ttl = 0,
            Self::JwtTtl => spec.jwt_ttl = 0,
            Self::Hint => spec.hint.clear(),
            Self::DnsNames => spec.dns_names.clear(),
            Self::ExpiresAt => spec.expires_at = 0,
            Self::ReviewBy => spec.review_by = 0,
            Self::Source => spec.source.clear(),
            Self::ForbidInheritable => spec.forbid_inheritable = false,
            Self::AllowForeignUserNamespaces => spec.allow_foreign_user_namespaces = false,
            Self::RequiredAttestors => spec.required_attestors.clear(),
            Self::Metadata => spec.metadata = None,
            Self::AllowedRedirectOrigins => {
                if let Some(metadata) = &mut spec.metadata {
                    metadata.allowed_redirect_origins.clear();
                }
            }
            Self::AuthorizationServers => spec.authorization_servers.clear(),
            Self::FederatesWith => spec.federates_with.clear(),
        }
    }
}
