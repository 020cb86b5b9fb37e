//! From lines to records, each held against its digest, and all against the last line.

use super::{End, FORMAT, Header, MAX_LINE};
use crate::{
    canonical,
    registry::{Digest, Record},
};
use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{
    fmt::{self, Debug, Formatter},
    io::{self, BufRead, Read as _},
};

/// Why a file is not a backup, or not a whole one.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It is something else.
    #[error("it is no backup that `symbolon backup` wrote")]
    NoBackup,
    /// A newer agent has made it.
    #[error("it has format {0}, and this version knows no later than {FORMAT}")]
    Newer(u32),
    /// It ends too early.
    #[error("it is cut off after line {0}")]
    CutOff(u64),
    /// A line is not what was written.
    #[error("its line {line} is damaged: {what}")]
    Damaged {
        /// Which line, from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// Something stands behind its end.
    #[error("something stands behind its end")]
    Longer,
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// What a line holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// The newest checkpoint of the audit trail: a line of its file.
    Checkpoint(String),
    /// A record of the registry's log.
    Record(Record),
}

/// Reads a backup from its beginning.
pub struct Reader<R> {
    source: R,
    header: Header,
    lines: u64,
    sum: Context,
    /// SHA-256 of the whole backup but its last line, once that was read.
    ended: Option<String>,
    last: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line<'a> {
    Backup(Header),
    #[serde(borrow)]
    Checkpoint(&'a RawValue),
    #[serde(borrow)]
    Record(RecordLine<'a>),
    End(End),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordLine<'a> {
    digest: Digest,
    #[serde(borrow)]
    document: &'a RawValue,
    revision: u64,
}

/// Enough of a header to tell that it is a newer one.
#[derive(Deserialize)]
struct AnyHeader {
    backup: AnyFormat,
}

#[derive(Deserialize)]
struct AnyFormat {
    format: u32,
}

impl<R: BufRead> Reader<R> {
    /// Reads the first line.
    ///
    /// # Errors
    /// Where that is none of a backup.
    pub fn begin(mut source: R) -> Result<Self, BackupError> {
        let bytes = line_of(&mut source)?.ok_or(BackupError::NoBackup)?;
        let text = bytes.strip_suffix(b"\n").ok_or(BackupError::NoBackup)?;
        let any: AnyHeader =
            serde_json::from_slice(text).map_err(|_other| BackupError::NoBackup)?;
        if any.backup.format != FORMAT {
            return Err(BackupError::Newer(any.backup.format));
        }
        let Ok(Line::Backup(header)) = serde_json::from_slice(text) else {
            return Err(BackupError::NoBackup);
        };
        let mut sum = Context::new(&SHA256);
        sum.update(&bytes);
        Ok(Self {
            source,
            header,
            lines: 1,
            sum,
            ended: None,
            last: 0,
        })
    }

    /// What the backup says of itself; to be believed once [`Self::sha256`] gives something.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The digest that its last line has, once the end was reached and all before it is as written.
    pub fn sha256(&self) -> Option<&str> {
        self.ended.as_deref()
    }

    /// The next item; `None` at the end.
    ///
    /// # Errors
    /// Where the backup is damaged or cut off.
    pub fn item(&mut self) -> Result<Option<Item>, BackupError> {
        if self.ended.is_some() {
            return Ok(None);
        }
        let bytes = line_of(&mut self.source)?.ok_or(BackupError::CutOff(self.lines))?;
        let text = bytes
            .strip_suffix(b"\n")
            .ok_or(BackupError::CutOff(self.lines))?;
        let line = serde_json::from_slice(text);
        let line = line.map_err(|error| self.damaged(&error.to_string()))?;
        let item = match line {
            Line::Backup(_) => return Err(self.damaged("a second beginning")),
            Line::Checkpoint(line) => Item::Checkpoint(line.get().to_owned()),
            Line::Record(line) => Item::Record(self.record(&line)?),
            Line::End(end) => {
                self.end(&end)?;
                return Ok(None);
            }
        };
        self.sum.update(&bytes);
        self.lines += 1;
        Ok(Some(item))
    }

    fn record(&mut self, line: &RecordLine<'_>) -> Result<Record, BackupError> {
        let document = line.document.get();
        if Digest::of(document.as_bytes()) != line.digest {
            return Err(self.damaged("the record does not have its digest"));
        }
        if line.revision != self.last + 1 {
            let what = format!("revision {} follows {}", line.revision, self.last);
            return Err(self.damaged(&what));
        }
        self.last = line.revision;
        Ok(Record {
            revision: line.revision,
            digest: line.digest,
            document: Bytes::copy_from_slice(document.as_bytes()),
        })
    }

    fn end(&mut self, end: &End) -> Result<(), BackupError> {
        let sum = canonical::hex(self.sum.clone().finish().as_ref());
        if end.sha256 != sum || end.lines != self.lines {
            return Err(self.damaged("lines were changed, or are missing"));
        }
        if self.last != self.header.revision {
            return Err(self.damaged("it does not end where its beginning says"));
        }
        if !self.source.fill_buf()?.is_empty() {
            return Err(BackupError::Longer);
        }
        self.ended = Some(sum);
        Ok(())
    }

    fn damaged(&self, what: &str) -> BackupError {
        BackupError::Damaged {
            line: self.lines + 1,
            what: what.to_owned(),
        }
    }
}

/// The next line with its line feed, if any.
fn line_of(source: &mut impl BufRead) -> Result<Option<Vec<u8>>, BackupError> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
    source.take(limit).read_until(b'\n', &mut bytes)?;
    if bytes.len() >= MAX_LINE && !bytes.ends_with(b"\n") {
        return Err(BackupError::NoBackup);
    }
    Ok((!bytes.is_empty()).then_some(bytes))
}

impl<R> Debug for Reader<R> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("header", &self.header)
            .field("lines", &self.lines)
            .finish_non_exhaustive()
    }
}
