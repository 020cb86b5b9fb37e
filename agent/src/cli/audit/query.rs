//! `symbolon audit query` and `audit export`: lines of the trail, from the agent or from files.

use super::{
    super::{
        console::Console,
        failure::{Exit, Failure},
        socket::AdminArgs,
    },
    filter::FilterArgs,
    place, print,
    remote::Remote,
};
use crate::audit::{Filter, Found, Keep, Reader, Search, query, to_ocsf};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

/// Bytes of lines that are kept while the newest of them are looked for.
const KEPT_BYTES: usize = 256 << 20;

/// Find events in the audit trail
///
/// Asks the agent, or reads the data directory that --data-dir names. Times are compared as they
/// were recorded. `-o json` prints the trail's lines byte for byte.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon audit query --client payments --since 24h
  symbolon audit query --pid 4711 --at 2026-07-28T12:00:00Z
  symbolon audit query --event denied --uid 1000 --limit 20 -o json
  symbolon audit query --data-dir /mnt/copy --client payments")]
pub(super) struct QueryArgs {
    /// Read this data directory, or a copy of its audit folder; the agent need not run
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The newest so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    #[command(flatten)]
    filter: FilterArgs,
}

impl QueryArgs {
    pub(super) async fn run(self, admin: &AdminArgs, console: &mut Console) -> Result<(), Failure> {
        let filter = self.filter.filter(console)?;
        let is_cut = match &self.data_dir {
            Some(dir) => search_folder(dir, (&filter, self.limit), console, print)?,
            None => {
                let remote = Remote::of(admin, console).await?;
                let limit = self.limit.unwrap_or(0);
                let print = |line: &str| print(line, console);
                remote.query((filter, limit), print).await?
            }
        };
        if is_cut {
            console.tell("the lines are long: older ones within --limit are left out");
        }
        Ok(())
    }
}

/// Print the audit trail for other systems
///
/// Asks the agent, or reads the data directory that --data-dir names.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon audit export --format jsonl > trail.jsonl
  symbolon audit export --format ocsf --since 2026-07-28")]
pub(super) struct ExportArgs {
    /// Read this data directory, or a copy of its audit folder; the agent need not run
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

impl ExportFormat {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Ocsf => "ocsf",
        }
    }

    /// The event of a line.
    fn write(self, line: &str, console: &mut Console) -> Result<(), Failure> {
        match (self, to_ocsf(line)) {
            (Self::Ocsf, Some(event)) => console.write(format!("{event}\n").as_bytes()),
            (Self::Ocsf, None) => Err(Failure::new(
                Exit::Failed,
                "a line of the trail is no record",
            )),
            (Self::Jsonl, _) => console.write(format!("{line}\n").as_bytes()),
        }
    }
}

impl ExportArgs {
    pub(super) async fn run(self, admin: &AdminArgs, console: &mut Console) -> Result<(), Failure> {
        let filter = self.filter.filter(console)?;
        let format = self.format;
        if let Some(dir) = &self.data_dir {
            let write = |line: &str, console: &mut Console| format.write(line, console);
            search_folder(dir, (&filter, None), console, write)?;
            return Ok(());
        }
        let remote = Remote::of(admin, console).await?;
        let write = |event: &str| console.write(format!("{event}\n").as_bytes());
        remote.export((filter, format.as_str()), write).await
    }
}

/// Hands each line that fits to `print`; says whether older ones are left out for their size.
fn search_folder(
    dir: &Path,
    (filter, limit): (&Filter, Option<u32>),
    console: &mut Console,
    mut print: impl FnMut(&str, &mut Console) -> Result<(), Failure>,
) -> Result<bool, Failure> {
    let reader = Reader::open(&place::folder(dir)).map_err(|error| place::failed(&error))?;
    let keep = limit.map(|lines| Keep {
        lines: usize::try_from(lines).unwrap_or(usize::MAX),
        bytes: KEPT_BYTES,
    });
    let search = Search {
        keep,
        ..Search::all(filter)
    };
    let mut printed = Ok(());
    let found = query(&reader, search, |line| {
        printed = print(line, console);
        printed.is_ok()
    });
    printed?;
    let found = found.map_err(|error| place::failed(&error))?;
    Ok(found == Found::Newest)
}
