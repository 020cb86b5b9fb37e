//! When a file's times can be believed to tell its states apart.
//!
//! Kernels before 6.13 take a file's times from a clock that ticks every few
//! milliseconds, and some file systems count whole seconds or two: two writes
//! within one tick leave the same times. So nothing is remembered of a file
//! under its times as long as its last change is younger than two seconds; a
//! time in the future counts as young.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longer than the tick of any clock and any file system that is believed here.
const TICK: Duration = Duration::from_secs(2);

/// Whether `changed` (seconds and nanoseconds since 1970) was long enough before `at`.
pub(crate) fn is_settled(changed: (i64, u32), at: SystemTime) -> bool {
    let Ok(now) = at.duration_since(UNIX_EPOCH) else {
        return false;
    };
    // Before 1970: as old as any.
    let changed = u64::try_from(changed.0).map_or(Duration::ZERO, |seconds| {
        Duration::new(seconds, changed.1.min(999_999_999))
    });
    now.checked_sub(TICK).is_some_and(|young| changed <= young)
}

#[cfg(test)]
mod tests {
    use super::is_settled;
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_change_settles_after_two_seconds() {
        assert!(is_settled((100, 0), at(102)));
        assert!(!is_settled((100, 1), at(102)));
        assert!(!is_settled((100, 0), at(101)));
    }

    #[test]
    fn a_change_in_the_future_is_not_settled() {
        assert!(!is_settled((200, 0), at(102)));
        assert!(!is_settled((i64::MAX, u32::MAX), at(102)));
        assert!(!is_settled((0, 0), UNIX_EPOCH - Duration::from_secs(9)));
    }
}
