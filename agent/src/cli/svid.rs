//! `symbolon svid`: the SVIDs that the agent issues to this very command.
//!
//! The agent attests the process that calls, which here is `symbolon` itself:
//! a registration that fits this binary lends its identity to whoever may run
//! it. Meant for programs without SPIFFE support (`x509 --write --watch`) and
//! for looking at what a registration gives.

mod document;
mod files;
mod notify;
mod pem;
mod token;
mod watch;
mod x509;

use super::{console::Console, failure::Failure, socket::WorkloadArgs};
use clap::{Args, Subcommand};

/// Fetch SVIDs for this process
#[derive(Args, Debug)]
pub(super) struct SvidArgs {
    #[command(flatten)]
    workload: WorkloadArgs,
    #[command(subcommand)]
    command: SvidCommand,
}

#[derive(Debug, Subcommand)]
enum SvidCommand {
    X509(x509::X509Args),
    Jwt(token::JwtArgs),
    Wit(token::WitArgs),
}

impl SvidArgs {
    pub(super) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let link = self.workload.link(console);
        match self.command {
            SvidCommand::X509(args) => args.run(&link, console).await,
            SvidCommand::Jwt(args) => args.run(&link, console).await,
            SvidCommand::Wit(args) => args.run(&link, console).await,
        }
    }
}
