//! Whether a trail is the one that was written, without an agent.
//!
//! Reads both chains once and holds them against themselves (numbers, links, form) and
//! against the checkpoints in their folder and in files from elsewhere. What is believed
//! rests on one public key: checkpoints that it signed, and keys that are announced in
//! lines which those checkpoints cover. Everything else is material to doubt. Memory is
//! bounded but for the checkpoints, of which at most 64 MiB are read of each file.
//!
//! What it cannot tell is told as a note: an older copy of everything fits itself, unless
//! a checkpoint from elsewhere knows better; and so does an end that was cut off after
//! the last checkpoint.

mod form;
mod record;
mod report;
#[cfg(test)]
mod tests;
mod vouch;
mod walk;

pub use report::{Finding, Place, Problem};

use super::{AuditError, CHECKPOINTS_FILE, Chain, OLDER_CHECKPOINTS_FILE, PUBLIC_KEY_FILE, Reader};
use crate::{
    audit::{CheckpointKey, checkpoint::older},
    svid::PublicKey,
};
use report::Report;
use serde::Serialize;
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use vouch::Vouchers;
use walk::{End, Walk};

/// Bytes of a public key's file at most.
const MAX_KEY_BYTES: usize = 16 * 1024;

/// What a trail is held against.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// The exported public key; without it that in the trail's folder.
    pub public_key: Option<PathBuf>,
    /// Files of checkpoints from elsewhere.
    pub checkpoints: Vec<PathBuf>,
}

/// What verification says.
#[derive(Clone, Debug, Serialize)]
pub struct Verification {
    /// Whether nothing was found.
    pub whole: bool,
    /// What was found, chain by chain, at most a hundred.
    pub findings: Vec<Finding>,
    /// How many more were found.
    pub more_findings: u64,
    /// What was read of each chain.
    pub chains: Vec<ChainSummary>,
    /// Checkpoints that are signed and fit.
    pub checkpoints: u64,
    /// What cannot be told.
    pub notes: Vec<String>,
}

/// What was read of a chain.
#[derive(Clone, Debug, Serialize)]
pub struct ChainSummary {
    /// `trail` or `callers`.
    pub chain: &'static str,
    /// How many segments.
    pub segments: usize,
    /// How many lines.
    pub lines: u64,
    /// The number of the first line that is there; 0 where there is none.
    pub first_seq: u64,
    /// The number of the last line.
    pub last_seq: u64,
    /// When the last line was recorded.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_time: String,
    /// Up to where checkpoints vouch for it; 0 where they do not.
    pub signed_seq: u64,
}

/// Holds the trail in the folder `dir` against itself and its checkpoints.
///
/// # Errors
/// Where the folder, the key or a file of checkpoints cannot be read at all. What is
/// wrong with the trail is no error but the result.
pub fn verify(dir: &Path, options: &VerifyOptions) -> Result<Verification, AuditError> {
    let given = options.public_key.as_deref().map(read_key).transpose()?;
    let own = dir.join(PUBLIC_KEY_FILE);
    let key = match given {
        Some(key) => Some(key),
        None if own.exists() => Some(read_key(&own)?),
        None => None,
    };
    let mut report = Report::default();
    // Before the chains are: those of a running agent may only be longer than that.
    let mut vouchers = Vouchers::default();
    for name in [OLDER_CHECKPOINTS_FILE, CHECKPOINTS_FILE] {
        vouchers.read(&dir.join(name), true)?;
    }
    for path in &options.checkpoints {
        let before = vouchers.len();
        // An agent puts its second place aside once that is large.
        let older = older(path);
        if older.is_file() {
            vouchers.read(&older, false)?;
        }
        vouchers.read(path, false)?;
        if vouchers.len() == before && !vouchers.knows(path) {
            return Err(AuditError::Io {
                step: "find a checkpoint in",
                path: path.clone(),
                source: io::Error::from(io::ErrorKind::InvalidData).into(),
            });
        }
    }
    let reader = Reader::open(dir)?;
    let ends = Chain::ALL.map(|chain| walk(&reader, chain, &vouchers, &mut report));
    let vouched = vouchers.judge(key.as_ref(), &ends, &mut report);
    let notes = notes(options, &vouchers, &ends, &vouched);
    Ok(Verification {
        whole: report.findings.is_empty(),
        findings: report.findings,
        more_findings: report.left_out,
        chains: Chain::ALL
            .into_iter()
            .zip(&ends)
            .zip(vouched.signed_seqs)
            .map(|((chain, end), signed_seq)| ChainSummary {
                chain: chain.as_str(),
                segments: reader.segments(chain).count(),
                lines: end.lines,
                first_seq: end.first_seq,
                last_seq: end.last_seq,
                last_time: end.last_time.clone(),
                signed_seq,
            })
            .collect(),
        checkpoints: vouched.fitting,
        notes,
    })
}

