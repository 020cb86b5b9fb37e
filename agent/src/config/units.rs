//! Durations and sizes as people write them: `1h30m`, `512MiB`.
//!
//! A duration is a row of whole numbers with units, the largest unit first and
//! each at most once (`90d`, `1h30m`, `500ms`, `0s`); a size is one whole
//! number with an optional binary unit (`4096`, `512MiB`). Whatever is written
//! by `format_*` is read again as the same value.

use std::time::Duration;

pub(super) const MINUTE: u64 = 60;
pub(super) const HOUR: u64 = 60 * MINUTE;
pub(super) const DAY: u64 = 24 * HOUR;

const MILLISECONDS: [(&str, u64); 5] = [
    ("d", DAY * 1000),
    ("h", HOUR * 1000),
    ("m", MINUTE * 1000),
    ("s", 1000),
    ("ms", 1),
];

const SIZES: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("", 1),
];

/// Reads a duration such as `1h30m`; `None` for anything else and for what does not fit 64 bits of
/// milliseconds.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut units = MILLISECONDS.iter();
    let mut total = 0_u64;
    while !rest.is_empty() {
        let (number, after) = leading_number(rest)?;
        let length = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (name, after) = after.split_at_checked(length)?;
        // The iterator moves on, so that a unit can neither come twice nor after a smaller one.
        let (_, unit) = units.by_ref().find(|(unit, _)| *unit == name)?;
        total = total.checked_add(number.checked_mul(*unit)?)?;
        rest = after;
    }
    (!text.is_empty()).then(|| Duration::from_millis(total))
}

/// Writes a duration as [`parse_duration`] reads it; parts of a millisecond are left out.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (name, unit) in MILLISECONDS {
        // A day alone reads better as 24h.
        let least = if unit == DAY * 1000 { 2 * unit } else { unit };
        if rest >= least {
            text.push_str(&format!("{}{name}", rest / unit));
            rest %= unit;
        }
    }
    if text.is_empty() {
        text.push_str("0s");
    }
    text
}

/// Reads a size in bytes such as `512MiB`; `None` for anything else and for what does not fit 64
/// bits.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, name) = leading_number(text)?;
    let (_, unit) = SIZES.iter().find(|(unit, _)| *unit == name)?;
    number.checked_mul(*unit)
}

/// Writes a size as [`parse_size`] reads it, in the largest unit without a remainder.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    SIZES
        .iter()
        .find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit))
        .map_or_else(
            || bytes.to_string(),
            |(name, unit)| format!("{}{name}", bytes / unit),
        )
}

/// Splits `text` after its leading decimal digits, of which there must be one at least.
fn leading_number(text: &str) -> Option<(u64, &str)> {
    let length = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(length)?;
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::{format_duration, format_size, parse_duration, parse_size};
    use proptest::prelude::*;
    use std::time::Duration;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, milliseconds) in [
            ("0s", 0),
            ("1ms", 1),
            ("90s", 90_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("90d", 7_776_000_000),
            ("1d2h3m4s5ms", 93_784_005),
        ] {
            let expected = Duration::from_millis(milliseconds);
            assert_eq!(parse_duration(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_not_a_duration() {
        for text in [
            "",
            "5",
            "m",
            "5 m",
            "5M",
            "-5m",
            "1.5h",
            "1m1h",
            "1m1m",
            "1h30",
            "5mm",
            "5\u{b5}s",
            "\u{663}m",
            "99999999999999999999s",
            "18446744073709551615d",
            "+5m",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("4KiB", 4096),
            ("512MiB", 512 << 20),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            "MiB",
            "512MB",
            "512 MiB",
            "512mib",
            "-1",
            "0.5GiB",
            "99999999999GiB",
        ] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_written_in_few_units() {
        for text in ["0s", "250ms", "30s", "1h30m", "24h", "2d", "90d", "2d12h"] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(format_duration(duration), text);
        }
        assert_eq!(format_duration(Duration::from_secs(90)), "1m30s");
        assert_eq!(format_duration(Duration::from_micros(1_500)), "1ms");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(milliseconds in any::<u64>(), bytes in any::<u64>()) {
            let duration = Duration::from_millis(milliseconds);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
            prop_assert_eq!(parse_size(&format_size(bytes)), Some(bytes));
        }

        #[test]
        fn no_text_upsets_the_parsers(text in "\\PC*") {
            if let Some(duration) = parse_duration(&text) {
                prop_assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
            }
            if let Some(bytes) = parse_size(&text) {
                prop_assert_eq!(parse_size(&format_size(bytes)), Some(bytes));
            }
        }
    }
}
