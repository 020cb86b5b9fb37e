//! From records to lines.

use super::{End, Header};
use crate::{
    canonical::{self, CanonicalError},
    registry::Record,
};
use aws_lc_rs::digest::{Context, SHA256};
use serde::Serialize;
use std::fmt::{self, Debug, Formatter};

/// Makes the lines of one backup; each method gives those that it adds.
pub struct Writer {
    lines: u64,
    sum: Context,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    Backup(&'a Header),
    End(&'a End),
}

impl Writer {
    /// Begins a backup: its first lines.
    ///
    /// # Errors
    /// Where the header has no canonical form.
    pub fn begin(
        header: &Header,
        checkpoint: Option<&[u8]>,
    ) -> Result<(Self, Vec<u8>), CanonicalError> {
        let mut writer = Self {
            lines: 0,
            sum: Context::new(&SHA256),
        };
        let mut out = Vec::new();
        writer.line(&[&canonical::to_vec(&Line::Backup(header))?], &mut out);
        if let Some(checkpoint) = checkpoint {
            writer.line(&[b"{\"checkpoint\":", checkpoint, b"}"], &mut out);
        }
        Ok((writer, out))
    }

    /// Adds records, byte for byte.
    pub fn records(&mut self, records: &[Record]) -> Vec<u8> {
        let mut out = Vec::new();
        for record in records {
            let before = format!(
                "{{\"record\":{{\"digest\":\"{}\",\"document\":",
                record.digest
            );
            let after = format!(",\"revision\":{}}}}}", record.revision);
            let parts = [before.as_bytes(), &record.document, after.as_bytes()];
            self.line(&parts, &mut out);
        }
        out
    }

    /// The last line.
    ///
    /// # Errors
    /// Never, as far as is known: it has a canonical form.
    pub fn end(self) -> Result<Vec<u8>, CanonicalError> {
        let end = End {
            lines: self.lines,
            sha256: canonical::hex(self.sum.finish().as_ref()),
        };
        let mut out = canonical::to_vec(&Line::End(&end))?;
        out.push(b'\n');
        Ok(out)
    }

    fn line(&mut self, parts: &[&[u8]], out: &mut Vec<u8>) {
        for part in parts.iter().copied().chain([&b"\n"[..]]) {
            self.sum.update(part);
            out.extend_from_slice(part);
        }
        self.lines += 1;
    }
}

impl Debug for Writer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("lines", &self.lines)
            .finish_non_exhaustive()
    }
}
