//! `symbolon audit query` and `audit export`: lines of the trail, without an agent.

use super::{
    super::{
        console::Console,
        failure::{Exit, Failure},
    },
    filter::FilterArgs,
    place, print,
};
use crate::audit::{Filter, Reader, query, to_ocsf};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

/// Find events in the audit trail
///
/// Reads the data directory; the agent need not run. Times are compared as they were
/// recorded. `-o json` prints the trail's lines byte for byte.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon audit query --client payments --since 24h
  symbolon audit query --pid 4711 --at 2026-07-28T12:00:00Z
  symbolon audit query --event denied --uid 1000 --limit 20 -o json")]
pub(super) struct QueryArgs {
    /// The agent's data directory, or a copy of its audit folder
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The newest so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    filter: FilterArgs,
}

impl QueryArgs {
    pub(super) fn run(self, console: &mut Console) -> Result<(), Failure> {
        let filter = self.filter.filter(console)?;
        let search = (&filter, self.limit);
        search_folder(self.data_dir.as_deref(), search, console, print)
    }
}

/// Print the audit trail for other systems
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon audit export --format jsonl > trail.jsonl
  symbolon audit export --format ocsf --since 2026-07-28")]
pub(super) struct ExportArgs {
    /// The agent's data directory, or a copy of its audit folder
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// In which form
    #[arg(long, value_enum)]
    format: ExportFormat,
    #[command(flatten)]
    filter: FilterArgs,
}

/// The forms of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ExportFormat {
    /// The trail's lines, byte for byte
    Jsonl,
    /// Events of the Open Cybersecurity Schema Framework
    Ocsf,
}

impl ExportArgs {
    pub(super) fn run(self, console: &mut Console) -> Result<(), Failure> {
        let filter = self.filter.filter(console)?;
        let format = self.format;
        search_folder(
            self.data_dir.as_deref(),
            (&filter, None),
            console,
            |line, console| match (format, to_ocsf(line)) {
                (ExportFormat::Ocsf, Some(event)) => console.write(format!("{event}\n").as_bytes()),
                (ExportFormat::Ocsf, None) => Err(Failure::new(
                    Exit::Failed,
                    "a line of the trail is no record",
                )),
                (ExportFormat::Jsonl, _) => console.write(format!("{line}\n").as_bytes()),
            },
        )
    }
}

/// Hands each line that fits to `print`.
fn search_folder(
    data_dir: Option<&Path>,
    (filter, limit): (&Filter, Option<usize>),
    console: &mut Console,
    mut print: impl FnMut(&str, &mut Console) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let dir = place::folder(data_dir, console)?;
    let reader = Reader::open(&dir).map_err(|error| place::failed(&error))?;
    let mut printed = Ok(());
    query(&reader, filter, limit, |line| {
        printed = print(line, console);
        printed.is_ok()
    })
    .map_err(|error| place::failed(&error))?;
    printed
}
