//! `symbolon backup` and `symbolon restore`: the registry in a file, and back.
//!
//! A backup comes from the running agent, by the admin socket; what it holds is
//! verified before it gets its name. Restoring needs no agent but its absence.

use super::{
    console::Console,
    failure::{Exit, Failure},
    output::{Fields, Look, View, count},
    registry::checked,
    socket::{AdminArgs, Link},
};
use crate::{
    backup::{self, Outcome, Previous, RestoreError, RestoreOptions, Restored},
    data_directory::DataDirectoryError,
    disk,
    registry::{NO_LOGIN, Report},
};
use clap::Args;
use serde::Serialize;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};
use symbolon_proto::admin::BackupRequest;

/// What stands for standard input or output.
const STREAM: &str = "-";

/// Write the registry of the running agent to a file
///
/// Registrations, their versions, approvals and states, as they are now, with the newest signed
/// checkpoint of the audit trail. No secrets: signing keys stay where they are
/// (agent/doc/backup.md says what else to keep). What was written is verified before FILE gets
/// its name.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon backup /srv/backup/symbolon-monday.jsonl
  symbolon backup - | zstd > symbolon.jsonl.zst")]
pub(super) struct BackupArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// Where to; `-` is standard output, which is not verified
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace FILE if it is there
    #[arg(long)]
    force: bool,
}

impl BackupArgs {
    pub(super) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let link = self.admin.link(console);
        if self.file.as_os_str() == STREAM {
            return receive(&link, &mut console.stdout).await;
        }
        if self.file.exists() && !self.force {
            let text = format!("{} is there already", self.file.display());
            return Err(Failure::new(Exit::Usage, text).advise("--force replaces it."));
        }
        let part = appended(&self.file, ".part");
        let written = write(&link, &part).await;
        let report = written.inspect_err(|_| fs::remove_file(&part).unwrap_or_default())?;
        fs::rename(&part, &self.file).map_err(|error| broken(&self.file, &error))?;
        let directory = self.file.parent().filter(|dir| !dir.as_os_str().is_empty());
        let synced = File::open(directory.unwrap_or_else(|| Path::new(".")));
        let synced = synced.and_then(|directory| directory.sync_all());
        synced.map_err(|error| broken(&self.file, &error))?;
        console.show(&BackupView {
            file: self.file.display().to_string(),
            revision: report.revision,
            digest: report.digest.map(|digest| digest.to_string()),
            clients: report.clients,
            trust_domain: report.trust_domain,
        })
    }
}

fn appended(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Writes the backup to a new file, makes it durable and reads it again.
async fn write(link: &Link, path: &Path) -> Result<Report, Failure> {
    // What an interrupted one has left.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(broken(path, &error)),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(|error| broken(path, &error))?;
    receive(link, &mut file).await?;
    file.sync_all().map_err(|error| broken(path, &error))?;
    let (_, report) = checked(path)?;
    match report.findings.first() {
        None => Ok(report),
        Some(flaw) => Err(Failure::new(
            Exit::Failed,
            format!(
                "the backup has a record that cannot be believed: revision {}: {}",
                flaw.revision, flaw.what
            ),
        )),
    }
}

async fn receive(link: &Link, to: &mut impl Write) -> Result<(), Failure> {
    let mut admin = link.admin().await?;
    let mut pieces = link.ask(admin.backup(BackupRequest {})).await?;
    while let Some(piece) = link.within(pieces.message()).await? {
        to.write_all(&piece.data)?;
    }
    Ok(to.flush()?)
}

fn broken(path: &Path, error: &io::Error) -> Failure {
    let exit = match error.kind() {
        io::ErrorKind::PermissionDenied => Exit::Denied,
        io::ErrorKind::NotFound => Exit::NotFound,
        _ => Exit::Failed,
    };
    Failure::new(exit, format!("{}: {error}", path.display()))
}

/// What was backed up; `agent/doc/cli.md` documents the fields.
#[derive(Debug, Serialize)]
struct BackupView {
    file: String,
    revision: u64,
    digest: Option<String>,
    clients: usize,
    trust_domain: Option<String>,
}

impl View for BackupView {
    fn table(&self, _: &Look) -> String {
        let clients = u64::try_from(self.clients).unwrap_or(u64::MAX);
        format!(
            "{} has {} of {}, verified.\n",
            self.file,
            count(self.revision, "change", "changes"),
            count(clients, "client", "clients"),
        )
    }
}

/// Put a backup in the place of a stopped agent's registry
///
/// Verifies the backup by the rules by which an agent starts, and holds it against the registry
/// that is there: one that has changes which the backup lacks is replaced with --allow-older
/// only, since a client that was revoked after the backup would be active again. The registry
/// that was there is kept beside the new one. The next start of the agent records in the audit
/// trail what was restored, and by whom.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon restore /srv/backup/symbolon-monday.jsonl --dry-run
  symbolon restore /srv/backup/symbolon-monday.jsonl
  zstd -dc symbolon.jsonl.zst | symbolon restore - --data-dir /var/lib/symbolon")]
pub(super) struct RestoreArgs {
    /// The backup; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The agent's data directory
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Restore it also where changes are lost that it lacks
    #[arg(long)]
    allow_older: bool,
    /// Only verify the backup and say what would be done
    #[arg(long)]
    dry_run: bool,
}

impl RestoreArgs {
    pub(super) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let data_dir = super::registry::data_dir(self.data_dir.as_deref(), console)?;
        let options = RestoreOptions {
            data_dir,
            allow_older: self.allow_older,
            dry_run: self.dry_run,
            uid: rustix::process::getuid().as_raw(),
            login: login(),
        };
        let clock = Arc::clone(&console.clock);
        let source: &mut dyn BufRead = if self.file.as_os_str() == STREAM {
            &mut console.stdin
        } else {
            let file = File::open(&self.file).map_err(|error| broken(&self.file, &error))?;
            &mut BufReader::new(file)
        };
        let restored = Box::pin(backup::restore(source, &options, &clock)).await;
        let (outcome, restored) = restored.map_err(|error| refused(&error))?;
        let is_older = restored.lost != Some(0) && !self.allow_older;
        let needs_allow_older = (outcome == Outcome::WouldRestore).then_some(is_older);
        console.show(&RestoreView {
            outcome,
            needs_allow_older,
            restored,
        })
    }
}

