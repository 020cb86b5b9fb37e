//! PEM (RFC 7468) from DER: what `svid x509` writes and shows.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};
use zeroize::Zeroizing;

/// Base64 characters on a line (RFC 7468, section 2).
const LINE: usize = 64;

/// One block.
pub(super) fn block(label: &str, der: &[u8]) -> Zeroizing<String> {
    let text = Zeroizing::new(STANDARD.encode(der));
    // All room at once, so that a key leaves no copy behind in a grown buffer.
    let mut out = String::with_capacity(text.len() + text.len() / LINE + 2 * label.len() + 34);
    out.push_str("-----BEGIN ");
    out.push_str(label);
    out.push_str("-----\n");
    for (index, c) in text.chars().enumerate() {
        if index > 0 && index % LINE == 0 {
            out.push('\n');
        }
        out.push(c);
    }
    out.push_str("\n-----END ");
    out.push_str(label);
    out.push_str("-----\n");
    Zeroizing::new(out)
}

/// The certificates of a concatenation (`SPIFFE_Workload_API.md`, section 5.2.1), DER each.
pub(super) fn split(mut der: &[u8]) -> anyhow::Result<Vec<&[u8]>> {
    let mut certificates = Vec::new();
    while !der.is_empty() {
        let (rest, certificate) = X509Certificate::from_der(der)
            .map_err(|error| anyhow::anyhow!("the agent sent a malformed certificate: {error}"))?;
        certificates.push(certificate.as_raw());
        der = rest;
    }
    Ok(certificates)
}

/// A block for each certificate of a concatenation.
pub(super) fn certificates(der: &[u8]) -> anyhow::Result<String> {
    let certificates = split(der)?;
    Ok(certificates
        .iter()
        .map(|der| block("CERTIFICATE", der).to_string())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::block;

    #[test]
    fn lines_have_64_characters() {
        let text = block("X", &[7; 96]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert_eq!((lines[1].len(), lines[2].len()), (64, 64));
        assert_eq!(
            (lines[0], lines[3]),
            ("-----BEGIN X-----", "-----END X-----")
        );
    }

    #[test]
    fn the_last_line_is_shorter() {
        let text = block("PRIVATE KEY", &[7; 50]);
        assert_eq!(text.lines().nth(2).unwrap().len(), 4);
        assert!(text.ends_with("-----END PRIVATE KEY-----\n"));
    }
}
