//! Hosts that an operator lists.

use std::{
    fmt::{self, Display, Formatter},
    str::FromStr,
};

/// A host, or `*.` and what every host ends with that is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern(String);

/// A text that is no host and no pattern of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a host such as mcp.example.org, or *.example.org for all below")]
pub struct HostPatternError;

impl HostPattern {
    /// Whether `host` is meant; hosts have no case.
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        match self.0.strip_prefix('*') {
            // With its dot: neither the domain itself nor one that ends with the same letters.
            Some(end) => host.len() > end.len() && host.ends_with(end),
            None => host == self.0,
        }
    }
}

impl FromStr for HostPattern {
    type Err = HostPatternError;

    fn from_str(text: &str) -> Result<Self, HostPatternError> {
        const MOST_BYTES: usize = 255;
        let text = text.to_ascii_lowercase();
        let host = text.strip_prefix("*.").unwrap_or(&text);
        let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
        let is_name = !host.is_empty()
            && host.bytes().all(ok)
            && host.split('.').all(|label| !label.is_empty());
        let is_address = super::address(&text).is_some();
        if text.len() <= MOST_BYTES && (is_name || is_address) {
            Ok(Self(text))
        } else {
            Err(HostPatternError)
        }
    }
}

impl Display for HostPattern {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::HostPattern;

    #[test]
    fn a_pattern_covers_what_is_below_it() {
        let covers = |pattern: &str, host| pattern.parse::<HostPattern>().unwrap().covers(host);
        assert!(covers("Mcp.example.org", "mcp.EXAMPLE.org"));
        assert!(covers("*.example.org", "a.b.example.org"));
        assert!(covers("[2001:db8::1]", "[2001:db8::1]"));
        assert!(!covers("*.example.org", "example.org"));
        assert!(!covers("*.example.org", "badexample.org"));
        assert!(!covers("*.example.org", ".example.org"));
        assert!(!covers("example.org", "a.example.org"));
        for bad in [
            "",
            "*",
            "*.",
            "a..b",
            "https://a",
            "a:443",
            "a.*.b",
            "*a.b",
            "a/b",
        ] {
            assert!(bad.parse::<HostPattern>().is_err(), "{bad}");
        }
    }
}
