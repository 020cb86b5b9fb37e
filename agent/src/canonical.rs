//! Canonical JSON (RFC 8785) for documents whose digest is taken.
//!
//! The subset that Symbolon writes: objects with ASCII names, arrays, strings,
//! booleans, null and integers. Floating-point numbers and other names are
//! refused, so that no two writers can disagree about a digest. `serde_json`
//! escapes strings as RFC 8785, section 3.2.2.2, demands, and its maps are
//! sorted by name, which for ASCII is the order of section 3.2.3.

use aws_lc_rs::digest;
use serde::Serialize;
use serde_json::Value;
use std::fmt::Write as _;

/// Why a value has no canonical form here.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    /// It cannot be written as JSON at all.
    #[error("not serializable: {0}")]
    Serialize(#[from] serde_json::Error),
    /// A number with a fraction or outside of 64 bits.
    #[error("a number that is not a 64-bit integer")]
    Float,
    /// An object with a name outside ASCII.
    #[error("an object name outside ASCII")]
    Name,
}

/// The canonical bytes of `value`.
///
/// # Errors
/// Where the value holds what the subset leaves out.
pub fn to_vec(value: &impl Serialize) -> Result<Vec<u8>, CanonicalError> {
    let value = serde_json::to_value(value)?;
    check(&value)?;
    Ok(serde_json::to_vec(&value)?)
}

/// Whether `value` has a canonical form: the bytes that `serde_json` writes of it.
///
/// # Errors
/// Where the value holds what the subset leaves out.
pub fn check(value: &Value) -> Result<(), CanonicalError> {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
        Value::Number(n) if n.is_i64() || n.is_u64() => Ok(()),
        Value::Number(_) => Err(CanonicalError::Float),
        Value::Array(items) => items.iter().try_for_each(check),
        Value::Object(map) => map.iter().try_for_each(|(name, value)| {
            if name.is_ascii() {
                check(value)
            } else {
                Err(CanonicalError::Name)
            }
        }),
    }
}

/// SHA-256 of `bytes`, in lower-case hexadecimal.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// `bytes` in lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            // Writing to a String cannot fail.
            write!(out, "{byte:02x}").unwrap_or_default();
            out
        })
}

#[cfg(test)]
mod tests {
    use super::{CanonicalError, to_vec};
    use serde_json::json;

    #[test]
    fn names_are_sorted_and_spaces_left_out() {
        let value = json!({"b": [1, true, null], "a": {"d": "\u{8}\u{1f}\"", "c": "\u{e9}"}});
        assert_eq!(
            String::from_utf8(to_vec(&value).unwrap()).unwrap(),
            "{\"a\":{\"c\":\"\u{e9}\",\"d\":\"\\b\\u001f\\\"\"},\"b\":[1,true,null]}"
        );
    }

    #[test]
    fn fractions_are_refused() {
        assert!(matches!(to_vec(&json!([1.5])), Err(CanonicalError::Float)));
    }
}
