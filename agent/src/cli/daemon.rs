//! The arguments of `agent` and `demo`, whose bodies the composition root supplies.

use clap::Args;
use std::path::PathBuf;

/// Run the agent
///
/// What is given here goes before the environment (`SYMBOLON_*`), and that
/// before the configuration file. The agent runs in the foreground until it
/// gets SIGTERM or SIGINT; SIGHUP reloads the configuration.
#[derive(Args, Clone, Debug, Default)]
#[command(after_long_help = "\
Examples:
  symbolon agent --trust-domain example.org
  symbolon agent --config /etc/symbolon/agent.toml --check")]
pub struct AgentArgs {
    /// Configuration file [default: /etc/symbolon/agent.toml, as a user ~/.config/symbolon/agent.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Trust domain, the first part of every SPIFFE ID: example.org
    #[arg(long, value_name = "TD")]
    pub trust_domain: Option<String>,
    /// Directory of keys, registrations and audit trail
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Socket that workloads call; any local process may connect
    #[arg(long, value_name = "PATH")]
    pub workload_socket: Option<PathBuf>,
    /// Socket that operators call
    #[arg(long, value_name = "PATH")]
    pub admin_socket: Option<PathBuf>,
    /// Check the configuration and exit
    #[arg(long)]
    pub check: bool,
}

/// Show the whole thing in a temporary directory
///
/// Starts an agent with short lifetimes, registers an example client by the
/// digest of its program, and shows issuing, renewal, refusal and suspension.
/// Needs no configuration and no privilege, and leaves nothing behind.
#[derive(Args, Clone, Debug, Default)]
pub struct DemoArgs {
    /// Leave the agent running and tell how to talk to it
    #[arg(long)]
    pub keep: bool,
}
