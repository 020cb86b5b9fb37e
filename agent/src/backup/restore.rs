//! A backup in the place of a stopped agent's registry.
//!
//! Everything is verified first, by the rules by which an agent starts, and held
//! against what the data directory has: changes that the backup lacks are lost by
//! restoring it, and so it is refused unless that is asked for. The new file
//! takes the old one's place in one step; the old one stays under another name.
//! A note goes with the new file, which the next agent records in the audit trail
//! before it serves, and which says who has done it.

use super::{BackupError, Header, Item, Reader, moment};
use crate::{
    clock::{SharedClock, unix_seconds},
    data_directory::{DataDirectoryError, DataLock},
    registry::{
        Checkup, Digest, Rebuild, Record, RedbStore, Report, Store as _, StoreError, confirmed,
    },
};
use serde::{Deserialize, Serialize};
use std::{
    io::BufRead,
    path::{Path, PathBuf},
};

/// Records that are written and compared at a time.
const AT_ONCE: usize = 512;

/// What to restore into, and by whom.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// The data directory of a stopped agent, or one that is to be.
    pub data_dir: PathBuf,
    /// Whether changes may be lost that the backup lacks.
    pub allow_older: bool,
    /// Whether only to find out what would be done.
    pub dry_run: bool,
    /// The user who does it.
    pub uid: u32,
    /// Who logged in to become that user, where the kernel knows.
    pub login: Option<u32>,
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The data directory cannot be had.
    #[error(transparent)]
    Directory(#[from] DataDirectoryError),
    /// The backup cannot be believed.
    #[error("the backup: {0}")]
    Backup(#[from] BackupError),
    /// It has records that cannot be believed.
    #[error("the backup has a record that cannot be believed: revision {0}: {1}")]
    Record(u64, String),
    /// It is not what it says.
    #[error("the backup says that it is of trust domain {said}, and its records are of {found}")]
    TrustDomain {
        /// What its first line says.
        said: String,
        /// Whose its clients are.
        found: String,
    },
    /// There are changes that the backup lacks.
    #[error(
        "the registry that is there has {lost} changes that the backup lacks, from revision {first} \
         on; the backup ends with revision {revision}"
    )]
    Older {
        /// How many.
        lost: u64,
        /// The first of them.
        first: u64,
        /// The backup's last revision.
        revision: u64,
    },
    /// It cannot be told whether there are changes that the backup lacks.
    #[error(
        "the registry that is there cannot be read ({why}), so it may have changes that the backup \
         lacks{}", known(*.confirmed)
    )]
    Unknown {
        /// Why it cannot be read.
        why: String,
        /// The last revision that was confirmed, as far as it was noted.
        confirmed: Option<u64>,
    },
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A bug.
    #[error("the note has no form: {0}")]
    Note(#[from] serde_json::Error),
}

fn known(confirmed: Option<u64>) -> String {
    confirmed.map_or_else(String::new, |revision| {
        format!("; revision {revision} was confirmed")
    })
}

/// What the data directory had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Previous {
    /// No registry.
    None,
    /// One that could be read.
    Read,
    /// One that could not.
    Unreadable,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The backup's records are the registry now.
    Restored,
    /// They were already.
    Unchanged,
    /// They would be, if it were no dry run.
    WouldRestore,
}

/// What was restored, and what the trail will tell of it. Fields stand in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// When the backup was made.
    pub backup_created_at: String,
    /// SHA-256 of the backup but its last line.
    pub backup_sha256: String,
    /// The newest checkpoint of the trail of then, as in the backup.
    pub checkpoint: Option<serde_json::Value>,
    /// How many clients there are now.
    pub clients: u64,
    /// The digest of the last record.
    pub digest: Option<Digest>,
    /// How the registry that was there is called now.
    pub kept_as: Option<String>,
    /// The login of who did it, where the kernel knows.
    pub login: Option<u32>,
    /// How many changes are lost; none where that cannot be told.
    pub lost: Option<u64>,
    /// What was there.
    pub previous: Previous,
    /// The last revision that was there, as far as it is known.
    pub previous_revision: Option<u64>,
    /// The last revision now.
    pub revision: u64,
    /// When it was restored, RFC 3339.
    pub time: String,
    /// The user who did it.
    pub uid: u32,
}

