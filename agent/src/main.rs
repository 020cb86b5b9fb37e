//! The `symbolon` binary.
//!
//! It hands the process's arguments and console to [`symbolon_agent::cli`],
//! and the subcommands that start an agent to the composition root.

use std::process::ExitCode;
use symbolon_agent::{
    app::{run_agent, run_demo},
    cli::{self, Console, Daemons},
};

fn main() -> ExitCode {
    let daemons = Daemons {
        agent: run_agent,
        demo: run_demo,
    };
    cli::run(std::env::args_os(), &daemons, &mut Console::of_process())
}
