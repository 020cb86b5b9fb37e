//! Results as tables, JSON and YAML.
//!
//! Each command describes its result once, as a serializable view whose field
//! names are the contract of `agent/doc/cli.md`, and says beside it how a
//! table of it looks. Tables carry text that other users chose (paths, hints,
//! purposes): [`printable`] makes control characters visible, so that no name
//! can move the cursor or reorder a line. JSON escapes the same characters in
//! its own way, and YAML what its rules demand.

mod table;

use super::failure::{Exit, Failure};
use serde::Serialize;

pub(super) use table::{Fields, Table};

/// What `--output` offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For readers; fits the terminal
    #[default]
    Table,
    /// For programs; the field names are stable
    Json,
    /// The fields of json as YAML
    Yaml,
}

/// How a table is to look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// Columns of the terminal; `None` cuts nothing.
    pub(super) width: Option<usize>,
    /// Seconds since 1970, for relative times.
    pub(super) now: i64,
}

/// A result of a command.
pub(super) trait View: Serialize {
    /// The result for a reader, each line ended.
    fn table(&self, look: &Look) -> String;
}

pub(super) fn json(view: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(view).map_err(|error| broken(&error))?;
    Ok(visible_json(&text) + "\n")
}

pub(super) fn json_line(view: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string(view).map_err(|error| broken(&error))?;
    Ok(visible_json(&text) + "\n")
}

pub(super) fn yaml(view: &impl Serialize) -> Result<String, Failure> {
    let text = serde_saphyr::to_string(view).map_err(|error| broken(&error))?;
    Ok(text)
}

fn broken(error: &dyn std::error::Error) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("the result cannot be written: {error}"),
    )
}

/// `text` with control characters, line breaks and marks that reorder text written as `\u{...}`.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .fold(String::with_capacity(text.len()), |mut out, c| {
            if c.is_control() || reorders(c) {
                out.extend(c.escape_unicode());
            } else {
                out.push(c);
            }
            out
        })
}

/// `json` with such characters escaped as JSON does it; they stand in strings only.
pub(super) fn visible_json(json: &str) -> String {
    json.chars()
        .fold(String::with_capacity(json.len()), |mut out, c| {
            if (c.is_control() && c != '\n') || reorders(c) {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            } else {
                out.push(c);
            }
            out
        })
}

/// Unicode's bidirectional formatting characters and line separators (UAX #9).
const fn reorders(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text`, or a dash where it is empty.
pub(super) fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// `None` where `text` is empty.
pub(super) fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// `1 process`, `2 processes`.
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::{printable, yaml};
    use serde_json::json;

    #[test]
    fn nothing_that_moves_the_cursor_is_printed() {
        assert_eq!(
            printable("/tmp/\u{1b}[2Ja\u{202e}b\r\u{9b}é"),
            "/tmp/\\u{1b}[2Ja\\u{202e}b\\u{d}\\u{9b}é"
        );
    }

    #[test]
    fn json_says_the_same_without_moving_the_cursor() {
        let value = json!({"a": "\u{9b}2J\u{202e}\u{1b}\u{7f}é\n"});
        let text = super::json(&value).unwrap();
        assert_eq!(
            text,
            "{\n  \"a\": \"\\u009b2J\\u202e\\u001b\\u007fé\\n\"\n}\n"
        );
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            value
        );
    }

    #[test]
    fn yaml_keeps_the_type_of_words_that_look_like_others() {
        let text =
            yaml(&json!({"a": "yes", "b": "1.0", "c": "null", "d": "x: y", "e": "\u{1b}[2J"}))
                .unwrap();
        for line in text.lines() {
            let value = line.split_once(": ").unwrap().1;
            assert!(value.starts_with(['\'', '"']), "{line}");
            assert!(!value.contains('\u{1b}'), "{line}");
        }
    }
}
