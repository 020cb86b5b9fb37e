//! The link between a line and the one before it.

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize, Serializer};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// SHA-256 of a line without its line feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest([u8; digest::SHA256_OUTPUT_LEN]);

impl Digest {
    /// What the first line has in place of a previous line's digest.
    pub(super) const GENESIS: Self = Self([0; digest::SHA256_OUTPUT_LEN]);

    /// The digest of `line`.
    pub(super) fn of(line: &[u8]) -> Self {
        let mut bytes = Self::GENESIS.0;
        bytes.copy_from_slice(digest::digest(&digest::SHA256, line).as_ref());
        Self(bytes)
    }

    /// In lower-case hexadecimal.
    pub(super) fn hex(self) -> String {
        let digit = |half: u8| char::from(HEX.get(usize::from(half)).copied().unwrap_or(b'0'));
        self.0
            .iter()
            .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
            .collect()
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.hex())
    }
}

/// Where the trail ends: what the next line has to refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Number of the last line; 0 before the first one.
    pub(super) seq: u64,
    /// Digest of the last line.
    pub(super) digest: Digest,
}

impl Head {
    /// The end of an empty trail.
    pub(super) const GENESIS: Self = Self {
        seq: 0,
        digest: Digest::GENESIS,
    };
}

/// The fields of a line that make the chain.
#[derive(Debug, Deserialize)]
pub(super) struct Link<'a> {
    /// The line's number.
    pub(super) seq: u64,
    /// Digest of the line before, in hexadecimal.
    pub(super) prev: &'a str,
}

impl<'a> Link<'a> {
    /// The link of `line`, if it is a record.
    pub(super) fn of(line: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }
}
