//! `symbolon client register`.

use super::{Admin, govern, put_in_force, spec::SpecArgs};
use crate::cli::{
    attest::Suggestion,
    console::Console,
    failure::{Exit, Failure},
};
use clap::Args;
use symbolon_proto::admin::{AttestProcessRequest, ClientSpec, RegisterClientRequest};

/// Register a client
///
/// A process gets the client's identity when every selector holds of it. With
/// --from-pid the agent attests a running process and proposes selectors: where
/// it runs (the container's image or the unit), who runs it and which program it
/// is, by digest. They are shown and asked about before anything is registered.
///
/// Selectors that others than the meant process can have are refused, with the
/// reason and what to use instead, unless --accept-weak says why they will do.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Selectors:
  unix:uid:1000              effective user ID
  unix:user:alice            its name on this host
  unix:gid:1000              effective group ID, and unix:group:NAME
  unix:supplementary_gid:27  another group, and unix:supplementary_group:NAME
  unix:path:/usr/bin/app     the program's path on this host
  unix:sha256:HEX            the program's digest
  cgroup:path:/system.slice/app.service
Which others hold of a process: symbolon attest --pid 4711

Examples:
  symbolon client register payments --owner alice --from-pid 4711 --audience https://mcp.example.org
  symbolon client register payments --owner alice --selector unix:uid:1000 \\
      --selector unix:sha256:$(sha256sum /usr/local/bin/payments | cut -d' ' -f1)")]
pub(super) struct RegisterArgs {
    /// The client's name: lower-case letters, digits, dot, dash and underscore
    name: String,
    /// Who answers for the client
    #[arg(long)]
    owner: String,
    /// Its SPIFFE ID [default: spiffe://<trust domain>/mcp/client/<name>]
    #[arg(long, value_name = "ID")]
    spiffe_id: Option<String>,
    #[command(flatten)]
    spec: SpecArgs,
    /// Propose selectors from this running process
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    from_pid: Option<i32>,
    /// Take the proposed selectors without asking
    #[arg(long, requires = "from_pid")]
    yes: bool,
    /// Why, for the audit trail
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

impl RegisterArgs {
    pub(super) async fn run(
        mut self,
        admin: &mut Admin,
        console: &mut Console,
    ) -> Result<(), Failure> {
        if let Some(pid) = self.from_pid {
            self.propose(pid, admin, console).await?;
        }
        if self.spec.selectors.is_empty() {
            return Err(Failure::new(
                Exit::Usage,
                "a client without selectors would fit no process",
            )
            .advise("Give at least one --selector TYPE:VALUE, or --from-pid PID."));
        }
        let accept_weak = self.spec.accept_weak.take().unwrap_or_default();
        let mut spec = ClientSpec {
            owner: self.owner,
            spiffe_id: self.spiffe_id.unwrap_or_default(),
            ..ClientSpec::default()
        };
        self.spec.apply(&mut spec, console.now())?;
        let request = RegisterClientRequest {
            name: self.name,
            spec: Some(spec),
            reason: self.reason,
            accept_weak,
        };
        let client = admin
            .link
            .ask(admin.client.register_client(request))
            .await?;
        let in_force = format!(
            "is registered as {}, version {}",
            client.spec.as_ref().map_or("", |spec| &spec.spiffe_id),
            client.version
        );
        let (what, how) = (govern::made(&client, in_force), govern::how(&client));
        put_in_force(console, client, &what)?;
        govern::tell(console, how)
    }

    /// Adds the selectors of a running process, once somebody has agreed.
    async fn propose(
        &mut self,
        pid: i32,
        admin: &mut Admin,
        console: &mut Console,
    ) -> Result<(), Failure> {
        if !self.yes && !console.interactive {
            return Err(
                Failure::new(Exit::Usage, "nobody is there to agree to a proposal")
                    .advise("Give --yes to take what --from-pid proposes, or name selectors."),
            );
        }
        let request = AttestProcessRequest {
            pid,
            client: String::new(),
        };
        let seen = admin.link.ask(admin.client.attest_process(request)).await;
        let seen = seen.map_err(|failure| {
            failure.advise_if(Exit::NotFound, "Name a process that is running now.")
        })?;
        let proposal = Suggestion::from(seen.proposal.unwrap_or_default());
        console.explain(&format!("Of process {pid} these are proposed:\n"));
        console.explain(&proposal.why("  "));
        for proposed in proposal.selectors {
            if !self.spec.selectors.contains(&proposed.selector) {
                self.spec.selectors.push(proposed.selector);
            }
        }
        let question = format!(
            "Register {} with {}?",
            self.name,
            self.spec.selectors.join(", ")
        );
        if self.yes || console.confirm(&question)? {
            Ok(())
        } else {
            Err(Failure::new(Exit::Failed, "nothing was registered"))
        }
    }
}
