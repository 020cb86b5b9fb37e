//! `/proc/PID/stat` (`proc_pid_stat(5)`).

use super::{Malformed, number};

/// Position of `ppid` (field 4) among the fields behind the program's name.
const PARENT: usize = 4 - 3;

/// Position of `starttime` (field 22) among them.
const START_TIME: usize = 22 - 3;

/// When the process started, in clock ticks since boot.
///
/// # Errors
/// Where the field is missing or no number.
pub fn start_time(bytes: &[u8]) -> Result<u64, Malformed> {
    field(bytes, START_TIME)?.ok_or(Malformed("stat without start time"))
}

/// The number of the process's parent: 0 where the reader's PID namespace has none for it.
///
/// # Errors
/// Where the field is missing or no number.
pub fn parent(bytes: &[u8]) -> Result<u32, Malformed> {
    field(bytes, PARENT)?.ok_or(Malformed("stat without parent"))
}

/// The program's name stands in parentheses and is the process's to choose, so
/// fields are counted from the last closing one.
fn field<T: std::str::FromStr>(bytes: &[u8], position: usize) -> Result<Option<T>, Malformed> {
    let end = bytes
        .iter()
        .rposition(|&byte| byte == b')')
        .ok_or(Malformed("stat without name"))?;
    Ok(bytes
        .get(end + 1..)
        .unwrap_or_default()
        .split(|byte| byte.is_ascii_whitespace())
        .filter(|field| !field.is_empty())
        .nth(position)
        .and_then(number))
}

#[cfg(test)]
mod tests {
    use super::{parent, start_time};

    const TAIL: &str = "S 17 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 3133440 388";

    #[test]
    fn the_start_time_is_field_22() {
        assert_eq!(
            start_time(format!("7 (sleep) {TAIL}\n").as_bytes()),
            Ok(4711)
        );
    }

    #[test]
    fn a_name_cannot_shift_the_fields() {
        for name in [") S 1 1 1 1 1", "a b c", "((", "x\n9 (y) R", ") ("] {
            let text = format!("7 ({name}) {TAIL}\n");
            assert_eq!(start_time(text.as_bytes()), Ok(4711), "{name}");
            assert_eq!(parent(text.as_bytes()), Ok(17), "{name}");
        }
    }

    #[test]
    fn a_text_without_parent_is_refused() {
        for text in ["7 (sleep) S", "7 (sleep) S x 1", "7 sleep S 1 1"] {
            parent(text.as_bytes()).unwrap_err();
        }
    }

    #[test]
    fn short_and_wordy_texts_are_refused() {
        for text in [
            "",
            "7 (sleep",
            "7 (sleep) S 1 2",
            &TAIL.replace("4711", "x"),
        ] {
            start_time(text.as_bytes()).unwrap_err();
        }
    }
}
