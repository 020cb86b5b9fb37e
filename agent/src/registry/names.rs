//! The texts of a registration, each a type that holds only what its rule admits.
//!
//! Operators type these, files carry them, terminals and logs show them. So
//! every type is bounded, and none admits control characters or those that turn
//! the direction of writing (UAX #9): a registration cannot rewrite the screen of
//! whoever lists it, nor show another text than it holds. They are parsed at the
//! edge (`FromStr`), and again when read from the store, so that no part of the
//! agent ever holds an unchecked one. All are cheap to clone.

use super::limits;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, marker::PhantomData, str::FromStr, sync::Arc};

/// A text that breaks the rule of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {rule}")]
pub struct TextError {
    what: &'static str,
    rule: &'static str,
}

type Check = Result<(), &'static str>;

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = TextError;

            fn from_str(text: &str) -> Result<Self, TextError> {
                let check: fn(&str) -> Check = $check;
                match check(text) {
                    // All empty ones share an allocation.
                    Ok(()) if text.is_empty() => Ok(Self(Arc::default())),
                    Ok(()) => Ok(Self(text.into())),
                    Err(rule) => Err(TextError { what: $what, rule }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Parse(PhantomData))
            }
        }
    };
}

text!(
    /// The name of a client: unique, and never given to another, also after revocation.
    ClientName,
    "a client's name",
    |text| {
        let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        let starts_well = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        if starts_well && text.len() <= limits::NAME_BYTES && text.bytes().all(ok) {
            Ok(())
        } else {
            Err("has 1 to 63 of the characters a-z, 0-9, '.', '_' and '-', \
                 and starts with a letter or digit")
        }
    }
);

text!(
    /// Who answers for a client: a person, a team, an address.
    Owner,
    "an owner",
    |text| {
        if text.trim().is_empty() {
            return Err("must not be empty");
        }
        printable(text, limits::OWNER_BYTES, "has at most 256 bytes")
    }
);

text!(
    /// What a client is for; may be empty.
    Purpose,
    "a purpose",
    |text| printable(text, limits::PURPOSE_BYTES, "has at most 1,024 bytes")
);

text!(
    /// Why a change was made; may be empty where nobody demands one.
    Reason,
    "a reason",
    |text| printable(text, limits::REASON_BYTES, "has at most 1,024 bytes")
);

text!(
    /// Why a weak registration is put in force all the same.
    WeaknessReason,
    "the reason for accepting a weak registration",
    |text| {
        if text.trim().is_empty() {
            return Err("must not be empty");
        }
        printable(text, limits::REASON_BYTES, "has at most 1,024 bytes")
    }
);

text!(
    /// The stable word for a kind of weakness.
    FindingId,
    "the identifier of a finding",
    |text| {
        let ok = |b: u8| b.is_ascii_lowercase() || b == b'-';
        if (1..=limits::NAME_BYTES).contains(&text.len()) && text.bytes().all(ok) {
            Ok(())
        } else {
            Err("has 1 to 63 of the characters a-z and '-'")
        }
    }
);

text!(
    /// An operator's name, as the admin socket derives it.
    OperatorName,
    "an operator's name",
    |text| {
        if text.is_empty() {
            return Err("must not be empty");
        }
        printable(text, limits::ACTOR_BYTES, "has at most 256 bytes")
    }
);

text!(
    /// Who manages a registration from elsewhere, such as a repository; never empty.
    Source,
    "a source",
    |text| {
        if text.trim().is_empty() {
            return Err("must not be empty");
        }
        printable(text, limits::SOURCE_BYTES, "has at most 256 bytes")
    }
);

text!(
    /// Tells a workload which of its SVIDs is for what (SPIFFE Workload API, section 8).
    Hint,
    "a hint",
    |text| {
        if text.is_empty() {
            return Err("must not be empty");
        }
        printable(text, limits::HINT_BYTES, "has at most 1,024 bytes")
    }
);

text!(
    /// An audience that a client may ask for, compared exactly; `*` stands for any.
    Audience,
    "an audience",
    |text| {
        if text.is_empty() || text.contains(char::is_whitespace) {
            return Err("must not be empty or have spaces");
        }
        printable(text, limits::AUDIENCE_BYTES, "has at most 1,024 bytes")
    }
);

impl Default for Reason {
    /// None given.
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl Reason {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.as_str().trim().is_empty()
    }
}

impl Audience {
    /// Whether this allows every audience.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.as_str() == "*"
    }
}

