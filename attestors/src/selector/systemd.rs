//! Syntax of `systemd:` selectors.

use super::{SelectorError, is_path};
use crate::parse::{is_slice, is_unit};

pub(super) fn check(value: &str) -> Result<(), SelectorError> {
    let (key, value) = value.split_once(':').unwrap_or((value, ""));
    let (key, expected, fits) = match key {
        "id" => ("systemd:id", UNIT, is_unit(value)),
        "user_unit" => ("systemd:user_unit", UNIT, is_unit(value)),
        "slice" => (
            "systemd:slice",
            "the name of a slice, as in system.slice",
            is_slice(value),
        ),
        "fragment_path" => (
            "systemd:fragment_path",
            "an absolute path without empty, . or .. parts",
            is_path(value) && value != "/",
        ),
        "invocation_id" => (
            "systemd:invocation_id",
            "32 lower-case hexadecimal digits",
            is_invocation(value),
        ),
        key => {
            return Err(SelectorError::Key {
                kind: "systemd",
                key: key.into(),
            });
        }
    };
    if fits {
        Ok(())
    } else {
        Err(SelectorError::Value { key, expected })
    }
}

const UNIT: &str = "the name of a unit that processes are in, as in notes.service";

fn is_invocation(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
