//! `symbolon health`: whether the agent serves.
//!
//! Asks gRPC's health service on the workload socket, which needs neither an
//! identity nor a role. `--details` asks the admin socket as well.

use super::{
    console::Console,
    failure::{Exit, Failure},
    moment::{exact, relative},
    output::{Fields, Look, View, count},
    socket::{Link, SecurityHeader, WorkloadArgs},
};
use clap::Args;
use serde::Serialize;
use symbolon_proto::admin::{GetInfoRequest, GetInfoResponse};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

/// Tell whether the agent serves
///
/// Code 0 if it does, 1 if it is starting or stopping, 5 if it cannot be reached.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon health
  symbolon health --details -o json | jq -r .limitations[]")]
pub(super) struct HealthArgs {
    #[command(flatten)]
    workload: WorkloadArgs,
    /// Ask the admin socket for version, counts, keys and limitations
    #[arg(long)]
    details: bool,
    /// The agent's admin socket for --details, a path or unix:// URI
    #[arg(
        long,
        value_name = "PATH",
        env = "SYMBOLON_ADMIN_SOCKET",
        hide_env_values = true
    )]
    #[arg(value_parser = super::socket::parse_address)]
    admin_socket: Option<std::path::PathBuf>,
}

impl HealthArgs {
    pub(super) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let serving = serving(&self.workload.link(console)).await?;
        let agent = if self.details {
            let link = self.workload.admin_link(self.admin_socket, console);
            let mut admin = link.admin().await?;
            Some(Agent::from(
                link.ask(admin.get_info(GetInfoRequest {})).await?,
            ))
        } else {
            None
        };
        let status = if serving { "serving" } else { "not_serving" };
        console.show(&Health { status, agent })?;
        if serving {
            Ok(())
        } else {
            Err(Failure::new(Exit::Failed, "the agent does not serve now")
                .advise("It is starting or stopping: try again in a moment, or look at its log."))
        }
    }
}

async fn serving(link: &Link) -> Result<bool, Failure> {
    let mut health = HealthClient::with_interceptor(link.connect().await?, SecurityHeader);
    let answer = link
        .ask(health.check(HealthCheckRequest::default()))
        .await?;
    Ok(answer.status() == ServingStatus::Serving)
}

/// The agent's state; `agent/doc/cli.md` documents the fields.
#[derive(Debug, Serialize)]
struct Health {
    status: &'static str,
    #[serde(flatten)]
    agent: Option<Agent>,
}

#[derive(Debug, Serialize)]
struct Agent {
    version: String,
    trust_domain: String,
    data_dir: String,
    workload_socket: String,
    admin_socket: String,
    started_at: Option<String>,
    clients: u64,
    active_clients: u64,
    processes: u64,
    streams: u64,
    limitations: Vec<String>,
    authorities: Vec<Authority>,
    #[serde(skip)]
    started: i64,
}

#[derive(Debug, Serialize)]
struct Authority {
    kind: String,
    slot: String,
    key_id: String,
    not_before: Option<String>,
    not_after: Option<String>,
    #[serde(skip)]
    expires: i64,
}

impl From<GetInfoResponse> for Agent {
    fn from(info: GetInfoResponse) -> Self {
        let authorities = info.authorities.into_iter().map(|authority| Authority {
            kind: authority.kind,
            slot: authority.slot,
            key_id: authority.key_id,
            not_before: exact(authority.not_before),
            not_after: exact(authority.not_after),
            expires: authority.not_after,
        });
        Self {
            version: info.version,
            trust_domain: info.trust_domain,
            data_dir: info.data_dir,
            workload_socket: info.workload_socket,
            admin_socket: info.admin_socket,
            started_at: exact(info.started_at),
            clients: info.clients,
            active_clients: info.active_clients,
            processes: info.processes,
            streams: info.streams,
            limitations: info.limitations,
            authorities: authorities.collect(),
            started: info.started_at,
        }
    }
}

impl View for Health {
    fn table(&self, look: &Look) -> String {
        let mut fields = Fields::new();
        fields.add("Status", self.status.replace('_', " "));
        if let Some(agent) = &self.agent {
            agent.describe(&mut fields, look.now);
        }
        fields.render()
    }
}

impl Agent {
    fn describe(&self, fields: &mut Fields, now: i64) {
        fields.add(
            "Version",
            format!("{}, started {}", self.version, relative(self.started, now)),
        );
        fields.add("Trust domain", &self.trust_domain);
        fields.add("Data", &self.data_dir);
        fields.list("Sockets", &[&self.workload_socket, &self.admin_socket]);
        fields.add(
            "Clients",
            format!("{}, {} of them active", self.clients, self.active_clients),
        );
        let streams = count(self.streams, "stream", "streams");
        fields.add(
            "Serves",
            format!(
                "{} on {streams}",
                count(self.processes, "process", "processes")
            ),
        );
        let authorities: Vec<String> = self
            .authorities
            .iter()
            .map(|key| {
                let ends = relative(key.expires, now);
                format!("{} {}, ends {ends}, {}", key.kind, key.slot, key.key_id)
            })
            .collect();
        fields.list("Keys", &authorities);
        fields.list("Limitations", &self.limitations);
    }
}
