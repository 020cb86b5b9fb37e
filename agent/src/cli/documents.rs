//! What the program tells about itself: `version`, `completions` and `man`.

use super::{
    console::Console,
    failure::Failure,
    output::{Look, View},
};
use anyhow::Context as _;
use clap::{Args, Command};
use serde::Serialize;
use std::path::PathBuf;

/// Show the version of this program
#[derive(Args, Debug)]
pub(super) struct VersionArgs {}

#[derive(Debug, Serialize)]
struct Version {
    name: &'static str,
    version: &'static str,
}

impl VersionArgs {
    #[expect(clippy::unused_self, reason = "commands run alike")]
    pub(super) fn run(self, console: &mut Console) -> Result<(), Failure> {
        console.show(&Version {
            name: "symbolon",
            version: env!("CARGO_PKG_VERSION"),
        })
    }
}

impl View for Version {
    fn table(&self, _: &Look) -> String {
        format!("{} {}\n", self.name, self.version)
    }
}

/// Print a completion script for a shell
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon completions bash > /usr/share/bash-completion/completions/symbolon
  symbolon completions zsh > \"${fpath[1]}/_symbolon\"
  symbolon completions fish > ~/.config/fish/completions/symbolon.fish")]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

impl CompletionsArgs {
    pub(super) fn run(self, mut program: Command, console: &mut Console) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut program, "symbolon", &mut script);
        console.write(&script)
    }
}

/// Print the manual page, or write one for each subcommand
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon man | man -l -
  symbolon man --dir /usr/local/share/man/man1")]
pub(super) struct ManArgs {
    /// Write symbolon.1, symbolon-client.1 and so on to this directory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl ManArgs {
    pub(super) fn run(self, program: Command, console: &mut Console) -> Result<(), Failure> {
        if let Some(dir) = self.dir {
            clap_mangen::generate_to(program, &dir)
                .with_context(|| format!("cannot write to {}", dir.display()))?;
            return Ok(());
        }
        let mut page = Vec::new();
        clap_mangen::Man::new(program)
            .render(&mut page)
            .context("cannot write the manual page")?;
        console.write(&page)
    }
}