/// Restores the backup that `source` has, while `lock` keeps agents away. A dry run does all of it
/// but the last step, and tells of what would be lost where that is refused otherwise.
///
/// # Errors
/// Where it must not be done or cannot be; then the data directory is as it was.
pub async fn restore<R: BufRead>(
    source: R,
    options: &RestoreOptions,
    clock: &SharedClock,
) -> Result<(Outcome, Restored), RestoreError> {
    let _lock = DataLock::of(&options.data_dir)?;
    let path = options.data_dir.join("registry.redb");
    let mut reader = Reader::begin(source)?;
    let mut there = There::of(&path).await?;
    let mut rebuild = Rebuild::begin(&path)?;
    let taken = take(&mut reader, &mut there, &mut rebuild).await;
    let judged = taken.and_then(|(report, checkpoint)| {
        let judged = there.judge(&report, options.allow_older || options.dry_run)?;
        Ok((report, checkpoint, judged))
    });
    let (report, checkpoint, judged) = match judged {
        Ok(judged) => judged,
        Err(error) => {
            rebuild.give_up();
            return Err(error);
        }
    };
    let now = clock.now();
    let aside = free_name(&path, unix_seconds(now));
    let kept_as = aside.file_name().and_then(|name| name.to_str());
    let kept_as = kept_as.filter(|_| there.previous != Previous::None);
    let restored = restored(
        (reader.header(), reader.sha256()),
        report,
        (&there, judged.lost),
        options,
    );
    let restored = Restored {
        checkpoint,
        kept_as: kept_as.map(str::to_owned),
        time: moment(now),
        ..restored
    };
    if options.dry_run && !judged.is_same {
        rebuild.give_up();
        return Ok((Outcome::WouldRestore, restored));
    }
    if judged.is_same {
        rebuild.give_up();
        let kept_as = None;
        return Ok((
            Outcome::Unchanged,
            Restored {
                kept_as,
                ..restored
            },
        ));
    }
    rebuild.publish(&serde_json::to_string(&restored)?, &aside)?;
    Ok((Outcome::Restored, restored))
}

/// A name for what is there that nothing has.
fn free_name(path: &Path, mut number: u64) -> PathBuf {
    loop {
        let name = path.with_extension(format!("redb.replaced-{number}"));
        if name.symlink_metadata().is_err() {
            return name;
        }
        number += 1;
    }
}

fn restored(
    (header, sha256): (&Header, Option<&str>),
    report: Report,
    (there, lost): (&There, Option<u64>),
    options: &RestoreOptions,
) -> Restored {
    Restored {
        backup_created_at: header.created_at.clone(),
        backup_sha256: sha256.unwrap_or_default().to_owned(),
        checkpoint: None,
        clients: u64::try_from(report.clients).unwrap_or(u64::MAX),
        digest: report.digest,
        kept_as: None,
        login: options.login,
        lost,
        previous: there.previous,
        previous_revision: there.last.or_else(|| there.confirmed.map(|(last, _)| last)),
        revision: report.revision,
        time: String::new(),
        uid: options.uid,
    }
}

/// Takes all of the backup, holding it against what is there.
async fn take<R: BufRead>(
    reader: &mut Reader<R>,
    there: &mut There,
    rebuild: &mut Rebuild,
) -> Result<(Report, Option<serde_json::Value>), RestoreError> {
    let mut checkup = Checkup::default();
    let (mut batch, mut checkpoint) = (Vec::new(), None);
    loop {
        let item = reader.item()?;
        let is_end = item.is_none();
        match item {
            Some(Item::Record(record)) => {
                checkup.take(&record);
                batch.push(record);
            }
            Some(Item::Checkpoint(line)) => checkpoint = serde_json::from_str(&line).ok(),
            None => {}
        }
        if is_end || batch.len() == AT_ONCE {
            there.compare(&batch).await?;
            rebuild.append(&batch)?;
            batch.clear();
        }
        if is_end {
            break;
        }
    }
    let report = checkup.end();
    if let Some(flaw) = report.findings.first() {
        return Err(RestoreError::Record(flaw.revision, flaw.what.clone()));
    }
    if let Some(domain) = &report.trust_domain
        && *domain != reader.header().trust_domain
    {
        let said = reader.header().trust_domain.clone();
        let found = domain.clone();
        return Err(RestoreError::TrustDomain { said, found });
    }
    Ok((report, checkpoint))
}

