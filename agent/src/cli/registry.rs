//! `symbolon registry verify`: whether a registry, or a backup of one, can be believed.

use super::{
    console::Console,
    failure::{Exit, Failure},
    output::{Fields, Look, View, count, printable},
};
use crate::{
    backup::{BackupError, Header, Item, Reader},
    data_directory::DataLock,
    disk,
    registry::{Checkup, Flaw, RedbStore, Report, Store as _, StoreError, confirmed},
};
use clap::{Args, Subcommand};
use serde::Serialize;
use std::{
    fs::File,
    io::{self, BufReader},
    path::{Path, PathBuf},
};

/// Records that are read at a time.
const AT_ONCE: usize = 1024;

/// Look at a registry without an agent
#[derive(Args, Debug)]
pub(super) struct RegistryArgs {
    #[command(subcommand)]
    command: RegistryCommand,
}

#[derive(Debug, Subcommand)]
enum RegistryCommand {
    Verify(VerifyArgs),
}

/// Verify every record of a stopped agent's registry, or of a backup
///
/// Digests, links of versions and decisions, approvals and states, as an agent does when it
/// starts. An agent stops at the first record that it cannot believe; this tells of every client
/// which is the first. Nothing is written. Exit code 0: whole, 1: not.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon registry verify
  symbolon registry verify --data-dir /mnt/copy
  symbolon registry verify --backup symbolon-monday.jsonl -o json")]
struct VerifyArgs {
    /// The agent's data directory
    #[arg(long, value_name = "DIR", conflicts_with = "backup")]
    data_dir: Option<PathBuf>,
    /// A backup instead
    #[arg(long, value_name = "FILE")]
    backup: Option<PathBuf>,
}

impl RegistryArgs {
    pub(super) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let RegistryCommand::Verify(args) = self.command;
        let report = match &args.backup {
            Some(file) => checked(file)?.1,
            None => stopped(&data_dir(args.data_dir.as_deref(), console)?).await?,
        };
        let is_whole = report.whole;
        let found = u64::try_from(report.findings.len()).unwrap_or(u64::MAX);
        let found = found.saturating_add(report.more_findings);
        console.show(&ReportView(report))?;
        if is_whole {
            return Ok(());
        }
        let found = count(found, "record", "records");
        let text = format!("the registry is not whole: {found} cannot be believed");
        Err(Failure::new(Exit::Failed, text).advise(
            "Keep the file as it is, and put a backup in its place: `symbolon restore FILE`.",
        ))
    }
}

/// Where the data directory is.
pub(super) fn data_dir(named: Option<&Path>, console: &Console) -> Result<PathBuf, Failure> {
    let dir = named.or_else(|| console.directories.data());
    let dir = dir.map(Path::to_owned);
    dir.ok_or_else(|| Failure::new(Exit::Usage, "say where the data directory is (--data-dir)"))
}

/// The checkup of a stopped agent's registry.
async fn stopped(dir: &Path) -> Result<Report, Failure> {
    let _lock = DataLock::of_existing(dir).map_err(|error| {
        Failure::new(Exit::Failed, error.to_string()).advise(
            "A running agent has verified its registry when it started. Verify a backup of it: \
             `symbolon backup FILE` does so.",
        )
    })?;
    let path = dir.join("registry.redb");
    if !path.try_exists().unwrap_or(true) {
        let text = format!("there is no registry: {} does not exist", path.display());
        return Err(Failure::new(Exit::NotFound, text));
    }
    let failed = |error: StoreError| {
        let text = format!("{}: {error}", path.display());
        Failure::new(Exit::Failed, text).advise(error.remedy())
    };
    let store = RedbStore::glimpse(&path).await.map_err(failed)?;
    let mut checkup = Checkup::expecting(confirmed(&path).map_err(failed)?);
    let mut after = 0;
    loop {
        let records = store.read(after, AT_ONCE).await.map_err(failed)?;
        let Some(last) = records.last() else {
            return Ok(checkup.end());
        };
        after = last.revision;
        records.iter().for_each(|record| checkup.take(record));
    }
}

/// The checkup of a backup, which must be whole as a file.
pub(super) fn checked(path: &Path) -> Result<(Header, Report), Failure> {
    let failed = |error: &BackupError| {
        let exit = match error {
            BackupError::Io(error) => match error.kind() {
                io::ErrorKind::PermissionDenied => Exit::Denied,
                io::ErrorKind::NotFound => Exit::NotFound,
                _ => Exit::Failed,
            },
            _ => Exit::Failed,
        };
        let failure = Failure::new(exit, format!("{}: {error}", path.display()));
        match error {
            BackupError::Io(error) => failure.advise(disk::remedy(error)),
            _ => failure.advise("Use another backup."),
        }
    };
    let file = File::open(path).map_err(|error| failed(&error.into()))?;
    let mut reader = Reader::begin(BufReader::new(file)).map_err(|error| failed(&error))?;
    let mut checkup = Checkup::default();
    while let Some(item) = reader.item().map_err(|error| failed(&error))? {
        if let Item::Record(record) = item {
            checkup.take(&record);
        }
    }
    Ok((reader.header().clone(), checkup.end()))
}

/// What was found; `agent/doc/cli.md` documents the fields.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct ReportView(Report);

impl View for ReportView {
    fn table(&self, _: &Look) -> String {
        let report = &self.0;
        let clients = u64::try_from(report.clients).unwrap_or(u64::MAX);
        let mut fields = Fields::new();
        fields.add(
            "Trust domain",
            report.trust_domain.as_deref().unwrap_or_default(),
        );
        fields.add("Changes", report.revision.to_string());
        fields.add("Clients", clients.to_string());
        if let Some(digest) = report.digest {
            fields.add("Last digest", digest.to_string());
        }
        let mut out = fields.render();
        for flaw in &report.findings {
            out.push_str(&line(flaw));
        }
        if report.more_findings > 0 {
            out.push_str(&format!("and {} more\n", report.more_findings));
        }
        if report.whole {
            out.push_str("The registry is whole.\n");
        }
        out
    }
}

/// `revision 7, client "payments": its content does not have its digest`
fn line(flaw: &Flaw) -> String {
    let of = flaw.client.as_ref();
    let of = of.map_or_else(String::new, |client| format!(", client {client:?}"));
    printable(&format!("revision {}{of}: {}", flaw.revision, flaw.what)) + "\n"
}
