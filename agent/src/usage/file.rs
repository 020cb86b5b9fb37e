//! The file that outlives the agent.

use super::{Noted, Usage};
use crate::{
    clock::{SharedClock, unix_seconds},
    registry::{ClientName, limits::LATEST_SECONDS},
};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::sleep;

/// How often it is written at most: what a crash loses.
const PAUSE: Duration = Duration::from_secs(60);

/// Most bytes that are read: a quarter of a million clients with the longest names take a third.
const MAX_BYTES: u64 = 64 << 20;

/// What this agent writes; others are not read.
const FORMAT: u32 = 1;

/// Where the uses are written.
#[derive(Debug)]
pub struct UsageFile {
    path: PathBuf,
    usage: Usage,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u32,
    last_used: BTreeMap<String, u64>,
    since: u64,
}

/// Why a file is not believed.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it has more than {MAX_BYTES} bytes")]
    TooLarge,
    #[error("it is not what an agent writes: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("it has format {0}, and this agent knows {FORMAT}")]
    Format(u32),
    #[error("it has a name or time that no client has")]
    Content,
}

impl UsageFile {
    /// What the file knows; where it cannot be believed, uses are noted from now on, and the log
    /// says so. Reads a file: not for an async thread.
    #[must_use]
    pub fn open(path: PathBuf, clock: &SharedClock) -> Self {
        let now = clock.now();
        let usage = match read(&path, unix_seconds(now)) {
            Ok(Some(noted)) => Usage::of(noted),
            Ok(None) => Usage::new(now),
            Err(fault) => {
                tracing::warn!(path = %path.display(), %fault,
                    "when clients were used last is forgotten; it is noted from now on");
                Usage::new(now)
            }
        };
        Self { path, usage }
    }

    /// Nothing was used until now, whatever the file says.
    #[must_use]
    pub fn beginning(path: PathBuf, clock: &SharedClock) -> Self {
        let usage = Usage::new(clock.now());
        Self { path, usage }
    }

    /// What it tells.
    #[must_use]
    pub const fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Writes what is new, in one step. Blocks its thread.
    ///
    /// # Errors
    /// Where it cannot be written; the file is what it was, and the next time has it all.
    pub fn save(&self) -> io::Result<()> {
        let Some(noted) = self.usage.take_changed() else {
            return Ok(());
        };
        write(&self.path, noted).inspect_err(|_unwritten| self.usage.note_unwritten())
    }

    /// Writes what is new each minute. Never returns.
    pub async fn run(self: std::sync::Arc<Self>) {
        let mut fails = false;
        loop {
            sleep(PAUSE).await;
            let this = std::sync::Arc::clone(&self);
            let saved = tokio::task::spawn_blocking(move || this.save()).await;
            let failed = match saved {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_panicked) => Some("writing failed".to_owned()),
            };
            // Once, not each minute.
            if let Some(error) = failed.as_ref().filter(|_| !fails) {
                tracing::warn!(path = %self.path.display(), error,
                    "when clients were used last cannot be written; it is tried each minute");
            }
            fails = failed.is_some();
        }
    }
}

/// None where there is no file.
fn read(path: &Path, now: u64) -> Result<Option<Noted>, Fault> {
    // Neither through a link, nor waiting for whoever writes to a pipe.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let flags = i32::try_from(flags).unwrap_or_default();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut text = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(Fault::TooLarge);
    }
    parse(&text, now).map(Some)
}

fn parse(text: &[u8], now: u64) -> Result<Noted, Fault> {
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    let head: Head = serde_json::from_slice(text)?;
    if head.format != FORMAT {
        return Err(Fault::Format(head.format));
    }
    let document: Document = serde_json::from_slice(text)?;
    let mut last = BTreeMap::new();
    for (name, at) in document.last_used {
        let name: ClientName = name.parse().map_err(|_no_name| Fault::Content)?;
        if at > LATEST_SECONDS {
            return Err(Fault::Content);
        }
        last.insert(name, at);
    }
    Ok(Noted {
        // Of a clock that was ahead, nothing is known between then and now.
        since: document.since.min(now),
        last,
        is_changed: false,
    })
}

fn write(path: &Path, noted: Noted) -> io::Result<()> {
    let last = noted.last.into_iter();
    let document = Document {
        format: FORMAT,
        last_used: last.map(|(name, at)| (name.to_string(), at)).collect(),
        since: noted.since,
    };
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    // Left by a crash, or put there: either way not ours to write into.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let written = write_new(&new, &document).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // A full disk should not keep a part of it.
        fs::remove_file(&new).unwrap_or_default();
    }
    written
}

fn write_new(path: &Path, document: &Document) -> io::Result<()> {
    let options = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let mut file = BufWriter::new(options);
    serde_json::to_writer(&mut file, document)?;
    file.write_all(b"\n")?;
    let file: File = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()
}