/// The registry that is there.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a finding of its own about the same file"
)]
struct There {
    store: Option<RedbStore>,
    previous: Previous,
    why: String,
    /// Its last revision.
    last: Option<u64>,
    confirmed: Option<(u64, Digest)>,
    has_confirmed: bool,
    /// Up to which revision it has the backup's records.
    common: u64,
    differs: bool,
    is_damaged: bool,
}

/// What restoring means for it.
struct Judged {
    lost: Option<u64>,
    is_same: bool,
}

impl There {
    async fn of(path: &Path) -> Result<Self, RestoreError> {
        let confirmed = confirmed(path)?;
        let is_there = path.symlink_metadata().is_ok();
        let opened = match is_there {
            true => RedbStore::glimpse(path).await.map(Some),
            false => Ok(None),
        };
        let (store, why) = match opened {
            Ok(store) => (store, String::new()),
            // The disk may get better: nothing is known yet.
            Err(error @ StoreError::Unavailable(_)) => return Err(error.into()),
            Err(error) => (None, error.to_string()),
        };
        let previous = match (&store, is_there, confirmed) {
            (Some(_), ..) => Previous::Read,
            (None, false, None) => Previous::None,
            (None, ..) => Previous::Unreadable,
        };
        let why = match (is_there, confirmed) {
            (false, Some(_)) => "it is gone".to_owned(),
            _ => why,
        };
        Ok(Self {
            last: store.as_ref().map(|store| *store.changes().borrow()),
            store,
            previous,
            why,
            confirmed,
            has_confirmed: false,
            common: 0,
            differs: false,
            is_damaged: false,
        })
    }

    /// Goes on along the backup's records.
    async fn compare(&mut self, records: &[Record]) -> Result<(), RestoreError> {
        let is_confirmed = |record: &Record| {
            self.confirmed
                .is_some_and(|it| it == (record.revision, record.digest))
        };
        self.has_confirmed |= records.iter().any(is_confirmed);
        let Some(store) = self.store.as_ref().filter(|_| !self.differs) else {
            return Ok(());
        };
        let mut rest = records;
        while let (Some(first), false) = (rest.first(), self.differs) {
            let own = match store
                .read(first.revision.saturating_sub(1), rest.len())
                .await
            {
                Ok(own) => own,
                Err(error) => {
                    self.lose_sight(&error);
                    return Ok(());
                }
            };
            if own.is_empty() {
                return Ok(());
            }
            for (own, of_backup) in own.iter().zip(rest) {
                if own.digest != of_backup.digest {
                    self.differs = true;
                    return Ok(());
                }
                // It was this record, and is not what was written any more.
                self.is_damaged |= own.document != of_backup.document;
                self.common = own.revision;
            }
            rest = rest.get(own.len()..).unwrap_or_default();
        }
        Ok(())
    }

    /// It turned out to be unreadable.
    fn lose_sight(&mut self, error: &StoreError) {
        self.why = error.to_string();
        self.store = None;
        self.last = None;
        self.previous = Previous::Unreadable;
    }

    fn judge(&self, report: &Report, allow_older: bool) -> Result<Judged, RestoreError> {
        let lacks_confirmed = self.confirmed.is_some() && !self.has_confirmed;
        let lost = match self.last {
            Some(last) => Some(last.saturating_sub(self.common)),
            None if self.confirmed.is_some() && !lacks_confirmed => Some(0),
            None if self.previous == Previous::None => Some(0),
            None => None,
        };
        // What was confirmed is lost even where what is there does not have it any more.
        let unseen = self.confirmed.filter(|_| lacks_confirmed);
        let unseen = unseen.map_or(0, |(confirmed, _)| {
            confirmed.saturating_sub(self.common).max(1)
        });
        let lost = lost.map(|lost| lost.max(unseen));
        let has_all = self.last == Some(report.revision) && lost == Some(0);
        let is_same = has_all && !self.is_damaged;
        match lost {
            Some(lost) if lost > 0 && !allow_older => Err(RestoreError::Older {
                lost,
                first: self.common + 1,
                revision: report.revision,
            }),
            None if !allow_older => Err(self.unknown()),
            _ => Ok(Judged {
                lost,
                is_same: is_same && !lacks_confirmed,
            }),
        }
    }

    fn unknown(&self) -> RestoreError {
        RestoreError::Unknown {
            why: if self.why.is_empty() {
                "it lacks what was confirmed".to_owned()
            } else {
                self.why.clone()
            },
            confirmed: self.confirmed.map(|(revision, _)| revision),
        }
    }
}
