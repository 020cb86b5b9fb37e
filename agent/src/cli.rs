//! The command line: every subcommand but `agent` and `demo` is a client of a socket.
//!
//! Owns the arguments, the texts and the output of `symbolon`. `client`,
//! `federation`, `bundle`, `attest`, `audit`, `backup`, `whoami` and `health --details` ask the admin socket;
//! `restore` and `registry` the data directory of a stopped agent;
//! `svid`, `jwt`, `token` and `health` the workload socket, where they are attested as
//! the `symbolon` program itself. What an agent answers is believed, but never
//! printed raw: control characters in names and paths are made visible, since
//! other users choose some of them.
//!
//! Invariants: results go to standard output, everything else to standard
//! error; the exit codes and the names in JSON output are a contract
//! (`agent/doc/cli.md`); a private key leaves only through `svid x509 --write`
//! and `svid wit --show-key`. Failures are sentences with a next step, made in
//! `failure` alone. `agent` and `demo` only parse here; [`Daemons`] has their
//! bodies, because the composition root lies above this module.

mod attest;
mod audit;
mod backup;
mod bundle;
mod client;
mod console;
mod daemon;
mod documents;
mod failure;
mod federation;
mod finding;
mod health;
mod jwt;
mod moment;
mod output;
mod registry;
mod socket;
mod svid;
mod token;
mod whoami;

#[cfg(test)]
mod tests;

use clap::{CommandFactory as _, Parser, Subcommand};
use failure::{Exit, Failure};
use output::Format;
use std::{ffi::OsString, process::ExitCode};

pub use console::Console;
pub use daemon::{AgentArgs, DemoArgs};
#[cfg(fuzzing)]
pub use token::fuzzing as token_fuzzing;

/// The subcommands that start an agent, supplied by the composition root.
#[derive(Clone, Copy, Debug)]
pub struct Daemons {
    /// Runs `symbolon agent` until it is told to stop.
    pub agent: fn(AgentArgs) -> ExitCode,
    /// Runs `symbolon demo`.
    pub demo: fn(DemoArgs) -> ExitCode,
}

/// Workload identities (SPIFFE) for MCP clients on this machine.
///
/// An agent attests the process on the other end of a Unix socket, matches it
/// with a registered client and issues short-lived SVIDs.
#[derive(Debug, Parser)]
#[command(name = "symbolon", version, arg_required_else_help = true)]
#[command(subcommand_required = true, after_long_help = EXIT_CODES)]
struct Cli {
    /// How results are printed: table by default, json and yaml for programs
    #[arg(short, long, value_enum, value_name = "FORMAT", global = true, help_heading = COMMON)]
    output: Option<Format>,
    #[command(subcommand)]
    command: Command,
}

/// Heading of the options that every client command has.
const COMMON: &str = "Common options";

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed
  2  wrong usage
  3  denied
  4  not found
  5  the agent cannot be reached
  6  changes would be made (client apply --dry-run)

First steps:
  symbolon demo
  symbolon agent --trust-domain example.org
  symbolon client register payments --owner alice --from-pid 4711
  symbolon svid x509";

#[derive(Debug, Subcommand)]
enum Command {
    Agent(AgentArgs),
    Demo(DemoArgs),
    Client(Box<client::ClientArgs>),
    Svid(svid::SvidArgs),
    Jwt(jwt::JwtArgs),
    Token(token::TokenArgs),
    Bundle(bundle::BundleArgs),
    Federation(federation::FederationArgs),
    Attest(attest::AttestArgs),
    Audit(audit::AuditArgs),
    Backup(backup::BackupArgs),
    Restore(backup::RestoreArgs),
    Registry(registry::RegistryArgs),
    Health(health::HealthArgs),
    Whoami(whoami::WhoamiArgs),
    Version(documents::VersionArgs),
    Completions(documents::CompletionsArgs),
    Man(documents::ManArgs),
}

/// Parses `arguments` (the program's name first), does what they say and tells the exit code.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    daemons: &Daemons,
    console: &mut Console,
) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return console.usage(&error),
    };
    console.format = cli.output;
    let result = match cli.command {
        Command::Agent(args) => return (daemons.agent)(args),
        Command::Demo(args) => return (daemons.demo)(args),
        Command::Version(args) => args.run(console),
        Command::Completions(args) => args.run(Cli::command(), console),
        Command::Man(args) => args.run(Cli::command(), console),
        command => ask(command, console),
    };
    match result {
        Ok(()) | Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Err(Failure::Told { exit, told }) => {
            console.tell(&told.to_string());
            exit.into()
        }
    }
}

/// Runs a command that talks to an agent.
fn ask(command: Command, console: &mut Console) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("no runtime: {error}")))?;
    runtime.block_on(async {
        match command {
            Command::Client(args) => args.run(console).await,
            Command::Svid(args) => Box::pin(args.run(console)).await,
            Command::Jwt(args) => args.run(console).await,
            Command::Token(args) => Box::pin(args.run(console)).await,
            Command::Bundle(args) => args.run(console).await,
            Command::Federation(args) => args.run(console).await,
            Command::Attest(args) => args.run(console).await,
            Command::Audit(args) => args.run(console).await,
            Command::Backup(args) => Box::pin(args.run(console)).await,
            Command::Restore(args) => args.run(console).await,
            Command::Registry(args) => Box::pin(args.run(console)).await,
            Command::Health(args) => args.run(console).await,
            Command::Whoami(args) => args.run(console).await,
            // The others need no runtime; `run` has taken them.
            Command::Agent(_)
            | Command::Demo(_)
            | Command::Version(_)
            | Command::Completions(_)
            | Command::Man(_) => Ok(()),
        }
    })
}
