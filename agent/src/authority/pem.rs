//! PEM (RFC 7468) for certificates and operator-supplied keys.
//!
//! Keys are read here and not with a general crate because the base64 text and
//! its decoded bytes are secrets and have to be zeroed.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

/// Characters in a line (RFC 7468, section 2).
const LINE: usize = 64;
const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// Why a file is not PEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// A block is not closed, or closed under another label.
    #[error("a PEM block is not closed")]
    Unclosed,
    /// A block's content is not base64.
    #[error("a PEM block is not base64")]
    Encoding,
}

/// One block of a PEM file.
pub(super) struct Block<'a> {
    /// `CERTIFICATE`, `PRIVATE KEY` ...
    pub(super) label: &'a str,
    /// What it holds; perhaps a secret.
    pub(super) content: Zeroizing<Vec<u8>>,
}

/// The blocks of `text`, in order. Text outside of blocks is ignored (RFC 7468, section 2).
pub(super) fn blocks(text: &str) -> Result<Vec<Block<'_>>, PemError> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim_end);
    while let Some(line) = lines.next() {
        let Some(label) = label(line, BEGIN) else {
            continue;
        };
        // Room for all of it at once, so that no copy is left behind by growth.
        let mut base64 = Zeroizing::new(String::with_capacity(text.len()));
        loop {
            let line = lines.next().ok_or(PemError::Unclosed)?;
            if line.starts_with(DASHES) {
                if self::label(line, END) != Some(label) {
                    return Err(PemError::Unclosed);
                }
                break;
            }
            base64.push_str(line.trim_start());
        }
        let mut content = Zeroizing::new(vec![0; base64.len().div_ceil(4) * 3]);
        let length = STANDARD
            .decode_slice(base64.as_bytes(), &mut content)
            .map_err(|_malformed| PemError::Encoding)?;
        content.truncate(length);
        blocks.push(Block { label, content });
    }
    Ok(blocks)
}

fn label<'a>(line: &'a str, prefix: &str) -> Option<&'a str> {
    line.strip_prefix(prefix)?.strip_suffix(DASHES)
}

/// A certificate as a PEM block.
pub(super) fn certificate(der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let mut out = String::with_capacity(base64.len() + base64.len() / LINE + 64);
    out.push_str("-----BEGIN CERTIFICATE-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII, so every index is a boundary.
        let (line, after) = rest.split_at_checked(LINE).unwrap_or((rest, ""));
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}

#[cfg(test)]
mod tests {
    use super::{PemError, blocks, certificate};

    fn read(text: &str) -> Result<Vec<(String, Vec<u8>)>, PemError> {
        let own = |block: super::Block<'_>| (block.label.to_owned(), block.content.to_vec());
        Ok(blocks(text)?.into_iter().map(own).collect())
    }

    #[test]
    fn what_is_written_is_read() {
        for length in [0, 1, 47, 48, 49, 1000] {
            let der = vec![7; length];
            let text = certificate(&der);
            assert!(text.lines().all(|line| line.len() <= 64));
            assert_eq!(
                read(&text).unwrap(),
                [("CERTIFICATE".to_owned(), der)],
                "{length}"
            );
        }
    }

    #[test]
    fn text_around_blocks_and_carriage_returns_are_ignored() {
        let text = "a comment\r\n-----BEGIN A-----\r\nAQ\r\nID\r\n-----END A-----\r\nmore\n\
                    -----BEGIN B-----\n-----END B-----\n";
        assert_eq!(
            read(text).unwrap(),
            [("A".to_owned(), vec![1, 2, 3]), ("B".to_owned(), vec![])]
        );
        assert_eq!(read("").unwrap(), []);
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for (text, error) in [
            ("-----BEGIN A-----\nAQID\n", PemError::Unclosed),
            (
                "-----BEGIN A-----\nAQID\n-----END B-----\n",
                PemError::Unclosed,
            ),
            (
                "-----BEGIN A-----\n-----BEGIN A-----\n-----END A-----\n",
                PemError::Unclosed,
            ),
            (
                "-----BEGIN A-----\nAQI\n-----END A-----\n",
                PemError::Encoding,
            ),
            (
                "-----BEGIN A-----\nProc-Type: 4,ENCRYPTED\n-----END A-----\n",
                PemError::Encoding,
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), error, "{text}");
        }
    }
}
