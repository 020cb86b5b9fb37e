//! Signed words on where both chains ended at a time.
//!
//! Checkpoints lie outside of the segments, and in a second place of the
//! operator's choice: whoever cuts off the end of a chain, or puts an older copy
//! of it back, would have to do so there as well. Each is canonical JSON, signed
//! with ES256 by a key that signs nothing else.

mod key;
mod mirror;

pub use key::{CheckpointKey, CheckpointKeyError};
pub(super) use key::{KeyStore, Keys};
pub(super) use mirror::{Mirror, older};

use super::{
    AuditError,
    chain::{Chain, Digest, Head},
    event::rfc3339,
    folder::Folder,
};
use crate::{canonical, svid::PublicKey};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// The file in the trail's folder that has the newest checkpoints; not a segment.
pub const CHECKPOINTS_FILE: &str = "checkpoints";

/// The file that has those before them.
pub const OLDER_CHECKPOINTS_FILE: &str = "checkpoints.old";

/// The file that has the public key, in PEM.
pub const PUBLIC_KEY_FILE: &str = "checkpoint.pub";

/// Bytes of a file of checkpoints before the next is begun: some ten thousand.
const MAX_FILE_BYTES: u64 = 8 << 20;

/// Bytes of one checkpoint at most.
const MAX_CHECKPOINT_BYTES: u64 = 4096;

/// How checkpoints are made.
#[derive(Clone, Debug)]
pub struct CheckpointConfig {
    /// The directory of the agent's keys.
    pub keys: PathBuf,
    /// A second place for checkpoints.
    pub file: Option<PathBuf>,
    /// After so many records.
    pub records: u64,
    /// And after so much time, where there are new records.
    pub interval: Duration,
    /// How long a key signs.
    pub key_ttl: Duration,
}

impl CheckpointConfig {
    /// As it is shipped.
    #[must_use]
    pub const fn new(keys: PathBuf) -> Self {
        Self {
            keys,
            file: None,
            records: 1_000,
            interval: Duration::from_secs(10),
            key_ttl: Duration::from_secs(365 * 24 * 60 * 60),
        }
    }
}

/// Where the chains ended, before it is signed. Fields stand in the order of their names.
#[derive(Clone, Debug, Serialize)]
struct Statement<'a> {
    chains: Heads,
    key_id: &'a str,
    #[serde(serialize_with = "rfc3339")]
    time: SystemTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Heads {
    pub(super) callers: Head,
    pub(super) trail: Head,
}

/// A checkpoint as it was read; nothing of it is believed before [`Self::is_signed_by`].
#[derive(Clone, Debug, Deserialize)]
pub struct Checkpoint {
    chains: ReadHeads,
    /// The thumbprint of the key that signed it (RFC 7638).
    pub key_id: String,
    /// When it was made.
    pub time: String,
    signature: String,
    #[serde(skip)]
    signed: Vec<u8>,
}

#[derive(Clone, Debug, Deserialize)]
struct ReadHeads {
    callers: ReadHead,
    trail: ReadHead,
}

/// Where a chain ended, as a checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ReadHead {
    /// The digest of the last line, in lower-case hexadecimal.
    pub digest: String,
    /// The number of the last line; 0 before the first one.
    pub seq: u64,
}

impl ReadHead {
    /// Whether the chain ended there with a line of this digest.
    #[must_use]
    pub fn is(&self, digest: Digest) -> bool {
        digest.is_hex(&self.digest)
    }
}

impl Checkpoint {
    /// A line of a file of checkpoints; none where it is none.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        let mut value: Value = serde_json::from_slice(line).ok()?;
        let mut checkpoint: Self = serde_json::from_value(value.clone()).ok()?;
        value.as_object_mut()?.remove("signature")?;
        checkpoint.signed = canonical::to_vec(&value).ok()?;
        Some(checkpoint)
    }

    /// Whether this key signed it.
    #[must_use]
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        let Ok(signature) = URL_SAFE_NO_PAD.decode(&self.signature) else {
            return false;
        };
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.point())
            .verify(&self.signed, &signature)
            .is_ok()
    }

    /// Where it says that a chain ended.
    #[must_use]
    pub const fn head(&self, chain: Chain) -> &ReadHead {
        match chain {
            Chain::Trail => &self.chains.trail,
            Chain::Callers => &self.chains.callers,
        }
    }
}

/// The line of a checkpoint, with its line feed.
pub(super) fn signed(
    heads: Heads,
    key: &CheckpointKey,
    time: SystemTime,
) -> Result<Vec<u8>, CheckpointKeyError> {
    let statement = Statement {
        chains: heads,
        key_id: key.id(),
        time,
    };
    let bytes = canonical::to_vec(&statement)?;
    let signature = URL_SAFE_NO_PAD.encode(key.sign(&bytes)?);
    let mut value: Value =
        serde_json::from_slice(&bytes).map_err(canonical::CanonicalError::from)?;
    if let Some(fields) = value.as_object_mut() {
        fields.insert("signature".to_owned(), signature.into());
    }
    let mut line = canonical::to_vec(&value)?;
    line.push(b'\n');
    Ok(line)
}

/// Appends a checkpoint to the file in the trail's folder, and makes it durable.
pub(super) fn append(folder: &Folder, line: &[u8]) -> io::Result<()> {
    let mut file = folder.open_file(CHECKPOINTS_FILE, OFlags::empty())?;
    if file.metadata()?.len() >= MAX_FILE_BYTES {
        folder.rename(CHECKPOINTS_FILE, OLDER_CHECKPOINTS_FILE)?;
        file = folder.open_file(CHECKPOINTS_FILE, OFlags::empty())?;
        folder.sync()?;
    }
    append_to(&mut file, line)
}

/// A half-written line of before must not spoil this one.
fn append_to(file: &mut File, line: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::FileExt as _;
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let mut last = [b'\n'];
    if let Some(at) = length.checked_sub(1)
        && file.read_exact_at(&mut last, at).is_ok()
        && last != *b"\n"
    {
        file.write_all(b"\n")?;
    }
    file.write_all(line)?;
    file.sync_data()
}

/// The newest checkpoint in the trail's folder.
pub(super) fn newest(dir: &Path) -> Result<Option<Checkpoint>, AuditError> {
    let line = newest_line(dir)?;
    Ok(line.as_deref().and_then(Checkpoint::parse))
}

/// Its line.
pub(super) fn newest_line(dir: &Path) -> Result<Option<Vec<u8>>, AuditError> {
    use std::os::unix::fs::FileExt as _;
    let path = dir.join(CHECKPOINTS_FILE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(AuditError::io("open", path)(error)),
    };
    let length = file
        .metadata()
        .map_err(AuditError::io("look at", &path))?
        .len();
    let start = length.saturating_sub(2 * MAX_CHECKPOINT_BYTES);
    let mut bytes = vec![0; usize::try_from(length - start).unwrap_or(0)];
    file.read_exact_at(&mut bytes, start)
        .map_err(AuditError::io("read", &path))?;
    let mut lines = bytes.rsplit(|byte| *byte == b'\n');
    let newest = lines.find(|line| Checkpoint::parse(line).is_some());
    Ok(newest.map(<[u8]>::to_vec))
}

#[cfg(test)]
mod tests;