/// The user who logged in to become this process.
fn login() -> Option<u32> {
    let text = fs::read_to_string("/proc/self/loginuid").ok()?;
    let login = text.trim().parse().ok()?;
    Some(login).filter(|login| *login != NO_LOGIN)
}

fn refused(error: &RestoreError) -> Failure {
    let exit = match error {
        RestoreError::Directory(DataDirectoryError::Foreign(..)) => Exit::Denied,
        _ => Exit::Failed,
    };
    let failure = Failure::new(exit, format!("nothing was restored: {error}"));
    match error {
        RestoreError::Older { .. } | RestoreError::Unknown { .. } => failure.advise(
            "Look for a newer backup. With --allow-older these changes are lost: what was \
             suspended or revoked by them is active again.",
        ),
        RestoreError::Record(..) => {
            failure.advise("`symbolon registry verify --backup FILE` tells of all such records.")
        }
        RestoreError::TrustDomain { .. } | RestoreError::Backup(_) => {
            failure.advise("Use another backup.")
        }
        RestoreError::Store(error) => failure.advise(error.remedy()),
        RestoreError::Directory(DataDirectoryError::InUse(_)) => {
            failure.advise("Stop the agent first; it starts with what was restored.")
        }
        RestoreError::Directory(DataDirectoryError::Lock(_, error)) => {
            failure.advise(disk::remedy(error))
        }
        RestoreError::Directory(_) | RestoreError::Note(_) => failure,
    }
}

/// What was restored; `agent/doc/cli.md` documents the fields.
#[derive(Debug, Serialize)]
struct RestoreView {
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    needs_allow_older: Option<bool>,
    #[serde(flatten)]
    restored: Restored,
}

impl View for RestoreView {
    fn table(&self, _: &Look) -> String {
        let restored = &self.restored;
        if self.outcome == Outcome::Unchanged {
            return "The registry that is there has what the backup has: nothing was done.\n"
                .into();
        }
        let mut fields = Fields::new();
        fields.add("Backup of", &restored.backup_created_at);
        let changes = count(restored.revision, "change", "changes");
        let clients = count(restored.clients, "client", "clients");
        let is_done = self.outcome == Outcome::Restored;
        let restored_or = |done, would| if is_done { done } else { would };
        fields.add(
            restored_or("Restored", "Would restore"),
            format!("{changes} of {clients}"),
        );
        let lost = match restored.lost {
            Some(0) => "nothing".to_owned(),
            Some(lost) => format!(
                "{}, which the backup lacks",
                count(lost, "change", "changes")
            ),
            None => "cannot be told: what was there could not be read".to_owned(),
        };
        fields.add(restored_or("Lost", "Would lose"), lost);
        if is_done && restored.previous != Previous::None {
            fields.add("Kept", restored.kept_as.clone().unwrap_or_default());
        }
        let next = match self.needs_allow_older {
            None => "start the agent: it records this in the audit trail",
            Some(false) => "nothing was done; without --dry-run it is restored",
            Some(true) => {
                "nothing was done; without --dry-run it is refused, unless --allow-older is given"
            }
        };
        fields.add("Next", next);
        fields.render()
    }
}
