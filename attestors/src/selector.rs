//! Selectors: facts about a workload as `type:value`.
//!
//! Owns their syntax. Operators write selectors into registrations, attestors
//! make them from facts, and a client matches where every selector of one of
//! its sets is among the workload's; so both sides come through here, and a
//! text that no attestor can ever produce (`unix:uid:007`, a digest in capital
//! letters, a path with `..`) is refused at the edge instead of never
//! matching. Types that no attestor here owns are checked for their form only.
//!
//! Texts equal SPIRE's where SPIRE has them, so that its registrations carry
//! over. Control characters and those that turn the direction of writing are
//! refused: selectors are shown to people who approve them.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{
    fmt::{self, Display, Formatter},
    str::FromStr,
    sync::Arc,
};

mod code;
mod process;

pub(crate) use process::is_label;

/// Longest selector in bytes: a path of `PATH_MAX` (4096) behind the longest `type:key:`.
pub const MAX_SELECTOR_BYTES: usize = 4096 + 64;

/// Longest selector type in bytes.
const MAX_KIND_BYTES: usize = 32;

/// Longest name of a user or group in bytes (`LOGIN_NAME_MAX`).
const MAX_NAME_BYTES: usize = 256;

/// Why a text is not a selector.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SelectorError {
    /// No `type:value`, or a type that is not `[a-z][a-z0-9_-]*`.
    #[error("a selector is written type:value, as in unix:uid:1000")]
    Form,
    /// More than [`MAX_SELECTOR_BYTES`].
    #[error("a selector has at most {MAX_SELECTOR_BYTES} bytes")]
    TooLong,
    /// A control character, or one that changes the direction of writing.
    #[error("a selector has no control or direction characters")]
    Character,
    /// A type that is known, with a key that its attestor does not have.
    #[error("no {kind} selector is called {key:?}")]
    Key {
        /// The selector's type.
        kind: &'static str,
        /// What stands where its key should.
        key: String,
    },
    /// A known key with a value that its attestor never produces.
    #[error("{key} takes {expected}")]
    Value {
        /// Type and key.
        key: &'static str,
        /// What a value looks like.
        expected: &'static str,
    },
}

/// A fact about a workload: `unix:uid:1000`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Selector(Arc<str>);

impl Selector {
    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The type: what stands before the first colon.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.0.split_once(':').map_or("", |(kind, _)| kind)
    }

    /// The value: what stands behind the first colon.
    #[must_use]
    pub fn value(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, value)| value)
    }
}

impl Display for Selector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Selector {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        check(text)?;
        Ok(Self(text.into()))
    }
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

fn check(text: &str) -> Result<(), SelectorError> {
    if text.len() > MAX_SELECTOR_BYTES {
        return Err(SelectorError::TooLong);
    }
    let (kind, value) = text.split_once(':').ok_or(SelectorError::Form)?;
    if !is_kind(kind) || value.is_empty() {
        return Err(SelectorError::Form);
    }
    if !value.chars().all(is_plain) {
        return Err(SelectorError::Character);
    }
    match kind {
        "unix" => check_unix(value),
        "cgroup" => check_cgroup(value),
        "container" => container::check(value),
        "k8s" => container::check_k8s(value),
        "systemd" => systemd::check(value),
        "code" => code::check(value),
        "process" => process::check(value),
        _ => Ok(()),
    }
}

fn is_kind(kind: &str) -> bool {
    kind.len() <= MAX_KIND_BYTES
        && kind.starts_with(|c: char| c.is_ascii_lowercase())
        && kind
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}

/// Whether `c` shows as itself: no control character, line separator or direction mark
/// (Unicode Standard Annex 9, section 2).
pub(crate) fn is_plain(c: char) -> bool {
    !(c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
}

fn check_unix(value: &str) -> Result<(), SelectorError> {
    let (key, value) = value.split_once(':').unwrap_or((value, ""));
    let fault = |key| {
        let expected = match key {
            "unix:path" => "an absolute path without empty, . or .. parts",
            "unix:sha256" => "64 lower-case hexadecimal digits",
            "unix:privileged_file" => "setuid, setgid or capabilities",
            "unix:user" | "unix:group" | "unix:supplementary_group" => "a name without colon",
            _ => "a decimal number without leading zeros, below 4294967295",
        };
        Err(SelectorError::Value { key, expected })
    };
    match key {
        "uid" if !is_id(value) => fault("unix:uid"),
        "gid" if !is_id(value) => fault("unix:gid"),
        "supplementary_gid" if !is_id(value) => fault("unix:supplementary_gid"),
        "user" if !is_name(value) => fault("unix:user"),
        "group" if !is_name(value) => fault("unix:group"),
        "supplementary_group" if !is_name(value) => fault("unix:supplementary_group"),
        "path" if !is_path(value) || value == "/" => fault("unix:path"),
        "sha256" if !is_digest(value) => fault("unix:sha256"),
        "privileged_file" if !matches!(value, "setuid" | "setgid" | "capabilities") => {
            fault("unix:privileged_file")
        }
        "uid"
        | "gid"
        | "supplementary_gid"
        | "user"
        | "group"
        | "supplementary_group"
        | "path"
        | "privileged_file"
        | "sha256" => Ok(()),
        _ => Err(SelectorError::Key {
            kind: "unix",
            key: key.into(),
        }),
    }
}

fn check_cgroup(value: &str) -> Result<(), SelectorError> {
    match value.split_once(':') {
        Some(("id", id)) if is_cgroup_id(id) => Ok(()),
        Some(("id", _)) => Err(SelectorError::Value {
            key: "cgroup:id",
            expected: "a decimal number above 0, without leading zeros",
        }),
        Some(("path", path)) if is_path(path) => Ok(()),
        Some(("path", _)) => Err(SelectorError::Value {
            key: "cgroup:path",
            expected: "an absolute path without empty, . or .. parts",
        }),
        other => Err(SelectorError::Key {
            kind: "cgroup",
            key: other.map_or(value, |(key, _)| key).into(),
        }),
    }
}

fn is_cgroup_id(text: &str) -> bool {
    text.parse::<u64>()
        .is_ok_and(|id| id != 0 && id.to_string() == text)
}

fn is_id(text: &str) -> bool {
    text.parse::<u32>()
        .is_ok_and(|id| id != u32::MAX && id.to_string() == text)
}

/// Whether `text` can be the name of a user or group.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len()) && !text.contains(':') && text.chars().all(is_plain)
}

/// Whether `text` is an absolute path as the kernel writes one of a file that still has it.
pub(crate) fn is_path(text: &str) -> bool {
    if text == "/" {
        return true;
    }
    let Some(parts) = text.strip_prefix('/') else {
        return false;
    };
    !text.ends_with(" (deleted)")
        && text.chars().all(is_plain)
        && parts
            .split('/')
            .all(|part| !matches!(part, "" | "." | ".."))
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

mod container;
mod systemd;
#[cfg(test)]
mod tests;
