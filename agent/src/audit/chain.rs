//! The link between a line and the one before it, and the two chains of lines.

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize, Serializer};
use std::fmt::{self, Display, Formatter};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Digits in a segment's name.
const DIGITS: usize = 8;

const EXTENSION: &str = ".jsonl";

/// One of the two chains, each with segments, numbers and digests of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Chain {
    /// What was issued, withdrawn and administered: nothing of it is ever left out.
    Trail,
    /// What callers without an identity can cause: within rates and a budget of bytes.
    Callers,
}

impl Chain {
    /// Both, the trail itself first.
    pub const ALL: [Self; 2] = [Self::Trail, Self::Callers];

    /// `trail` or `callers`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trail => "trail",
            Self::Callers => "callers",
        }
    }

    const fn prefix(self) -> &'static str {
        match self {
            Self::Trail => "",
            Self::Callers => "callers-",
        }
    }

    /// The name of one of its segments.
    #[must_use]
    pub fn file_name(self, number: u32) -> String {
        format!("{}{number:0DIGITS$}{EXTENSION}", self.prefix())
    }

    /// The number of the segment with this name, if it is one of its segments.
    #[must_use]
    pub fn number_of(self, name: &str) -> Option<u32> {
        let digits = name
            .strip_prefix(self.prefix())?
            .strip_suffix(EXTENSION)
            .filter(|digits| digits.len() == DIGITS)?;
        let plain = digits.bytes().all(|digit| digit.is_ascii_digit());
        plain.then(|| digits.parse().ok()).flatten()
    }
}

/// SHA-256 of a line without its line feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest([u8; digest::SHA256_OUTPUT_LEN]);

impl Digest {
    /// What the first line has in place of a previous line's digest.
    pub const GENESIS: Self = Self([0; digest::SHA256_OUTPUT_LEN]);

    /// The digest of `line`.
    #[must_use]
    pub fn of(line: &[u8]) -> Self {
        let mut bytes = Self::GENESIS.0;
        bytes.copy_from_slice(digest::digest(&digest::SHA256, line).as_ref());
        Self(bytes)
    }

    /// In lower-case hexadecimal.
    #[must_use]
    pub fn hex(self) -> String {
        let digit = |half: u8| char::from(HEX.get(usize::from(half)).copied().unwrap_or(b'0'));
        self.0
            .iter()
            .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
            .collect()
    }

    /// Whether `text` is this digest in lower-case hexadecimal; without building that.
    #[must_use]
    pub fn is_hex(self, text: &str) -> bool {
        let digit = |half: u8| HEX.get(usize::from(half)).copied();
        let expected = self.0.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        text.len() == 2 * self.0.len()
            && expected
                .zip(text.bytes())
                .all(|(half, found)| digit(half) == Some(found))
    }
}

impl Display for Digest {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.hex())
    }
}

/// Where a chain ends: what the next line has to refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Head {
    /// Digest of the last line.
    pub digest: Digest,
    /// Number of the last line; 0 before the first one.
    pub seq: u64,
}

impl Head {
    /// The end of an empty chain.
    pub const GENESIS: Self = Self {
        seq: 0,
        digest: Digest::GENESIS,
    };
}

/// The fields of a line that make the chain.
#[derive(Debug, Deserialize)]
pub struct Link<'a> {
    /// The line's number.
    pub seq: u64,
    /// Digest of the line before, in hexadecimal.
    pub prev: &'a str,
    /// When it was recorded.
    pub time: &'a str,
}

impl<'a> Link<'a> {
    /// The link of `line`, if it is a record.
    #[must_use]
    pub fn of(line: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }
}

/// A place in a chain's segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The segment's number.
    pub segment: u32,
    /// Bytes of that segment before the place.
    pub offset: u64,
}

#[cfg(test)]
mod tests {
    use super::{Chain, Digest};

    #[test]
    fn only_segments_names_are_segments() {
        for (chain, name, number) in [
            (Chain::Trail, "00000001.jsonl", Some(1)),
            (Chain::Trail, "00012345.jsonl", Some(12_345)),
            (Chain::Callers, "callers-00000007.jsonl", Some(7)),
            (Chain::Trail, "callers-00000007.jsonl", None),
            (Chain::Callers, "00000001.jsonl", None),
            (Chain::Trail, "1.jsonl", None),
            (Chain::Trail, "+0000001.jsonl", None),
            (Chain::Trail, "00000001.jsonl.gz", None),
            (Chain::Trail, "000000001.jsonl", None),
        ] {
            assert_eq!(chain.number_of(name), number, "{name}");
            if let Some(number) = number {
                assert_eq!(chain.file_name(number), name);
            }
        }
    }

    #[test]
    fn digests_are_compared_with_their_text() {
        let digest = Digest::of(b"a line");
        assert!(digest.is_hex(&digest.hex()));
        assert!(!digest.is_hex(&digest.hex().to_uppercase()));
        assert!(!digest.is_hex(&Digest::of(b"another").hex()));
        assert!(!digest.is_hex(""));
    }
}