text!(
    /// A DNS name for X.509-SVIDs: lower-case host name, no wildcard, no address (RFC 1123, 2.1).
    DnsName,
    "a DNS name",
    |text| {
        if text.len() > limits::DNS_NAME_BYTES {
            return Err("has at most 253 bytes");
        }
        if !text.split('.').all(is_dns_label) {
            return Err("has labels of 1 to 63 of the characters a-z, 0-9 and '-', \
                        which neither start nor end with '-'");
        }
        // RFC 1123, section 2.1: the last label tells a name from an IPv4 address.
        let last = text.rsplit('.').next().unwrap_or_default();
        if last.bytes().all(|b| b.is_ascii_digit()) {
            return Err("must not end with a number, as an IPv4 address does");
        }
        Ok(())
    }
);

mod oauth;

pub use oauth::{
    ClientIdUrl, ClientLabel, Contact, IssuerUrl, RedirectOrigin, RedirectUri, Scope, SoftwareId,
    Term, WebUrl,
};

fn is_dns_label(label: &str) -> bool {
    let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=limits::DNS_LABEL_BYTES).contains(&label.len())
        && label.bytes().all(ok)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn printable(text: &str, max: usize, too_long: &'static str) -> Check {
    if text.len() > max {
        Err(too_long)
    } else if is_printable(text) {
        Ok(())
    } else {
        Err("must not have control or direction characters")
    }
}

/// Whether it shows what it holds on every screen.
pub(super) fn is_printable(text: &str) -> bool {
    text.chars().all(is_plain)
}

/// As in selectors: neither a control character nor one that changes lines or their direction.
fn is_plain(c: char) -> bool {
    !(c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
}

/// Parses a borrowed string, without an intermediate copy.
struct Parse<T>(PhantomData<T>);

impl<T: FromStr<Err = TextError>> de::Visitor<'_> for Parse<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::{Audience, ClientName, DnsName, Hint, OperatorName, Owner, Purpose, TextError};
    use std::str::FromStr;

    fn accepts<T: FromStr<Err = TextError>>(good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(text.parse::<T>().is_ok(), "{text:?} is refused");
        }
        for text in bad {
            assert!(text.parse::<T>().is_err(), "{text:?} is accepted");
        }
    }

    #[test]
    fn names_are_what_the_design_says() {
        let longest = "a".repeat(63);
        let too_long = "a".repeat(64);
        accepts::<ClientName>(
            &["a", "0", "web-search", "a.b_c-d", "9lives", &longest],
            &[
                "", "-a", ".a", "_a", "A", "a/b", "a b", "\u{e4}", "a\n", &too_long,
            ],
        );
    }

    #[test]
    fn texts_are_bounded_and_printable() {
        let long = "x".repeat(1_025);
        accepts::<Owner>(
            &["team-search", "A. B <a@b.example>", "\u{d6}"],
            &["", " ", &long],
        );
        accepts::<Purpose>(
            &["", "Finds things."],
            &[
                "a\u{1b}[2Jb",
                "a\u{9b}b",
                "a\u{202e}b",
                "a\u{2066}b",
                "a\u{200f}",
                "a\u{2029}b",
                &long,
            ],
        );
        accepts::<Hint>(&["internal"], &["", "a\tb", &long]);
        accepts::<OperatorName>(&["uid:0"], &["", "a\0", &long]);
    }

    #[test]
    fn audiences_are_exact_and_the_star_is_known() {
        accepts::<Audience>(
            &["*", "https://mcp.example/", "spiffe://example.org/a"],
            &["", "a b", "a\u{a0}b", "a\u{7f}"],
        );
        assert!("*".parse::<Audience>().unwrap().is_any());
        assert!(!"**".parse::<Audience>().unwrap().is_any());
    }

    #[test]
    fn dns_names_are_host_names() {
        let label = "a".repeat(63);
        let too_long_label = "a".repeat(64);
        let too_long = ["abcdefghi"; 26].join(".");
        accepts::<DnsName>(
            &[
                "a",
                "a.example",
                "xn--bcher-kva.example",
                "1.example",
                "3com.com",
                &label,
            ],
            &[
                "",
                ".",
                "a.",
                ".a",
                "a..b",
                "-a",
                "a-",
                "A.example",
                "*.example",
                "a_b",
                "10.0.0.1",
                "a.1",
                "b\u{fc}cher.example",
                &too_long_label,
                &too_long,
            ],
        );
    }
}