/// The public key in a file as `symbolon audit key` prints it.
fn read_key(path: &Path) -> Result<PublicKey, AuditError> {
    let text = fs::read(path).map_err(AuditError::io("read", path))?;
    let text = text
        .get(..text.len().min(MAX_KEY_BYTES))
        .unwrap_or_default();
    CheckpointKey::from_pem(&String::from_utf8_lossy(text)).map_err(AuditError::key)
}

fn walk(reader: &Reader, chain: Chain, vouchers: &Vouchers, report: &mut Report) -> End {
    let marks = vouchers.marks(chain);
    let mut walk = Walk::new(chain, &marks, report);
    let last = reader.segments(chain).next_back().map(|s| s.number);
    let mut lines = reader.lines(chain);
    let mut segment = reader.segments(chain).next().map_or(0, |s| s.number);
    loop {
        match lines.next_line() {
            Ok(Some(line)) => {
                segment = line.segment.number;
                walk.line(&line, Some(segment) == last);
            }
            Ok(None) => return walk.finish(),
            Err(error) => {
                let number = match &error {
                    AuditError::Io { path, .. } | AuditError::Damaged { path, .. } => {
                        number_of(chain, path)
                    }
                    _ => None,
                };
                walk.unreadable(number.unwrap_or(segment), &error.to_string());
            }
        }
    }
}

fn number_of(chain: Chain, path: &Path) -> Option<u32> {
    chain.number_of(path.file_name()?.to_str()?)
}

/// What this verification cannot tell.
fn notes(
    options: &VerifyOptions,
    vouchers: &Vouchers,
    ends: &[End; 2],
    vouched: &vouch::Vouched,
) -> Vec<String> {
    let mut notes = Vec::new();
    if options.checkpoints.is_empty() {
        notes.push(
            "it cannot be excluded that an older copy of everything was put back: for that, name \
             the second place of the checkpoints (audit.checkpoint_file) with --checkpoint"
                .to_owned(),
        );
    }
    if options.public_key.is_none() {
        notes.push(
            "the public key was taken from the folder of the trail: whoever wrote all of it anew \
             could have replaced the key, too; name a copy from elsewhere with --public-key"
                .to_owned(),
        );
    }
    for ((chain, end), signed) in Chain::ALL.into_iter().zip(ends).zip(vouched.signed_seqs) {
        let behind = end.last_seq.saturating_sub(signed);
        if behind > 0 {
            notes.push(format!(
                "chain {}: no checkpoint covers the last {behind} lines yet: that none were cut \
                 off after them cannot be told",
                chain.as_str()
            ));
        }
        if end.is_torn {
            notes.push(format!(
                "chain {}: the last line is half-written: the agent writes it now, or crashed",
                chain.as_str()
            ));
        }
    }
    if vouched.unknown > 0 {
        notes.push(format!(
            "{} checkpoints were signed with an earlier key, whose announcement was removed with \
             old segments: they are not counted",
            vouched.unknown
        ));
    }
    notes.extend(vouchers.notes.iter().cloned());
    notes
}
