//! Times and durations as people write and read them.
//!
//! On the wire times are Unix seconds and durations seconds, and 0 stands for
//! "not set". JSON gets RFC 3339 times, tables get distances from now.

use crate::config::units;
use std::time::Duration;
use time::{
    Date, OffsetDateTime, Time, format_description::well_known::Rfc3339, macros::format_description,
};

/// RFC 3339 in UTC; `None` for 0.
pub(super) fn exact(seconds: i64) -> Option<String> {
    if seconds == 0 {
        return None;
    }
    let at = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    at.format(&Rfc3339).ok()
}

/// `in 42m`, `3d ago`, `now`; `-` for 0.
pub(super) fn relative(seconds: i64, now: i64) -> String {
    if seconds == 0 {
        return "-".to_owned();
    }
    let distance = span(seconds.abs_diff(now));
    match seconds.cmp(&now) {
        std::cmp::Ordering::Less => format!("{distance} ago"),
        std::cmp::Ordering::Equal => "now".to_owned(),
        std::cmp::Ordering::Greater => format!("in {distance}"),
    }
}

/// One unit, rounded down: `90s`, `42m`, `36h`, `89d`.
fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Exactly, in the form that [`parse_duration`] reads: `1h30m`; `-` for 0.
pub(super) fn duration(seconds: u64) -> String {
    if seconds == 0 {
        return "-".to_owned();
    }
    units::format_duration(Duration::from_secs(seconds))
}

/// Reads whole seconds, at least one: `90s`, `1h30m`, `30d`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    units::parse_duration(text)
        .filter(|length| length.as_secs() > 0 && length.subsec_nanos() == 0)
        .ok_or_else(|| format!("`{text}` is no duration; write 90s, 1h30m or 30d"))
}

/// A moment as an operator gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// Unix seconds.
    At(i64),
    /// From now on.
    After(Duration),
}

impl Moment {
    /// Unix seconds.
    pub(super) fn resolve(self, now: i64) -> i64 {
        match self {
            Self::At(seconds) => seconds,
            Self::After(distance) => {
                now.saturating_add(i64::try_from(distance.as_secs()).unwrap_or(i64::MAX))
            }
        }
    }
}

/// Reads `2027-01-31T12:00:00Z`, `2027-01-31` (its beginning, UTC) or a distance from now (`90d`).
pub(super) fn parse_moment(text: &str) -> Result<Moment, String> {
    if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(Moment::At(at.unix_timestamp()));
    }
    if let Ok(date) = Date::parse(text, format_description!("[year]-[month]-[day]")) {
        let at = date.with_time(Time::MIDNIGHT).assume_utc();
        return Ok(Moment::At(at.unix_timestamp()));
    }
    parse_duration(text).map(Moment::After).map_err(|_wrong| {
        format!("`{text}` is no time; write 2027-01-31T12:00:00Z, 2027-01-31 or 90d")
    })
}

#[cfg(test)]
mod tests {
    use super::{Moment, duration, exact, parse_duration, parse_moment, relative};
    use std::time::Duration;

    #[test]
    fn durations_are_read_and_written_alike() {
        for (text, seconds) in [
            ("90s", 90),
            ("1h30m", 5_400),
            ("30d", 2_592_000),
            ("1d1s", 86_401),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_secs(seconds)),
                "{text}"
            );
            assert_eq!(
                parse_duration(&duration(seconds)),
                Ok(Duration::from_secs(seconds))
            );
        }
        assert_eq!(duration(5_400), "1h30m");
        assert_eq!(duration(0), "-");
    }

    #[test]
    fn what_is_no_duration_is_refused_with_an_example() {
        for text in [
            "",
            "0s",
            "5",
            "m",
            "1y",
            "1.5h",
            "-1s",
            "99999999999999999999s",
            "1h 30m",
            "1500ms",
            "5é",
        ] {
            let refusal = parse_duration(text).unwrap_err();
            assert!(refusal.contains("1h30m"), "{text}: {refusal}");
        }
    }

    #[test]
    fn distances_have_one_unit() {
        let now = 1_000_000;
        for (seconds, text) in [
            (now, "now"),
            (now + 90, "in 90s"),
            (now + 2_520, "in 42m"),
            (now + 86_400, "in 24h"),
            (now - 864_000, "10d ago"),
            (0, "-"),
        ] {
            assert_eq!(relative(seconds, now), text);
        }
    }

    #[test]
    fn moments_are_times_dates_or_distances() {
        assert_eq!(
            parse_moment("2026-11-20T00:00:00Z"),
            Ok(Moment::At(1_795_132_800))
        );
        assert_eq!(
            parse_moment("2026-11-20T01:00:00+01:00"),
            Ok(Moment::At(1_795_132_800))
        );
        assert_eq!(parse_moment("2026-11-20"), Ok(Moment::At(1_795_132_800)));
        assert_eq!(parse_moment("90d").unwrap().resolve(100), 100 + 7_776_000);
        assert!(parse_moment("tomorrow").unwrap_err().contains("2027-01-31"));
    }

    #[test]
    fn exact_times_are_rfc_3339() {
        assert_eq!(
            exact(1_795_132_800).as_deref(),
            Some("2026-11-20T00:00:00Z")
        );
        assert_eq!(exact(0), None);
        assert_eq!(exact(i64::MAX), None);
    }
}
